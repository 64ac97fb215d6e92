//! Max-Forwards (RFC 9110 §7.6.2): how many proxies an OPTIONS or TRACE still passes.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, StatusCode, header};

/// The status of the answer to a request that ends here; any other is counted as forwarded once more.
pub(super) fn ends_here(request: &mut Arc<Parts>) -> Option<StatusCode> {
    if !matches!(request.method, Method::OPTIONS | Method::TRACE) {
        return None;
    }
    let request = Arc::make_mut(request);
    let left: u64 = request.headers.get(header::MAX_FORWARDS)?.to_str().ok()?.parse().ok()?;
    let Some(left) = left.checked_sub(1) else {
        // A TRACE echoed by us would show its client what others on the way have added.
        return Some(if request.method == Method::TRACE { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::OK });
    };
    request.headers.insert(header::MAX_FORWARDS, left.into());
    None
}
