//! Plain requests, which larder answers without hyper, get what hyper would have sent.

use crate::support::client::{Connection, request, status};
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::wire::Framing;

/// Nominates nothing that is there, and has hyper answer.
const BY_HYPER: (&str, &str) = ("Connection", "keep-alive, x-nothing");

/// What the app answers, one a row.
fn replies() -> Vec<Reply> {
    let page = || Reply::ok().header("cache-control", "no-store").header("content-type", "text/html");
    let pieces = |size: usize, count: usize| (0..count).fold(page(), |reply, _| reply.piece("p".repeat(size)));
    vec![
        page().body("short"),
        page().body(""),
        page().body("large ".repeat(50_000)),
        page().body("compressible ".repeat(1_000)),
        pieces(3, 400),
        pieces(5_000, 40),
        pieces(0, 0),
        page().header("set-cookie", "a=1").header("set-cookie", "b=2").header("x-empty", "").body("two cookies"),
        page().header("x-bytes", "caf\u{e9}").header("via", "1.0 other").body("bytes"),
        page().piece("trailed").trailer("x-sum", "1"),
        Reply::status("204 No Content").header("cache-control", "no-store"),
        Reply::status("205 Reset Content").header("cache-control", "no-store").body(""),
        Reply::status("304 Not Modified").header("etag", "\"v1\""),
        Reply::status("301 Moved Permanently").header("location", "/0").body("gone"),
        Reply::status("404 Not Found").body("none"),
        Reply::status("500 Internal Server Error").body("broken"),
        Reply::status("299 Its Own Reason").body("unknown"),
        Reply::raw("HTTP/1.1 200 OK\r\ncache-control: no-store\r\n\r\nuntil the end").then_close(),
        Reply::raw("HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nold").then_close(),
        Reply::raw("no HTTP at all\r\n\r\n").then_close(),
        Reply::ok().header("cache-control", "max-age=60").header("etag", "\"v1\"").body("stored"),
        page().send_before("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").body("hinted"),
    ]
}

/// How they are asked for.
const ASKED: [(&str, &[(&str, &str)]); 9] = [
    ("GET", &[]),
    ("HEAD", &[]),
    ("GET", &[("Accept-Encoding", "gzip")]),
    ("GET", &[("Range", "bytes=1-2")]),
    ("GET", &[("Range", "bytes=1-2,4-5")]),
    ("GET", &[("Range", "bytes=999999-")]),
    ("GET", &[("If-None-Match", "\"v1\"")]),
    ("GET", &[("Cache-Control", "only-if-cached")]),
    ("GET", &[("Cookie", "a=1"), ("Cookie", "b=2")]),
];

/// Heads with their lines in an order of their own, interim ones first, and the body as it came apart from its chunks.
async fn answer(
    connection: &mut Connection,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> (Vec<Vec<String>>, Vec<u8>) {
    connection.send(request(method, path, fields, "")).await;
    let mut heads = Vec::new();
    loop {
        let head = connection.head().await;
        let text = String::from_utf8_lossy(&head.raw).into_owned();
        let mut lines: Vec<String> = text.lines().skip(1).map(without_boundary).collect();
        lines.sort_by_key(|line| line.split(':').next().unwrap_or_default().to_owned());
        lines.insert(0, head.first_line.clone());
        heads.push(lines);
        if status(&head) >= 200 {
            let framing = Framing::of_response(method, status(&head), &head.fields);
            let body = if framing == Framing::Empty { Vec::new() } else { connection.body(&head).await.content };
            return (heads, without_boundary(&String::from_utf8_lossy(&body)).into_bytes());
        }
    }
}

/// The boundary of several parts is another each time.
fn without_boundary(text: &str) -> String {
    let Some(at) = text.find("boundary=").map(|at| at + "boundary=".len()).or_else(|| text.find("--").map(|at| at + 2))
    else {
        return text.to_owned();
    };
    let boundary: String = text[at..].chars().take_while(char::is_ascii_alphanumeric).collect();
    if boundary.len() < 16 { text.to_owned() } else { text.replace(&boundary, "boundary") }
}

#[tokio::test]
async fn plain_requests_are_answered_as_by_hyper() {
    let upstream = Upstream::start(|request| {
        let row: usize = request.path()[1..].split('-').next().and_then(|row| row.parse().ok()).expect("a row");
        replies()[row].clone()
    })
    .await;
    let proxy = Proxy::before(&upstream);
    for row in 0..replies().len() {
        let (mut by_hyper, mut plain) = (Connection::open(proxy.address).await, Connection::open(proxy.address).await);
        for (asked, (method, fields)) in ASKED.iter().enumerate() {
            // Each has a target of its own, so that none is answered from what another has stored.
            let fields_too = [fields, &[BY_HYPER][..]].concat();
            let expected = answer(&mut by_hyper, method, &format!("/{row}-h{asked}"), &fields_too).await;
            let found = answer(&mut plain, method, &format!("/{row}-p{asked}"), fields).await;
            assert!(found.0[0][0].starts_with("HTTP/1.1 "), "{found:?}");
            assert_eq!(found.0, expected.0, "{row} {method} {fields:?}");
            // How a body is coded on the way depends on the pieces in which it came.
            let is_coded = found.0.concat().iter().any(|line| line.starts_with("content-encoding"));
            assert!(is_coded || found.1 == expected.1, "{row} {method} {fields:?}");
        }
    }
}
