//! Rewritten URLs both ways, and redirects.

use super::before;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

async fn app() -> Upstream {
    Upstream::start(|request| {
        let own = request.fields.get("host").unwrap_or_default().to_owned();
        Reply::ok()
            .header("cache-control", "max-age=60")
            .header("location", "/app/next?x=/app/y")
            .header("content-location", &format!("http://{own}/app/this"))
            .header("refresh", "5; url=/app/later")
            .header("set-cookie", "sid=/app/; Path=/app/; Domain=.app.internal; HttpOnly")
            .header("set-cookie", "plain=1")
            .body(&request.target)
    })
    .await
}

const RULES: &str = "[[routes]]\nmatch = { path = \"/shop\" }\ncache = { set_cookie = \"store\" }\n\
    rewrite = { strip_prefix = \"/shop/\", add_prefix = \"/app\", host = \"app.internal\", \
    cookie_domains = { \"app.internal\" = \"shop.test\" } }\n[[routes]]\n";

#[tokio::test]
async fn rewritten_paths_hosts_and_cookies_read_right_on_both_sides() {
    let upstream = app().await;
    let proxy = before(&upstream, RULES);
    for method in ["POST", "GET"] {
        let answer = proxy.ask(method, "/shop/cart?a=%2Fshop", &[("Host", "shop.test")], "").await;
        assert_eq!(answer.text(), "/app/cart?a=%2Fshop", "{method}");
        assert_eq!(answer.field("location"), "/shop/next?x=/app/y");
        assert_eq!(answer.field("content-location"), "http://shop.test/shop/this");
        assert_eq!(answer.field("refresh"), "5; url=/shop/later");
        let cookies: Vec<_> = answer.fields.all("set-cookie").collect();
        assert_eq!(cookies, ["sid=/app/; Path=/shop/; Domain=shop.test; HttpOnly", "plain=1"], "{method}");
    }
    let hit = proxy.get("/shop/cart?a=%2Fshop", &[("Host", "shop.test")]).await;
    assert!(hit.is_hit(), "the key is the client's URL");
    assert_eq!(hit.field("location"), "/shop/next?x=/app/y");
    for (path, rewritten) in [("/shop", "/app/"), ("/shopping", "/app/shopping"), ("/other", "/other")] {
        assert_eq!(proxy.ask("POST", path, &[], "").await.text(), rewritten);
    }
    assert_eq!(upstream.requests()[0].fields.get("host"), Some("app.internal"));
    assert_eq!(
        proxy.ask("POST", "/other", &[], "").await.field("location"),
        "/app/next?x=/app/y",
        "no rewriting there"
    );
}

#[tokio::test]
async fn pattern_rewrites_stay_paths() {
    let upstream = Upstream::start(|request| Reply::ok().body(&request.target)).await;
    let proxy =
        before(&upstream, "[[routes]]\nrewrite = { pattern = \"^/v([0-9]+)/(.*)$\", replacement = \"/api/$2/$1\" }\n");
    for (path, rewritten) in [("/v2/a/b?q", "/api/a/b/2?q"), ("/x", "/x")] {
        assert_eq!(proxy.ask("POST", path, &[], "").await.text(), rewritten);
    }
    let proxy = before(&upstream, "[[routes]]\nrewrite = { pattern = \"^/a\", replacement = \"\" }\n");
    for (path, rewritten) in [("/a//evil.test/", "/evil.test/"), ("/ab", "/b"), ("/a", "/")] {
        assert_eq!(proxy.ask("POST", path, &[], "").await.text(), rewritten);
    }
}

#[tokio::test]
async fn redirects_fill_in_what_was_asked() {
    let upstream = Upstream::start(|_| Reply::ok()).await;
    let proxy = before(
        &upstream,
        "[[routes]]\nmatch = { path = \"/a/\" }\nredirect = { to = \"https://{host}{path}{query}\" }\n\
         [[routes]]\nredirect = { to = \"{path}#{query}x\", status = 302 }\n",
    );
    for (path, status, location) in [
        ("/a/b?c={host}", 308, "https://app.test/a/b?c={host}"),
        ("/a/", 308, "https://app.test/a/"),
        ("//evil.test/", 302, "/evil.test/#x"),
    ] {
        let answer = proxy.get(path, &[]).await;
        assert_eq!((answer.status, answer.field("location")), (status, location));
    }
    assert_eq!(upstream.requests().len(), 0);
}
