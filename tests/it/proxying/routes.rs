//! Which route a request takes, and who may bypass the cache.

use super::before;
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

#[tokio::test]
async fn routes_first_match_wins() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let routes = [
        ("host", "host = \"*.shop.test\""),
        ("exact", "path = \"= /exact\""),
        ("prefix", "path = \"/prefix/\""),
        ("glob", "path = \"/a/**/*.html\""),
        ("regex", "path = \"~ ^/v[0-9]+/\""),
        ("method", "method = \"PUT\""),
        ("header", "header = { \"X-Beta\" = \"*\" }"),
        ("query", "query = { \"format\" = \"json\" }"),
        ("cookie", "cookie = [\"session\"]"),
        ("rest", "path = \"/\""),
    ];
    let tables: String = routes
        .iter()
        .map(|(name, condition)| {
            format!("[[routes]]\nname = \"{name}\"\nmatch = {{ {condition} }}\nresponse_headers = {{ set = {{ \"X-Route\" = \"{name}\" }} }}\n")
        })
        .collect();
    let proxy = before(&upstream, &tables);
    for (method, path, fields, route) in [
        ("GET", "/exact", &[("Host", "eu.SHOP.test:81")][..], "host"),
        ("GET", "/exact?x", &[], "exact"),
        ("GET", "/exact/", &[], "rest"),
        ("GET", "/prefix/x", &[], "prefix"),
        ("GET", "/a/b/c.html", &[], "glob"),
        ("GET", "/v12/x", &[], "regex"),
        ("PUT", "/", &[], "method"),
        ("GET", "/", &[("x-beta", "")], "header"),
        ("GET", "/?a&format=json", &[], "query"),
        ("GET", "/?format=jso", &[], "rest"),
        ("GET", "/", &[("Cookie", "a=b; session=1")], "cookie"),
        ("GET", "/", &[("X-Beta", "1"), ("Connection", "X-Beta")], "rest"),
    ] {
        let response = proxy.ask(method, path, fields, "").await;
        assert_eq!(response.field("x-route"), route, "{method} {path} {fields:?}");
    }
}

#[tokio::test]
async fn routes_none_matches_is_404_and_the_connection_stays() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let proxy = before(&upstream, "[[routes]]\nmatch = { host = \"app.test\" }");
    let mut client = crate::support::client::Connection::open(proxy.address).await;
    let other = client.get("/", &[("Host", "other.test")]).await;
    assert_eq!((other.status, other.field("cache-status")), (404, "larder; detail=no-route"));
    assert_eq!(client.get("/", &[]).await.status, 200);
    assert_eq!(upstream.requests().len(), 1);
}

async fn kept() -> Upstream {
    Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("x")).await
}

#[tokio::test]
async fn bypass_field_is_for_trusted_clients_only() {
    let upstream = kept().await;
    let debug = "[debug]\nbypass_header = \"X-Larder-Bypass\"\n";
    let trusting = before(&upstream, debug);
    let distrusting = before(&upstream, &format!("{debug}[server]\ntrusted_clients = [\"192.0.2.1\"]"));
    let field = [("X-Larder-Bypass", "1")];
    for (proxy, hits) in [(trusting, false), (distrusting, true)] {
        proxy.get("/", &[]).await;
        let response = proxy.get("/", &field).await;
        assert_eq!(response.is_hit(), hits, "{}", response.field("cache-status"));
    }
}

#[tokio::test]
async fn bypass_field_behind_a_trusted_proxy_is_judged_by_the_client() {
    let upstream = kept().await;
    let proxy = before(
        &upstream,
        "[debug]\nbypass_header = \"X-Larder-Bypass\"\n[server]\ntrusted_proxies = [\"127.0.0.1\"]\ntrusted_clients = [\"192.0.2.1\"]",
    );
    proxy.get("/", &[]).await;
    for (client, hits) in [("192.0.2.1", false), ("192.0.2.2", true), ("192.0.2.1, 192.0.2.2", true)] {
        let response = proxy.get("/", &[("X-Larder-Bypass", "1"), ("X-Forwarded-For", client)]).await;
        assert_eq!(response.is_hit(), hits, "{client}: {}", response.field("cache-status"));
    }
}

#[tokio::test]
async fn bypass_for_all_turns_the_cache_off() {
    let upstream = kept().await;
    let proxy: Proxy = before(&upstream, "[debug]\nbypass_all = true");
    for _ in 0..2 {
        let response = proxy.get("/", &[]).await;
        assert!(response.field("cache-status").starts_with("larder; fwd=bypass"), "{}", response.field("cache-status"));
    }
    assert_eq!(upstream.requests().len(), 2);
}
