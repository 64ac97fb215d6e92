//! The disk tier by itself, in a directory of its own.

mod claim;
mod unknown_files;

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tempfile::TempDir;

use super::stored_body::StoredBody;
use super::*;
use crate::cache::Cache;
use crate::cache::body::{BodyReader, CutBody, Piece, SharedBody};
use crate::cache::entry::{Marks, StoredResponse};
use crate::cache::epoch::Epoch;
use crate::cache::key::CacheKey;
use crate::cache::purge::{Mode, Purge, PurgeTarget, Verdict};
use crate::cache::record::blocks::{BLOCK, SEALED};
use crate::cache::tiers::Tiers;
use crate::policy::facts::RequestFacts;
use crate::policy::rules::CacheRules;
use crate::policy::store::{Arrival, judge};
use crate::policy::tags::{Tag, Tags};
use crate::policy::time::{Times, Timestamp};

const MEMORY_OBJECT: u64 = 2 * BLOCK as u64;

fn clock() -> Clock {
    Clock::manual(Timestamp::from_secs(1_000_000)).0
}

fn open(path: &Path, size: u64) -> Arc<DiskTier> {
    let settings = Settings { path: path.to_owned(), size, max_object: size, memory_object: MEMORY_OBJECT };
    DiskTier::open(&settings, clock())
}

async fn loaded(path: &Path) -> Arc<DiskTier> {
    let tier = open(path, 1 << 30);
    until(|| tier.is_loaded()).await;
    tier
}

/// Waits for what another thread does.
async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it happens");
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn key(path: &str) -> CacheKey {
    let text = format!("GET http://a.test{path}");
    let base = text.len();
    CacheKey::from_text(text, base).unwrap()
}

fn slot(path: &str) -> Slot {
    Slot::of_key(&key(path))
}

fn response(body: SharedBody) -> StoredResponse {
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
    StoredResponse {
        facts: judge(&arrival, &CacheRules::default()).unwrap().facts,
        fields: crate::cache::fields::StoredFields::pack(&headers),
        body,
        compressible: false,
        own_tag: false,
        marks: Marks::default(),
        listing: Default::default(),
        hits: 0.into(),
    }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

async fn store(tier: &DiskTier, path: &str, body: &[u8]) {
    tier.store(slot(path), Record::Response(key(path), Arc::new(response(SharedBody::complete(body))))).await;
}

/// Writes a body as one that comes from the upstream and is too large for memory.
async fn spill(tier: &DiskTier, path: &str, body: &[u8]) -> StoredBody {
    let (shared, _filler) = SharedBody::growing();
    let epoch = tier.0.log.get().map(|log| log.begin().epoch()).unwrap_or_default();
    let response = StoredResponse { marks: Marks::since(epoch), ..response(shared) };
    let mut spill = tier.spill(&key(path), &response).await.unwrap();
    for piece in body.chunks(10_000) {
        spill.write(piece).await.unwrap();
    }
    spill.finish(&key(path), &response, None).await.unwrap()
}

async fn load(tier: &DiskTier, path: &str) -> Option<Arc<StoredResponse>> {
    match tier.load(slot(path)).await? {
        Record::Response(_, response) => Some(response),
        Record::Vary(..) => None,
    }
}

async fn read(mut reader: BodyReader) -> std::result::Result<Vec<u8>, CutBody> {
    let mut read = Vec::new();
    while let Some(piece) = std::future::poll_fn(|cx| reader.poll_next(cx)).await {
        if let Piece::Data(data) = piece? {
            read.extend_from_slice(&data);
        }
    }
    Ok(read)
}

fn file(directory: &TempDir, path: &str) -> PathBuf {
    let name = slot(path).to_string();
    directory.path().join("records").join(&name[..2]).join(name)
}

#[tokio::test]
async fn records_outlive_the_tier_and_are_found_before_it_has_loaded() {
    let directory = directory();
    let tier = loaded(directory.path()).await;
    store(&tier, "/small", b"small").await;
    let large = bytes(5 * BLOCK + 3);
    spill(&tier, "/large", &large).await;
    drop(tier);
    let again = open(directory.path(), 1 << 30);
    // Whether or not it has loaded by now.
    assert!(again.may_hold(slot("/small")));
    assert_eq!(load(&again, "/small").await.unwrap().body.pieces().unwrap().concat(), b"small");
    let found = load(&again, "/large").await.unwrap();
    let open = found.body.stored().unwrap().open().await.unwrap();
    assert!(read(found.body.reader().unwrap()).await.unwrap() == large);
    drop(open);
    assert!(found.body.reader().is_none(), "nothing is kept open");
    until(|| again.is_loaded()).await;
    assert!(!again.may_hold(slot("/other")));
    assert_eq!(again.figures().entries, 2);
}

#[tokio::test]
async fn any_byte_flipped_or_cut_is_a_miss_and_the_record_goes() {
    let directory = directory();
    let tier = loaded(directory.path()).await;
    store(&tier, "/x", b"hello").await;
    let path = file(&directory, "/x");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        for wrong in [flipped, whole[..at].to_vec()] {
            fs::write(&path, &wrong).unwrap();
            tier.0.index.insert(slot("/x"), wrong.len() as u64);
            assert!(load(&tier, "/x").await.is_none(), "at {at}");
            assert!(!tier.may_hold(slot("/x")));
            until(|| !path.exists()).await;
        }
    }
    assert_eq!(tier.figures().damaged, 2 * whole.len() as u64);
    assert_eq!(tier.figures().state, "on");
}

#[tokio::test]
async fn large_body_with_a_damaged_block_is_cut_there_and_goes() {
    let directory = directory();
    let tier = loaded(directory.path()).await;
    let large = bytes(20 * BLOCK);
    spill(&tier, "/large", &large).await;
    let path = file(&directory, "/large");
    let mut damaged = fs::read(&path).unwrap();
    let start = damaged.len() - 20 * SEALED;
    damaged[start + 10 * SEALED + 5] ^= 1;
    fs::write(&path, damaged).unwrap();
    let found = load(&tier, "/large").await.unwrap();
    let _open = found.body.stored().unwrap().open().await.unwrap();
    let block = BLOCK as u64;
    assert!(read(found.body.range_reader(0..8 * block).unwrap()).await.unwrap() == large[..8 * BLOCK]);
    assert!(read(found.body.range_reader(11 * block..12 * block).unwrap()).await.is_ok(), "before it is noticed");
    assert_eq!(read(found.body.reader().unwrap()).await, Err(CutBody));
    until(|| !path.exists()).await;
    assert!(!tier.may_hold(slot("/large")));
}

#[tokio::test]
async fn ranges_of_a_large_body_are_exact() {
    let directory = directory();
    let tier = loaded(directory.path()).await;
    let large = bytes(9 * BLOCK + 100);
    let stored = spill(&tier, "/large", &large).await;
    let body = SharedBody::on_disk(stored, None);
    let _open = body.stored().unwrap().open().await.unwrap();
    let len = large.len();
    for (start, end) in
        [(0, 1), (BLOCK - 1, BLOCK + 1), (len - 1, len), (5, 8 * BLOCK), (3 * BLOCK, 3 * BLOCK), (0, len)]
    {
        let found = read(body.range_reader(start as u64..end as u64).unwrap()).await.unwrap();
        assert!(found == large[start..end], "{start}..{end}");
    }
}

#[tokio::test]
async fn validated_head_is_written_without_the_body_and_moves_with_its_selection() {
    let directory = directory();
    let tier = loaded(directory.path()).await;
    let large = bytes(5 * BLOCK);
    spill(&tier, "/large", &large).await;
    let found = load(&tier, "/large").await.unwrap();
    let headers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("\"2\""))]);
    let revised = found.revised(found.facts.clone(), Default::default(), &headers, false);
    tier.store(slot("/large"), Record::Response(key("/large"), Arc::new(revised))).await;
    let again = load(&tier, "/large").await.unwrap();
    assert_eq!(again.fields.unpack(0), headers);
    let elsewhere = again.revised(again.facts.clone(), Default::default(), &headers, false);
    tier.store(slot("/moved"), Record::Response(key("/moved"), Arc::new(elsewhere))).await;
    assert!(load(&tier, "/large").await.is_none());
    let moved = load(&tier, "/moved").await.unwrap();
    for body in [&moved.body, &again.body] {
        let _open = body.stored().unwrap().open().await.unwrap();
        assert!(read(body.reader().unwrap()).await.unwrap() == large, "the same file");
    }
}

#[tokio::test]
async fn followers_of_a_spilled_body_read_memory_or_disk_at_their_own_pace() {
    let directory = directory();
    let tier = loaded(directory.path()).await;
    let large = bytes(80 * BLOCK + 17);
    let (shared, mut filler) = SharedBody::growing();
    let answer = response(shared.clone());
    let (slow, late) = (shared.reader().unwrap(), shared.range_reader(70 * BLOCK as u64..u64::MAX).unwrap());
    let mut spill = tier.spill(&key("/large"), &answer).await.unwrap();
    filler.spill(spill.file());
    for piece in large.chunks(30_000) {
        filler.push(Bytes::copy_from_slice(piece));
        let there = spill.write(piece).await.unwrap();
        filler.spilled(there);
        assert!(shared.held() < 3 << 20, "{}", shared.held());
    }
    let behind = shared.reader().unwrap();
    let slow = tokio::spawn(read(slow));
    let stored = spill.finish(&key("/large"), &answer, None).await.unwrap();
    filler.finish_on_disk(stored, None);
    assert!(slow.await.unwrap().unwrap() == large);
    assert!(read(late).await.unwrap() == large[70 * BLOCK..]);
    let joined = shared.reader().expect("who joins now finds the file that is open for those before");
    assert!(read(behind).await.unwrap() == large);
    assert!(read(joined).await.unwrap() == large);
    assert!(shared.reader().is_none(), "the file is closed once they are done");
    assert!(load(&tier, "/large").await.is_some());
}

#[tokio::test]
async fn spill_that_is_given_up_leaves_nothing_and_its_readers_go_on() {
    let directory = directory();
    let tier = loaded(directory.path()).await;
    let large = bytes(60 * BLOCK);
    let (shared, mut filler) = SharedBody::growing();
    let behind = shared.reader().unwrap();
    let mut spill = tier.spill(&key("/large"), &response(shared.clone())).await.unwrap();
    filler.spill(spill.file());
    for piece in large.chunks(30_000) {
        filler.push(Bytes::copy_from_slice(piece));
        let there = spill.write(piece).await.unwrap();
        filler.spilled(there);
    }
    drop(spill);
    filler.stop_keeping();
    filler.push(Bytes::from_static(b"end"));
    filler.finish(None);
    assert!(read(behind).await.unwrap() == [&large[..], b"end"].concat());
    until(|| left_over(&directory) == 0).await;
}

fn left_over(directory: &TempDir) -> usize {
    let new = fs::read_dir(directory.path().join("new")).unwrap();
    new.map(|directory| fs::read_dir(directory.unwrap().path()).unwrap().count()).sum()
}

#[tokio::test]
async fn what_is_evicted_is_deleted_and_the_budget_holds() {
    let directory = directory();
    let tier = open(directory.path(), 16 << 20);
    until(|| tier.is_loaded()).await;
    let body = bytes(100_000);
    for number in 0..400 {
        store(&tier, &format!("/{number}"), &body).await;
    }
    let figures = tier.figures();
    assert!(figures.bytes <= 16 << 20 && figures.evictions > 200, "{figures:?}");
    until(|| tier.0.to_delete.load(Ordering::Relaxed) == 0).await;
    let mut files = 0;
    tier.0.files().unwrap().list(|_| files += 1).unwrap();
    assert_eq!(files, figures.entries);
    assert!(load(&tier, "/399").await.is_some() && load(&tier, "/0").await.is_none());
}

#[tokio::test]
async fn leftovers_and_foreign_files_go() {
    let directory = directory();
    fs::create_dir_all(directory.path().join("new/0123")).unwrap();
    fs::write(directory.path().join("new/0123/7"), "half").unwrap();
    fs::create_dir_all(directory.path().join("records/ab")).unwrap();
    fs::write(directory.path().join("records/ab/foreign"), "?").unwrap();
    let tier = loaded(directory.path()).await;
    until(|| !directory.path().join("new/0123").exists()).await;
    assert!(!directory.path().join("records/ab/foreign").exists());
    assert_eq!(tier.figures().entries, 0);
}

#[tokio::test]
async fn purge_takes_all_of_a_url_or_everything() {
    let directory = directory();
    let tier = loaded(directory.path()).await;
    store(&tier, "/a", b"a").await;
    store(&tier, "/b", b"b").await;
    store(&tier, "/c", b"c").await;
    assert_eq!(tier.remove_url(key("/a").base()), 1);
    assert!(load(&tier, "/a").await.is_none() && load(&tier, "/b").await.is_some());
    assert_eq!(tier.remove_all(), 2);
    until(|| !file(&directory, "/a").exists() && !file(&directory, "/b").exists()).await;
    drop(tier);
    assert_eq!(loaded(directory.path()).await.figures().entries, 0);
}

#[tokio::test]
async fn large_body_takes_its_own_room_and_no_more() {
    let directory = directory();
    let tier = open(directory.path(), 16 << 20);
    until(|| tier.is_loaded()).await;
    let body = bytes(100_000);
    for number in 0..200 {
        store(&tier, &format!("/{number}"), &body).await;
    }
    let before = tier.figures().evictions;
    spill(&tier, "/large", &bytes(4_000_000)).await;
    let gone = tier.figures().evictions - before;
    assert!((38..=42).contains(&gone), "{gone} of 100,000 bytes for one of 4,000,000");
}

/// A tier whose log's purges are worked off.
async fn purging(path: &Path) -> (Arc<DiskTier>, Arc<PurgeLog>) {
    let tier = loaded(path).await;
    let log = tier.purge_log(clock().now());
    log.register("disk", log.first_outstanding());
    tokio::spawn(tier.clone().apply_purges(log.clone()));
    (tier, log)
}

fn tagged(tag: &str, epoch: Epoch) -> StoredResponse {
    let marks = Marks::since(epoch).tagged(Tags::new([Tag::Named(tag)]));
    StoredResponse { marks, ..response(SharedBody::complete(b"cooked")) }
}

async fn store_tagged(tier: &DiskTier, path: &str, tag: &str, epoch: Epoch) {
    tier.store(slot(path), Record::Response(key(path), Arc::new(tagged(tag, epoch)))).await;
}

fn purge(log: &PurgeLog, target: PurgeTarget, mode: Mode) {
    log.append(Purge::new(vec![target], mode, clock().now())).unwrap();
}

/// Nothing is outstanding any more, and the log has forgotten it.
async fn worked_off(log: &PurgeLog) {
    until(|| log.applied_by("disk") == Some(log.position()) && log.retained() == 0).await;
}

#[tokio::test]
async fn what_is_purged_by_pattern_goes_though_nobody_asks_for_it() {
    let directory = directory();
    let (tier, log) = purging(directory.path()).await;
    let kinds = [
        PurgeTarget::Tag("t".into()),
        PurgeTarget::Prefix("/p".into()),
        PurgeTarget::Glob("a.test/p*".into()),
        PurgeTarget::Status("200".parse().unwrap()),
        PurgeTarget::Url("http://a.test/purged".into()),
        PurgeTarget::Key("GET http://a.test/purged".into()),
        PurgeTarget::All,
    ];
    for kind in kinds {
        let before = log.begin().epoch();
        store_tagged(&tier, "/purged", "t", before).await;
        for number in 0..150 {
            store_tagged(&tier, &format!("/other/{number}"), "u", before).await;
        }
        let takes_others = matches!(kind, PurgeTarget::All | PurgeTarget::Status(_));
        purge(&log, kind.clone(), Mode::Hard);
        worked_off(&log).await;
        assert!(!file(&directory, "/purged").exists(), "{kind}");
        assert_eq!(file(&directory, "/other/7").exists(), !takes_others, "{kind}");
        assert_eq!(tier.figures().entries, if takes_others { 0 } else { 150 }, "{kind}");
    }
}

#[tokio::test]
async fn what_is_purged_softly_is_stale_on_disk_and_stays() {
    let directory = directory();
    let (tier, log) = purging(directory.path()).await;
    store_tagged(&tier, "/small", "t", log.begin().epoch()).await;
    store_tagged(&tier, "/fresh", "u", log.begin().epoch()).await;
    let large = bytes(5 * BLOCK);
    spill(&tier, "/large", &large).await;
    purge(&log, PurgeTarget::Tag("t".into()), Mode::Soft);
    purge(&log, PurgeTarget::Url("http://a.test/large".into()), Mode::Soft);
    worked_off(&log).await;
    let since = Some(clock().now());
    assert_eq!(load(&tier, "/small").await.unwrap().facts.stale_since, since);
    assert_eq!(load(&tier, "/fresh").await.unwrap().facts.stale_since, None);
    let found = load(&tier, "/large").await.unwrap();
    let _open = found.body.stored().unwrap().open().await.unwrap();
    assert!(read(found.body.reader().unwrap()).await.unwrap() == large);
    assert_eq!(found.facts.stale_since, since);
}

#[tokio::test]
async fn what_is_written_after_its_purge_does_not_stay() {
    let directory = directory();
    let (tier, log) = purging(directory.path()).await;
    let before = log.hold();
    purge(&log, PurgeTarget::Tag("t".into()), Mode::Hard);
    until(|| log.applied_by("disk") == Some(log.position())).await;
    // It was on its way when the purge came, and whoever brings it says so.
    store_tagged(&tier, "/late", "t", before.epoch()).await;
    assert!(!tier.may_hold(slot("/late")));
    until(|| !file(&directory, "/late").exists()).await;
    drop(before);
    purge(&log, PurgeTarget::Tag("other".into()), Mode::Hard);
    worked_off(&log).await;
}

#[tokio::test]
async fn purge_that_was_not_worked_off_is_after_a_restart() {
    let directory = directory();
    let tier = loaded(directory.path()).await;
    let log = tier.purge_log(clock().now());
    store_tagged(&tier, "/purged", "t", log.begin().epoch()).await;
    let seq = log.append(Purge::new(vec![PurgeTarget::Tag("t".into())], Mode::Hard, clock().now())).unwrap().seq;
    assert!(log.kept().await && log.written(seq).await);
    drop((tier, log));
    assert!(file(&directory, "/purged").exists());
    let (_tier, log) = purging(directory.path()).await;
    worked_off(&log).await;
    assert!(!file(&directory, "/purged").exists());
}

#[tokio::test]
async fn what_memory_is_asked_for_is_not_given_up_on_disk() {
    let directory = directory();
    let tier = open(directory.path(), 16 << 20);
    until(|| tier.is_loaded()).await;
    let lower = Tiers::start(Some(tier.clone()), Vec::new());
    let cache = Cache::above(256 << 20, lower, PurgeLog::in_memory());
    let body = bytes(100_000);
    let insert = async |path: &str| {
        cache.insert(&key(path), Arc::new(response(SharedBody::complete(&body))), 8);
        cache.lower.settle().await;
    };
    // 160 fit; as many as make a turn go before the turn comes to these two.
    for number in 0..40 {
        insert(&format!("/first/{number}")).await;
    }
    insert("/hot").await;
    insert("/cold").await;
    for number in 0..120 {
        insert(&format!("/then/{number}")).await;
    }
    cache.memory.get(&key("/hot"));
    for number in 0..20 {
        insert(&format!("/turn/{number}")).await;
    }
    until(|| tier.0.index.rounds(slot("/hot")) > 0).await;
    assert_eq!(tier.0.index.rounds(slot("/cold")), 0);
    for number in 0..40 {
        insert(&format!("/last/{number}")).await;
    }
    assert!(tier.may_hold(slot("/hot")) && !tier.may_hold(slot("/cold")));
    assert!(!tier.may_hold(slot("/first/39")) && tier.may_hold(slot("/then/100")));
}
