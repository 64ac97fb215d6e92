//! When a response counts as stored.

use larder::cache::purge::PurgeTarget;
use larder::telemetry::figures::Snapshot;

use crate::support::client;
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;
use crate::support::within;

stories![filling_that_ends_otherwise_is_counted];
stories![(flavor = "multi_thread", worker_threads = 2); filling_ends_before_the_client_has_the_whole_response];

fn page(chunked: bool) -> Reply {
    let reply = Reply::ok().header("cache-control", "max-age=60");
    if chunked { reply.piece("half ").piece("and half") } else { reply.body("half and half") }
}

async fn filling_ends_before_the_client_has_the_whole_response() {
    let upstream = Upstream::start(|request| page(request.path().starts_with("/chunked"))).await;
    let proxy = Proxy::before(&upstream);
    let mut connection = proxy.clients.connect().await;
    for number in 0..200 {
        for kind in ["whole", "chunked"] {
            let path = format!("/{kind}/{number}");
            assert_eq!(connection.get(&path, &[]).await.text(), "half and half");
            let again = connection.get(&path, &[]).await;
            assert!(again.is_hit(), "{path}: {:?}", again.fields);
        }
    }
}

async fn filling_that_ends_otherwise_is_counted() {
    let gate = Gate::new();
    let opened = gate.clone();
    let upstream = Upstream::start(move |request| match request.path() {
        "/cut" => Reply::ok().header("cache-control", "max-age=60").piece("half").cut(),
        "/purged" => Reply::ok().header("cache-control", "max-age=60").piece("half").gate(&opened).piece("half"),
        _ => Reply::ok().header("cache-control", "max-age=60").piece("x".repeat(9000)),
    })
    .await;
    let proxy = Proxy::with_rules(&upstream, "max_object = \"4KiB\"");
    let metrics = || proxy.app.proxy.telemetry.metrics.render(&Snapshot::default());
    let counted = async |reason: &str| {
        let label = format!("reason=\"{reason}\"");
        within(reason, async {
            while !metrics().lines().any(|line| line.contains("decision=\"no-store\"") && line.contains(&label)) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    let _ = proxy.get("/large", &[]).await;
    counted("too-large").await;
    assert!(!proxy.get("/cut", &[]).await.body.whole);
    counted("incomplete").await;

    let mut exchange = proxy.clients.begin("/purged", &[]).await;
    upstream.arrived(3).await;
    assert_eq!(client::status(&exchange.head().await), 200);
    proxy.purge(PurgeTarget::All);
    gate.open();
    counted("purged").await;
    assert!(!proxy.get("/purged", &[]).await.is_hit());
}
