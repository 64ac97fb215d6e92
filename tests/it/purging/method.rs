//! The method PURGE on the listeners of clients.

use serde_json::Value;

use super::tagged;
use crate::support::client::Response;
use crate::support::proxy::Proxy;
use crate::support::upstream::Upstream;

stories![
    purge_is_for_those_who_have_address_and_token,
    purge_without_anybody_who_may_is_a_method_like_any_other,
    purge_takes_all_of_its_url_and_tells_how_many,
    purge_names_tags_and_means_it_softly_by_fields,
];

const TOKENS: &str = "[[control.tokens]]\nname = \"cms\"\ntoken = \"cms-token\"\nscopes = [\"purge\"]\n\
                      [[control.tokens]]\nname = \"eyes\"\ntoken = \"eyes-token\"\nscopes = [\"read\"]\n";

/// Settings, the fields of a PURGE, and the status that it gets.
type Row = (String, &'static [(&'static str, &'static str)], u16);

fn proxy(upstream: &Upstream, more: &str) -> Proxy {
    Proxy::configured(&format!("{more}\n[upstreams.app]\nservers = [\"{}\"]\n", upstream.url()))
}

/// One that loopback may purge on without a token.
fn open(upstream: &Upstream, more: &str) -> Proxy {
    proxy(upstream, &format!("control.purge_method = {{ allow = [\"127.0.0.1\"], token = false }}\n{more}"))
}

fn json(response: &Response) -> Value {
    assert_eq!((response.status, response.field("content-type")), (200, "application/json"), "{}", response.text());
    serde_json::from_str(&response.text()).unwrap()
}

async fn purge_is_for_those_who_have_address_and_token() {
    let upstream = tagged(|_| vec![]).await;
    const BEARER: (&str, &str) = ("authorization", "Bearer cms-token");
    let here = "control.purge_method.allow = [\"127.0.0.0/8\"]";
    let there = "control.purge_method.allow = [\"192.0.2.0/24\"]";
    let behind = |allow: &str| format!("{allow}\nserver.trusted_proxies = [\"127.0.0.1\"]");
    let table: &[Row] = &[
        (here.to_owned(), &[BEARER], 200),
        (here.to_owned(), &[], 401),
        (here.to_owned(), &[("authorization", "Bearer cms-toke")], 401),
        (here.to_owned(), &[("authorization", "Basic cms-token")], 401),
        (here.to_owned(), &[BEARER, BEARER], 401),
        (here.to_owned(), &[("authorization", "Bearer eyes-token")], 403),
        (there.to_owned(), &[BEARER], 403),
        // What a client says of itself makes no difference.
        (
            there.to_owned(),
            &[BEARER, ("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1"), ("x-real-ip", "192.0.2.1")],
            403,
        ),
        (behind(there), &[BEARER, ("x-forwarded-for", "192.0.2.1")], 200),
        (behind(there), &[BEARER, ("x-forwarded-for", "192.0.2.1, 198.51.100.1")], 403),
        (behind(here), &[BEARER, ("x-forwarded-for", "198.51.100.1")], 403),
    ];
    for (settings, fields, status) in table {
        let proxy = proxy(&upstream, &format!("{settings}\n{TOKENS}"));
        proxy.get("/page", &[]).await;
        let answer = proxy.ask("PURGE", "/page", fields, "").await;
        assert_eq!(answer.status, *status, "{settings} {fields:?}: {}", answer.text());
        assert_eq!(proxy.get("/page", &[]).await.is_hit(), *status != 200, "{settings} {fields:?}");
        assert_eq!(
            answer.field("www-authenticate").starts_with("Bearer "),
            matches!(fields, [.., ("authorization", "Bearer eyes-token")]) || *status == 401
        );
        assert!(!answer.text().contains("token"), "{}", answer.text());
    }
    assert!(upstream.requests().iter().all(|request| request.method != "PURGE"), "it goes no further");
}

async fn purge_without_anybody_who_may_is_a_method_like_any_other() {
    let upstream = tagged(|_| vec![]).await;
    let proxy = proxy(&upstream, TOKENS);
    proxy.ask("PURGE", "/page", &[("authorization", "Bearer cms-token")], "").await;
    assert_eq!(upstream.requests()[0].method, "PURGE");
}

async fn purge_takes_all_of_its_url_and_tells_how_many() {
    let upstream = tagged(|request| match request.path() {
        "/varied" => vec![("vary", "x-a"), ("content-type", "text/plain")],
        _ => vec![("content-type", "text/plain")],
    })
    .await;
    let proxy = open(&upstream, "cache.rules.key = { query = { except = [\"utm_*\"] } }");
    for fields in [&[][..], &[("x-a", "1")], &[("x-a", "2"), ("accept-encoding", "gzip")]] {
        proxy.get("/varied", fields).await;
    }
    proxy.get("/varied/below?a=1&utm_source=x", &[]).await;
    let answer = json(&proxy.ask("PURGE", "/varied", &[], "").await);
    assert_eq!((&answer["matched"], &answer["state"], &answer["soft"]), (&3.into(), &"done".into(), &false.into()));
    assert!(answer["id"].as_str().is_some_and(|id| id.len() > 20), "{answer}");
    assert_eq!(answer["tiers"][0], serde_json::json!({ "tier": "memory", "matched": 3, "state": "done" }));
    assert!(!proxy.get("/varied", &[("x-a", "1")]).await.is_hit());

    assert!(proxy.get("/varied/below?a=1", &[]).await.is_hit());
    assert_eq!(json(&proxy.ask("PURGE", "/varied/below?a=1&utm_medium=y", &[], "").await)["matched"], 1);
    assert!(!proxy.get("/varied/below?a=1", &[]).await.is_hit());
    let nothing = json(&proxy.ask("PURGE", "/absent", &[("host", "other.test")], "ignored").await);
    assert_eq!(nothing["matched"], 0, "that nothing matched is no error");
    let metrics = proxy.metrics_text().await;
    assert!(metrics.contains("larder_purges_total{reason=\"purge-method\"} 3\n"), "{metrics}");
    assert!(metrics.contains("cache=\"own\",method=\"other\"") || metrics.contains("cache=\"own\""), "no hit, no miss");
}

async fn purge_names_tags_and_means_it_softly_by_fields() {
    let upstream = tagged(|request| match request.path() {
        "/a" => vec![("xkey", "news a"), ("cache-control", "stale-while-revalidate=30")],
        _ => vec![("surrogate-key", "news b"), ("cache-control", "stale-while-revalidate=30")],
    })
    .await;
    for (field, value, soft, matched) in [
        ("surrogate-key", "news other", false, 2),
        ("xkey", "a", false, 1),
        ("cache-tag", "a, b", false, 2),
        ("xkey-purge", "b", false, 1),
        ("xkey-softpurge", "news", true, 2),
        ("fastly-soft-purge", "1", true, 1),
        ("fastly-soft-purge", "0", false, 1),
    ] {
        let proxy = open(&upstream, "");
        for path in ["/a", "/b"] {
            proxy.get(path, &[]).await;
        }
        let answer = json(&proxy.ask("PURGE", "/a", &[(field, value)], "").await);
        assert_eq!((&answer["matched"], &answer["soft"]), (&matched.into(), &soft.into()), "{field}: {answer}");
        let expected = match (field, value, soft) {
            ("xkey-purge", ..) => "larder; hit; ttl=60",
            (.., true) => "larder; hit; ttl=0; detail=stale-while-revalidate",
            _ => "larder; fwd=uri-miss; stored; ttl=60",
        };
        let after = proxy.get("/a", &[]).await;
        let said = after.field("cache-status").replace("; ttl=60; stored", "; stored; ttl=60");
        assert_eq!(said, expected, "{field}: {value}");
    }
    let proxy = open(&upstream, "");
    proxy.get("/a", &[]).await;
    for (field, value) in [("xkey-purge", " "), ("xkey", ""), ("xkey", ","), ("surrogate-key", "")] {
        assert_eq!(proxy.ask("PURGE", "/a", &[(field, value)], "").await.status, 400, "no tag is not the URL: {field}");
    }
    assert!(proxy.get("/a", &[]).await.is_hit());
}
