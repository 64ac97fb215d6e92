//! The policy: whatever an upstream and a client say, there is a decision, and it keeps to what was said.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use larder::policy::directives::ResponseDirectives;
use larder::policy::entity_tag::EntityTag;
use larder::policy::facts::{Facts, RequestFacts};
use larder::policy::preconditions::{self, Validators};
use larder::policy::present::Names;
use larder::policy::rules::{CacheRules, CookieRule, RequestDirectivesRule, SetCookieRule, TtlMode};
use larder::policy::search::NoVarySearch;
use larder::policy::store::{self, Arrival};
use larder::policy::tags::{self, TagRules, Tags};
use larder::policy::time::{Times, Timestamp};
use larder::policy::vary::Selection;
use larder::policy::{dates, fields, invalidate, reuse, validate};

/// Flags, the status' place among all, two times of 8 bytes in milliseconds, then the response's fields and, after an
/// empty line, the request's.
pub fn check(data: &[u8]) {
    let Some((&[flags, status], rest)) = data.split_first_chunk::<2>() else { return };
    let (received, rest) = super::fields::number(rest);
    let (later, rest) = super::fields::number(rest);
    let end = rest.windows(2).position(|window| window == b"\n\n").unwrap_or(rest.len());
    let (response, request) = (super::fields::read(&rest[..end]), super::fields::read(&rest[end..]));
    let status = StatusCode::from_u16(200 + u16::from(status)).expect("up to 455");
    let received = Timestamp::from_millis(received as i64);
    let now = received + Duration::from_millis(later);

    for rules in [CacheRules::default(), rules(flags)] {
        stored(&response, &request, status, Times::at(received), now, &rules);
    }
    selected(&response, &request);
    told(&response, &request);
    changed(&response, &request, received);
}

fn rules(flags: u8) -> CacheRules {
    CacheRules {
        ttl: (flags & 1 != 0).then_some(Duration::MAX),
        ttl_mode: if flags & 2 != 0 { TtlMode::Override } else { TtlMode::Honour },
        ttl_max: (flags & 4 != 0).then_some(Duration::from_secs(5)),
        status_ttl: vec![(StatusCode::NOT_FOUND, Duration::from_secs(7))],
        heuristic_percent: if flags & 8 != 0 { 100 } else { 0 },
        heuristic_max: Duration::MAX,
        cookies: if flags & 16 != 0 { CookieRule::Ignore } else { CookieRule::Protect },
        set_cookie: if flags & 32 != 0 { SetCookieRule::Store } else { SetCookieRule::Strip },
        request_directives: RequestDirectivesRule::Honour,
        stale_max: Duration::MAX,
        ..CacheRules::default()
    }
}

fn stored(
    response: &HeaderMap,
    request: &HeaderMap,
    status: StatusCode,
    times: Times,
    now: Timestamp,
    rules: &CacheRules,
) {
    let cookie = request.contains_key(header::COOKIE);
    let asked = RequestFacts::of(request, cookie, true, rules.request_directives);
    let arrival = Arrival {
        method: &Method::GET,
        request: &asked,
        status,
        fields: response.into(),
        times,
        is_static: false,
        private: false,
    };
    let verdict = store::judge(&arrival, rules);
    assert_eq!(verdict, store::judge(&arrival, rules), "the same twice");
    let Ok(storable) = verdict else { return };
    let said = ResponseDirectives::of(response);
    let overridden = rules.ttl.is_some() && rules.ttl_mode == TtlMode::Override;
    assert!(overridden || !said.private);
    assert!(overridden || !said.no_store || said.must_understand);
    assert!(!asked.directives.no_store && (!asked.authorization || said.allows_authorization()));
    reused(&asked, &storable.facts, times.response, now);
}

fn reused(asked: &RequestFacts, facts: &Facts, received: Timestamp, now: Timestamp) {
    assert!(facts.age(now) >= facts.age(received) && facts.age(received) == facts.initial_age);
    assert_eq!(facts.is_fresh(now), facts.ttl(now) > 0);
    let _ = facts.seconds_of_use(now);
    match reuse::decide(asked, facts, now) {
        reuse::Reuse::Fresh => assert!(facts.is_fresh(now) && !facts.no_cache && facts.admits(asked)),
        reuse::Reuse::Stale(_) => assert!(!facts.is_fresh(now) && !facts.forbids_stale && facts.admits(asked)),
        _ => {}
    }
    assert!(!reuse::may_stand_in(asked, facts, now) || !facts.forbids_stale);
}

/// A response is selected by the request that fetched it, and by no other than Vary allows.
fn selected(response: &HeaderMap, request: &HeaderMap) {
    let Some(selection) = Selection::of(response, request, &[]) else {
        return assert!(response.contains_key(header::VARY));
    };
    assert!(selection.matches(request, None) && selection == selection.for_request(request));
    assert!(selection.is_empty() || response.contains_key(header::VARY));
    let _ = selection.matches(response, response.get(header::CONTENT_LANGUAGE).map(|language| language.as_bytes()));
}

/// What fields say of tags, groups, targets and queries.
fn told(response: &HeaderMap, request: &HeaderMap) {
    if let Some(search) = NoVarySearch::of(response) {
        assert_eq!(search.text(), search.clone().text());
        for value in request.values().filter_map(|value| value.to_str().ok()) {
            let normal = search.normalised(Some(value));
            assert_eq!(search.normalised(Some(&normal)), normal);
        }
    }
    let rules = TagRules::default();
    if let Ok(tags) = Tags::of(response, &rules) {
        assert!(tags.len() <= rules.most && tags.iter().all(|tag| tag.name().len() <= rules.longest));
        assert_eq!(Tags::new(tags.iter()), tags);
        assert_eq!(tags.updated(&tags, response), tags);
    }
    let _ = tags::invalidated_groups(&Method::POST, StatusCode::OK, response);
    let _ = invalidate::named_targets("http", "a.test", "/a/b", response);
    for value in response.values().filter_map(|value| value.to_str().ok()) {
        if let Some(date) = dates::parse(value) {
            assert_eq!(dates::format(date).to_str().ok().and_then(dates::parse), Some(date));
        }
    }
}

/// What becomes of fields on their way, and of conditions.
fn changed(response: &HeaderMap, request: &HeaderMap, date: Timestamp) {
    let mut forwarded = response.clone();
    let names = Names::of(&forwarded);
    fields::remove_hop_by_hop(&mut forwarded, names);
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::PROXY_AUTHENTICATE] {
        assert!(!forwarded.contains_key(name));
    }
    let mut freshened = forwarded.clone();
    fields::update(&mut freshened, response);
    let mut conditional = request.clone();
    validate::make_conditional(&mut conditional, Some(response), response.get_all(header::ETAG).iter());
    assert!(response.contains_key(header::ETAG) || !conditional.contains_key(header::IF_NONE_MATCH));
    let etag = response.get(header::ETAG).and_then(|tag| EntityTag::parse(tag.as_bytes()));
    let last_modified = response.get(header::LAST_MODIFIED).and_then(|date| dates::parse(date.to_str().ok()?));
    let validators = Validators { etag, last_modified };
    let _ = preconditions::evaluate(&Method::GET, request, &validators);
    let _ = preconditions::range_applies(request, &validators, date);
    let _ = (validate::confirms(request, response, true), validate::head_confirms(request, response, Some(1)));
    if etag.is_some_and(|tag| !tag.weak) {
        assert!(validate::confirms(response, response, false), "it confirms itself");
    }
}
