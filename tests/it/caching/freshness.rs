//! RFC 9111 §4.2: what is fresh is served, what is stale is not.

use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

#[tokio::test]
async fn freshness_ends_with_max_age() {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("x")).await;
    let proxy = Proxy::before(&upstream);

    let first = proxy.get("/page", &[]).await;
    assert_eq!(first.field("cache-status"), "larder; fwd=uri-miss; ttl=60; stored");
    proxy.advance(59);
    let second = proxy.get("/page", &[]).await;
    assert_eq!((second.text().as_str(), second.field("age")), ("x", "59"));
    assert_eq!(second.field("cache-status"), "larder; hit; ttl=1");
    proxy.advance(1);
    assert!(!proxy.get("/page", &[]).await.is_hit());
    assert_eq!(upstream.count("/page"), 2);
}

#[tokio::test]
async fn freshness_of_set_cookie_is_nobody_elses() {
    let upstream =
        Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").header("set-cookie", "a=b").body("x"))
            .await;
    let proxy = Proxy::before(&upstream);
    for _ in 0..2 {
        let response = proxy.get("/page", &[]).await;
        assert!(response.field("cache-status").ends_with("detail=set-cookie"), "{:?}", response.fields);
        assert_eq!(response.field("set-cookie"), "a=b");
    }
    assert_eq!(upstream.count("/page"), 2);
}
