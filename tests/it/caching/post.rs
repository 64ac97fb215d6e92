//! RFC 9110 §9.3.3: answers to POST that serve later GETs and HEADs.

use super::{Fields, ok};
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;

stories![
    post_serves_later_gets_and_heads_but_no_posts,
    post_that_says_otherwise_is_not_stored_and_invalidates_all_the_same,
    post_that_was_overtaken_by_another_change_is_not_stored,
];

fn answer(cache_control: &str) -> Reply {
    ok(cache_control, "posted").header("content-location", "/form").header("etag", "\"p\"")
}

async fn post_serves_later_gets_and_heads_but_no_posts() {
    let upstream = Upstream::start(|request| match &*request.method {
        "POST" => answer("max-age=60"),
        _ => ok("max-age=60", "got"),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    for asked in 1..3 {
        let post = proxy.ask("POST", "/form", &[], "a=b").await;
        assert_eq!((post.status, post.text().as_str(), post.fields.get("age")), (200, "posted", None));
        assert_eq!(post.field("cache-status"), "larder; fwd=method; ttl=60; stored");
        assert_eq!(upstream.requests().len(), asked, "a POST is always forwarded");
    }
    assert_eq!(upstream.requests()[0].body.content, b"a=b");
    proxy.advance(10);
    let get = proxy.get("/form", &[]).await;
    assert_eq!((get.is_hit(), get.text().as_str(), get.field("age")), (true, "posted", "10"));
    let head = proxy.ask("HEAD", "/form", &[], "").await;
    assert_eq!((head.is_hit(), head.field("content-length")), (true, "6"));
    assert_eq!(proxy.get("/form", &[("if-none-match", "\"p\"")]).await.status, 304);
    assert_eq!(proxy.get("/form", &[("range", "bytes=0-1")]).await.text(), "po");
    assert_eq!(upstream.requests().len(), 2);
    // It takes the place of what was stored before, as any answer to POST would remove it.
    proxy.advance(60);
    assert_eq!(proxy.get("/form", &[]).await.text(), "got");
    proxy.ask("POST", "/form", &[], "").await;
    assert_eq!(proxy.get("/form", &[]).await.text(), "posted");
}

async fn post_that_says_otherwise_is_not_stored_and_invalidates_all_the_same() {
    const COOKIE: Fields = &[("cookie", "session=1")];
    const KEY: Fields = &[("authorization", "Basic YTpi")];
    const NO_STORE: Fields = &[("cache-control", "no-store")];
    for (reply, fields, said) in [
        (answer("max-age=60").header("content-location", "/form"), &[][..], "larder; fwd=method; detail=method"),
        (ok("max-age=60", "posted"), &[], ""),
        (ok("max-age=60", "posted").header("content-location", "/other"), &[], ""),
        (ok("max-age=60", "posted").header("content-location", "http://other.test/form"), &[], ""),
        (answer("public"), &[], ""),
        (answer("max-age=60, no-store"), &[], "larder; fwd=method"),
        (answer("max-age=60, private"), &[], "larder; fwd=method"),
        (answer("max-age=60").header("set-cookie", "a=b"), &[], "larder; fwd=method"),
        (answer("max-age=60").header("vary", "*"), &[], "larder; fwd=method"),
        (answer("max-age=60"), COOKIE, "larder; fwd=method"),
        (answer("max-age=60"), KEY, "larder; fwd=method"),
        (answer("max-age=60"), NO_STORE, "larder; fwd=method"),
    ] {
        let text = format!("{reply:?} {fields:?}");
        let upstream = Upstream::start(move |request| match &*request.method {
            "POST" => reply.clone(),
            _ => ok("max-age=60", "got"),
        })
        .await;
        let proxy = Proxy::before(&upstream);
        proxy.get("/form", &[]).await;
        let post = proxy.ask("POST", "/form", fields, "a=b").await;
        assert_eq!(post.text(), "posted", "{text}");
        assert!(post.field("cache-status").starts_with(said.trim_end_matches("; detail=method")), "{text}");
        let get = proxy.get("/form", &[]).await;
        assert_eq!((get.is_hit(), get.text().as_str()), (false, "got"), "{text}");
    }
    // Shared on purpose.
    let upstream = Upstream::start(|_| answer("max-age=60, public").header("vary", "Foo")).await;
    let proxy = Proxy::before(&upstream);
    proxy.ask("POST", "/form", &[("foo", "1"), COOKIE[0]], "").await;
    assert!(proxy.get("/form", &[("foo", "1")]).await.is_hit());
    assert!(!proxy.get("/form", &[("foo", "2")]).await.is_hit());
}

async fn post_that_was_overtaken_by_another_change_is_not_stored() {
    let gate = Gate::new();
    let opener = gate.clone();
    let upstream = Upstream::start(move |request| match &*request.method {
        "POST" => answer("max-age=60").after(&opener),
        _ => ok("max-age=60", "got"),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    let changing = async {
        upstream.arrived(1).await;
        proxy.ask("DELETE", "/form", &[], "").await;
        gate.open();
    };
    let (post, ()) = tokio::join!(proxy.ask("POST", "/form", &[], ""), changing);
    assert_eq!(post.text(), "posted");
    assert_eq!(proxy.get("/form", &[]).await.text(), "got");
}
