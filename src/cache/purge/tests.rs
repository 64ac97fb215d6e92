//! What purges do to memory, and what they look at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::*;
use crate::cache::Cache;
use crate::cache::body::SharedBody;
use crate::cache::entry::{Marks, StoredResponse};
use crate::cache::fields::StoredFields;
use crate::cache::key::CacheKey;
use crate::policy::facts::RequestFacts;
use crate::policy::rules::CacheRules;
use crate::policy::store::{Arrival, judge};
use crate::policy::tags::{Tag, Tags};
use crate::policy::time::{Times, Timestamp};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn key(path: &str) -> CacheKey {
    let text = format!("GET http://a.test{path}");
    let base = text.find('\n').unwrap_or(text.len());
    CacheKey::from_text(text, base).unwrap()
}

/// A response with a status, a media type and tags, that was asked for now.
fn response(cache: &Cache, status: u16, media_type: &str, tags: &[&str]) -> Arc<StoredResponse> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60, stale-while-revalidate=60"));
    headers.insert(header::CONTENT_TYPE, media_type.parse().unwrap());
    let arrival = Arrival {
        method: &http::Method::GET,
        request: &RequestFacts::default(),
        status: StatusCode::from_u16(status).unwrap(),
        fields: (&headers).into(),
        times: Times::at(NOW),
        is_static: false,
        private: false,
    };
    Arc::new(StoredResponse {
        facts: judge(&arrival, &CacheRules::default()).unwrap().facts,
        fields: StoredFields::pack(&headers),
        body: SharedBody::complete(b"body"),
        compressible: false,
        own_tag: false,
        marks: Marks::since(cache.log.begin().epoch()).tagged(Tags::new(tags.iter().map(|tag| Tag::Named(tag)))),
        hits: 0.into(),
        listing: Default::default(),
    })
}

fn with(count: usize) -> Cache {
    let cache = Cache::new(1 << 30);
    for at in 0..count {
        let tags = [format!("page-{at}"), format!("section-{}", at % 10)];
        let tags = tags.each_ref().map(String::as_str);
        assert!(cache.insert(&key(&format!("/{at}")), response(&cache, 200, "text/html", &tags), 8));
    }
    cache
}

fn purge(cache: &Cache, targets: Vec<PurgeTarget>) -> Found {
    cache.purge(Purge::new(targets, Mode::Hard, NOW)).unwrap().finish()
}

fn is_stored(cache: &Cache, path: &str) -> bool {
    cache.memory.get(&key(path)).is_some()
}

fn url(path: &str) -> PurgeTarget {
    PurgeTarget::Url(format!("http://a.test{path}"))
}

#[test]
fn purge_in_force_hides_what_it_matches_all_the_time_until_that_is_gone() {
    let cache = with(0);
    for target in [PurgeTarget::Prefix("/x".to_owned()), PurgeTarget::Tag("t".to_owned())] {
        for round in 0..200 {
            assert!(cache.insert(&key("/x"), response(&cache, 200, "text/html", &["t"]), 8));
            let ordered = cache.order(Purge::new(vec![target.clone()], Mode::Hard, NOW));
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for _ in 0..12 {
                    // What waits for one look must not be over before that has seen whether it may be used.
                    scope.spawn(|| {
                        while !done.load(Ordering::Acquire) {
                            assert!(!is_stored(&cache, "/x"), "{target:?}, round {round}");
                            assert!(cache.memory.peek(&key("/x")).is_none(), "{target:?}, round {round}");
                        }
                    });
                }
                cache.carry_out(ordered).finish();
                done.store(true, Ordering::Release);
            });
            cache.memory.each_usable(|key, _| panic!("{} is told of", key.as_str()));
        }
    }
}

#[test]
fn purge_by_name_looks_at_what_it_names_alone() {
    let cache = with(200_000);
    for (target, matched) in [
        (url("/4711"), 1),
        (url("/none"), 0),
        (PurgeTarget::Key("GET http://a.test/4712".into()), 1),
        (PurgeTarget::Tag("page-4713".into()), 1),
        (PurgeTarget::Tag("none".into()), 0),
        // One in ten, less two of those above.
        (PurgeTarget::Tag("section-3".into()), 19_999),
    ] {
        let found = purge(&cache, vec![target.clone()]);
        assert_eq!((found.total(), found.visited), (matched, matched), "{target}");
    }
    assert!(!is_stored(&cache, "/4711") && !is_stored(&cache, "/4713") && is_stored(&cache, "/4714"));
    assert_eq!(cache.purged(), 20_002);
    // The tier drops what it removed by and by, and the index lets go of that then.
    assert!(cache.memory.index.of_tag("section-3").len() < 1_000);
}

#[test]
fn purge_of_ten_thousand_targets_counts_each_response_once() {
    let cache = with(20_000);
    let mut targets: Vec<_> = (0..9_998).map(|at| url(&format!("/{at}"))).collect();
    targets.push(PurgeTarget::Tag("section-0".into()));
    targets.push(PurgeTarget::Glob("a.test/1????".into()));
    let would = cache.would_purge(&targets).unwrap();
    let found = purge(&cache, targets);
    assert_eq!(found.by_target[..9_998], [1; 9_998]);
    // Of the 2,000 of the section those 1,000 that have no target of their own yet, of the 10,000 of the glob the others.
    assert_eq!(found.by_target[9_998..], [1_000, 9_000]);
    assert_eq!((would.by_target, would.sample.len()), (found.by_target, 20));
    assert!(is_stored(&cache, "/9999") && !is_stored(&cache, "/10000"));
}

#[test]
fn purge_by_pattern_is_in_force_before_it_is_swept() {
    let cache = with(100);
    cache.insert(&key("/gone"), response(&cache, 404, "text/plain; charset=utf-8", &[]), 8);
    for (target, gone, matched) in [
        (PurgeTarget::Prefix("a.test/1".into()), "/1", 11),
        (PurgeTarget::Glob("/2?".into()), "/20", 10),
        (PurgeTarget::Regex("/3[0-4]$".into()), "/30", 5),
        (PurgeTarget::Status("4xx".parse().unwrap()), "/gone", 1),
        (PurgeTarget::ContentType("text/plain".into()), "/gone", 0),
        (PurgeTarget::All, "/99", 74),
    ] {
        let purging = cache.purge(Purge::new(vec![target.clone()], Mode::Hard, NOW)).unwrap();
        assert!(!is_stored(&cache, gone), "{target}");
        // What is fetched after the purge is none of its business.
        cache.insert(&key("/new"), response(&cache, 404, "text/html", &[]), 8);
        assert_eq!(purging.finish().total(), matched, "{target}");
        assert!(is_stored(&cache, "/new"), "{target}");
        cache.memory.remove_variant(&key("/new"), &cache.memory.get(&key("/new")).unwrap().variants()[0]);
    }
    assert_eq!(cache.memory.bans.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert_eq!(cache.log.retained(), 0, "nobody needs them any more");
}

#[test]
fn purge_that_was_never_swept_stays_in_force() {
    let cache = with(10);
    drop(cache.purge(Purge::new(vec![PurgeTarget::All], Mode::Hard, NOW)).unwrap());
    purge(&cache, vec![url("/other")]);
    assert!(!is_stored(&cache, "/1"));
    assert_eq!(cache.log.retained(), 2);
}

#[test]
fn nobody_waits_while_patterns_are_compiled() {
    let cache = &with(1);
    let (told, tells) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let _held = cache.outstanding.seqs.lock();
        scope.spawn(move || {
            let bad = Purge::new(vec![PurgeTarget::Regex("(".into())], Mode::Hard, NOW);
            let _ = told.send(cache.purge(bad).is_err());
        });
        let is_told = tells.recv_timeout(std::time::Duration::from_secs(10));
        assert_eq!(is_told, Ok(true), "it is known to be none before it is anybody's turn");
    });
    assert_eq!(cache.memory.bans.load(Ordering::Relaxed), 0);
}

#[test]
fn soft_purge_leaves_what_is_stale_since() {
    let cache = with(10);
    let later = Timestamp::from_secs(1_000_010);
    let soft = |target, at| cache.purge(Purge::new(vec![target], Mode::Soft, at)).unwrap().finish().total();
    assert_eq!(soft(PurgeTarget::Tag("page-1".into()), NOW), 1);
    assert_eq!(soft(PurgeTarget::All, later), 10);
    let facts = |path| cache.memory.get(&key(path)).unwrap().variants()[0].facts.clone();
    assert_eq!((facts("/1").stale_since, facts("/2").stale_since), (Some(NOW), Some(later)));
    assert!(!facts("/1").is_fresh(NOW) && facts("/1").stale_while_revalidate > 0);
    // It is still found by its tags.
    assert_eq!(purge(&cache, vec![PurgeTarget::Tag("page-1".into())]).total(), 1);
    assert!(!is_stored(&cache, "/1"));
}

#[test]
fn soft_purge_counts_once_what_several_targets_name() {
    let cache = with(10);
    let targets = vec![url("/3"), PurgeTarget::Tag("page-3".into()), PurgeTarget::Prefix("/".into()), PurgeTarget::All];
    for _ in 0..2 {
        let purge = Purge::new(targets.clone(), Mode::Soft, NOW);
        let found = cache.purge(purge).unwrap().finish();
        assert_eq!((found.total(), found.by_target[0]), (10, 1), "{:?}", found.by_target);
    }
}

#[test]
fn what_was_fetched_before_a_purge_is_not_stored_after_it() {
    for (target, expected) in [
        (url("/x"), false),
        (PurgeTarget::Tag("t".into()), false),
        (PurgeTarget::ContentType("text/*".into()), false),
        (PurgeTarget::Prefix("/x".into()), false),
        (url("/y"), true),
        (PurgeTarget::Tag("u".into()), true),
    ] {
        let cache = Cache::new(1 << 20);
        let began = cache.log.begin();
        let fetched = response(&cache, 200, "text/html", &["t"]);
        purge(&cache, vec![target.clone()]);
        assert_eq!(cache.insert(&key("/x"), fetched, 8), expected, "{target}");
        assert_eq!(is_stored(&cache, "/x"), expected, "{target}");
        drop(began);
    }
}

#[test]
fn purge_between_storing_and_the_end_of_the_body_removes_it() {
    let cache = Cache::new(1 << 20);
    let _began = cache.log.begin();
    let held = cache.hold(&key("/x"), response(&cache, 200, "text/html", &["t"]), 8).unwrap();
    purge(&cache, vec![PurgeTarget::Tag("t".into())]);
    assert!(!cache.keep(&key("/x"), held) && !is_stored(&cache, "/x"));
    let softly = cache.hold(&key("/y"), response(&cache, 200, "text/html", &["t"]), 8).unwrap();
    let _ = cache.purge(Purge::new(vec![PurgeTarget::Tag("t".into())], Mode::Soft, NOW)).unwrap().finish();
    assert!(cache.keep(&key("/y"), softly));
    assert_eq!(cache.memory.get(&key("/y")).unwrap().variants()[0].facts.stale_since, Some(NOW));
}

#[test]
fn purge_by_url_takes_the_keys_that_routes_made_of_it() {
    let cache = Cache::new(1 << 20);
    for path in ["/x", "/x\nx-lang:2:de", "/x\nx-lang:2:en", "/xx\nx-lang:2:de"] {
        cache.insert(&key(path), response(&cache, 200, "text/html", &[]), 8);
    }
    assert_eq!(purge(&cache, vec![PurgeTarget::Key("GET http://a.test/x\nx-lang:2:de".into())]).total(), 1);
    assert_eq!(purge(&cache, vec![url("/x")]).total(), 2);
    assert!(is_stored(&cache, "/xx\nx-lang:2:de"));
}

#[test]
fn tags_count_towards_the_memory_budget() {
    let cache = Cache::new(1 << 20);
    let cost = |tags: &[&str]| response(&cache, 200, "text/html", tags).cost(&key("/x"));
    let (none, one, two) = (cost(&[]), cost(&["a"]), cost(&["a", "b"]));
    assert!(one > none + 100 && two > one + 90);
}

#[test]
fn shared_purges_are_applied_once() {
    let cache = with(2);
    let purge = Purge::new(vec![url("/0")], Mode::Hard, NOW);
    assert_eq!(cache.purge_shared(purge.clone(), (1, 0)).unwrap().finish().total(), 1);
    // The node still has something that came before it: the log remembers it.
    let _began = cache.log.begin();
    let own = Purge::new(vec![url("/1")], Mode::Hard, NOW);
    let _ = cache.purge(own.clone()).unwrap().finish();
    assert!(cache.purge_shared(own, (2, 0)).is_none());
    assert_eq!(cache.log.shared_position(), (2, 0));
    assert_eq!(cache.memory.bans.load(std::sync::atomic::Ordering::Relaxed), 0);
}
