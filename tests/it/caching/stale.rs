//! RFC 5861, RFC 9111 §4.2.4: when something stale is served, and when never.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::ok;
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::{Recorded, Upstream};
use crate::support::within;

stories![
    stale_while_revalidate_makes_one_background_fetch,
    stale_while_revalidate_has_an_end,
    stale_while_revalidate_of_a_route_is_for_what_was_fresh,
    stale_while_revalidate_judges_by_the_visitor_whose_request_it_repeats,
    stale_if_error_on_every_kind_of_failure,
    stale_if_error_when_nobody_answers_at_all,
    stale_if_error_as_the_request_or_the_route_allows_it,
    stale_if_error_for_head_as_well,
    stale_never_where_the_response_forbids_it,
];

/// An upstream that gives `first` once and then what `then` says.
async fn first_then(first: Reply, then: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Upstream {
    let asked = Arc::new(AtomicUsize::new(0));
    Upstream::start(move |request| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => first.clone(),
        _ => then(request),
    })
    .await
}

/// Asks until the answer is a fresh hit: a background validation has ended.
async fn until_fresh(proxy: &Proxy) {
    within("a fresh response", async {
        loop {
            let response = proxy.get("/page", &[]).await;
            if response.is_hit() && !response.field("cache-status").contains("stale") {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn stale_while_revalidate_makes_one_background_fetch() {
    let gate = Gate::new();
    let opener = gate.clone();
    let cache_control = "max-age=60, stale-while-revalidate=30";
    let upstream = first_then(ok(cache_control, "old").header("etag", "\"v1\""), move |_| {
        ok(cache_control, "new").header("etag", "\"v2\"").after(&opener)
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[]).await;
    proxy.advance(89);
    for _ in 0..20 {
        let response = proxy.get("/page", &[]).await;
        assert_eq!(response.text(), "old");
        assert_eq!(response.field("cache-status"), "larder; hit; ttl=-29; detail=stale-while-revalidate");
    }
    assert_eq!(upstream.arrived(2).await.len(), 2, "one validation, however many ask");
    assert_eq!(upstream.requests()[1].fields.get("if-none-match"), Some("\"v1\""));
    gate.open();
    until_fresh(&proxy).await;
    assert_eq!(proxy.get("/page", &[]).await.text(), "new");
    assert_eq!(upstream.count("/page"), 2);
}

async fn stale_while_revalidate_has_an_end() {
    let upstream = Upstream::start(|_| ok("max-age=60, stale-while-revalidate=30", "x")).await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[]).await;
    proxy.advance(90);
    assert!(!proxy.get("/page", &[]).await.is_hit());
}

/// A page that says nothing of caching is fetched each time, whatever a route allows for others.
async fn stale_while_revalidate_of_a_route_is_for_what_was_fresh() {
    for (response, seconds, expected) in [
        ("", 0, "new"),
        ("no-transform", 0, "new"),
        ("max-age=0", 0, "new"),
        ("max-age=0, stale-while-revalidate=5", 0, "old"),
        ("max-age=5", 6, "old"),
    ] {
        for tag in ["\"v1\"", ""] {
            let reply = |text: &str| {
                let reply = Reply::ok().body(text);
                let reply = if response.is_empty() { reply } else { reply.header("cache-control", response) };
                if tag.is_empty() { reply } else { reply.header("etag", tag) }
            };
            let new = reply("new");
            let upstream = first_then(reply("old"), move |_| new.clone()).await;
            let proxy = Proxy::with_rules(&upstream, "stale_while_revalidate = \"10s\"");
            proxy.get("/page", &[]).await;
            proxy.advance(seconds);
            assert_eq!(proxy.get("/page", &[]).await.text(), expected, "{response} {tag}");
        }
    }
}

async fn stale_while_revalidate_judges_by_the_visitor_whose_request_it_repeats() {
    // Public first, then somebody's own: the background fetch carried that visitor's cookie.
    let upstream = first_then(ok("public, max-age=60, stale-while-revalidate=30", "for all"), |request| {
        ok("max-age=60", request.fields.get("cookie").unwrap_or("for all"))
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[]).await;
    proxy.advance(60);
    proxy.get("/page", &[("cookie", "name=me")]).await;
    upstream.arrived(2).await;
    // Whatever has become of it, nobody else sees it.
    for _ in 0..20 {
        assert_eq!(proxy.get("/page", &[]).await.text(), "for all");
    }
}

#[tokio::test]
async fn stale_while_revalidate_sends_no_interim_response_of_the_background_fetch() {
    let upstream = first_then(ok("max-age=60, stale-while-revalidate=30", "old"), |_| {
        ok("max-age=60", "new").send_before("HTTP/1.1 103 Early Hints\r\nlink: </x.css>\r\n\r\n")
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[]).await;
    proxy.advance(60);
    let mut connection = crate::support::client::Connection::open(proxy.address).await;
    assert_eq!(connection.get("/page", &[]).await.text(), "old");
    until_fresh(&proxy).await;
    assert!(connection.get("/page", &[]).await.interim.is_empty());
}

async fn stale_if_error_on_every_kind_of_failure() {
    let configured = |upstream: &Upstream| {
        Proxy::configured(&format!(
            "[upstreams.app]\nservers = [\"{}\"]\nfirst_byte_timeout = \"200ms\"\n",
            upstream.url()
        ))
    };
    for (failure, status, word) in [
        (Reply::status("500 E").body("broken"), 500, "fwd=stale; fwd-status=500"),
        (Reply::status("502 B").body("broken"), 502, "fwd=stale; fwd-status=502"),
        // A failure that may be stored takes nothing's place either.
        (Reply::status("503 S").header("cache-control", "max-age=9").body("broken"), 503, "fwd=stale; fwd-status=503"),
        (Reply::status("504 G").body("broken"), 504, "fwd=stale; fwd-status=504"),
        (Reply::close(), 502, "hit"),
        (Reply::hang(), 504, "hit"),
    ] {
        let (first, then) = (ok("max-age=60, stale-if-error=30", "old"), failure.clone());
        let upstream = first_then(first, move |_| then.clone()).await;
        let proxy = configured(&upstream);
        proxy.get("/page", &[]).await;
        proxy.advance(70);
        let response = proxy.get("/page", &[]).await;
        assert_eq!((response.status, response.text().as_str()), (200, "old"), "{failure:?}");
        let expected = format!("larder; {word}; ttl=-10; detail=stale-if-error");
        assert_eq!(response.field("cache-status"), expected);
        assert_eq!(response.field("age"), "70");
        proxy.advance(20);
        assert_eq!(proxy.get("/page", &[]).await.status, status, "the window has an end");
    }
}

async fn stale_if_error_when_nobody_answers_at_all() {
    let upstream = Upstream::start(|_| ok("max-age=60, stale-if-error=30", "old")).await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[]).await;
    proxy.advance(60);
    drop(upstream);
    let response = proxy.get("/page", &[]).await;
    assert_eq!((response.status, response.text().as_str()), (200, "old"));
}

async fn stale_if_error_as_the_request_or_the_route_allows_it() {
    for (rules, response, asked, expected) in [
        ("", "max-age=60", "", 503),
        ("", "max-age=60", "stale-if-error=30", 200),
        ("stale_if_error = \"30s\"", "max-age=60", "", 200),
        ("stale_if_error = \"30s\"", "max-age=60, stale-if-error=0", "", 503),
        ("stale_if_error = \"30s\"\nstale_max = \"5s\"", "max-age=60", "", 503),
        ("stale_max = \"5s\"", "max-age=60, stale-if-error=30", "", 503),
    ] {
        let upstream =
            first_then(ok(response, "old").header("etag", "\"v1\""), |_| Reply::status("503 Down").body("down")).await;
        let proxy = Proxy::with_rules(&upstream, rules);
        proxy.get("/page", &[]).await;
        proxy.advance(70);
        let answer = proxy.get("/page", &[("cache-control", asked)]).await;
        assert_eq!(answer.status, expected, "{rules} / {response} / {asked}");
    }
}

async fn stale_if_error_for_head_as_well() {
    for (broken, said) in [
        (Reply::status("503 Down").body("down"), "larder; fwd=stale; fwd-status=503; ttl=-10; detail=stale-if-error"),
        (Reply::close(), "larder; hit; ttl=-10; detail=stale-if-error"),
    ] {
        let upstream = first_then(ok("max-age=60, stale-if-error=30", "old"), move |_| broken.clone()).await;
        let proxy = Proxy::before(&upstream);
        proxy.get("/page", &[]).await;
        proxy.advance(70);
        for method in ["GET", "HEAD"] {
            let response = proxy.ask(method, "/page", &[], "").await;
            assert_eq!((response.status, response.field("content-length")), (200, "3"), "{method}");
            assert_eq!(response.field("cache-status"), said, "{method}");
        }
        proxy.advance(20);
        assert!(proxy.ask("HEAD", "/page", &[], "").await.status >= 502);
    }
}

async fn stale_never_where_the_response_forbids_it() {
    for forbids in ["must-revalidate", "proxy-revalidate", "s-maxage=60", "no-cache"] {
        let cache_control = format!("max-age=60, stale-while-revalidate=99, stale-if-error=99, {forbids}");
        let upstream = first_then(ok(&cache_control, "old").header("etag", "\"v1\""), |_| Reply::close()).await;
        let proxy = Proxy::with_rules(&upstream, "stale_if_error = \"1h\"\nstale_while_revalidate = \"1h\"");
        proxy.get("/page", &[]).await;
        proxy.advance(61);
        for asked in ["", "max-stale", "stale-if-error=99"] {
            let response = proxy.get("/page", &[("cache-control", asked)]).await;
            // RFC 9111 §5.2.2.2: a cache that is cut off says so.
            assert_eq!(response.status, 504, "{forbids} / {asked}");
            assert!(response.field("cache-status").ends_with("detail=reset"), "{:?}", response.fields);
        }
    }
}
