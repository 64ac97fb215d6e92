//! Health checks: who is asked, and what their answers do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::before;
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::within;

/// A server whose checks come out well as long as it says so.
async fn checked(name: &'static str) -> (Upstream, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(true));
    let state = well.clone();
    let upstream = Upstream::start(move |request| match (request.path(), state.load(Relaxed)) {
        ("/healthz", true) => Reply::ok().body("all is well"),
        ("/healthz", false) => Reply::ok().body("all is lost"),
        _ => Reply::ok().header("cache-control", "no-store").body(name),
    })
    .await;
    (upstream, well)
}

async fn until_metric(proxy: &Proxy, line: &str) {
    within(line, async {
        while !proxy.metrics_text().await.contains(line) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

const KEYS: &str = "health = { path = \"/healthz\", body = \"~ well$\", host = \"check.test\", interval = \"10ms\" }";

#[tokio::test]
async fn server_whose_checks_fail_gets_no_requests_until_they_succeed() {
    let ((a, a_well), (b, _)) = (checked("a").await, checked("b").await);
    let proxy = before(&[&a, &b], KEYS);
    let up = |value: u8| format!("larder_upstream_up{{upstream=\"app\",server=\"{}\"}} {value}\n", a.address());
    a_well.store(false, Relaxed);
    until_metric(&proxy, &up(0)).await;
    let before = a.count("/");
    for _ in 0..4 {
        assert_eq!(proxy.ask("POST", "/", &[], "").await.text(), "b");
    }
    assert_eq!(a.count("/"), before);
    a_well.store(true, Relaxed);
    until_metric(&proxy, &up(1)).await;
    let texts = proxy.ask("POST", "/", &[], "").await.text() + &proxy.ask("POST", "/", &[], "").await.text();
    assert!(texts.contains('a'), "{texts}");
    let check = a.requests().into_iter().find(|request| request.path() == "/healthz").unwrap();
    assert_eq!(
        (check.fields.get("host"), check.fields.get("user-agent")),
        (Some("check.test"), Some("larder-health-check"))
    );
}

#[tokio::test]
async fn all_down_is_panic_or_503_as_configured() {
    for (panic, status) in [(true, 200), (false, 503)] {
        let (a, well) = checked("a").await;
        well.store(false, Relaxed);
        let proxy = before(&[&a], &format!("panic = {panic}\n{KEYS}"));
        until_metric(&proxy, &format!("larder_upstream_up{{upstream=\"app\",server=\"{}\"}} 0\n", a.address())).await;
        let answer = proxy.ask("POST", "/", &[], "").await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.field("cache-status").ends_with("detail=no-server"), !panic);
    }
}

#[tokio::test]
async fn pool_that_checks_goes_when_another_takes_its_place() {
    let (a, _) = checked("a").await;
    let proxy = before(&[&a], KEYS);
    a.arrived(3).await;
    let former = Arc::downgrade(&proxy.app.proxy.site().routes[0].pool);
    let mut settings = (*proxy.app.proxy.site().settings).clone();
    let mut upstream = (*settings.upstreams[0]).clone();
    upstream.health.path = None;
    settings.upstreams = vec![Arc::new(upstream)];
    let site = proxy.app.proxy.prepare(Arc::new(settings)).unwrap();
    proxy.app.proxy.adopt(site);
    within("the former pool to go", async {
        while former.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
