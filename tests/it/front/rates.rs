//! Requests over time: by address, field, cookie or route.

use super::guarded;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

async fn upstream() -> Upstream {
    Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("x")).await
}

#[tokio::test]
async fn rate_is_kept_and_the_client_told_when_to_come_back() {
    let upstream = upstream().await;
    let proxy = guarded(&upstream, "limits = { rate = \"60/h\", burst = 3 }");
    for _ in 0..3 {
        assert_eq!(proxy.get("/", &[]).await.status, 200);
    }
    let refused = proxy.get("/", &[]).await;
    assert_eq!(refused.status, 429, "hits count as well: they cost us");
    let wait: u64 = refused.field("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(refused.field("ratelimit-policy"), "\"default\";q=60;w=3600;burst=3");
    assert!(refused.field("ratelimit").starts_with("\"default\";r=0;t="), "{}", refused.field("ratelimit"));
    assert!(refused.field("cache-status").contains("rate-limited"));
    assert_eq!(refused.field("cache-control"), "no-store");
    let metrics = proxy.metrics_text().await;
    assert!(metrics.contains("larder_refused_total{reason=\"rate-limited\"} 1"), "{metrics}");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn rate_by_field_or_cookie_gives_each_value_its_own() {
    let upstream = upstream().await;
    for (by, field, one, other) in
        [("header:X-Api-Key", "X-Api-Key", "a", "b"), ("cookie:session", "Cookie", "session=a", "x=y; session=b")]
    {
        let proxy = guarded(&upstream, &format!("limits = {{ rate = \"1/h\", rate_by = \"{by}\" }}"));
        for (value, status) in [(one, 200), (one, 429), (other, 200), (other, 429)] {
            assert_eq!(proxy.get("/", &[(field, value)]).await.status, status, "{by} {value}");
        }
        for status in [200, 429] {
            assert_eq!(proxy.get("/", &[]).await.status, status, "without it, by address");
        }
    }
}

#[tokio::test]
async fn rate_by_address_believes_only_trusted_proxies() {
    let upstream = upstream().await;
    let limits = "limits = { rate = \"1/h\" }";
    let stranger = guarded(&upstream, limits);
    for (address, status) in [("192.0.2.1", 200), ("192.0.2.2", 429)] {
        assert_eq!(stranger.get("/", &[("X-Forwarded-For", address)]).await.status, status);
    }
    let trusting = guarded(&upstream, &format!("{limits}\n[server]\ntrusted_proxies = [\"127.0.0.1\"]"));
    for (address, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.1", 429),
        ("192.0.2.2", 200),
        ("2001:db8:1:2::1", 200),
        ("2001:db8:1:2::ffff", 429),
        ("2001:db8:1:3::1", 200),
    ] {
        assert_eq!(trusting.get("/", &[("X-Forwarded-For", address)]).await.status, status, "{address}");
    }
}

#[tokio::test]
async fn rate_of_a_route_leaves_the_others_alone() {
    let upstream = upstream().await;
    let proxy = guarded(
        &upstream,
        "match = { path = \"/api/\" }\nlimits = { rate = \"1/h\", rate_by = \"route\" }\n[[routes]]",
    );
    for (path, status) in [("/api/a", 200), ("/api/b", 429), ("/other", 200), ("/other", 200)] {
        assert_eq!(proxy.get(path, &[]).await.status, status, "{path}");
    }
}
