//! A page that does not say how long it is, but comes whole along with its head: small answers of apps that send in
//! chunks whatever they make. Its length decides whether it is worth a content coding, and lets ranges be cut from it.

use std::time::Duration;

use http::{HeaderValue, Response, header};

use super::received::announced_length;
use super::site::SiteRoute;
use crate::content::compressible::{self, CodingDecision};
use crate::upstream::UpstreamBody;

/// For how long a head waits for its body. What an app sends in one go comes within it; a page that trickles in is
/// later by no more than this, once.
const PATIENCE: Duration = Duration::from_millis(20);

/// Most bytes that are taken in meanwhile, however large a body has to be for a coding.
const MOST: u64 = 64 * 1024;

/// Waits a moment for the end of a body that would be coded were it only large enough, and announces its length. For
/// methods other than HEAD, whose answer has no body to tell it by.
pub(super) async fn settle(route: &SiteRoute, response: &mut Response<UpstreamBody>) {
    let Some(compression) = &route.route.compression else { return };
    let (status, headers) = (response.status(), response.headers());
    if announced_length(headers).is_some()
        || compressible::judge(compression, status, headers, None) != CodingDecision::Code
    {
        return;
    }
    if let Some(length) = Box::pin(response.body_mut().settle(compression.min_size.min(MOST), PATIENCE)).await {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}
