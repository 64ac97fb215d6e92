//! Places at an upstream: so many at once, so many in the queue, 503 beyond; hits need none.

use tokio::task::JoinSet;

use super::guarded;
use crate::support::client::{Connection, Response, request};
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;
use crate::support::within;

#[tokio::test]
async fn places_are_bounded_and_given_back() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |request| match request.path() {
        "/hit" => Reply::ok().header("cache-control", "max-age=60").body("hit"),
        _ => Reply::ok().header("cache-control", "no-store").piece("a").gate(&held).piece("b"),
    })
    .await;
    let proxy = guarded(&upstream, "limits = { concurrency = 2, queue = 1, queue_timeout = \"20s\" }");
    assert_eq!(proxy.get("/hit", &[]).await.status, 200);
    let mut busy = Vec::new();
    for (number, method) in ["GET", "POST", "POST"].into_iter().enumerate() {
        let mut client = Connection::open(proxy.address).await;
        client.send(request(method, &format!("/{number}"), &[], "")).await;
        if number < 2 {
            // Its answer has begun: the place is kept to the body's end.
            client.head().await;
        }
        busy.push(client);
    }
    upstream.arrived(3).await;
    let refused = loop {
        // Until the third has taken its place in the queue.
        let answer = proxy.ask("POST", "/late", &[], "").await;
        if answer.status == 503 {
            break answer;
        }
    };
    assert_eq!(refused.field("retry-after"), "1");
    assert!(refused.field("cache-status").contains("route-busy"), "{}", refused.field("cache-status"));
    assert!(proxy.get("/hit", &[]).await.is_hit(), "a hit needs no place");
    assert_eq!(upstream.requests().len(), 3, "the third still waits");
    gate.open();
    assert_eq!(busy.remove(2).response("POST").await.status, 200, "it gets a place");
    drop(busy);
    assert_eq!(proxy.ask("POST", "/later", &[], "").await.status, 200);
}

#[tokio::test]
async fn wait_in_the_queue_ends() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| Reply::ok().after(&held).body("x")).await;
    let proxy = guarded(&upstream, "limits = { concurrency = 1, queue = 5, queue_timeout = \"50ms\" }");
    let mut first = Connection::open(proxy.address).await;
    first.send(request("POST", "/", &[], "")).await;
    upstream.arrived(1).await;
    assert_eq!(proxy.ask("POST", "/", &[], "").await.status, 503);
    // Who leaves gives the place back.
    drop(first);
    gate.open();
    while proxy.ask("POST", "/", &[], "").await.status != 200 {}
}

#[tokio::test]
async fn place_is_kept_while_a_fetch_outlives_its_client() {
    for answers_first in [false, true] {
        let gate = Gate::new();
        let held = gate.clone();
        let upstream = Upstream::start(move |request| {
            let storable = || Reply::ok().header("cache-control", "max-age=60");
            match (request.path(), answers_first) {
                ("/slow", true) => storable().piece("sl").gate(&held).piece("ow"),
                ("/slow", false) => storable().after(&held).body("slow"),
                _ => Reply::ok().header("cache-control", "no-store").body("x"),
            }
        })
        .await;
        let proxy = guarded(&upstream, "limits = { concurrency = 1 }");
        let mut leader = Connection::open(proxy.address).await;
        leader.send(request("GET", "/slow", &[], "")).await;
        upstream.arrived(1).await;
        if answers_first {
            leader.head().await;
        }
        drop(leader);
        let left = async { while !proxy.metrics_text().await.contains("\nlarder_client_connections 0\n") {} };
        within("the leader's connection to be gone", left).await;

        let status = async || proxy.ask("POST", "/other", &[], "").await.status;
        assert_eq!(status().await, 503, "the upstream still works on the fetch");
        gate.open();
        within("the place to be free", async { while status().await != 200 {} }).await;
        assert!(proxy.get("/slow", &[]).await.is_hit(), "it was fetched to its end");
        assert_eq!(upstream.count("/slow"), 1);
    }
}

/// A route with one place, which a POST has taken until the gate opens, and a crowd that waits for one page. Who leads
/// the crowd has left where `deserted`.
async fn crowd_in_the_queue(limits: &str, deserted: bool) -> (Upstream, Proxy, Gate, Vec<Response>) {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |request| match request.path() {
        "/page" => Reply::ok().header("cache-control", "max-age=60").body("page"),
        _ => Reply::ok().after(&held).body("posted"),
    })
    .await;
    let proxy = guarded(&upstream, limits);
    let mut first = Connection::open(proxy.address).await;
    first.send(request("POST", "/", &[], "")).await;
    upstream.arrived(1).await;
    let mut leader = Connection::open(proxy.address).await;
    leader.send(request("GET", "/page", &[], "")).await;
    let flights = &proxy.app.proxy.cache.flights;
    let until = async |what, condition: &dyn Fn() -> bool| {
        within(what, async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    until("the leader to lead", &|| flights.under_way() == 1).await;
    let clients = proxy.clients;
    let crowd: JoinSet<_> = (0..10).map(|_| clients.get("/page", &[])).collect();
    until("followers", &|| flights.joined() >= if deserted { 10 } else { 1 }).await;
    if deserted {
        drop(leader);
        let left = async { while !proxy.metrics_text().await.contains("\nlarder_client_connections 11\n") {} };
        within("the leader's connection to be gone", left).await;
        gate.open();
    }
    let answers = within("all answers", crowd.join_all()).await;
    (upstream, proxy, gate, answers)
}

#[tokio::test]
async fn followers_of_a_fetch_without_a_place_do_not_ask_for_places_of_their_own() {
    let limits = "limits = { concurrency = 1, queue = 100, queue_timeout = \"300ms\" }";
    let (upstream, proxy, gate, answers) = crowd_in_the_queue(limits, false).await;
    assert!(answers.iter().all(|answer| (answer.status, answer.field("retry-after")) == (503, "1")), "{answers:?}");
    let told = |answer: &&Response| answer.field("cache-status").ends_with("collapsed; detail=route-busy");
    let told = answers.iter().filter(told).count() as u64;
    assert_eq!(told, proxy.app.proxy.cache.flights.joined(), "{answers:?}");
    assert_eq!(upstream.count("/page"), 0);
    gate.open();
}

#[tokio::test]
async fn fetch_that_waits_for_a_place_outlives_its_client() {
    let limits = "limits = { concurrency = 1, queue = 100, queue_timeout = \"20s\" }";
    let (upstream, _proxy, _gate, answers) = crowd_in_the_queue(limits, true).await;
    assert!(answers.iter().all(|answer| answer.text() == "page"), "{answers:?}");
    assert_eq!(upstream.count("/page"), 1);
}
