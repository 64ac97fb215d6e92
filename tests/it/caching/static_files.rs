//! Static-file classes: freshness where the app says nothing, and nothing where it may be someone's.

use super::table;
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

stories![
    static_files_get_freshness_only_where_the_app_is_silent,
    static_files_asked_for_with_authorization_stay_as_they_are,
    static_files_of_error_pages_are_none,
];

async fn static_files_get_freshness_only_where_the_app_is_silent() {
    const WEEK: &str = "public, max-age=604800";
    const YEAR: &str = "public, max-age=31536000, immutable";
    for (path, content_type, said, expected) in [
        ("/app.css", "text/css", None, WEEK),
        ("/app.css?v=3", "text/css", None, YEAR),
        ("/app.3f9a1c2b.css", "text/css", None, YEAR),
        ("/app.css", "text/css", Some(("cache-control", "max-age=5")), "max-age=5"),
        ("/app.css", "text/css", Some(("cache-control", "no-store")), "no-store"),
        ("/app.css", "text/css", Some(("expires", "0")), ""),
        ("/app.css", "text/css", Some(("pragma", "no-cache")), ""),
        ("/app.css", "text/css", Some(("set-cookie", "a=b")), ""),
        // Paths that only look like files.
        ("/account/x.css", "text/html", None, ""),
        ("/account;x.css", "text/css", None, ""),
        ("/account%2fx.css", "text/css", None, ""),
        ("/account%3bx.css", "text/css", None, ""),
        ("/page", "text/css", None, ""),
    ] {
        let reply = said
            .iter()
            .fold(Reply::ok().header("content-type", content_type), |reply, (name, value)| reply.header(name, value));
        let upstream = Upstream::start(move |_| reply.clone().body("x")).await;
        let proxy = Proxy::before(&upstream);
        let response = proxy.get(path, &[]).await;
        assert_eq!(response.field("cache-control"), expected, "{path} {content_type} {said:?}");
        let shared = proxy.get(path, &[("cookie", "session=1")]).await;
        // A file that may be stored at all is the same for everybody, whatever their cookies.
        assert_eq!(shared.is_hit(), expected.contains("max-age"), "{path} {content_type} {said:?}");
    }
}

async fn static_files_asked_for_with_authorization_stay_as_they_are() {
    let upstream = Upstream::start(|_| Reply::ok().header("content-type", "text/css").body("x")).await;
    let proxy = Proxy::before(&upstream);
    let response = proxy.get("/app.css", &[("authorization", "Basic YTpi")]).await;
    assert_eq!(response.fields.get("cache-control"), None);
    assert!(!proxy.get("/app.css", &[]).await.is_hit());
}

async fn static_files_of_error_pages_are_none() {
    let reply = Reply::status("404 Not Found").header("content-type", "text/css").body("no");
    let (_upstream, proxy) = table("", vec![reply]).await;
    assert_eq!(proxy.get("/0", &[]).await.fields.get("cache-control"), None);
}
