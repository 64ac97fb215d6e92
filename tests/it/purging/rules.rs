//! Rules by which what an app is told makes what is stored outdated: `[[routes.invalidate]]`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{numbered, tag, tagged};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::{Recorded, Upstream};
use crate::support::within;

stories![
    write_that_succeeds_purges_what_the_rule_names_before_it_is_answered,
    host_of_a_rule_is_that_of_the_stored_urls_whatever_its_port,
    request_that_is_safe_or_fails_purges_nothing,
    soft_rule_lets_stale_pages_stand_in_while_they_are_fetched_anew,
    page_that_was_asked_for_before_a_write_is_not_stored_after_it,
    many_writes_leave_nothing_behind_to_look_at,
];

/// A proxy with this as its only route, beside what goes elsewhere.
fn proxy(upstream: &Upstream, route: &str) -> Proxy {
    let text = format!(
        "[upstreams.app]\nservers = [\"{}\"]\n[[routes]]\nname = \"written\"\n{route}\n[[routes]]\n",
        upstream.url()
    );
    Proxy::configured(&text)
}

fn tags_by_path(request: &Recorded) -> Vec<(&'static str, &'static str)> {
    match request.path() {
        "/reports/7" => vec![("xkey", "reports report-7")],
        "/reports/8" => vec![("xkey", "reports report-8")],
        "/start" => vec![("xkey", "reports")],
        _ => vec![],
    }
}

const PAGES: [&str; 4] = ["/reports/7", "/reports/8", "/start", "/other"];

/// Which of the pages are hits; all are stored afterwards.
async fn hits(proxy: &Proxy) -> [bool; 4] {
    let mut hits = [false; 4];
    for (path, hit) in PAGES.iter().zip(&mut hits) {
        *hit = proxy.get(path, &[]).await.is_hit();
    }
    hits
}

async fn write_that_succeeds_purges_what_the_rule_names_before_it_is_answered() {
    for (rule, gone) in [
        (r#"tag = "reports""#, [false, false, false, true]),
        (r#"tag = "report-{id}""#, [false, true, true, true]),
        (r#"prefix = "/reports/""#, [false, false, true, true]),
        (r#"prefix = "{host}{path}""#, [false, true, true, true]),
        (r#"prefix = "elsewhere.test/reports/""#, [false, true, true, true]),
        (r#"glob = ["/st*", "/reports/{8,9}"]"#, [false, false, false, true]),
        (r#"regex = "/(other|start)$""#, [false, true, false, false]),
        (r#"tag = ["report-8", "none"], prefix = "/oth""#, [false, false, true, false]),
    ] {
        let upstream = tagged(tags_by_path).await;
        let route = format!("match = {{ path = \"~ ^/reports/(?<id>[0-9]+)$\" }}\ninvalidate = [{{ {rule} }}]");
        let proxy = proxy(&upstream, &route);
        hits(&proxy).await;
        assert_eq!(hits(&proxy).await, [true; 4]);
        for _ in 0..3 {
            // Its own URL goes by RFC 9111 §4.4.
            assert_eq!(proxy.ask("POST", "/reports/7", &[], "x").await.status, 200);
            assert_eq!(hits(&proxy).await, gone, "{rule}");
        }
        assert_eq!(proxy.ask("POST", "/reports", &[], "x").await.status, 200, "another route");
        assert_eq!(hits(&proxy).await, [true; 4], "{rule}");
        let metrics = proxy.metrics_text().await;
        assert!(metrics.contains("larder_purges_total{reason=\"rule\"} 3\n"), "{rule}");
        assert!(metrics.contains("larder_purges_total{reason=\"unsafe-request\"} 4\n"), "{rule}");
    }
}

async fn host_of_a_rule_is_that_of_the_stored_urls_whatever_its_port() {
    for host in ["shop.test", "shop.test:8080", "127.0.0.1:20476", "[::1]:8080", "SHOP.test:80"] {
        let upstream = tagged(|_| vec![("xkey", "shop.test")]).await;
        let proxy = proxy(&upstream, "match = { path = \"/form\" }\ninvalidate = [{ prefix = \"{host}/board/\" }]");
        for hit in [false, true] {
            assert_eq!(proxy.get("/board/x", &[("host", host)]).await.is_hit(), hit, "{host}");
        }
        assert_eq!(proxy.ask("POST", "/form", &[("host", host)], "x").await.status, 200);
        assert!(!proxy.get("/board/x", &[("host", host)]).await.is_hit(), "{host}");
    }
}

async fn request_that_is_safe_or_fails_purges_nothing() {
    let upstream = Upstream::start(|request| match (request.method.as_str(), request.fields.get("x-status")) {
        ("GET", _) => Reply::ok().header("cache-control", "max-age=60").header("xkey", "reports").body("x"),
        (_, Some(status)) => Reply::status(match status {
            "404" => "404 Not Found",
            "500" => "500 Internal Server Error",
            _ => "303 See Other",
        }),
        _ => Reply::ok(),
    })
    .await;
    let proxy = proxy(&upstream, "invalidate = [{ tag = \"reports\" }]\nmatch = { path = \"/\" }");
    proxy.get("/page", &[]).await;
    for (method, status, hit) in [
        ("POST", "404", true),
        ("PUT", "500", true),
        ("OPTIONS", "200", true),
        ("PROPFIND", "303", true),
        ("POST", "303", false),
        ("DELETE", "200", false),
    ] {
        let fields = [("x-status", status)];
        let answer = proxy.ask(method, "/elsewhere", if status == "200" { &[] } else { &fields }, "").await;
        assert_eq!(answer.status.to_string(), status, "{method}: {answer:?}");
        assert_eq!(proxy.get("/page", &[]).await.is_hit(), hit, "{method} {status}");
    }
}

async fn soft_rule_lets_stale_pages_stand_in_while_they_are_fetched_anew() {
    let (gate, asked) = (Gate::new(), AtomicUsize::new(0));
    let opener = gate.clone();
    let upstream = Upstream::start(move |request| {
        if request.method == "POST" {
            return Reply::ok();
        }
        let reply = numbered(&asked).header("xkey", "t").header("cache-control", "stale-while-revalidate=30");
        if asked.load(Ordering::SeqCst) > 1 { reply.after(&opener) } else { reply }
    })
    .await;
    let proxy = proxy(&upstream, "invalidate = [{ tag = \"t\", soft = true }]\nmatch = { path = \"/\" }");
    proxy.get("/page", &[]).await;
    proxy.ask("POST", "/form", &[], "x").await;
    let stale = proxy.get("/page", &[]).await;
    assert_eq!(
        (stale.text().as_str(), stale.field("cache-status")),
        ("1", "larder; hit; ttl=0; detail=stale-while-revalidate")
    );
    gate.open();
    within("the new one", async { while proxy.get("/page", &[]).await.text() != "2" {} }).await;
}

async fn page_that_was_asked_for_before_a_write_is_not_stored_after_it() {
    for rule in ["tag = \"t\"", "prefix = \"/pa\""] {
        let (gate, asked) = (Gate::new(), AtomicUsize::new(0));
        let opener = gate.clone();
        let upstream = Upstream::start(move |request| {
            if request.method == "POST" {
                return Reply::ok();
            }
            let reply = numbered(&asked).header("xkey", "t");
            if asked.load(Ordering::SeqCst) == 1 { reply.after(&opener) } else { reply }
        })
        .await;
        let proxy = Arc::new(proxy(&upstream, &format!("invalidate = [{{ {rule} }}]\nmatch = {{ path = \"/\" }}")));
        let early = tokio::spawn({
            let proxy = proxy.clone();
            async move { proxy.get("/page", &[]).await }
        });
        upstream.arrived(1).await;
        proxy.ask("POST", "/form", &[], "x").await;
        let late = within("an answer of its own", proxy.get("/page", &[])).await;
        assert_eq!(late.text(), "2", "{rule}");
        gate.open();
        assert_eq!(early.await.unwrap().text(), "1", "{rule}");
        assert_eq!(proxy.get("/page", &[]).await.text(), "2", "{rule}");
    }
}

async fn many_writes_leave_nothing_behind_to_look_at() {
    let upstream = tagged(tags_by_path).await;
    let proxy = Arc::new(proxy(
        &upstream,
        "invalidate = [{ prefix = \"/reports/\", tag = \"{path}\" }]\nmatch = { path = \"/\" }",
    ));
    hits(&proxy).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let proxy = proxy.clone();
        writers.spawn(async move {
            for number in 0..20 {
                proxy.ask("POST", &format!("/write/{writer}/{}", number % 3), &[], "x").await;
                assert!(!proxy.get(&format!("/reports/{writer}-{number}"), &[]).await.is_hit());
            }
        });
    }
    within("the writers", writers.join_all()).await;
    assert_eq!(hits(&proxy).await, [false, false, true, true]);
    let log = proxy.app.proxy.cache.log.clone();
    within("all to be carried out", async {
        while log.retained() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(hits(&proxy).await, [true; 4]);
    assert_eq!(proxy.purge(tag("reports")), 3, "purges by hand go on as ever");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_on_one_node_purges_on_the_others() {
    let (upstream, redis) = (tagged(tags_by_path).await, Redis::start().await);
    let node = || {
        let (app, redis) = (upstream.url(), redis.url());
        Proxy::configured(&format!(
            "[upstreams.app]\nservers = [\"{app}\"]\n[cache.redis]\npurge_url = \"{redis}\"\n\
             [[routes]]\nmatch = {{ path = \"/forms/\" }}\ninvalidate = [{{ tag = \"reports\" }}]\n[[routes]]\n"
        ))
    };
    let nodes = [node(), node()];
    for node in &nodes {
        within("purges to be followed", async {
            while !node.metrics_text().await.contains("larder_purge_link_up 1") {
                tokio::task::yield_now().await;
            }
        })
        .await;
        hits(node).await;
        assert_eq!(hits(node).await, [true; 4]);
    }
    nodes[0].ask("POST", "/forms/1", &[], "x").await;
    assert_eq!(hits(&nodes[0]).await, [false, false, false, true], "at once");
    within("the other node", async { while nodes[1].get("/start", &[]).await.is_hit() {} }).await;
    assert!(!nodes[1].get("/reports/8", &[]).await.is_hit() && nodes[1].get("/other", &[]).await.is_hit());
    assert!(nodes[1].metrics_text().await.contains("larder_purges_total{reason=\"node\"}"));
}
