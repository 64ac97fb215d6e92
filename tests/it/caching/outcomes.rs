//! RFC 9211: Cache-Status of every outcome, after what caches before larder said.

use super::{ok, table};
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

stories![outcomes_are_appended_to_those_of_other_caches, outcomes_of_what_never_was_the_caches_business,];

async fn outcomes_are_appended_to_those_of_other_caches() {
    let reply = ok("max-age=60", "x").header("cache-status", "origin; hit; ttl=9");
    let (_upstream, proxy) = table("", vec![reply]).await;
    for ours in ["larder; fwd=uri-miss; ttl=60; stored", "larder; hit; ttl=60"] {
        let response = proxy.get("/0", &[]).await;
        assert_eq!(response.fields.all("cache-status").collect::<Vec<_>>(), ["origin; hit; ttl=9", ours]);
    }
}

async fn outcomes_of_what_never_was_the_caches_business() {
    let upstream = Upstream::start(|request| match request.path() {
        "/closed" => Reply::close(),
        _ => ok("max-age=60", "x"),
    })
    .await;
    let proxy = Proxy::configured(&format!(
        "[debug]\nbypass_header = \"X-Bypass\"\n[upstreams.app]\nservers = [\"{}\"]\n",
        upstream.url()
    ));
    for (method, path, field, status) in [
        ("POST", "/page", ("x", "y"), "larder; fwd=method; detail=method"),
        ("GET", "/page", ("x-bypass", "1"), "larder; fwd=bypass; detail=debug"),
        ("GET", "/closed", ("x", "y"), "larder; fwd=uri-miss; detail="),
    ] {
        let response = proxy.ask(method, path, &[field], "").await;
        let said = response.field("cache-status");
        assert!(said.starts_with(status.trim_end_matches("; detail=method")), "{method} {path}: {said}");
    }
}

#[tokio::test]
async fn outcomes_of_what_is_refused() {
    let upstream = Upstream::start(|_| Reply::ok()).await;
    let refused = Proxy::before(&upstream).ask("CONNECT", "/page", &[], "").await;
    assert!(refused.field("cache-status").starts_with("larder; detail="), "{:?}", refused.fields);
}
