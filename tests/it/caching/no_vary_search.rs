//! No-Vary-Search: which differences of the query make none (draft-ietf-httpbis-no-vary-search).

use super::ok;
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::{Recorded, Upstream};

stories![
    no_vary_search_is_applied_at_look_up,
    no_vary_search_has_no_say_where_the_route_does_not_let_it,
    no_vary_search_purge_by_any_query_reaches_what_is_stored,
    no_vary_search_that_changes_counts_as_it_is_now,
    no_vary_search_validation_may_change_it,
    no_vary_search_collapses_what_is_known_to_be_the_same,
    no_vary_search_follower_is_not_merged_by_what_was_said_before,
    no_vary_search_learnt_after_a_purge_does_not_bring_back_what_was_purged,
];

fn saying(rule: &str, request: &Recorded) -> Reply {
    ok("max-age=60", &request.target).header("no-vary-search", rule)
}

async fn no_vary_search_is_applied_at_look_up() {
    // The rule, the first target, the second, whether the second is answered from the first.
    let rows = [
        ("params=(\"utm\")", "/a?utm=1&id=1", "/a?id=1&utm=2", true),
        ("params=(\"utm\")", "/b?utm=1", "/b", true),
        ("params=(\"utm\")", "/c?id=1&utm=1", "/c?id=2&utm=1", false),
        ("params", "/d?x=1", "/d?y=2", true),
        ("params, except=(\"id\")", "/e?id=1&x=1", "/e?y=1&id=1", true),
        ("params, except=(\"id\")", "/f?id=1", "/f?id=2", false),
        ("key-order", "/g?a=1&b=2", "/g?b=2&a=1", true),
        ("key-order", "/h?a=1&a=2", "/h?a=2&a=1", false),
        ("key-order", "/i?a=%61+b", "/i?a=a%20b", true),
        // Invalid, or nothing said.
        ("params=(utm)", "/j?utm=1", "/j?utm=2", false),
        ("except=(\"id\")", "/k?id=1&x=1", "/k?id=1", false),
        ("params=?0", "/l?a=%61", "/l?a=a", false),
        // Another path.
        ("params", "/m?x=1", "/n?x=1", false),
    ];
    let upstream = Upstream::start(move |request| {
        let row = rows.iter().find(|(_, first, ..)| first.starts_with(request.path())).unwrap_or(&rows[12]);
        saying(row.0, request)
    })
    .await;
    let proxy = Proxy::before(&upstream);
    for (rule, first, second, hit) in rows {
        assert!(!proxy.get(first, &[]).await.is_hit(), "{first}");
        let answer = proxy.get(second, &[]).await;
        assert_eq!((answer.is_hit(), answer.text().as_str()), (hit, if hit { first } else { second }), "{rule}");
        assert!(proxy.get(first, &[]).await.is_hit(), "{first}");
    }
}

async fn no_vary_search_has_no_say_where_the_route_does_not_let_it() {
    let upstream = Upstream::start(|request| saying("params", request)).await;
    let proxy = Proxy::with_rules(&upstream, "[cache.rules.key]\nno_vary_search = false");
    proxy.get("/p?a=1", &[]).await;
    assert!(!proxy.get("/p?a=2", &[]).await.is_hit());
    assert!(proxy.get("/p?a=1", &[]).await.is_hit());
}

async fn no_vary_search_purge_by_any_query_reaches_what_is_stored() {
    let upstream = Upstream::start(|request| match &*request.method {
        "GET" => saying("params=(\"utm\")", request),
        _ => Reply::ok(),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/p?utm=1&id=1", &[]).await;
    proxy.get("/p?utm=1&id=2", &[]).await;
    proxy.ask("POST", "/p?id=1&utm=77", &[], "").await;
    assert!(!proxy.get("/p?utm=1&id=1", &[]).await.is_hit(), "purged by an equivalent URL");
    assert!(proxy.get("/p?utm=3&id=2", &[]).await.is_hit(), "another query that counts");
    assert!(proxy.get("/p?utm=2&id=1", &[]).await.is_hit(), "stored anew");
}

async fn no_vary_search_that_changes_counts_as_it_is_now() {
    let upstream = Upstream::start(|request| match request.fields.get("x-rule") {
        Some("none") => ok("max-age=60", &request.target),
        Some(rule) => saying(rule, request),
        None => saying("params", request),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    let first = proxy.get("/p?a=1&b=1", &[]).await;
    assert!(proxy.get("/p?a=2&b=2", &[]).await.is_hit());
    proxy.advance(61);
    // Now only `a` makes no difference: what the first rule merged is apart.
    assert!(!proxy.get("/p?a=1&b=1", &[("x-rule", "params=(\"a\")")]).await.is_hit());
    assert!(proxy.get("/p?a=2&b=1", &[]).await.is_hit());
    let other = proxy.get("/p?a=1&b=2", &[("x-rule", "params=(\"a\")")]).await;
    assert_eq!((other.is_hit(), other.text().as_str()), (false, "/p?a=1&b=2"));
    proxy.advance(61);
    // And now nothing is said any more.
    assert!(!proxy.get("/p?a=1&b=1", &[("x-rule", "none")]).await.is_hit());
    assert!(proxy.get("/p?a=1&b=1", &[]).await.is_hit());
    assert_ne!(proxy.get("/p?a=3&b=1", &[("x-rule", "none")]).await.text(), first.text());
}

async fn no_vary_search_validation_may_change_it() {
    let upstream = Upstream::start(|request| {
        let rule = request.fields.get("x-rule").unwrap_or("params");
        let reply = match request.fields.get("if-none-match") {
            Some(_) => Reply::status("304 Not Modified"),
            None => Reply::ok().body(&request.target),
        };
        reply.header("cache-control", "max-age=60").header("etag", "\"1\"").header("no-vary-search", rule)
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/p?a=1", &[]).await;
    proxy.advance(61);
    let confirmed = proxy.get("/p?a=1", &[("x-rule", "params=(\"b\")")]).await;
    assert!(confirmed.field("cache-status").contains("fwd-status=304"), "{:?}", confirmed.fields);
    assert!(proxy.get("/p?a=1&b=1", &[]).await.is_hit());
    assert!(!proxy.get("/p?a=2", &[("x-rule", "params=(\"b\")")]).await.is_hit(), "the old rule is gone");
}

async fn no_vary_search_collapses_what_is_known_to_be_the_same() {
    let gate = Gate::new();
    let opener = gate.clone();
    let upstream = Upstream::start(move |request| match &*request.target {
        "/p?a=0" => saying("params", request),
        _ => saying("params", request).after(&opener),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/p?a=0", &[]).await;
    proxy.advance(61);
    let opening = async {
        upstream.arrived(2).await;
        gate.open();
    };
    let (one, other, ()) = tokio::join!(proxy.get("/p?a=1", &[]), proxy.get("/p?a=2", &[]), opening);
    assert_eq!(one.text(), other.text());
    assert_eq!(upstream.count("/p"), 2);
}

async fn no_vary_search_follower_is_not_merged_by_what_was_said_before() {
    let gate = Gate::new();
    let opener = gate.clone();
    // All queries are the same at first; the second time nothing is said.
    let upstream = Upstream::start(move |request| match &*request.target {
        "/p?a=0" => saying("params", request),
        "/p?a=1" => ok("max-age=60", &request.target).after(&opener),
        _ => ok("max-age=60", &request.target),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/p?a=0", &[]).await;
    proxy.advance(61);
    let opening = async {
        upstream.arrived(2).await;
        gate.open();
    };
    let follower = async {
        upstream.arrived(2).await;
        proxy.get("/p?a=2", &[]).await
    };
    let (one, other, ()) = tokio::join!(proxy.get("/p?a=1", &[]), follower, opening);
    assert_eq!((one.text().as_str(), other.text().as_str()), ("/p?a=1", "/p?a=2"));
}

async fn no_vary_search_learnt_after_a_purge_does_not_bring_back_what_was_purged() {
    let gate = Gate::new();
    let opener = gate.clone();
    let upstream = Upstream::start(move |request| match &*request.method {
        "GET" => saying("params", request).after(&opener),
        _ => Reply::ok(),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    let changing = async {
        upstream.arrived(1).await;
        proxy.ask("POST", "/p?a=2", &[], "").await;
        gate.open();
    };
    let (before, ()) = tokio::join!(proxy.get("/p?a=1", &[]), changing);
    assert!(before.field("cache-status").contains("detail=purged"), "{:?}", before.fields);
    assert!(!proxy.get("/p?a=2", &[]).await.is_hit());
}
