//! What `/v1/cache/…`, `larder cache` and `larder explain` say of a running larder.

use serde_json::{Value, json};

use super::{Api, Cli, configured};
use crate::support::PATIENCE;
use crate::support::larder::Larder;
use crate::support::redis::Redis;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

async fn app() -> Upstream {
    Upstream::start(|request| {
        let reply = Reply::ok().header("cache-control", "max-age=600");
        match request.path() {
            "/varied" => reply.header("vary", "x-a").header("xkey", "t u").body("varied"),
            "/old" => Reply::ok().header("cache-control", "max-age=0").header("etag", "\"1\"").body("old"),
            "/own" => Reply::ok().header("cache-control", "private").body("own"),
            _ => reply.header("content-type", "text/html").body("page"),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_filtered_and_come_in_pages() {
    let upstream = app().await;
    let larder = Larder::before(&upstream.url()).await;
    for page in 0..25 {
        larder.get(&format!("/page/{page:02}"), &[]).await;
    }
    larder.get("/varied", &[("x-a", "1")]).await;
    larder.get("/varied", &[]).await;
    larder.until("all to be stored", async || larder.metric("larder_cache_entries", "").await == 26.0).await;
    let api = Api::of(&larder);

    let (mut seen, mut after) = (Vec::new(), String::new());
    for page in 0..3 {
        let (status, answer) = api.get(&format!("/v1/cache/entries?prefix=/page/&limit=10{after}")).await;
        assert_eq!((status, &answer["total"]), (200, &json!(25)), "{answer}");
        let keys = answer["entries"].as_array().unwrap().iter().map(|entry| entry["key"].as_str().unwrap().to_owned());
        seen.extend(keys);
        match answer["next"].as_str() {
            Some(next) => after = format!("&after={}", next.replace(' ', "%20")),
            None => assert_eq!(page, 2, "the last"),
        }
    }
    let expected: Vec<_> = (0..25).map(|page| format!("GET http://app.test/page/{page:02}")).collect();
    assert_eq!(seen, expected, "each once, in order");
    for (filter, total) in [
        ("", 26),
        ("tag=t", 1),
        ("tag=t&prefix=/page/", 0),
        ("status=2xx&content_type=text/html", 25),
        ("glob=/page/0*", 10),
        ("regex=page/[12]5$", 1),
        ("status=404", 0),
    ] {
        let (status, answer) = api.get(&format!("/v1/cache/entries?{filter}")).await;
        assert_eq!((status, &answer["total"]), (200, &json!(total)), "{filter}: {answer}");
    }

    let (_, entry) = api.get("/v1/cache/entry?url=http://app.test/varied").await;
    let of_url = &entry["entries"][0];
    assert_eq!((&of_url["key"], &of_url["tier"]), (&json!("GET http://app.test/varied"), &json!("memory")), "{entry}");
    assert!(of_url["bytes"].as_u64().unwrap() > 100);
    let variants = of_url["variants"].as_array().unwrap();
    let selects: Vec<_> = variants.iter().map(|variant| variant["selects"]["x-a"].clone()).collect();
    assert_eq!(selects, [Value::Null, json!("1")], "the newest first");
    assert_eq!((&variants[0]["tags"], &variants[0]["lifetime"]), (&json!(["t", "u"]), &json!(600)), "{entry}");
    assert!(variants[0]["ttl"].as_i64().unwrap() > 500 && variants[0]["not_reused"].is_null(), "{entry}");

    let cli = Cli::of(&larder);
    let listed = cli.run(&["cache", "ls", "--prefix", "/page/", "--limit", "2"]).await;
    assert!(listed.starts_with("GET http://app.test/page/00 ("), "{listed}");
    assert!(listed.ends_with("2 of 25 keys\nmore with --after \"GET http://app.test/page/01\"\n"), "{listed}");
    let rest = cli.run(&["cache", "ls", "--after", "GET http://app.test/page/23", "--prefix", "/page/"]).await;
    assert!(rest.starts_with("GET http://app.test/page/24 (") && rest.ends_with("1 of 25 keys\n"), "{rest}");
    let got = cli.run(&["cache", "get", "http://app.test/varied"]).await;
    assert!(got.lines().count() == 3 && got.contains("x-a: 1") && got.contains("tags t u"), "{got}");
    assert_eq!(cli.run(&["cache", "get", "http://app.test/none"]).await, "nothing is stored in memory\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explanation_agrees_with_what_a_request_then_gets() {
    let (upstream, directory) = (app().await, tempfile::tempdir().unwrap());
    let routes = "[[routes]]\nname = \"moved\"\nmatch = { path = \"/moved\" }\nredirect = { to = \"/new\" }\n\
                  [[routes]]\nname = \"raw\"\nmatch = { path = \"/raw/\" }\ncache = { enabled = false }\n\
                  access = { allow = [\"127.0.0.0/8\"] }\nlimits = { rate = \"9000/s\", concurrency = 5 }\n\
                  [[routes]]\nname = \"rest\"\nmatch = { host = \"app.test\" }";
    let (_, larder) = configured(&upstream, &directory, routes).await;
    let cli = Cli::of(&larder);
    for path in ["/page", "/varied", "/old"] {
        larder.get(path, &[("x-a", "1")]).await;
    }
    larder.until("all to be stored", async || larder.metric("larder_cache_entries", "").await == 3.0).await;
    for (url, first, route, outcome) in [
        ("http://app.test/page", "hit\n", "rest", "; hit"),
        ("http://app.test/new", "miss (uri-miss)\n", "rest", "fwd=uri-miss"),
        ("http://app.test/varied", "miss (vary-miss)\n", "rest", "fwd=vary-miss"),
        ("http://app.test/old", "miss (stale)\n", "rest", "fwd=stale"),
        ("http://app.test/raw/x", "bypass (cache-off)\n", "raw", "detail=cache-off"),
        ("http://app.test/moved", "own\n", "moved", "larder"),
        ("http://other.test/page", "refused (no-route)\n", "", "detail=no-route"),
    ] {
        let told = cli.run(&["explain", url]).await;
        assert!(told.starts_with(first), "{url}: {told}");
        assert_eq!(told.contains("route     "), !route.is_empty(), "{told}");
        assert!(told.contains(route), "{told}");
        let asked = ["asks for  a client in 127.0.0.0/8\n", "at most 9000 requests in 1s, ", "a place among 5 at"];
        assert!(asked.iter().all(|it| told.contains(it) == (route == "raw")), "{told}");
        let (host, path) = url["http://".len()..].split_once('/').unwrap();
        let answer = larder.get(&format!("/{path}"), &[("Host", host)]).await;
        assert!(answer.field("cache-status").contains(outcome), "{url}: {}", answer.field("cache-status"));
    }
    let json: Value = serde_json::from_str(&cli.run(&["explain", "--json", "http://app.test/page"]).await).unwrap();
    assert_eq!((&json["outcome"], &json["key"]), (&json!("hit"), &json!("GET http://app.test/page")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_count_what_memory_and_disk_answered() {
    let (upstream, directory) = (app().await, tempfile::tempdir().unwrap());
    let disk = format!("[cache.disk]\npath = \"{}\"\nsize = \"64MiB\"", directory.path().join("disk").display());
    let (_, larder) = configured(&upstream, &directory, &disk).await;
    for path in ["/page", "/other"] {
        larder.until_hit(path).await;
    }
    larder.until("both on disk", async || larder.metric("larder_tier_stores_total", "disk").await == 2.0).await;
    larder.process.signal("TERM");
    larder.process.finish(PATIENCE).await;

    let (_, larder) = configured(&upstream, &directory, &disk).await;
    let (api, cli) = (Api::of(&larder), Cli::of(&larder));
    larder.until("the index to be read", async || larder.metric("larder_tier_entries", "disk").await == 2.0).await;
    let told = cli.run(&["explain", "http://app.test/page"]).await;
    assert!(
        told.starts_with("miss (uri-miss)\n") && told.contains("It may still be found below memory: disk."),
        "{told}"
    );
    let first = larder.get("/page", &[]).await;
    assert!(first.field("cache-status").ends_with("detail=disk"), "{}", first.field("cache-status"));
    for _ in 0..2 {
        assert!(larder.get("/page", &[]).await.is_hit());
    }
    larder.get("/own", &[]).await;
    larder.get("/new", &[]).await;

    let (_, stats) = api.get("/v1/cache/stats").await;
    let [memory, disk] = stats["tiers"].as_array().unwrap().as_slice() else { panic!("{stats}") };
    assert_eq!((&memory["tier"], &disk["tier"]), (&json!("memory"), &json!("disk")));
    let figures = |tier: &Value| ["hits", "misses", "evictions"].map(|name| tier[name].as_u64().unwrap());
    assert_eq!(figures(memory), [2, 3, 0], "one of disk, two of none: {stats}");
    assert_eq!(disk["hits"], 1, "{stats}");
    assert!((memory["ratio"].as_f64().unwrap() - 0.4).abs() < 0.001, "{stats}");
    assert!(memory["bytes"].as_u64().unwrap() > 0 && memory["entries"].as_u64().unwrap() >= 1, "{stats}");
    assert!(disk["bytes"].as_u64().unwrap() > 0 && disk["budget_bytes"] == 64 << 20, "{stats}");
    assert!(disk["entries"].as_u64().unwrap() >= 2 && disk["latency_micros"].as_f64().unwrap() > 0.0, "{stats}");
    assert!(memory["breaker"].is_null() && disk["breaker"].is_null(), "{stats}");
    let told = cli.run(&["cache", "stats"]).await;
    assert!(
        told.starts_with("memory  on: 2 hits, 3 misses (40.0 %), ") && told.contains("\ndisk    on: 1 hits, "),
        "{told}"
    );
    let (_, health) = api.get("/v1/cache/health").await;
    assert_eq!(health["tiers"], json!([{ "tier": "memory", "state": "on" }, { "tier": "disk", "state": "on" }]));
    assert_eq!(cli.run(&["cache", "health"]).await, "ok\n  memory  on\n  disk    on\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_stats_say_that_redis_is_away() {
    let (upstream, mut redis, directory) = (app().await, Redis::start().await, tempfile::tempdir().unwrap());
    let (_, larder) = configured(&upstream, &directory, &format!("[cache.redis]\nurl = \"{}\"", redis.url())).await;
    let (api, cli) = (Api::of(&larder), Cli::of(&larder));
    let breaker = async || api.get("/v1/cache/stats").await.1["tiers"][1]["breaker"].clone();
    larder.until("Redis to be up", async || breaker().await == "closed").await;
    larder.until("purges to be followed", async || api.get("/v1/cache/health").await.1["status"] == "ok").await;
    assert_eq!(cli.run(&["cache", "health"]).await, "ok\n  memory  on\n  redis   on\n  purges  in-step\n");
    let told = cli.run(&["cache", "stats"]).await;
    assert!(
        told.lines().nth(1).is_some_and(|line| line.starts_with("redis   on: ")
            && line.contains("not counted")
            && line.ends_with(", breaker closed")),
        "{told}"
    );

    redis.kill();
    larder
        .until("the breaker to open", async || {
            larder.get("/unseen", &[("x-a", "1")]).await;
            breaker().await == "open"
        })
        .await;
    assert_eq!(larder.get("/page/1", &[]).await.status, 200);
    let (_, health) = api.get("/v1/cache/health").await;
    assert_eq!(health["status"], "degraded", "{health}");
    assert_ne!(health["tiers"][1]["state"], "on", "{health}");
    assert!(cli.run(&["cache", "health"]).await.starts_with("degraded\n  memory  on\n  redis   "));
    let (_, told) = api.post("/v1/purge", &json!({ "url": "http://app.test/page/1" })).await;
    let receipt = &told["receipt"];
    assert_eq!(
        (&receipt["state"], &receipt["nodes"][0]),
        (&json!("pending"), &json!({ "node": "redis", "state": "pending" }))
    );
    let output = cli.run(&["purge", "--tag", "t"]).await;
    assert!(output.contains("not applied yet by the node redis\n"), "{output}");
}
