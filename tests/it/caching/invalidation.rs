//! RFC 9111 §4.4: what a request with an unsafe method invalidates.

use super::ok;
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;

stories![
    invalidation_of_the_target_by_method_and_status,
    invalidation_of_what_the_answer_names,
    invalidation_of_nothing_when_the_request_failed,
    invalidation_takes_all_variants_and_all_keys_of_the_url,
    invalidation_reaches_fetches_under_way_collapsed_or_alone,
];

/// An upstream that answers GET with what may be stored, and all other methods with `reply`.
async fn answering(reply: Reply) -> (Upstream, Proxy) {
    let upstream =
        Upstream::start(move |request| if request.method == "GET" { ok("max-age=60", "x") } else { reply.clone() })
            .await;
    let proxy = Proxy::before(&upstream);
    (upstream, proxy)
}

async fn invalidation_of_the_target_by_method_and_status() {
    for (method, status, gone) in [
        ("POST", "200 OK", true),
        ("POST", "201 Created", true),
        ("POST", "303 See Other", true),
        ("PUT", "204 No Content", true),
        ("DELETE", "200 OK", true),
        ("PATCH", "200 OK", true),
        ("M-SEARCH", "200 OK", true),
        ("POST", "400 Bad Request", false),
        ("POST", "404 Not Found", false),
        ("POST", "500 E", false),
        ("OPTIONS", "200 OK", false),
        ("PROPFIND", "207 M", false),
        ("HEAD", "404 Not Found", false),
    ] {
        let (_upstream, proxy) = answering(Reply::status(status)).await;
        proxy.get("/page?a=1", &[]).await;
        proxy.get("/page", &[]).await;
        proxy.ask(method, "/page?a=1", &[], "").await;
        assert_eq!(proxy.get("/page?a=1", &[]).await.is_hit(), !gone, "{method} {status}");
        assert!(proxy.get("/page", &[]).await.is_hit(), "{method} {status}: another URL");
    }
}

async fn invalidation_of_what_the_answer_names() {
    for (field, value, gone) in [
        ("location", "/other", true),
        ("content-location", "/other", true),
        ("location", "other", true),
        ("location", "../dir/../other", true),
        ("location", "http://app.test/other", true),
        ("location", "HTTP://APP.TEST:80/other#part", true),
        ("content-location", "//app.test/other", true),
        // Nobody invalidates for others.
        ("location", "http://elsewhere.test/other", false),
        ("content-location", "https://app.test/other", false),
        ("location", "http://app.test:8080/other", false),
    ] {
        let (_upstream, proxy) = answering(Reply::status("201 Created").header(field, value)).await;
        for host in ["app.test", "elsewhere.test", "app.test:8080"] {
            proxy.get("/other", &[("host", host)]).await;
        }
        proxy.ask("POST", "/page", &[], "").await;
        assert_eq!(proxy.get("/other", &[]).await.is_hit(), !gone, "{field}: {value}");
        for host in ["elsewhere.test", "app.test:8080"] {
            assert!(proxy.get("/other", &[("host", host)]).await.is_hit(), "{field}: {value} at {host}");
        }
    }
}

async fn invalidation_of_nothing_when_the_request_failed() {
    let (_upstream, proxy) = answering(Reply::close()).await;
    proxy.get("/page", &[]).await;
    assert_eq!(proxy.ask("POST", "/page", &[], "").await.status, 502);
    assert!(proxy.get("/page", &[]).await.is_hit());
}

async fn invalidation_takes_all_variants_and_all_keys_of_the_url() {
    let upstream = Upstream::start(|request| match &*request.method {
        "GET" => ok("max-age=60", "x").header("vary", "Foo"),
        _ => Reply::ok(),
    })
    .await;
    let proxy = Proxy::with_rules(&upstream, "[cache.rules.key]\nheaders = [\"X-Device\"]");
    let all = [[("foo", "1"), ("x-device", "a")], [("foo", "2"), ("x-device", "a")], [("foo", "1"), ("x-device", "b")]];
    for fields in &all {
        proxy.get("/page", fields).await;
        assert!(proxy.get("/page", fields).await.is_hit());
    }
    proxy.ask("DELETE", "/page", &[], "").await;
    for fields in &all {
        assert!(!proxy.get("/page", fields).await.is_hit(), "{fields:?}");
    }
}

async fn invalidation_reaches_fetches_under_way_collapsed_or_alone() {
    // A cookie makes the second fetch one that nobody may join.
    for fields in [&[][..], &[("cookie", "a=b")]] {
        let gate = Gate::new();
        let opener = gate.clone();
        let upstream = Upstream::start(move |request| match &*request.method {
            "GET" => ok("public, max-age=60", "before").after(&opener),
            _ => Reply::ok(),
        })
        .await;
        let proxy = Proxy::before(&upstream);
        let changing = async {
            upstream.arrived(1).await;
            proxy.ask("POST", "/page", &[], "").await;
            gate.open();
        };
        let (before, ()) = tokio::join!(proxy.get("/page", fields), changing);
        assert_eq!(before.text(), "before");
        assert!(!proxy.get("/page", fields).await.is_hit(), "{fields:?}: what was asked before the change is not kept");
    }
}
