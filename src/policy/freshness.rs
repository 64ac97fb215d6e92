//! Freshness lifetime (RFC 9111 §4.2.1, §4.2.2) and initial age (§4.2.3) of a response on its arrival.

use http::{HeaderMap, StatusCode, header};

use super::dates;
use super::directives::{MAX_DELTA, ResponseDirectives, delta_seconds};
use super::facts::LifetimeSource;
use super::list::Elements;
use super::rules::{CacheRules, TtlMode};
use super::time::{Times, Timestamp};

/// Statuses that may be reused by heuristic (RFC 9110 §15.1).
pub fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// The freshness lifetime in seconds and where it comes from, the route's rules applied.
pub fn lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    response_time: Timestamp,
    rules: &CacheRules,
) -> (u32, LifetimeSource) {
    let (seconds, source) = uncapped(status, headers, directives, response_time, rules);
    let cap = rules.ttl_max.map_or(MAX_DELTA, |most| seconds_of(most.as_secs()));
    (seconds.min(cap), source)
}

fn uncapped(
    status: StatusCode,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    response_time: Timestamp,
    rules: &CacheRules,
) -> (u32, LifetimeSource) {
    let by_status = rules.status_ttl.iter().find(|(of, _)| *of == status).map(|(_, ttl)| seconds_of(ttl.as_secs()));
    // A route's `ttl` is meant for the page, not for the error that stands in its place.
    let by_route = rules.ttl.filter(|_| !is_error(status)).map(|ttl| seconds_of(ttl.as_secs()));
    if rules.ttl_mode == TtlMode::Override {
        if let Some(ttl) = by_status {
            return (ttl, LifetimeSource::Status);
        }
        if let Some(ttl) = by_route {
            return (ttl, LifetimeSource::Route);
        }
    }
    if let Some(stated) = stated(headers, directives, response_time) {
        return stated;
    }
    if let Some(ttl) = by_status {
        return (ttl, LifetimeSource::Status);
    }
    if let Some(ttl) = by_route {
        return (ttl, LifetimeSource::Route);
    }
    heuristic(status, headers, directives, response_time, rules)
}

/// RFC 9111 §4.2.1: s-maxage, else max-age, else Expires.
fn stated(
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    response_time: Timestamp,
) -> Option<(u32, LifetimeSource)> {
    if let Some(seconds) = directives.s_maxage {
        return Some((seconds, LifetimeSource::SMaxage));
    }
    if let Some(seconds) = directives.max_age {
        return Some((seconds, LifetimeSource::MaxAge));
    }
    if directives.targeted {
        return None; // RFC 9213 §2.1: Expires is overruled as well
    }
    // RFC 9111 §5.3: an invalid date, `0` above all, means "already expired".
    let expires = dates::field(headers, &header::EXPIRES)?;
    let seconds = expires.map_or(0, |at| seconds_of(at.since(date(headers, response_time)).as_secs()));
    Some((seconds, LifetimeSource::Expires))
}

/// RFC 9111 §4.2.2: only where nothing is stated, for statuses that allow it or with `public`.
fn heuristic(
    status: StatusCode,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    response_time: Timestamp,
    rules: &CacheRules,
) -> (u32, LifetimeSource) {
    if !is_heuristically_cacheable(status) && !directives.public {
        return (0, LifetimeSource::None);
    }
    let Some(Some(modified)) = dates::field(headers, &header::LAST_MODIFIED) else {
        return (0, LifetimeSource::None);
    };
    let unchanged = date(headers, response_time).since(modified).as_secs();
    let seconds = unchanged / 100 * u64::from(rules.heuristic_percent)
        + unchanged % 100 * u64::from(rules.heuristic_percent) / 100;
    match seconds_of(seconds.min(rules.heuristic_max.as_secs())) {
        0 => (0, LifetimeSource::None),
        seconds => (seconds, LifetimeSource::Heuristic),
    }
}

/// `corrected_initial_age` in seconds (RFC 9111 §4.2.3).
pub fn initial_age(headers: &HeaderMap, times: &Times) -> u32 {
    let apparent = (times.wall.as_secs() - date(headers, times.wall).as_secs()).max(0) as u64;
    let response_delay = times.response.since(times.request).as_secs();
    let corrected = u64::from(age_value(headers)) + response_delay;
    seconds_of(apparent.max(corrected))
}

/// The Age field (RFC 9111 §5.1): of several values the first; one that is no number is ignored.
fn age_value(headers: &HeaderMap) -> u32 {
    let first = headers.get(header::AGE).and_then(|line| Elements(line.as_bytes()).next());
    first.and_then(delta_seconds).unwrap_or(0)
}

/// The Date field, or the time of receipt where it is missing or no date (RFC 9110 §6.6.1).
pub fn date(headers: &HeaderMap, response_time: Timestamp) -> Timestamp {
    dates::field(headers, &header::DATE).flatten().unwrap_or(response_time)
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

fn seconds_of(seconds: u64) -> u32 {
    seconds.min(u64::from(MAX_DELTA)) as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::sample::headers;
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT

    fn lifetime_of(status: u16, fields: &[(&'static str, &str)], rules: &CacheRules) -> (u32, LifetimeSource) {
        let headers = headers(fields);
        let status = StatusCode::from_u16(status).unwrap();
        lifetime(status, &headers, &ResponseDirectives::of(&headers), NOW, rules)
    }

    #[test]
    fn lifetime_precedence_of_stated_values() {
        use LifetimeSource::*;
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let expires = ("expires", "Sun, 06 Nov 1994 08:50:37 GMT");
        for (fields, expected) in [
            // RFC 9111 §4.2.1
            (vec![("cache-control", "max-age=5, s-maxage=9"), expires, date], (9, SMaxage)),
            (vec![("cache-control", "max-age=5"), expires, date], (5, MaxAge)),
            (vec![expires, date], (60, Expires)),
            (vec![expires], (60, Expires)),
            (vec![("expires", "0"), date], (0, Expires)),
            (vec![("expires", "0"), ("cache-control", "max-age=7")], (7, MaxAge)),
            (vec![("expires", "Sun, 06 Nov 1994 08:48:37 GMT"), date], (0, Expires)),
            (vec![expires, ("expires", "Sun, 06 Nov 1994 08:59:37 GMT"), date], (0, Expires)),
            (vec![("cache-control", "max-age=x"), expires, date], (0, MaxAge)),
            // RFC 9213 §2.1
            (vec![("cdn-cache-control", "public"), expires, date], (0, None)),
        ] {
            assert_eq!(lifetime_of(200, &fields, &CacheRules::default()), expected, "{fields:?}");
        }
    }

    #[test]
    fn heuristic_only_where_allowed() {
        use LifetimeSource::*;
        let modified = ("last-modified", "Sun, 06 Nov 1994 07:49:37 GMT"); // an hour before
        let rules = CacheRules::default();
        for status in [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501] {
            assert_eq!(lifetime_of(status, &[modified], &rules), (360, Heuristic), "{status}");
        }
        for status in [201, 202, 302, 303, 307, 400, 403, 500, 502, 503, 599] {
            assert_eq!(lifetime_of(status, &[modified], &rules), (0, None), "{status}");
            assert_eq!(
                lifetime_of(status, &[modified, ("cache-control", "public")], &rules),
                (360, Heuristic),
                "{status}"
            );
        }
        let capped = CacheRules { heuristic_max: Duration::from_secs(10), ..CacheRules::default() };
        assert_eq!(lifetime_of(200, &[modified], &capped), (10, Heuristic));
    }

    #[test]
    fn route_ttl_fills_in_or_overrides() {
        use LifetimeSource::*;
        let ttl = CacheRules { ttl: Some(Duration::from_secs(30)), ..CacheRules::default() };
        let over = CacheRules { ttl_mode: TtlMode::Override, ..ttl.clone() };
        assert_eq!(lifetime_of(200, &[], &ttl), (30, Route));
        assert_eq!(lifetime_of(200, &[("cache-control", "max-age=5")], &ttl), (5, MaxAge));
        assert_eq!(lifetime_of(200, &[("cache-control", "max-age=5")], &over), (30, Route));
        assert_eq!(lifetime_of(500, &[], &over), (0, None), "an error is not the page");
        let negative = CacheRules { status_ttl: vec![(StatusCode::NOT_FOUND, Duration::from_secs(3))], ..ttl };
        assert_eq!(lifetime_of(404, &[], &negative), (3, Status));
        let capped = CacheRules { ttl_max: Some(Duration::from_secs(2)), ..CacheRules::default() };
        assert_eq!(lifetime_of(200, &[("cache-control", "max-age=5")], &capped), (2, MaxAge));
    }

    #[test]
    fn initial_age_is_the_larger_of_apparent_and_corrected() {
        // RFC 9111 §4.2.3
        let later = NOW + Duration::from_secs(4);
        let times = Times { request: NOW, response: later, wall: later };
        for (fields, expected) in [
            (&[][..], 4),
            (&[("age", "10")], 14),
            (&[("age", "10, 20")], 14),
            (&[("age", "x")], 4),
            (&[("age", "-1")], 4),
            (&[("age", "99999999999")], MAX_DELTA),
            (&[("date", "Sun, 06 Nov 1994 08:49:07 GMT")], 34),
            (&[("date", "Sun, 06 Nov 1994 09:49:07 GMT")], 4),
        ] {
            assert_eq!(initial_age(&headers(fields), &times), expected, "{fields:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn ages_and_lifetimes_of_anything_are_in_range(
            age in "[0-9]{0,24}|\\PC{0,8}|[0-9, -]{0,12}",
            lifetime in "max-age=[0-9x\"-]{0,24}|s-maxage=\\PC{0,6}",
            at: i64,
            delay: i64,
        ) {
            let mut fields = HeaderMap::new();
            for (name, text) in [(header::AGE, &age), (header::CACHE_CONTROL, &lifetime), (header::EXPIRES, &age)] {
                if let Ok(value) = text.parse() {
                    fields.insert(name, value);
                }
            }
            let request = Timestamp::from_millis(at);
            let response = Timestamp::from_millis(at.saturating_add(delay));
            assert!(initial_age(&fields, &Times { request, response, wall: response }) <= MAX_DELTA);
            let directives = ResponseDirectives::of(&fields);
            let rules = CacheRules::default();
            assert!(super::lifetime(StatusCode::OK, &fields, &directives, response, &rules).0 <= MAX_DELTA);
        }
    }
}
