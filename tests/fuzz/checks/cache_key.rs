//! Cache keys: what differs and counts makes another key, however it is written.

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use larder::cache::key::{CacheKey, TargetUri, cookie};
use larder::policy::rules::{KeyRules, QueryRule};
use larder::policy::search::NoVarySearch;

/// A byte of rules, then lines: two targets, two values of a field, two Cookie fields, a No-Vary-Search.
pub fn check(data: &[u8]) {
    let Some((&flags, rest)) = data.split_first() else { return };
    let lines: Vec<&[u8]> = rest.split(|byte| *byte == b'\n').collect();
    let line = |at: usize| lines.get(at).copied().unwrap_or_default();
    let (Some(one), Some(other)) = (target(line(0)), target(line(1))) else { return };
    let requests = [request(line(2), line(4)), request(line(3), line(5))];

    plain(&one, &other);
    let rules = rules(flags);
    for target in [&one, &other] {
        ruled(target, &rules, &requests, NoVarySearch::parse(line(6)).as_ref());
    }
}

fn target(raw: &[u8]) -> Option<PathAndQuery> {
    PathAndQuery::try_from(raw).ok().filter(|target| target.as_str().starts_with('/'))
}

fn uri(target: &PathAndQuery) -> TargetUri<'_> {
    TargetUri { scheme: "http", authority: "a.test", path: target.path(), query: target.query() }
}

fn request(value: &[u8], cookies: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [(FIELD, value), (header::COOKIE, cookies)] {
        if let Some(value) = HeaderValue::from_bytes(value.trim_ascii()).ok().filter(|value| !value.is_empty()) {
            headers.append(name, value);
        }
    }
    headers
}

const FIELD: HeaderName = HeaderName::from_static("x-field");
const COOKIE: &str = "c";

fn rules(flags: u8) -> KeyRules {
    let names = || vec!["utm_*".to_owned(), "a".to_owned()];
    KeyRules {
        query: match flags & 3 {
            0 => QueryRule::All,
            1 => QueryRule::None,
            2 => QueryRule::Only(names()),
            _ => QueryRule::Except(names()),
        },
        sort_query: flags & 4 != 0,
        normalise_escapes: flags & 8 != 0,
        headers: if flags & 16 != 0 { vec![FIELD] } else { Vec::new() },
        cookies: if flags & 32 != 0 { vec![COOKIE.to_owned()] } else { Vec::new() },
        ..KeyRules::default()
    }
}

/// Without rules every byte of the target counts.
fn plain(one: &PathAndQuery, other: &PathAndQuery) {
    let rules = KeyRules::default();
    let key = |target| CacheKey::of_url(&uri(target), &rules);
    assert_eq!(key(one) == key(other), one.as_str() == other.as_str(), "{one} and {other}");
}

fn ruled(target: &PathAndQuery, rules: &KeyRules, requests: &[HeaderMap; 2], search: Option<&NoVarySearch>) {
    let keys = requests.each_ref().map(|request| CacheKey::new(&uri(target), rules, request));
    for (key, request) in keys.iter().zip(requests) {
        assert_eq!(*key, CacheKey::new(&uri(target), rules, request), "the same twice");
        assert_eq!(CacheKey::from_text(key.as_str().to_owned(), key.base().len()).as_ref(), Some(key));
        assert_eq!(key.base(), CacheKey::of_url(&uri(target), rules).base());
        assert_eq!(key.has_additions(), !rules.headers.is_empty() || !rules.cookies.is_empty());
    }
    let differs = |of: fn(&HeaderMap) -> Option<&[u8]>| of(&requests[0]) != of(&requests[1]);
    let by_field = !rules.headers.is_empty() && differs(|request| request.get(FIELD).map(HeaderValue::as_bytes));
    let by_cookie =
        !rules.cookies.is_empty() && differs(|request| cookie(request, COOKIE).filter(|value| !value.is_empty()));
    assert!(keys[0] != keys[1] || !(by_field || by_cookie), "{:?} for {requests:?}", keys[0]);
    // A parameter that is no URL keeps the whole query as it is, until it is left out.
    if rules.query == QueryRule::All {
        normalised(&keys[0], rules);
    }
    if let Some(search) = search {
        searched(&keys[0], search);
    }
}

/// A URL in its normal form stays as it is.
fn normalised(key: &CacheKey, rules: &KeyRules) {
    let url = &key.url()["http://a.test".len()..];
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let again = CacheKey::of_url(&TargetUri { scheme: "http", authority: "a.test", path, query }, rules);
    assert_eq!(again.base(), key.base());
}

/// A key under a rule is one of that rule, and its query in its normal form stays as it is.
fn searched(key: &CacheKey, search: &NoVarySearch) {
    let under = key.under(search);
    assert_eq!(under.rule(), Some(search.text().as_str()));
    assert_eq!(under.path(), key.path());
    let query = key.base().split_once('?').map(|(_, query)| query);
    let normal = search.normalised(query);
    assert_eq!(search.normalised(Some(&normal)), normal);
}
