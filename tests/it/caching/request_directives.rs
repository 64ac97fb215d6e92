//! RFC 9111 §5.2.1, §5.4: what a request's directives change, for clients that are trusted and for others.

use super::{Fields, ok};
use crate::support::proxy::Proxy;
use crate::support::upstream::Upstream;

stories![
    request_directives_of_trusted_and_other_clients,
    request_directives_by_the_routes_rule,
    request_no_store_is_not_stored,
    request_max_stale_accepts_what_is_stale,
    request_max_stale_accepts_what_was_stale_on_arrival,
    request_reload_asks_even_for_what_came_this_second,
    request_reload_asks_for_nothing_that_is_immutable,
    request_no_cache_of_a_conditional_fetch_is_no_reload,
    request_only_if_cached_never_reaches_the_upstream,
    request_only_if_cached_is_no_wish_of_one_that_writes,
];

/// Larder before an upstream that gives everything 60 seconds and a tag, with one page stored 20 seconds ago.
async fn stored(trusted: bool) -> (Upstream, Proxy) {
    let upstream = Upstream::start(|_| ok("max-age=60", "x").header("etag", "\"v1\"")).await;
    let clients = if trusted { "" } else { "[server]\ntrusted_clients = []\n" };
    let proxy = Proxy::configured(&format!("{clients}[upstreams.app]\nservers = [\"{}\"]\n", upstream.url()));
    proxy.get("/page", &[]).await;
    proxy.advance(20);
    (upstream, proxy)
}

async fn request_directives_of_trusted_and_other_clients() {
    const HIT: &str = "larder; hit; ttl=40";
    let forced = |why: &str| format!("larder; fwd=request; ttl=60; stored; detail={why}");
    let rows: Vec<(Fields, String, &str)> = vec![
        (&[("cache-control", "no-cache")], forced("request-no-cache"), HIT),
        (&[("cache-control", "NO-CACHE")], forced("request-no-cache"), HIT),
        (&[("pragma", "no-cache")], forced("request-no-cache"), HIT),
        (&[("pragma", "no-cache"), ("cache-control", "x")], HIT.to_owned(), HIT),
        (&[("cache-control", "max-age=0")], forced("request-max-age"), HIT),
        (&[("cache-control", "max-age=19")], forced("request-max-age"), HIT),
        (&[("cache-control", "max-age=20")], HIT.to_owned(), HIT),
        (&[("cache-control", "min-fresh=40")], HIT.to_owned(), HIT),
        (&[("cache-control", "min-fresh=41")], forced("request-min-fresh"), HIT),
        (&[("cache-control", "no-store")], HIT.to_owned(), HIT),
        (&[("cache-control", "only-if-cached")], HIT.to_owned(), HIT),
        (&[("cache-control", "max-stale=5, unknown=\"a, no-cache\"")], HIT.to_owned(), HIT),
    ];
    for (fields, of_trusted, of_others) in &rows {
        for (trusted, expected) in [(true, &**of_trusted), (false, *of_others)] {
            let (upstream, proxy) = stored(trusted).await;
            let response = proxy.get("/page", fields).await;
            assert_eq!(response.field("cache-status"), expected, "{fields:?}, trusted: {trusted}");
            assert_eq!(upstream.count("/page"), if expected == HIT { 1 } else { 2 });
        }
    }
}

async fn request_directives_by_the_routes_rule() {
    for (rule, hit) in [("honour", false), ("trusted", true), ("ignore", true)] {
        let upstream = Upstream::start(|_| ok("max-age=60", "x")).await;
        let proxy = Proxy::configured(&format!(
            "[server]\ntrusted_clients = []\n[cache.rules]\nrequest_directives = \"{rule}\"\n[upstreams.app]\nservers = [\"{}\"]\n",
            upstream.url()
        ));
        proxy.get("/page", &[]).await;
        assert_eq!(proxy.get("/page", &[("cache-control", "no-cache")]).await.is_hit(), hit, "{rule}");
    }
}

async fn request_no_store_is_not_stored() {
    let upstream = Upstream::start(|_| ok("max-age=60", "x")).await;
    let proxy = Proxy::before(&upstream);
    for count in 1..3 {
        let response = proxy.get("/page", &[("cache-control", "no-store")]).await;
        assert!(response.field("cache-status").ends_with("detail=request-no-store"), "{:?}", response.fields);
        assert_eq!(upstream.count("/page"), count);
    }
}

async fn request_max_stale_accepts_what_is_stale() {
    for (response, asked, after, served) in [
        ("max-age=60", "max-stale", 9999, true),
        ("max-age=60", "max-stale=10", 70, true),
        ("max-age=60", "max-stale=10", 71, false),
        ("max-age=60", "max-stale=10, max-age=99", 70, true),
        ("max-age=60", "max-stale=10, min-fresh=1", 65, false),
        ("max-age=60, must-revalidate", "max-stale", 61, false),
        ("max-age=60, proxy-revalidate", "max-stale", 61, false),
        ("s-maxage=60", "max-stale", 61, false),
    ] {
        let upstream = Upstream::start(move |_| ok(response, "x").header("etag", "\"v1\"")).await;
        let proxy = Proxy::before(&upstream);
        proxy.get("/page", &[]).await;
        proxy.advance(after);
        let answer = proxy.get("/page", &[("cache-control", asked)]).await;
        assert_eq!(answer.is_hit(), served, "{response} / {asked} / {after}: {:?}", answer.fields);
        if served {
            let status = format!("larder; hit; ttl={}; detail=max-stale", 60 - after as i64);
            assert_eq!((answer.field("cache-status"), answer.field("age")), (&*status, &*after.to_string()));
        }
    }
}

async fn request_max_stale_accepts_what_was_stale_on_arrival() {
    // RFC 9111 §5.2.1.2: it came through another cache, and nothing could validate it.
    let upstream = Upstream::start(|_| ok("max-age=1500", "x").header("age", "1800")).await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[]).await;
    let accepted = proxy.get("/page", &[("cache-control", "max-stale=300")]).await;
    assert_eq!(accepted.field("cache-status"), "larder; hit; ttl=-300; detail=max-stale");
    assert!(!proxy.get("/page", &[("cache-control", "max-stale=299")]).await.is_hit());
    assert!(!proxy.get("/page", &[]).await.is_hit());
}

async fn request_reload_asks_even_for_what_came_this_second() {
    // RFC 9111 §5.2.1.1: what browsers send on a reload
    let upstream = Upstream::start(|_| ok("max-age=60", "x")).await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[]).await;
    let reloaded = proxy.get("/page", &[("cache-control", "max-age=0")]).await;
    assert_eq!(reloaded.field("cache-status"), "larder; fwd=request; ttl=60; stored; detail=request-max-age");
}

async fn request_reload_asks_for_nothing_that_is_immutable() {
    // RFC 8246 §2: until it is stale, or the client says no-cache.
    let upstream = Upstream::start(|_| ok("max-age=60, immutable", "x")).await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[]).await;
    proxy.advance(59);
    assert!(proxy.get("/page", &[("cache-control", "max-age=0")]).await.is_hit());
    assert!(!proxy.get("/page", &[("cache-control", "no-cache")]).await.is_hit());
    proxy.advance(60);
    assert!(!proxy.get("/page", &[("cache-control", "max-age=0")]).await.is_hit());
    assert_eq!(upstream.count("/page"), 3);
}

async fn request_no_cache_of_a_conditional_fetch_is_no_reload() {
    // The Fetch standard (§4.6, HTTP-network-or-cache fetch) adds it wherever a script gives a condition of its own.
    const ADDED: [(&str, &str); 3] =
        [("cache-control", "no-cache"), ("pragma", "no-cache"), ("sec-fetch-mode", "cors")];
    let tag = ("if-none-match", "\"v1\"");
    let with = |further: &[(&'static str, &'static str)]| [&ADDED[..], further].concat();
    for (fields, status, hit) in [
        (with(&[tag]), 304, true),
        (with(&[("if-none-match", "\"v0\"")]), 200, true),
        (with(&[("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")]), 304, true),
        (with(&[("range", "bytes=0-0"), ("if-range", "\"v1\"")]), 206, true),
        // A reload has no condition, and a cache that validates for one no mode.
        (with(&[]), 200, false),
        (vec![ADDED[0], ADDED[1], tag], 304, false),
        (vec![ADDED[0], ADDED[2], tag], 304, false),
        (vec![("cache-control", "no-cache, no-store"), ADDED[1], ADDED[2], tag], 304, false),
    ] {
        let (upstream, proxy) = stored(true).await;
        let response = proxy.get("/page", &fields).await;
        assert_eq!((response.status, response.is_hit()), (status, hit), "{fields:?}");
        assert_eq!(upstream.count("/page"), if hit { 1 } else { 2 });
    }
}

async fn request_only_if_cached_never_reaches_the_upstream() {
    // RFC 9111 §5.2.1.7
    let upstream = Upstream::start(|_| ok("max-age=60", "x").header("etag", "\"v1\"")).await;
    let proxy = Proxy::with_rules(&upstream, "cookies = \"bypass\"");
    const ONLY: (&str, &str) = ("cache-control", "only-if-cached");
    let refused = async |method: &str, fields: &[(&str, &str)]| {
        let response = proxy.ask(method, "/page", fields, "").await;
        assert_eq!(
            (response.status, response.field("cache-status")),
            (504, "larder; detail=only-if-cached"),
            "{fields:?}"
        );
    };
    refused("GET", &[ONLY]).await;
    refused("HEAD", &[ONLY]).await;
    assert_eq!(upstream.count("/page"), 0);
    proxy.get("/page", &[]).await;
    for method in ["GET", "HEAD"] {
        assert!(proxy.ask(method, "/page", &[ONLY], "").await.is_hit());
    }
    refused("GET", &[ONLY, ("if-match", "\"v1\"")]).await;
    refused("GET", &[ONLY, ("cookie", "a=b")]).await;
    proxy.advance(60);
    refused("GET", &[ONLY]).await;
    assert!(proxy.get("/page", &[("cache-control", "only-if-cached, max-stale")]).await.is_hit());
    assert_eq!(upstream.count("/page"), 1);
}

async fn request_only_if_cached_is_no_wish_of_one_that_writes() {
    let (upstream, proxy) = stored(true).await;
    for method in ["PUT", "POST", "DELETE", "OPTIONS", "PROPFIND"] {
        let response = proxy.ask(method, "/other", &[("cache-control", "only-if-cached")], "").await;
        assert_eq!((response.status, response.field("cache-status")), (200, "larder; fwd=method"), "{method}");
    }
    assert_eq!(upstream.count("/other"), 5);
}
