//! RFC 9211: Cache-Status of every outcome, after what caches before larder said.

use super::{ok, table};
use crate::support::http2;
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

#[tokio::test]
async fn outcomes_are_appended_to_those_of_other_caches() {
    let reply = ok("max-age=60", "x").header("cache-status", "origin; hit; ttl=9");
    let (_upstream, proxy) = table("", vec![reply]).await;
    for ours in ["larder; fwd=uri-miss; ttl=60; stored", "larder; hit; ttl=60"] {
        let response = proxy.get("/0", &[]).await;
        assert_eq!(response.fields.all("cache-status").collect::<Vec<_>>(), ["origin; hit; ttl=9", ours]);
    }
}

#[tokio::test]
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
        ("CONNECT", "/page", ("x", "y"), "larder; detail="),
    ] {
        let response = proxy.ask(method, path, &[field], "").await;
        let said = response.field("cache-status");
        assert!(said.starts_with(status.trim_end_matches("; detail=method")), "{method} {path}: {said}");
    }
}

#[tokio::test]
async fn outcomes_are_the_same_over_http2() {
    let (_upstream, proxy) = table("", vec![ok("max-age=60", "x"), ok("private", "x")]).await;
    let connection = http2::Connection::open(proxy.address).await;
    for (path, status) in [
        ("/0", "larder; fwd=uri-miss; ttl=60; stored"),
        ("/0", "larder; hit; ttl=60"),
        ("/1", "larder; fwd=uri-miss; detail=private"),
        ("/1", "larder; fwd=uri-miss; detail=private"),
    ] {
        let response = connection.ask(connection.get(path).body(Default::default()).unwrap()).await.unwrap();
        assert_eq!(response.headers()["cache-status"], status, "{path}");
    }
}
