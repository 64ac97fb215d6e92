//! Stories of purging through the real proxy: tags and groups, purges while something is fetched, soft purges.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use larder::cache::purge::{Mode, PurgeTarget};

use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::{Recorded, Upstream};
use crate::support::within;

stories![
    tags_are_removed_before_the_client_and_purge_what_they_name,
    response_with_too_many_tags_is_not_stored,
    validation_keeps_tags_or_takes_over_new_ones,
    what_was_asked_for_before_a_purge_is_neither_stored_nor_shared_after_it,
    purge_that_means_something_else_leaves_a_fetch_alone,
    soft_purge_serves_stale_while_it_is_fetched_anew,
    soft_purge_stands_in_for_a_failed_upstream_and_a_hard_one_does_not,
    cache_groups_are_invalidated_within_their_origin,
];

fn tag(name: &str) -> PurgeTarget {
    PurgeTarget::Tag(name.to_owned())
}

/// What may be stored, with the number of the request as its body.
fn numbered(asked: &AtomicUsize) -> Reply {
    let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
    Reply::ok().header("cache-control", "max-age=60").body(number.to_string())
}

/// An upstream whose answers are numbered, with fields by request.
async fn tagged(fields: impl Fn(&Recorded) -> Vec<(&'static str, &'static str)> + Send + Sync + 'static) -> Upstream {
    let asked = AtomicUsize::new(0);
    Upstream::start(move |request| {
        fields(request).into_iter().fold(numbered(&asked), |reply, (name, value)| reply.header(name, value))
    })
    .await
}

async fn tags_are_removed_before_the_client_and_purge_what_they_name() {
    let upstream = tagged(|request| match request.path() {
        "/a" => vec![("surrogate-key", "news a"), ("cache-tag", "cms, page a")],
        "/b" => vec![("xkey", "news")],
        _ => vec![],
    })
    .await;
    let proxy = Proxy::before(&upstream);
    for path in ["/a", "/b", "/c"] {
        for hit in [false, true] {
            let response = proxy.get(path, &[]).await;
            assert_eq!(response.is_hit(), hit, "{path}");
            let named = ["surrogate-key", "cache-tag", "xkey"];
            assert!(named.iter().all(|name| response.fields.get(name).is_none()), "{path}: {:?}", response.fields);
        }
    }
    // What is not stored shows them to nobody either.
    let head = proxy.ask("POST", "/a", &[], "").await;
    assert!(head.fields.get("surrogate-key").is_none());
    proxy.get("/a", &[]).await;

    assert_eq!(proxy.purge(tag("page a")), 1);
    assert!(!proxy.get("/a", &[]).await.is_hit() && proxy.get("/b", &[]).await.is_hit());
    assert_eq!((proxy.purge(tag("news")), proxy.purge(tag("news")), proxy.purge(tag("none"))), (2, 0, 0));
    assert!(!proxy.get("/a", &[]).await.is_hit() && !proxy.get("/b", &[]).await.is_hit());
    assert!(proxy.get("/c", &[]).await.is_hit());
}

async fn response_with_too_many_tags_is_not_stored() {
    let upstream = tagged(|_| vec![("surrogate-key", "a b c")]).await;
    let text = format!("[upstreams.app]\nservers = [\"{}\"]\n[cache.tags]\nmost = 2", upstream.url());
    let proxy = Proxy::configured(&text);
    proxy.get("/", &[]).await;
    let response = proxy.get("/", &[]).await;
    assert_eq!(response.field("cache-status"), "larder; fwd=uri-miss; detail=too-many-tags");
    assert!(response.fields.get("surrogate-key").is_none());
}

async fn validation_keeps_tags_or_takes_over_new_ones() {
    let upstream = Upstream::start(|request| match (request.fields.get("if-none-match"), request.path()) {
        (None, _) => {
            Reply::ok().header("cache-control", "max-age=60").header("etag", "\"1\"").header("xkey", "old").body("x")
        }
        (Some(_), "/new") => Reply::status("304 Not Modified").header("etag", "\"1\"").header("xkey", "new"),
        (Some(_), _) => Reply::status("304 Not Modified").header("etag", "\"1\""),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    for path in ["/same", "/new"] {
        proxy.get(path, &[]).await;
    }
    proxy.advance(61);
    for path in ["/same", "/new"] {
        let response = proxy.get(path, &[]).await;
        assert!(response.fields.get("xkey").is_none() && response.field("cache-status").contains("fwd-status=304"));
    }
    assert_eq!((proxy.purge(tag("old")), proxy.purge(tag("new"))), (1, 1));
}

async fn what_was_asked_for_before_a_purge_is_neither_stored_nor_shared_after_it() {
    for target in [
        PurgeTarget::Url("http://app.test/page".to_owned()),
        PurgeTarget::Prefix("app.test/pa".to_owned()),
        PurgeTarget::Glob("/p*".to_owned()),
        PurgeTarget::Regex("page$".to_owned()),
        PurgeTarget::Status("200".parse().unwrap()),
        PurgeTarget::ContentType("text/*".to_owned()),
        tag("t"),
        PurgeTarget::Group { origin: "http://app.test".to_owned(), name: "g".to_owned() },
        PurgeTarget::All,
    ] {
        let (gate, asked) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
        let (opener, count) = (gate.clone(), asked.clone());
        let upstream = Upstream::start(move |_| {
            let reply = numbered(&count)
                .header("xkey", "t")
                .header("cache-groups", "\"g\"")
                .header("content-type", "text/plain");
            if count.load(Ordering::SeqCst) == 1 { reply.after(&opener) } else { reply }
        })
        .await;
        let proxy = Arc::new(Proxy::before(&upstream));
        let early = tokio::spawn({
            let proxy = proxy.clone();
            async move { proxy.get("/page", &[]).await }
        });
        upstream.arrived(1).await;
        proxy.purge(target.clone());
        // Asked after the purge: it must not wait for the answer to what was asked before.
        let late = within("an answer of its own", proxy.get("/page", &[])).await;
        assert_eq!(late.text(), "2", "{target}");
        gate.open();
        assert_eq!(early.await.unwrap().text(), "1", "{target}");
        within("the early one's end", async {
            while proxy.app.proxy.cache.flights.under_way() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let stored = proxy.get("/page", &[]).await;
        assert!(stored.is_hit() && stored.text() == "2", "{target}: {}", stored.text());
    }
}

async fn purge_that_means_something_else_leaves_a_fetch_alone() {
    let gate = Gate::new();
    let (opener, asked) = (gate.clone(), AtomicUsize::new(0));
    let upstream = Upstream::start(move |_| numbered(&asked).header("xkey", "t").after(&opener)).await;
    let proxy = Arc::new(Proxy::before(&upstream));
    let early = tokio::spawn({
        let proxy = proxy.clone();
        async move { proxy.get("/page", &[]).await }
    });
    upstream.arrived(1).await;
    proxy.purge(tag("u"));
    proxy.purge(PurgeTarget::Prefix("/other".to_owned()));
    gate.open();
    early.await.unwrap();
    assert!(proxy.get("/page", &[]).await.is_hit());
}

async fn soft_purge_serves_stale_while_it_is_fetched_anew() {
    let asked = Arc::new(AtomicUsize::new(0));
    let (gate, count) = (Gate::new(), asked.clone());
    let opener = gate.clone();
    let upstream = Upstream::start(move |_| {
        let reply = numbered(&count).header("xkey", "t").header("cache-control", "stale-while-revalidate=30");
        if count.load(Ordering::SeqCst) > 1 { reply.after(&opener) } else { reply }
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/page", &[]).await;
    assert_eq!(proxy.purge_as(vec![tag("t")], Mode::Soft), 1);
    for _ in 0..5 {
        let stale = proxy.get("/page", &[]).await;
        assert_eq!(stale.text(), "1");
        assert_eq!(stale.field("cache-status"), "larder; hit; ttl=0; detail=stale-while-revalidate");
    }
    gate.open();
    within("the new one", async { while proxy.get("/page", &[]).await.text() != "2" {} }).await;
    assert!(proxy.get("/page", &[]).await.field("cache-status").starts_with("larder; hit; ttl=60"));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

async fn soft_purge_stands_in_for_a_failed_upstream_and_a_hard_one_does_not() {
    for (mode, status) in [(Mode::Soft, 200), (Mode::Hard, 503)] {
        let asked = AtomicUsize::new(0);
        let upstream = Upstream::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::ok().header("cache-control", "max-age=60, stale-if-error=60").body("x"),
            _ => Reply::status("503 Service Unavailable"),
        })
        .await;
        let proxy = Proxy::before(&upstream);
        proxy.get("/page", &[]).await;
        proxy.purge_as(vec![PurgeTarget::All], mode);
        assert_eq!(proxy.get("/page", &[]).await.status, status, "{mode:?}");
    }
}

async fn cache_groups_are_invalidated_within_their_origin() {
    // RFC 9875 §2, §3
    let upstream = tagged(|request| match (request.method.as_str(), request.path()) {
        ("GET", "/a") => vec![("cache-groups", "\"scripts\", \"a\"")],
        ("GET", "/b") => vec![("cache-groups", "\"scripts\"")],
        ("GET", "/c") => vec![("cache-groups", "\"Scripts\", \"a\"")],
        ("GET", _) => vec![("cache-group-invalidation", "\"scripts\"")],
        (_, "/fails") => vec![],
        _ => vec![("cache-group-invalidation", "\"scripts\"")],
    })
    .await;
    let proxy = Proxy::before(&upstream);
    let paths = ["/a", "/b", "/c"];
    let stored = async |host| {
        let mut stored = Vec::new();
        for path in paths {
            stored.push(proxy.get(path, &[("host", host)]).await.is_hit());
        }
        stored
    };
    for host in ["app.test", "other.test"] {
        stored(host).await;
        assert_eq!(stored(host).await, [true; 3]);
    }
    assert_eq!(proxy.get("/a", &[]).await.field("cache-groups"), "\"scripts\", \"a\"", "clients see them");
    proxy.get("/safe", &[]).await;
    assert_eq!(stored("app.test").await, [true; 3], "safe methods invalidate nothing");
    proxy.ask("POST", "/elsewhere", &[], "").await;
    assert_eq!(stored("app.test").await, [false, false, true]);
    assert_eq!(stored("other.test").await, [true; 3], "another origin");
    // What shares a group with what is invalidated goes too, and no further than that.
    proxy.ask("DELETE", "/c", &[], "").await;
    let after = stored("app.test").await;
    assert_eq!(after, [false, false, false], "/a by the group a, /b by the group that the answer names, /c itself");
}
