//! What purging costs among 10,000 and 1,000,000 stored responses, and how long it keeps a hit waiting:
//! `cargo bench --bench purging`.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use larder::cache::Cache;
use larder::cache::body::SharedBody;
use larder::cache::entry::{Marks, StoredResponse};
use larder::cache::fields::StoredFields;
use larder::cache::key::{CacheKey, TargetUri};
use larder::cache::purge::{Mode, Purge, PurgeTarget};
use larder::policy::facts::{Facts, RequestFacts};
use larder::policy::rules::{CacheRules, KeyRules};
use larder::policy::store::{Arrival, judge};
use larder::policy::tags::{Tag, Tags};
use larder::policy::time::{Times, Timestamp};

const NOW: Timestamp = Timestamp::from_secs(784_111_777);
const SIZES: [u32; 2] = [10_000, 1_000_000];
/// Stored responses that have a tag in common.
const OF_A_TAG: u32 = 100;

/// A cache with so many responses: each has its own tag and one that it shares with others.
struct Filled {
    cache: Cache,
    headers: HeaderMap,
    facts: Facts,
}

impl Filled {
    fn with(count: u32) -> Self {
        let headers = HeaderMap::from_iter([
            (header::CACHE_CONTROL, HeaderValue::from_static("max-age=600")),
            (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        ]);
        let arrival = Arrival {
            method: &Method::GET,
            request: &RequestFacts::default(),
            status: StatusCode::OK,
            fields: (&headers).into(),
            times: Times::at(NOW),
            is_static: false,
            private: false,
        };
        let facts = judge(&arrival, &CacheRules::default()).expect("it may be stored").facts;
        let filled = Filled { cache: Cache::new(8 << 30), headers, facts };
        (0..count).for_each(|number| filled.store(number));
        filled
    }

    fn store(&self, number: u32) {
        let tags = [format!("page-{number}"), format!("section-{}", number / OF_A_TAG)];
        let stored = StoredResponse {
            facts: self.facts.clone(),
            fields: StoredFields::pack(&self.headers),
            body: SharedBody::complete(&[b'x'; 64]),
            compressible: false,
            own_tag: false,
            marks: Marks::since(self.cache.log.begin().epoch())
                .tagged(Tags::new(tags.iter().map(|tag| Tag::Named(tag)))),
            hits: Default::default(),
            listing: Default::default(),
        };
        assert!(self.cache.insert(&key(number), Arc::new(stored), 8));
    }

    fn purge(&self, target: PurgeTarget) -> u64 {
        let purge = Purge::new(vec![target], Mode::Hard, NOW);
        self.cache.purge(purge).expect("it is a target").finish().total()
    }
}

fn key(number: u32) -> CacheKey {
    let path = format!("/catalogue/{}/page-{number}", number / OF_A_TAG);
    let target = TargetUri { scheme: "http", authority: "app.test", path: &path, query: None };
    CacheKey::new(&target, &KeyRules::default(), &HeaderMap::new())
}

/// The time that purges alone take; what they take is stored again in between.
fn timed(
    filled: &Filled,
    rounds: u64,
    target: impl Fn(u32) -> PurgeTarget,
    taken: impl Fn(u32) -> std::ops::Range<u32>,
) -> Duration {
    let count = filled.cache.memory.entries() as u32;
    let mut spent = Duration::ZERO;
    for round in 0..rounds {
        // Spread over all that is stored.
        let number = (round as u32).wrapping_mul(2_654_435_761) % count;
        let (target, taken) = (target(number), taken(number));
        let began = Instant::now();
        let purged = filled.purge(black_box(target));
        spent += began.elapsed();
        assert_eq!(purged, taken.len() as u64);
        taken.for_each(|number| filled.store(number));
    }
    spent
}

fn purging(criterion: &mut Criterion) {
    for size in SIZES {
        let filled = Filled::with(size);
        let one = |number: u32| number..number + 1;
        let section = |number: u32| number / OF_A_TAG * OF_A_TAG..(number / OF_A_TAG + 1) * OF_A_TAG;
        let mut group = criterion.benchmark_group("purge");
        group.sample_size(20);
        group.bench_function(BenchmarkId::new("a URL", size), |bench| {
            let url = |number| PurgeTarget::Url(key(number).url().to_owned());
            bench.iter_custom(|rounds| timed(&filled, rounds, url, one));
        });
        group.bench_function(BenchmarkId::new("a tag of one", size), |bench| {
            let tag = |number| PurgeTarget::Tag(format!("page-{number}"));
            bench.iter_custom(|rounds| timed(&filled, rounds, tag, one));
        });
        group.throughput(Throughput::Elements(OF_A_TAG.into()));
        group.bench_function(BenchmarkId::new("a tag of a hundred", size), |bench| {
            let tag = |number| PurgeTarget::Tag(format!("section-{}", number / OF_A_TAG));
            bench.iter_custom(|rounds| timed(&filled, rounds, tag, section));
        });
        group.finish();
        stalls(&filled, size);
    }
}

/// How long single look-ups take while nothing else happens, and while patterns that match a hundredth are purged.
fn stalls(filled: &Filled, size: u32) {
    for (name, purges) in [("no purge", 0), ("a purge by pattern", 5)] {
        let done = AtomicBool::new(false);
        let (mut took, mut each) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| {
                let mut took: Vec<Duration> = Vec::with_capacity(10_000_000);
                let mut number = 0_u32;
                while !done.load(Ordering::Relaxed) && took.len() < took.capacity() {
                    number = number.wrapping_add(2_654_435_761);
                    let key = key(number % size);
                    let began = Instant::now();
                    black_box(filled.cache.memory.get(&key));
                    took.push(began.elapsed());
                }
                took
            });
            for round in 0..purges {
                let began = Instant::now();
                let glob = PurgeTarget::Glob(format!("/catalogue/*{round}{round}/*"));
                filled.purge(glob);
                each.push(began.elapsed());
            }
            if purges == 0 {
                std::thread::sleep(Duration::from_secs(1));
            }
            done.store(true, Ordering::Relaxed);
            took = looking.join().expect("it only looks");
        });
        took.sort_unstable();
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
        eprintln!(
            "{size} stored, {name}: {} look-ups, median {:?}, p99.9 {:?}, longest {:?}; purges took {each:?}",
            took.len(),
            at(0.5),
            at(0.999),
            at(1.0),
        );
    }
}

criterion_group!(benches, purging);
criterion_main!(benches);
