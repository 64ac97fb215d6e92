//! What a visitor with a cookie causes behind the scenes must not change what others get.

use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

stories![personal_refresh_in_the_background_stays_personal, personal_head_leaves_the_shared_response_alone,];

const ANNA: &[(&str, &str)] = &[("cookie", "session=anna")];

async fn personal_refresh_in_the_background_stays_personal() {
    // The page is public for everybody at first; later, whoever has a session gets a page of their own.
    let upstream = Upstream::start(|request| match request.fields.get("cookie") {
        Some(session) => Reply::ok().header("cache-control", "max-age=60").body(session),
        None => Reply::ok().header("cache-control", "public, max-age=10, stale-while-revalidate=60").body("everybody"),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[]).await;
    proxy.advance(11);

    assert_eq!(proxy.get("/page", ANNA).await.text(), "everybody", "stale, while it is revalidated");
    upstream.arrived(2).await;
    for _ in 0..10 {
        assert_ne!(proxy.get("/page", &[]).await.text(), "session=anna");
    }
}

async fn personal_head_leaves_the_shared_response_alone() {
    let upstream = Upstream::start(|request| match request.fields.get("cookie") {
        Some(_) => Reply::ok().header("cache-control", "max-age=60").header("etag", "\"anna\"").body("anna"),
        None => Reply::ok().header("cache-control", "max-age=60").header("etag", "\"all\"").body("everybody"),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[]).await;
    assert_eq!(proxy.ask("HEAD", "/page", ANNA, "").await.field("etag"), "\"anna\"");
    let shared = proxy.get("/page", &[]).await;
    assert!(shared.is_hit(), "{:?}", shared.fields);
    assert_eq!(shared.text(), "everybody");
}
