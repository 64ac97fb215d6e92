//! RFC 9111 §4: many requests, one fetch; and what becomes of those that waited.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use larder::cache::purge::PurgeTarget;
use tokio::task::JoinSet;

use super::ok;
use crate::support::client::{self, Response};
use crate::support::http2;
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;
use crate::support::within;

stories![
    collapsing_makes_one_fetch_of_a_hundred,
    collapsing_makes_one_validation_of_a_hundred,
    collapsing_gives_followers_the_body_while_it_grows,
    collapsing_survives_the_leaders_client,
    collapsing_ends_for_all_at_once_when_the_answer_is_for_one,
    collapsing_is_not_tried_again_as_long_as_answers_are_for_one,
    collapsing_is_taken_up_again_when_the_answer_can_be_shared,
    collapsing_does_not_join_those_with_credentials_to_the_crowd,
    collapsing_hands_nobody_what_was_made_for_other_fields,
    collapsing_shows_a_cut_to_all_and_stores_nothing,
    collapsing_shares_a_failure,
    collapsing_shares_an_error_of_the_app_and_goes_on_after_it,
    collapsing_waits_no_longer_than_the_limit,
    collapsing_passes_what_is_too_large_through_with_little_memory,
    collapsing_stores_nothing_that_was_purged_meanwhile,
];

/// An upstream that lets each answer wait at a gate.
async fn gated(reply: Reply) -> (Upstream, Gate) {
    let gate = Gate::new();
    let opener = gate.clone();
    (Upstream::start(move |_| reply.clone().after(&opener)).await, gate)
}

/// That many clients, each on a connection of its own, begin to ask.
fn crowd(proxy: &Proxy, count: usize, fields: &'static [(&'static str, &'static str)]) -> JoinSet<Response> {
    let clients = proxy.clients;
    (0..count).map(|_| clients.get("/page", fields)).collect()
}

/// Waits until that many requests have joined another's fetch.
async fn collapsed(proxy: &Proxy, count: u64) {
    within("requests to join a fetch", async {
        while proxy.app.proxy.cache.flights.joined() < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until that many fetches are under way.
async fn under_way(proxy: &Proxy, count: u64) {
    within("fetches to end", async {
        while proxy.app.proxy.cache.flights.under_way() != count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn collapsing_makes_one_fetch_of_a_hundred() {
    let (upstream, gate) = gated(ok("max-age=60", "x")).await;
    let proxy = Proxy::before(&upstream);
    let clients = crowd(&proxy, 100, &[]);
    collapsed(&proxy, 99).await;
    gate.open();
    let responses = within("all answers", clients.join_all()).await;
    assert!(responses.iter().all(|response| response.text() == "x"));
    let followers = "larder; fwd=uri-miss; ttl=60; stored; collapsed";
    assert_eq!(responses.iter().filter(|response| response.field("cache-status") == followers).count(), 99);
    assert_eq!(upstream.count("/page"), 1);
}

async fn collapsing_makes_one_validation_of_a_hundred() {
    let gate = Gate::new();
    let opener = gate.clone();
    let upstream = Upstream::start(move |request| match request.fields.get("if-none-match") {
        Some(_) => Reply::status("304 Not Modified").header("etag", "\"v1\"").after(&opener),
        None => ok("max-age=60", "x").header("etag", "\"v1\""),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[]).await;
    proxy.advance(60);
    let clients = crowd(&proxy, 100, &[]);
    collapsed(&proxy, 99).await;
    gate.open();
    assert!(within("all answers", clients.join_all()).await.iter().all(|response| response.text() == "x"));
    assert_eq!(upstream.count("/page"), 2);
}

#[tokio::test]
async fn collapsing_over_http2() {
    let (upstream, gate) = gated(ok("max-age=60", "x")).await;
    let proxy = Proxy::before(&upstream);
    let connection = Arc::new(http2::Connection::open(proxy.address).await);
    let streams: JoinSet<_> = (0..50)
        .map(|_| {
            let connection = connection.clone();
            async move {
                let request = connection.get("/page").body(Default::default()).unwrap();
                connection.ask(request).await.unwrap().into_body()
            }
        })
        .collect();
    collapsed(&proxy, 49).await;
    gate.open();
    assert!(within("all answers", streams.join_all()).await.iter().all(|body| body == "x"));
    assert_eq!(upstream.count("/page"), 1);
}

async fn collapsing_gives_followers_the_body_while_it_grows() {
    let gate = Gate::new();
    let opener = gate.clone();
    let upstream = Upstream::start(move |_| {
        Reply::ok().header("cache-control", "max-age=60").piece("early ").gate(&opener).piece("late")
    })
    .await;
    let proxy = Proxy::before(&upstream);
    let mut exchanges = Vec::new();
    for _ in 0..3 {
        let mut exchange = proxy.clients.begin("/page", &[]).await;
        // The head arrives although the body is still to come, and so does what there is of that.
        let head = exchange.head().await;
        assert_eq!((client::status(&head), exchange.piece().await), (200, b"early ".to_vec()));
        exchanges.push((exchange, head));
    }
    // A follower that leaves changes nothing for the others, nor does the leader.
    drop(exchanges.remove(0));
    gate.open();
    for (mut exchange, head) in exchanges {
        let rest = exchange.body(&head).await;
        assert_eq!((&*rest.content, rest.whole), (&b"late"[..], true));
    }
    assert_eq!(upstream.count("/page"), 1);
}

async fn collapsing_survives_the_leaders_client() {
    let (upstream, gate) = gated(ok("max-age=60", "x")).await;
    let proxy = Proxy::before(&upstream);
    let leader = proxy.clients.begin("/page", &[]).await;
    upstream.arrived(1).await;
    let followers = crowd(&proxy, 5, &[]);
    collapsed(&proxy, 5).await;
    drop(leader);
    gate.open();
    assert!(within("all answers", followers.join_all()).await.iter().all(|response| response.text() == "x"));
    assert_eq!(upstream.count("/page"), 1);
}

async fn collapsing_ends_for_all_at_once_when_the_answer_is_for_one() {
    for reply in [
        ok("no-store", "x"),
        ok("private, max-age=60", "x"),
        ok("max-age=60", "x").header("set-cookie", "a=b"),
        ok("max-age=60", "x").header("vary", "*"),
        // To be validated each time, it is stored, but answers nobody else.
        ok("no-cache", "x").header("etag", "\"v1\""),
        ok("max-age=0", "x").header("etag", "\"v1\""),
    ] {
        let (first, rest) = (Gate::new(), Gate::new());
        let (opener, others) = (first.clone(), rest.clone());
        let asked = Arc::new(AtomicUsize::new(0));
        let answer = reply.clone();
        let upstream = Upstream::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => answer.clone().after(&opener),
            _ => answer.clone().after(&others),
        })
        .await;
        let proxy = Proxy::before(&upstream);
        let clients = crowd(&proxy, 50, &[]);
        collapsed(&proxy, 49).await;
        first.open();
        // All that waited are at the upstream side by side, none behind another.
        assert_eq!(upstream.arrived(50).await.len(), 50, "{reply:?}");
        rest.open();
        let responses = within("all answers", clients.join_all()).await;
        assert!(responses.iter().all(|response| response.text() == "x" && !response.is_hit()));
        // That is remembered: the next do not wait for each other at all.
        let joined = proxy.app.proxy.cache.flights.joined();
        within("all answers", crowd(&proxy, 10, &[]).join_all()).await;
        assert_eq!(proxy.app.proxy.cache.flights.joined(), joined, "{reply:?}");
    }
}

async fn collapsing_is_not_tried_again_as_long_as_answers_are_for_one() {
    let gates: [Gate; 4] = std::array::from_fn(|_| Gate::new());
    let (openers, round) = (gates.clone(), Arc::new(AtomicUsize::new(0)));
    let now = round.clone();
    let upstream = Upstream::start(move |_| ok("private", "x").after(&openers[now.load(Ordering::SeqCst)])).await;
    let proxy = Proxy::before(&upstream);
    gates[0].open();
    proxy.get("/page", &[]).await;
    // Each time within a minute of the last such answer, at last long after the first.
    for (number, gate) in gates.iter().enumerate().skip(1) {
        round.store(number, Ordering::SeqCst);
        proxy.advance(50);
        let clients = crowd(&proxy, 5, &[]);
        upstream.arrived(1 + 5 * number).await;
        gate.open();
        within("all answers", clients.join_all()).await;
    }
    assert_eq!(proxy.app.proxy.cache.flights.joined(), 0);
}

async fn collapsing_is_taken_up_again_when_the_answer_can_be_shared() {
    let uncacheable = Arc::new(AtomicBool::new(true));
    let is_uncacheable = uncacheable.clone();
    let upstream = Upstream::start(move |_| match is_uncacheable.load(Ordering::SeqCst) {
        true => ok("no-store", "x"),
        false => ok("max-age=60", "x"),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[]).await;
    uncacheable.store(false, Ordering::SeqCst);
    let alone = proxy.get("/page", &[]).await;
    assert_eq!(alone.field("cache-status"), "larder; fwd=uri-miss; ttl=60; stored");
    assert!(proxy.get("/page", &[]).await.is_hit());
}

async fn collapsing_does_not_join_those_with_credentials_to_the_crowd() {
    for field in [("cookie", "session=1"), ("authorization", "Basic YTpi"), ("cache-control", "no-store")] {
        let (upstream, gate) = gated(ok("max-age=60", "x")).await;
        let proxy = Proxy::before(&upstream);
        let (clients, fields) = (proxy.clients, [field]);
        let clients: JoinSet<_> = (0..10).map(|_| async move { clients.get("/page", &fields).await }).collect();
        upstream.arrived(10).await;
        gate.open();
        within("all answers", clients.join_all()).await;
        assert_eq!(proxy.app.proxy.cache.flights.joined(), 0, "{field:?}");
    }
}

async fn collapsing_hands_nobody_what_was_made_for_other_fields() {
    let (upstream, gate) = {
        let gate = Gate::new();
        let opener = gate.clone();
        let upstream = Upstream::start(move |request| {
            ok("max-age=60", request.fields.get("foo").unwrap_or("none")).header("vary", "Foo").after(&opener)
        })
        .await;
        (upstream, gate)
    };
    let proxy = Proxy::before(&upstream);
    let (ones, twos) = (crowd(&proxy, 1, &[("foo", "1")]), crowd(&proxy, 3, &[("foo", "2")]));
    collapsed(&proxy, 3).await;
    gate.open();
    assert!(within("answers", ones.join_all()).await.iter().all(|response| response.text() == "1"));
    assert!(within("answers", twos.join_all()).await.iter().all(|response| response.text() == "2"));
    // Now that the fields are known, different variants do not wait for each other.
    proxy.advance(60);
    let joined = proxy.app.proxy.cache.flights.joined();
    within("answers", async { tokio::join!(proxy.get("/page", &[("foo", "1")]), proxy.get("/page", &[("foo", "3")])) })
        .await;
    assert_eq!(proxy.app.proxy.cache.flights.joined(), joined);
}

async fn collapsing_shows_a_cut_to_all_and_stores_nothing() {
    for length in [None, Some("10")] {
        let gate = Gate::new();
        let opener = gate.clone();
        let upstream = Upstream::start(move |_| {
            let reply = Reply::ok().header("cache-control", "max-age=60");
            let reply = length.into_iter().fold(reply, |reply, length| reply.header("content-length", length));
            reply.piece("01234").gate(&opener).cut()
        })
        .await;
        let proxy = Proxy::before(&upstream);
        let clients = crowd(&proxy, 5, &[]);
        collapsed(&proxy, 4).await;
        gate.open();
        for response in within("all answers", clients.join_all()).await {
            assert_eq!((response.status, response.text().as_str(), response.body.whole), (200, "01234", false));
        }
        assert!(!proxy.get("/page", &[]).await.is_hit());
    }
}

async fn collapsing_shares_a_failure() {
    let (upstream, gate) = gated(Reply::close()).await;
    let proxy = Proxy::before(&upstream);
    let clients = crowd(&proxy, 10, &[]);
    collapsed(&proxy, 9).await;
    let asked = upstream.arrived(1).await.len();
    gate.open();
    assert!(within("all answers", clients.join_all()).await.iter().all(|response| response.status == 502));
    assert!(upstream.count("/page") <= asked + 2, "at most the leader's own retries: {}", upstream.count("/page"));
}

async fn collapsing_shares_an_error_of_the_app_and_goes_on_after_it() {
    for status in ["500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"] {
        let gates: [Gate; 2] = std::array::from_fn(|_| Gate::new());
        let (opened, asked) = (gates.clone(), AtomicUsize::new(0));
        let upstream = Upstream::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::status(status).header("cache-control", "no-store").body("the app's own").after(&opened[0]),
            _ => ok("max-age=60", "well again").after(&opened[1]),
        })
        .await;
        let proxy = Proxy::before(&upstream);
        let clients = crowd(&proxy, 10, &[]);
        collapsed(&proxy, 9).await;
        gates[0].open();
        let answers = within("all answers", clients.join_all()).await;
        assert!(answers.iter().all(|response| status.starts_with(&response.status.to_string())), "{answers:?}");
        let shared = |response: &&Response| response.field("cache-status").contains("collapsed; detail=upstream-error");
        assert_eq!((answers.iter().filter(shared).count(), upstream.count("/page")), (9, 1), "{answers:?}");
        // The first request after it leads a crowd again.
        let clients = crowd(&proxy, 10, &[]);
        collapsed(&proxy, 18).await;
        gates[1].open();
        assert!(within("all answers", clients.join_all()).await.iter().all(|response| response.text() == "well again"));
        assert_eq!((upstream.count("/page"), proxy.app.proxy.cache.flights.collapsed()), (2, 18));
    }
}

async fn collapsing_waits_no_longer_than_the_limit() {
    let (upstream, gate) = gated(ok("max-age=60", "x")).await;
    let proxy = Proxy::configured(&format!(
        "[upstreams.app]\nservers = [\"{}\"]\n[cache]\ncollapse_wait = \"50ms\"\n",
        upstream.url()
    ));
    let clients = crowd(&proxy, 3, &[]);
    assert_eq!(upstream.arrived(3).await.len(), 3, "after the limit they ask themselves");
    gate.open();
    let responses = within("all answers", clients.join_all()).await;
    let alone = |response: &&Response| response.field("cache-status").contains("detail=collapse-timeout");
    assert_eq!(responses.iter().filter(alone).count(), 2);
}

async fn collapsing_passes_what_is_too_large_through_with_little_memory() {
    const LENGTH: usize = 8 << 20;
    for announced in [true, false] {
        let gate = Gate::new();
        let opener = gate.clone();
        let upstream = Upstream::start(move |_| {
            let body = vec![b'x'; LENGTH];
            let reply = Reply::ok().header("cache-control", "max-age=60");
            match announced {
                true => reply.after(&opener).body(body),
                false => body.chunks(64 << 10).fold(reply.after(&opener), |reply, piece| reply.piece(piece)),
            }
        })
        .await;
        let proxy = Proxy::with_rules(&upstream, "max_object = \"1MiB\"");
        let clients = crowd(&proxy, 3, &[]);
        collapsed(&proxy, 2).await;
        gate.open();
        for response in within("all answers", clients.join_all()).await {
            assert_eq!((response.body.content.len(), response.body.whole), (LENGTH, true));
        }
        under_way(&proxy, 0).await;
        assert!(!proxy.get("/page", &[]).await.is_hit());
        let memory = &proxy.app.proxy.cache.memory;
        assert_eq!((memory.bytes(), memory.filling()), (0, 0), "nothing of it is kept");
    }
}

async fn collapsing_stores_nothing_that_was_purged_meanwhile() {
    for while_in_body in [false, true] {
        let gate = Gate::new();
        let opener = gate.clone();
        let upstream = Upstream::start(move |_| {
            let reply = Reply::ok().header("cache-control", "max-age=60");
            match while_in_body {
                true => reply.piece("x").gate(&opener).piece("y"),
                false => reply.after(&opener).piece("xy"),
            }
        })
        .await;
        let proxy = Proxy::before(&upstream);
        let purging = async {
            upstream.arrived(1).await;
            proxy.purge(PurgeTarget::All);
            gate.open();
        };
        let (before, ()) = tokio::join!(proxy.get("/page", &[]), purging);
        assert_eq!(before.text(), "xy", "who asked gets it all the same");
        under_way(&proxy, 0).await;
        assert!(!proxy.get("/page", &[]).await.is_hit());
    }
}
