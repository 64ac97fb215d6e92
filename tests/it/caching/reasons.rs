//! Every reason word that CACHING.md explains is really said.

use std::collections::BTreeSet;

use larder::cache::purge::PurgeTarget;

use super::ok;
use crate::support::client::{Connection, request};
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::repository;
use crate::support::upstream::{Recorded, Upstream};
use crate::support::within;

/// The words in the first column of a table of CACHING.md.
fn explained(heading: &str) -> BTreeSet<String> {
    let page = std::fs::read_to_string(repository("docs/CACHING.md")).unwrap();
    let section = page.split_once(&format!("\n### {heading}\n")).unwrap().1;
    let section = section.split("\n## ").next().unwrap().split("\n### ").next().unwrap();
    let words = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next().map(str::to_owned));
    words.collect()
}

/// The reasons that a proxy's metrics count for a kind of decision.
fn counted(metrics: &str, decision: &str) -> BTreeSet<String> {
    let of_kind = metrics.lines().filter(|line| line.contains(&format!("decision=\"{decision}\"")));
    of_kind.filter_map(|line| line.split_once("reason=\"")?.1.split('"').next().map(str::to_owned)).collect()
}

fn script(request: &Recorded, gate: &Gate) -> Reply {
    let status = |status: &str| Reply::status(status).body("x");
    match request.path() {
        "/slow" => ok("max-age=60", "x").after(gate),
        "/slow-private" => ok("private", "x").after(gate),
        "/varied" => ok("max-age=60", "x").header("vary", "foo"),
        "/coded" => ok("max-age=60", "x").header("content-encoding", "x-own"),
        "/no-cache" => ok("no-cache", "x").header("etag", "\"v1\""),
        "/film" if request.fields.get("range").is_none() => ok("max-age=60", "0123456789").header("etag", "\"v1\""),
        "/film" => status("206 Partial Content")
            .header("cache-control", "max-age=60")
            .header("etag", "\"v1\"")
            .header("content-range", "bytes 5-5/10"),
        "/odd-part" => status("206 Partial Content"),
        "/tags" => ok("max-age=60", "x").header("xkey", &"x".repeat(1100)),
        "/no-store" => ok("no-store", "x"),
        "/private" => ok("private", "x"),
        "/set-cookie" => ok("max-age=60", "x").header("set-cookie", "a=b"),
        "/vary-any" => ok("max-age=60", "x").header("vary", "*"),
        "/no-freshness" => status("200 OK"),
        "/zero-ttl" => ok("max-age=0", "x"),
        "/302" => status("302 Found"),
        "/500" => status("500 Internal Server Error"),
        "/style.css" => status("200 OK").header("content-type", "text/html"),
        "/large" => ok("max-age=60", &"x".repeat(9000)),
        "/room" => ok("max-age=60", "x").header("etag", "\"v1\""),
        "/cut" => Reply::ok().header("cache-control", "max-age=60").piece("half").cut(),
        "/chunks" => Reply::ok().header("cache-control", "max-age=60").piece("half").gate(gate).piece("half"),
        "/socket" => {
            Reply::raw("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").then_close()
        }
        "/stale" => match request.fields.get("x-fail") {
            Some(_) => Reply::close(),
            None => ok("max-age=10, stale-while-revalidate=10, stale-if-error=60", "x"),
        },
        _ => ok("max-age=60", "x"),
    }
}

#[tokio::test]
async fn reasons_are_all_said() {
    let gate = Gate::new();
    let opener = gate.clone();
    let upstream = Upstream::start(move |request| script(request, &opener)).await;
    let proxy = Proxy::configured(&format!(
        "[debug]\nbypass_header = \"X-Bypass\"\n[upstreams.app]\nservers = [\"{}\"]\n\
         [cache]\ncollapse_wait = \"100ms\"\n[cache.rules]\nmax_object = \"8KiB\"\n[compression]\nenabled = false\n\
         [[routes]]\nmatch.path = \"/off\"\nupstream = \"app\"\ncache.enabled = false\n\
         [[routes]]\nmatch.path = \"/mine/\"\nupstream = \"app\"\ncache.private = {{ cookie = \"sid\" }}\n\
         [[routes]]\nupstream = \"app\"\n",
        upstream.url()
    ));
    let cache = &proxy.app.proxy.cache;
    let get = async |path: &str, fields: &[(&str, &str)]| proxy.get(path, fields).await;
    for path in [
        "/a",
        "/varied",
        "/no-cache",
        "/no-cache",
        "/tags",
        "/no-store",
        "/private",
        "/set-cookie",
        "/vary-any",
        "/no-freshness",
        "/zero-ttl",
        "/302",
        "/500",
        "/style.css",
        "/large",
        "/cut",
        "/off",
        "/stale",
    ] {
        get(path, &[]).await;
    }
    for (path, fields) in [
        ("/varied", &[("foo", "1")][..]),
        ("/coded", &[("accept-encoding", "x-own")]),
        ("/coded", &[]),
        ("/film", &[("range", "bytes=5-5")]),
        ("/film", &[("range", "bytes=5-6")]),
        ("/odd-part", &[("range", "bytes=5-5")]),
        ("/a", &[("cache-control", "no-cache")]),
        ("/a", &[("cache-control", "max-age=0")]),
        ("/a", &[("cache-control", "min-fresh=99")]),
        ("/a", &[("if-match", "*")]),
        ("/a", &[("x-bypass", "1")]),
        ("/a", &[("cookie", "a=b")]),
        ("/mine/unclear", &[("cookie", "sid=a; sid=b")]),
        ("/mine/stored", &[]),
        ("/mine/stored", &[("cookie", "sid=a; sid=b")]),
        ("/b", &[("cookie", "a=b")]),
        ("/a", &[("authorization", "Basic YTpi")]),
        ("/c", &[("authorization", "Basic YTpi")]),
        ("/d", &[("cache-control", "no-store")]),
        ("/socket", &[("connection", "upgrade"), ("upgrade", "x")]),
    ] {
        get(path, fields).await;
    }
    proxy.ask("HEAD", "/e", &[], "").await;
    proxy.ask("POST", "/a", &[], "").await;
    proxy.ask("GET", "/a", &[], "body").await;
    proxy.advance(15);
    get("/stale", &[("x-fail", "1")]).await; // while a validation is under way
    within("the validation to end", async {
        while cache.flights.under_way() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    proxy.advance(15);
    get("/stale", &[("cache-control", "max-stale")]).await;
    get("/stale", &[("x-fail", "1")]).await;
    proxy.advance(60);
    get("/varied", &[]).await;
    // No room: what fills may take is taken.
    while cache.memory.reserve(1 << 10) {}
    get("/room", &[]).await;
    cache.memory.release(cache.memory.filling());
    // Those that meet others.
    let connect = async |path: &str, fields: &[(&str, &str)]| {
        let mut connection = Connection::open(proxy.address).await;
        connection.send(request("GET", path, fields, "")).await;
        connection
    };
    let before = upstream.requests().len();
    let mut chunks = connect("/chunks", &[]).await;
    let _leaders = (connect("/slow", &[]).await, connect("/slow-private", &[]).await);
    chunks.head().await;
    upstream.arrived(before + 3).await;
    proxy.purge(PurgeTarget::All);
    let _leader = connect("/slow", &[]).await;
    upstream.arrived(before + 4).await;
    let _others = (connect("/slow", &[("cache-control", "no-store")]).await, connect("/slow", &[]).await);
    upstream.arrived(before + 6).await;
    let _private = connect("/slow-private", &[]).await;
    upstream.arrived(before + 7).await;
    let joined = cache.flights.joined();
    let waiting = connect("/slow-private", &[]).await;
    within("a follower", async {
        while cache.flights.joined() == joined {
            tokio::task::yield_now().await;
        }
    })
    .await;
    gate.open();
    // A node that must know what others purge, and cannot.
    let apart = Proxy::configured(&format!(
        "[upstreams.app]\nservers = [\"{}\"]\n[cache.redis]\nurl = \"redis://127.0.0.1:1\"\nstrict = true\n",
        upstream.url()
    ));
    apart.get("/a", &[]).await;
    let apart = counted(&apart.metrics_text().await, "forward");
    let missing = |metrics: &str| -> Vec<(&str, Vec<String>)> {
        let tables = [("forward", "Why forwarded"), ("no-store", "Why not stored"), ("stale", "Why stale")];
        let lacks = |(decision, heading)| -> (&str, Vec<String>) {
            (decision, explained(heading).difference(&(&counted(metrics, decision) | &apart)).cloned().collect())
        };
        tables.map(lacks).into_iter().filter(|(_, words)| !words.is_empty()).collect()
    };
    let said = tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while !missing(&proxy.metrics_text().await).is_empty() {
            tokio::task::yield_now().await;
        }
    });
    if said.await.is_err() {
        panic!("never said: {:?}", missing(&proxy.metrics_text().await));
    }
    drop(waiting);
}
