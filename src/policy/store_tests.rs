//! Table tests of storing, by section.

use std::time::Duration;

use super::super::sample::headers;
use super::super::time::Timestamp;
use super::NoStoreReason as No;
use super::*;

const NOW: Timestamp = Timestamp::from_secs(784_111_777);

struct Case<'a> {
    method: Method,
    request: RequestFacts,
    status: u16,
    fields: &'a [(&'static str, &'a str)],
    is_static: bool,
    rules: CacheRules,
}

impl Default for Case<'_> {
    fn default() -> Self {
        Case {
            method: Method::GET,
            request: RequestFacts::default(),
            status: 200,
            fields: &[("cache-control", "max-age=60")],
            is_static: false,
            rules: CacheRules::default(),
        }
    }
}

impl Case<'_> {
    fn judge(&self) -> Result<Storable, NoStoreReason> {
        let headers = headers(self.fields);
        let arrival = Arrival {
            method: &self.method,
            request: &self.request,
            status: StatusCode::from_u16(self.status).unwrap(),
            fields: (&headers).into(),
            times: Times::at(NOW),
            is_static: self.is_static,
            private: false,
        };
        judge(&arrival, &self.rules)
    }

    fn refusal(&self) -> Option<NoStoreReason> {
        self.judge().err()
    }
}

#[test]
fn store_never_what_concerns_one_request() {
    // RFC 6585 §3 to §6, RFC 9110 §15.5.13, §15.5.17, §15.5.18, RFC 8470 §5.2, unless the operator names the status
    for status in [412, 416, 417, 425, 428, 429, 431, 511] {
        let case = Case { status, fields: &[("cache-control", "public, max-age=60")], ..Case::default() };
        assert_eq!(case.refusal(), Some(No::Status), "{status}");
        let status_ttl = vec![(StatusCode::from_u16(status).unwrap(), Duration::from_secs(5))];
        let case = Case { rules: CacheRules { status_ttl, ..CacheRules::default() }, ..case };
        assert_eq!(case.refusal(), None, "{status}");
    }
}

#[test]
fn store_by_method_and_status() {
    // RFC 9111 §3
    for (method, status, expected) in [
        (Method::GET, 200, None),
        (Method::POST, 200, Some(No::Method)),
        (Method::HEAD, 200, Some(No::Method)),
        (Method::GET, 103, Some(No::Status)),
        (Method::GET, 206, Some(No::Partial)),
        (Method::GET, 304, Some(No::Status)),
        (Method::GET, 302, None),
        (Method::GET, 404, None),
        (Method::GET, 500, None),
        (Method::GET, 599, None),
    ] {
        let case = Case { method: method.clone(), status, ..Case::default() };
        assert_eq!(case.refusal(), expected, "{method} {status}");
    }
}

#[test]
fn store_without_freshness_needs_a_validator_and_a_status() {
    let etag: &[_] = &[("etag", "\"1\"")];
    for (status, fields, expected) in [
        (200, &[][..], Some(No::NoFreshness)),
        (200, etag, None),
        (404, etag, None),
        (302, etag, Some(No::Status)),
        (302, &[("cache-control", "public"), ("etag", "\"1\"")], None),
        (500, etag, Some(No::ErrorStatus)),
        (503, &[("last-modified", "Sun, 06 Nov 1994 07:49:37 GMT")], Some(No::ErrorStatus)),
        (200, &[("cache-control", "max-age=0")], Some(No::ZeroTtl)),
        (200, &[("cache-control", "max-age=0"), ("etag", "\"1\"")], None),
        (200, &[("cache-control", "no-cache, max-age=60")], Some(No::ZeroTtl)),
        (200, &[("cache-control", "no-cache"), ("etag", "\"1\"")], None),
        // §5.2.1.2: max-stale may still ask for it
        (200, &[("cache-control", "max-age=60"), ("age", "60")], None),
        (200, &[("cache-control", "max-age=60, must-revalidate"), ("age", "60")], Some(No::ZeroTtl)),
        (200, &[("cache-control", "max-age=0, stale-while-revalidate=5")], None),
    ] {
        let case = Case { status, fields, ..Case::default() };
        assert_eq!(case.refusal(), expected, "{status} {fields:?}");
    }
}

#[test]
fn store_by_response_directives() {
    for (value, status, expected) in [
        ("max-age=60, no-store", 200, Some(No::NoStore)),
        ("max-age=60, NO-STORE", 200, Some(No::NoStore)),
        ("max-age=60, private", 200, Some(No::Private)),
        ("max-age=60, private=\"x-a\"", 200, None),
        // §5.2.2.3
        ("max-age=60, must-understand, no-store", 200, None),
        ("max-age=60, must-understand, no-store", 599, Some(No::Status)),
        ("max-age=60, must-understand", 599, Some(No::Status)),
    ] {
        let case = Case { status, fields: &[("cache-control", value)], ..Case::default() };
        assert_eq!(case.refusal(), expected, "{value}");
    }
}

#[test]
fn store_leaves_out_qualified_fields() {
    // §5.2.2.4, §5.2.2.7
    let fields = &[("cache-control", "max-age=60, private=\"x-a\", no-cache=\"x-b\""), ("x-a", "1"), ("x-b", "1")];
    let storable = Case { fields, ..Case::default() }.judge().unwrap();
    assert_eq!(storable.without, ["x-a", "x-b"].map(HeaderName::from_static));
    assert!(!storable.facts.no_cache);
}

#[test]
fn store_protects_credentials() {
    let authorized = RequestFacts { authorization: true, ..RequestFacts::default() };
    let with_cookie = RequestFacts { cookie: true, ..RequestFacts::default() };
    for (value, by_authorization, by_cookie) in [
        ("max-age=60", Some(No::Authorization), Some(No::CookieRequest)),
        ("max-age=60, public", None, None),
        ("s-maxage=60", None, None),
        ("max-age=60, must-revalidate", None, Some(No::CookieRequest)),
    ] {
        let fields = &[("cache-control", value)];
        assert_eq!(Case { fields, request: authorized, ..Case::default() }.refusal(), by_authorization, "{value}");
        assert_eq!(Case { fields, request: with_cookie, ..Case::default() }.refusal(), by_cookie, "{value}");
        let case = Case { fields, request: with_cookie, is_static: true, ..Case::default() };
        assert_eq!(case.refusal(), None, "a static file: {value}");
    }
}

#[test]
fn store_of_set_cookie_by_rule() {
    let fields = &[("cache-control", "max-age=60"), ("set-cookie", "a=b")];
    let judged = |set_cookie| {
        Case { fields, rules: CacheRules { set_cookie, ..CacheRules::default() }, ..Case::default() }.judge()
    };
    assert_eq!(judged(SetCookieRule::Never), Err(NoStoreReason::SetCookie));
    assert_eq!(judged(SetCookieRule::Strip).unwrap().stripped, [header::SET_COOKIE]);
    assert!(judged(SetCookieRule::Store).unwrap().stripped.is_empty());
}

#[test]
fn store_overruled_by_the_route() {
    let rules = CacheRules { ttl: Some(Duration::from_secs(5)), ttl_mode: TtlMode::Override, ..CacheRules::default() };
    for value in ["no-store", "private", "no-cache", "max-age=0, must-revalidate"] {
        let fields = &[("cache-control", value)];
        let facts = Case { fields, rules: rules.clone(), ..Case::default() }.judge().unwrap().facts;
        assert_eq!((facts.lifetime, facts.no_cache, facts.forbids_stale), (5, false, false), "{value}");
    }
    let with_cookie = &[("cache-control", "no-store"), ("set-cookie", "a=b")];
    let case = Case { fields: with_cookie, rules, ..Case::default() };
    assert_eq!(case.refusal(), Some(NoStoreReason::SetCookie), "a ttl does not make cookies shareable");
}

#[test]
fn store_refused_by_the_request() {
    let mut request = RequestFacts::default();
    request.directives.no_store = true;
    assert_eq!(Case { request, ..Case::default() }.refusal(), Some(NoStoreReason::RequestNoStore));
}

#[test]
fn store_of_post_for_get_needs_its_own_location_and_stated_freshness() {
    // RFC 9110 §9.3.3
    let fresh = ("cache-control", "max-age=60");
    let here = ("content-location", "/form?a=1");
    for (status, fields, expected) in [
        (200, &[fresh, here][..], true),
        (200, &[fresh, ("content-location", "http://app.test/form?a=1")], true),
        (200, &[fresh, ("content-location", "form?a=1")], true),
        (200, &[("expires", "Sun, 06 Nov 1994 08:49:37 GMT"), here], true),
        (200, &[("cache-control", "s-maxage=1"), here], true),
        (200, &[fresh], false),
        (200, &[here], false),
        (200, &[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"), here], false),
        (200, &[("cache-control", "public"), here], false),
        (200, &[("cdn-cache-control", "public"), ("expires", "Sun, 06 Nov 1994 08:49:37 GMT"), here], false),
        (200, &[fresh, ("content-location", "/form")], false),
        (200, &[fresh, ("content-location", "/form?a=2")], false),
        (200, &[fresh, ("content-location", "")], false),
        (200, &[fresh, ("content-location", "http://other.test/form?a=1")], false),
        (200, &[fresh, here, here], false),
        (201, &[fresh, here], false),
        (404, &[fresh, here], false),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let serves = post_serves_get(status, &headers(fields), "http", "app.test", "/form?a=1");
        assert_eq!(serves, expected, "{status} {fields:?}");
    }
}
