//! RFC 9111 §4.2: what is fresh is served, what is stale is not.

use super::{date, table};
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;

stories![
    freshness_ends_with_max_age,
    freshness_of_set_cookie_is_nobody_elses,
    freshness_lifetime_by_what_states_it,
    freshness_counts_the_time_that_the_response_took,
    freshness_of_what_has_just_come_has_no_age_of_ours,
    freshness_by_the_route,
];

async fn freshness_ends_with_max_age() {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("x")).await;
    let proxy = Proxy::before(&upstream);

    let first = proxy.get("/page", &[]).await;
    assert_eq!(first.field("cache-status"), "larder; fwd=uri-miss; ttl=60; stored");
    proxy.advance(59);
    let second = proxy.get("/page", &[]).await;
    assert_eq!((second.text().as_str(), second.field("age")), ("x", "59"));
    assert_eq!(second.field("cache-status"), "larder; hit; ttl=1");
    proxy.advance(1);
    assert!(!proxy.get("/page", &[]).await.is_hit());
    assert_eq!(upstream.count("/page"), 2);
}

async fn freshness_of_set_cookie_is_nobody_elses() {
    let upstream =
        Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").header("set-cookie", "a=b").body("x"))
            .await;
    let proxy = Proxy::before(&upstream);
    for _ in 0..2 {
        let response = proxy.get("/page", &[]).await;
        assert!(response.field("cache-status").ends_with("detail=set-cookie"), "{:?}", response.fields);
        assert_eq!(response.field("set-cookie"), "a=b");
    }
    assert_eq!(upstream.count("/page"), 2);
}

async fn freshness_lifetime_by_what_states_it() {
    // Fields, the lifetime in seconds; 0: not fresh at all.
    let rows: Vec<(Vec<(&str, String)>, u64)> = vec![
        (vec![("cache-control", "max-age=60".into())], 60),
        (vec![("cache-control", "s-maxage=30, max-age=60".into())], 30),
        (vec![("cache-control", "max-age=60, s-maxage=90".into()), ("expires", date(10))], 90),
        (vec![("cache-control", "max-age=60".into()), ("expires", date(-10))], 60),
        (vec![("cache-control", "max-age=0".into()), ("expires", date(60))], 0),
        (vec![("cache-control", "MAX-AGE=60".into())], 60),
        (vec![("cache-control", "max-age=60, max-age=0".into())], 60),
        (vec![("cache-control", "public".into()), ("cache-control", "max-age=60".into())], 60),
        (vec![("cache-control", "max-age=99999999999999999999".into())], 100_000_000),
        (vec![("cache-control", "max-age=-1".into())], 0),
        (vec![("cache-control", "max-age=60.5".into())], 0),
        (vec![("cache-control", "max-age=x".into()), ("expires", date(60))], 0),
        (vec![("cache-control", "max-age".into())], 0),
        // Expires counts from Date, in all three formats; what is no date has passed.
        (vec![("expires", date(60))], 60),
        (vec![("expires", date(60)), ("date", date(30))], 30),
        (vec![("expires", "Sunday, 06-Nov-94 08:50:37 GMT".into())], 60),
        (vec![("expires", "Sun Nov  6 08:50:37 1994".into())], 60),
        (vec![("expires", "0".into())], 0),
        (vec![("expires", "sun, 06 nov 1994 08:50:37 gmt".into())], 0),
        (vec![("expires", "Sun, 06 Nov 1994 08:50:37 UTC".into())], 0),
        (vec![("expires", "Sun, 6 Nov 1994 08:50:37 GMT".into())], 0),
        (vec![("expires", "Sat, 06 Nov 2286 08:50:37 GMT".into())], 100_000_000),
        (vec![("expires", date(60)), ("cache-control", "max-age=\"60".into())], 0),
        (vec![("cache-control", "max-age=60;x".into())], 0),
        (vec![("cache-control", "max-age =60".into())], 0),
        (vec![("cache-control", "s-maxage=x, max-age=60".into())], 0),
        (vec![("expires", "-1".into())], 0),
        (vec![("expires", "Sun, 06 Nov 1994 08:50:37".into())], 0),
        (vec![("expires", date(60)), ("expires", date(90))], 0),
        (vec![("expires", date(-60))], 0),
        // §4.2.2: a tenth of the time since Last-Modified.
        (vec![("last-modified", date(-1000))], 100),
        (vec![("last-modified", date(-1000)), ("cache-control", "public".into())], 100),
        (vec![("last-modified", date(60))], 0),
        (vec![("last-modified", "yesterday".into())], 0),
        (vec![("last-modified", date(-1000)), ("expires", "0".into())], 0),
        (vec![("last-modified", date(-100_000_000))], 24 * 3600),
        // §5.1, §4.2.3: what has passed already counts, of several Ages the first, what is no number not.
        (vec![("cache-control", "max-age=60".into()), ("age", "20".into())], 40),
        (vec![("cache-control", "max-age=60".into()), ("age", "60".into())], 0),
        (vec![("cache-control", "max-age=60".into()), ("age", "20, 50".into())], 40),
        (vec![("cache-control", "max-age=60".into()), ("age", "20".into()), ("age", "50".into())], 40),
        (vec![("cache-control", "max-age=60".into()), ("age", "-5".into())], 60),
        (vec![("cache-control", "max-age=60".into()), ("age", "2.5".into())], 60),
        (vec![("cache-control", "max-age=60".into()), ("age", "99999999999999999999".into())], 0),
        (vec![("cache-control", "max-age=60".into()), ("date", date(-20))], 40),
        (vec![("cache-control", "max-age=60".into()), ("date", date(-20)), ("age", "5".into())], 40),
        (vec![("cache-control", "max-age=60".into()), ("date", date(20))], 60),
        (vec![("cache-control", "max-age=60".into()), ("date", "yesterday".into())], 60),
    ];
    let reply = |fields: &[(&str, String)]| {
        fields.iter().fold(Reply::ok(), |reply, (name, value)| reply.header(name, value)).body("x")
    };
    let (upstream, _) = table("", rows.iter().map(|(fields, _)| reply(fields)).collect()).await;
    for (row, (fields, lifetime)) in rows.iter().enumerate() {
        // A proxy each: their clocks go different ways.
        let proxy = Proxy::before(&upstream);
        let path = format!("/{row}");
        proxy.get(&path, &[]).await;
        if *lifetime > 0 {
            proxy.advance(lifetime - 1);
            assert!(proxy.get(&path, &[]).await.is_hit(), "{fields:?} is fresh for {lifetime} s");
        }
        proxy.advance(if *lifetime == 100_000_000 { 3 << 30 } else { 1 });
        assert!(!proxy.get(&path, &[]).await.is_hit(), "{fields:?} is fresh for {lifetime} s only");
    }
}

async fn freshness_counts_the_time_that_the_response_took() {
    // RFC 9111 §4.2.3: response_delay
    let gate = Gate::new();
    let opener = gate.clone();
    let upstream = Upstream::start(move |_| {
        Reply::ok().header("cache-control", "max-age=60").header("age", "5").after(&opener).body("x")
    })
    .await;
    let proxy = Proxy::before(&upstream);
    let asking = proxy.get("/page", &[]);
    let answering = async {
        upstream.arrived(1).await;
        proxy.advance(10);
        gate.open();
    };
    let (first, ()) = tokio::join!(asking, answering);
    assert_eq!(first.field("age"), "5", "what has just come is passed on as it came");
    proxy.advance(7);
    let second = proxy.get("/page", &[]).await;
    assert_eq!((second.is_hit(), second.field("age")), (true, "22"));
}

async fn freshness_of_what_has_just_come_has_no_age_of_ours() {
    let gate = Gate::new();
    let opener = gate.clone();
    let upstream =
        Upstream::start(move |_| Reply::ok().header("cache-control", "max-age=60").after(&opener).body("x")).await;
    let proxy = Proxy::before(&upstream);
    let answering = async {
        upstream.arrived(1).await;
        proxy.advance(10);
        gate.open();
    };
    let (first, ()) = tokio::join!(proxy.get("/page", &[]), answering);
    assert_eq!(first.fields.get("age"), None);
}

async fn freshness_by_the_route() {
    for (rules, cache_control, status, expected) in [
        ("ttl = \"30s\"", "", "200 OK", "ttl=30; stored"),
        ("ttl = \"30s\"", "max-age=60", "200 OK", "ttl=60; stored"),
        ("ttl = \"30s\"\nupstream = \"override\"", "no-store, private, max-age=60", "200 OK", "ttl=30; stored"),
        ("ttl_max = \"30s\"", "max-age=60", "200 OK", "ttl=30; stored"),
        ("status_ttl = { \"404\" = \"5s\" }", "", "404 Not Found", "ttl=5; stored"),
        ("status_ttl = { \"503\" = \"5s\" }", "", "503 Down", "ttl=5; stored"),
        ("status_ttl = { \"404\" = \"5s\" }", "max-age=60", "404 Not Found", "ttl=60; stored"),
        ("ttl = \"30s\"", "", "404 Not Found", "detail=no-freshness"),
        ("enabled = false", "max-age=60", "200 OK", "fwd=bypass; detail=cache-off"),
    ] {
        let reply = Reply::status(status).header("cache-control", cache_control).body("x");
        let (_upstream, proxy) = table(rules, vec![reply]).await;
        let response = proxy.get("/0", &[]).await;
        assert!(response.field("cache-status").ends_with(expected), "{rules}: {}", response.field("cache-status"));
    }
}
