//! Many clients at once, and clients of different speed: what the upstream and the memory see of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::{date, ok};
use crate::support::client;
use crate::support::http2;
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;
use crate::support::within;

stories![crowds_of_variants_are_told_apart_by_date];
stories![(flavor = "multi_thread", worker_threads = 2); crowds_of_different_speed_hold_one_copy, crowds_before_what_is_too_large_hold_little_of_it];

/// That many clients ask for a page, over HTTP/1.1 on a connection each, or over HTTP/2 on one: texts and Cache-Status.
async fn crowd(proxy: &Proxy, count: usize, http2: bool) -> JoinSet<(String, String)> {
    let address = proxy.address;
    if !http2 {
        let ask = async move || client::get(address, "/page", &[]).await;
        let told = |it: client::Response| (it.text(), it.field("cache-status").to_owned());
        return (0..count).map(|_| async move { told(ask().await) }).collect();
    }
    let connection = Arc::new(http2::Connection::open(address).await);
    let ask = |connection: Arc<http2::Connection>| async move {
        let response = connection.ask(connection.get("/page").body(Default::default()).unwrap()).await.unwrap();
        let status = response.headers()["cache-status"].to_str().unwrap().to_owned();
        (String::from_utf8(response.into_body().to_vec()).unwrap(), status)
    };
    (0..count).map(|_| ask(connection.clone())).collect()
}

async fn collapsed(proxy: &Proxy, count: u64) {
    within("requests to join a fetch", async {
        while proxy.app.proxy.cache.flights.joined() < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn crowds_cost_one_fetch_and_one_validation() {
    for http2 in [false, true] {
        let (fetch, validation) = (Gate::new(), Gate::new());
        let (fetching, validating) = (fetch.clone(), validation.clone());
        let upstream = Upstream::start(move |request| match request.fields.get("if-none-match") {
            Some(_) => Reply::status("304 Not Modified").header("etag", "\"v1\"").after(&validating),
            None => ok("max-age=60", "x").header("etag", "\"v1\"").after(&fetching),
        })
        .await;
        let proxy = Proxy::before(&upstream);
        for (gate, joined, requests, said) in [
            (fetch, 99, 1, "larder; fwd=uri-miss; ttl=60; stored; collapsed"),
            (validation, 198, 2, "larder; fwd=stale; fwd-status=304; ttl=60; stored; collapsed"),
        ] {
            let clients = crowd(&proxy, 100, http2).await;
            collapsed(&proxy, joined).await;
            gate.open();
            let answers = within("all answers", clients.join_all()).await;
            assert!(answers.iter().all(|(text, _)| text == "x"));
            assert_eq!(answers.iter().filter(|(_, status)| status == said).count(), 99, "{answers:?}");
            assert_eq!(upstream.count("/page"), requests, "over HTTP/2: {http2}");
            proxy.advance(60);
        }
    }
}

#[tokio::test]
async fn crowds_before_what_cannot_be_shared_never_queue() {
    for http2 in [false, true] {
        // Counted in latencies of the upstream: whoever is there when one has passed is answered together.
        let latencies: [Gate; 3] = std::array::from_fn(|_| Gate::new());
        let (ends, asked) = (latencies.clone(), AtomicUsize::new(0));
        let upstream = Upstream::start(move |_| {
            let latency = match asked.fetch_add(1, Ordering::SeqCst) {
                0 => 0,
                1..50 => 1,
                _ => 2,
            };
            ok("private", "x").after(&ends[latency])
        })
        .await;
        let proxy = Proxy::before(&upstream);
        let answered = async |clients: JoinSet<(String, String)>| {
            let answers = within("all answers", clients.join_all()).await;
            assert!(answers.len() == 50 && answers.iter().all(|(text, _)| text == "x"));
        };
        // Cold: one latency for the head that tells, one for all who waited for it.
        let clients = crowd(&proxy, 50, http2).await;
        collapsed(&proxy, 49).await;
        assert_eq!(upstream.arrived(1).await.len(), 1);
        latencies[0].open();
        assert_eq!(upstream.arrived(50).await.len(), 50, "over HTTP/2: {http2}");
        latencies[1].open();
        answered(clients).await;
        // Then it is known, and one latency is enough for everybody.
        let clients = crowd(&proxy, 50, http2).await;
        assert_eq!(upstream.arrived(100).await.len(), 100, "over HTTP/2: {http2}");
        latencies[2].open();
        answered(clients).await;
        let flights = &proxy.app.proxy.cache.flights;
        assert_eq!((flights.joined(), flights.collapsed()), (49, 0), "none was answered by another's fetch");
    }
}

async fn crowds_of_different_speed_hold_one_copy() {
    const LENGTH: usize = 8 << 20;
    let upstream =
        Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body(vec![b'x'; LENGTH])).await;
    let proxy = Proxy::before(&upstream);
    let mut slow = proxy.clients.begin("/page", &[]).await;
    let head = slow.head().await;
    // It reads no further. Others are not kept waiting, and nothing is copied for anybody.
    for _ in 0..3 {
        assert_eq!(proxy.get("/page", &[]).await.body.content.len(), LENGTH);
    }
    let memory = &proxy.app.proxy.cache.memory;
    assert_eq!(memory.filling(), 0);
    assert!(memory.bytes() < LENGTH as u64 + 4096, "{}", memory.bytes());
    let body = slow.body(&head).await;
    assert_eq!((body.content.len(), body.whole), (LENGTH, true));
    assert_eq!(upstream.count("/page"), 1);
}

async fn crowds_before_what_is_too_large_hold_little_of_it() {
    const LENGTH: usize = 32 << 20;
    const LARGEST: u64 = 1 << 20;
    let upstream = Upstream::start(|_| {
        let piece = vec![b'x'; 64 << 10];
        (0..LENGTH / piece.len())
            .fold(Reply::ok().header("cache-control", "max-age=60"), |reply, _| reply.piece(&piece))
    })
    .await;
    let proxy = Proxy::with_rules(&upstream, &format!("max_object = {LARGEST}"));
    let mut slow = proxy.clients.begin("/page", &[]).await;
    let head = slow.head().await;
    let (done, cache) = (AtomicBool::new(false), &proxy.app.proxy.cache);
    let watching = async {
        let mut peak = 0;
        while !done.load(Ordering::SeqCst) {
            peak = peak.max(cache.memory.filling());
            tokio::task::yield_now().await;
        }
        peak
    };
    let reading = async {
        // A second one joins or comes too late and asks for itself; either way it gets all.
        let other = async { proxy.get("/page", &[]).await.body };
        let (first, second) = tokio::join!(slow.body(&head), other);
        assert!([first, second].iter().all(|body| body.whole && body.content.len() == LENGTH));
        done.store(true, Ordering::SeqCst);
    };
    let (peak, ()) = tokio::join!(watching, reading);
    // What is to be stored is counted in steps of 64 KiB, and never beyond the size at which it is let go, twice.
    assert!(peak <= 2 * (LARGEST + (64 << 10)), "{peak}");
    within("the fills to end", async {
        while cache.flights.under_way() > 0 || cache.memory.filling() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(cache.memory.bytes(), 0);
}

async fn crowds_of_variants_are_told_apart_by_date() {
    // RFC 9111 §4: of several that match the most recent, whichever was stored last.
    for (first, second, expected) in [(0, -50, "first"), (-50, 0, "second")] {
        let upstream = Upstream::start(move |request| {
            let french = request.fields.get("accept-language").is_some_and(|value| value.starts_with("fr"));
            let (text, at) = if french { ("second", second) } else { ("first", first) };
            ok("max-age=600", text)
                .header("vary", "Accept-Language")
                .header("content-language", "de")
                .header("date", &date(at))
        })
        .await;
        let proxy = Proxy::before(&upstream);
        for language in ["de, en;q=0.5", "fr, de;q=0.5"] {
            assert!(!proxy.get("/page", &[("accept-language", language)]).await.is_hit());
        }
        let both = proxy.get("/page", &[("accept-language", "de, it;q=0.2")]).await;
        assert_eq!((both.is_hit(), both.text().as_str()), (true, expected));
    }
}
