//! What routes make of the cache key: escapes, tracking parameters, classes of devices.

use super::ok;
use crate::support::proxy::Proxy;
use crate::support::upstream::Upstream;

stories![
    key_takes_escapes_as_received,
    key_with_escapes_in_one_form_merges_what_is_equivalent_and_nothing_else,
    key_with_escapes_in_one_form_is_reached_by_every_spelling_of_its_url,
    key_without_tracking_parameters_leaves_the_others,
    key_by_device_keeps_one_answer_for_each_class_and_tells_the_app,
    key_by_device_without_telling_the_app,
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
