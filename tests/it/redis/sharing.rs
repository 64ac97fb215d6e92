//! Proxies that share a Redis: what lies there damaged is never served, what Redis evicts is a miss, a fleet fetches
//! once, and larder asks Redis for nothing that is not documented.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use larder::cache::key::CacheKey;
use larder::cache::purge::PurgeTarget;
use redis::aio::MultiplexedConnection;
use redis::cmd;
use tokio::task::JoinSet;

use crate::support::client;
use crate::support::process::POLL;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;
use crate::support::{repository, within};

/// A proxy that shares by a Redis; `more` goes into `[cache.redis]`.
async fn proxy(upstream: &Upstream, url: &str, more: &str) -> Proxy {
    let proxy = Proxy::configured(&format!(
        "[upstreams.app]\nservers = [\"{}\"]\n[cache.redis]\nurl = \"{url}\"\ntimeout = \"200ms\"\n{more}\n",
        upstream.url()
    ));
    within("Redis to be up", async {
        let shared = proxy.app.proxy.cache.shared.as_ref().unwrap();
        while !(shared.gate.is_in_step() && shared.figures()[0].state == "closed") {
            tokio::time::sleep(POLL).await;
        }
    })
    .await;
    proxy
}

async fn connection(redis: &Redis) -> MultiplexedConnection {
    redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// Leaves nothing in memory.
fn forget(proxy: &Proxy, path: &str) {
    let text = format!("GET http://app.test{path}");
    let base = text.len();
    proxy.app.proxy.cache.memory.remove(&CacheKey::from_text(text, base).unwrap());
}

async fn values(redis: &mut MultiplexedConnection) -> Vec<Vec<u8>> {
    cmd("KEYS").arg("larder:r:*").query_async(redis).await.unwrap()
}

/// Any byte of a value flipped, and the value cut anywhere: a miss that is answered rightly, and the value goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn value_with_any_byte_flipped_or_cut_is_a_miss_and_goes() {
    let stores = Arc::new(AtomicBool::new(true));
    let storable = stores.clone();
    let upstream = Upstream::start(move |_| {
        let control = if storable.load(Ordering::SeqCst) { "max-age=600" } else { "no-store" };
        Reply::ok().header("cache-control", control).body("cooked")
    })
    .await;
    let redis = Redis::start().await;
    let proxy = proxy(&upstream, &redis.url(), "").await;
    let mut asked = connection(&redis).await;
    let key = within("the page to be stored", async {
        loop {
            proxy.get("/page", &[]).await;
            proxy.app.proxy.cache.lower.settle().await;
            if let Some(key) = values(&mut asked).await.pop() {
                return key;
            }
            // Redis was too slow to take it.
            forget(&proxy, "/page");
        }
    })
    .await;
    let whole: Vec<u8> = cmd("GET").arg(&key).query_async(&mut asked).await.unwrap();
    stores.store(false, Ordering::SeqCst);
    let damaged = || proxy.app.proxy.cache.lower.figures()[0].damaged;
    let asked_for = async |at: usize| {
        forget(&proxy, "/page");
        let page = proxy.get("/page", &[]).await;
        assert_eq!((page.status, page.text().as_str(), page.is_hit()), (200, "cooked", false), "at {at}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        for wrong in [&flipped[..], &whole[..at]] {
            let before = damaged();
            within("the value to be found wrong", async {
                while damaged() == before {
                    // While the one before is still being removed, it is not read, and may go unseen.
                    cmd("SET").arg(&key).arg(wrong).query_async::<()>(&mut asked).await.unwrap();
                    asked_for(at).await;
                }
            })
            .await;
            within("the value to go", async {
                while cmd("EXISTS").arg(&key).query_async::<u64>(&mut asked).await.unwrap() > 0 {
                    asked_for(at).await;
                }
            })
            .await;
        }
    }

    // The value as it was is one, and something that is no value at all goes too.
    cmd("SET").arg(&key).arg(&whole).query_async::<()>(&mut asked).await.unwrap();
    within("a hit", async {
        while !proxy.get("/page", &[]).await.is_hit() {
            cmd("SET").arg(&key).arg(&whole).query_async::<()>(&mut asked).await.unwrap();
            forget(&proxy, "/page");
        }
    })
    .await;
    forget(&proxy, "/page");
    cmd("DEL").arg(&key).query_async::<()>(&mut asked).await.unwrap();
    cmd("RPUSH").arg(&key).arg("x").query_async::<()>(&mut asked).await.unwrap();
    within("what is no value to go", async {
        while cmd("EXISTS").arg(&key).query_async::<u64>(&mut asked).await.unwrap() > 0 {
            forget(&proxy, "/page");
            assert_eq!(proxy.get("/page", &[]).await.text(), "cooked");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_evicts_is_a_miss_and_purges_reach_on() {
    let redis = Redis::with(&["--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let upstream = Upstream::start(|request| {
        Reply::ok().header("cache-control", "max-age=600").body(request.path().repeat(20_000))
    })
    .await;
    let (a, b) = (proxy(&upstream, &redis.url(), "").await, proxy(&upstream, &redis.url(), "").await);
    let path = |number: u32| format!("/{number:03}");
    for number in 0..150 {
        assert_eq!(a.get(&path(number), &[]).await.status, 200);
        a.app.proxy.cache.lower.settle().await;
    }
    let evicted = redis.cli(&["INFO", "stats"]);
    let evicted: u64 =
        evicted.lines().find_map(|line| line.trim().strip_prefix("evicted_keys:")).unwrap().parse().unwrap();
    assert!(evicted > 30, "{evicted}");
    let (mut hits, mut misses) = (0, 0);
    for number in 0..150 {
        let page = b.get(&path(number), &[]).await;
        assert!(page.status == 200 && page.text() == path(number).repeat(20_000));
        if page.is_hit() {
            hits += 1;
        } else {
            misses += 1;
        }
        b.app.proxy.cache.lower.settle().await;
    }
    assert!(misses > 30, "{hits} hits, {misses} misses");
    let figures = &b.app.proxy.cache.lower.figures()[0];
    assert_eq!((figures.state, figures.errors), ("on", 0), "an eviction is no fault");
    a.purge(PurgeTarget::Prefix("/1".to_owned()));
    within("the purge", async {
        while b.get(&path(149), &[]).await.is_hit() {
            tokio::time::sleep(POLL).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fleet_sends_one_request_for_an_expired_popular_url() {
    for validates in [false, true] {
        let gate = Gate::new();
        let opener = gate.clone();
        gate.open();
        let upstream = Upstream::start(move |request| {
            let head = Reply::ok().header("cache-control", "max-age=60");
            match request.fields.get("if-none-match") {
                Some(_) => Reply::status("304 Not Modified").header("cache-control", "max-age=60").after(&opener),
                None if validates => head.header("etag", "\"1\"").body("cooked").after(&opener),
                None => head.body("cooked").after(&opener),
            }
        })
        .await;
        let redis = Redis::start().await;
        let more = "collapse = true";
        let proxies = [
            proxy(&upstream, &redis.url(), more).await,
            proxy(&upstream, &redis.url(), more).await,
            proxy(&upstream, &redis.url(), more).await,
        ];
        proxies[0].get("/page", &[]).await;
        proxies[0].app.proxy.cache.lower.settle().await;
        for proxy in &proxies {
            assert!(proxy.get("/page", &[]).await.is_hit());
            proxy.advance(61);
        }
        assert_eq!(upstream.count("/page"), 1);
        let mut asked = JoinSet::new();
        for proxy in &proxies {
            for _ in 0..20 {
                let address = proxy.address;
                asked.spawn(async move { client::get(address, "/page", &[]).await });
            }
        }
        for page in asked.join_all().await {
            assert_eq!((page.status, page.text().as_str()), (200, "cooked"));
        }
        assert_eq!(upstream.count("/page"), 2, "one fetch for all sixty, validates: {validates}");
        assert_eq!(redis.cli(&["KEYS", "larder:l:*"]), "", "the lease was given back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_comes_late_takes_what_another_has_fetched_meanwhile() {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("cooked")).await;
    let redis = Redis::start().await;
    let proxies = [
        proxy(&upstream, &redis.url(), "collapse = true").await,
        proxy(&upstream, &redis.url(), "collapse = true").await,
    ];
    for proxy in &proxies {
        proxy.get("/page", &[]).await;
        proxy.app.proxy.cache.lower.settle().await;
    }
    assert_eq!(upstream.count("/page"), 1);
    for proxy in &proxies {
        proxy.advance(61);
    }
    for proxy in &proxies {
        assert_eq!(proxy.get("/page", &[]).await.text(), "cooked");
        proxy.app.proxy.cache.lower.settle().await;
    }
    assert_eq!(upstream.count("/page"), 2, "the second has a stale copy, and Redis a fresh one");
    assert_eq!(redis.cli(&["KEYS", "larder:l:*"]), "", "the lease was given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lease_is_given_back_when_nothing_is_stored_in_the_end() {
    let head = || Reply::ok().header("cache-control", "max-age=60");
    for fate in ["stored", "cut", "too large", "purged", "of this process", "private"] {
        let gate = Gate::new();
        let opener = gate.clone();
        let upstream = Upstream::start(move |_| match fate {
            "cut" => head().header("content-length", "100").gate(&opener).piece("half").cut(),
            "too large" => head().gate(&opener).piece(vec![b'x'; 2 << 20]),
            "of this process" => head().header("no-vary-search", "params").gate(&opener).piece("cooked"),
            "private" => Reply::ok().header("cache-control", "private").body("cooked").after(&opener),
            _ => head().gate(&opener).piece("cooked"),
        })
        .await;
        let redis = Redis::start().await;
        // Much longer than anybody waits here.
        let more = "collapse = true\n[cache]\ncollapse_wait = \"1h\"\n[cache.rules]\nmax_object = \"1MiB\"";
        let proxy = proxy(&upstream, &redis.url(), more).await;
        let asked = async {
            upstream.arrived(1).await;
            assert_ne!(redis.cli(&["KEYS", "larder:l:*"]), "", "{fate}");
            if fate == "purged" {
                proxy.purge(PurgeTarget::All);
            }
            gate.open();
        };
        tokio::join!(proxy.get("/page", &[]), asked);
        redis.until(&["KEYS", "larder:l:*"], str::is_empty).await;
        let is_stored = !values(&mut connection(&redis).await).await.is_empty();
        assert_eq!(is_stored, fate == "stored", "{fate}");
    }
}

/// Commands that larder may send, with the version of Redis that brought them: none is newer than 6.0.
const COMMANDS: [&str; 19] = [
    "get",
    "set",
    "exists",
    "unlink",
    "eval",
    "xadd",
    "xread",
    "xrange",
    "xrevrange",
    "hset",
    "hgetall",
    "hdel",
    "ping",
    "hello",
    "auth",
    "select",
    "client",
    "cluster",
    "config",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documented_permissions_are_enough_and_no_command_is_newer_than_redis_6() {
    let docs = std::fs::read_to_string(repository("docs/TIERS.md")).unwrap();
    let line = docs.lines().find(|line| line.starts_with("ACL SETUSER larder")).expect("docs/TIERS.md names them");
    let redis = Redis::start().await;
    assert_eq!(redis.cli(&line.split(' ').collect::<Vec<_>>()), "OK");
    redis.cli(&["CONFIG", "RESETSTAT"]);
    let url = format!("redis://larder:password@127.0.0.1:{}", redis.port);
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("cooked")).await;
    let more = "collapse = true";
    let (a, b) = (proxy(&upstream, &url, more).await, proxy(&upstream, &url, more).await);
    a.get("/page", &[]).await;
    a.app.proxy.cache.lower.settle().await;
    assert!(b.get("/page", &[]).await.is_hit());
    a.purge(PurgeTarget::Url("http://app.test/page".to_owned()));
    within("the purge", async {
        while b.get("/page", &[]).await.is_hit() {
            tokio::time::sleep(POLL).await;
        }
    })
    .await;
    for proxy in [&a, &b] {
        proxy.app.proxy.cache.lower.settle().await;
    }
    redis.until(&["KEYS", "larder:l:*"], str::is_empty).await;
    assert_eq!(redis.cli(&["ACL", "LOG"]), "", "nothing was refused");
    let stats = redis.cli(&["INFO", "commandstats"]);
    let names = stats.lines().filter_map(|line| line.trim().strip_prefix("cmdstat_")?.split([':', '|']).next());
    let ours = ["keys", "acl", "info"]; // of this test
    let used: BTreeSet<&str> = names.filter(|name| !ours.contains(name)).collect();
    let unknown: Vec<_> = used.iter().filter(|name| !COMMANDS.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(used.contains("xread") && used.contains("eval"), "{used:?}");
}
