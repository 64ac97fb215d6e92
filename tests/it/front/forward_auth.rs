//! Another program decides who may: before anything is looked up, and never by silence.

use super::guarded;
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

async fn app() -> Upstream {
    Upstream::start(|request| {
        let user = request.fields.get("x-user").unwrap_or("nobody").to_owned();
        Reply::ok().header("cache-control", "max-age=60").body(format!("page of {user}"))
    })
    .await
}

/// Lets those with the cookie `user=NAME` through, and sends others to a login.
async fn judge() -> Upstream {
    Upstream::start(|request| match request.fields.get("cookie").and_then(|cookie| cookie.strip_prefix("user=")) {
        Some(user) => Reply::ok().header("x-user", user).header("x-other", "kept back").body("fine"),
        None => Reply::status("302 Found").header("location", "https://login.test/").body("log in"),
    })
    .await
}

fn behind(app: &Upstream, judge: &str, more: &str) -> Proxy {
    guarded(
        app,
        &format!(
            "cache = {{ cookies = \"ignore\" }}\naccess = {{ forward = {{ url = \"{judge}\", headers = [\"X-User\"]{more} }} }}"
        ),
    )
}

#[tokio::test]
async fn its_word_goes_before_the_cache_and_its_fields_to_the_app() {
    let (app, judge) = (app().await, judge().await);
    let proxy = behind(&app, &format!("{}/verify?for=app", judge.url()), "");
    let alice = [("Cookie", "user=alice"), ("X-User", "root"), ("X_User", "root")];
    let response = proxy.ask("POST", "/page?x=1", &alice, "content").await;
    assert_eq!((response.status, response.text().as_str()), (200, "page of alice"));
    let asked = &judge.requests()[0];
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/verify?for=app"));
    for (name, value) in [
        ("x-forwarded-method", "POST"),
        ("x-forwarded-uri", "/page?x=1"),
        ("x-forwarded-host", "app.test"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-for", "127.0.0.1"),
        ("cookie", "user=alice"),
    ] {
        assert_eq!(asked.fields.get(name), Some(value), "{name}");
    }
    assert!(asked.fields.get("content-length").is_none() && asked.fields.get("x-user").is_none());
    let seen = &app.requests()[0].fields;
    assert_eq!(seen.all("x-user").collect::<Vec<_>>(), ["alice"]);
    assert_eq!((seen.get("x_user"), seen.get("x-other")), (None, None));

    let refused = proxy.get("/page", &[("X-User", "root")]).await;
    assert_eq!((refused.status, refused.text().as_str()), (302, "log in"));
    assert_eq!(refused.field("location"), "https://login.test/");
    assert_eq!(app.requests().len(), 1);
}

#[tokio::test]
async fn what_was_made_for_one_user_is_not_shown_to_another() {
    let (app, judge) = (app().await, judge().await);
    let proxy = behind(&app, &judge.url(), "");
    for user in ["alice", "bob", "alice"] {
        let response = proxy.get("/", &[("Cookie", &format!("user={user}"))]).await;
        assert_eq!(response.text(), format!("page of {user}"));
    }
    assert_eq!(proxy.get("/", &[]).await.status, 302);
}

#[tokio::test]
async fn added_fields_can_not_be_nominated_away() {
    let (app, judge) = (app().await, judge().await);
    let proxy = behind(&app, &judge.url(), "");
    let response = proxy.get("/", &[("Cookie", "user=alice"), ("Connection", "close, X-User")]).await;
    assert_eq!(response.text(), "page of alice");
}

#[tokio::test]
async fn silence_and_faults_refuse() {
    let app = app().await;
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let hanging = Upstream::start(|_| Reply::hang()).await;
    let broken = Upstream::start(|_| Reply::raw("nonsense\r\n\r\n").then_close()).await;
    let failing = Upstream::start(|_| Reply::status("500 Internal Server Error").body("x")).await;
    for (url, status) in
        [(format!("http://{nobody}"), 503), (hanging.url(), 503), (broken.url(), 503), (failing.url(), 500)]
    {
        let proxy = behind(&app, &url, ", timeout = \"200ms\"");
        assert_eq!(proxy.get("/", &[("Cookie", "user=alice")]).await.status, status, "{url}");
    }
    assert_eq!(app.requests().len(), 0);
}

#[tokio::test]
async fn permission_is_remembered_for_the_same_credentials_and_url_alone() {
    let (app, judge) = (app().await, judge().await);
    let proxy = behind(&app, &judge.url(), ", cache = \"1h\"");
    for (path, cookie, asked) in [
        ("/a", "user=alice", 1),
        ("/a", "user=alice", 1),
        ("/b", "user=alice", 2),
        ("/a", "user=bob", 3),
        ("/a", "user=bob", 3),
    ] {
        assert_eq!(proxy.get(path, &[("Cookie", cookie)]).await.status, 200);
        assert_eq!(judge.requests().len(), asked, "{path} {cookie}");
    }
    for asked in [4, 5] {
        assert_eq!(proxy.get("/a", &[]).await.status, 302, "a no is never remembered");
        assert_eq!(judge.requests().len(), asked);
    }
}
