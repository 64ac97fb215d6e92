//! What a broken or malicious upstream sends: never stored, never half believed, never taken for the next answer.

use super::before;
use crate::support::client::{Connection, request};
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::within;

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// 502, nothing of the answer.
    Refused,
    /// The beginning of a body whose end is visibly missing.
    Cut,
    /// The body `abc`; the connection to the upstream is not used again.
    Whole,
}

/// Bytes after which the upstream closes, or waits for more where it makes a difference.
const VECTORS: &[(&str, &str, Expected)] = &[
    ("no HTTP at all", "nonsense\r\n\r\n", Expected::Refused),
    ("HTTP/0.9", "<html>hello</html>", Expected::Refused),
    (
        "two lengths that differ",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        Expected::Refused,
    ),
    (
        "list of lengths that differ",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 1, 2\r\n\r\nxx",
        Expected::Refused,
    ),
    (
        "length and chunks",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        Expected::Refused,
    ),
    (
        "chunks and length",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        Expected::Refused,
    ),
    (
        "Transfer-Encoding twice",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Expected::Refused,
    ),
    (
        "Transfer-Encoding gzip",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: gzip\r\n\r\nx",
        Expected::Refused,
    ),
    (
        "Transfer-Encoding gzip, chunked",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        Expected::Refused,
    ),
    (
        "Transfer-Encoding xchunked",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        Expected::Refused,
    ),
    (
        "negative length",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: -1\r\n\r\nx",
        Expected::Refused,
    ),
    (
        "length with a plus",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: +1\r\n\r\nx",
        Expected::Refused,
    ),
    (
        "length that is a word",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: x\r\n\r\nx",
        Expected::Refused,
    ),
    (
        "length beyond 64 bits",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 99999999999999999999\r\n\r\nx",
        Expected::Refused,
    ),
    (
        "NUL in a value",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nX: a\0b\r\nContent-Length: 1\r\n\r\nx",
        Expected::Refused,
    ),
    (
        "bare CR in a value",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nX: a\rb\r\nContent-Length: 1\r\n\r\nx",
        Expected::Refused,
    ),
    (
        "control byte in a value",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nX: a\x01b\r\nContent-Length: 1\r\n\r\nx",
        Expected::Refused,
    ),
    (
        "space before the colon of a second framing",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding : chunked\r\n\r\nabc",
        Expected::Refused,
    ),
    (
        "space in a name",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nX Y: a\r\nContent-Length: 1\r\n\r\nx",
        Expected::Refused,
    ),
    ("no colon", "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nX\r\nContent-Length: 1\r\n\r\nx", Expected::Refused),
    (
        "empty name",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n: a\r\nContent-Length: 1\r\n\r\nx",
        Expected::Refused,
    ),
    (
        "folded line",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nX: a\r\n folded\r\nContent-Length: 1\r\n\r\nx",
        Expected::Refused,
    ),
    ("version 2.0", "HTTP/2.0 200 OK\r\nContent-Length: 1\r\n\r\nx", Expected::Refused),
    ("version 9.9", "HTTP/9.9 200 OK\r\nContent-Length: 1\r\n\r\nx", Expected::Refused),
    ("status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 1\r\n\r\nx", Expected::Refused),
    ("status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 1\r\n\r\nx", Expected::Refused),
    ("status that is a word", "HTTP/1.1 abc OK\r\nContent-Length: 1\r\n\r\nx", Expected::Refused),
    (
        "101 that nobody asked for",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        Expected::Refused,
    ),
    ("empty answer", "", Expected::Refused),
    ("head that is cut", "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nX: a", Expected::Refused),
    (
        "body shorter than its length",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nabc",
        Expected::Cut,
    ),
    (
        "chunk that is cut",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5\r\nab",
        Expected::Cut,
    ),
    (
        "no last chunk",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        Expected::Cut,
    ),
    (
        "chunk size that is no number",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n",
        Expected::Cut,
    ),
    (
        "chunk size with a sign",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n+3\r\nabc\r\n0\r\n\r\n",
        Expected::Cut,
    ),
    (
        "chunk size with 0x",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0x3\r\nabc\r\n0\r\n\r\n",
        Expected::Cut,
    ),
    (
        "chunk size that overflows",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
        Expected::Cut,
    ),
    (
        "chunk longer than its size",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        Expected::Cut,
    ),
    (
        "bare LF behind chunk data",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n",
        Expected::Cut,
    ),
    (
        "space before colons",
        "HTTP/1.1 200 OK\r\nCache-Control : no-store\r\nContent-Length\t : 3\r\n\r\nabc",
        Expected::Whole,
    ),
    (
        "a second answer behind the first",
        "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        Expected::Whole,
    ),
    (
        "bytes behind the answer",
        "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 3\r\n\r\nabcjunk",
        Expected::Whole,
    ),
    (
        "bytes behind chunks",
        "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\njunk",
        Expected::Whole,
    ),
];

#[tokio::test]
async fn responses_of_a_broken_upstream() {
    let mut faults = Vec::new();
    for (name, bytes, expected) in VECTORS {
        let upstream = Upstream::start(move |request| match (request.path(), expected) {
            ("/good", _) => Reply::ok().header("cache-control", "no-store").body("good"),
            (_, Expected::Whole) => Reply::raw(bytes),
            _ => Reply::raw(bytes).then_close(),
        })
        .await;
        let proxy = before(&upstream, "");
        for asked in 1..=2 {
            let mut client = Connection::open(proxy.address).await;
            client.send(request("GET", "/bad", &[], "")).await;
            let answer = client.response("GET").await;
            let seen = match (answer.status, answer.body.whole, answer.text().as_str()) {
                (502, true, "502 Bad Gateway\n") => Expected::Refused,
                (200, false, _) => Expected::Cut,
                (200, true, "abc") => Expected::Whole,
                _ => {
                    faults.push(format!("{name}: {answer:?}"));
                    break;
                }
            };
            // A fault in the first bytes of a body may be seen before the head is passed on.
            let as_expected = seen == *expected || (seen, *expected) == (Expected::Refused, Expected::Cut);
            if !as_expected || upstream.count("/bad") < asked {
                faults.push(format!("{name}: {seen:?}, asked {} times", upstream.count("/bad")));
            }
            assert_eq!(proxy.get("/good", &[]).await.text(), "good", "{name}: the next answer is the next one's");
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn interim_responses_without_end_are_bounded() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload\r\n\r\n";
    let upstream = Upstream::start(move |request| match request.path() {
        "/then" => Reply::ok().send_before(hints.repeat(20_000)).body("at last"),
        _ => Reply::raw(hints.repeat(20_000)),
    })
    .await;
    let proxy = before(&upstream, "[[routes]]\ntimeouts = { first_byte = \"300ms\" }");
    let mut client = Connection::open(proxy.address).await;
    client.send(request("POST", "/never", &[], "")).await;
    let answer = client.response("POST").await;
    assert!(matches!(answer.status, 502 | 504), "{}", answer.status);
    let answer = proxy.ask("POST", "/then", &[], "").await;
    assert!(matches!((answer.status, answer.text().as_str()), (200, "at last") | (502 | 504, _)), "{}", answer.status);
}

#[tokio::test]
async fn heads_beyond_measure_are_refused() {
    for (name, line, times) in [
        ("one field", "x".repeat(2 << 20), 1),
        ("many fields", "y".to_owned(), 100_000),
        ("long ones", "z".repeat(8000), 300),
    ] {
        let upstream = Upstream::start(move |_| {
            let fields: String = (0..times).map(|at| format!("X{at}: {line}\r\n")).collect();
            Reply::raw(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 1\r\n\r\nx")).then_close()
        })
        .await;
        let proxy = before(&upstream, "");
        assert_eq!(proxy.get("/", &[]).await.status, 502, "{name}");
    }
}

#[tokio::test]
async fn answer_before_the_request_ended_costs_the_connection() {
    let upstream = Upstream::start_at_head(|request| match request.path() {
        "/early" => Reply::status("403 Forbidden").body("no"),
        _ => Reply::ok().header("cache-control", "no-store").body("good"),
    })
    .await;
    let proxy = before(&upstream, "[[routes]]\nbuffer_request = \"0\"");
    let mut client = Connection::open(proxy.address).await;
    client.send("POST /early HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000\r\n\r\nabc").await;
    assert_eq!(client.response("POST").await.status, 403);
    // What still comes is no request, neither here nor there.
    client.send("GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    drop(client);
    within("the end of the client's connection", async {
        while !proxy.metrics_text().await.contains("\nlarder_client_connections 0\n") {}
    })
    .await;
    upstream.left(0).await;
    assert_eq!(proxy.get("/good", &[]).await.text(), "good");
    assert_eq!(upstream.count("/smuggled"), 0);
    let requests = upstream.requests();
    assert_ne!(requests[0].connection, requests[1].connection, "that connection is not used again");
}
