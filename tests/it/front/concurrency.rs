//! Places at an upstream: so many at once, so many in the queue, 503 beyond; hits need none.

use super::guarded;
use crate::support::client::{Connection, request};
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;

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
