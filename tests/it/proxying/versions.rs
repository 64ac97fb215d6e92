//! HTTP/1.0 and HTTP/1.1 on both sides; connections that are kept.

use super::before;
use crate::support::client::{Connection, request};
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

#[tokio::test]
async fn http10_upstream_is_answered_for_in_http11() {
    for (bytes, body) in [
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi"),
        ("HTTP/1.0 200 OK\r\nContent-Type: x/y\r\n\r\nuntil the end", "until the end"),
    ] {
        let upstream = Upstream::start(move |_| Reply::raw(bytes).then_close()).await;
        let proxy = before(&upstream, "");
        let mut client = Connection::open(proxy.address).await;
        for method in ["POST", "GET", "POST"] {
            client.send(request(method, "/", &[], "")).await;
            let head = client.head().await;
            assert_eq!(head.first_line, "HTTP/1.1 200 OK", "{method}");
            assert!(head.fields.get("content-length").is_some() || head.fields.lists("transfer-encoding", "chunked"));
            let received = client.body(&head).await;
            assert_eq!((&*received.content, received.whole), (body.as_bytes(), true));
        }
    }
}

#[tokio::test]
async fn http10_client_gets_no_chunks() {
    let upstream =
        Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").piece("one").piece("two")).await;
    let proxy = before(&upstream, "");
    for _ in 0..2 {
        let mut client = Connection::open(proxy.address).await;
        client.send("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n").await;
        let text = String::from_utf8(client.rest().await).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n") && !head.contains("chunked"), "{head}");
        assert_eq!(body, "onetwo");
    }
    assert!(upstream.requests()[0].fields.get("via").is_some_and(|via| via.starts_with("1.0 larder (")));
}

#[tokio::test]
async fn http10_client_that_keeps_its_connection_is_told_where_it_ends() {
    let upstream =
        Upstream::start(|_| Reply::raw("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\n\r\ntext").then_close()).await;
    let proxy = before(&upstream, "");
    let mut client = Connection::open(proxy.address).await;
    client.send("GET / HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n").await;
    let text = String::from_utf8(client.rest().await).unwrap();
    assert!(text.contains("\r\nconnection: close\r\n") && text.ends_with("\r\n\r\ntext"), "{text}");
}

#[tokio::test]
async fn connections_that_end_with_an_unread_body_say_so() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let proxy = before(&upstream, "[[routes]]\nmatch = { host = \"app.test\" }");
    for (line, field, status) in [
        ("GET / HTTP/1.1\r\nHost: app.test", "Cache-Control: only-if-cached", 504),
        ("POST https://app.test/ HTTP/1.1\r\nHost: app.test", "X: y", 421),
        ("POST / HTTP/1.1\r\nHost: other.test", "X: y", 404),
    ] {
        let mut client = Connection::open(proxy.address).await;
        client.send(format!("{line}\r\n{field}\r\nContent-Length: 100000\r\n\r\nbegun")).await;
        let response = client.response("POST").await;
        assert_eq!((response.status, response.field("connection")), (status, "close"), "{line}");
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test]
async fn http10_client_without_a_host_asks_for_this_address() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let proxy = before(&upstream, "");
    let mut client = Connection::open(proxy.address).await;
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    let response = client.response("GET").await;
    assert_eq!((response.status, response.field("connection")), (200, "keep-alive"));
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.response("GET").await.status, 200);
    assert_eq!(client.rest().await, b"");
    assert_eq!(upstream.requests()[0].fields.get("host"), Some(&*proxy.address.to_string()));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::start(|request| {
        let reply = Reply::ok().body(&request.target);
        if request.target == "/kept" { reply.header("cache-control", "max-age=60") } else { reply }
    })
    .await;
    let proxy = before(&upstream, "");
    proxy.get("/kept", &[]).await;
    let mut client = Connection::open(proxy.address).await;
    let paths = ["/a", "/kept", "/b", "/kept", "/c"];
    let all: String = paths.iter().map(|path| request("GET", path, &[], "")).collect();
    client
        .send(all + &request("POST", "/d", &[], "body") + &request("GET", "/e", &[("Connection", "close")], ""))
        .await;
    for path in paths {
        assert_eq!(client.response("GET").await.text(), path);
    }
    assert_eq!(client.response("POST").await.text(), "/d");
    let last = client.response("GET").await;
    assert_eq!((last.text().as_str(), last.field("connection")), ("/e", "close"));
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn connections_to_the_upstream_are_kept() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let proxy = before(&upstream, "");
    for _ in 0..5 {
        proxy.ask("POST", "/", &[], "body").await;
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn bodiless_statuses_stay_that() {
    for (status, length) in
        [("204 No Content", None), ("304 Not Modified", Some("7")), ("205 Reset Content", Some("0"))]
    {
        let upstream = Upstream::start(move |_| match length {
            Some(length) => Reply::status(status).header("content-length", length),
            None => Reply::status(status),
        })
        .await;
        let proxy = before(&upstream, "");
        let mut client = Connection::open(proxy.address).await;
        for method in ["GET", "POST", "GET"] {
            client.send(request(method, "/", &[("If-None-Match", "\"a\"")], "")).await;
            let response = client.response(method).await;
            assert!(status.starts_with(&response.status.to_string()) && response.body.raw.is_empty(), "{response:?}");
            assert_eq!(response.fields.get("transfer-encoding"), None);
        }
    }
}
