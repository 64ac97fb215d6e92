//! larder's policy against the `http-cache-semantics` crate on a generated grid, where both speak: stored or not, and
//! fresh or not. Wherever they differ, a row of [`DIFFERENCES`] says why.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_cache_semantics::{BeforeRequest, CacheOptions, CachePolicy};
use larder::policy::facts::RequestFacts;
use larder::policy::reuse::{self, Reuse};
use larder::policy::rules::{CacheRules, RequestDirectivesRule};
use larder::policy::store::{self, Arrival};
use larder::policy::time::{Times, Timestamp};

const NOW: i64 = 784_111_777;

/// What a response says, its age at the time of asking, and what the later request says.
#[derive(Clone, Copy, Debug)]
struct Case {
    status: u16,
    cache_control: &'static str,
    further: Option<(&'static str, &'static str)>,
    authorized: bool,
    asked: &'static str,
    after: u64,
}

const STATUSES: [u16; 7] = [200, 302, 404, 410, 429, 500, 501];

const RESPONSES: [&str; 16] = [
    "",
    "max-age=60",
    "s-maxage=60",
    "max-age=0, s-maxage=60",
    "max-age=60, s-maxage=0",
    "public",
    "public, max-age=60",
    "private, max-age=60",
    "no-store, max-age=60",
    "no-cache, max-age=60",
    "max-age=60, must-revalidate",
    "max-age=60, proxy-revalidate",
    "max-age=60, immutable",
    "immutable",
    "max-age=60, private=\"x-a\"",
    "max-age=x",
];

const FURTHER: [Option<(&str, &str)>; 7] = [
    None,
    Some(("age", "30")),
    Some(("age", "x")),
    Some(("expires", "Sun, 06 Nov 1994 08:50:37 GMT")),
    Some(("expires", "0")),
    Some(("last-modified", "Sun, 06 Nov 1994 08:33:00 GMT")),
    Some(("pragma", "no-cache")),
];

const ASKED: [&str; 8] =
    ["", "no-cache", "no-store", "max-age=20", "min-fresh=20", "max-stale", "max-stale=10", "max-age=99, max-stale=99"];

const AFTER: [u64; 5] = [0, 20, 40, 65, 1000];

/// When the two differ, and why larder keeps to its answer. `true`: larder answers from the stored response and the
/// crate does not.
type Difference = (&'static str, bool, fn(&Case) -> bool);

const DIFFERENCES: [Difference; 8] = [
    (
        "the crate validates `immutable` for the request's max-age; RFC 8246 §2 says not to while it is fresh",
        true,
        |case| case.cache_control.contains("immutable") && case.asked.starts_with("max-age="),
    ),
    ("the crate knows only some statuses; RFC 9111 §3 stores any final one with explicit freshness", true, |case| {
        matches!(case.status, 429 | 500)
    }),
    ("the crate reads `private=\"…\"` as `private`; RFC 9111 §5.2.2.7 keeps back those fields only", true, |case| {
        case.cache_control.contains("private=")
    }),
    (
        "the crate takes `proxy-revalidate` for a lifetime of zero; RFC 9111 §5.2.2.8 forbids staleness only",
        true,
        |case| case.cache_control.contains("proxy-revalidate"),
    ),
    ("the crate gives `immutable` a day of its own; RFC 8246 §2 states no lifetime", false, |case| {
        case.cache_control.contains("immutable")
    }),
    (
        "the crate serves s-maxage stale for max-stale; RFC 9111 §5.2.2.10 has the meaning of proxy-revalidate",
        false,
        |case| case.cache_control.contains("s-maxage") && case.asked.contains("max-stale"),
    ),
    (
        "the crate serves for max-stale even what is to be validated each time, or has no freshness stated at all; \
         larder stores nothing that has neither freshness nor validator, and no-cache is no staleness",
        false,
        |case| case.asked.contains("max-stale"),
    ),
    ("the crate counts max-stale exclusively; RFC 9111 §5.2.1.2 says \"by no more than\"", true, |case| {
        case.asked.contains("max-stale=10")
    }),
];

fn headers(case: &Case) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("date", "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
    if !case.cache_control.is_empty() {
        headers.insert("cache-control", case.cache_control.parse().unwrap());
    }
    if let Some((name, value)) = case.further {
        headers.insert(name, value.parse().unwrap());
    }
    headers
}

fn request(cache_control: &str, authorized: bool) -> Request<()> {
    let mut request = Request::get("http://app.test/page").body(()).unwrap();
    if !cache_control.is_empty() {
        request.headers_mut().insert("cache-control", cache_control.parse().unwrap());
    }
    if authorized {
        request.headers_mut().insert("authorization", "Basic YTpi".parse().unwrap());
    }
    request
}

/// Whether larder answers the later request from what it stored, if it stored it.
fn larder_reuses(case: &Case) -> bool {
    let facts = |request: &Request<()>| RequestFacts::of(request.headers(), false, true, RequestDirectivesRule::Honour);
    let at = Timestamp::from_secs(NOW);
    let fields = headers(case);
    let arrival = Arrival {
        method: &Method::GET,
        request: &facts(&request("", case.authorized)),
        status: StatusCode::from_u16(case.status).unwrap(),
        fields: (&fields).into(),
        times: Times::at(at),
        is_static: false,
        private: false,
    };
    store::judge(&arrival, &CacheRules::default()).is_ok_and(|storable| {
        let decision = reuse::decide(
            &facts(&request(case.asked, case.authorized)),
            &storable.facts,
            at + Duration::from_secs(case.after),
        );
        matches!(decision, Reuse::Fresh | Reuse::Stale(_))
    })
}

fn crate_reuses(case: &Case) -> bool {
    let at = |seconds: u64| -> SystemTime { UNIX_EPOCH + Duration::from_secs(NOW as u64 + seconds) };
    let mut response = Response::builder().status(case.status).body(()).unwrap();
    *response.headers_mut() = headers(case);
    let policy = CachePolicy::new_options(&request("", case.authorized), &response, at(0), CacheOptions::default());
    policy.is_storable()
        && matches!(
            policy.before_request(&request(case.asked, case.authorized), at(case.after)),
            BeforeRequest::Fresh(_)
        )
}

fn grid() -> impl Iterator<Item = Case> {
    STATUSES.into_iter().flat_map(|status| {
        RESPONSES.into_iter().flat_map(move |cache_control| {
            FURTHER.into_iter().flat_map(move |further| {
                [false, true].into_iter().flat_map(move |authorized| {
                    ASKED.into_iter().flat_map(move |asked| {
                        AFTER.into_iter().map(move |after| Case {
                            status,
                            cache_control,
                            further,
                            authorized,
                            asked,
                            after,
                        })
                    })
                })
            })
        })
    })
}

#[test]
fn differential_policy_differs_only_where_explained() {
    let mut used = [false; DIFFERENCES.len()];
    let mut unexplained = Vec::new();
    for case in grid() {
        let (ours, theirs) = (larder_reuses(&case), crate_reuses(&case));
        if ours == theirs {
            continue;
        }
        let reason =
            DIFFERENCES.iter().position(|(_, larder_answers, applies)| *larder_answers == ours && applies(&case));
        match reason {
            Some(row) => used[row] = true,
            None => unexplained.push((case, ours)),
        }
    }
    assert!(
        unexplained.is_empty(),
        "{} unexplained, e.g. {:#?}",
        unexplained.len(),
        &unexplained[..unexplained.len().min(12)]
    );
    for ((why, ..), used) in DIFFERENCES.iter().zip(used) {
        assert!(used, "explains nothing any more: {why}");
    }
}
