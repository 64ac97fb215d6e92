//! RFC 9110 §8.4: codings that larder adds, made once and told apart.

use super::{ok, table};
use crate::support::reply::Reply;

stories![
    codings_of_one_stored_response_have_their_own_tags,
    codings_only_where_nobody_forbids_them,
    codings_in_conditions_become_the_upstreams_tags_and_back,
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
        ("gzip", Some("gzip"), "\"v1~gzip\""),
        ("br, gzip", Some("br"), "\"v1~br\""),
        ("zstd;q=1, gzip;q=0.5", Some("zstd"), "\"v1~zstd\""),
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
    let other = proxy.get("/0", &[("accept-encoding", "br"), ("if-none-match", "\"v1~gzip\"")]).await;
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

async fn codings_in_conditions_become_the_upstreams_tags_and_back() {
    let upstream = crate::support::upstream::Upstream::start(|request| match request.fields.get("if-none-match") {
        Some("\"v1\"") => Reply::status("304 Not Modified").header("etag", "\"v1\""),
        _ => page("no-store"),
    })
    .await;
    let proxy = crate::support::proxy::Proxy::before(&upstream);
    let tag = proxy.get("/page", &[("accept-encoding", "gzip")]).await.field("etag").to_owned();
    assert_eq!(tag, "\"v1~gzip\"");
    let response = proxy.get("/page", &[("accept-encoding", "gzip"), ("if-none-match", &tag)]).await;
    assert_eq!((response.status, response.field("etag")), (304, &*tag));
    assert_eq!(upstream.requests()[1].fields.get("if-none-match"), Some("\"v1\""));
}
