//! Private caching: a partition for each session, and nothing of one for another.

use larder::cache::purge::{Mode, Purge, PurgeTarget};

use super::ok;
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::{Recorded, Upstream};

stories![
    session_gets_its_own_private_answers_again_and_nobody_elses,
    session_keeps_nothing_where_the_route_does_not_ask_for_it,
    session_that_is_unclear_shares_nothing,
    session_that_is_unclear_is_the_reason_said,
    session_never_stores_what_sets_cookies_or_says_no_store,
    session_that_logs_in_or_out_loses_what_was_kept_for_it,
    session_that_ends_keeps_out_what_was_under_way,
    session_entry_is_invalidated_by_unsafe_requests_and_purges,
    session_reloads_validates_and_gets_its_own_confirmed,
    session_shares_what_is_for_all,
    session_keeps_what_is_private_where_cookies_are_ignored,
    session_cookie_in_the_list_of_those_that_bypass_has_its_own_cache,
    session_bounds_hold,
    session_bytes_are_bounded_and_what_was_stored_first_goes,
    session_answers_too_large_for_its_part_are_not_kept,
];

const PRIVATE: &str = "private = { cookie = \"sid\" }";
const ANNA: (&str, &str) = ("cookie", "sid=anna; theme=dark");
const BERT: (&str, &str) = ("cookie", "theme=dark; sid=bert");

/// The app's idea of who asks: the last session cookie, whatever else there is.
fn whose(request: &Recorded) -> String {
    let cookies = request.fields.get("cookie").unwrap_or_default().to_owned();
    let session = cookies.split(';').filter_map(|pair| pair.trim().strip_prefix("sid=").map(str::to_owned)).next_back();
    format!("{} of {}", request.target, session.unwrap_or_else(|| "nobody".to_owned()))
}

async fn app() -> Upstream {
    Upstream::start(|request| match &*request.method {
        "GET" | "HEAD" => ok("private, max-age=60", &whose(request)),
        _ => Reply::ok(),
    })
    .await
}

async fn session_gets_its_own_private_answers_again_and_nobody_elses() {
    let upstream = app().await;
    let proxy = Proxy::with_rules(&upstream, PRIVATE);
    for (fields, text) in [(&[ANNA][..], "/page of anna"), (&[BERT], "/page of bert"), (&[], "/page of nobody")] {
        let first = proxy.get("/page", fields).await;
        assert_eq!((first.is_hit(), first.text().as_str()), (false, text));
    }
    for (fields, hit, text) in [
        (&[ANNA][..], true, "/page of anna"),
        (&[BERT], true, "/page of bert"),
        (&[("cookie", "sid=anna")], true, "/page of anna"),
        (&[("cookie", "sid=anna2")], false, "/page of anna2"),
        (&[("cookie", "sid=ann")], false, "/page of ann"),
        (&[], false, "/page of nobody"),
        (&[("cookie", "theme=dark")], false, "/page of nobody"),
    ] {
        let answer = proxy.get("/page", fields).await;
        assert_eq!((answer.is_hit(), answer.text().as_str()), (hit, text), "{fields:?}");
    }
    let hit = proxy.get("/page", &[ANNA]).await;
    assert!(hit.field("cache-status").contains("hit; ttl=60; detail=private"), "{:?}", hit.fields);
    assert_eq!(proxy.ask("HEAD", "/page", &[BERT], "").await.field("content-length"), "13");
}

async fn session_keeps_what_is_private_where_cookies_are_ignored() {
    let upstream = app().await;
    let proxy = Proxy::with_rules(&upstream, &format!("cookies = \"ignore\"\n{PRIVATE}"));
    for (hit, fields, text) in
        [(false, ANNA, "anna"), (true, ANNA, "anna"), (false, BERT, "bert"), (true, BERT, "bert")]
    {
        let page = proxy.get("/page", &[fields]).await;
        assert_eq!((page.is_hit(), page.text()), (hit, format!("/page of {text}")));
    }
}

async fn session_keeps_nothing_where_the_route_does_not_ask_for_it() {
    let upstream = app().await;
    let proxy = Proxy::before(&upstream);
    for _ in 0..2 {
        let answer = proxy.get("/page", &[ANNA]).await;
        assert!(answer.field("cache-status").contains("detail=private") && !answer.is_hit(), "{:?}", answer.fields);
    }
}

async fn session_that_is_unclear_shares_nothing() {
    let upstream = app().await;
    let proxy = Proxy::with_rules(&upstream, PRIVATE);
    proxy.get("/page", &[("cookie", "sid=anna")]).await;
    proxy.get("/page", &[("cookie", "sid=bert")]).await;
    // Whose is it? Apps differ in which one they take, and in which names they take for the same.
    let unclear = "larder; fwd=uri-miss; detail=session-unclear";
    for cookie in [
        "sid=anna; sid=bert",
        "sid=bert; sid=anna",
        "SID=x; sid=anna",
        "s%69d=x; sid=anna",
        "sid[a]=x; sid=anna",
        "s.i_d=x; sid=anna",
        "a=\"x; sid=bert\"; sid=anna",
        "sid=",
        "sid",
        "Sid=anna",
        "a=1 sid=anna",
        "a=1, sid=bert; sid=anna",
    ] {
        let first = proxy.get("/page", &[("cookie", cookie)]).await;
        let second = proxy.get("/page", &[("cookie", cookie)]).await;
        assert_eq!((first.field("cache-status"), second.field("cache-status")), (unclear, unclear), "{cookie}");
    }
    let lines = [("cookie", "sid=anna"), ("cookie", "sid=bert")];
    assert_eq!(proxy.get("/page", &lines).await.field("cache-status"), unclear);
    let authorized = [("cookie", "sid=anna"), ("authorization", "Basic Ym9i")];
    assert_eq!(proxy.get("/page", &authorized).await.field("cache-status"), unclear);
}

async fn session_that_is_unclear_is_the_reason_said() {
    let upstream = Upstream::start(|request| match request.path() {
        "/private" => ok("private", "x"),
        _ => ok("max-age=60", "x"),
    })
    .await;
    const TWICE: &str = "sid=anna; sid=bert";
    for (rules, path, cookie, said) in [
        ("", "/private", TWICE, "larder; fwd=uri-miss; detail=session-unclear"),
        ("", "/page", TWICE, "larder; fwd=bypass; detail=session-unclear"),
        ("cookies = \"bypass\"", "/page", TWICE, "larder; fwd=bypass; detail=session-unclear"),
        // Another cookie names no session: the reason is the one of a route that keeps none apart.
        ("", "/page", "theme=dark", "larder; fwd=bypass; detail=cookie-request"),
        ("", "/private", "theme=dark", "larder; fwd=uri-miss; detail=private"),
        ("cookies = \"bypass\"", "/page", "theme=dark", "larder; fwd=bypass; detail=cookie-request"),
    ] {
        let proxy = Proxy::with_rules(&upstream, &format!("{rules}\n{PRIVATE}"));
        proxy.get(path, &[]).await;
        let response = proxy.get(path, &[("cookie", cookie)]).await;
        assert_eq!(response.field("cache-status"), said, "{rules} {path} {cookie}");
    }
}

async fn session_never_stores_what_sets_cookies_or_says_no_store() {
    let upstream = Upstream::start(|request| {
        let reply = Reply::ok().body(whose(request));
        match request.path() {
            "/cookie" => reply.header("cache-control", "private, max-age=60").header("set-cookie", "other=1"),
            "/no-store" => reply.header("cache-control", "private, no-store, max-age=60"),
            "/kept-apart" => {
                reply.header("cache-control", "max-age=60, no-cache=\"set-cookie\"").header("set-cookie", "a=1")
            }
            "/shared-only" => reply.header("cache-control", "private, s-maxage=60"),
            _ => reply.header("cache-control", "max-age=60"),
        }
    })
    .await;
    for rules in ["", "set_cookie = \"strip\"", "set_cookie = \"store\"", "ttl = \"1h\"\nupstream = \"override\""] {
        let proxy = Proxy::with_rules(&upstream, &format!("{rules}\n{PRIVATE}"));
        for path in ["/cookie", "/no-store", "/kept-apart"] {
            for fields in [[ANNA], [BERT], [ANNA]] {
                assert!(!proxy.get(path, &fields).await.is_hit(), "{path} {rules}");
            }
        }
    }
    let proxy = Proxy::with_rules(&upstream, PRIVATE);
    for (path, hit) in [("/cookie", false), ("/no-store", false), ("/shared-only", false), ("/silent-about-whom", true)]
    {
        proxy.get(path, &[ANNA]).await;
        assert_eq!(proxy.get(path, &[ANNA]).await.is_hit(), hit, "{path}");
        assert!(!proxy.get(path, &[BERT]).await.is_hit(), "{path}");
    }
}

async fn session_that_logs_in_or_out_loses_what_was_kept_for_it() {
    for (field, value, ends) in [
        ("set-cookie", "sid=new; Path=/", true),
        ("set-cookie", "sid=; Max-Age=0", true),
        ("set-cookie", "SID=x", true),
        ("clear-site-data", "\"cookies\"", true),
        ("set-cookie", "theme=light", false),
    ] {
        let upstream = Upstream::start(move |request| match request.path() {
            "/change" => Reply::ok().header(field, value),
            _ => ok("private, max-age=60", &whose(request)),
        })
        .await;
        let proxy = Proxy::with_rules(&upstream, PRIVATE);
        for method in ["GET", "POST"] {
            proxy.get("/page", &[ANNA]).await;
            proxy.get("/page", &[BERT]).await;
            assert!(proxy.get("/page", &[ANNA]).await.is_hit());
            proxy.ask(method, "/change", &[ANNA], "").await;
            assert_eq!(proxy.get("/page", &[ANNA]).await.is_hit(), !ends, "{method} {field}: {value}");
            assert!(proxy.get("/page", &[BERT]).await.is_hit(), "another's");
        }
    }
}

async fn session_that_ends_keeps_out_what_was_under_way() {
    let gate = Gate::new();
    let opener = gate.clone();
    let upstream = Upstream::start(move |request| match request.path() {
        "/logout" => Reply::ok().header("set-cookie", "sid=; Max-Age=0"),
        _ => ok("private, max-age=60", &whose(request)).after(&opener),
    })
    .await;
    let proxy = Proxy::with_rules(&upstream, PRIVATE);
    let leaving = async {
        upstream.arrived(1).await;
        proxy.ask("POST", "/logout", &[ANNA], "").await;
        gate.open();
    };
    let (page, ()) = tokio::join!(proxy.get("/page", &[ANNA]), leaving);
    assert_eq!(page.text(), "/page of anna");
    assert!(!proxy.get("/page", &[ANNA]).await.is_hit());
}

async fn session_entry_is_invalidated_by_unsafe_requests_and_purges() {
    let upstream = app().await;
    let proxy = Proxy::with_rules(&upstream, PRIVATE);
    for fields in [[ANNA], [BERT]] {
        proxy.get("/page", &fields).await;
        proxy.get("/other", &fields).await;
    }
    proxy.ask("POST", "/page", &[ANNA], "").await;
    assert!(!proxy.get("/page", &[ANNA]).await.is_hit());
    assert!(!proxy.get("/page", &[BERT]).await.is_hit(), "what one changes may show for others");
    assert!(proxy.get("/other", &[ANNA]).await.is_hit());
    let all = Purge::new(vec![PurgeTarget::All], Mode::Hard, proxy.app.proxy.clock.now());
    drop(proxy.app.proxy.cache.purge(all).unwrap());
    assert!(!proxy.get("/other", &[ANNA]).await.is_hit());
}

async fn session_reloads_validates_and_gets_its_own_confirmed() {
    let upstream = Upstream::start(|request| {
        let tag = format!("\"{}\"", whose(request).replace(' ', "-"));
        let reply = match request.fields.get("if-none-match") {
            Some(given) if given == tag => Reply::status("304 Not Modified"),
            _ => Reply::ok().body(whose(request)),
        };
        reply.header("cache-control", "private, max-age=10, stale-while-revalidate=5").header("etag", &tag)
    })
    .await;
    let proxy = Proxy::with_rules(&upstream, PRIVATE);
    proxy.get("/page", &[ANNA]).await;
    proxy.get("/page", &[BERT]).await;
    let reloaded = proxy.get("/page", &[ANNA, ("cache-control", "no-cache")]).await;
    assert!(reloaded.field("cache-status").contains("fwd-status=304"), "{:?}", reloaded.fields);
    proxy.advance(20);
    for (fields, text) in [([ANNA], "/page of anna"), ([BERT], "/page of bert")] {
        let confirmed = proxy.get("/page", &fields).await;
        assert!(confirmed.field("cache-status").contains("fwd-status=304"), "{:?}", confirmed.fields);
        assert_eq!(confirmed.text(), text);
        assert!(proxy.get("/page", &fields).await.is_hit());
    }
    assert!(!proxy.get("/page", &[]).await.is_hit());
    // In the background too.
    proxy.advance(12);
    let count = upstream.requests().len();
    assert_eq!(proxy.get("/page", &[ANNA]).await.text(), "/page of anna");
    upstream.arrived(count + 1).await;
    for _ in 0..5 {
        assert_eq!(proxy.get("/page", &[BERT]).await.text(), "/page of bert");
    }
}

async fn session_shares_what_is_for_all() {
    let upstream = Upstream::start(|request| match request.path() {
        "/public" => ok("public, max-age=60", &whose(request)),
        _ => Reply::ok()
            .header("content-type", "image/png")
            .header("cache-control", "private, max-age=60")
            .body(whose(request)),
    })
    .await;
    let proxy = Proxy::with_rules(&upstream, PRIVATE);
    proxy.get("/public", &[ANNA]).await;
    let shared = proxy.get("/public", &[BERT]).await;
    assert_eq!((shared.is_hit(), shared.text().as_str()), (true, "/public of anna"));
    // What looks like a file for all, and is private all the same, is handed to nobody who waits for it.
    let (one, other) = tokio::join!(proxy.get("/x.png", &[ANNA]), proxy.get("/x.png", &[BERT]));
    assert_eq!((one.text().as_str(), other.text().as_str()), ("/x.png of anna", "/x.png of bert"));
    assert!(!proxy.get("/x.png", &[]).await.is_hit());
}

async fn session_cookie_in_the_list_of_those_that_bypass_has_its_own_cache() {
    let upstream = app().await;
    for rules in ["cookies = [\"sid\"]", "cookies = \"bypass\"", "cookies = \"ignore\""] {
        let proxy = Proxy::with_rules(&upstream, &format!("{rules}\n{PRIVATE}"));
        for fields in [[ANNA], [BERT]] {
            assert!(!proxy.get("/page", &fields).await.is_hit(), "{rules}");
            assert!(proxy.get("/page", &fields).await.is_hit(), "{rules}");
        }
    }
}

async fn session_bounds_hold() {
    let upstream = app().await;
    let proxy = Proxy::with_rules(&upstream, "private = { cookie = \"sid\", max_sessions = 2 }");
    let ask = async |value: &str| proxy.get("/page", &[("cookie", &format!("sid={value}"))]).await.is_hit();
    for value in ["a", "b"] {
        ask(value).await;
    }
    assert!(ask("a").await, "used again");
    assert!(!ask("c").await);
    assert!(ask("a").await && ask("c").await && !ask("b").await, "the least recently used went");
    let metrics = proxy.metrics_text().await;
    assert!(metrics.contains("larder_cache_sessions 2"), "{metrics}");
    assert!(!metrics.contains("sid="), "neither values nor names");
}

async fn session_bytes_are_bounded_and_what_was_stored_first_goes() {
    let upstream = app().await;
    let proxy = Proxy::with_rules(&upstream, "private = { cookie = \"sid\", max_bytes = \"4KiB\" }");
    for number in 0..20 {
        proxy.get(&format!("/{number}"), &[ANNA]).await;
    }
    assert!(proxy.get("/19", &[ANNA]).await.is_hit());
    assert!(!proxy.get("/0", &[ANNA]).await.is_hit());
}

async fn session_answers_too_large_for_its_part_are_not_kept() {
    let upstream = app().await;
    let proxy = Proxy::with_rules(&upstream, "private = { cookie = \"sid\", max_session_bytes = \"500\" }");
    for _ in 0..2 {
        assert!(!proxy.get("/page", &[ANNA]).await.is_hit(), "what it takes with its overhead counts");
    }
}
