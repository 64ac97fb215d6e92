//! Retries on other servers and their budget, ejection, the breaker, maintenance pages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::net::TcpListener;

use super::{before, named};
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

/// Where nobody listens.
async fn nobody() -> String {
    format!("http://{}", TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap())
}

/// A server that does the same to every request.
async fn always(reply: Reply) -> Upstream {
    Upstream::start(move |_| reply.clone()).await
}

#[tokio::test]
async fn request_that_a_server_fails_is_sent_to_another_where_its_method_allows() {
    for (reply, keys) in [
        (Reply::close(), ""),
        (Reply::raw("nonsense\r\n\r\n").then_close(), ""),
        (Reply::status("503 Service Unavailable").body("no"), "retries = { status = [\"503\"] }"),
        (Reply::hang(), "retries = { on = [\"timeout\"] }\nfirst_byte_timeout = \"50ms\""),
    ] {
        let (bad, good) = (always(reply).await, named("good").await);
        let proxy = before(&[&bad, &good], &format!("{keys}\n[upstreams.app.ejection]\nfailures = 0"));
        for (method, body) in [("GET", ""), ("PUT", ""), ("DELETE", ""), ("OPTIONS", ""), ("PUT", "that is held")] {
            for _ in 0..2 {
                assert_eq!(proxy.ask(method, "/", &[], body).await.text(), "good", "{method} {body} {keys}");
            }
        }
        assert!(good.requests()[8..].iter().all(|seen| seen.body.content == b"that is held"));
        let before = (bad.requests().len(), good.requests().len());
        let mut failed = 0;
        for method in ["POST", "PATCH", "POST", "PATCH"] {
            failed += usize::from(proxy.ask(method, "/", &[], "").await.status != 200);
        }
        let streamed = "x".repeat(1 << 20);
        for _ in 0..2 {
            failed += usize::from(proxy.ask("PUT", "/", &[], &streamed).await.status != 200);
        }
        assert_eq!(failed, 3, "one in two, for none is repeated: {keys}");
        assert_eq!((bad.requests().len() - before.0, good.requests().len() - before.1), (3, 3));
        assert!(proxy.metrics_text().await.contains("larder_upstream_retries_total"));
    }
}

#[tokio::test]
async fn route_says_what_may_be_sent_again() {
    let (bad, good) = (always(Reply::close()).await, named("good").await);
    let routes = "[upstreams.app.ejection]\nfailures = 0\n[[routes]]\nmatch = { path = \"/all\" }\nretry = \"all\"\n\
                  [[routes]]\nmatch = { path = \"/never\" }\nretry = \"never\"\n[[routes]]";
    let proxy = before(&[&bad, &good], routes);
    let mut statuses = Vec::new();
    for (method, path) in [("POST", "/all"), ("GET", "/never"), ("GET", "/"), ("POST", "/")] {
        let answers = [proxy.ask(method, path, &[], "").await.status, proxy.ask(method, path, &[], "").await.status];
        statuses.push(answers.iter().filter(|status| **status == 200).count());
    }
    assert_eq!(statuses, [2, 1, 2, 1]);
}

#[tokio::test]
async fn retries_end_with_their_budget() {
    let (bad, good) = (always(Reply::close()).await, named("good").await);
    let proxy = before(&[&bad, &good], "retries = { budget = 0 }\nejection = { failures = 0 }");
    let mut failed = 0;
    for number in 0..40 {
        failed += usize::from(proxy.get(&format!("/{number}"), &[]).await.status != 200);
    }
    assert_eq!(failed, 10, "of twenty that failed, ten were sent again");
    let metrics = proxy.metrics_text().await;
    assert!(metrics.contains("larder_upstream_retries_denied_total{upstream=\"app\"} 10\n"), "{metrics}");
}

#[tokio::test]
async fn server_that_fails_is_ejected_and_comes_back() {
    let broken = Arc::new(AtomicBool::new(true));
    let state = broken.clone();
    let flapping = Upstream::start(move |_| match state.load(Relaxed) {
        true => Reply::status("502 Bad Gateway").body("bad"),
        false => Reply::ok().header("cache-control", "no-store").body("mended"),
    })
    .await;
    let good = named("good").await;
    let proxy = before(&[&flapping, &good], "ejection = { failures = 3, time = \"2s\" }");
    let ask = async || proxy.ask("POST", "/", &[], "").await.text();
    for _ in 0..6 {
        ask().await;
    }
    assert_eq!(flapping.requests().len(), 3);
    for _ in 0..6 {
        assert_eq!(ask().await, "good");
    }
    assert!(proxy.metrics_text().await.contains("larder_upstream_up"));
    broken.store(false, Relaxed);
    let mut texts = Vec::new();
    crate::support::within("the server to come back", async {
        while !texts.contains(&"mended".to_owned()) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            texts.push(ask().await);
        }
    })
    .await;
    assert!(!texts.contains(&"bad".to_owned()));
}

#[tokio::test]
async fn breaker_keeps_requests_from_an_app_in_trouble_and_lets_stale_answers_stand_in() {
    let broken = Arc::new(AtomicBool::new(false));
    let state = broken.clone();
    let upstream = Upstream::start(move |_| match state.load(Relaxed) {
        true => Reply::status("503 Service Unavailable").body("no"),
        false => Reply::ok().header("cache-control", "max-age=10, stale-if-error=600").body("kept"),
    })
    .await;
    let proxy = before(
        &[&upstream],
        "breaker = { enabled = true, min_requests = 5, open = \"1h\" }\nmaintenance = { body = \"back soon\" }",
    );
    assert_eq!(proxy.get("/kept", &[]).await.text(), "kept");
    broken.store(true, Relaxed);
    proxy.advance(20);
    for _ in 0..4 {
        assert_eq!(proxy.ask("POST", "/", &[], "").await.text(), "no");
    }
    let seen = upstream.requests().len();
    let refused = proxy.ask("POST", "/", &[], "").await;
    assert_eq!((refused.status, &*refused.text(), refused.field("retry-after")), (503, "back soon", "30"));
    assert!(refused.field("cache-status").ends_with("detail=breaker-open"), "{}", refused.field("cache-status"));
    assert_eq!(refused.field("cache-control"), "no-store");
    let stale = proxy.get("/kept", &[]).await;
    assert_eq!((stale.status, &*stale.text()), (200, "kept"));
    assert_eq!(upstream.requests().len(), seen, "the app is left alone");
}

#[tokio::test]
async fn maintenance_page_stands_in_when_nothing_can_be_reached() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("page.html");
    std::fs::write(&page, "<h1>Back soon</h1>").unwrap();
    let (one, other) = (nobody().await, nobody().await);
    let proxy = Proxy::configured(&format!(
        "[upstreams.app]\nservers = [\"{one}\", \"{other}\"]\n\
         maintenance = {{ file = \"{}\", retry_after = \"1m\", status = 500 }}\n",
        page.display()
    ));
    for method in ["GET", "POST"] {
        let answer = proxy.ask(method, "/", &[], "").await;
        assert_eq!((answer.status, &*answer.text()), (500, "<h1>Back soon</h1>"), "{method}");
        assert_eq!((answer.field("content-type"), answer.field("retry-after")), ("text/html; charset=utf-8", "60"));
        assert!(answer.field("cache-status").ends_with("detail=connect"));
    }
}
