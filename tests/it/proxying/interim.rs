//! Interim responses (RFC 9110 §15.2) reach the client that waits for them, and no other.

use super::before;
use crate::support::client::{Connection, request};
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;

const HINTS: &str =
    "HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\nConnection: x\r\nX: y\r\nContent-Length: 9\r\n\r\n";

#[tokio::test]
async fn early_hints_come_before_the_answer() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| Reply::ok().send_before(HINTS).after(&held).body("x")).await;
    let proxy = before(&upstream, "");
    for method in ["GET", "POST"] {
        let mut client = Connection::open(proxy.address).await;
        client.send(request(method, "/", &[], "")).await;
        let hints = client.head().await;
        assert_eq!(hints.first_line, "HTTP/1.1 103 Early Hints");
        assert_eq!(hints.fields.get("link"), Some("</s.css>; rel=preload"));
        assert_eq!((hints.fields.get("connection"), hints.fields.get("x")), (None, None), "of that hop only");
        assert_eq!(hints.fields.get("content-length"), None, "RFC 9110 §8.6");
        gate.open();
        assert_eq!(client.response(method).await.text(), "x");
    }
}

#[tokio::test]
async fn early_hints_are_not_for_http10() {
    let upstream = Upstream::start(|_| Reply::ok().send_before(HINTS).body("x")).await;
    let proxy = before(&upstream, "");
    let mut client = Connection::open(proxy.address).await;
    client.send("POST / HTTP/1.0\r\n\r\n").await;
    let response = client.response("POST").await;
    assert_eq!((response.text().as_str(), response.interim.len()), ("x", 0));
}

#[tokio::test]
async fn continue_of_an_upstream_is_not_passed_on() {
    let upstream = Upstream::start(|_| Reply::ok().send_before("HTTP/1.1 100 Continue\r\n\r\n").body("x")).await;
    let proxy = before(&upstream, "");
    let response = proxy.ask("POST", "/", &[], "body").await;
    assert_eq!((response.text().as_str(), response.interim.len()), ("x", 0));
}

#[tokio::test]
async fn early_hints_of_a_validation_in_the_background_reach_nobody() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |request| {
        let fresh = Reply::ok().header("cache-control", "max-age=1, stale-while-revalidate=60").header("etag", "\"a\"");
        match request.fields.get("if-none-match") {
            Some(_) => Reply::status("304 Not Modified").after(&held).send_before(HINTS),
            None => fresh.body("x"),
        }
    })
    .await;
    let proxy = before(&upstream, "");
    let mut client = Connection::open(proxy.address).await;
    client.get("/", &[]).await;
    proxy.advance(2);
    assert!(client.get("/", &[]).await.is_hit());
    upstream.arrived(2).await;
    gate.open();
    for _ in 0..20 {
        let response = client.get("/other", &[]).await;
        assert_eq!(response.interim.len(), 0, "what another exchange hinted at");
    }
}
