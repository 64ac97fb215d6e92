//! May this response be stored, and what is remembered of it (RFC 9111 §3).

use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode, header};

use super::dates;
use super::directives::ResponseDirectives;
use super::facts::{Facts, LifetimeSource, RequestFacts};
use super::freshness;
use super::invalidate;
use super::present::Fields;
use super::reason::NoStoreReason;
use super::rules::{CacheRules, CookieRule, SetCookieRule, TtlMode};
use super::time::Times;

/// A response that has just arrived, with what is needed to judge it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// What the request said.
    pub request: &'a RequestFacts,
    /// The response's status.
    pub status: StatusCode,
    /// The response's fields, hop-by-hop ones already removed.
    pub fields: Fields<'a>,
    /// When the request was sent and the response's head came.
    pub times: Times,
    /// Whether it is a static file: extension and Content-Type both say so.
    pub is_static: bool,
    /// Whether it is to be stored for one session alone, as a private cache does.
    pub private: bool,
}

/// What may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storable {
    /// What the policy remembers.
    pub facts: Facts,
    /// Fields that must not be stored (RFC 9111 §5.2.2.4, §5.2.2.7); only the client that asked gets them.
    pub without: Vec<HeaderName>,
    /// Fields that the route strips: nobody gets them.
    pub stripped: Vec<HeaderName>,
}

/// Judges a response: what to remember, or the first reason not to store it.
///
/// # Errors
/// The reason, most telling first: what the upstream or the client forbade comes before what is merely useless.
pub fn judge(arrival: &Arrival<'_>, rules: &CacheRules) -> Result<Storable, NoStoreReason> {
    let mut directives = ResponseDirectives::of(arrival.fields);
    if arrival.private {
        // RFC 9111 §5.2.2.7 to §5.2.2.10: what is said to shared caches alone.
        directives.s_maxage = None;
        directives.proxy_revalidate = false;
        directives.private_fields.clear();
    }
    let overridden = rules.ttl_mode == TtlMode::Override && rules.ttl.is_some();
    may_store(arrival, &directives, rules, overridden)?;
    let facts = facts(arrival, &directives, rules, overridden);
    is_worth_storing(&facts, &directives, arrival.fields)?;
    let mut without = directives.private_fields;
    without.extend(directives.no_cache_fields);
    let stripped = if rules.set_cookie == SetCookieRule::Strip { vec![header::SET_COOKIE] } else { Vec::new() };
    Ok(Storable { facts, without, stripped })
}

/// Whether the answer to a POST may serve later GETs (RFC 9110 §9.3.3): it states its freshness itself, and its
/// Content-Location says that it is what a GET of the same URI would bring (§8.7). `target` is `/path?query`.
pub fn post_serves_get(status: StatusCode, headers: &HeaderMap, scheme: &str, authority: &str, target: &str) -> bool {
    let mut locations = headers.get_all(header::CONTENT_LOCATION).iter();
    let (Some(location), None) = (locations.next().and_then(|it| it.to_str().ok()), locations.next()) else {
        return false;
    };
    let directives = ResponseDirectives::of(headers);
    let stated = directives.max_age.is_some()
        || directives.s_maxage.is_some()
        || (headers.contains_key(header::EXPIRES) && !directives.targeted);
    let is_target = invalidate::resolve(scheme, authority, target, location).is_some_and(|it| it == target);
    status == StatusCode::OK && stated && !location.trim().is_empty() && is_target
}

fn may_store(
    arrival: &Arrival<'_>,
    directives: &ResponseDirectives,
    rules: &CacheRules,
    overridden: bool,
) -> Result<(), NoStoreReason> {
    // RFC 9111 §3, in its order.
    if *arrival.method != Method::GET {
        return Err(NoStoreReason::Method);
    }
    if arrival.status == StatusCode::PARTIAL_CONTENT {
        return Err(NoStoreReason::Partial);
    }
    if arrival.status.is_informational() || arrival.status == StatusCode::NOT_MODIFIED {
        return Err(NoStoreReason::Status);
    }
    if concerns_one_request(arrival.status) && !rules.status_ttl.iter().any(|(status, _)| *status == arrival.status) {
        return Err(NoStoreReason::Status);
    }
    if arrival.request.directives.no_store {
        return Err(NoStoreReason::RequestNoStore);
    }
    if directives.must_understand && !is_understood(arrival.status) {
        return Err(NoStoreReason::Status);
    }
    // §5.2.2.3: must-understand, where understood, takes the place of no-store.
    if directives.no_store && !directives.must_understand && (!overridden || arrival.private) {
        return Err(NoStoreReason::NoStore);
    }
    // Whatever the route says: what sets a cookie may begin another session.
    if arrival.private && arrival.fields.has(&header::SET_COOKIE) {
        return Err(NoStoreReason::SetCookie);
    }
    if directives.private && !overridden && !arrival.private {
        return Err(NoStoreReason::Private);
    }
    if arrival.request.authorization && !directives.allows_authorization() {
        return Err(NoStoreReason::Authorization);
    }
    // Not of the RFC, but what keeps one visitor's page from the next when the app says nothing.
    let cookie_is_kept_apart = [&directives.private_fields, &directives.no_cache_fields]
        .iter()
        .any(|fields| fields.contains(&header::SET_COOKIE));
    if rules.set_cookie == SetCookieRule::Never && arrival.fields.has(&header::SET_COOKIE) && !cookie_is_kept_apart {
        return Err(NoStoreReason::SetCookie);
    }
    if arrival.request.cookie && !arrival.private && !allows_cookies(arrival, directives, rules) {
        return Err(NoStoreReason::CookieRequest);
    }
    Ok(())
}

fn is_worth_storing(facts: &Facts, directives: &ResponseDirectives, fields: Fields<'_>) -> Result<(), NoStoreReason> {
    // RFC 9111 §3, last item: explicit freshness, `public`, or a status that heuristics may be applied to.
    let allowed =
        facts.lifetime_source.is_explicit() || directives.public || freshness::is_heuristically_cacheable(facts.status);
    if !allowed {
        let is_error = facts.status.is_server_error();
        return Err(if is_error { NoStoreReason::ErrorStatus } else { NoStoreReason::Status });
    }
    let usable_without_validation = facts.seconds_of_use(facts.response_time) > 0 && !facts.no_cache;
    // Stale on arrival: still of use to those who accept that (§5.2.1.2) or would take it instead of an error.
    let usable_stale = facts.lifetime > 0 && !facts.forbids_stale && !facts.no_cache;
    let can_be_validated =
        fields.has(&header::ETAG) || dates::field(fields.map(), &header::LAST_MODIFIED).flatten().is_some();
    if usable_without_validation || usable_stale || can_be_validated {
        return Ok(());
    }
    Err(if facts.lifetime_source == LifetimeSource::None { NoStoreReason::NoFreshness } else { NoStoreReason::ZeroTtl })
}

fn facts(arrival: &Arrival<'_>, directives: &ResponseDirectives, rules: &CacheRules, overridden: bool) -> Facts {
    let headers = arrival.fields.map();
    let (lifetime, lifetime_source) =
        freshness::lifetime(arrival.status, headers, directives, arrival.times.response, rules);
    let forbids_stale = directives.forbids_stale() && !overridden;
    let window = |stated: Option<u32>, default: Duration| {
        let seconds = stated.map_or(default.as_secs(), u64::from).min(rules.stale_max.as_secs());
        if forbids_stale { 0 } else { seconds.min(u64::from(u32::MAX)) as u32 }
    };
    // What was never fresh is fetched for everybody who asks.
    let revalidated_late = if lifetime > 0 { rules.stale_while_revalidate } else { Duration::ZERO };
    Facts {
        status: arrival.status,
        response_time: arrival.times.response,
        initial_age: freshness::initial_age(headers, &arrival.times),
        lifetime,
        lifetime_source,
        stale_while_revalidate: window(directives.stale_while_revalidate, revalidated_late),
        stale_if_error: window(directives.stale_if_error, rules.stale_if_error),
        forbids_stale,
        immutable: directives.immutable,
        no_cache: directives.no_cache && !overridden,
        allows_authorization: directives.allows_authorization() && !arrival.private,
        allows_cookies: arrival.private || allows_cookies(arrival, directives, rules),
        stale_since: None,
        date: freshness::date(headers, arrival.times.response),
    }
}

/// Whether a response may be shared among requests with cookies: it says so itself, is a static file, or the route
/// says that cookies do not matter.
fn allows_cookies(arrival: &Arrival<'_>, directives: &ResponseDirectives, rules: &CacheRules) -> bool {
    match rules.cookies {
        CookieRule::Ignore => true,
        CookieRule::Bypass | CookieRule::BypassNames(_) => false,
        CookieRule::Protect => directives.allows_sharing() || arrival.is_static,
    }
}

/// Statuses that speak of one request, its client or its network, whatever they say of freshness: of its conditions, its
/// ranges, its Expect (RFC 9110 §15.5.13, §15.5.17, §15.5.18), its being early (RFC 8470 §5.2); RFC 6585 §3 to §6
/// forbids to store the others. As the answer for a URL one of them would keep everybody from what is there.
fn concerns_one_request(status: StatusCode) -> bool {
    matches!(status.as_u16(), 412 | 416 | 417 | 425 | 428 | 429 | 431 | 511)
}

/// Statuses whose caching requirements larder knows (RFC 9111 §3, RFC 9110 §15).
fn is_understood(status: StatusCode) -> bool {
    matches!(status.as_u16(),
        200..=206 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 428 | 429 | 431 | 451 | 500..=505 | 511)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
