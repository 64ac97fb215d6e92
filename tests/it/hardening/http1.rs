//! HTTP/1 bytes that are no request, or mean two things: refused, and nothing of them reaches the upstream.

use super::before;
use crate::support::client::{Connection, request};
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

/// What an attacker would like to be taken for a request of its own.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";

async fn upstream() -> Upstream {
    Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("x")).await
}

/// Sends a request with another behind it. It must get one definite refusal and a closed connection.
async fn refused(proxy: &Proxy, upstream: &Upstream, bytes: &[u8]) -> u16 {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned();
    let mut client = Connection::open(proxy.address).await;
    client.send([bytes, SMUGGLED.as_bytes()].concat()).await;
    let response = client.response("GET").await;
    assert!((400..500).contains(&response.status) || response.status == 505, "{}: {shown:?}", response.status);
    assert_eq!(response.field("connection"), "close", "{shown:?}");
    assert!(response.field("cache-status").starts_with("larder; "), "{shown:?}");
    assert!(response.text().len() < 50, "{shown:?}");
    assert_eq!(String::from_utf8_lossy(&client.rest().await), "", "{shown:?}");
    assert_eq!(upstream.requests().len(), 0, "{shown:?}");
    response.status
}

#[tokio::test]
async fn malformed_heads_are_refused() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "");
    let table: &[(u16, &[&str])] = &[
        // Request lines.
        (400, &["GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", "GET /\r\n\r\n"]),
        (400, &[" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "/ HTTP/1.1\r\n\r\n"]),
        (
            400,
            &[
                "GET / HTTQ/1.1\r\nHost: a\r\n\r\n",
                "GET / XTTP/1.1\r\nHost: a\r\n\r\n",
                "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
            ],
        ),
        (
            505,
            &[
                "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
                "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
                "GET / HTTP/11\r\nHost: a\r\n\r\n",
            ],
        ),
        (
            505,
            &[
                "GET / http/1.1\r\nHost: a\r\n\r\n",
                "GET / HTTP/0.9\r\nHost: a\r\n\r\n",
                "GET / HTTP/1.1.1\r\nHost: a\r\n\r\n",
            ],
        ),
        // Targets.
        (
            400,
            &[
                "GET x HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
            ],
        ),
        (400, &["GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"]),
        (400, &["GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n"]),
        (
            400,
            &[
                "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET /é HTTP/1.1\r\nHost: a\r\n\r\n",
            ],
        ),
        (405, &["CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"]),
        // Ends of lines.
        (
            400,
            &[
                "GET / HTTP/1.1\nHost: a\n\n",
                "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\n\n",
            ],
        ),
        (
            400,
            &[
                "GET / HTTP/1.1\r\nHost: a\r\nX: y\rZ: 1\r\n\r\n",
                "GET / HTTP/1.1\r\rHost: a\r\n\r\n",
                "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            ],
        ),
        // Fields.
        (
            400,
            &[
                "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nX\t: y\r\n\r\n",
            ],
        ),
        (
            400,
            &[
                "GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n",
            ],
        ),
        (
            400,
            &[
                "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
                "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\n\tX: y\r\n\r\n",
            ],
        ),
        (
            400,
            &[
                "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n",
            ],
        ),
        (
            400,
            &[
                "GET / HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nXé: y\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\n(X): y\r\n\r\n",
            ],
        ),
        // Hosts.
        (
            400,
            &[
                "GET / HTTP/1.1\r\n\r\n",
                "GET / HTTP/1.1\r\nHost:\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            ],
        ),
        (
            400,
            &[
                "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a/x\r\n\r\n",
            ],
        ),
        (
            400,
            &[
                "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n",
            ],
        ),
        (
            400,
            &[
                "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a?x\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: é\r\n\r\n",
            ],
        ),
        (421, &["GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n"]),
        (400, &["GET http://a/ HTTP/1.1\r\n\r\n"]),
        // Lengths.
        (400, &["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]),
        (400, &["POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n"]),
        (
            400,
            &[
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            ],
        ),
        (
            400,
            &[
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
            ],
        ),
        (400, &["POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]),
        (400, &["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"]),
        (417, &["POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n"]),
    ];
    for (status, vectors) in table {
        for vector in *vectors {
            assert_eq!(refused(&proxy, &upstream, vector.as_bytes()).await, *status, "{vector:?}");
        }
    }
    for value in [
        "gzip, chunked",
        "chunked, chunked",
        "xchunked",
        "chunkedx",
        "chunked;x",
        "\x0bchunked",
        "identity",
        "",
        "\"chunked\"",
    ] {
        let vector = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {value}\r\n\r\n0\r\n\r\n");
        assert_eq!(refused(&proxy, &upstream, vector.as_bytes()).await, 400, "{value:?}");
    }
    for value in ["+0", "-0", "0, 0", "0,0", "0x0", "0 0", "", "a", "0.", "99999999999999999999", "0;", "\u{664}"] {
        let vector = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {value}\r\n\r\n");
        assert_eq!(refused(&proxy, &upstream, vector.as_bytes()).await, 400, "{value:?}");
    }
    assert_eq!(upstream.connections(), 0, "not one byte");
}

#[tokio::test]
async fn malformed_heads_are_refused_byte_by_byte_as_well() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "");
    for vector in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ] {
        let mut client = Connection::open(proxy.address).await;
        for byte in vector.bytes() {
            client.send([byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.response("GET").await.status, 400, "{vector:?}");
        assert_eq!(client.rest().await, b"");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn malformed_chunks_end_the_exchange() {
    let long_extension = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(300));
    for chunks in [
        "x\r\n",
        "\r\n3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nab\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nabc",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3;a\rb\r\nabc\r\n0\r\n\r\n",
        "3;\0\r\nabc\r\n0\r\n\r\n",
        &long_extension,
        "0\r\n\n",
        "0\n\n",
        "0\r\nBad Name: x\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\n folded\r\n\r\n",
        "0\r\nX: a\rb\r\n\r\n",
        "0\r\nX: a\nb\r\n\r\n",
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0\r\nHost: b\r\n\r\n",
    ] {
        for method in ["POST", "GET"] {
            let upstream = upstream().await;
            let proxy = before(&upstream, "");
            let head = format!("{method} / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
            let status = refused(&proxy, &upstream, (head + chunks).as_bytes()).await;
            assert_eq!(status, 400, "{chunks:?}");
        }
    }
}

#[tokio::test]
async fn refusal_comes_after_the_answers_before_it() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "");
    let mut client = Connection::open(proxy.address).await;
    let good = request("GET", "/good", &[], "");
    client.send(format!("{good}{good}GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n{SMUGGLED}")).await;
    for status in [200, 200, 400] {
        assert_eq!(client.response("GET").await.status, status);
    }
    assert_eq!(client.rest().await, b"");
    assert_eq!((upstream.count("/good"), upstream.requests().len()), (1, 1));
}

#[tokio::test]
async fn content_of_a_request_is_never_taken_for_the_next_one() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "");
    proxy.get("/", &[]).await;
    let length = SMUGGLED.len().to_string();
    for (method, path, fields) in [
        ("GET", "/", &[][..]),
        ("POST", "/x", &[]),
        ("HEAD", "/", &[]),
        ("OPTIONS", "*", &[]),
        ("POST", "/", &[("Expect", "100-continue")]),
    ] {
        let mut client = Connection::open(proxy.address).await;
        let fields = [fields, &[("Content-Length", &*length)]].concat();
        client
            .send(
                request(method, path, &fields, "")
                    + SMUGGLED
                    + &request("GET", "/next", &[("Connection", "close")], ""),
            )
            .await;
        client.response(method).await;
        let next = client.response("GET").await;
        assert_eq!(next.status, 200);
        assert_eq!(client.rest().await, b"", "{method} {path}");
    }
    assert_eq!(upstream.count("/smuggled"), 0);
}

#[tokio::test]
async fn content_of_a_refused_request_is_thrown_away() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "[[routes]]\nmatch = { path = \"/x\" }\nmax_request_body = \"1\"");
    let length = SMUGGLED.len().to_string();
    for (path, status) in [("/x", 413), ("/nowhere", 404)] {
        let mut client = Connection::open(proxy.address).await;
        client.send(request("POST", path, &[("Content-Length", &length)], "") + SMUGGLED).await;
        assert_eq!(client.response("POST").await.status, status);
        drop(client);
        let mut client = Connection::open(proxy.address).await;
        client.send(request("POST", path, &[("Content-Length", &length), ("Expect", "100-continue")], "")).await;
        let response = client.response("POST").await;
        assert_eq!((response.status, response.interim.len()), (status, 0));
        client.send(SMUGGLED).await;
        let rest = String::from_utf8(client.rest().await).unwrap();
        assert!(!rest.contains("200 OK"), "{rest}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn lenient_forms_that_mean_one_thing_are_taken() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "");
    for vector in [
        "\r\nGET /a HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost:app.test\t \r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: app.test\r\nX:\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: Chunked\r\n\r\n000a;x=\"y\"\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
        "GET /a|b^c{d}[e]\\ HTTP/1.1\r\nHost: app.test\r\n\r\n",
    ] {
        let mut client = Connection::open(proxy.address).await;
        client.send(vector).await;
        assert_eq!(client.response("GET").await.status, 200, "{vector:?}");
    }
}

#[tokio::test]
async fn other_protocols_are_refused() {
    let upstream = upstream().await;
    let proxy = before(&upstream, "");
    // TLS to a cleartext port, SSH, SMTP, a binary.
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"SSH-2.0-x\r\n", b"EHLO x\r\n", &[0xff; 64]] {
        let mut client = Connection::open(proxy.address).await;
        client.send(bytes).await;
        let answer = client.rest().await;
        assert!(answer.starts_with(b"HTTP/1.1 400 "), "{bytes:?}: {}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(upstream.connections(), 0);
}
