//! Methods other than GET.

use super::before;
use crate::support::client::{Connection, request};
use crate::support::reply::Reply;
use crate::support::upstream::{Recorded, Upstream};

async fn echo() -> Upstream {
    Upstream::start(|request: &Recorded| {
        Reply::ok().header("x-method", &request.method).header("x-target", &request.target).body("text")
    })
    .await
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let upstream = echo().await;
    let proxy = before(&upstream, "");
    let mut client = Connection::open(proxy.address).await;
    for _ in 0..2 {
        client.send(request("HEAD", "/", &[], "")).await;
        let response = client.response("HEAD").await;
        assert_eq!((response.status, response.field("content-length"), response.field("x-method")), (200, "4", "HEAD"));
    }
    client.send(request("GET", "/", &[], "")).await;
    assert_eq!(client.response("GET").await.text(), "text", "the connection is in step");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn options_for_the_server_as_a_whole_stays_that() {
    let upstream = echo().await;
    let proxy = before(&upstream, "");
    for (target, reached) in [("*", "*"), ("/x", "/x")] {
        let response = proxy.ask("OPTIONS", target, &[], "").await;
        assert_eq!((response.status, response.field("x-target")), (200, reached));
    }
    assert_eq!(proxy.ask("GET", "*", &[], "").await.status, 400);
}

#[tokio::test]
async fn methods_pass_as_they_are() {
    let upstream = echo().await;
    let proxy = before(&upstream, "");
    for method in
        ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "M-SEARCH", "get", "PURGE", "LARDER-REFUSED"]
    {
        let response = proxy.ask(method, "/", &[], "").await;
        assert_eq!((response.status, response.field("x-method")), (200, method));
        assert!(response.field("cache-status").starts_with("larder; fwd=method"), "{method}");
    }
    assert_eq!(proxy.ask("CONNECT", "app.test:80", &[], "").await.status, 405);
}

#[tokio::test]
async fn max_forwards_counts_down_and_ends_here() {
    // RFC 9110 §7.6.2
    let upstream = echo().await;
    let proxy = before(&upstream, "");
    for (method, given, status, reached) in [
        ("OPTIONS", "3", 200, Some("2")),
        ("TRACE", "1", 200, Some("0")),
        ("OPTIONS", "0", 200, None),
        ("TRACE", "0", 405, None),
        ("OPTIONS", "many", 200, Some("many")),
        ("POST", "0", 200, Some("0")),
    ] {
        let before = upstream.requests().len();
        let response = proxy.ask(method, "/", &[("Max-Forwards", given)], "").await;
        assert_eq!(response.status, status, "{method} {given}");
        let seen = upstream.requests().split_off(before);
        let forwarded = seen.first().map(|seen| seen.fields.get("max-forwards").unwrap_or_default());
        assert_eq!(forwarded, reached, "{method} {given}");
    }
}

#[tokio::test]
async fn get_with_content_is_no_business_of_the_cache() {
    let upstream =
        Upstream::start(|request| Reply::ok().header("cache-control", "max-age=60").body(&request.body.content)).await;
    let proxy = before(&upstream, "");
    assert_eq!(proxy.ask("GET", "/", &[], "one").await.text(), "one");
    assert_eq!(proxy.get("/", &[]).await.text(), "", "nothing was stored");
    let second = proxy.ask("GET", "/", &[], "two").await;
    assert_eq!((second.text().as_str(), second.is_hit()), ("two", false), "what is stored does not answer it");
    assert!(proxy.get("/", &[]).await.is_hit());
}
