//! What every response of an upstream goes through before anybody looks at it.

use http::request::Parts;
use http::{HeaderMap, Response, StatusCode, header};

use super::front::Identified;
use super::lookup;
use super::site::{Site, SiteRoute};
use crate::content::static_files;
use crate::policy::present::{Fields, Names};
use crate::policy::tags::{TagRules, Tags, TooManyTags};
use crate::policy::time::Timestamp;
use crate::policy::{dates, fields};

/// Removes what ends here, and completes the rest. What names of fields there may be then.
pub(super) fn prepare(headers: &mut HeaderMap, wall: Timestamp) -> Names {
    let names = Names::of(headers);
    fields::remove_hop_by_hop(headers, names);
    // RFC 9110 §6.6.1: a recipient with a clock supplies the Date that is missing.
    if !Fields::new(headers, names).has(&header::DATE) {
        headers.insert(header::DATE, dates::format(wall));
    }
    names.with(&header::DATE)
}

/// Takes out the fields that carry tags: what they say is between the app and larder.
pub(super) fn take_tags(headers: &mut HeaderMap, names: Names, rules: &TagRules) -> Result<Tags, TooManyTags> {
    let tags = Tags::of(Fields::new(headers, names), rules);
    for name in rules.fields.iter().filter(|name| names.may_have(name)) {
        headers.remove(name);
    }
    tags
}

/// Adds the Cache-Control of a static-file class where the upstream gave none. Whether the response is a static file
/// that may be shared among requests with cookies.
///
/// Only where nothing personal shows: no Set-Cookie, no Authorization, no word of the upstream against caching.
pub(super) fn apply_static_class<B>(
    site: &Site,
    route: &SiteRoute,
    request: &Parts,
    response: &mut Response<B>,
) -> bool {
    let is_file = matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT);
    if !route.route.static_files || !is_file {
        return false;
    }
    let (path, query) = (request.uri.path(), request.uri.query());
    // Of several types, which is wrong, each browser takes the one it likes: no file agrees with all of them.
    let mut types = response.headers().get_all(header::CONTENT_TYPE).iter();
    let content_type = types.next().filter(|_| types.next().is_none());
    let class = static_files::classify(&site.settings.static_classes, path, query, content_type);
    let Some(class) = class else { return false };
    let personal = response.headers().contains_key(header::SET_COOKIE)
        || request.headers.contains_key(header::AUTHORIZATION)
        || request.extensions.get::<Identified>().is_some();
    let cookie = lookup::cookie_matters(&route.route.cache.cookies, &request.headers);
    if personal || (cookie && !class.class.with_cookies) {
        return false;
    }
    let headers = response.headers_mut();
    let silent =
        ![header::CACHE_CONTROL, header::EXPIRES, header::PRAGMA].iter().any(|name| headers.contains_key(name));
    if silent || class.class.override_upstream {
        let cache_control = class.cache_control();
        headers.insert(header::CACHE_CONTROL, cache_control);
        headers.remove(header::EXPIRES);
        headers.remove(header::PRAGMA);
    }
    class.class.with_cookies
}

/// Content-Length, which the pool has checked.
pub(super) fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
