//! The tests' own two ends against each other: what they say about larder rests on this.

use super::client::{self, Connection};
use super::exchange::{Version, told_over};
use super::proxy::Proxy;
use super::reply::{Gate, Reply};
use super::upstream::Upstream;
use super::wire::Fields;

#[tokio::test]
async fn upstream_records_bytes_and_answers_by_script() {
    let upstream = Upstream::start(|request| match request.path() {
        "/chunks" => Reply::ok().piece("one").piece("two").trailer("X-Sum", "6"),
        "/interim" => Reply::status("404 Not Found").send_before("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        "/raw" => Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"),
        "/echo" => Reply::ok().body(&request.body.content),
        _ => Reply::ok().header("cache-control", "max-age=60").body("x"),
    })
    .await;
    let mut client = Connection::open(upstream.address()).await;

    let page = client.get("/page?q=1", &[("X-Seen", "yes")]).await;
    assert_eq!((page.status, page.field("Cache-Control"), &*page.text()), (200, "max-age=60", "x"));
    let chunks = client.get("/chunks", &[]).await;
    assert_eq!((&*chunks.text(), chunks.body.trailers.get("x-sum")), ("onetwo", Some("6")));
    let interim = client.get("/interim", &[]).await;
    assert_eq!((interim.status, interim.interim.len()), (404, 1));
    assert_eq!(interim.interim[0].fields.get("link"), Some("</a>"));
    assert_eq!(client.get("/raw", &[]).await.text(), "hi");
    client.send(client::request("HEAD", "/page", &[], "")).await;
    assert_eq!(client.response("HEAD").await.field("content-length"), "1");
    client.send(client::request("POST", "/echo", &[("Host", "other.test")], "thought")).await;
    assert_eq!(client.response("POST").await.text(), "thought");

    let requests = upstream.requests();
    assert_eq!(requests[0].raw_head, b"GET /page?q=1 HTTP/1.1\r\nHost: app.test\r\nX-Seen: yes\r\n\r\n");
    assert_eq!((upstream.count("/page"), upstream.count("/nowhere"), requests.len()), (2, 0, 6));
    assert_eq!((requests[5].fields.get("host"), &*requests[5].body.raw), (Some("other.test"), &b"thought"[..]));
    assert!(requests.iter().all(|request| request.connection == 0));
    client::get(upstream.address(), "/", &[]).await;
    assert_eq!((upstream.connections(), upstream.requests()[6].connection), (2, 1));
}

#[tokio::test]
async fn upstream_waits_at_gates() {
    let (head, body) = (Gate::new(), Gate::new());
    let gates = (head.clone(), body.clone());
    let upstream = Upstream::start(move |_| Reply::ok().after(&gates.0).piece("a").gate(&gates.1).piece("b")).await;
    let mut client = Connection::open(upstream.address()).await;
    client.send(client::request("GET", "/", &[], "")).await;
    upstream.arrived(1).await;
    head.open();
    assert_eq!(client.head().await.fields.get("transfer-encoding"), Some("chunked"));
    body.open();
    drop(client);

    let again = client::get(upstream.address(), "/", &[]).await;
    assert_eq!(&*again.text(), "ab", "an open gate stays open");
}

#[tokio::test]
async fn upstream_asked_at_the_head_reads_the_body_when_told() {
    let upstream = Upstream::start_at_head(|request| {
        assert_eq!(request.body.raw, b"");
        match request.fields.lists("expect", "100-continue") {
            true => Reply::ok().send_before("HTTP/1.1 100 Continue\r\n\r\n").read_body().body("after"),
            false => Reply::ok().body("before"),
        }
    })
    .await;
    let mut client = Connection::open(upstream.address()).await;
    client.send("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    assert_eq!(client::status(&client.head().await), 100);
    client.send("body").await;
    assert_eq!(client.response("POST").await.text(), "after");
    client.send("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n").await;
    assert_eq!(client.response("POST").await.text(), "before");
    client.send("late").await;
    client.get("/", &[]).await;
    let bodies: Vec<_> = upstream.arrived(3).await.into_iter().map(|request| request.body.content).collect();
    assert_eq!(bodies, [&b"body"[..], b"late", b""]);
}

#[tokio::test]
async fn upstream_misbehaves_on_demand() {
    let upstream = Upstream::start(|request| match request.path() {
        "/cut-chunks" => Reply::ok().piece("half").cut(),
        "/cut-length" => Reply::ok().header("content-length", "10").piece("half").cut(),
        "/until-close" => Reply::raw("HTTP/1.1 200 OK\r\n\r\nall").then_close(),
        "/hang" => Reply::hang(),
        _ => Reply::close(),
    })
    .await;
    for path in ["/cut-chunks", "/cut-length"] {
        let response = client::get(upstream.address(), path, &[]).await;
        assert_eq!((&*response.text(), response.body.whole), ("half", false), "{path}");
    }
    assert_eq!(client::get(upstream.address(), "/until-close", &[]).await.text(), "all");
    let mut closed = Connection::open(upstream.address()).await;
    closed.send(client::request("GET", "/close", &[], "")).await;
    assert_eq!(closed.rest().await, b"");
    let mut waiting = Connection::open(upstream.address()).await;
    waiting.send(client::request("GET", "/hang", &[], "")).await;
    upstream.arrived(5).await;
    drop(upstream);
    assert_eq!(waiting.rest().await, b"", "its connections end with it");
}

#[tokio::test]
async fn stories_are_told_over_the_version_that_they_say() {
    for (version, first_line) in [(Version::Http1, "HTTP/1.1 200 OK"), (Version::Http2, "HTTP/2 200")] {
        let story = async {
            let gate = Gate::new();
            let opener = gate.clone();
            let upstream = Upstream::start(move |request| match request.path() {
                "/cut" => Reply::ok().piece("a").cut(),
                _ => Reply::ok().header("x-sent", "1").piece("a").gate(&opener).piece("b"),
            })
            .await;
            let proxy = Proxy::before(&upstream);
            let mut exchange = proxy.clients.begin("/page?q=1", &[("X-Seen", "yes"), ("Host", "b.test")]).await;
            let head = exchange.head().await;
            assert_eq!((&*head.first_line, head.fields.get("x-sent")), (first_line, Some("1")));
            assert_eq!(exchange.piece().await, b"a");
            gate.open();
            let body = exchange.body(&head).await;
            assert_eq!((&*body.content, body.whole), (&b"b"[..], true));
            let seen = &upstream.requests()[0];
            assert_eq!((&*seen.target, seen.fields.get("x-seen")), ("/page?q=1", Some("yes")));
            assert_eq!(seen.fields.get("host"), Some("b.test"));
            assert_eq!(proxy.ask("POST", "/echo", &[], "thought").await.text(), "ab");
            assert_eq!(upstream.requests()[1].body.content, b"thought");
            let cut = proxy.get("/cut", &[]).await;
            assert_eq!((&*cut.text(), cut.body.whole), ("a", false));
        };
        told_over(version, Box::pin(story)).await;
    }
}

#[test]
fn hit_is_read_from_cache_status() {
    for (value, hit) in [
        ("larder; hit; ttl=30", true),
        ("larder;hit", true),
        ("larder; fwd=uri-miss; stored; detail=hit", false),
        ("other; hit", false),
        ("", false),
    ] {
        let fields = Fields(vec![("Cache-Status".to_owned(), value.to_owned())]);
        let response =
            client::Response { interim: Vec::new(), status: 200, fields, body: super::wire::Body::default() };
        assert_eq!(response.is_hit(), hit, "{value}");
    }
}
