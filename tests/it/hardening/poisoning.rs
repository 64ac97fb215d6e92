//! Cache deception (a personal page stored under a file's name) and cache poisoning (an attacker's answer for all).

use super::before;
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;

stories![
    deception_a_files_suffix_alone_stores_nothing,
    deception_nothing_personal_is_a_file,
    personal_answers_are_not_shared_by_collapsing_either,
    poisoning_by_what_is_not_in_the_key_fails,
    poisoning_with_an_error_of_the_upstream_fails,
    poisoning_by_the_host_fails,
    cookies_that_only_the_app_finds_publish_nothing,
    queries_that_are_read_otherwise_by_the_app_publish_nothing,
    variants_of_a_key_are_capped,
    incomplete_answers_are_never_stored_as_whole,
];

async fn deception_a_files_suffix_alone_stores_nothing() {
    let upstream = Upstream::start(|_| Reply::ok().header("content-type", "text/html").body("Alice's account")).await;
    let proxy = before(&upstream, "");
    for path in [
        "/account/x.css",
        "/account;x.css",
        "/account%2fx.css",
        "/account%3Bx.css",
        "/account%00.css",
        "/account%0A.js",
        "/account?x.css",
        "/account/%2e%2e/static/x.css",
        "/static/..%2faccount.png",
        "/account/.css",
        "/favicon.ico",
        "/robots.txt",
    ] {
        for cookie in ["session=alice", "session=mallory"] {
            let response = proxy.get(path, &[("Cookie", cookie)]).await;
            assert!(!response.is_hit(), "{path}: {}", response.field("cache-status"));
            assert_eq!(response.fields.get("cache-control"), None, "{path}");
        }
    }
    assert_eq!(upstream.requests().len(), 24);
    let metrics = proxy.metrics_text().await;
    assert!(
        metrics.contains("decision=\"no_store\",reason=\"disguised\"") || metrics.contains("reason=\"disguised\""),
        "{metrics}"
    );
}

async fn cookies_that_only_the_app_finds_publish_nothing() {
    let upstream = Upstream::start(|request| Reply::ok().body(request.fields.get("cookie").unwrap_or("nobody"))).await;
    for (number, cookie) in [
        "a=1 sessionid=v",
        "a=1\tsessionid=v",
        "a=1, sessionid=v",
        "a=\"x\" sessionid=v",
        "SessionID=v",
        "a=1; sessionid=v",
    ]
    .into_iter()
    .enumerate()
    {
        for rules in [
            "cache = { ttl = \"1m\", cookies = [\"sessionid\"] }",
            "cache = { ttl = \"1m\", cookies = \"ignore\", key = { cookies = [\"sessionid\"] } }",
            "match = { cookie = \"sessionid\" }\ncache = { enabled = false }\n[[routes]]\ncache = { ttl = \"1m\", cookies = \"ignore\" }",
        ] {
            let proxy = before(&upstream, &format!("[[routes]]\n{rules}\n"));
            let path = format!("/{number}");
            assert_eq!(proxy.get(&path, &[("cookie", cookie)]).await.text(), cookie);
            assert_eq!(proxy.get(&path, &[("cookie", "a=1")]).await.text(), "a=1", "{rules} {cookie}");
            assert!(proxy.get(&path, &[]).await.is_hit(), "{rules}");
        }
    }
}

async fn queries_that_are_read_otherwise_by_the_app_publish_nothing() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let proxy = before(
        &upstream,
        "[[routes]]\nmatch = { path = \"/admin\", query = { admin = \"1\" } }\naccess = { deny = [\"127.0.0.1\"] }\n\
         [[routes]]\nmatch = { path = \"/api\", query = { public = \"1\" } }\ncache = { ttl = \"1m\", cookies = \"ignore\" }\n\
         [[routes]]\n",
    );
    for (target, status, word) in [
        ("/admin?admin=1", 403, "denied"),
        ("/admin?admin=%31", 403, "denied"),
        ("/admin?%61dmin=1", 400, "ambiguous-query"),
        ("/admin?admin=0&admin=1", 400, "ambiguous-query"),
        ("/admin?x;admin=1", 400, "ambiguous-query"),
        ("/api?public=1&public=0", 400, "ambiguous-query"),
        ("/api?public=1&%70ublic=0", 400, "ambiguous-query"),
        ("/api?public[]=1", 400, "ambiguous-query"),
        // Neither the path nor the query alone is in doubt.
        ("/%61dmin?%61dmin=1", 400, "ambiguous-path"),
    ] {
        let response = proxy.get(target, &[]).await;
        let expected = format!("larder; detail={word}");
        assert_eq!((response.status, response.field("cache-status")), (status, &*expected), "{target}");
    }
    assert_eq!(upstream.requests().len(), 0);
    for target in
        ["/admin?admin=0", "/x?public=1&public=0", "/api?public=1&tag[]=a&tag[]=b;c", "/api?q=%61&filter%5Ba%5D=b"]
    {
        assert_eq!(proxy.get(target, &[]).await.status, 200, "{target}");
    }
}

async fn deception_nothing_personal_is_a_file() {
    let upstream = Upstream::start(|request| {
        let reply = Reply::ok().header("content-type", "text/css");
        match request.path() {
            "/cookie.css" => reply.header("set-cookie", "session=alice").body("x"),
            "/private.css" => reply.header("cache-control", "private").body("x"),
            "/no-store.css" => reply.header("cache-control", "no-store").body("x"),
            "/two-types.css" => reply.header("content-type", "text/html").body("x"),
            _ => reply.body("x"),
        }
    })
    .await;
    let proxy = before(&upstream, "");
    for (path, fields) in [
        ("/cookie.css", &[][..]),
        ("/private.css", &[]),
        ("/no-store.css", &[]),
        ("/authorized.css", &[("Authorization", "Basic eDp5")]),
        ("/two-types.css", &[("Cookie", "session=alice")]),
    ] {
        for _ in 0..2 {
            assert!(!proxy.get(path, fields).await.is_hit(), "{path}");
        }
        assert_eq!(upstream.count(path), 2, "{path}");
    }
    assert!(!proxy.get("/plain.css", &[]).await.is_hit());
    assert!(proxy.get("/plain.css", &[("Cookie", "session=alice")]).await.is_hit(), "a file it is");
}

async fn personal_answers_are_not_shared_by_collapsing_either() {
    for field in [("set-cookie", "session=alice"), ("cache-control", "private"), ("cache-control", "no-store")] {
        let gate = Gate::new();
        let held = gate.clone();
        let upstream = Upstream::start(move |request| {
            let whom = request.fields.get("x-whom").unwrap_or_default().to_owned();
            Reply::ok().after(&held).header("cache-control", "max-age=60").header(field.0, field.1).body(whom)
        })
        .await;
        let proxy = before(&upstream, "");
        let mut clients = Vec::new();
        for whom in ["alice", "bob", "carol"] {
            clients.push((whom, proxy.clients.begin("/", &[("X-Whom", whom)]).await));
        }
        upstream.arrived(1).await;
        gate.open();
        for (whom, mut client) in clients {
            let head = client.head().await;
            assert_eq!(client.body(&head).await.content, whom.as_bytes(), "{field:?}");
        }
    }
}

async fn poisoning_by_what_is_not_in_the_key_fails() {
    // The app reflects whatever it gets; nothing that the key leaves out may get there.
    let upstream = Upstream::start(|request| {
        let all: String = request.fields.0.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        Reply::ok()
            .header("cache-control", "max-age=60")
            .body(request.method.clone() + " " + &request.target + "\n" + &all)
    })
    .await;
    let proxy = before(&upstream, "");
    for (number, (name, value)) in [
        ("X-Forwarded-Host", "evil.test"),
        ("X-Forwarded-Proto", "evil"),
        ("X-Forwarded-Scheme", "evil"),
        ("X-Forwarded-Port", "evil"),
        ("X-Forwarded-Prefix", "evil"),
        ("X-Forwarded-Server", "evil"),
        ("X-Host", "evil"),
        ("X-Original-URL", "/evil"),
        ("X-Rewrite-URL", "/evil"),
        ("X-HTTP-Method-Override", "evil"),
        ("X-Original-Host", "evil"),
        ("Forwarded", "host=evil"),
        ("X_Forwarded_Host", "evil"),
        ("Proxy", "evil"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{number}");
        let poisoned = proxy.get(&path, &[(name, value)]).await;
        assert!(!poisoned.text().contains("evil"), "{name}: {}", poisoned.text());
        assert!(proxy.get(&path, &[]).await.is_hit());
    }
    assert!(proxy.metrics_text().await.contains("larder_unbelieved_requests_total 14\n"));
}

async fn poisoning_with_an_error_of_the_upstream_fails() {
    // An app with smaller limits than ours, or another view of bytes, answers 400: that must not stick.
    let upstream = Upstream::start(|request| match request.fields.get("x-large").or(request.fields.get("x-odd")) {
        Some(_) => Reply::status("400 Bad Request").body("too large"),
        None => Reply::ok().header("cache-control", "max-age=60").body("x"),
    })
    .await;
    let proxy = before(&upstream, "");
    let large = "x".repeat(8000);
    for (path, field) in [("/a", ("X-Large", &*large)), ("/b", ("X-Odd", "\u{80}"))] {
        assert_eq!(proxy.get(path, &[field]).await.status, 400);
        assert_eq!(proxy.get(path, &[]).await.text(), "x", "{path}");
    }
}

async fn poisoning_by_the_host_fails() {
    let upstream = Upstream::start(|request| {
        Reply::ok().header("cache-control", "max-age=60").body(request.fields.get("host").unwrap_or_default())
    })
    .await;
    let proxy = before(&upstream, "");
    for (host, seen, hit) in [
        ("app.test", "app.test", false),
        ("APP.test:80", "app.test", true),
        ("app.test.", "app.test", true),
        ("evil.test", "evil.test", false),
        ("app.test:81", "app.test:81", false),
        ("app.test", "app.test", true),
    ] {
        let response = proxy.get("/", &[("Host", host)]).await;
        assert_eq!((response.text().as_str(), response.is_hit()), (seen, hit), "{host}");
    }
}

async fn variants_of_a_key_are_capped() {
    let upstream =
        Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").header("vary", "user-agent").body("x"))
            .await;
    let proxy = Proxy::with_rules(&upstream, "max_variants = 4");
    for number in 0..20 {
        assert_eq!(proxy.get("/", &[("User-Agent", &format!("ua{number}"))]).await.status, 200);
    }
    let kept = proxy.app.proxy.cache.memory.entries();
    assert!((1..=4).contains(&kept), "{kept}");
    assert!(proxy.get("/", &[("User-Agent", "ua19")]).await.is_hit());
    assert!(!proxy.get("/", &[("User-Agent", "ua0")]).await.is_hit());
}

async fn incomplete_answers_are_never_stored_as_whole() {
    let upstream = Upstream::start(|request| {
        let reply = Reply::status("206 Partial Content")
            .header("cache-control", "max-age=60")
            .header("content-range", "bytes 0-2/10");
        match request.path() {
            "/part" => reply.body("abc"),
            "/cut" => {
                Reply::ok().header("cache-control", "max-age=60").header("content-length", "10").piece("abc").cut()
            }
            _ => Reply::raw(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            )
            .then_close(),
        }
    })
    .await;
    let proxy = before(&upstream, "");
    for path in ["/part", "/cut", "/cut-chunk"] {
        for _ in 0..2 {
            assert!(!proxy.get(path, &[]).await.is_hit(), "{path}");
        }
        assert_eq!(upstream.count(path), 2, "{path}");
    }
}

#[tokio::test]
async fn purging_reaches_only_what_is_stored_and_nothing_elsewhere() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let proxy = before(&upstream, "");
    // A method that some caches take for an order is only a method here.
    let response = proxy.ask("PURGE", "http://app.test/x", &[("Host", "app.test")], "").await;
    assert_eq!(response.status, 200);
    assert_eq!(upstream.requests()[0].method, "PURGE");
    // Whatever a client asks for, only the configured upstream is connected to.
    let elsewhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = elsewhere.local_addr().unwrap().to_string();
    let response = proxy.ask("GET", &format!("http://{address}/"), &[("Host", &address)], "").await;
    assert_eq!(response.status, 200);
    assert_eq!(upstream.requests()[1].fields.get("host"), Some(&*address));
}
