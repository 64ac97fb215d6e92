//! RFC 9111 §4.3: how stored responses are validated and freshened.

use super::{Fields, date, ok};
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::{Recorded, Upstream};

stories![
    validation_sends_both_validators_and_none_of_the_clients,
    validation_by_date_alone,
    validation_of_own_tags_is_never_asked_of_the_upstream,
    validation_names_all_tags_of_the_key,
    validation_may_confirm_another_variant_by_its_strong_tag,
    validation_freshens_all_that_have_the_strong_tag_it_names,
    validation_takes_over_the_fields_of_the_304,
    validation_confirms_by_the_rules_of_section_4_3_4,
    validation_that_brings_a_full_response_replaces_what_was_stored,
    validation_that_fails_passes_the_error_on_and_keeps_what_is_stored,
    validation_each_time_where_the_response_says_no_cache,
    validation_that_forbids_keeping_answers_once,
    validation_hands_a_cookie_to_nobody_else,
    validation_for_a_client_that_stores_nothing_changes_nothing,
    validation_by_head_freshens_what_is_stored_for_get,
    validation_by_head_of_all_that_it_could_have_been_answered_from,
    validation_by_head_of_one_visitor_touches_nothing_of_all,
];

fn not_modified() -> Reply {
    Reply::status("304 Not Modified")
}

fn is_conditional(request: &Recorded) -> bool {
    ["if-none-match", "if-modified-since"].iter().any(|name| request.fields.get(name).is_some())
}

/// An upstream that gives `first` to plain requests and `second` to conditional ones, and the proxy before it after
/// the response was stored and has become stale.
async fn stale(first: Reply, second: Reply) -> (Upstream, Proxy) {
    let upstream =
        Upstream::start(move |request| if is_conditional(request) { second.clone() } else { first.clone() }).await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[]).await;
    proxy.advance(60);
    (upstream, proxy)
}

async fn validation_sends_both_validators_and_none_of_the_clients() {
    let modified = date(-100_000);
    let first = ok("max-age=60", "x").header("etag", "\"v1\"").header("last-modified", &modified);
    let (upstream, proxy) = stale(first, not_modified().header("etag", "\"v1\"")).await;
    let response = proxy.get("/page", &[("if-none-match", "\"mine\""), ("if-modified-since", &date(0))]).await;
    assert_eq!((response.status, response.text().as_str()), (200, "x"));
    assert_eq!(response.field("cache-status"), "larder; fwd=stale; fwd-status=304; ttl=60; stored");
    let sent = &upstream.requests()[1].fields;
    assert_eq!((sent.get("if-none-match"), sent.get("if-modified-since")), (Some("\"v1\""), Some(&*modified)));
    assert!(proxy.get("/page", &[]).await.is_hit());
}

async fn validation_by_date_alone() {
    let first = ok("max-age=60", "x").header("last-modified", &date(-100));
    let (upstream, proxy) = stale(first, not_modified()).await;
    assert_eq!(proxy.get("/page", &[]).await.text(), "x");
    let sent = &upstream.requests()[1].fields;
    assert_eq!((sent.get("if-none-match"), sent.get("if-modified-since")), (None, Some(&*date(-100))));
}

async fn validation_of_own_tags_is_never_asked_of_the_upstream() {
    let (upstream, proxy) = stale(ok("max-age=60", "x"), not_modified()).await;
    let stored = proxy.get("/page", &[]).await;
    proxy.advance(1);
    let tag = proxy.get("/page", &[]).await.field("etag").to_owned();
    assert_eq!(tag.len(), 34, "larder gives a tag where there is no validator: {tag}, {:?}", stored.fields);
    proxy.advance(60);
    let response = proxy.get("/page", &[("if-none-match", &tag)]).await;
    assert!(upstream.requests().iter().all(|request| !is_conditional(request)));
    assert_eq!(response.status, 200, "the body had to be fetched again and had not ended when the answer began");
}

async fn validation_names_all_tags_of_the_key() {
    let upstream = Upstream::start(|request| {
        let tag = format!("\"{}\"", request.fields.get("foo").unwrap_or_default());
        match is_conditional(request) {
            true => not_modified().header("etag", &tag).header("vary", "Foo"),
            false => ok("max-age=60", &tag).header("etag", &tag).header("vary", "Foo"),
        }
    })
    .await;
    let proxy = Proxy::before(&upstream);
    for value in ["1", "2"] {
        proxy.get("/page", &[("foo", value)]).await;
    }
    proxy.advance(60);
    assert_eq!(proxy.get("/page", &[("foo", "1")]).await.text(), "\"1\"");
    assert_eq!(upstream.requests()[2].fields.get("if-none-match"), Some("\"2\", \"1\""));
    // The other variant was not freshened by it.
    assert!(!proxy.get("/page", &[("foo", "2")]).await.is_hit());
}

async fn validation_may_confirm_another_variant_by_its_strong_tag() {
    // The resource has become the same for both: the 304 names the other's tag.
    let upstream = Upstream::start(|request| {
        let tag = format!("\"{}\"", request.fields.get("foo").unwrap_or_default());
        match is_conditional(request) {
            true => not_modified().header("etag", "\"2\"").header("vary", "Foo").header("cache-control", "max-age=60"),
            false => ok("max-age=60", &tag).header("etag", &tag).header("vary", "Foo"),
        }
    })
    .await;
    let proxy = Proxy::before(&upstream);
    for value in ["1", "2"] {
        proxy.get("/page", &[("foo", value)]).await;
    }
    proxy.advance(60);
    assert_eq!(proxy.get("/page", &[("foo", "1")]).await.text(), "\"2\"");
    let again = proxy.get("/page", &[("foo", "1")]).await;
    assert_eq!((again.is_hit(), again.text().as_str()), (true, "\"2\""));
    assert_eq!(upstream.count("/page"), 3);
}

async fn validation_freshens_all_that_have_the_strong_tag_it_names() {
    // RFC 9111 §4.3.4: all of them; by a weak tag the most recent that matches, which is the selected one.
    for (tag, says, hit) in
        [("\"v1\"", "max-age=90", true), ("W/\"v1\"", "max-age=90", false), ("\"v1\"", "no-store", false)]
    {
        let upstream = Upstream::start(move |request| match is_conditional(request) {
            true => not_modified().header("etag", tag).header("cache-control", says).header("x-new", "1"),
            false => ok("max-age=60", "x").header("etag", tag).header("vary", "Foo"),
        })
        .await;
        let proxy = Proxy::before(&upstream);
        for value in ["1", "2"] {
            proxy.get("/page", &[("foo", value)]).await;
        }
        proxy.advance(60);
        assert_eq!(proxy.get("/page", &[("foo", "1")]).await.field("x-new"), "1");
        let other = proxy.get("/page", &[("foo", "2")]).await;
        assert_eq!(other.is_hit(), hit, "{tag} {says}: {:?}", other.fields);
        if hit {
            assert_eq!((other.field("x-new"), other.field("cache-status")), ("1", "larder; hit; ttl=90"));
        }
        assert_eq!(upstream.count("/page"), if hit { 3 } else { 4 }, "{tag} {says}");
        let asked_plainly = !is_conditional(upstream.requests().last().unwrap());
        assert_eq!(asked_plainly, says == "no-store", "what may not be kept any more is gone");
        // Still apart: another value has its own.
        assert!(!proxy.get("/page", &[("foo", "3")]).await.is_hit());
    }
}

async fn validation_takes_over_the_fields_of_the_304() {
    // RFC 9111 §3.2
    let first = ok("max-age=60", "hello")
        .header("etag", "\"v1\"")
        .header("x-old", "kept")
        .header("x-new", "old")
        .header("content-type", "text/plain")
        .header("age", "7")
        .header("date", &date(0));
    let second = not_modified()
        .header("etag", "\"v1\"")
        .header("cache-control", "max-age=90")
        .header("x-new", "new")
        .header("x-new", "newer")
        .header("content-length", "0")
        .header("content-encoding", "gzip")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("date", &date(60));
    let (_upstream, proxy) = stale(first, second).await;
    let validated = proxy.get("/page", &[]).await;
    let hit = proxy.get("/page", &[]).await;
    assert_eq!(hit.field("cache-status"), "larder; hit; ttl=90");
    for response in [validated, hit] {
        assert_eq!(response.fields.all("x-new").collect::<Vec<_>>(), ["new", "newer"]);
        assert_eq!((response.field("x-old"), response.field("content-type")), ("kept", "text/plain"));
        assert_eq!((response.field("content-length"), response.fields.get("content-encoding")), ("5", None));
        assert_eq!((response.fields.get("x-hop"), response.field("age")), (None, "0"));
        assert_eq!((response.field("date"), response.text().as_str()), (&*date(60), "hello"));
    }
}

async fn validation_confirms_by_the_rules_of_section_4_3_4() {
    let with = |reply: Reply, fields: &[(&str, &str)]| {
        fields.iter().fold(reply, |reply, (name, value)| reply.header(name, value))
    };
    let (old, new) = (date(-100), date(-50));
    let (old, new) = (("last-modified", &*old), ("last-modified", &*new));
    for (stored, given, confirms) in [
        (&[("etag", "\"a\"")][..], &[("etag", "\"a\"")][..], true),
        (&[("etag", "\"a\"")], &[], true),
        (&[("etag", "W/\"a\"")], &[("etag", "W/\"a\"")], true),
        (&[("etag", "\"a\"")], &[("etag", "W/\"a\"")], true),
        (&[old], &[], true),
        (&[old], &[old], true),
        // A 304 that matches nothing: asked again, without conditions.
        (&[("etag", "\"a\"")], &[("etag", "\"b\"")], false),
        (&[("etag", "W/\"a\"")], &[("etag", "\"a\"")], false),
        (&[old], &[new], false),
        (&[old], &[("etag", "\"a\"")], false),
    ] {
        let (first, second) = (with(ok("max-age=60", "x"), stored), with(not_modified(), given));
        let (upstream, proxy) = stale(first, second).await;
        let response = proxy.get("/page", &[]).await;
        assert_eq!((response.status, response.text().as_str()), (200, "x"));
        assert_eq!(response.field("cache-status").contains("fwd-status=304"), confirms, "{stored:?} {given:?}");
        assert_eq!(upstream.count("/page"), if confirms { 2 } else { 3 });
        assert!(proxy.get("/page", &[]).await.is_hit());
    }
}

async fn validation_that_brings_a_full_response_replaces_what_was_stored() {
    let first = ok("max-age=60", "old").header("etag", "\"v1\"");
    let (_upstream, proxy) = stale(first, ok("max-age=60", "new").header("etag", "\"v2\"")).await;
    let response = proxy.get("/page", &[]).await;
    assert_eq!(
        (response.text().as_str(), response.field("cache-status")),
        ("new", "larder; fwd=stale; ttl=60; stored")
    );
    let hit = proxy.get("/page", &[]).await;
    assert_eq!((hit.is_hit(), hit.text().as_str(), hit.field("etag")), (true, "new", "\"v2\""));
}

async fn validation_that_fails_passes_the_error_on_and_keeps_what_is_stored() {
    for status in ["500 E", "501 N", "503 Down"] {
        let first = ok("max-age=60, stale-if-error=0", "x").header("etag", "\"v1\"");
        let (upstream, proxy) = stale(first, Reply::status(status).body("broken")).await;
        let response = proxy.get("/page", &[]).await;
        assert_eq!((response.status.to_string().as_str(), response.text().as_str()), (&status[..3], "broken"));
        let again = proxy.get("/page", &[("cache-control", "max-stale")]).await;
        assert_eq!((again.is_hit(), again.text().as_str()), (true, "x"), "{status}");
        assert_eq!(upstream.count("/page"), 2);
    }
}

async fn validation_each_time_where_the_response_says_no_cache() {
    let first = ok("no-cache, max-age=60", "x").header("etag", "\"v1\"");
    let second = not_modified().header("etag", "\"v1\"");
    let upstream =
        Upstream::start(move |request| if is_conditional(request) { second.clone() } else { first.clone() }).await;
    let proxy = Proxy::before(&upstream);
    for count in 1..4 {
        assert_eq!(proxy.get("/page", &[]).await.text(), "x");
        assert_eq!(upstream.count("/page"), count);
    }
    let last = proxy.get("/page", &[]).await;
    assert!(last.field("cache-status").contains("fwd=stale; fwd-status=304"), "{:?}", last.fields);
}

async fn validation_that_forbids_keeping_answers_once() {
    for cache_control in ["no-store", "private"] {
        let first = ok("max-age=60", "x").header("etag", "\"v1\"");
        let second = not_modified().header("etag", "\"v1\"").header("cache-control", cache_control);
        let (upstream, proxy) = stale(first, second).await;
        let response = proxy.get("/page", &[]).await;
        assert_eq!((response.status, response.text().as_str(), response.field("age")), (200, "x", "0"));
        assert!(response.field("cache-status").ends_with(&format!("fwd-status=304; detail={cache_control}")));
        assert!(!proxy.get("/page", &[]).await.is_hit());
        assert!(!is_conditional(&upstream.requests()[2]), "it is gone");
    }
}

async fn validation_hands_a_cookie_to_nobody_else() {
    let first = ok("max-age=60", "x").header("etag", "\"v1\"");
    let second = not_modified().header("etag", "\"v1\"").header("set-cookie", "a=b");
    let (_upstream, proxy) = stale(first, second).await;
    assert_eq!(proxy.get("/page", &[]).await.field("set-cookie"), "a=b");
    let hit = proxy.get("/page", &[]).await;
    assert_eq!((hit.is_hit(), hit.fields.get("set-cookie")), (true, None));
}

async fn validation_for_a_client_that_stores_nothing_changes_nothing() {
    let first = ok("max-age=60", "x").header("etag", "\"v1\"");
    let second = not_modified().header("etag", "\"v1\"").header("x-new", "1");
    let (upstream, proxy) = stale(first, second).await;
    let response = proxy.get("/page", &[("cache-control", "no-store")]).await;
    assert_eq!((response.text().as_str(), response.field("x-new")), ("x", "1"));
    assert!(response.field("cache-status").ends_with("detail=request-no-store"), "{:?}", response.fields);
    assert!(!proxy.get("/page", &[]).await.is_hit());
    assert!(is_conditional(&upstream.requests()[2]), "what was stored is still there");
}

async fn validation_by_head_freshens_what_is_stored_for_get() {
    // RFC 9111 §4.3.5
    for (fields, expected) in [
        (&[("etag", "\"v1\""), ("content-length", "5")][..], (true, "1")),
        (&[("etag", "\"v2\"")], (false, "")),
        (&[("etag", "\"v1\""), ("content-length", "6")], (false, "")),
    ] {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let upstream = Upstream::start(move |request| {
            let reply = ok("max-age=60", "hello").header("etag", "\"v1\"");
            if request.method == "GET" {
                return reply;
            }
            let head = Reply::ok().header("cache-control", "max-age=60").header("x-head", "1");
            fields.iter().fold(head, |head, (name, value)| head.header(name, value))
        })
        .await;
        let proxy = Proxy::before(&upstream);
        proxy.get("/page", &[]).await;
        proxy.advance(60);
        let head = proxy.ask("HEAD", "/page", &[], "").await;
        assert_eq!(head.field("cache-status"), "larder; fwd=stale; detail=method");
        let after = proxy.get("/page", &[]).await;
        assert_eq!((after.is_hit(), after.field("x-head")), expected, "{:?}", after.fields);
        assert_eq!(after.text(), "hello");
    }
}

async fn validation_by_head_of_all_that_it_could_have_been_answered_from() {
    // RFC 9111 §4.3.5: each that could have been chosen, which one that was chosen by Foo could not.
    for (head, expected) in [
        (&[("x-head", "1")][..], [(true, Some("1")), (true, None), (true, Some("1"))]),
        (&[("etag", "\"new\"")], [(false, None), (true, None), (false, None)]),
    ] {
        let upstream = Upstream::start(move |request| {
            let reply = ok("max-age=60", "hello");
            match (&*request.method, request.fields.get("foo")) {
                ("HEAD", _) => head.iter().fold(reply, |reply, (name, value)| reply.header(name, value)),
                (_, Some("unknown")) => reply.header("etag", "\"default\""),
                (_, value) => reply.header("etag", &format!("\"{}\"", value.unwrap_or("none"))).header("vary", "Foo"),
            }
        })
        .await;
        let proxy = Proxy::before(&upstream);
        let asked: [Fields; 3] = [&[], &[("foo", "1")], &[("foo", "unknown")]];
        for fields in asked {
            assert!(!proxy.get("/page", fields).await.is_hit());
        }
        proxy.ask("HEAD", "/page", &[("cache-control", "no-cache")], "").await;
        for (fields, expected) in asked.into_iter().zip(expected) {
            let after = proxy.get("/page", fields).await;
            assert_eq!((after.is_hit(), after.fields.get("x-head")), expected, "{head:?} {fields:?}");
        }
    }
}

async fn validation_by_head_of_one_visitor_touches_nothing_of_all() {
    let upstream = Upstream::start(|request| match &*request.method {
        "GET" => ok("max-age=60", "x").header("etag", "\"v1\""),
        _ => Reply::ok().header("cache-control", "max-age=60").header("etag", "\"v1\"").header("x-name", "me"),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[]).await;
    for field in [("authorization", "Basic YTpi"), ("cookie", "session=1")] {
        proxy.ask("HEAD", "/page", &[field], "").await;
    }
    assert_eq!(proxy.get("/page", &[]).await.fields.get("x-name"), None);
}
