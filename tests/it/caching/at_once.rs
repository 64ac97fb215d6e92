//! Hits that are answered at once, past hyper, are the same as those that hyper answers.

use std::net::SocketAddr;
use std::ops::ControlFlow;

use bytes::Bytes;
use http_body_util::Full;
use larder::proxy::at_once::AtOnce;
use larder::proxy::client::Client;

use super::{date, ok, table};
use crate::support::client::{Connection, request};
use crate::support::http2;
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

/// Nominates nothing that is there, and has hyper answer.
const BY_HYPER: (&str, &str) = ("Connection", "keep-alive, x-nothing");

fn text() -> String {
    "compressible ".repeat(500)
}

/// What is stored, one a row.
fn stored() -> Vec<Reply> {
    let page = |text: &str| ok("max-age=600", text).header("content-type", "text/html").header("etag", "\"v1\"");
    let image = |size: usize| ok("max-age=600", &"i".repeat(size)).header("content-type", "image/png");
    vec![
        page("short"),
        page("short").header("date", &date(-5)).header("age", "7").header("last-modified", &date(-1000)),
        page(&text()),
        page(&text()).header("vary", "Accept-Encoding, X-Other").header("content-digest", "sha-256=:x:"),
        page(&text()).header("accept-ranges", "bytes").header("repr-digest", "sha-256=:x:"),
        page("short").header("via", "1.0 one").header("via", "1.1 two").header("cache-status", "other; hit"),
        page("").header("x-empty", "").header("x-twice", "1").header("x-twice", "2"),
        page("short").header("content-encoding", "identity").header("strict-transport-security", "max-age=1"),
        image(64 * 1024),
        image(256 * 1024),
        Reply::status("404 Not Found").header("cache-control", "max-age=600").body("none"),
        Reply::status("301 Moved Permanently").header("cache-control", "max-age=600").header("location", "/0").body(""),
        ok("max-age=600", "bytes").header("x-bytes", "caf\u{e9}").header("content-md5", "AA=="),
        ok("public, max-age=600", "for all"),
    ]
}

type Asked = (&'static str, &'static [(&'static str, &'static str)]);

/// How it is asked for.
const ASKED: [Asked; 14] = [
    ("GET", &[]),
    ("HEAD", &[]),
    ("GET", &[("Accept-Encoding", "gzip")]),
    ("GET", &[("Accept-Encoding", "gzip, br;q=0.5"), ("If-None-Match", "W/\"v1~gzip\"")]),
    ("HEAD", &[("Accept-Encoding", "gzip")]),
    ("GET", &[("If-None-Match", "\"v1\"")]),
    ("GET", &[("If-None-Match", "\"other\"")]),
    ("GET", &[("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT")]),
    ("GET", &[("If-Modified-Since", "Sun, 06 Nov 1993 08:49:37 GMT")]),
    ("GET", &[("Cache-Control", "max-age=300")]),
    ("GET", &[("Cache-Control", "no-transform"), ("Accept-Encoding", "br, gzip")]),
    ("GET", &[("Accept-Encoding", "gzip;q=0"), ("Accept", "*/*"), ("Accept-Language", "de, en")]),
    ("GET", &[("Host", "APP.test:80"), ("X-Own", "caf\u{e9}")]),
    ("GET", &[("Cookie", "a=1"), ("Cookie", "b=2")]),
];

/// The head's lines in an order of their own, and the body.
async fn answer(
    connection: &mut Connection,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> (Vec<String>, Vec<u8>) {
    connection.send(request(method, path, fields, "")).await;
    let head = connection.head().await;
    let text = String::from_utf8_lossy(&head.raw).into_owned();
    let (status, fields) = text.split_once("\r\n").unwrap();
    // The order of lines with the same name stays.
    let mut fields: Vec<String> = fields.lines().map(str::to_owned).collect();
    fields.sort_by_key(|line| line.split(':').next().unwrap_or_default().to_owned());
    let body = if method == "HEAD" || status.contains(" 304 ") { Vec::new() } else { connection.body(&head).await.raw };
    (std::iter::once(status.to_owned()).chain(fields).collect(), body)
}

/// Whether a request is answered at once.
fn is_at_once(proxy: &Proxy, method: &str, path: &str, fields: &[(&str, &str)]) -> bool {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let client = Client::new(nobody, nobody, false).into();
    let request = request(method, path, fields, "");
    matches!(proxy.app.proxy.at_once(&client, request.as_bytes(), &mut Vec::new()), AtOnce::Answered(_))
}

#[tokio::test]
async fn hits_at_once_are_those_that_hyper_answers() {
    let (_upstream, proxy) = table("", stored()).await;
    let mut connection = Connection::open(proxy.address).await;
    let mut at_once = 0;
    for row in 0..stored().len() {
        let path = format!("/{row}");
        // Each coding has to be made before it can be sent at once, and what is larger came in pieces.
        for fields in [&[][..], &[("accept-encoding", "gzip")], &[("accept-encoding", "br, gzip")]] {
            proxy.get(&path, fields).await;
        }
        proxy.advance(3);
        for (method, fields) in ASKED {
            let by_hyper = [fields, &[BY_HYPER]].concat();
            assert!(!is_at_once(&proxy, method, &path, &by_hyper), "{method} {path} {fields:?}");
            at_once += usize::from(is_at_once(&proxy, method, &path, fields));
            let expected = without_date(answer(&mut connection, method, &path, &by_hyper).await, row);
            let found = without_date(answer(&mut connection, method, &path, fields).await, row);
            assert!(found.0[0].starts_with("HTTP/1.1 "), "{found:?}");
            assert_eq!(found.0, expected.0, "{method} {path} {fields:?}");
            assert!(found.1 == expected.1, "{method} {path} {fields:?}");
        }
    }
    // Cookies make some of them none of the cache's business, all others are plain.
    let rows = stored().len();
    assert!(at_once > rows * (ASKED.len() - 1), "{at_once} of {}", rows * ASKED.len());
}

/// What has hyper answer over HTTP/2, where a field of HTTP/1 would be malformed.
const BY_HANDLE: (&str, &str) = ("content-length", "0");

/// Whether a request over HTTP/2 is answered at once. Its answer is dropped, and so recorded.
fn is_hit(proxy: &Proxy, method: &str, path: &str, fields: &[(&str, &str)]) -> bool {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let client = Client::new(nobody, nobody, false).into();
    let mut request =
        http::Request::builder().method(method).version(http::Version::HTTP_2).uri(format!("http://app.test{path}"));
    for (name, value) in fields {
        request = request.header(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let (before, body) = request.into_parts();
    let found = proxy.app.proxy.hit(&client, http::Request::from_parts(before.clone(), body));
    if let ControlFlow::Continue(request) = &found {
        assert_eq!((request.uri(), request.method()), (&before.uri, &before.method), "it goes on as it came");
        // Lines of Cookie are joined, as `handle` would do.
        let [kept, came] = [request.headers(), &before.headers].map(|headers| {
            let mut others = headers.clone();
            others.remove("cookie");
            others
        });
        assert_eq!(kept, came, "it goes on as it came");
    }
    found.is_break()
}

/// The same as [`answer`] over HTTP/2.
async fn answer_http2(
    connection: &http2::Connection,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> (Vec<String>, Vec<u8>) {
    let mut exchange = connection.begin(method, path, fields, "");
    let head = exchange.try_head().await.expect("a response");
    let mut lines: Vec<String> = head.fields.0.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    lines.sort_by_key(|line| line.split(':').next().unwrap_or_default().to_owned());
    (std::iter::once(head.first_line).chain(lines).collect(), exchange.body().await.content)
}

#[tokio::test]
async fn hits_at_once_over_http2_are_those_that_are_handled() {
    let (_upstream, proxy) = table("", stored()).await;
    let connection = http2::Connection::open(proxy.address).await;
    let mut at_once = 0;
    for row in 0..stored().len() {
        let path = format!("/{row}");
        for fields in [&[][..], &[("accept-encoding", "gzip")], &[("accept-encoding", "br, gzip")]] {
            proxy.get(&path, fields).await;
        }
        proxy.advance(3);
        for (method, fields) in ASKED {
            let handled = [fields, &[BY_HANDLE]].concat();
            assert!(!is_hit(&proxy, method, &path, &handled), "{method} {path} {fields:?}");
            let over_http2: Vec<_> = fields.iter().copied().filter(|(name, _)| *name != "Host").collect();
            at_once += usize::from(is_hit(&proxy, method, &path, &over_http2));
            let expected = without_date(answer_http2(&connection, method, &path, &handled).await, row);
            let found = without_date(answer_http2(&connection, method, &path, fields).await, row);
            assert_eq!(found.0, expected.0, "{method} {path} {fields:?}");
            assert!(found.1 == expected.1, "{method} {path} {fields:?}");
        }
    }
    let rows = stored().len();
    assert!(at_once > rows * (ASKED.len() - 1), "{at_once} of {}", rows * ASKED.len());
}

/// hyper dates what the app did not date by the machine's clock, which no test holds.
fn without_date((lines, body): (Vec<String>, Vec<u8>), row: usize) -> (Vec<String>, Vec<u8>) {
    let dated = row == 1;
    let lines =
        lines.into_iter().map(|line| if line.starts_with("date: ") && !dated { "date: now".to_owned() } else { line });
    (lines.collect(), body)
}

#[tokio::test]
async fn requests_that_are_not_plain_are_not_answered_at_once() {
    let (_upstream, proxy) = table("", vec![ok("max-age=60", "text"), ok("no-store", "text")]).await;
    assert!(!is_at_once(&proxy, "GET", "/0", &[]), "nothing is stored");
    proxy.get("/0", &[]).await;
    proxy.get("/1", &[]).await;
    assert!(is_at_once(&proxy, "GET", "/0", &[]) && is_at_once(&proxy, "HEAD", "/0", &[("connection", "Keep-Alive")]));
    for (method, path, fields) in [
        ("POST", "/0", &[][..]),
        ("OPTIONS", "/0", &[]),
        ("GET", "/1", &[]),
        ("GET", "http://app.test/0", &[]),
        ("GET", "/0", &[("connection", "close")]),
        ("GET", "/0", &[("connection", "keep-alive, x")]),
        ("GET", "/0", &[("content-length", "0")]),
        ("GET", "/0", &[("transfer-encoding", "chunked")]),
        ("GET", "/0", &[("expect", "100-continue")]),
        ("GET", "/0", &[("upgrade", "x")]),
        ("GET", "/0", &[("range", "bytes=0-1")]),
        ("GET", "/0", &[("connection", "keep-alive"), ("keep-alive", "timeout=5")]),
        ("GET", "/0", &[("if-match", "\"x\"")]),
        ("GET", "/0", &[("x-forwarded-for", "1.2.3.4")]),
        ("GET", "/0", &[("authorization", "Basic x")]),
        ("GET", "/0", &[("cookie", "a=b")]),
        ("GET", "/0", &[("host", "other.test")]),
        ("GET", "/0", &[("host", "a b")]),
        ("GET", "/0", &[("cache-control", "no-cache")]),
    ] {
        assert!(!is_at_once(&proxy, method, path, fields), "{method} {path} {fields:?}");
    }
    let old = request("GET", "/0", &[], "").replace("HTTP/1.1", "HTTP/1.0");
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let client = Client::new(nobody, nobody, false).into();
    assert!(matches!(proxy.app.proxy.at_once(&client, old.as_bytes(), &mut Vec::new()), AtOnce::Other));
    proxy.advance(60);
    assert!(!is_at_once(&proxy, "GET", "/0", &[]), "it is stale");
}

#[tokio::test]
async fn routes_that_ask_for_more_are_not_answered_at_once() {
    let upstream = Upstream::start(|_| ok("max-age=60", "text")).await;
    for settings in [
        "limits = { rate = \"100/s\" }",
        "limits = { bandwidth = \"1MiB\" }",
        "access = { allow = [\"127.0.0.0/8\"] }",
        "response_headers = { set = { x = \"y\" } }",
    ] {
        let proxy = Proxy::configured(&format!(
            "[upstreams.app]\nservers = [\"http://{}\"]\n\
             [[routes]]\nname = \"r\"\nupstream = \"app\"\n{settings}\n",
            upstream.address()
        ));
        let mut connection = Connection::open(proxy.address).await;
        connection.get("/0", &[]).await;
        let before = proxy.metrics_text().await;
        assert!(!is_at_once(&proxy, "GET", "/0", &[]), "{settings}");
        assert_eq!(counted(&before), counted(&proxy.metrics_text().await), "nothing is counted for a look");
        assert_eq!(connection.get("/0", &[]).await.status, 200);
    }
}

#[tokio::test]
async fn hits_at_once_are_counted_like_others() {
    let (_upstream, proxy) = table("", vec![ok("max-age=60", "text")]).await;
    let mut connection = Connection::open(proxy.address).await;
    connection.get("/0", &[]).await;
    for asked in 1..=5 {
        let fields = if asked % 2 == 0 { &[BY_HYPER][..] } else { &[] };
        assert!(connection.get("/0", fields).await.is_hit());
        let text = proxy.metrics_text().await;
        let hits = counted(&text).into_iter().find(|line| line.contains("cache=\"hit\"")).unwrap_or_default();
        assert!(hits.ends_with(&format!(" {asked}")), "{hits}");
    }
}

fn counted(metrics: &str) -> Vec<String> {
    metrics.lines().filter(|line| line.starts_with("larder_requests_total{")).map(str::to_owned).collect()
}

#[tokio::test]
async fn hits_at_once_over_http2_are_counted_and_logged_like_others() {
    let (_upstream, proxy) = table("", vec![ok("max-age=60", "text")]).await;
    let connection = http2::Connection::open(proxy.address).await;
    proxy.get("/0", &[]).await;
    for asked in 1..=6 {
        let (method, fields) = match asked % 3 {
            0 => ("GET", &[BY_HANDLE][..]),
            1 => ("HEAD", &[][..]),
            _ => ("GET", &[][..]),
        };
        let (lines, _) = answer_http2(&connection, method, "/0", fields).await;
        assert!(lines.iter().any(|line| line.starts_with("cache-status: larder; hit")), "{lines:?}");
        let text = proxy.metrics_text().await;
        let hits: u32 = counted(&text)
            .into_iter()
            .filter(|line| line.contains("cache=\"hit\""))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap())
            .sum();
        assert_eq!(hits, asked, "{text}");
    }
}

#[tokio::test]
async fn requests_over_http2_that_are_not_plain_are_not_answered_at_once() {
    let (_upstream, proxy) = table("", vec![ok("max-age=60", "text"), ok("no-store", "text")]).await;
    assert!(!is_hit(&proxy, "GET", "/0", &[]), "nothing is stored");
    proxy.get("/0", &[]).await;
    proxy.get("/1", &[]).await;
    assert!(is_hit(&proxy, "GET", "/0", &[]) && is_hit(&proxy, "HEAD", "/0", &[("te", "trailers")]));
    for (method, path, fields) in [
        ("POST", "/0", &[][..]),
        ("OPTIONS", "/0", &[]),
        ("GET", "/1", &[]),
        ("GET", "/0", &[("content-length", "0")]),
        ("GET", "/0", &[("expect", "100-continue")]),
        ("GET", "/0", &[("range", "bytes=0-1")]),
        ("GET", "/0", &[("if-match", "\"x\"")]),
        ("GET", "/0", &[("x-forwarded-for", "1.2.3.4")]),
        ("GET", "/0", &[("authorization", "Basic x")]),
        ("GET", "/0", &[("cookie", "a=b")]),
        ("GET", "/0", &[("host", "other.test")]),
        ("GET", "/0", &[("cache-control", "no-cache")]),
    ] {
        assert!(!is_hit(&proxy, method, path, fields), "{method} {path} {fields:?}");
    }
    proxy.advance(60);
    assert!(!is_hit(&proxy, "GET", "/0", &[]), "it is stale");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_with_and_without_hyper() {
    let (_upstream, proxy) =
        table("", vec![ok("max-age=60", "zero"), ok("no-store", "one"), ok("max-age=60", "two")]).await;
    for path in ["/0", "/2"] {
        proxy.get(path, &[]).await;
    }
    let mut connection = Connection::open(proxy.address).await;
    let paths = ["/0", "/1", "/2", "/2", "/1", "/1", "/0"].repeat(20);
    let all: String = paths.iter().map(|path| request("GET", path, &[], "")).collect();
    connection.send(all).await;
    for path in paths {
        let expected = ["zero", "one", "two"][path[1..].parse::<usize>().unwrap()];
        assert_eq!(connection.response("GET").await.text(), expected);
    }
}

#[tokio::test]
async fn clients_that_do_not_read_get_all_of_it_later() {
    let image = "i".repeat(200 * 1024);
    let (_upstream, proxy) = table("", vec![ok("max-age=60", &image), ok("max-age=60", "end")]).await;
    for path in ["/0", "/1"] {
        proxy.get(path, &[]).await;
    }
    let mut connection = Connection::open(proxy.address).await;
    // Far more than all buffers on the way hold.
    let all: String = (0..200).map(|_| request("GET", "/0", &[], "")).chain([request("GET", "/1", &[], "")]).collect();
    connection.send(all).await;
    for _ in 0..200 {
        assert_eq!(connection.response("GET").await.body.content.len(), image.len());
    }
    assert_eq!(connection.response("GET").await.text(), "end");
}
