//! Switching protocols: a tunnel only after 101.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::before;
use super::bodies::{by_hand, until};
use crate::support::client::{self, Connection, request};
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::within;

const ASK: [(&str, &str); 2] = [("Connection", "Upgrade"), ("Upgrade", "x-talk")];

#[tokio::test]
async fn upgrade_joins_the_connections_after_101() {
    let (proxy, listener) = by_hand().await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    // Bytes that come too early belong to the new protocol, if there will be one.
    client.write_all((request("GET", "/", &ASK, "") + "early ").as_bytes()).await.unwrap();
    let (mut upstream, _) = within("the proxy", listener.accept()).await.unwrap();
    let head = until(&mut upstream, b"\r\n\r\n").await;
    assert!(head.contains("\r\nconnection: upgrade\r\n") && head.contains("\r\nupgrade: x-talk\r\n"), "{head}");
    assert!(!head.contains("early"));
    upstream
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x-talk\r\nX-Own: 1\r\n\r\nhello",
        )
        .await
        .unwrap();

    let answer = until(&mut client, b"hello").await;
    assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
    for line in ["connection: upgrade", "upgrade: x-talk", "x-own: 1"] {
        assert!(answer.contains(&format!("\r\n{line}\r\n")), "{line}: {answer}");
    }
    until(&mut upstream, b"early ").await;
    for _ in 0..3 {
        client.write_all(b"\0ping\r\n\r\nGET / HTTP/1.1\r\n").await.unwrap();
        until(&mut upstream, b"GET / HTTP/1.1\r\n").await;
        upstream.write_all(b"\xffpong").await.unwrap();
        let mut pong = [0; 5];
        within("pong", client.read_exact(&mut pong)).await.unwrap();
        assert_eq!(&pong, b"\xffpong");
    }
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    within("the client's end", upstream.read_to_end(&mut rest)).await.unwrap();
    upstream.write_all(b"last words").await.unwrap();
    drop(upstream);
    within("the upstream's end", client.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"last words", "each side closes its own half");
}

#[tokio::test]
async fn upgrade_refused_goes_on_as_http() {
    let upstream = Upstream::start(|_| Reply::status("400 Bad Request").body("no")).await;
    let proxy = before(&upstream, "");
    let mut client = Connection::open(proxy.address).await;
    client.send(request("GET", "/a", &ASK, "") + &request("GET", "/b", &[], "")).await;
    assert_eq!(client.response("GET").await.status, 400);
    assert_eq!(client.response("GET").await.status, 400);
    let targets: Vec<_> = upstream.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/a", "/b"]);
}

#[tokio::test]
async fn upgrade_to_what_nobody_asked_for_is_a_failure() {
    for (protocol, status) in [("h2c", 502), ("x-talk, h2c", 502), ("X-Talk", 101)] {
        let head = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n");
        let upstream = Upstream::start(move |_| Reply::raw(head.clone())).await;
        let proxy = before(&upstream, "");
        let mut client = Connection::open(proxy.address).await;
        client.send(request("GET", "/", &ASK, "")).await;
        assert_eq!(client::status(&client.head().await), status, "{protocol}");
    }
}

#[tokio::test]
async fn upgrade_to_http2_is_for_this_hop_and_not_passed_on() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let proxy = before(&upstream, "");
    let fields = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk")];
    assert_eq!(proxy.get("/", &fields).await.status, 200);
    let seen = &upstream.requests()[0].fields;
    assert_eq!((seen.get("upgrade"), seen.get("http2-settings"), seen.get("connection")), (None, None, None));
}

#[tokio::test]
async fn upgrade_without_connection_is_no_upgrade() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let proxy = before(&upstream, "");
    assert_eq!(proxy.get("/", &[("Upgrade", "x-talk")]).await.status, 200);
    assert_eq!(upstream.requests()[0].fields.get("upgrade"), None);
}
