//! Several larder processes on one Redis: what one fetches is a hit on the others, and what one purges is gone on all.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::{Connection, request};
use crate::support::larder::{Larder, TOKEN};
use crate::support::redis::{Between, Cluster, Mood, Redis, Watched};
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::{long, machine, within};

/// An app whose pages may be kept for long, each answer another.
async fn app() -> Upstream {
    let count = std::sync::atomic::AtomicU32::new(0);
    Upstream::start(move |request| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Reply::ok().header("cache-control", "max-age=3600").body(format!("{} {number}", request.path()))
    })
    .await
}

/// A larder before an app, with this in `[cache.redis]`.
async fn node(upstream: &Upstream, redis: &str, directory: &Path) -> Larder {
    let file = directory.join(format!("{:016x}.toml", larder::cache::record::new_id()));
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[upstreams.app]\nservers = [\"{}\"]\n[cache.redis]\n{redis}\n",
        upstream.url()
    );
    std::fs::write(&file, text).unwrap();
    let larder = Larder::configured(&file).await;
    larder.until("purges to be followed", async || larder.metric("larder_purge_link_up", "").await == 1.0).await;
    larder
}

/// One that shares stored responses as well, by a way that is up.
async fn sharing(upstream: &Upstream, redis: &str, directory: &Path) -> Larder {
    let larder = node(upstream, redis, directory).await;
    larder.until("Redis to be up", async || larder.metric("larder_redis_up", "bodies").await == 1.0).await;
    larder
}

/// Waits until so many records are in Redis.
async fn stored(redis: &Redis, count: usize) {
    redis.until(&["KEYS", "larder:r:*"], |keys| keys.lines().filter(|line| !line.is_empty()).count() == count).await;
}

/// Purges a URL; the receipt.
async fn purge(larder: &Larder, url: &str) -> Value {
    control(larder, "POST", "/v1/purge", &json!({ "url": url }).to_string()).await["receipt"].clone()
}

async fn control(larder: &Larder, method: &str, path: &str, body: &str) -> Value {
    let (host, bearer) = (larder.control.to_string(), format!("Bearer {TOKEN}"));
    let fields = [("Host", &*host), ("Authorization", &*bearer), ("Content-Type", "application/json")];
    let mut connection = Connection::open(larder.control).await;
    connection.send(request(method, path, &fields, body)).await;
    let answer = connection.response(method).await;
    assert!((200..300).contains(&answer.status), "{}", answer.text());
    serde_json::from_str(&answer.text()).unwrap()
}

const PAGE: &str = "http://app.test/page";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_that_one_node_fetched_is_a_hit_on_the_others_and_a_purge_on_one_is_a_purge_on_all() {
    let _machine = machine().await;
    let (upstream, redis, files) = (app().await, Redis::start().await, tempfile::tempdir().unwrap());
    let url = format!("url = \"{}\"", redis.url());
    let [a, b, c] = [
        sharing(&upstream, &url, files.path()).await,
        sharing(&upstream, &url, files.path()).await,
        sharing(&upstream, &url, files.path()).await,
    ];
    let first = a.get("/page", &[]).await.text();
    stored(&redis, 1).await;
    for node in [&b, &c] {
        let page = node.get("/page", &[]).await;
        assert!(page.is_hit(), "{}", page.field("cache-status"));
        assert_eq!(page.text(), first);
    }
    assert_eq!(upstream.count("/page"), 1);

    let began = Instant::now();
    let receipt = purge(&a, PAGE).await;
    assert_eq!(receipt["state"], "done", "{receipt}");
    let nodes = receipt["nodes"].as_array().unwrap();
    assert!(nodes.len() >= 3, "both others, and the sequence: {receipt}");
    assert!(nodes.iter().all(|node| node["state"] == "done"), "{receipt}");
    while began.elapsed() < Duration::from_millis(80) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for node in [&b, &c, &a] {
        assert_ne!(node.get("/page", &[]).await.text(), first);
    }
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_was_stopped_during_a_purge_does_not_serve_what_was_purged() {
    let _machine = machine().await;
    let (upstream, redis, files) = (app().await, Redis::start().await, tempfile::tempdir().unwrap());
    let purges = format!("purge_url = \"{}\"", redis.url());
    let a = node(&upstream, &purges, files.path()).await;
    let b = node(&upstream, &purges, files.path()).await;
    for round in 0..5 {
        let path = format!("/{round}");
        b.until_hit(&path).await;
        let old = b.get(&path, &[]).await.text();
        let mut connection = Connection::open(b.address).await;
        assert_eq!(connection.get(&path, &[]).await.text(), old);
        b.process.signal("STOP");
        // Asked for while it is stopped: the first thing that it sees when it goes on.
        connection.send(request("GET", &path, &[], "")).await;
        purge(&a, &format!("http://app.test{path}")).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        b.process.signal("CONT");
        assert_ne!(connection.response("GET").await.text(), old, "round {round}");
        assert_ne!(b.get(&path, &[]).await.text(), old, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_tells_that_purges_of_others_are_not_followed() {
    let _machine = machine().await;
    let (upstream, redis, mut purges) = (app().await, Redis::start().await, Redis::start().await);
    let files = tempfile::tempdir().unwrap();
    let urls = format!("url = \"{}\"\npurge_url = \"{}\"\nstrict = true", redis.url(), purges.url());
    let larder = sharing(&upstream, &urls, files.path()).await;
    let health = async || {
        let health = control(&larder, "GET", "/v1/cache/health", "").await;
        let tier = health["tiers"].as_array().unwrap().iter().find(|tier| tier["tier"] == "redis").unwrap();
        json!([health["status"], tier["state"], health["purge_link"]])
    };
    let well = json!(["ok", "on", { "standing": "in-step" }]);
    larder.until("all to be well", async || health().await == well).await;
    assert_eq!(larder.metric("larder_tier_up", "redis").await, 1.0);
    purges.kill();
    let ill = json!(["degraded", "purges-unknown", { "standing": "shut", "fault": "unreachable" }]);
    larder.until("it to be told", async || health().await == ill).await;
    assert_eq!(larder.metric("larder_tier_up", "redis").await, 0.0);
    purges.start_again().await;
    larder.until("all to be well again", async || health().await == well).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_served_whatever_becomes_of_redis() {
    let _machine = machine().await;
    let (upstream, mut redis, files) = (app().await, Redis::start().await, tempfile::tempdir().unwrap());
    let between = Between::before(redis.address()).await;
    let larder = sharing(&upstream, &format!("url = \"{}\"", between.url()), files.path()).await;
    larder.until_hit("/kept").await;
    let kept = larder.get("/kept", &[]).await.text();
    let before = hits(&larder, &kept, 1000, "before").await;
    let mut number = 0;
    for fault in ["stopped", "killed", "slow", "silent", "cut", "full", "replica", "password"] {
        match fault {
            "stopped" => redis.stop(true),
            "killed" => redis.kill(),
            "slow" => between.set(Mood::Slow(300)),
            "silent" => between.set(Mood::Silent),
            "cut" => between.set(Mood::Cut),
            "full" => assert_eq!(redis.cli(&["CONFIG", "SET", "maxmemory", "1"]), "OK"),
            "replica" => assert_eq!(redis.cli(&["REPLICAOF", "127.0.0.1", "1"]), "OK"),
            _ => {
                assert_eq!(redis.cli(&["CONFIG", "SET", "requirepass", "s3cret"]), "OK");
                redis.cli(&["-a", "s3cret", "--no-auth-warning", "CLIENT", "KILL", "TYPE", "normal"]);
            }
        }
        let beside = hits(&larder, &kept, 1000, fault).await;
        println!("p99 of memory hits: {before:?} before, {beside:?} with Redis {fault}");
        // A machine that does other things as well says nothing about microseconds.
        assert!(!long() || beside < before + Duration::from_millis(1), "{fault}: {before:?} before, {beside:?} now");
        let mut connection = Connection::open(larder.address).await;
        for _ in 0..20 {
            number += 1;
            let page = connection.get(&format!("/new/{number}"), &[]).await;
            assert_eq!(page.status, 200, "{fault}");
        }
        match fault {
            "stopped" => redis.stop(false),
            "killed" => redis.start_again().await,
            "full" => assert_eq!(redis.cli(&["CONFIG", "SET", "maxmemory", "0"]), "OK"),
            "replica" => assert_eq!(redis.cli(&["REPLICAOF", "NO", "ONE"]), "OK"),
            "password" => {
                let mend = ["-a", "s3cret", "--no-auth-warning", "CONFIG", "SET", "requirepass", ""];
                assert_eq!(redis.cli(&mend), "OK");
            }
            _ => between.set(Mood::Honest),
        }
        let back = Instant::now();
        within("a new page in Redis", async {
            loop {
                let before = redis.cli(&["DBSIZE"]);
                number += 1;
                larder.get(&format!("/new/{number}"), &[]).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                if redis.cli(&["DBSIZE"]) != before {
                    break;
                }
            }
        })
        .await;
        println!("used again {:?} after Redis {fault}", back.elapsed());
        assert!(!long() || back.elapsed() < Duration::from_secs(5), "{fault}: {:?}", back.elapsed());
        // While purges are being caught up with, nothing is served from memory, and the next fault would prolong that.
        larder.until("purges to be followed", async || larder.metric("larder_purge_link_up", "").await == 1.0).await;
    }
}

/// Asks for a page that is in memory, that often; the 99th percentile of how long it took.
async fn hits(larder: &Larder, kept: &str, count: usize, fault: &str) -> Duration {
    let mut connection = Connection::open(larder.address).await;
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        let asked = Instant::now();
        let page = connection.get("/kept", &[]).await;
        took.push(asked.elapsed());
        assert_eq!((page.status, page.text().as_str()), (200, kept), "{fault}");
        assert!(page.is_hit(), "{fault}: memory goes on");
    }
    took.sort_unstable();
    took[count * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_while_redis_is_away_is_reported_as_pending_and_reaches_the_others_later() {
    let (upstream, mut redis, files) = (app().await, Redis::start().await, tempfile::tempdir().unwrap());
    let purges = format!("purge_url = \"{}\"", redis.url());
    let a = node(&upstream, &purges, files.path()).await;
    let b = node(&upstream, &purges, files.path()).await;
    for node in [&a, &b] {
        node.until_hit("/page").await;
    }
    let old = [a.get("/page", &[]).await.text(), b.get("/page", &[]).await.text()];
    redis.kill();
    a.until("the loss", async || a.metric("larder_purge_link_up", "").await == 0.0).await;
    let receipt = purge(&a, PAGE).await;
    assert_eq!(receipt["state"], "pending", "{receipt}");
    assert_eq!(a.metric("larder_purge_link_waiting", "").await, 1.0, "never silent success");
    assert_ne!(a.get("/page", &[]).await.text(), old[0], "here it is in force");
    assert_eq!(b.get("/page", &[]).await.text(), old[1]);
    redis.start_again().await;
    let back = Instant::now();
    b.until("the purge", async || b.get("/page", &[]).await.text() != old[1]).await;
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    a.until("its delivery", async || a.metric("larder_purge_link_waiting", "").await == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_share_by_a_cluster_and_by_what_sentinels_name() {
    let (upstream, files) = (app().await, tempfile::tempdir().unwrap());
    let cluster = Cluster::start().await;
    let watched = Watched::start().await;
    for (at, url) in [cluster.url(), watched.url()].iter().enumerate() {
        let url = format!("url = \"{url}\"\ntimeout = \"100ms\"");
        let (a, b) = (sharing(&upstream, &url, files.path()).await, sharing(&upstream, &url, files.path()).await);
        let path = format!("/{at}");
        let old = a.get(&path, &[]).await.text();
        a.until("it to be in Redis", async || a.metric("larder_tier_stores_total", "redis").await == 1.0).await;
        let page = b.get(&path, &[]).await;
        assert!(page.is_hit(), "{}", page.field("cache-status"));
        assert_eq!(page.text(), old);
        purge(&a, &format!("http://app.test{path}")).await;
        b.until("the purge", async || b.get(&path, &[]).await.text() != old).await;
    }
}
