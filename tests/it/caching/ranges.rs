//! RFC 9110 §14: ranges of what is stored, or of what is just coming.

use super::{date, ok, table};
use crate::support::client;
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;

stories![
    ranges_of_a_stored_response,
    ranges_in_several_parts,
    ranges_only_if_the_client_has_the_rest_of_the_same,
    ranges_do_not_count_for_head_and_errors,
    ranges_from_the_beginning_fetch_the_whole_and_later_ones_the_part,
    ranges_while_the_fill_is_under_way_wait_for_their_bytes_only,
    ranges_are_of_the_uncoded_response,
];

fn ten() -> Reply {
    ok("max-age=60", "0123456789").header("etag", "\"v1\"").header("content-type", "text/x-own")
}

async fn ranges_of_a_stored_response() {
    let reply = ten().header("content-digest", "sha-256=:x:").header("repr-digest", "sha-256=:x:");
    let (upstream, proxy) = table("", vec![reply]).await;
    proxy.get("/0", &[]).await;
    for (range, status, content_range, body) in [
        ("bytes=0-0", 206, "bytes 0-0/10", "0"),
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=7-", 206, "bytes 7-9/10", "789"),
        ("bytes=-3", 206, "bytes 7-9/10", "789"),
        ("bytes=-99", 206, "bytes 0-9/10", "0123456789"),
        ("bytes=8-99", 206, "bytes 8-9/10", "89"),
        ("bytes=0-1,2-3", 206, "bytes 0-3/10", "0123"),
        ("BYTES=1-1", 206, "bytes 1-1/10", "1"),
        ("bytes=10-", 416, "bytes */10", "416 Range Not Satisfiable\n"),
        ("bytes=-0", 416, "bytes */10", "416 Range Not Satisfiable\n"),
        ("bytes=5-2", 200, "", "0123456789"),
        ("bytes=x", 200, "", "0123456789"),
        ("lines=1-2", 200, "", "0123456789"),
        ("bytes=0-0,2-2,4-4,6-6,8-8,1-1,3-3,5-5,7-7", 200, "", "0123456789"),
    ] {
        let response = proxy.get("/0", &[("range", range)]).await;
        assert_eq!((response.status, response.field("content-range")), (status, content_range), "{range}");
        assert_eq!(response.text(), body, "{range}");
        assert!(response.is_hit());
        let whole = status == 200;
        assert_eq!(response.fields.get("content-digest").is_some(), whole, "{range}: digest of other content");
        assert_eq!(response.fields.get("repr-digest").is_some(), status != 416);
    }
    assert_eq!(upstream.count("/0"), 1);
}

async fn ranges_in_several_parts() {
    let (_upstream, proxy) = table("", vec![ten()]).await;
    proxy.get("/0", &[]).await;
    let response = proxy.get("/0", &[("range", "bytes=8-, 0-1")]).await;
    let boundary = response.field("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
    let part = |range: &str, text: &str| {
        format!("--{boundary}\r\nContent-Type: text/x-own\r\nContent-Range: bytes {range}/10\r\n\r\n{text}\r\n")
    };
    assert_eq!(response.status, 206);
    assert_eq!(response.fields.get("content-range"), None);
    assert_eq!(response.text(), format!("{}{}--{boundary}--\r\n", part("8-9", "89"), part("0-1", "01")));
    assert_eq!(response.field("content-length"), response.body.content.len().to_string());
}

async fn ranges_only_if_the_client_has_the_rest_of_the_same() {
    // RFC 9110 §13.1.5
    let (_upstream, proxy) =
        table("", vec![ten().header("last-modified", &date(-100)), ten().header("last-modified", &date(0))]).await;
    let weak = ok("max-age=60", "0123456789").header("etag", "W/\"v1\"");
    let (_other, weakly) = table("", vec![weak]).await;
    for (proxy, path, if_range, status) in [
        (&proxy, "/0", "\"v1\"", 206),
        (&proxy, "/0", "\"v2\"", 200),
        (&proxy, "/0", "W/\"v1\"", 200),
        (&proxy, "/0", &*date(-100), 206),
        (&proxy, "/0", &*date(-99), 200),
        (&proxy, "/0", "nonsense", 200),
        // Modified in the second of the response: that date may name another state.
        (&proxy, "/1", &*date(0), 200),
        (&weakly, "/0", "W/\"v1\"", 200),
    ] {
        proxy.get(path, &[]).await;
        let response = proxy.get(path, &[("range", "bytes=1-2"), ("if-range", if_range)]).await;
        assert_eq!(response.status, status, "{path} {if_range}");
    }
    // If-None-Match comes first.
    let response = proxy.get("/0", &[("range", "bytes=1-2"), ("if-none-match", "\"v1\"")]).await;
    assert_eq!(response.status, 304);
    let response = proxy.get("/0", &[("range", "bytes=1-2"), ("if-none-match", "\"v0\"")]).await;
    assert_eq!((response.status, response.text().as_str()), (206, "12"));
}

async fn ranges_do_not_count_for_head_and_errors() {
    let missing = Reply::status("404 Not Found").header("cache-control", "max-age=60").body("0123456789");
    let (_upstream, proxy) = table("", vec![ten(), missing]).await;
    proxy.get("/0", &[]).await;
    let head = proxy.ask("HEAD", "/0", &[("range", "bytes=1-2")], "").await;
    assert_eq!((head.status, head.field("content-length")), (200, "10"));
    proxy.get("/1", &[]).await;
    let missing = proxy.get("/1", &[("range", "bytes=1-2")]).await;
    assert_eq!((missing.status, missing.text().as_str()), (404, "0123456789"));
}

async fn ranges_from_the_beginning_fetch_the_whole_and_later_ones_the_part() {
    let upstream = Upstream::start(|request| match request.fields.get("range") {
        None => ten(),
        Some(_) => Reply::status("206 Partial Content").header("content-range", "bytes 5-6/10").body("56"),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    let later = proxy.get("/page", &[("range", "bytes=5-6")]).await;
    assert_eq!((later.status, later.text().as_str()), (206, "56"));
    assert_eq!(later.field("cache-status"), "larder; fwd=uri-miss; detail=no-freshness");
    let first = proxy.get("/page", &[("range", "bytes=0-3")]).await;
    assert_eq!((first.status, first.text().as_str(), first.field("content-range")), (206, "0123", "bytes 0-3/10"));
    let hit = proxy.get("/page", &[("range", "bytes=5-6")]).await;
    assert_eq!((hit.is_hit(), hit.text().as_str()), (true, "56"));
    assert_eq!(upstream.count("/page"), 2);
}

async fn ranges_while_the_fill_is_under_way_wait_for_their_bytes_only() {
    let gate = Gate::new();
    let opener = gate.clone();
    let upstream = Upstream::start(move |_| {
        Reply::ok()
            .header("cache-control", "max-age=60")
            .header("content-length", "10")
            .piece("01234")
            .gate(&opener)
            .piece("56789")
    })
    .await;
    let proxy = Proxy::before(&upstream);
    let mut leader = proxy.clients.begin("/page", &[]).await;
    assert_eq!(client::status(&leader.head().await), 200);
    // The rest is still to come, and this is answered in full.
    let part = proxy.get("/page", &[("range", "bytes=0-2")]).await;
    assert_eq!((part.status, part.text().as_str(), part.field("content-range")), (206, "012", "bytes 0-2/10"));
    gate.open();
    let rest = proxy.get("/page", &[("range", "bytes=0-9")]).await;
    assert_eq!(rest.text(), "0123456789");
    assert_eq!(upstream.count("/page"), 1);
}

async fn ranges_are_of_the_uncoded_response() {
    let text = "compressible ".repeat(500);
    let reply = ok("max-age=60", &text).header("etag", "\"v1\"").header("content-type", "text/plain");
    let (_upstream, proxy) = table("", vec![reply]).await;
    let coded = proxy.get("/0", &[("accept-encoding", "gzip")]).await;
    assert_eq!((coded.field("content-encoding"), coded.field("etag")), ("gzip", "W/\"v1~gzip\""));
    let fields = [("accept-encoding", "gzip"), ("range", "bytes=0-11")];
    let part = proxy.get("/0", &fields).await;
    assert_eq!((part.status, part.text().as_str(), part.field("etag")), (206, "compressible", "\"v1\""));
    assert_eq!(part.fields.get("content-encoding"), None);
    // The rest of a coded one is not to be had: all of it instead.
    for tag in ["W/\"v1~gzip\"", "\"v1~gzip\""] {
        let other = proxy.get("/0", &[fields[0], fields[1], ("if-range", tag)]).await;
        assert_eq!((other.status, other.text()), (200, text.clone()));
    }
}
