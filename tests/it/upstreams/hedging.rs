//! A second server is asked when the first one is slow.

use super::{before, named};
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;
use crate::support::within;

const HEDGED: &str = "retries = { hedge_after = \"500ms\", budget = 0 }";

/// Waits until the metrics have all these lines.
async fn until_metrics(proxy: &Proxy, lines: &[&str]) {
    within(&lines.concat(), async {
        loop {
            let metrics = proxy.metrics_text().await;
            if lines.iter().all(|line| metrics.contains(line)) {
                return;
            }
        }
    })
    .await;
}

/// A server that answers when the gate is open.
async fn slow(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |_| Reply::ok().header("cache-control", "no-store").body("slow").after(&gate)).await
}

#[tokio::test]
async fn slow_server_is_passed_by_and_its_request_broken_off() {
    let gate = Gate::new();
    let (slow, quick) = (slow(&gate).await, named("quick").await);
    let proxy = before(&[&slow, &quick], HEDGED);
    for _ in 0..6 {
        assert_eq!(proxy.get("/", &[]).await.text(), "quick");
    }
    assert_eq!((slow.requests().len(), quick.requests().len()), (3, 6), "every other one began at the slow one");
    let metrics = proxy.metrics_text().await;
    let hedges = |server: &Upstream| {
        format!("larder_upstream_hedges_total{{upstream=\"app\",server=\"{}\"}} ", server.address())
    };
    assert!(metrics.contains(&format!("{}3\n", hedges(&quick))), "{metrics}");
    assert!(metrics.contains(&format!("{}0\n", hedges(&slow))), "{metrics}");
    // Its exchange is over for larder, and no fault of its own.
    let active = format!("server=\"{}\",state=\"active\"}} 0\n", slow.address());
    until_metrics(&proxy, &[&active]).await;
    gate.open();
}

#[tokio::test]
async fn slow_answer_wins_where_nobody_else_has_one() {
    let (one_gate, other_gate) = (Gate::new(), Gate::new());
    let (one, other) = (slow(&one_gate).await, slow(&other_gate).await);
    let proxy = before(&[&one, &other], HEDGED);
    let asking = tokio::spawn({
        let address = proxy.address;
        async move { crate::support::client::get(address, "/", &[]).await }
    });
    other.arrived(1).await;
    one.arrived(1).await;
    one_gate.open();
    assert_eq!(asking.await.unwrap().text(), "slow");
    other_gate.open();
}

#[tokio::test]
async fn failure_of_one_leaves_the_answer_to_the_other() {
    let gate = Gate::new();
    let held = gate.clone();
    let slow_then_broken = Upstream::start(move |_| Reply::close().after(&held)).await;
    let gate_of_good = Gate::new();
    let good = slow(&gate_of_good).await;
    let proxy = before(&[&slow_then_broken, &good], "retries = { hedge_after = \"500ms\", attempts = 0 }");
    let asking = tokio::spawn({
        let address = proxy.address;
        async move { crate::support::client::get(address, "/", &[]).await }
    });
    good.arrived(1).await;
    gate.open();
    // The failure of the one that was asked first comes first.
    let reset = format!("server=\"{}\",kind=\"reset\"}} 1\n", slow_then_broken.address());
    let hedge = format!("larder_upstream_hedges_total{{upstream=\"app\",server=\"{}\"}} 1\n", good.address());
    until_metrics(&proxy, &[&reset, &hedge]).await;
    gate_of_good.open();
    let answer = asking.await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "slow"));
}

#[tokio::test]
async fn hedges_are_for_safe_requests_within_the_budget() {
    let gate = Gate::new();
    let (slow, quick) = (slow(&gate).await, named("quick").await);
    let proxy = before(&[&slow, &quick], HEDGED);
    let mut waiting = Vec::new();
    for method in ["POST", "PUT", "DELETE"] {
        // One in two begins at the slow server, and stays there.
        for _ in 0..2 {
            let address = proxy.address;
            let mut client = crate::support::client::Connection::open(address).await;
            client.send(crate::support::client::request(method, "/", &[], "")).await;
            waiting.push((method, client));
        }
        let asked = slow.requests().len() + quick.requests().len();
        slow.arrived((asked / 2).max(1)).await;
    }
    slow.arrived(3).await;
    quick.arrived(3).await;
    // While these wait, others come. Ten hedges are always in the budget.
    let clients = (0..24).map(|number| {
        let address = proxy.address;
        tokio::spawn(async move { crate::support::client::get(address, &format!("/{number}"), &[]).await.text() })
    });
    let clients: Vec<_> = clients.collect();
    slow.arrived(15).await;
    quick.arrived(25).await;
    // Of the twelve at the slow server each has got its hedge or been denied it, the writes long since.
    let hedges = format!("larder_upstream_hedges_total{{upstream=\"app\",server=\"{}\"}} 10\n", quick.address());
    until_metrics(&proxy, &[&hedges, "larder_upstream_retries_denied_total{upstream=\"app\"} 2\n"]).await;
    assert_eq!(quick.requests().len(), 25, "three writes, twelve of its own, and ten for the slow server");
    assert_eq!(slow.requests().len(), 15);
    let writes = |server: &Upstream| server.requests().iter().filter(|request| request.method != "GET").count();
    assert_eq!((writes(&slow), writes(&quick)), (3, 3), "no write was sent twice");
    gate.open();
    for client in clients {
        client.await.unwrap();
    }
}
