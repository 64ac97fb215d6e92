//! HTTP/2 connections that flood, starve or contradict: bounded, and nothing of them reaches the upstream.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::before;
use crate::support::frames::{
    CONTINUATION, Connection, DATA, END_HEADERS, END_STREAM, Ending, HEADERS, PING, RST_STREAM, SETTINGS, block,
};
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;
use crate::support::within;

type Fields<'a> = &'a [(&'a str, &'a str)];

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")];

async fn upstream() -> Upstream {
    Upstream::start(|_| Reply::ok().body("x")).await
}

/// GET with one pseudo-field replaced.
fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    GET.map(|(known, given)| if known == name { (known, value) } else { (known, given) }).to_vec()
}

fn and(more: Fields<'static>) -> Vec<(&'static str, &'static str)> {
    [&GET[..], more].concat()
}

#[tokio::test]
async fn refused_streams_leave_the_others_alone() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "");
    let mut client = Connection::open(proxy.address).await;
    client.headers(1, &with(":authority", "u@app.test"), true).await;
    assert_eq!(client.ending(1).await, Ending::Response(400));
    client.headers(3, &and(&[("host", "evil.test")]), true).await;
    assert_eq!(client.ending(3).await, Ending::Response(421));
    client.headers(5, &GET, true).await;
    assert_eq!(client.ending(5).await, Ending::Response(200));
}

#[tokio::test]
async fn content_of_another_length_than_announced_is_no_request() {
    for (announced, data) in [("5", "abc"), ("2", "abc")] {
        let upstream = upstream().await;
        let proxy = before(&upstream, "");
        let mut client = Connection::open(proxy.address).await;
        let fields = [with(":method", "POST"), vec![("content-length", announced)]].concat();
        client.headers(1, &fields, false).await;
        client.frame(DATA, END_STREAM, 1, data.as_bytes()).await;
        let ending = client.ending(1).await;
        assert!(ending.is_refusal(), "{announced}: {ending:?}");
        assert_eq!(upstream.requests().len(), 0, "{announced}");
    }
}

/// However the client says that it gives up (RFC 9113 §8.1.1, §5.4.2): what has come is not all.
#[tokio::test]
async fn content_that_breaks_off_is_no_request() {
    let piece = [b'x'; 16_384];
    for (pieces, buffered) in [(1, true), (1, false), (3, false)] {
        for code in [0u32, 2, 8] {
            let upstream = upstream().await;
            let buffer = if buffered { "64KiB" } else { "0" };
            let proxy = before(&upstream, &format!("[[routes]]\nbuffer_request = \"{buffer}\""));
            let mut client = Connection::open(proxy.address).await;
            client.headers(1, &with(":method", "POST"), false).await;
            for _ in 0..pieces {
                client.frame(DATA, 0, 1, &piece).await;
            }
            client.headers(3, &with(":path", "/before"), true).await;
            assert_eq!(client.ending(3).await, Ending::Response(200));
            client.frame(RST_STREAM, 0, 1, &code.to_be_bytes()).await;
            for stream in [5, 7, 9] {
                client.headers(stream, &with(":path", "/after"), true).await;
                assert_eq!(client.ending(stream).await, Ending::Response(200));
            }
            let whole = upstream.requests().iter().filter(|seen| seen.path() == "/" && seen.body.whole).count();
            assert_eq!(whole, 0, "{pieces} pieces, held back: {buffered}, code {code}");
        }
    }
}

#[tokio::test]
async fn trailers_cannot_frame_or_route() {
    for (trailers, refused) in [
        (&[("connection", "close")][..], true),
        (&[("transfer-encoding", "chunked")], true),
        (&[("x", "a\r\nb")], true),
        // The library leaves these out instead.
        (&[(":path", "/smuggled"), (":authority", "evil.test")], false),
    ] {
        let upstream = upstream().await;
        let proxy = before(&upstream, "");
        let mut client = Connection::open(proxy.address).await;
        let names = [("trailer", "connection, transfer-encoding, x, :path, path")];
        client.headers(1, &[&with(":method", "POST")[..], &names].concat(), false).await;
        client.frame(DATA, 0, 1, b"abc").await;
        client.headers(1, trailers, true).await;
        let ending = client.ending(1).await;
        assert_eq!(ending.is_refusal(), refused, "{trailers:?}: {ending:?}");
        let seen = upstream.requests();
        assert_eq!(seen.is_empty(), refused, "{trailers:?}");
        assert!(seen.iter().all(|seen| seen.body.trailers.0.is_empty() && seen.target == "/"), "{seen:?}");
    }
}

#[tokio::test]
async fn cookie_crumbs_count() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "");
    for (crumbs, size, status) in [(101, 5, 431), (20, 500, 431), (90, 50, 200)] {
        let crumb = format!("a={}", "x".repeat(size));
        let mut fields = GET.to_vec();
        fields.extend((0..crumbs).map(|_| ("cookie", &*crumb)));
        let mut client = Connection::open(proxy.address).await;
        client.headers(1, &fields, true).await;
        assert_eq!(client.ending(1).await, Ending::Response(status), "{crumbs} of {size}");
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn rapid_resets_close_the_connection() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| Reply::ok().after(&held).body("x")).await;
    let proxy = before(&upstream, "");
    let mut client = Connection::open(proxy.address).await;
    let closed = async {
        for stream in (1..20_001).step_by(2) {
            client.headers(stream, &GET, true).await;
            client.frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()).await;
            tokio::task::yield_now().await;
        }
        while client.read().await.is_some() {}
    };
    within("the connection to be closed", closed).await;
    assert!(upstream.requests().len() < 500, "{}", upstream.requests().len());
    assert_eq!(proxy.app.server.counters().http2_errors.load(Relaxed), 1, "and it shows in a figure");
    let mut other = Connection::open(proxy.address).await;
    gate.open();
    other.headers(1, &GET, true).await;
    assert_eq!(other.ending(1).await, Ending::Response(200), "others are served");
}

#[tokio::test]
async fn floods_close_the_connection() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "[timeouts]\nheader = \"1s\"\nidle = \"1s\"\nkeep_alive = \"1s\"");
    for flood in [CONTINUATION, SETTINGS, PING] {
        let mut client = Connection::open(proxy.address).await;
        if flood == CONTINUATION {
            client.frame(HEADERS, 0, 1, &block(&GET)).await;
        }
        let closed = async {
            // Nothing is read meanwhile, so that acknowledgements pile up.
            for _ in 0..30_000 {
                match flood {
                    CONTINUATION => client.frame(CONTINUATION, 0, 1, &block(&[("x", "y")])).await,
                    SETTINGS => client.frame(SETTINGS, 0, 0, &[]).await,
                    _ => client.frame(PING, 0, 0, &[0; 8]).await,
                }
            }
            while client.read().await.is_some() {}
        };
        within("the connection to be closed", closed).await;
    }
    assert_eq!(upstream.connections(), 0);
    assert!(proxy.app.server.counters().http2_errors.load(Relaxed) > 0);
}

#[tokio::test]
async fn header_bombs_are_refused() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "");
    let mut bomb = block(&GET);
    // A literal with incremental indexing of 3,000 bytes, then references to it, a byte each.
    bomb.extend(b"\x40\x01x\x7f");
    bomb.extend([0x80 | ((3000 - 127) % 128) as u8, ((3000 - 127) / 128) as u8]);
    bomb.extend([b'y'; 3000]);
    bomb.extend([0x80 | 62; 8000]);
    let mut client = Connection::open(proxy.address).await;
    client.frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb).await;
    let ending = client.ending(1).await;
    assert!(ending.is_refusal(), "{ending:?}");
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn client_without_window_is_cut_off_and_the_upstream_freed() {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "no-store").body("x".repeat(1 << 22))).await;
    let proxy = before(&upstream, "[timeouts]\nidle = \"300ms\"");
    let mut client = Connection::open(proxy.address).await;
    client.frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await; // SETTINGS_INITIAL_WINDOW_SIZE: 0
    client.headers(1, &with(":method", "POST"), true).await;
    assert_eq!(client.ending(1).await, Ending::Response(200));
    within("the connection to be closed", async { while client.read().await.is_some() {} }).await;
    let freed = async {
        while proxy.app.proxy.site().pools()[0].stats().servers[0].open > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("the upstream's connection to be closed", freed).await;
}
