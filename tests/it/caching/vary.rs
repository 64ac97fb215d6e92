//! RFC 9111 §4.1: which stored response a request selects.

use super::{Fields, ok, table};
use crate::support::proxy::Proxy;
use crate::support::upstream::Upstream;

stories![
    vary_decides_by_the_fields_it_names,
    vary_in_several_lines_names_all_of_them,
    vary_keeps_several_variants_at_once,
    vary_variants_are_capped_and_the_oldest_goes,
    vary_forgotten_on_the_default_answer_hides_no_better_one,
    vary_that_an_answer_begins_with_ends_the_one_that_stood_for_all,
    vary_by_language_serves_the_language_preferred_above_all,
    vary_unsaid_never_hands_out_a_coding_that_the_client_does_not_take,
    coding_that_the_app_gives_everybody_is_for_everybody,
    client_that_refuses_a_coding_gets_none_from_an_app_that_codes_for_whoever_says_nothing,
];

async fn vary_decides_by_the_fields_it_names() {
    // Vary, the first request's fields, the second's, whether the second is answered from the first.
    let rows: Vec<(&str, Fields, Fields, bool)> = vec![
        ("Foo", &[("foo", "1")], &[("foo", "1")], true),
        ("Foo", &[("foo", "1")], &[("foo", "2")], false),
        ("Foo", &[("foo", "1")], &[], false),
        ("Foo", &[], &[("foo", "1")], false),
        ("Foo", &[], &[], true),
        // Missing is not empty.
        ("Foo", &[], &[("foo", "")], false),
        ("Foo", &[("foo", "1")], &[("foo", "1"), ("bar", "2")], true),
        ("Foo, Bar", &[("foo", "1"), ("bar", "2")], &[("bar", "2"), ("foo", "1")], true),
        ("Foo, Bar", &[("foo", "1"), ("bar", "2")], &[("foo", "1"), ("bar", "3")], false),
        ("Foo, Bar", &[("foo", "1"), ("bar", "2")], &[("foo", "1")], false),
        ("*", &[("foo", "1")], &[("foo", "1")], false),
        ("*, Foo", &[("foo", "1")], &[("foo", "1")], false),
        ("Foo, *", &[("foo", "1")], &[("foo", "1")], false),
        ("", &[("foo", "1")], &[("foo", "2")], true),
        // Lines and white space mean nothing, order and case may.
        ("Foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")], true),
        ("Foo", &[("foo", "1,2")], &[("foo", "1 , 2")], true),
        ("Foo", &[("foo", "1, 2")], &[("foo", "2, 1")], false),
        ("Foo", &[("foo", "a")], &[("foo", "A")], false),
        ("Accept-Language", &[("accept-language", "en, de;q=0.5")], &[("accept-language", "DE;q=0.50,EN")], true),
        ("Accept-Language", &[("accept-language", "en, de;q=0.5")], &[("accept-language", "de, en;q=0.5")], false),
    ];
    let replies = rows.iter().map(|(vary, ..)| ok("max-age=60", "x").header("vary", vary)).collect();
    let (upstream, proxy) = table("", replies).await;
    for (row, (vary, first, second, hit)) in rows.iter().enumerate() {
        let path = format!("/{row}");
        proxy.get(&path, first).await;
        assert_eq!(proxy.get(&path, second).await.is_hit(), *hit, "{vary}: {first:?} / {second:?}");
        assert_eq!(upstream.count(&path), if *hit { 1 } else { 2 });
    }
}

async fn vary_in_several_lines_names_all_of_them() {
    let reply = ok("max-age=60", "x").header("vary", "Foo").header("vary", "Bar");
    let (_upstream, proxy) = table("", vec![reply]).await;
    proxy.get("/0", &[("foo", "1"), ("bar", "2")]).await;
    assert!(!proxy.get("/0", &[("foo", "1"), ("bar", "3")]).await.is_hit());
}

async fn vary_keeps_several_variants_at_once() {
    let upstream =
        Upstream::start(|request| ok("max-age=60", request.fields.get("foo").unwrap_or("none")).header("vary", "Foo"))
            .await;
    let proxy = Proxy::before(&upstream);
    let ask = async |value: &str| proxy.get("/page", &[("foo", value)]).await;
    for value in ["1", "2", "3"] {
        assert!(!ask(value).await.is_hit());
    }
    for value in ["1", "2", "3", "1"] {
        let response = ask(value).await;
        assert_eq!((response.is_hit(), response.text().as_str()), (true, value));
    }
    assert_eq!(ask("4").await.field("cache-status"), "larder; fwd=vary-miss; ttl=60; stored");
}

async fn vary_variants_are_capped_and_the_oldest_goes() {
    let upstream = Upstream::start(|_| ok("max-age=60", "x").header("vary", "Foo")).await;
    let proxy = Proxy::with_rules(&upstream, "max_variants = 2");
    for value in ["1", "2", "3"] {
        proxy.get("/page", &[("foo", value)]).await;
    }
    for (value, hit) in [("3", true), ("2", true), ("1", false)] {
        assert_eq!(proxy.get("/page", &[("foo", value)]).await.is_hit(), hit, "{value}");
    }
}

async fn vary_forgotten_on_the_default_answer_hides_no_better_one() {
    // RFC 9111 §4.1: of several, the most recent with Vary; the one without it stands for those that have none.
    let upstream = Upstream::start(|request| match request.fields.get("foo") {
        Some("1") => ok("max-age=60", "chosen").header("vary", "Foo"),
        _ => ok("max-age=90", "default"),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    let ask = async |value: &str| proxy.get("/page", &[("foo", value)]).await;
    for (value, text) in [("1", "chosen"), ("2", "default"), ("1", "chosen"), ("2", "default"), ("3", "default")] {
        assert_eq!(ask(value).await.text(), text, "{value}");
    }
    assert_eq!(upstream.count("/page"), 2);
    // Once stale, it is not better than what is fresh.
    proxy.advance(60);
    let later = ask("1").await;
    assert_eq!((later.is_hit(), later.text().as_str()), (true, "default"));
}

async fn vary_that_an_answer_begins_with_ends_the_one_that_stood_for_all() {
    let upstream = Upstream::start(|request| match request.fields.get("cache-control") {
        None => ok("max-age=60", "same for all"),
        Some(_) => ok("max-age=60", request.fields.get("foo").unwrap_or_default()).header("vary", "Foo"),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[("foo", "1")]).await;
    proxy.get("/page", &[("foo", "1"), ("cache-control", "no-cache")]).await;
    assert_eq!(proxy.get("/page", &[("foo", "1")]).await.text(), "1");
    assert!(!proxy.get("/page", &[("foo", "2")]).await.is_hit());
}

async fn vary_by_language_serves_the_language_preferred_above_all() {
    let upstream = Upstream::start(|_| {
        ok("max-age=60", "hallo").header("vary", "Accept-Language").header("content-language", "DE")
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[("accept-language", "de, en;q=0.5")]).await;
    assert!(proxy.get("/page", &[("accept-language", "de, fr;q=0.3")]).await.is_hit());
    assert!(!proxy.get("/page", &[("accept-language", "fr, de;q=0.3")]).await.is_hit());
}

async fn vary_unsaid_never_hands_out_a_coding_that_the_client_does_not_take() {
    let upstream = Upstream::start(|request| match request.fields.get("accept-encoding") {
        Some("x-own") => ok("max-age=60", "coded").header("content-encoding", "x-own"),
        _ => ok("max-age=60", "plain"),
    })
    .await;
    let proxy = Proxy::configured(&format!(
        "[upstreams.app]\nservers = [\"{}\"]\n[compression]\nenabled = false\n",
        upstream.url()
    ));
    assert_eq!(proxy.get("/page", &[("accept-encoding", "x-own")]).await.text(), "coded");
    let other = proxy.get("/page", &[]).await;
    assert_eq!(other.text(), "plain");
    assert!(other.field("cache-status").contains("detail=coding-miss"), "{:?}", other.fields);
}

async fn coding_that_the_app_gives_everybody_is_for_everybody() {
    // With the defaults larder asks for the plain form: what comes coded all the same is coded for all. And so is what Vary
    // says is the answer to just this Accept-Encoding.
    let upstream = Upstream::start(|request| {
        let reply = ok("max-age=60", "coded").header("content-encoding", "x-own");
        if request.path() == "/varies" { reply.header("vary", "Accept-Encoding") } else { reply }
    })
    .await;
    let off = format!("[upstreams.app]\nservers = [\"{}\"]\n[compression]\nenabled = false\n", upstream.url());
    for (proxy, path) in [(Proxy::before(&upstream), "/same"), (Proxy::configured(&off), "/varies")] {
        for (fields, hit) in [(&[][..], false), (&[][..], true)] {
            let response = proxy.get(path, fields).await;
            assert_eq!((response.is_hit(), response.text().as_str()), (hit, "coded"), "{path}");
            assert_eq!(response.field("content-encoding"), "x-own");
        }
    }
    let proxy = Proxy::before(&upstream);
    for hit in [false, true] {
        let other = proxy.get("/same", &[("accept-encoding", "identity")]).await;
        assert_eq!(other.is_hit(), hit, "nobody would get another form");
    }
}

async fn client_that_refuses_a_coding_gets_none_from_an_app_that_codes_for_whoever_says_nothing() {
    let upstream = Upstream::start(|request| match request.fields.get("accept-encoding") {
        Some(accepted) if !accepted.contains("x-own") => ok("max-age=60", "plain").header("vary", "Accept-Encoding"),
        _ => ok("max-age=60", "coded").header("content-encoding", "x-own").header("vary", "Accept-Encoding"),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    for (accepted, hit) in [("identity", false), ("x-own;q=0", true), ("gzip", true)] {
        let response = proxy.get("/page", &[("accept-encoding", accepted)]).await;
        assert_eq!((response.is_hit(), response.fields.get("content-encoding")), (hit, None), "{accepted}");
    }
    // Nor what was stored for a client that said nothing.
    let proxy = Proxy::before(&upstream);
    for (fields, coding) in [(&[][..], Some("x-own")), (&[("accept-encoding", "identity")], None)] {
        let response = proxy.get("/page", fields).await;
        assert_eq!(response.fields.get("content-encoding"), coding, "{}", response.field("cache-status"));
    }
}
