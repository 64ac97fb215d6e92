//! What the disk tier costs, and whether one file a record is a fair choice beside append-only segments.
//!
//! `cargo bench --bench disk [directory [small-records]]`: 500,000 records of 4 KiB and bodies of 1 GiB, in a new
//! directory that is removed afterwards. The kernel's cache is warm, as on a machine that serves.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark may end with a fault")]

use std::fs::{self, File};
use std::future::poll_fn;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use larder::cache::body::{Piece, SharedBody};
use larder::cache::disk::DiskTier;
use larder::cache::entry::{Marks, StoredResponse};
use larder::cache::fields::StoredFields;
use larder::cache::key::CacheKey;
use larder::cache::record::Record;
use larder::cache::tiers::LowerTier;
use larder::cache::tiers::slot::Slot;
use larder::clock::Clock;
use larder::config::settings::DiskTier as Settings;
use larder::policy::facts::RequestFacts;
use larder::policy::rules::CacheRules;
use larder::policy::store::{Arrival, judge};
use larder::policy::time::Times;

const SMALL: usize = 4096;
const LARGE: u64 = 1 << 30;
const CHUNK: usize = 64 * 1024;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let base = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let count: u64 = arguments.next().map_or(500_000, |count| count.parse().unwrap());
    let directory = base.join(format!("larder-bench-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(tier(&directory, count));
    segments(&directory, count);
    fs::remove_dir_all(&directory).unwrap();
}

fn told(what: &str, count: u64, took: Duration) {
    println!("{what:<44} {:>9.2} us each {:>8.2} s", took.as_secs_f64() * 1e6 / count as f64, took.as_secs_f64());
}

fn rate(what: &str, bytes: u64, took: Duration) {
    println!(
        "{what:<44} {:>9.0} MiB/s    {:>8.2} s",
        bytes as f64 / took.as_secs_f64() / 1048576.0,
        took.as_secs_f64()
    );
}

fn open(directory: &Path) -> Arc<DiskTier> {
    let settings =
        Settings { path: directory.join("tier"), size: 64 << 30, max_object: 16 << 30, memory_object: 1 << 20 };
    DiskTier::open(&settings, Clock::system())
}

async fn tier(directory: &Path, count: u64) {
    let tier = open(directory);
    let body = vec![b'x'; SMALL];
    let began = Instant::now();
    each(count, |number| {
        let (tier, key) = (tier.clone(), key(number));
        let record = Record::Response(key.clone(), Arc::new(response(SharedBody::complete(&body))));
        async move { tier.store(Slot::of_key(&key), record).await }
    })
    .await;
    told("files: store 4 KiB", count, began.elapsed());

    let began = Instant::now();
    let reads = count / 5;
    each(reads, |number| {
        let (tier, key) = (tier.clone(), key(number * 7919 % count));
        async move { drop(tier.load(Slot::of_key(&key)).await.unwrap()) }
    })
    .await;
    told("files: load 4 KiB", reads, began.elapsed());
    drop(tier);

    let began = Instant::now();
    let tier = open(directory);
    drop(tier.load(Slot::of_key(&key(count / 2))).await.unwrap());
    told("files: start, first hit", 1, began.elapsed());
    while !tier.is_loaded() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    told("files: start, all known", count, began.elapsed());

    let (growing, _filler) = SharedBody::growing();
    let (key, answer) = (key(u64::MAX), response(growing));
    let piece = vec![b'y'; CHUNK];
    let began = Instant::now();
    let mut spill = tier.spill(&key, &answer).await.unwrap();
    for _ in 0..LARGE / CHUNK as u64 {
        spill.write(&piece).await.unwrap();
    }
    spill.finish(&key, &answer, None).await.unwrap();
    rate("files: stream 1 GiB in", LARGE, began.elapsed());

    let Some(Record::Response(_, found)) = tier.load(Slot::of_key(&key)).await else { panic!("it was stored") };
    let _open = found.body.stored().unwrap().open().await.unwrap();
    let began = Instant::now();
    assert_eq!(read(&found.body, 0..LARGE).await, LARGE);
    rate("files: stream 1 GiB out", LARGE, began.elapsed());
    let began = Instant::now();
    for number in 0..10_000 {
        let at = number * 7919 * 4096 % (LARGE - 4096);
        assert_eq!(read(&found.body, at..at + 4096).await, 4096);
    }
    told("files: 4 KiB range of 1 GiB", 10_000, began.elapsed());

    let began = Instant::now();
    let gone = tier.remove_all();
    told("files: purge all, until nothing is found", gone, began.elapsed());
    // In the order of their names: when the last directory is empty, all are. To look at more would slow it down.
    let last = directory.join("tier/records/ff");
    while fs::read_dir(&last).unwrap().next().is_some() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    told("files: purge all, until all is deleted", gone, began.elapsed());
}

/// The same bytes in segments of 64 MiB, as one would append them: only what the disk does, without any bookkeeping.
fn segments(directory: &Path, count: u64) {
    let directory = directory.join("segments");
    fs::create_dir_all(&directory).unwrap();
    let record = vec![b'x'; SMALL + 400];
    let per_segment = (64 << 20) / record.len() as u64;
    let began = Instant::now();
    let mut segments: Vec<File> = Vec::new();
    for number in 0..count {
        if number % per_segment == 0 {
            let path = directory.join(segments.len().to_string());
            segments.push(File::options().create(true).truncate(true).read(true).write(true).open(path).unwrap());
        }
        segments.last_mut().unwrap().write_all(&record).unwrap();
    }
    told("segments: append 4 KiB", count, began.elapsed());
    let began = Instant::now();
    let mut buffer = record.clone();
    for number in 0..count / 5 {
        let at = number * 7919 % count;
        let offset = at % per_segment * record.len() as u64;
        segments[(at / per_segment) as usize].read_exact_at(&mut buffer, offset).unwrap();
    }
    told("segments: read 4 KiB", count / 5, began.elapsed());
    let began = Instant::now();
    let mut whole = vec![0; 64 << 20];
    for segment in &segments {
        let _ = segment.read_at(&mut whole, 0).unwrap();
    }
    told("segments: start, read all for the index", count, began.elapsed());
    let began = Instant::now();
    fs::remove_dir_all(&directory).unwrap();
    told("segments: delete all", count, began.elapsed());
}

/// Runs work for each number, a few at a time.
async fn each<F: Future<Output = ()> + Send + 'static>(count: u64, work: impl Fn(u64) -> F) {
    let mut running = tokio::task::JoinSet::new();
    for number in 0..count {
        while running.len() >= 8 {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(work(number));
    }
    running.join_all().await;
}

async fn read(body: &SharedBody, range: std::ops::Range<u64>) -> u64 {
    let mut reader = body.range_reader(range).unwrap();
    let mut read = 0;
    while let Some(piece) = poll_fn(|cx| reader.poll_next(cx)).await {
        if let Piece::Data(data) = piece.unwrap() {
            read += data.len() as u64;
        }
    }
    read
}

fn key(number: u64) -> CacheKey {
    let text = format!("GET http://app.test/shop/page-{number}");
    let base = text.len();
    CacheKey::from_text(text, base).unwrap()
}

fn response(body: SharedBody) -> StoredResponse {
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("max-age=600")),
    ]);
    let arrival = Arrival {
        method: &Method::GET,
        request: &RequestFacts::default(),
        status: StatusCode::OK,
        fields: (&headers).into(),
        times: Times::at(Clock::system().now()),
        is_static: false,
        private: false,
    };
    StoredResponse {
        facts: judge(&arrival, &CacheRules::default()).unwrap().facts,
        fields: StoredFields::pack(&headers),
        body,
        compressible: false,
        own_tag: false,
        marks: Marks::default(),
        listing: Default::default(),
        hits: 0.into(),
    }
}
