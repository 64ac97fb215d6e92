//! RFC 9110 §8.4: codings that larder adds, made once and told apart.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::{ok, table};
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;

stories![
    codings_of_one_stored_response_have_their_own_tags,
    codings_only_where_nobody_forbids_them,
    codings_end_and_begin_with_what_a_validation_says_of_them,
    codings_in_conditions_become_the_upstreams_tags_and_back,
    codings_spare_small_pages_that_do_not_say_how_long_they_are,
];

fn text() -> String {
    "compressible ".repeat(500)
}

fn page(cache_control: &str) -> Reply {
    ok(cache_control, &text()).header("content-type", "text/plain").header("etag", "\"v1\"")
}

fn digested(cache_control: &str) -> Reply {
    page(cache_control).header("content-digest", "sha-256=:x:").header("repr-digest", "sha-256=:x:")
}

async fn codings_of_one_stored_response_have_their_own_tags() {
    let (upstream, proxy) = table("", vec![digested("max-age=60")]).await;
    for (accepted, coding, tag) in [
        ("", None, "\"v1\""),
        ("gzip", Some("gzip"), "W/\"v1~gzip\""),
        ("br, gzip", Some("br"), "W/\"v1~br\""),
        ("zstd;q=1, gzip;q=0.5", Some("zstd"), "W/\"v1~zstd\""),
        ("gzip;q=0, identity", None, "\"v1\""),
        ("x-unknown", None, "\"v1\""),
    ] {
        let fields: Vec<_> = Some(("accept-encoding", accepted)).filter(|_| !accepted.is_empty()).into_iter().collect();
        for _ in 0..2 {
            let response = proxy.get("/0", &fields).await;
            assert_eq!((response.fields.get("content-encoding"), response.field("etag")), (coding, tag), "{accepted}");
            assert_eq!(response.field("vary"), "Accept-Encoding");
            assert_eq!(response.text() == text(), coding.is_none());
            for digest in ["content-digest", "repr-digest"] {
                assert_eq!(response.fields.get(digest).is_some(), coding.is_none(), "{digest} of other bytes");
            }
        }
        // Conditions are about the coded variant, and so is HEAD.
        let conditional = [&fields[..], &[("if-none-match", tag)]].concat();
        let unchanged = proxy.get("/0", &conditional).await;
        assert_eq!((unchanged.status, unchanged.field("etag")), (304, tag));
        let head = proxy.ask("HEAD", "/0", &fields, "").await;
        assert_eq!((head.fields.get("content-encoding"), head.field("etag")), (coding, tag));
    }
    let other = proxy.get("/0", &[("accept-encoding", "br"), ("if-none-match", "W/\"v1~gzip\"")]).await;
    assert_eq!((other.status, other.field("content-encoding")), (200, "br"));
    let asked = upstream.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].fields.get("accept-encoding"), None, "the cache wants the plain form");
}

async fn codings_only_where_nobody_forbids_them() {
    let (_upstream, proxy) =
        table("", vec![page("max-age=60, no-transform"), page("max-age=60"), page("no-store")]).await;
    for (path, asked, coded) in [
        ("/0", "x", false),
        ("/1", "no-transform", false),
        ("/1", "x", true),
        ("/2", "no-transform", false),
        ("/2", "x", true),
    ] {
        let response = proxy.get(path, &[("accept-encoding", "gzip"), ("cache-control", asked)]).await;
        assert_eq!(response.fields.get("content-encoding").is_some(), coded, "{path} {asked}");
    }
}

async fn codings_end_and_begin_with_what_a_validation_says_of_them() {
    // RFC 9110 §7.7, RFC 9111 §5.2.2.6
    for method in ["GET", "HEAD"] {
        let told = AtomicUsize::new(0);
        let upstream = Upstream::start(move |request| {
            let says = ["max-age=60", "max-age=60, no-transform", "max-age=60"][told.fetch_add(1, Relaxed)];
            match request.fields.get("if-none-match").filter(|_| request.method == "GET") {
                Some(_) => Reply::status("304 Not Modified").header("etag", "\"v1\"").header("cache-control", says),
                None => page(says),
            }
        })
        .await;
        let proxy = Proxy::before(&upstream);
        for (method, coded) in [("GET", true), (method, false), (method, true)] {
            proxy.ask(method, "/page", &[("accept-encoding", "gzip")], "").await;
            // Forbidden are one that was made before and one that was not.
            for coding in if coded { ["gzip", "br"] } else { ["gzip", "zstd"] } {
                let response = proxy.get("/page", &[("accept-encoding", coding)]).await;
                let expected = Some(coding).filter(|_| coded);
                assert_eq!(response.fields.get("content-encoding"), expected, "{method} {:?}", response.fields);
                assert_eq!(response.field("etag") == "\"v1\"", !coded);
            }
            proxy.advance(60);
        }
        assert_eq!(upstream.count("/page"), 3);
    }
}

async fn codings_in_conditions_become_the_upstreams_tags_and_back() {
    let upstream = Upstream::start(|request| match request.fields.get("if-none-match") {
        Some("\"v1\"") => Reply::status("304 Not Modified").header("etag", "\"v1\""),
        _ => page("no-store"),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    let tag = proxy.get("/page", &[("accept-encoding", "gzip")]).await.field("etag").to_owned();
    assert_eq!(tag, "W/\"v1~gzip\"");
    let response = proxy.get("/page", &[("accept-encoding", "gzip"), ("if-none-match", &tag)]).await;
    assert_eq!((response.status, response.field("etag")), (304, &*tag));
    assert_eq!(upstream.requests()[1].fields.get("if-none-match"), Some("\"v1\""));
    // Who edits what came coded names the app's own tag as well, which larder alone has weakened.
    for given in [&*tag, "\"v1~gzip\""] {
        proxy.ask("PUT", "/page", &[("if-match", given)], "new").await;
        assert_eq!(upstream.requests().pop().unwrap().fields.get("if-match"), Some("\"v1\""), "{given}");
    }
}

async fn codings_spare_small_pages_that_do_not_say_how_long_they_are() {
    let chunked = |cache_control: &str| {
        Reply::raw(format!(
            "HTTP/1.1 200 OK\r\ncache-control: {cache_control}\r\ncontent-type: text/plain\r\netag: \"v1\"\r\n\
             content-digest: sha-256=:x:\r\ntransfer-encoding: chunked\r\n\r\n5\r\nsmall\r\n0\r\n\r\n"
        ))
    };
    let (_upstream, proxy) = table("", vec![chunked("max-age=60"), chunked("no-store")]).await;
    for path in ["/0", "/1", "/0", "/1"] {
        let response = proxy.get(path, &[("accept-encoding", "gzip")]).await;
        assert_eq!((response.text().as_str(), response.field("etag")), ("small", "\"v1\""), "{path}");
        assert_eq!(response.field("content-length"), "5");
        assert!(response.fields.get("content-digest").is_some(), "nothing was done to the bytes");
        assert!(response.fields.get("content-encoding").is_none() && response.fields.get("vary").is_none());
    }
    // It has a length, so a part can be cut from it though nothing is stored.
    let part = proxy.get("/1", &[("range", "bytes=0-1")]).await;
    assert_eq!((part.status, part.text().as_str()), (206, "sm"));
}

#[tokio::test]
async fn codings_of_a_page_that_trickles_in_begin_before_its_end() {
    let gate = Gate::new();
    let reply = ok_in_pieces().piece("begin").gate(&gate).piece(text());
    let (_upstream, proxy) = table("", vec![reply]).await;
    let mut connection = crate::support::client::Connection::open(proxy.address).await;
    connection.send(crate::support::client::request("GET", "/0", &[("accept-encoding", "gzip")], "")).await;
    let head = connection.head().await;
    assert_eq!(head.fields.get("content-encoding"), Some("gzip"));
    gate.open();
    assert!(connection.body(&head).await.content.len() > 20);
}

fn ok_in_pieces() -> Reply {
    Reply::ok().header("cache-control", "max-age=60").header("content-type", "text/plain")
}
