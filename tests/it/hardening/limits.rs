//! Every limit refuses what is beyond it, lets through what is not, and has a figure that moves.

use std::sync::atomic::Ordering::Relaxed;

use super::before;
use crate::support::client::{Connection, request};
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::within;

async fn upstream() -> Upstream {
    Upstream::start(|_| Reply::ok().body("x")).await
}

/// How often clients were refused for that reason, as `/metrics` says.
async fn refusals(proxy: &Proxy, reason: &str) -> u64 {
    let text = proxy.metrics_text().await;
    let line = format!("larder_refused_total{{reason=\"{reason}\"}} ");
    text.lines().find_map(|found| found.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn request_that_comes_back_is_refused() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    // Its own upstream, by way of another larder, which is no loop by itself.
    let first = crate::support::larder::Larder::before_at("http://127.0.0.1:9", address).await;
    drop(first);
    let second = crate::support::larder::Larder::before(&format!("http://{address}")).await;
    let first = crate::support::larder::Larder::before_at(&format!("http://{}", second.address), address).await;
    for method in ["GET", "POST"] {
        let mut client = Connection::open(first.address).await;
        client.send(request(method, "/", &[], "")).await;
        let response = client.response(method).await;
        assert_eq!(response.status, 508, "{response:?}");
    }
    assert_eq!(first.metric("larder_refused_total", "reason=\"loop\"").await, 2.0);
    assert_eq!(second.metric("larder_refused_total", "reason=\"loop\"").await, 0.0);
}

#[tokio::test]
async fn limits_of_a_head() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "");
    let target = |size: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(size - 1));
    let field = |size: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(size - 3));
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(count - 1));
    let head = |size: usize| {
        let mut text = "GET / HTTP/1.1\r\nHost: a\r\n".to_owned();
        while text.len() + 2 < size {
            let line = (size - text.len() - 2).min(1000);
            let line = if size - text.len() - 2 - line < 10 { size - text.len() - 2 } else { line };
            text += &format!("x: {}\r\n", "y".repeat(line - 5));
        }
        text + "\r\n"
    };
    for (within_limit, beyond, status, reason) in [
        (target(8 << 10), target((8 << 10) + 1), 414, "target-too-long"),
        (field(8000), field((8 << 10) + 1), 431, "head-too-large"),
        (fields(100), fields(101), 431, "too-many-fields"),
        (head(32_000), head((32 << 10) + 1), 431, "head-too-large"),
    ] {
        let mut client = Connection::open(proxy.address).await;
        client.send(within_limit).await;
        assert_eq!(client.response("GET").await.status, 200, "{reason}");
        let (before, arrived) = (refusals(&proxy, reason).await, upstream.requests().len());
        let mut client = Connection::open(proxy.address).await;
        client.send(beyond).await;
        let response = client.response("GET").await;
        assert_eq!((response.status, response.field("connection")), (status, "close"), "{reason}");
        assert_eq!(response.field("cache-status"), format!("larder; detail={reason}"));
        assert_eq!(client.rest().await, b"");
        assert_eq!((refusals(&proxy, reason).await, upstream.requests().len()), (before + 1, arrived), "{reason}");
    }
}

#[tokio::test]
async fn limit_of_a_body() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "[[routes]]\nmax_request_body = \"10\"");
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n";
    for (number, bytes) in [(1, request("POST", "/", &[], "0123456789a")), (2, chunked.to_owned())] {
        let mut client = Connection::open(proxy.address).await;
        client.send(bytes).await;
        assert_eq!(client.response("POST").await.status, 413);
        let text = proxy.metrics_text().await;
        let refused = refusals(&proxy, "body-too-large").await;
        let grown = text
            .lines()
            .filter(|line| line.contains("kind=\"request-too-large\""))
            .filter_map(|line| line.rsplit(' ').next());
        let grown: u64 = grown.map(|count| count.parse::<u64>().unwrap()).sum();
        assert_eq!(refused + grown, number, "{text}");
    }
}

#[tokio::test]
async fn limit_of_a_heads_time() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "[timeouts]\nheader = \"200ms\"");
    let counters = proxy.app.server.counters();
    let mut client = Connection::open(proxy.address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
    // A byte now and then does not help.
    let trickle = async {
        loop {
            client.send("X").await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            if counters.header_timeouts.load(Relaxed) > 0 {
                return;
            }
        }
    };
    within("the deadline", trickle).await;
    assert_eq!(client.response("GET").await.status, 408);
    assert_eq!(client.rest().await, b"");
    assert_eq!(refusals(&proxy, "head-timeout").await, 1);
    assert!(proxy.metrics_text().await.contains("\nlarder_client_timeouts_total 1\n"));
}

#[tokio::test]
async fn limit_of_a_pause_in_a_body() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "[timeouts]\nidle = \"200ms\"");
    let mut client = Connection::open(proxy.address).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc").await;
    assert_eq!(client.response("POST").await.status, 408);
    assert_eq!(client.rest().await, b"");
    assert_eq!(upstream.requests().len(), 0, "no whole request");
    // Two deadlines of the same length watch: the connection's, and that of the body on its way to the upstream.
    let text = proxy.metrics_text().await;
    let moved = text.lines().filter(|line| {
        line.starts_with("larder_client_timeouts_total") || line.contains("kind=\"request-body-timeout\"")
    });
    let moved: u64 = moved.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert!(moved > 0, "{text}");
}

#[tokio::test]
async fn limit_of_an_idle_connection() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "[timeouts]\nkeep_alive = \"100ms\"");
    let mut client = Connection::open(proxy.address).await;
    client.get("/", &[]).await;
    assert_eq!(client.rest().await, b"", "closed without a word");
    assert_eq!(proxy.app.server.counters().keep_alive_timeouts.load(Relaxed), 1);
}

#[tokio::test]
async fn limit_of_a_client_that_takes_nothing() {
    let upstream = Upstream::start(|_| Reply::ok().body("x".repeat(32 << 20))).await;
    let proxy = before(&upstream, "[timeouts]\nidle = \"300ms\"");
    let mut client = Connection::open(proxy.address).await;
    client.send(request("POST", "/", &[], "")).await;
    let counters = proxy.app.server.counters();
    within("the deadline", async {
        while counters.send_timeouts.load(Relaxed) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    let response = client.response("POST").await;
    assert!(!response.body.whole, "the cut shows");
    assert!(
        proxy
            .metrics_text()
            .await
            .lines()
            .any(|line| line.starts_with("larder_cut_responses_total") && line.ends_with(" 1"))
    );
}

#[tokio::test]
async fn limit_of_connections_makes_further_ones_wait() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "[limits]\nconnections = 2");
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Connection::open(proxy.address).await;
        assert_eq!(client.get("/", &[]).await.status, 200);
        clients.push(client);
    }
    let mut third = Connection::open(proxy.address).await;
    third.send(request("GET", "/third", &[], "")).await;
    assert_eq!(clients[0].get("/", &[]).await.status, 200);
    assert_eq!(upstream.count("/third"), 0);
    assert!(proxy.metrics_text().await.contains("\nlarder_client_connections 2\n"));
    clients.pop();
    assert_eq!(third.response("GET").await.status, 200, "as soon as there is room");
}

#[tokio::test]
async fn limit_of_ranges_gives_the_whole() {
    let upstream =
        Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("0123456789".repeat(100))).await;
    let proxy = before(&upstream, "");
    proxy.get("/", &[]).await;
    let ranges = |count: usize| {
        format!("bytes={}", (0..count).map(|at| format!("{}-{}", at * 2, at * 2)).collect::<Vec<_>>().join(","))
    };
    for (count, status) in [(8, 206), (9, 200), (500, 200)] {
        let response = proxy.get("/", &[("Range", &ranges(count))]).await;
        assert_eq!((response.status, response.is_hit()), (status, true), "{count}");
    }
    let overlapping = format!("bytes={}", ["0-"; 8].join(","));
    let response = proxy.get("/", &[("Range", &overlapping)]).await;
    assert!(response.body.content.len() <= 1000 + 200, "{}", response.body.content.len());
}
