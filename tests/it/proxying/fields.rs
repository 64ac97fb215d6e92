//! Which fields travel on, which end here and which larder adds, both ways.

use super::before;
use crate::support::client::{Connection, request};
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

const TRUSTING: &str = "[server]\ntrusted_proxies = [\"127.0.0.1\"]";

#[tokio::test]
async fn fields_of_a_request_as_the_upstream_gets_them() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let proxy = before(&upstream, "[compression]\nenabled = false");
    let mut client = Connection::open(proxy.address).await;
    client
        .send(
            "GET /a%2Fb/../c?x=1&x=%20 HTTP/1.1\r\nHOST: App.Test:80\r\nUser-Agent: ua\r\nX-Two: 1\r\nx-two:   2 \r\n\
             Accept-Encoding: gzip\r\nCookie: a=b\r\nEmpty:\r\n\r\n",
        )
        .await;
    assert_eq!(client.response("GET").await.status, 200);

    let seen = &upstream.requests()[0];
    let head = String::from_utf8(seen.raw_head.clone()).unwrap();
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "GET /a%2Fb/../c?x=1&x=%20 HTTP/1.1");
    lines.sort_unstable();
    let via = lines.iter().position(|line| line.starts_with("via: 1.1 larder (")).expect("Via names this process");
    lines.remove(via);
    assert_eq!(
        lines,
        [
            "accept-encoding: gzip",
            "cookie: a=b",
            "empty: ",
            "forwarded: for=127.0.0.1;host=\"app.test\";proto=http",
            "host: app.test",
            "user-agent: ua",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: app.test",
            "x-forwarded-proto: http",
            "x-two: 1",
            "x-two: 2",
        ]
    );
}

#[tokio::test]
async fn fields_of_the_connection_end_here_both_ways() {
    let upstream = Upstream::start(|_| {
        Reply::ok()
            .header("connection", "keep-alive, X-Answer")
            .header("keep-alive", "timeout=9")
            .header("proxy-connection", "keep-alive")
            .header("x-answer", "secret")
            .header("upgrade", "h2c")
            .header("proxy-authenticate", "Basic")
            .header("te", "trailers")
            .header("x-kept", "1")
            .body("x")
    })
    .await;
    let proxy = before(&upstream, "");
    let fields = [
        ("Connection", "X-Asked, Keep-Alive, Close-Not"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("X-Asked", "secret"),
        ("TE", "gzip, trailers;q=0.5"),
        ("X-Kept", "1"),
    ];
    let response = proxy.get("/", &fields).await;

    let seen = &upstream.requests()[0].fields;
    for name in ["keep-alive", "proxy-connection", "proxy-authorization", "x-asked", "upgrade"] {
        assert_eq!(seen.get(name), None, "{name}");
    }
    assert_eq!((seen.get("x-kept"), seen.get("te"), seen.get("connection")), (Some("1"), Some("trailers"), Some("te")));
    for name in ["keep-alive", "proxy-connection", "x-answer", "upgrade", "proxy-authenticate", "te", "connection"] {
        assert_eq!(response.fields.get(name), None, "{name}");
    }
    assert_eq!(response.field("x-kept"), "1");
}

#[tokio::test]
async fn fields_that_frame_or_protect_cannot_be_nominated_away() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let proxy = before(&upstream, "");
    let nominated =
        "Content-Length, Authorization, Cookie, X-Forwarded-For, X-Forwarded-Proto, Host, Via, Transfer-Encoding";
    let fields = [("Connection", nominated), ("Authorization", "Basic eDp5"), ("Cookie", "a=b")];
    assert_eq!(proxy.ask("POST", "/", &fields, "body").await.status, 200);

    let seen = &upstream.requests()[0];
    assert_eq!(seen.body.content, b"body");
    for name in ["content-length", "authorization", "cookie", "x-forwarded-for", "x-forwarded-proto", "host", "via"] {
        assert!(seen.fields.get(name).is_some(), "{name}");
    }
}

#[tokio::test]
async fn fields_nominated_away_select_no_variant() {
    let upstream = Upstream::start(|request| {
        let language = request.fields.get("accept-language").unwrap_or("none").to_owned();
        Reply::ok().header("cache-control", "max-age=60").header("vary", "accept-language").body(language)
    })
    .await;
    let proxy = before(&upstream, "");
    let hidden = [("Accept-Language", "de"), ("Connection", "accept-language")];
    assert_eq!(proxy.get("/", &hidden).await.text(), "none");
    assert_eq!(proxy.get("/", &[("Accept-Language", "de")]).await.text(), "de", "not poisoned");
}

#[tokio::test]
async fn fields_by_which_an_answer_is_kept_from_others_cannot_be_nominated_away() {
    let upstream = Upstream::start(|request| {
        let language = request.fields.get("x-lang").unwrap_or("none").to_owned();
        let reply = Reply::ok().header("connection", "vary, age, expires, cache-control").header("vary", "X-Lang");
        reply.header("cache-control", "max-age=60").header("age", "7").body(language)
    })
    .await;
    let proxy = before(&upstream, "");
    for language in ["en", "de"] {
        let response = proxy.get("/", &[("X-Lang", language)]).await;
        assert_eq!(
            (response.text().as_str(), response.field("vary"), response.field("age")),
            (language, "X-Lang", "7")
        );
    }
}

#[tokio::test]
async fn fields_by_which_a_client_poses_as_a_proxy_are_replaced() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let proxy = before(&upstream, "");
    let fields = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.test"),
        ("X-Forwarded-Port", "1"),
        ("X-Forwarded-Prefix", "/evil"),
        ("Forwarded", "for=6.6.6.6;proto=https"),
        ("X-Real-IP", "6.6.6.6"),
        ("X-Original-URL", "/admin"),
        ("X-Rewrite-URL", "/admin"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("X_Forwarded_For", "6.6.6.6"),
        ("Proxy", "http://evil.test"),
    ];
    proxy.get("/", &fields).await;
    let seen = &upstream.requests()[0].fields;
    assert_eq!(seen.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.get("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.get("x-forwarded-host"), Some("app.test"));
    assert_eq!(seen.get("forwarded"), Some("for=127.0.0.1;host=\"app.test\";proto=http"));
    for (name, value) in &seen.0 {
        assert!(!value.contains("6.6.6.6") && !value.contains("evil") && !value.contains("admin"), "{name}: {value}");
    }
    assert_eq!(seen.get("x-http-method-override"), None);
}

#[tokio::test]
async fn fields_of_a_trusted_proxy_are_continued() {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("x")).await;
    let proxy = before(&upstream, TRUSTING);
    let fields = [
        ("Host", "inner.test"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-For", "192.0.2.2"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "Shop.Test:443"),
        ("Forwarded", "for=192.0.2.2;proto=https"),
        ("X-Real-IP", "192.0.2.2"),
        ("Via", "1.1 edge"),
    ];
    proxy.get("/", &fields).await;
    let seen = &upstream.requests()[0].fields;
    for (name, value) in [
        ("x-forwarded-for", "192.0.2.1, 192.0.2.2, 127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.test"),
        ("host", "shop.test"),
        ("forwarded", "for=192.0.2.2;proto=https, for=127.0.0.1;host=\"shop.test\";proto=https"),
        ("x-real-ip", "192.0.2.2"),
    ] {
        assert_eq!(seen.all(name).collect::<Vec<_>>(), [value], "{name}");
    }
    assert!(seen.get("via").is_some_and(|via| via.starts_with("1.1 edge, 1.1 larder (")), "{seen:?}");
    assert!(proxy.get("/", &fields).await.is_hit());
    assert!(!proxy.get("/", &[("Host", "shop.test")]).await.is_hit(), "another scheme, another key");
}

#[tokio::test]
async fn fields_of_a_response_as_the_client_gets_them() {
    let upstream = Upstream::start(|_| {
        Reply::status("418 I'm a teapot")
            .header("Server", "tea")
            .header("Set-Cookie", "a=1")
            .header("Set-Cookie", "b=2")
            .header("Via", "1.0 pot")
            .header("Cache-Status", "pot; hit")
            .header("Date", "Sun, 06 Nov 1994 08:49:37 GMT")
            .body("short")
    })
    .await;
    let proxy = before(&upstream, "");
    let response = proxy.get("/", &[]).await;
    assert_eq!((response.status, response.text().as_str()), (418, "short"));
    assert_eq!(response.fields.all("set-cookie").collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert_eq!(response.field("server"), "tea");
    assert_eq!(response.field("via"), "1.0 pot, 1.1 larder");
    assert_eq!(response.field("date"), "Sun, 06 Nov 1994 08:49:37 GMT");
    let statuses: Vec<_> = response.fields.all("cache-status").collect();
    assert_eq!(statuses[0], "pot; hit");
    assert!(statuses[1].starts_with("larder; fwd=uri-miss"), "{statuses:?}");
}

#[tokio::test]
async fn fields_beside_the_cookie_of_an_upstream_are_bytes() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let proxy = before(&upstream, "");
    let mut client = Connection::open(proxy.address).await;
    client.send(b"GET / HTTP/1.1\r\nHost: app.test\r\nX-Latin: caf\xe9\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n").await;
    assert_eq!(client.response("GET").await.status, 200);
    let seen = &upstream.requests()[0];
    let raw = &seen.raw_head;
    assert!(raw.windows(15).any(|window| window == b"x-latin: caf\xe9\r\n"), "{}", String::from_utf8_lossy(raw));
    assert_eq!(seen.fields.all("cookie").collect::<Vec<_>>(), ["a=1; b=2"], "one line, as RFC 6265 asks for");
}

#[tokio::test]
async fn fields_are_edited_by_the_route() {
    let upstream =
        Upstream::start(|_| Reply::ok().header("server", "tea").header("x-frame-options", "SAMEORIGIN").body("x"))
            .await;
    let proxy = before(
        &upstream,
        "[[routes]]\n\
         [routes.request_headers]\nset = { \"X-Set\" = \"ours\" }\nadd = { \"X-Add\" = \"ours\" }\n\
         default = { \"X-Default\" = \"ours\" }\nremove = [\"X-Remove\"]\n\
         [routes.response_headers]\nremove = [\"Server\"]\ndefault = { \"X-Frame-Options\" = \"DENY\", \"X-New\" = \"1\" }",
    );
    let fields = [("X-Set", "a"), ("X-Add", "a"), ("X-Default", "a"), ("X-Remove", "a")];
    let response = proxy.get("/", &fields).await;
    let seen = &upstream.requests()[0].fields;
    assert_eq!(seen.all("x-set").collect::<Vec<_>>(), ["ours"]);
    assert_eq!(seen.all("x-add").collect::<Vec<_>>(), ["a", "ours"]);
    assert_eq!(seen.all("x-default").collect::<Vec<_>>(), ["a"]);
    assert_eq!(seen.get("x-remove"), None);
    assert_eq!(response.fields.get("server"), None);
    assert_eq!((response.field("x-frame-options"), response.field("x-new")), ("SAMEORIGIN", "1"));
}

#[tokio::test]
async fn fields_that_the_cache_decides_about_are_not_added_by_a_route_either() {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("x")).await;
    let proxy = before(
        &upstream,
        "[[routes]]\n\
         [routes.request_headers]\nset = { \"Accept-Encoding\" = \"gzip\", \"If-None-Match\" = '\"a\"', \"Range\" = \"bytes=0-0\" }",
    );
    proxy.get("/", &[]).await;
    let seen = &upstream.requests()[0].fields;
    for (name, expected) in [("accept-encoding", Some("identity")), ("if-none-match", None), ("range", None)] {
        assert_eq!(seen.get(name), expected, "what is stored is for all");
    }
}

#[tokio::test]
async fn host_is_kept_the_servers_or_fixed() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let server = upstream.address().to_string();
    for (keys, expected) in [("", "shop.test:8080"), ("host = \"server\"", &*server), ("host = \"in.test\"", "in.test")]
    {
        let proxy = super::before_with(&upstream, keys);
        proxy.get("/", &[("Host", "SHOP.test.:08080")]).await;
        let seen = upstream.requests().pop().unwrap();
        assert_eq!(seen.fields.all("host").collect::<Vec<_>>(), [expected]);
        assert_eq!(seen.fields.get("x-forwarded-host"), Some("shop.test:8080"), "what the client asked for");
    }
}

#[tokio::test]
async fn host_of_an_absolute_target_routes_and_is_forwarded() {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("x")).await;
    let proxy = before(&upstream, "");
    for (target, reached) in [("http://app.test/x?y", "/x?y"), ("http://APP.test?q", "/?q"), ("HTTP://app.test", "/")] {
        let mut client = Connection::open(proxy.address).await;
        client.send(request("GET", target, &[("Host", "app.test")], "")).await;
        assert_eq!(client.response("GET").await.status, 200, "{target}");
        let seen = upstream.requests().pop().unwrap();
        assert_eq!((&*seen.target, seen.fields.get("host")), (reached, Some("app.test")));
    }
    assert!(proxy.get("/x?y", &[]).await.is_hit(), "the same key as in origin form");
    assert!(proxy.get("/", &[]).await.is_hit());
    // RFC 9110 §4.2.3: the scheme's default port may be there or not.
    for (target, host) in [("http://app.test:80/x?y", "app.test"), ("http://app.test/x?y", "app.test:80")] {
        let mut client = Connection::open(proxy.address).await;
        client.send(request("GET", target, &[("Host", host)], "")).await;
        assert!(client.response("GET").await.is_hit(), "{target}, {host}");
    }
}

/// RFC 9110 §7.4: who asks in cleartext for what is to be had securely alone, gets nothing, unless it is a proxy that
/// did the securing.
#[tokio::test]
async fn https_target_is_for_secure_connections() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    for (tables, status) in [("", 421), (TRUSTING, 200)] {
        for method in ["GET", "POST"] {
            let proxy = before(&upstream, tables);
            let mut client = Connection::open(proxy.address).await;
            client.send(request(method, "https://app.test/x", &[("Host", "app.test")], "")).await;
            assert_eq!(client.response(method).await.status, status, "{method} {tables}");
        }
    }
}
