//! What a client gets when the upstream fails, and what is asked twice.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::bodies::{by_hand, until};
use super::{before, before_with};
use crate::support::client::{Connection, Response, request};
use crate::support::http2;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;
use crate::support::within;

/// A failure's answer: short, plain, and nothing of the inside.
fn assert_failure(response: &Response, status: u16, word: &str) {
    assert_eq!(response.status, status, "{response:?}");
    let status_line = response.text();
    assert!(status_line.starts_with(&status.to_string()) && status_line.len() < 40, "{status_line:?}");
    assert_eq!(response.field("content-type"), "text/plain; charset=utf-8");
    assert_eq!(response.field("cache-control"), "no-store");
    let said = response.field("cache-status");
    assert!(said.starts_with("larder; fwd=") && said.ends_with(&format!("; detail={word}")), "{said}");
}

#[tokio::test]
async fn failure_to_connect_is_502() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy =
        crate::support::proxy::Proxy::configured(&format!("[upstreams.app]\nservers = [\"http://{nobody}\"]\n"));
    for method in ["GET", "POST"] {
        assert_failure(&proxy.ask(method, "/", &[], "").await, 502, "connect");
    }
}

#[tokio::test]
async fn failure_before_the_head_is_502_and_a_post_is_never_repeated() {
    let upstream =
        Upstream::start(|request| if request.target == "/" { Reply::ok().body("x") } else { Reply::close() }).await;
    let proxy = before(&upstream, "");
    for method in ["POST", "PATCH"] {
        // The connection was used before, so that its loss could be put down to the server's closing it meanwhile.
        assert_eq!(proxy.ask("POST", "/", &[], "").await.status, 200);
        for body in ["", "body"] {
            let path = format!("/{method}{}", body.len());
            assert_failure(&proxy.ask(method, &path, &[], body).await, 502, "reset");
            assert_eq!(upstream.count(&path), 1);
        }
    }
}

#[tokio::test]
async fn failure_of_a_kept_connection_is_made_up_for_once() {
    let upstream =
        Upstream::start(|request| if request.target == "/" { Reply::ok().body("x") } else { Reply::close() }).await;
    let proxy = before(&upstream, "");
    proxy.get("/", &[]).await;
    assert_failure(&proxy.get("/lost", &[]).await, 502, "reset");
    assert_eq!(upstream.count("/lost"), 2, "once on the kept connection, once on a new one");
    assert_failure(&proxy.get("/lost2", &[]).await, 502, "reset");
    assert_eq!(upstream.count("/lost2"), 1, "a new connection is no excuse");
}

#[tokio::test]
async fn failure_to_speak_http_is_502() {
    for bytes in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\n : a\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
    ] {
        let upstream = Upstream::start(move |_| Reply::raw(bytes).then_close()).await;
        let proxy = before(&upstream, "[cache.rules]\nttl = \"1m\"");
        for method in ["GET", "POST", "GET"] {
            assert_failure(&proxy.ask(method, "/", &[], "").await, 502, "protocol");
        }
    }
}

#[tokio::test]
async fn failure_to_answer_in_time_is_504_and_timeouts_are_the_routes() {
    let upstream = Upstream::start(|_| Reply::hang()).await;
    let proxy = before(
        &upstream,
        "[[routes]]\nmatch = { path = \"/quick\" }\ntimeouts = { first_byte = \"50ms\" }\n[[routes]]\ntimeouts = { first_byte = \"1h\" }",
    );
    for method in ["GET", "POST"] {
        assert_failure(&proxy.ask(method, "/quick", &[], "").await, 504, "first-byte-timeout");
    }
    let slow = proxy.get("/slow", &[]);
    assert!(tokio::time::timeout(Duration::from_millis(300), slow).await.is_err(), "that route has patience");
}

#[tokio::test]
async fn failure_to_get_a_connection_is_503() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| Reply::ok().after(&held).body("x")).await;
    let proxy = before_with(&upstream, "max_connections = 1\nqueue_timeout = \"50ms\"");
    let mut first = Connection::open(proxy.address).await;
    first.send(request("POST", "/", &[], "")).await;
    upstream.arrived(1).await;
    assert_failure(&proxy.ask("POST", "/", &[], "").await, 503, "queue-timeout");
    gate.open();
    assert_eq!(first.response("POST").await.status, 200);
}

#[tokio::test]
async fn failure_within_a_body_shows_on_http1_and_http2() {
    for sized in [true, false] {
        let upstream = Upstream::start(move |_| {
            let reply = Reply::ok().header("cache-control", "max-age=60");
            let reply = if sized { reply.header("content-length", "100") } else { reply };
            reply.piece("only this").cut()
        })
        .await;
        let proxy = before(&upstream, "");
        for method in ["GET", "POST", "GET"] {
            let response = proxy.ask(method, "/", &[], "").await;
            assert_eq!((response.status, response.body.whole), (200, false), "{method} {sized}");
        }
        assert_eq!(upstream.requests().len(), 3, "nothing was stored");
        let client = http2::Connection::open(proxy.address).await;
        for method in ["GET", "POST"] {
            let asked = client.get("/").method(method).body(Default::default()).unwrap();
            client.ask(asked).await.expect_err("the stream ends in an error");
        }
    }
}

#[tokio::test]
async fn failure_by_silence_within_a_body_shows() {
    let upstream = Upstream::start(|_| Reply::ok().piece("begun").gate(&Gate::new())).await;
    let proxy = before_with(&upstream, "idle_timeout = \"50ms\"");
    for method in ["GET", "POST"] {
        let response = proxy.ask(method, "/", &[], "").await;
        assert_eq!((response.text().as_str(), response.body.whole), ("begun", false));
    }
}

#[tokio::test]
async fn bytes_after_a_response_never_answer_the_next_request() {
    let (proxy, listener) = by_hand().await;
    let serving = tokio::spawn(async move {
        let mut connections = 0;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            connections += 1;
            until(&mut stream, b"\r\n\r\n").await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright").await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong").await.unwrap();
            if connections == 3 {
                return;
            }
        }
    });
    for _ in 0..3 {
        assert_eq!(proxy.ask("POST", "/", &[], "").await.text(), "right");
    }
    within("three connections", serving).await.unwrap();
}

#[tokio::test]
async fn client_that_leaves_frees_the_upstream_and_others_are_served() {
    let (proxy, listener) = by_hand().await;
    let mut client = Connection::open(proxy.address).await;
    client.send(request("POST", "/", &[], "")).await;
    let (mut upstream, _) = within("the proxy", listener.accept()).await.unwrap();
    until(&mut upstream, b"\r\n\r\n").await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun").await.unwrap();
    client.head().await;
    drop(client);
    let mut rest = Vec::new();
    let _ = within(
        "the upstream's connection to be closed",
        tokio::io::AsyncReadExt::read_to_end(&mut upstream, &mut rest),
    )
    .await;
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn errors_are_not_stored_unless_told_to() {
    for status in ["400 Bad Request", "404 Not Found", "500 Internal Server Error", "503 Service Unavailable"] {
        let upstream = Upstream::start(move |_| Reply::status(status).body("no")).await;
        let proxy = before(&upstream, "");
        for _ in 0..2 {
            assert!(!proxy.get("/", &[]).await.is_hit());
        }
        assert_eq!(upstream.requests().len(), 2, "{status}");
    }
}

/// The first client of a fetch has the head and a piece; a second one has joined. The test goes on from there.
async fn joined(
    end: impl FnOnce(Reply) -> Reply,
) -> (Upstream, Gate, crate::support::proxy::Proxy, Connection, Connection) {
    let gate = Gate::new();
    let reply = end(Reply::ok().header("cache-control", "max-age=60").piece("first ").gate(&gate).piece("second"));
    let upstream = Upstream::start(move |_| reply.clone()).await;
    let proxy = before(&upstream, "");
    let mut leader = Connection::open(proxy.address).await;
    leader.send(request("GET", "/", &[], "")).await;
    assert_eq!(leader.head().await.first_line, "HTTP/1.1 200 OK");
    let mut follower = Connection::open(proxy.address).await;
    follower.send(request("GET", "/", &[], "")).await;
    (upstream, gate, proxy, leader, follower)
}

#[tokio::test]
async fn client_that_caused_a_fill_may_leave() {
    let (upstream, gate, proxy, leader, mut follower) = joined(|reply| reply).await;
    let head = follower.head().await;
    assert!(head.fields.get("cache-status").unwrap().contains("collapsed"), "{head:?}");
    drop(leader);
    gate.open();
    let body = follower.body(&head).await;
    assert_eq!((&*body.content, body.whole), (&b"first second"[..], true));
    assert!(proxy.get("/", &[]).await.is_hit());
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn failure_within_a_fill_is_told_to_all_who_read_it() {
    let (upstream, gate, proxy, _leader, mut follower) = joined(Reply::cut).await;
    let head = follower.head().await;
    gate.open();
    let body = follower.body(&head).await;
    assert_eq!((&*body.content, body.whole), (&b"first second"[..], false));
    assert!(!proxy.get("/", &[]).await.is_hit());
    assert_eq!(upstream.requests().len(), 2);
}
