//! RFC 9111 §4.3.2, RFC 9110 §13: a client's conditions answered from what is stored.

use super::{date, ok, table};
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

stories![
    conditions_answered_from_the_stored_response,
    conditions_by_date_fall_back_to_the_date_of_the_response,
    conditions_are_kept_from_a_fetch_for_the_cache_and_answered_after,
    conditions_on_what_is_not_200_do_not_count,
    conditions_that_only_the_upstream_can_decide_go_there,
    conditions_and_ranges_show_what_the_upstream_answered,
];

async fn conditions_answered_from_the_stored_response() {
    let reply = ok("max-age=60", "x")
        .header("etag", "\"v1\"")
        .header("last-modified", &date(-100))
        .header("content-type", "text/x-own")
        .header("content-language", "en")
        .header("content-location", "/0")
        .header("content-digest", "sha-256=:x:")
        .header("vary", "Foo");
    let (upstream, proxy) = table("", vec![reply]).await;
    proxy.get("/0", &[]).await;
    let (at, before, after) = (date(-100), date(-101), date(-99));
    for (fields, status) in [
        (&[("if-none-match", "\"v1\"")][..], 304),
        (&[("if-none-match", "W/\"v1\"")], 304),
        (&[("if-none-match", "\"v0\", W/\"v1\" , \"v2\"")], 304),
        (&[("if-none-match", "\"v0\""), ("if-none-match", "\"v1\"")], 304),
        (&[("if-none-match", "*")], 304),
        (&[("if-none-match", "\"v0\"")], 200),
        (&[("if-none-match", "v1")], 200),
        (&[("if-none-match", "")], 200),
        (&[("if-modified-since", &at)], 304),
        (&[("if-modified-since", &after)], 304),
        (&[("if-modified-since", &before)], 200),
        (&[("if-modified-since", "yesterday")], 200),
        // RFC 9110 §13.2.2: tags before dates.
        (&[("if-none-match", "\"v0\""), ("if-modified-since", &at)], 200),
        (&[("if-none-match", "\"v1\""), ("if-modified-since", &before)], 304),
    ] {
        for method in ["GET", "HEAD"] {
            let response = proxy.ask(method, "/0", fields, "").await;
            assert_eq!(response.status, status, "{method} {fields:?}");
            assert!(response.is_hit());
            if status == 304 {
                // RFC 9110 §15.4.5
                for there in ["etag", "vary", "content-location", "cache-control", "date"] {
                    assert!(response.fields.get(there).is_some(), "{there}");
                }
                for gone in ["content-type", "content-language", "content-length", "content-digest"] {
                    assert_eq!(response.fields.get(gone), None, "{gone}");
                }
            }
        }
    }
    assert_eq!(upstream.count("/0"), 1);
}

async fn conditions_by_date_fall_back_to_the_date_of_the_response() {
    let (_upstream, proxy) =
        table("", vec![ok("max-age=60", "x").header("etag", "\"v1\"").header("date", &date(-10))]).await;
    proxy.get("/0", &[]).await;
    for (since, status) in [(-10, 304), (-11, 200), (0, 304)] {
        assert_eq!(proxy.get("/0", &[("if-modified-since", &date(since))]).await.status, status, "{since}");
    }
}

async fn conditions_are_kept_from_a_fetch_for_the_cache_and_answered_after() {
    let (upstream, proxy) =
        table("", vec![ok("max-age=60", "x").header("etag", "\"v1\""), ok("no-store", "x").header("etag", "\"v1\"")])
            .await;
    for (path, stored) in [("/0", true), ("/1", false)] {
        let response = proxy.get(path, &[("if-none-match", "\"v1\"")]).await;
        assert_eq!((response.status, response.text().as_str()), (304, ""));
        assert_eq!(response.field("cache-status").contains("stored"), stored, "{:?}", response.fields);
    }
    assert!(upstream.requests().iter().all(|request| request.fields.get("if-none-match").is_none()));
    assert_eq!(proxy.get("/0", &[]).await.text(), "x");
}

async fn conditions_on_what_is_not_200_do_not_count() {
    let reply =
        Reply::status("404 Not Found").header("cache-control", "max-age=60").header("etag", "\"v1\"").body("no");
    let (_upstream, proxy) = table("", vec![reply]).await;
    for _ in 0..2 {
        let response = proxy.get("/0", &[("if-none-match", "\"v1\"")]).await;
        assert_eq!((response.status, response.text().as_str()), (404, "no"));
    }
}

async fn conditions_that_only_the_upstream_can_decide_go_there() {
    let upstream = Upstream::start(|request| match request.fields.get("if-match") {
        Some("\"v0\"") => Reply::status("412 Precondition Failed").body("no"),
        _ => ok("max-age=60", "x").header("etag", "\"v1\""),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[]).await;
    let response = proxy.get("/page", &[("if-match", "\"v0\"")]).await;
    assert_eq!((response.status, response.field("cache-status")), (412, "larder; fwd=request; detail=precondition"));
    let response = proxy.get("/page", &[("if-unmodified-since", &date(0))]).await;
    assert_eq!(response.status, 200);
    assert_eq!(upstream.count("/page"), 3);
    assert!(proxy.get("/page", &[]).await.is_hit());
}

/// RFC 9211 §2.3: where it is not said, the upstream answered with the status that the client sees.
async fn conditions_and_ranges_show_what_the_upstream_answered() {
    for (fields, status, said) in [
        (&[][..], 200, "larder; fwd=uri-miss; ttl=60; stored"),
        (&[("if-none-match", "\"v1\"")], 304, "larder; fwd=uri-miss; fwd-status=200; ttl=60; stored"),
        (&[("range", "bytes=0-0")], 206, "larder; fwd=uri-miss; fwd-status=200; ttl=60; stored"),
    ] {
        let (_upstream, proxy) = table("", vec![ok("max-age=60", "xy").header("etag", "\"v1\"")]).await;
        let response = proxy.get("/0", fields).await;
        assert_eq!((response.status, response.field("cache-status")), (status, said));
        let hit = proxy.get("/0", fields).await;
        assert_eq!((hit.status, hit.field("cache-status")), (status, "larder; hit; ttl=60"));
    }
}
