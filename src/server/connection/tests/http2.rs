//! HTTP/2 connections.

use hyper_util::rt::TokioExecutor;

use super::*;
use crate::server::exchange::Hit;

/// A client's side of HTTP/2.
async fn http2(peer: DuplexStream) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(65_535)
        .handshake(TokioIo::new(peer))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn http2_get(path: &str) -> Request<Full<Bytes>> {
    Request::builder().uri(format!("http://a{path}")).body(Full::default()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn http2_requests_are_answered() {
    let peer = connect(Protocol::Http2);
    let mut sender = http2(peer.stream).await;
    let (first, second) = (sender.send_request(http2_get("/one")), sender.clone().send_request(http2_get("/two")));
    let (first, second) = tokio::join!(first, second);
    let bodies = [first.unwrap().collect().await.unwrap(), second.unwrap().collect().await.unwrap()];
    assert_eq!(bodies.map(|body| body.to_bytes()), ["/one", "/two"]);
}

#[tokio::test(start_paused = true)]
async fn http2_a_stream_whose_window_stays_shut_ends_the_connection() {
    let peer = connect(Protocol::Http2);
    let mut sender = http2(peer.stream).await;
    let response = sender.send_request(http2_get("/big")).await.unwrap();
    let begun = Instant::now();
    peer.task.await.unwrap();
    assert!((30..=60).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(peer.wire.counters.send_timeouts.load(Ordering::Relaxed), 1);
    drop(response);
}

/// Answers everything over HTTP/2 with so many bytes.
fn http2_hits(length: usize) -> Hits<Pieces> {
    let http2: Hit<Pieces> = Arc::new(move |_, _| ControlFlow::Break(Response::new(pieces("x".repeat(length)))));
    Hits { http1: None, http2: Some(http2) }
}

#[tokio::test(start_paused = true)]
async fn http2_hits_are_answered_side_by_side() {
    let peer = connect_before(Protocol::Http2, http2_hits(9000));
    let sender = http2(peer.stream).await;
    let asked = (0..50).map(|_| {
        let mut sender = sender.clone();
        async move { sender.send_request(http2_get("/")).await.unwrap().collect().await.unwrap().to_bytes() }
    });
    for body in futures_util::future::join_all(asked).await {
        assert_eq!(body, "x".repeat(9000));
    }
    assert!(peer.wire.ended() >= 50);
}

#[tokio::test(start_paused = true)]
async fn http2_a_hit_whose_window_stays_shut_ends_the_connection() {
    let peer = connect_before(Protocol::Http2, http2_hits(100_000));
    let mut sender = http2(peer.stream).await;
    let response = sender.send_request(http2_get("/")).await.unwrap();
    let begun = Instant::now();
    peer.task.await.unwrap();
    assert!((30..=60).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(peer.wire.counters.send_timeouts.load(Ordering::Relaxed), 1);
    drop(response);
}

#[tokio::test(start_paused = true)]
async fn http2_a_hit_that_waits_for_its_window_comes_whole() {
    let peer = connect_before(Protocol::Http2, http2_hits(400_000));
    let mut sender = http2(peer.stream).await;
    for _ in 0..3 {
        let response = sender.send_request(http2_get("/")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(response.collect().await.unwrap().to_bytes().len(), 400_000);
    }
}

#[tokio::test(start_paused = true)]
async fn http2_a_connection_that_has_answered_hits_ends_when_told_to_stop() {
    let peer = connect_before(Protocol::Http2, http2_hits(1000));
    let mut sender = http2(peer.stream).await;
    sender.send_request(http2_get("/")).await.unwrap().collect().await.unwrap();
    let begun = Instant::now();
    peer.stop.cancel();
    peer.task.await.unwrap();
    assert!(begun.elapsed().as_secs() < 2, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn http2_a_client_that_abandons_request_after_request_is_cut() {
    let peer = connect(Protocol::Http2);
    let mut sender = http2(peer.stream).await;
    let mut refused = false;
    for _ in 0..200 {
        if sender.ready().await.is_err() {
            refused = true;
            break;
        }
        let request = sender.send_request(http2_get("/hang"));
        let _ = tokio::time::timeout(Duration::from_millis(1), request).await;
    }
    assert!(refused, "went on for ever");
    peer.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn http2_an_idle_connection_is_closed() {
    let peer = connect(Protocol::Http2);
    let mut sender = http2(peer.stream).await;
    sender.send_request(http2_get("/one")).await.unwrap().collect().await.unwrap();
    let begun = Instant::now();
    peer.task.await.unwrap();
    assert!((59..=121).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn http2_a_client_that_takes_slowly_is_served() {
    let peer = connect(Protocol::Http2);
    let mut sender = http2(peer.stream).await;
    let mut body = sender.send_request(http2_get("/whole")).await.unwrap().into_body();
    assert_eq!(http_body::Body::size_hint(&body).exact(), Some(4 << 20));
    let (mut taken, begun) = (0, Instant::now());
    while let Some(frame) = body.frame().await {
        taken += frame.unwrap().into_data().unwrap().len();
        // 4 KiB a second.
        tokio::time::sleep_until(begun + Duration::from_millis(taken as u64 / 4)).await;
    }
    assert_eq!(taken, 4 << 20);
}

#[tokio::test(start_paused = true)]
async fn drain_of_http2_tells_the_client_and_answers_what_is_under_way() {
    let peer = connect(Protocol::Http2);
    let mut sender = http2(peer.stream).await;
    let response = tokio::spawn(sender.send_request(http2_get("/slow")));
    tokio::time::sleep(Duration::from_secs(1)).await;
    peer.stop.cancel();
    assert_eq!(response.await.unwrap().unwrap().collect().await.unwrap().to_bytes(), "slow");
    peer.task.await.unwrap();
    assert!(sender.send_request(http2_get("/late")).await.is_err());
}
