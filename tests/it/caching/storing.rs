//! RFC 9111 §3: what is stored for others, and what is not.

use super::{Fields, ok, table};
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

stories![
    storing_by_status,
    storing_by_response_directives,
    storing_for_requests_with_authorization,
    storing_for_requests_with_cookies,
    storing_of_set_cookie_by_rule,
    storing_leaves_named_fields_to_the_client_that_asked,
    storing_only_what_get_brought,
    storing_keeps_fields_as_they_are_but_for_those_of_the_connection,
    storing_by_targeted_fields,
];

/// Asks twice for each row; the second answer must be a hit or not, and Cache-Status must end as given.
async fn assert_reuse(rules: &str, rows: Vec<(Reply, Fields, Fields, bool, &str)>) {
    let (upstream, proxy) = table(rules, rows.iter().map(|row| row.0.clone()).collect()).await;
    for (row, (reply, first, second, hit, status)) in rows.iter().enumerate() {
        let path = format!("/{row}");
        let one = proxy.get(&path, first).await;
        let two = proxy.get(&path, second).await;
        assert_eq!(two.is_hit(), *hit, "row {row}: {reply:?} {first:?} {second:?}: {:?}", two.fields);
        assert_eq!(upstream.count(&path), if *hit { 1 } else { 2 }, "row {row}");
        assert!(one.field("cache-status").ends_with(status), "row {row}: {}", one.field("cache-status"));
        assert_eq!((one.status, one.text()), (two.status, two.text()), "row {row}");
    }
}

fn with(status: &str, fields: &[(&str, &str)]) -> Reply {
    fields.iter().fold(Reply::status(status), |reply, (name, value)| reply.header(name, value)).body("x")
}

async fn storing_by_status() {
    const FRESH: (&str, &str) = ("cache-control", "max-age=60");
    let old = super::date(-100_000);
    let modified = ("last-modified", &*old);
    let mut rows = Vec::new();
    // Explicit freshness: any final status.
    for status in [
        "200 OK",
        "203 N",
        "301 M",
        "302 Found",
        "303 S",
        "307 T",
        "308 P",
        "404 Not Found",
        "410 Gone",
        "500 E",
        "503 S",
        "599 Unknown",
        "299 Unknown",
        "499 Unknown",
    ] {
        rows.push((with(status, &[FRESH]), &[][..], &[][..], true, "stored"));
    }
    // RFC 6585: these never.
    for status in ["428 P", "429 T", "431 R", "511 N"] {
        rows.push((with(status, &[FRESH]), &[], &[], false, "detail=status"));
    }
    // RFC 9110 §15.1: heuristic freshness for some statuses only, or with `public`.
    for status in ["200 OK", "203 N", "300 M", "301 M", "308 P", "404 Not Found", "405 M", "410 Gone", "414 U", "501 N"]
    {
        rows.push((with(status, &[modified]), &[], &[], true, "stored"));
    }
    for status in ["201 Created", "302 Found", "303 S", "307 T", "400 B", "403 F", "429 T"] {
        rows.push((with(status, &[modified]), &[], &[], false, "detail=status"));
    }
    for status in ["500 E", "502 B", "503 S", "504 G"] {
        rows.push((with(status, &[modified]), &[], &[], false, "detail=error-status"));
    }
    rows.push((with("302 Found", &[modified, ("cache-control", "public")]), &[], &[], true, "stored"));
    // §3: must-understand.
    rows.push((
        with("200 OK", &[("cache-control", "max-age=60, must-understand, no-store")]),
        &[],
        &[],
        true,
        "stored",
    ));
    rows.push((with("599 X", &[("cache-control", "max-age=60, must-understand")]), &[], &[], false, "detail=status"));
    rows.push((
        with("206 Partial Content", &[FRESH, ("content-range", "bytes 0-0/2")]),
        &[],
        &[],
        false,
        "detail=partial",
    ));
    assert_reuse("", rows).await;
}

async fn storing_by_response_directives() {
    let rows = [
        ("no-store", false, "detail=no-store"),
        ("no-store, max-age=60", false, "detail=no-store"),
        ("NO-STORE", false, "detail=no-store"),
        ("private, max-age=60", false, "detail=private"),
        ("Private", false, "detail=private"),
        ("max-age=60, private=\"x-personal\"", true, "stored"),
        ("max-age=60, no-cache=\"x-personal\"", true, "stored"),
        ("max-age=60, no-cache=\"\"", false, "zero-ttl"),
        ("max-age=60, unknown, other=\"no-store, private\"", true, "stored"),
        (",, max-age=60 , ,", true, "stored"),
        ("max-age=\"60\"", true, "stored"),
        ("max-age=60, x=\"open, no-store", false, "detail=no-store"),
        ("max-age=60, private=\"x-a, @\"", false, "detail=private"),
        ("max-age=60, private=X-A", true, "stored"),
        ("max-age=60, no-store=\"x\"", false, "detail=no-store"),
        ("no-store, must-understand=1, max-age=60", false, "detail=no-store"),
        ("private; max-age=60", false, "detail=private"),
        ("max-age=60, no-store;", false, "detail=no-store"),
        ("public; max-age=60", false, "zero-ttl"),
        ("no-cache, max-age=60", false, "zero-ttl"),
        ("public", false, "detail=no-freshness"),
        ("", false, "detail=no-freshness"),
    ];
    assert_reuse("", rows.map(|(cc, hit, status)| (ok(cc, "x"), &[][..], &[][..], hit, status)).to_vec()).await;
}

async fn storing_for_requests_with_authorization() {
    // RFC 9111 §3.5
    const KEY: Fields = &[("authorization", "Basic YTpi")];
    let rows = vec![
        (ok("max-age=60", "x"), KEY, KEY, false, "detail=authorization"),
        (ok("max-age=60", "x"), KEY, &[], false, "detail=authorization"),
        (ok("max-age=60, public", "x"), KEY, &[], true, "stored"),
        (ok("max-age=60, must-revalidate", "x"), KEY, KEY, true, "stored"),
        (ok("s-maxage=60", "x"), KEY, &[], true, "stored"),
        // Stored for others, it answers no request with credentials unless it says so.
        (ok("max-age=60", "x"), &[], KEY, false, "stored"),
        (ok("s-maxage=60", "x"), &[], KEY, true, "stored"),
    ];
    assert_reuse("", rows).await;
}

async fn storing_for_requests_with_cookies() {
    const COOKIE: Fields = &[("cookie", "session=1")];
    const THEME: Fields = &[("cookie", "theme=dark")];
    // Browsers send what was set, in whatever bytes.
    const BESIDE: Fields = &[("cookie", "name=Zo\u{eb}; session=1")];
    let protect = vec![
        (ok("max-age=60", "x"), COOKIE, &[][..], false, "detail=cookie-request"),
        (ok("max-age=60", "x"), &[], COOKIE, false, "stored"),
        (ok("max-age=60, public", "x"), COOKIE, COOKIE, true, "stored"),
        (ok("s-maxage=60", "x"), COOKIE, &[], true, "stored"),
    ];
    assert_reuse("", protect).await;
    assert_reuse("cookies = \"ignore\"", vec![(ok("max-age=60", "x"), COOKIE, THEME, true, "stored")]).await;
    let bypass = vec![(ok("s-maxage=60, public", "x"), COOKIE, COOKIE, false, "fwd=bypass; detail=cookie-request")];
    assert_reuse("cookies = \"bypass\"", bypass).await;
    let named = vec![
        (ok("max-age=60", "x"), THEME, THEME, true, "stored"),
        (ok("max-age=60", "x"), COOKIE, COOKIE, false, "detail=cookie-request"),
        (ok("max-age=60", "x"), BESIDE, THEME, false, "detail=cookie-request"),
    ];
    assert_reuse("cookies = [\"session\"]", named).await;
}

async fn storing_of_set_cookie_by_rule() {
    let personal = || ok("max-age=60", "x").header("set-cookie", "a=b");
    let cookies = async |rules: &str, reply: Reply| {
        let (upstream, proxy) = table(rules, vec![reply]).await;
        let first = proxy.get("/0", &[]).await.field("set-cookie").to_owned();
        let second = proxy.get("/0", &[]).await.field("set-cookie").to_owned();
        (first, second, upstream.count("/0"))
    };
    let (none, cookie) = (String::new(), "a=b".to_owned());
    assert_eq!(cookies("", personal()).await, (cookie.clone(), cookie.clone(), 2));
    assert_eq!(cookies("set_cookie = \"strip\"", personal()).await, (none.clone(), none.clone(), 1));
    assert_eq!(cookies("set_cookie = \"store\"", personal()).await, (cookie.clone(), cookie.clone(), 1));
    // RFC 9111 §5.2.2.7: named by `private`, it is for the first client alone, and the rest for all.
    let apart = ok("max-age=60, private=\"Set-Cookie\"", "x").header("set-cookie", "a=b");
    assert_eq!(cookies("", apart).await, (cookie, none, 1));
}

async fn storing_leaves_named_fields_to_the_client_that_asked() {
    for directive in ["private", "no-cache"] {
        let reply = ok(&format!("max-age=60, {directive}=\"X-Name, X-Other\""), "x");
        let (_upstream, proxy) = table("", vec![reply.header("x-name", "me").header("x-kept", "1")]).await;
        let first = proxy.get("/0", &[]).await;
        assert_eq!((first.field("x-name"), first.field("x-kept")), ("me", "1"), "{directive}");
        let second = proxy.get("/0", &[]).await;
        assert!(second.is_hit());
        assert_eq!((second.fields.get("x-name"), second.field("x-kept")), (None, "1"), "{directive}");
    }
}

async fn storing_only_what_get_brought() {
    // (What POST may bring for GET is told in `post`.)
    let upstream = Upstream::start(|_| ok("max-age=60", "x").header("content-location", "/other")).await;
    let proxy = Proxy::before(&upstream);
    // HEAD brings no body, a body on GET has no meaning, other methods are not looked up.
    for (method, body, status) in [
        ("HEAD", "", "larder; fwd=uri-miss; detail=method"),
        ("GET", "surprise", "larder; fwd=bypass; detail=request-body"),
        ("POST", "a=b", "larder; fwd=method"),
        ("OPTIONS", "", "larder; fwd=method"),
    ] {
        let response = proxy.ask(method, "/page", &[], body).await;
        assert!(response.field("cache-status").starts_with(status), "{method}: {:?}", response.fields);
    }
    assert_eq!(upstream.requests()[1].body.content, b"surprise");
    assert!(!proxy.get("/page", &[]).await.is_hit());
    // What GET stored answers HEAD.
    let head = proxy.ask("HEAD", "/page", &[], "").await;
    assert!(head.is_hit());
    assert_eq!((head.field("content-length"), head.body.content.len()), ("1", 0));
    assert_eq!(upstream.count("/page"), 5);
}

async fn storing_keeps_fields_as_they_are_but_for_those_of_the_connection() {
    // RFC 9111 §3.1
    let reply = ok("max-age=60", "x")
        .header("connection", "X-Hop, keep-alive")
        .header("keep-alive", "timeout=5")
        .header("x-hop", "1")
        .header("proxy-authenticate", "Basic")
        .header("proxy-authentication-info", "x")
        .header("upgrade", "foo")
        .header("x-two", "1")
        .header("x-two", "2, 3")
        .header("date", &super::date(-5))
        .header("expires", "yesterday")
        .header("x-latin", "caf\u{e9}");
    let (_upstream, proxy) = table("", vec![reply]).await;
    for _ in 0..2 {
        let response = proxy.get("/0", &[]).await;
        for gone in ["x-hop", "proxy-authenticate", "proxy-authentication-info", "upgrade"] {
            assert_eq!(response.fields.get(gone), None, "{gone}");
        }
        assert_eq!(response.field("keep-alive"), "");
        assert_eq!(response.fields.all("x-two").collect::<Vec<_>>(), ["1", "2, 3"]);
        assert_eq!((response.field("date"), response.field("expires")), (&*super::date(-5), "yesterday"));
        assert_eq!(response.field("x-latin"), "caf\u{e9}");
    }
}

async fn storing_by_targeted_fields() {
    // RFC 9213
    let targeted = |value: &str, cc: &str| ok(cc, "x").header("cdn-cache-control", value);
    let rows = vec![
        (targeted("max-age=60", "no-store"), &[][..], &[][..], true, "stored"),
        (targeted("no-store", "max-age=60"), &[], &[], false, "detail=no-store"),
        (targeted("private", "max-age=60"), &[], &[], false, "detail=private"),
        (targeted("", "max-age=60"), &[], &[], true, "stored"),
        (targeted("max-age=60, &&", "no-store"), &[], &[], false, "detail=no-store"),
        (targeted("max-age=\"60\"", "max-age=60"), &[], &[], false, "detail=zero-ttl"),
        (targeted("no-store", "no-store").header("larder-cache-control", "max-age=60"), &[], &[], true, "stored"),
        (targeted("public", "x").header("expires", &super::date(60)), &[], &[], false, "detail=no-freshness"),
    ];
    assert_reuse("", rows).await;
}
