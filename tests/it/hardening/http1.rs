//! HTTP/1 connections on which a request is refused, or has content that nobody asked for.

use super::before;
use crate::support::client::{Connection, request};
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

/// What an attacker would like to be taken for a request of its own.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";

async fn upstream() -> Upstream {
    Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("x")).await
}

#[tokio::test]
async fn refusal_comes_after_the_answers_before_it() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "");
    let mut client = Connection::open(proxy.address).await;
    let good = request("GET", "/good", &[], "");
    client.send(format!("{good}{good}GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n{SMUGGLED}")).await;
    for status in [200, 200, 400] {
        assert_eq!(client.response("GET").await.status, status);
    }
    assert_eq!(client.rest().await, b"");
    assert_eq!((upstream.count("/good"), upstream.requests().len()), (1, 1));
}

#[tokio::test]
async fn content_of_a_request_is_never_taken_for_the_next_one() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "");
    proxy.get("/", &[]).await;
    let length = SMUGGLED.len().to_string();
    for (method, path, fields) in [
        ("GET", "/", &[][..]),
        ("POST", "/x", &[]),
        ("HEAD", "/", &[]),
        ("OPTIONS", "*", &[]),
        ("POST", "/", &[("Expect", "100-continue")]),
    ] {
        let mut client = Connection::open(proxy.address).await;
        let fields = [fields, &[("Content-Length", &*length)]].concat();
        client
            .send(
                request(method, path, &fields, "")
                    + SMUGGLED
                    + &request("GET", "/next", &[("Connection", "close")], ""),
            )
            .await;
        client.response(method).await;
        let next = client.response("GET").await;
        assert_eq!(next.status, 200);
        assert_eq!(client.rest().await, b"", "{method} {path}");
    }
    assert_eq!(upstream.count("/smuggled"), 0);
}

#[tokio::test]
async fn content_of_a_refused_request_is_thrown_away() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "[[routes]]\nmatch = { path = \"/x\" }\nmax_request_body = \"1\"");
    let length = SMUGGLED.len().to_string();
    for (path, status) in [("/x", 413), ("/nowhere", 404)] {
        let mut client = Connection::open(proxy.address).await;
        client.send(request("POST", path, &[("Content-Length", &length)], "") + SMUGGLED).await;
        assert_eq!(client.response("POST").await.status, status);
        drop(client);
        let mut client = Connection::open(proxy.address).await;
        client.send(request("POST", path, &[("Content-Length", &length), ("Expect", "100-continue")], "")).await;
        let response = client.response("POST").await;
        assert_eq!((response.status, response.interim.len()), (status, 0));
        client.send(SMUGGLED).await;
        let rest = String::from_utf8(client.rest().await).unwrap();
        assert!(!rest.contains("200 OK"), "{rest}");
    }
    assert_eq!(upstream.connections(), 0);
}
