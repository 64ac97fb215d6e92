//! The tiers below memory, with one that keeps its records in a map.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::*;
use crate::cache::body::SharedBody;
use crate::cache::entry::Marks;
use crate::cache::purge::{Mode, Purge, PurgeLog, PurgeTarget};
use crate::clock::Clock;
use crate::policy::facts::RequestFacts;
use crate::policy::rules::CacheRules;
use crate::policy::store::{Arrival, judge};
use crate::policy::tags::{Tag, Tags};
use crate::policy::time::{Times, Timestamp};

/// A tier that keeps records as bytes, as a real one does, and works when it is let.
#[derive(Debug)]
struct Map {
    records: Mutex<HashMap<Slot, Vec<u8>>>,
    clock: Clock,
    loads: AtomicU64,
    may_load: Semaphore,
    may_store: Semaphore,
}

/// Held, nothing may load or store.
const ALL: usize = 1000;

fn clock() -> Clock {
    Clock::manual(Timestamp::from_secs(1_000_000)).0
}

impl Map {
    fn new() -> Arc<Map> {
        Arc::new(Map {
            records: Mutex::default(),
            clock: clock(),
            loads: AtomicU64::new(0),
            may_load: Semaphore::new(ALL),
            may_store: Semaphore::new(ALL),
        })
    }

    fn remove_where(&self, chosen: impl Fn(&Slot) -> bool) -> u64 {
        let mut records = self.records.lock();
        let before = records.len();
        records.retain(|slot, _| !chosen(slot));
        (before - records.len()) as u64
    }
}

impl LowerTier for Map {
    fn tier(&self) -> Tier {
        Tier::Disk
    }
    fn may_hold(&self, slot: Slot) -> bool {
        self.records.lock().contains_key(&slot)
    }
    fn load(&self, slot: Slot) -> BoxFuture<'_, Option<Record>> {
        Box::pin(async move {
            self.loads.fetch_add(1, Ordering::Relaxed);
            let _turn = self.may_load.acquire().await.unwrap();
            let bytes = self.records.lock().get(&slot)?.clone();
            Record::decode(&bytes, &self.clock).ok()
        })
    }
    fn store(&self, slot: Slot, record: Record) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _turn = self.may_store.acquire().await.unwrap();
            self.records.lock().insert(slot, record.encode(&self.clock).unwrap());
        })
    }
    fn remove(&self, slot: Slot) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.records.lock().remove(&slot);
        })
    }
    fn remove_url(&self, base: &str) -> u64 {
        self.remove_where(|slot| slot.url == Slot::url_hash(base))
    }
    fn remove_all(&self) -> u64 {
        self.remove_where(|_| true)
    }
    fn writers(&self) -> usize {
        2
    }
    fn figures(&self) -> TierFigures {
        TierFigures::default()
    }
}

fn key(path: &str) -> CacheKey {
    let text = format!("GET http://a.test{path}");
    let base = text.len();
    CacheKey::from_text(text, base).unwrap()
}

fn asking(language: &str) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("x-v"), HeaderValue::from_str(language).unwrap())])
}

fn response(body: &str, varies_for: Option<&HeaderMap>) -> Arc<StoredResponse> {
    let headers = HeaderMap::from_iter([(http::header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"))]);
    let arrival = Arrival {
        method: &http::Method::GET,
        request: &RequestFacts::default(),
        status: StatusCode::OK,
        fields: (&headers).into(),
        times: Times::at(clock().now()),
        is_static: false,
        private: false,
    };
    Arc::new(StoredResponse {
        facts: judge(&arrival, &CacheRules::default()).unwrap().facts,
        fields: crate::cache::fields::StoredFields::pack(&headers),
        body: SharedBody::complete(body.as_bytes()),
        compressible: false,
        own_tag: false,
        marks: Marks::default().selected_by(
            varies_for
                .map(|request| Selection::of_names(&[HeaderName::from_static("x-v")], request))
                .unwrap_or_default(),
        ),
        hits: 0.into(),
        listing: Default::default(),
    })
}

fn cache(map: &Arc<Map>) -> Arc<Cache> {
    Arc::new(Cache::above(64 << 20, Tiers::start(None, vec![map.clone()]), PurgeLog::in_memory()))
}

/// What a request finds, as after a restart: in a cache whose memory is empty.
async fn found(map: &Arc<Map>, key: &CacheKey, request: &HeaderMap) -> Option<String> {
    let cache = cache(map);
    cache.fetch_up(key, request, 8).await?;
    let response = cache.memory.get(key)?.select(request)?.clone();
    Some(String::from_utf8(response.body.pieces()?.concat()).unwrap())
}

#[tokio::test]
async fn what_is_stored_is_found_below_by_another_cache() {
    let map = Map::new();
    let cache = cache(&map);
    let none = HeaderMap::new();
    cache.insert(&key("/plain"), response("plain", None), 8);
    for language in ["de", "en"] {
        cache.insert(&key("/varied"), response(language, Some(&asking(language))), 8);
    }
    cache.lower.settle().await;
    assert_eq!(found(&map, &key("/plain"), &none).await.as_deref(), Some("plain"));
    assert_eq!(found(&map, &key("/varied"), &asking("de")).await.as_deref(), Some("de"));
    assert_eq!(found(&map, &key("/varied"), &asking("en")).await.as_deref(), Some("en"));
    assert_eq!(found(&map, &key("/varied"), &asking("fr")).await, None);
    assert_eq!(found(&map, &key("/other"), &none).await, None);
}

#[tokio::test]
async fn record_of_another_key_is_a_miss_and_goes() {
    let map = Map::new();
    let record = Record::Response(key("/theirs"), response("theirs", None));
    let slot = Slot::of_key(&key("/mine"));
    map.store(slot, record).await;
    let cache = cache(&map);
    assert_eq!(cache.fetch_up(&key("/mine"), &HeaderMap::new(), 8).await, None);
    cache.lower.settle().await;
    assert!(!map.may_hold(slot));
}

#[tokio::test]
async fn many_that_ask_at_once_load_once() {
    let map = Map::new();
    map.store(Slot::of_key(&key("/x")), Record::Response(key("/x"), response("x", None))).await;
    let held = map.may_load.acquire_many(ALL as u32).await.unwrap();
    let cache = cache(&map);
    let asked: Vec<_> = (0..100)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.fetch_up(&key("/x"), &HeaderMap::new(), 8).await })
        })
        .collect();
    while map.loads.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    drop(held);
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Some(Tier::Disk));
    }
    assert_eq!(map.loads.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_waits_to_be_stored_is_found_and_what_waits_to_be_removed_is_not() {
    let map = Map::new();
    map.store(Slot::of_key(&key("/x")), Record::Response(key("/x"), response("old", None))).await;
    let held = map.may_store.acquire_many(ALL as u32).await.unwrap();
    let cache = cache(&map);
    let newer = response("new", None);
    cache.lower.store(&key("/x"), &newer, &Arc::new(cache.log.hold()));
    let body = async || {
        cache.fetch_up(&key("/x"), &HeaderMap::new(), 8).await?;
        let entry = cache.memory.get(&key("/x"))?;
        entry.variants()[0].body.pieces().map(|pieces| pieces.concat())
    };
    assert_eq!(body().await.as_deref(), Some(&b"new"[..]));
    cache.remove_variant(&key("/x"), &newer);
    assert_eq!(body().await, None);
    drop(held);
    cache.lower.settle().await;
    assert!(!map.may_hold(Slot::of_key(&key("/x"))));
}

#[tokio::test]
async fn what_is_not_stored_for_want_of_room_leaves_nothing_older_behind() {
    let map = Map::new();
    map.store(Slot::of_key(&key("/x")), Record::Response(key("/x"), response("old", None))).await;
    let held = map.may_store.acquire_many(ALL as u32).await.unwrap();
    let cache = cache(&map);
    let log_held = Arc::new(cache.log.hold());
    for number in 0..5000 {
        cache.lower.store(&key(&format!("/{number}")), &response("x", None), &log_held);
    }
    cache.lower.store(&key("/x"), &response("new", None), &log_held);
    let figures = cache.lower.figures();
    assert!(figures[0].dropped > 0 && figures[0].waiting < 5000, "{figures:?}");
    drop(held);
    cache.lower.settle().await;
    assert!(!map.may_hold(Slot::of_key(&key("/x"))));
}

#[tokio::test]
async fn purge_reaches_below() {
    let map = Map::new();
    let cache = cache(&map);
    for language in ["de", "en"] {
        cache.insert(&key("/varied"), response(language, Some(&asking(language))), 8);
    }
    cache.insert(&key("/other"), response("other", None), 8);
    cache.lower.settle().await;
    cache.invalidate(vec![PurgeTarget::Url("http://a.test/varied".to_owned())], clock().now()).finish();
    assert_eq!(found(&map, &key("/varied"), &asking("de")).await, None);
    assert_eq!(found(&map, &key("/other"), &HeaderMap::new()).await.as_deref(), Some("other"));
    cache.invalidate(vec![PurgeTarget::All], clock().now()).finish();
    assert!(map.records.lock().is_empty());
}

#[tokio::test]
async fn what_memory_has_meanwhile_is_not_displaced() {
    let map = Map::new();
    map.store(Slot::of_key(&key("/x")), Record::Response(key("/x"), response("old", None))).await;
    let cache = cache(&map);
    let newer = response("new", None);
    cache.memory.insert(&key("/x"), newer.clone(), 8);
    cache.memory.promote(&key("/x"), &response("old", None), 8);
    assert_eq!(cache.fetch_up(&key("/x"), &HeaderMap::new(), 8).await, Some(Tier::Disk));
    assert!(Arc::ptr_eq(&cache.memory.get(&key("/x")).unwrap().variants()[0], &newer));
    assert_eq!(map.loads.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_waits_to_be_stored_and_is_purged_meanwhile_is_not_found_and_goes() {
    let map = Map::new();
    let held = map.may_store.acquire_many(ALL as u32).await.unwrap();
    let cache = cache(&map);
    let tagged = Arc::new(StoredResponse {
        marks: Marks::since(cache.log.begin().epoch()).tagged(Tags::new([Tag::Named("t")])),
        ..Arc::into_inner(response("x", None)).unwrap()
    });
    cache.lower.store(&key("/x"), &tagged, &Arc::new(cache.log.hold()));
    let tag = PurgeTarget::Tag("t".into());
    cache.log.append(Purge::new(vec![tag], Mode::Hard, clock().now())).unwrap();
    // On a thread of its own, which may hang without the test doing so.
    let (tell, told) = mpsc::channel();
    let asked = cache.clone();
    std::thread::spawn(move || {
        let _ = tell.send(asked.fetch_up(&key("/x"), &HeaderMap::new(), 8).now_or_never());
    });
    assert_eq!(told.recv_timeout(Duration::from_secs(30)), Ok(Some(None)), "it answers, and finds nothing");
    drop(held);
    cache.lower.settle().await;
    assert!(!map.may_hold(Slot::of_key(&key("/x"))));
}
