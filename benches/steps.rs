//! The steps of a hit, each by itself: `cargo bench --bench steps`.

use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Waker};

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use larder::cache::Cache;
use larder::cache::body::SharedBody;
use larder::cache::entry::{Marks, StoredResponse};
use larder::cache::fields::StoredFields;
use larder::cache::key::{CacheKey, TargetUri};
use larder::policy::cache_status::Verdict;
use larder::policy::facts::RequestFacts;
use larder::policy::reuse;
use larder::policy::rules::{CacheRules, KeyRules, RequestDirectivesRule};
use larder::policy::store::{Arrival, judge};
use larder::policy::time::{Times, Timestamp};

const NOW: Timestamp = Timestamp::from_secs(784_111_777);

const REQUEST: &[(&str, &str)] =
    &[("host", "app.test"), ("user-agent", "measure/1.0"), ("accept", "*/*"), ("accept-encoding", "gzip, br")];

const RESPONSE: &[(&str, &str)] = &[
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "public, max-age=600, stale-while-revalidate=30"),
    ("etag", "\"5e1f-1024\""),
    ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("content-length", "1024"),
];

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn key(number: u32) -> CacheKey {
    let query = format!("id={number}");
    let target = TargetUri { scheme: "http", authority: "app.test", path: "/shop/page", query: Some(&query) };
    CacheKey::new(&target, &KeyRules::default(), &HeaderMap::new())
}

fn steps(criterion: &mut Criterion) {
    let (request, response, rules) = (map(REQUEST), map(RESPONSE), CacheRules::default());
    let asked = RequestFacts::of(&request, false, false, RequestDirectivesRule::Trusted);
    let arrival = Arrival {
        method: &Method::GET,
        request: &asked,
        status: StatusCode::OK,
        fields: (&response).into(),
        times: Times::at(NOW),
        is_static: false,
        private: false,
    };
    let judged = judge(&arrival, &rules).expect("it may be stored");

    criterion.bench_function("policy: judge a response", |bench| {
        bench.iter(|| judge(black_box(&arrival), &rules));
    });
    criterion.bench_function("policy: read a request", |bench| {
        bench.iter(|| RequestFacts::of(black_box(&request), false, false, RequestDirectivesRule::Trusted));
    });
    criterion.bench_function("policy: decide", |bench| {
        bench.iter(|| reuse::decide(black_box(&asked), &judged.facts, NOW));
    });
    criterion.bench_function("key", |bench| {
        let target = TargetUri { scheme: "http", authority: "app.test", path: "/shop/page", query: Some("id=7") };
        bench.iter(|| CacheKey::new(black_box(&target), &KeyRules::default(), &request));
    });
    criterion.bench_function("look up among 10,000", |bench| {
        let cache = Cache::new(256 << 20);
        for number in 0..10_000 {
            let stored = StoredResponse {
                facts: judged.facts.clone(),
                fields: StoredFields::pack(&response),
                body: SharedBody::complete(&[b'x'; 1024]),
                compressible: false,
                own_tag: false,
                marks: Marks::default(),
                hits: Default::default(),
                listing: Default::default(),
            };
            cache.memory.insert(&key(number), Arc::new(stored), 8);
        }
        let wanted = key(5000);
        bench.iter(|| cache.memory.get(black_box(&wanted)));
    });
    criterion.bench_function("respond: unpack fields", |bench| {
        let packed = StoredFields::pack(&response);
        bench.iter(|| black_box(&packed).unpack(6));
    });
    criterion.bench_function("respond: read a body", |bench| {
        let body = SharedBody::complete(&[b'x'; 1024]);
        bench.iter(|| {
            let mut reader = black_box(&body).reader().expect("it is complete");
            reader.poll_next(&mut Context::from_waker(Waker::noop()))
        });
    });
    criterion.bench_function("respond: Cache-Status", |bench| {
        let verdict = Verdict { hit: true, ttl: Some(599), ..Verdict::default() };
        bench.iter(|| black_box(&verdict).render());
    });
}

criterion_group!(benches, steps);
criterion_main!(benches);
