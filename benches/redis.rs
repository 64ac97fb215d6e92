//! The tier in Redis, against a redis-server of its own: `cargo bench --bench redis`. Where there is none, nothing is
//! measured.

use std::hint::black_box;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use larder::cache::body::SharedBody;
use larder::cache::entry::{Marks, StoredResponse};
use larder::cache::fields::StoredFields;
use larder::cache::key::{CacheKey, TargetUri};
use larder::cache::purge::PurgeLog;
use larder::cache::record::Record;
use larder::cache::redis::client::{Client, Options};
use larder::cache::redis::gate::Gate;
use larder::cache::redis::tier::RedisTier;
use larder::cache::tiers::LowerTier;
use larder::cache::tiers::slot::Slot;
use larder::clock::Clock;
use larder::config::settings::redis::{RedisAddress, RedisServer};
use larder::policy::facts::RequestFacts;
use larder::policy::rules::{CacheRules, KeyRules, RequestDirectivesRule};
use larder::policy::store::{Arrival, judge};
use larder::policy::time::Times;

/// A redis-server that keeps nothing on disk. Killed when dropped.
struct Server(Child, u16);

impl Server {
    fn start() -> Option<Server> {
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]).stdout(Stdio::null());
        Some(Server(command.spawn().ok()?, port))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn key(path: &str) -> CacheKey {
    let target = TargetUri { scheme: "http", authority: "app.test", path, query: None };
    CacheKey::new(&target, &KeyRules::default(), &HeaderMap::new())
}

fn response(clock: &Clock, bytes: usize) -> Arc<StoredResponse> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=86400"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    let request = RequestFacts::of(&HeaderMap::new(), false, false, RequestDirectivesRule::Trusted);
    let arrival = Arrival {
        method: &Method::GET,
        request: &request,
        status: StatusCode::OK,
        fields: (&headers).into(),
        times: Times::at(clock.now()),
        is_static: false,
        private: false,
    };
    let judged = judge(&arrival, &CacheRules::default()).expect("it may be stored");
    Arc::new(StoredResponse {
        facts: judged.facts,
        fields: StoredFields::pack(&headers),
        body: SharedBody::complete(&vec![b'x'; bytes]),
        compressible: false,
        own_tag: false,
        marks: Marks::default(),
        hits: AtomicU32::new(0),
        listing: Default::default(),
    })
}

fn redis(criterion: &mut Criterion) {
    let Some(server) = Server::start() else {
        return eprintln!("there is no redis-server here: nothing is measured");
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (clock, gate) = (Clock::system(), Arc::new(Gate::new(false)));
    let _entered = runtime.enter();
    let address = RedisAddress::Server("127.0.0.1".to_owned(), server.1);
    let server = RedisServer {
        address,
        tls: false,
        ca_file: None,
        username: None,
        password: None,
        sentinel_password: None,
        database: 0,
    };
    let options = Options {
        purpose: "bodies",
        prefix: "larder".to_owned(),
        deadline: Duration::from_millis(500),
        connections: 2,
    };
    let client = Client::start(&server, options);
    while !client.is_up() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let tier = RedisTier::new(client, clock.clone(), 4 << 20, PurgeLog::in_memory(), gate.clone(), None);
    let mut group = criterion.benchmark_group("redis");
    for (name, bytes) in [("1 KiB", 1 << 10), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20)] {
        let key = key(&format!("/{bytes}"));
        let (slot, record) = (Slot::of_key(&key), Record::Response(key.clone(), response(&clock, bytes)));
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("store {name}"), |bench| {
            bench.iter(|| runtime.block_on(tier.store(slot, record.clone())));
        });
        group.bench_function(format!("load {name}"), |bench| {
            bench.iter(|| runtime.block_on(tier.load(slot)).expect("it is there"));
        });
    }
    group.bench_function("load what is not there", |bench| {
        bench.iter(|| runtime.block_on(tier.load(Slot { url: 1, rest: 2 })));
    });
    group.bench_function("gate: whether what is stored may be used", |bench| bench.iter(|| black_box(&gate).is_open()));
}

criterion_group!(benches, redis);
criterion_main!(benches);
