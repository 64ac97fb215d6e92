//! WebSockets through larder: tunnelled in both directions, by two implementations of the far end.

use std::net::SocketAddr;
use std::process::Command;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::task::AbortOnDropHandle;

use crate::support::larder::Larder;
use crate::support::process::Process;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::{python, repository, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_echo_by_tungstenite() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let _echoing = AbortOnDropHandle::new(tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() || message.is_binary() {
                socket.send(message).await.unwrap();
            }
        }
    }));
    let larder = Larder::before(&format!("http://{upstream}")).await;
    converse(larder.address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_echo_by_python_websockets() {
    let script = repository("tests/it/websocket/echo.py");
    let mut echo = Process::start(Command::new(python()).arg(script));
    let upstream: SocketAddr = echo.line("its address", |line| line.strip_prefix("listening on ")?.parse().ok()).await;
    let larder = Larder::before(&format!("http://{upstream}")).await;
    converse(larder.address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_refused_by_the_upstream_is_no_tunnel() {
    let upstream = Upstream::start(|_| Reply::status("403 Forbidden").body("no")).await;
    let larder = Larder::before(&upstream.url()).await;
    let stream = TcpStream::connect(larder.address).await.unwrap();
    let refused = within("an answer", tokio_tungstenite::client_async("ws://app.test/", stream)).await;
    let Err(tokio_tungstenite::tungstenite::Error::Http(response)) = refused else { panic!("{refused:?}") };
    assert_eq!(response.status(), 403);
}

/// Sends texts and bytes of several sizes and expects each back, then closes in order.
async fn converse(larder: SocketAddr) {
    let stream = TcpStream::connect(larder).await.unwrap();
    let connecting = tokio_tungstenite::client_async("ws://app.test/socket", stream);
    let (mut socket, response) = within("the upgrade", connecting).await.unwrap();
    assert_eq!(response.status(), 101);
    let messages = [
        Message::text("hello"),
        Message::text(""),
        Message::binary(vec![0, 255, 13, 10]),
        Message::binary(vec![7; 300_000]),
        Message::text("again"),
    ];
    for message in messages {
        socket.send(message.clone()).await.unwrap();
        let echoed = within("an echo", socket.next()).await.unwrap().unwrap();
        assert!(echoed == message, "{} bytes came back as {}", message.len(), echoed.len());
    }
    socket.close(None).await.unwrap();
    let close = within("the close", socket.next()).await;
    assert!(matches!(&close, Some(Ok(Message::Close(_)))), "{close:?}");
    assert!(within("the end", socket.next()).await.is_none());
}
