//! What routes make of the cache key: escapes, tracking parameters, classes of devices.

use super::ok;
use crate::support::proxy::Proxy;
use crate::support::upstream::Upstream;

stories![
    key_takes_escapes_as_received,
    key_with_escapes_in_one_form_merges_what_is_equivalent_and_nothing_else,
    key_with_escapes_in_one_form_is_reached_by_every_spelling_of_its_url,
    key_without_tracking_parameters_leaves_the_others,
    key_by_the_query_that_counts_on_the_route,
    key_is_of_one_host_however_it_is_written,
    key_by_fields_and_cookies_of_the_request,
    key_by_device_keeps_one_answer_for_each_class_and_tells_the_app,
    key_by_device_without_telling_the_app,
    key_by_device_is_told_in_place_of_what_it_was_told_by,
    key_without_device_leaves_the_field_alone,
];

const KEY: &str = "[cache.rules.key]\n";

/// An upstream that answers with the target it was asked for.
async fn echo() -> Upstream {
    Upstream::start(|request| ok("max-age=60", &request.target)).await
}

async fn key_takes_escapes_as_received() {
    let upstream = echo().await;
    let proxy = Proxy::before(&upstream);
    for path in ["/a", "/%61", "/%c3%a9", "/%C3%A9", "/a?", "/a?b=%31", "/a?b=1", "/x/../a", "/x/%2e%2e/a", "//a"] {
        let first = proxy.get(path, &[]).await;
        assert_eq!((first.is_hit(), first.text().as_str()), (false, path));
        assert!(proxy.get(path, &[]).await.is_hit(), "{path}");
    }
}

async fn key_with_escapes_in_one_form_merges_what_is_equivalent_and_nothing_else() {
    let upstream = echo().await;
    let proxy = Proxy::with_rules(&upstream, &format!("{KEY}normalise_escapes = true"));
    for (first, second, same) in [
        ("/a~b", "/%61%7eb", true),
        ("/%c3%a9?x=%2b", "/%C3%A9?x=%2B", true),
        ("/a/b", "/a%2fb", false),
        ("/?a=1&b=2", "/?a=1%26b=2", false),
        ("/c", "/c?", false),
        ("/c/d", "/c/x/../d", false),
        ("/e/../f", "/e/%2e%2e/f", false),
        ("/g+h", "/g%2Bh", false),
        ("/i%00", "/i", false),
    ] {
        proxy.get(first, &[]).await;
        let answer = proxy.get(second, &[]).await;
        assert_eq!((answer.is_hit(), answer.text().as_str()), (same, if same { first } else { second }));
    }
    assert!(upstream.requests().iter().any(|request| request.target == "/c/x/../d"), "it goes on as received");
}

async fn key_with_escapes_in_one_form_is_reached_by_every_spelling_of_its_url() {
    let upstream = echo().await;
    let proxy = Proxy::with_rules(&upstream, &format!("{KEY}normalise_escapes = true"));
    proxy.get("/caf%C3%A9", &[]).await;
    assert_eq!(proxy.ask("POST", "/%63af%c3%a9", &[], "").await.status, 200);
    assert!(!proxy.get("/caf%C3%A9", &[]).await.is_hit(), "an unsafe request by another spelling invalidates it");
}

async fn key_without_tracking_parameters_leaves_the_others() {
    let upstream = echo().await;
    let proxy = Proxy::with_rules(&upstream, &format!("{KEY}query = \"no_tracking\""));
    assert_eq!(proxy.get("/p?id=1&utm_source=a&gclid=b", &[]).await.text(), "/p?id=1&utm_source=a&gclid=b");
    for (target, hit) in [
        ("/p?id=1", true),
        ("/p?fbclid=x&id=1&msclkid=y", true),
        ("/p?utm_campaign=z&id=1&mc_eid=1", true),
        ("/p?id=2&utm_source=a", false),
        ("/p?id=1&ref=a", false),
        ("/p?id=1&xutm_source=a", false),
    ] {
        assert_eq!(proxy.get(target, &[]).await.is_hit(), hit, "{target}");
    }
}

async fn key_by_the_query_that_counts_on_the_route() {
    for (rules, first, second, hit) in [
        ("", "/a?x=1&y=2", "/a?y=2&x=1", false),
        ("sort_query = true", "/a?x=1&y=2", "/a?y=2&x=1", true),
        // Of one name the order says something.
        ("sort_query = true", "/b?x=1&x=2", "/b?x=2&x=1", false),
        ("query = \"none\"", "/c?x=1", "/c", true),
        ("query = { only = [\"page\"] }", "/d?page=1&x=1", "/d?x=2&page=1", true),
        ("query = { only = [\"page\"] }", "/e?page=1", "/e?page=2", false),
        ("query = { except = [\"utm_*\"] }", "/f?utm_x=1&id=1", "/f?id=1", true),
        ("query = { except = [\"utm_*\"] }", "/g?id=1", "/g?id=2", false),
    ] {
        let upstream = echo().await;
        let proxy = Proxy::with_rules(&upstream, &format!("{KEY}{rules}"));
        assert_eq!(proxy.get(first, &[]).await.text(), first, "the app gets the query as it is: {rules}");
        let answer = proxy.get(second, &[]).await;
        assert_eq!((answer.is_hit(), answer.text().as_str()), (hit, if hit { first } else { second }), "{rules}");
    }
}

async fn key_is_of_one_host_however_it_is_written() {
    let upstream = echo().await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[("host", "app.test")]).await;
    for (host, hit) in [
        ("APP.Test", true),
        ("app.test:80", true),
        ("app.test", true),
        ("app.test:81", false),
        ("app.test:443", false),
        ("other.test", false),
    ] {
        assert_eq!(proxy.get("/page", &[("host", host)]).await.is_hit(), hit, "{host}");
    }
}

async fn key_by_fields_and_cookies_of_the_request() {
    let upstream = echo().await;
    let rules = format!("cookies = \"ignore\"\n{KEY}headers = [\"X-Shop\"]\ncookies = [\"currency\"]");
    let proxy = Proxy::with_rules(&upstream, &rules);
    let all: [&[(&str, &str)]; 5] = [
        &[],
        &[("x-shop", "a")],
        &[("x-shop", "b")],
        &[("cookie", "currency=eur")],
        &[("x-shop", "a"), ("cookie", "theme=dark; currency=eur")],
    ];
    for hit in [false, true] {
        for fields in all {
            assert_eq!(proxy.get("/page", fields).await.is_hit(), hit, "{fields:?}");
        }
    }
    assert!(proxy.get("/page", &[("cookie", "theme=light; currency=eur")]).await.is_hit(), "another cookie");
    assert!(proxy.get("/page", &[("x-other", "1")]).await.is_hit(), "another field");
}

const PHONE: (&str, &str) = ("user-agent", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148");
const OTHER_PHONE: (&str, &str) = ("user-agent", "Mozilla/5.0 (Linux; Android 14) Mobile Safari/537.36");
const DESKTOP: (&str, &str) = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0");

async fn key_by_device_keeps_one_answer_for_each_class_and_tells_the_app() {
    let upstream = Upstream::start(|request| {
        let class = request.fields.get("x-device-class").unwrap_or("untold");
        ok("max-age=60", class).header("vary", "User-Agent, X-Device-Class")
    })
    .await;
    let proxy = Proxy::with_rules(&upstream, &format!("{KEY}device = true"));
    // What the client says of itself is not believed.
    for (fields, hit, class) in [
        (&[PHONE, ("x-device-class", "desktop")][..], false, "mobile"),
        (&[OTHER_PHONE, ("x-device-class", "tv")], true, "mobile"),
        (&[DESKTOP], false, "desktop"),
        (&[], true, "desktop"),
        (&[("user-agent", "Googlebot/2.1")], false, "bot"),
        (&[PHONE], true, "mobile"),
    ] {
        let answer = proxy.get("/page", fields).await;
        assert_eq!((answer.is_hit(), answer.text().as_str()), (hit, class), "{fields:?}");
    }
    proxy.ask("POST", "/page", &[], "").await;
    for fields in [[PHONE], [DESKTOP]] {
        assert!(!proxy.get("/page", &fields).await.is_hit(), "an invalidation takes the answers for all classes");
    }
}

async fn key_by_device_is_told_in_place_of_what_it_was_told_by() {
    let upstream = Upstream::start(|request| ok("max-age=60", request.fields.get("user-agent").unwrap_or("-"))).await;
    let classes = "classes = [{ name = \"small\", user_agent = \"Phone\" }]";
    let proxy =
        Proxy::with_rules(&upstream, &format!("{KEY}device = true\n[devices]\nfield = \"User-Agent\"\n{classes}"));
    let phone = &[("user-agent", "a Phone")];
    assert_eq!(proxy.get("/page", phone).await.text(), "small", "a class is not taken for a device");
    let desktop = &[("user-agent", "a desk")];
    assert_ne!(proxy.get("/page", desktop).await.text(), "small");
    assert!(proxy.get("/page", phone).await.is_hit());
}

async fn key_by_device_without_telling_the_app() {
    let upstream =
        Upstream::start(|request| ok("max-age=60", request.fields.get("x-device-class").unwrap_or("-"))).await;
    let rules =
        format!("{KEY}device = true\n[devices]\nsend = false\nclasses = [{{ name = \"tv\", user_agent = \"TV\" }}]");
    let proxy = Proxy::with_rules(&upstream, &rules);
    assert_eq!(proxy.get("/page", &[("user-agent", "a TV")]).await.text(), "-");
    assert!(!proxy.get("/page", &[PHONE]).await.is_hit());
    assert!(proxy.get("/page", &[DESKTOP]).await.is_hit(), "neither is a TV");
}

async fn key_without_device_leaves_the_field_alone() {
    let upstream =
        Upstream::start(|request| ok("max-age=60", request.fields.get("x-device-class").unwrap_or("-"))).await;
    let proxy = Proxy::before(&upstream);
    assert_eq!(proxy.get("/page", &[PHONE, ("x-device-class", "own")]).await.text(), "own");
}
