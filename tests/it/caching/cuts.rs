//! What counts as a response that was cut, and what does not.

use larder::telemetry::figures::Snapshot;

use super::parts::file_server;
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;
use crate::support::within;

stories![
    cuts_are_no_parts_that_went_out_whole,
    cuts_are_no_answers_that_went_out_whole_before_their_fill_ended,
    cuts_are_responses_whose_upstream_breaks_off,
];

async fn cuts_are_no_parts_that_went_out_whole() {
    let (_upstream, proxy) = file_server().await;
    // Stored, a hit, cut from it, and completed.
    let ranges = ["bytes=5-9", "bytes=5-9", "bytes=6-7", "bytes=8-12", "bytes=5-6, 9-10"];
    for range in ranges {
        assert_eq!(proxy.get("/film", &[("range", range)]).await.status, 206);
    }
    assert_eq!(cuts_of(&proxy, ranges.len() as u64).await, 0);
}

async fn cuts_are_no_answers_that_went_out_whole_before_their_fill_ended() {
    let gate = Gate::new();
    let opener = gate.clone();
    let upstream = Upstream::start(move |request| {
        let reply = Reply::ok().header("cache-control", "max-age=60").header("content-length", "60000");
        let reply = reply.piece("x".repeat(30_000));
        // What is too large to be kept is only passed on: its readers see no end but its length.
        if request.path() == "/large" {
            reply.piece("y".repeat(30_000))
        } else {
            reply.gate(&opener).piece("y".repeat(30_000))
        }
    })
    .await;
    let proxy = Proxy::with_rules(&upstream, "max_object = \"50kB\"");
    let mut connection = proxy.clients.connect().await;
    assert_eq!(connection.get("/large", &[]).await.body.content.len(), 60_000);
    let proxy_of_parts = Proxy::before(&upstream);
    assert_eq!(proxy_of_parts.get("/film", &[("range", "bytes=0-9")]).await.text(), "xxxxxxxxxx");
    assert_eq!(cuts_of(&proxy, 1).await, 0);
    assert_eq!(cuts_of(&proxy_of_parts, 1).await, 0);
    gate.open();
}

async fn cuts_are_responses_whose_upstream_breaks_off() {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").piece("half").cut()).await;
    let proxy = Proxy::before(&upstream);
    assert!(!proxy.get("/page", &[]).await.body.whole);
    assert_eq!(cuts_of(&proxy, 1).await, 1);
}

/// Responses that count as cut, once so many are recorded, which is a moment after their last byte.
async fn cuts_of(proxy: &Proxy, recorded: u64) -> u64 {
    let sum = |name: &str| -> u64 {
        let of_name = |line: &str| line.strip_prefix(name)?.split_once("} ")?.1.parse::<u64>().ok();
        proxy.app.proxy.telemetry.metrics.render(&Snapshot::default()).lines().filter_map(of_name).sum()
    };
    within("the records", async {
        while sum("larder_requests_total{") < recorded {
            tokio::task::yield_now().await;
        }
    })
    .await;
    sum("larder_cut_responses_total{")
}
