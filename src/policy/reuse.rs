//! May this stored response answer this request (RFC 9111 §4).

use super::facts::{Facts, RequestFacts};
use super::reason::{ForwardReason, StaleReason};
use super::time::Timestamp;

/// What to do with a request for which a stored response was selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Answer with it; it is fresh.
    Fresh,
    /// Answer with it although it is stale; with `WhileRevalidate`, see to a validation in the background.
    Stale(StaleReason),
    /// Ask the upstream whether it is still good, or for another.
    Validate(ForwardReason),
    /// It may not answer this request at all: forward as if nothing were stored.
    Forward(ForwardReason),
    /// The client wants a stored response or none: 504 (RFC 9111 §5.2.1.7).
    OnlyIfCached,
}

/// Decides for the stored response that Vary selected.
pub fn decide(request: &RequestFacts, stored: &Facts, now: Timestamp) -> Reuse {
    let decision = regardless_of_only_if_cached(request, stored, now);
    match decision {
        Reuse::Validate(_) | Reuse::Forward(_) if request.directives.only_if_cached => Reuse::OnlyIfCached,
        decision => decision,
    }
}

/// Decides where nothing usable is stored, for `reason`.
pub fn decide_without(request: &RequestFacts, reason: ForwardReason) -> Reuse {
    if request.directives.only_if_cached { Reuse::OnlyIfCached } else { Reuse::Forward(reason) }
}

fn regardless_of_only_if_cached(request: &RequestFacts, stored: &Facts, now: Timestamp) -> Reuse {
    if request.authorization && !stored.allows_authorization {
        return Reuse::Forward(ForwardReason::Authorization);
    }
    if request.cookie && !stored.allows_cookies {
        return Reuse::Forward(ForwardReason::CookieRequest);
    }
    if request.directives.no_cache {
        return Reuse::Validate(ForwardReason::RequestNoCache);
    }
    if stored.no_cache {
        return Reuse::Validate(ForwardReason::ResponseNoCache);
    }
    let ttl = stored.ttl(now);
    // RFC 8246 §2: reloading brings nothing newer of what is immutable; who must know says `no-cache`.
    let is_final = stored.immutable && ttl > 0;
    // §5.2.1.1. A reload says 0, and means: ask, even for what came within this second.
    if !is_final && request.directives.max_age.is_some_and(|most| most == 0 || stored.age(now) > most) {
        return Reuse::Validate(ForwardReason::RequestMaxAge);
    }
    if ttl <= 0 {
        return decide_stale(request, stored, ttl.unsigned_abs());
    }
    // §5.2.1.3
    if request.directives.min_fresh.is_some_and(|least| ttl < i64::from(least)) {
        return Reuse::Validate(ForwardReason::RequestMinFresh);
    }
    Reuse::Fresh
}

/// RFC 9111 §4.2.4. `staleness` is in seconds.
fn decide_stale(request: &RequestFacts, stored: &Facts, staleness: u64) -> Reuse {
    if stored.forbids_stale || request.directives.min_fresh.is_some() {
        return Reuse::Validate(ForwardReason::Stale);
    }
    // §5.2.1.2
    if request.directives.max_stale.is_some_and(|most| staleness <= u64::from(most)) {
        return Reuse::Stale(StaleReason::MaxStale);
    }
    // §5.2.1.1: who states max-age alone does not wish to receive anything stale.
    if request.directives.max_age.is_some() {
        return Reuse::Validate(ForwardReason::Stale);
    }
    // RFC 5861 §3
    if staleness < u64::from(stored.stale_while_revalidate) {
        return Reuse::Stale(StaleReason::WhileRevalidate);
    }
    Reuse::Validate(ForwardReason::Stale)
}

/// Whether the stored response may stand in for an upstream that failed (RFC 5861 §4).
pub fn may_stand_in(request: &RequestFacts, stored: &Facts, now: Timestamp) -> bool {
    let window = stored.stale_if_error.max(request.directives.stale_if_error.unwrap_or(0));
    let staleness = (-stored.ttl(now)).max(0) as u64;
    !stored.forbids_stale && !stored.no_cache && staleness < u64::from(window)
}

/// The statuses that count as a failure of the upstream (RFC 5861 §4).
pub fn is_failure(status: http::StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method, StatusCode};

    use super::super::rules::{CacheRules, RequestDirectivesRule};
    use super::super::store::{Arrival, judge};
    use super::super::time::Times;
    use super::*;

    const STORED_AT: i64 = 1_000_000;

    fn stored(cache_control: &str) -> Facts {
        let mut headers = HeaderMap::new();
        headers.insert("cache-control", cache_control.parse().unwrap());
        headers.insert("etag", "\"1\"".parse().unwrap());
        let at = Timestamp::from_secs(STORED_AT);
        let arrival = Arrival {
            method: &Method::GET,
            request: &RequestFacts::default(),
            status: StatusCode::OK,
            fields: (&headers).into(),
            times: Times::at(at),
            is_static: false,
            private: false,
        };
        judge(&arrival, &CacheRules::default()).unwrap().facts
    }

    fn request(cache_control: &str) -> RequestFacts {
        let mut headers = HeaderMap::new();
        headers.insert("cache-control", cache_control.parse().unwrap());
        RequestFacts::of(&headers, false, true, RequestDirectivesRule::Trusted)
    }

    #[test]
    fn reuse_by_age_and_directives() {
        use ForwardReason as Why;
        use Reuse::{Fresh, OnlyIfCached, Stale, Validate};
        use StaleReason::{MaxStale, WhileRevalidate};
        for (response, asked, after, expected) in [
            // RFC 9111 §4.2: fresh while age < lifetime
            ("max-age=60", "", 0, Fresh),
            ("max-age=60", "", 59, Fresh),
            ("max-age=60", "", 60, Validate(Why::Stale)),
            // §5.2.1.4, §5.2.2.4
            ("max-age=60", "no-cache", 0, Validate(Why::RequestNoCache)),
            ("max-age=60, no-cache", "", 0, Validate(Why::ResponseNoCache)),
            // §5.2.1.1
            ("max-age=60", "max-age=10", 10, Fresh),
            ("max-age=60", "max-age=10", 11, Validate(Why::RequestMaxAge)),
            ("max-age=60", "max-age=0", 0, Validate(Why::RequestMaxAge)),
            // RFC 8246 §2
            ("max-age=60, immutable", "max-age=0", 59, Fresh),
            ("max-age=60, immutable", "max-age=10", 11, Fresh),
            ("max-age=60, immutable", "max-age=0", 60, Validate(Why::RequestMaxAge)),
            ("max-age=60, immutable", "no-cache", 0, Validate(Why::RequestNoCache)),
            ("max-age=60, immutable, no-cache", "", 0, Validate(Why::ResponseNoCache)),
            ("max-age=60, immutable", "min-fresh=10", 51, Validate(Why::RequestMinFresh)),
            ("max-age=60, stale-while-revalidate=30", "max-age=99", 61, Validate(Why::Stale)),
            ("max-age=60", "max-age=99, max-stale", 61, Stale(MaxStale)),
            // §5.2.1.3
            ("max-age=60", "min-fresh=10", 50, Fresh),
            ("max-age=60", "min-fresh=10", 51, Validate(Why::RequestMinFresh)),
            // §5.2.1.2
            ("max-age=60", "max-stale=10", 70, Stale(MaxStale)),
            ("max-age=60", "max-stale=10", 71, Validate(Why::Stale)),
            ("max-age=60", "max-stale", 9999, Stale(MaxStale)),
            // §5.2.2.2, §5.2.2.8, §5.2.2.10: never stale
            ("max-age=60, must-revalidate", "max-stale", 61, Validate(Why::Stale)),
            ("max-age=60, proxy-revalidate", "max-stale", 61, Validate(Why::Stale)),
            ("s-maxage=60", "max-stale", 61, Validate(Why::Stale)),
            // RFC 5861 §3
            ("max-age=60, stale-while-revalidate=30", "", 89, Stale(WhileRevalidate)),
            ("max-age=60, stale-while-revalidate=30", "", 90, Validate(Why::Stale)),
            ("max-age=60, stale-while-revalidate=30, must-revalidate", "", 61, Validate(Why::Stale)),
            ("max-age=60, stale-while-revalidate=30", "min-fresh=1", 61, Validate(Why::Stale)),
            // §5.2.1.7
            ("max-age=60", "only-if-cached", 1, Fresh),
            ("max-age=60", "only-if-cached", 61, OnlyIfCached),
            ("max-age=60", "only-if-cached, max-stale", 61, Stale(MaxStale)),
        ] {
            let now = Timestamp::from_secs(STORED_AT + after);
            assert_eq!(decide(&request(asked), &stored(response), now), expected, "{response} / {asked} / {after}");
        }
    }

    #[test]
    fn reuse_for_requests_with_credentials_only_where_said() {
        // RFC 9111 §3.5, and the protection of apps that vary by cookie without saying so
        let now = Timestamp::from_secs(STORED_AT);
        let authorized = RequestFacts { authorization: true, ..RequestFacts::default() };
        let with_cookie = RequestFacts { cookie: true, ..RequestFacts::default() };
        for (response, auth_allowed, cookie_allowed) in [
            ("max-age=60", false, false),
            ("max-age=60, public", true, true),
            ("s-maxage=60", true, true),
            ("max-age=60, must-revalidate", true, false),
        ] {
            let fresh = |request| decide(request, &stored(response), now) == Reuse::Fresh;
            assert_eq!((fresh(&authorized), fresh(&with_cookie)), (auth_allowed, cookie_allowed), "{response}");
        }
    }

    #[test]
    fn stand_in_within_the_window_only() {
        // RFC 5861 §4
        for (response, asked, after, expected) in [
            ("max-age=60, stale-if-error=30", "", 89, true),
            ("max-age=60, stale-if-error=30", "", 90, false),
            ("max-age=60", "stale-if-error=30", 89, true),
            ("max-age=60", "", 61, false),
            ("max-age=60, stale-if-error=30, must-revalidate", "", 61, false),
            ("s-maxage=60, stale-if-error=30", "", 61, false),
        ] {
            let now = Timestamp::from_secs(STORED_AT + after);
            assert_eq!(
                may_stand_in(&request(asked), &stored(response), now),
                expected,
                "{response} / {asked} / {after}"
            );
        }
    }

    #[test]
    fn strangers_cannot_force_a_forward() {
        let mut headers = HeaderMap::new();
        headers.insert("cache-control", "no-cache, max-age=0, min-fresh=9, max-stale=5, no-store".parse().unwrap());
        let of = |trusted, rule| RequestFacts::of(&headers, false, trusted, rule).directives;
        assert!(of(true, RequestDirectivesRule::Trusted).no_cache);
        let strangers = of(false, RequestDirectivesRule::Trusted);
        assert!(!strangers.no_cache && strangers.max_age.is_none() && strangers.min_fresh.is_none());
        assert!(strangers.no_store && strangers.max_stale == Some(5));
        assert!(of(false, RequestDirectivesRule::Honour).no_cache);
        assert_eq!(of(true, RequestDirectivesRule::Ignore), Default::default());
    }
}
