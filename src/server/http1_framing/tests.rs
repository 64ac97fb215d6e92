//! Raw HTTP/1.1 vectors, each shown whole, split at every boundary, and byte by byte.

use proptest::prelude::*;

use super::*;
use Refusal::*;

/// What became of a stream of bytes: those hyper got, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    passed: Vec<u8>,
    heads: u64,
    end: Option<Verdict>,
}

fn limits() -> HeadLimits {
    HeadLimits::new(1024, 128, 8, 64)
}

/// Shows the pieces one after another, as the stream does.
fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut framing = Http1Framing::new(limits());
    let (mut held, mut passed, mut end) = (Vec::new(), Vec::new(), None);
    for piece in pieces {
        held.extend_from_slice(piece);
        while !held.is_empty() {
            match framing.inspect(&held) {
                Verdict::Pass(len) => passed.extend(held.drain(..len)),
                Verdict::Drop(len) => drop(held.drain(..len)),
                Verdict::Hold => break,
                verdict => {
                    assert_eq!(end, None, "a second verdict of doom");
                    end = Some(verdict);
                }
            }
        }
    }
    Outcome { passed, heads: framing.heads(), end }
}

/// The outcome, after making sure that it does not depend on how the bytes arrive.
fn outcome(bytes: &[u8]) -> Outcome {
    let whole = run([bytes]);
    assert_eq!(run(bytes.chunks(1)), whole, "byte by byte: {}", bytes.escape_ascii());
    for at in 1..bytes.len() {
        let (first, second) = bytes.split_at(at);
        assert_eq!(run([first, second]), whole, "split at {at}: {}", bytes.escape_ascii());
    }
    whole
}

fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")
}

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

#[test]
fn inspect_passes_sound_requests_untouched() {
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(63));
    let long_field = get(&format!("X: {}\r\n", "y".repeat(125)));
    let most_fields = get(&"X: y\r\n".repeat(7));
    let vectors: Vec<(String, u64)> = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\nHost:a\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\nhOsT: \t a \t\r\n\r\n", 1),
        ("GET /a/b?c=d&e=%2F HTTP/1.1\r\nHost: example.org:8080\r\n\r\n", 1),
        ("GET /a;b=c/{x}|y^z\\?`\\ HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("GET //evil/ HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("GET /%00%2f.. HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: my_app.local.\r\n\r\n", 1),
        ("GET / HTTP/1.0\r\n\r\n", 1),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", 1),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("get / HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("GET http://A/x HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("GET HTTPS://a:8443/x HTTP/1.1\r\nHost: a:8443\r\n\r\n", 1),
        ("GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("GET http://a/ HTTP/1.0\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\tb \x7e\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~9: x\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y: z\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n", 2),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: b\r\n\r\n", 2),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n", 2),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0003\r\n\r\n\r\n\n", 1),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\t3 \r\n\r\n\0\n\r", 1),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 1),
        ("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE, close\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: a\r\nX-Content-Length: x\r\nX-Host: y\r\nHosts: z\r\n\r\n", 1),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", 1),
    ]
    .into_iter()
    .map(|(request, heads)| (request.to_owned(), heads))
    .chain(
        [
            "0\r\n\r\n",
            "000\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "A\r\n0123456789\r\n0\r\n\r\n",
            "a\r\n0123456789\r\n0\r\n\r\n",
            "000000000000000A\r\n0123456789\r\n0\r\n\r\n",
            "3;x\r\nabc\r\n0;y=\"z\"\r\n\r\n",
            "3;\r\nabc\r\n0\r\n\r\n",
            "3\r\n\r\n\r\r\n0\r\n\r\n",
            "1\r\na\r\n1\r\nb\r\n0\r\nX-Sum: abc\r\n\r\n",
            "0\r\nX: y\r\nZ:\r\n\r\n",
            "0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ]
        .map(|body| (chunked(body), if body.contains("GET") { 2 } else { 1 })),
    )
    .chain([
        (post("transfer-ENCODING:  CHUNKED \r\n", "1\r\na\r\n0\r\n\r\n"), 1),
        (long_target, 1),
        (long_field, 1),
        (most_fields, 1),
    ])
    .collect();
    for (request, heads) in vectors {
        let expected = Outcome { passed: request.clone().into_bytes(), heads, end: None };
        assert_eq!(outcome(request.as_bytes()), expected, "{}", request.escape_debug());
    }
}

#[test]
fn inspect_passes_obs_text_in_values() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nX: \x80\xff\r\n\r\n";
    assert_eq!(outcome(request), Outcome { passed: request.to_vec(), heads: 1, end: None });
}

#[test]
fn inspect_drops_a_few_empty_lines_before_a_request() {
    for (empty, end) in [(1, None), (4, None), (5, Some(Verdict::Refuse(BadRequestLine)))] {
        let request = get("");
        let bytes = format!("{}{request}", "\r\n".repeat(empty));
        let result = outcome(bytes.as_bytes());
        assert_eq!(result.end, end, "{empty} empty lines");
        assert_eq!(result.passed, if end.is_none() { request.into_bytes() } else { Vec::new() });
    }
    // Each request has its own allowance.
    let bytes = format!("{0}{1}{0}{1}", "\r\n".repeat(3), get(""));
    assert_eq!(outcome(bytes.as_bytes()), Outcome { passed: get("").repeat(2).into_bytes(), heads: 2, end: None });
}

#[test]
fn inspect_refuses_heads_that_leave_a_doubt() {
    let vectors: Vec<(String, Refusal)> = [
        // The request line.
        ("GET /\r\nHost: a\r\n\r\n", BadRequestLine),
        ("GET\r\nHost: a\r\n\r\n", BadRequestLine),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", BadRequestLine),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
        ("GET: / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", ControlByte),
        ("GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
        ("GET / FTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
        ("GET / \r\nHost: a\r\n\r\n", BadRequestLine),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
        ("\x16\x03\x01\x02", ControlByte),
        ("G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", ControlByte),
        // Versions.
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", BadVersion),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", BadVersion),
        ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", BadVersion),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", BadVersion),
        ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", BadVersion),
        ("GET / HTTP/1\r\nHost: a\r\n\r\n", BadVersion),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", BadVersion),
        ("GET / HTTP/\r\nHost: a\r\n\r\n", BadVersion),
        // Targets.
        ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
        ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
        ("GET ?x HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
        ("OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
        ("GET /<b> HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
        ("GET /`b HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
        ("GET /`?b HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
        ("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", ControlByte),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", ControlByte),
        ("GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", ControlByte),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
        ("GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
        ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
        ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
        ("GET http://a:x/ HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", HostMismatch),
        ("GET http://a:443/ HTTP/1.1\r\nHost: a\r\n\r\n", HostMismatch),
        ("GET https://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", HostMismatch),
        ("GET http://a/ HTTP/1.1\r\nHost: a:81\r\n\r\n", HostMismatch),
        ("GET http://b/ HTTP/1.0\r\nHost: a\r\n\r\n", HostMismatch),
        ("GET http://a/ HTTP/1.1\r\n\r\n", BadHost),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Connect),
        ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", Connect),
        // Host.
        ("GET / HTTP/1.1\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", BadHost),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: [a]\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: a%41\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: \u{e9}\r\n\r\n", BadHost),
        // Line ends and control bytes.
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BadLineEnding),
        ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", BadLineEnding),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", BadLineEnding),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", BadLineEnding),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", BadLineEnding),
        ("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", BadLineEnding),
        ("GE\rT / HTTP/1.1\r\nHost: a\r\n\r\n", BadLineEnding),
        ("GET / HTTP/1.1\rHost: a\r\n\r\n", BadLineEnding),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", BadLineEnding),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\r\n\r\n", BadLineEnding),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", ControlByte),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x0bb\r\n\r\n", ControlByte),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", ControlByte),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", ControlByte),
        ("GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", ControlByte),
        // A second request in a row, smuggled or plain wrong.
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /\r\n\r\n", BadRequestLine),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx\0", ControlByte),
    ]
    .into_iter()
    .map(|(request, refusal)| (request.to_owned(), refusal))
    .chain(
        [
            // Fields.
            ("X y: z\r\n", BadField),
            ("X : z\r\n", BadField),
            ("X\t: z\r\n", BadField),
            (": z\r\n", BadField),
            ("X\r\n", BadField),
            ("X(y): z\r\n", BadField),
            ("\u{e9}: z\r\n", BadField),
            ("Content-Length : 1\r\n", BadField),
            ("Transfer-Encoding : chunked\r\n", BadField),
            ("X: y\r\n z\r\n", ObsoleteFold),
            ("X: y\r\n\tz\r\n", ObsoleteFold),
            (" X: y\r\n", ObsoleteFold),
            ("Transfer-Encoding:\r\n chunked\r\n", BadTransferEncoding),
            // Lengths.
            ("Content-Length:\r\n", BadContentLength),
            ("Content-Length: +1\r\n", BadContentLength),
            ("Content-Length: -1\r\n", BadContentLength),
            ("Content-Length: 0x1\r\n", BadContentLength),
            ("Content-Length: 1 2\r\n", BadContentLength),
            ("Content-Length: 1,1\r\n", BadContentLength),
            ("Content-Length: 1, 1\r\n", BadContentLength),
            ("Content-Length: 1.0\r\n", BadContentLength),
            ("Content-Length: \"1\"\r\n", BadContentLength),
            ("Content-Length: 1_0\r\n", BadContentLength),
            ("Content-Length: 99999999999999999999\r\n", BadContentLength),
            ("Content-Length: \u{661}\r\n", BadContentLength),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", BadContentLength),
            ("Content-Length: 1\r\nContent-Length: 2\r\n", BadContentLength),
            ("Content-Length: 1\r\ncontent-length: 0\r\n", BadContentLength),
            ("Transfer-Encoding:\r\n", BadTransferEncoding),
            ("Transfer-Encoding: identity\r\n", BadTransferEncoding),
            ("Transfer-Encoding: gzip\r\n", BadTransferEncoding),
            ("Transfer-Encoding: gzip, chunked\r\n", BadTransferEncoding),
            ("Transfer-Encoding: chunked, identity\r\n", BadTransferEncoding),
            ("Transfer-Encoding: chunked, chunked\r\n", BadTransferEncoding),
            ("Transfer-Encoding: ,chunked\r\n", BadTransferEncoding),
            ("Transfer-Encoding: chunked;q=1\r\n", BadTransferEncoding),
            ("Transfer-Encoding: xchunked\r\n", BadTransferEncoding),
            ("Transfer-Encoding: \"chunked\"\r\n", BadTransferEncoding),
            ("Transfer-Encoding: \x0bchunked\r\n", ControlByte),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", BadTransferEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", BadTransferEncoding),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", AmbiguousLength),
            ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", AmbiguousLength),
        ]
        .map(|(fields, refusal)| (get(fields), refusal)),
    )
    .chain([
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), BadTransferEncoding),
        // Limits: a byte or a field over each.
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(64)), TargetTooLong),
        (format!("GET /{}", "x".repeat(100)), TargetTooLong),
        (get(&format!("X: {}\r\n", "y".repeat(126))), HeadTooLarge),
        (get(&format!("X: {}", "y".repeat(200))), HeadTooLarge),
        (get(&"X: y\r\n".repeat(8)), TooManyFields),
        (get(&format!("X: {}\r\n", "y".repeat(124)).repeat(8)), HeadTooLarge),
    ])
    .collect();
    for (request, refusal) in vectors {
        let result = outcome(request.as_bytes());
        assert_eq!(result.end, Some(Verdict::Refuse(refusal)), "{}", request.escape_debug());
        assert_eq!(!result.passed.is_empty(), result.heads > 0, "only whole requests before it passed");
    }
}

#[test]
fn inspect_breaks_off_bodies_at_the_first_doubtful_byte() {
    // The body, and how much of it hyper may see.
    let long_extension = format!("1;{}\r\n", "e".repeat(257));
    let many_trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(9));
    let long_trailer = format!("0\r\nX: {}\r\n\r\n", "y".repeat(200));
    let vectors: Vec<(&str, usize)> = vec![
        ("\r\n", 0),
        ("g\r\n", 0),
        (" 1\r\n", 0),
        ("+1\r\n", 0),
        ("-1\r\n", 0),
        (";x\r\n", 0),
        ("0x1\r\n", 1),
        ("1 \r\na", 1),
        ("1 ;x\r\na", 1),
        ("1\t\r\na", 1),
        ("1\na", 1),
        ("1\r\r\n", 2),
        ("1_0\r\n", 1),
        ("00000000000000001\r\n", 16),
        ("FFFFFFFFFFFFFFFFF\r\n", 16),
        ("1;x\ny\r\n", 3),
        ("1;x\0\r\n", 3),
        ("1;x\ry", 4),
        ("1\r\nab\r\n", 4),
        ("1\r\na\n0\r\n\r\n", 4),
        ("1\r\na\r0\r\n\r\n", 5),
        ("1\r\na0\r\n\r\n", 4),
        ("3\r\nabc\r\n\r\n", 8),
        ("0\r\n\n", 3),
        ("0\r\n\rX", 4),
        ("0\r\nX\r\n\r\n", 4),
        ("0\r\nX : y\r\n\r\n", 4),
        ("0\r\n: y\r\n\r\n", 3),
        ("0\r\n X: y\r\n\r\n", 3),
        ("0\r\nX: y\n\r\n", 7),
        ("0\r\nX: \0\r\n\r\n", 6),
        ("0\r\nX: y\r\n z\r\n\r\n", 9),
        ("0\r\nContent-Length: 5\r\n\r\n", 17),
        ("0\r\nTransfer-Encoding: chunked\r\n\r\n", 20),
        ("0\r\nHost: b\r\n\r\n", 7),
        ("0\r\nGET / HTTP/1.1\r\n", 6),
        (&long_extension, 258),
        (&many_trailers, 3 + 8 * 6),
        (&long_trailer, 3 + 130),
    ];
    for (body, good) in vectors {
        let request = chunked(body);
        let result = outcome(request.as_bytes());
        assert_eq!(result.end, Some(Verdict::Break(BadChunk)), "{}", request.escape_debug());
        let head = request.len() - body.len();
        assert_eq!(result.passed, request.as_bytes()[..head + good], "{}", request.escape_debug());
    }
}

#[test]
fn inspect_bounds_all_extensions_of_a_body() {
    let chunk = format!("1;{}\r\na\r\n", "e".repeat(250));
    let body = chunk.repeat(33);
    let result = run([chunked(&body).as_bytes()]);
    assert_eq!(result.end, Some(Verdict::Break(BadChunk)));
}

#[test]
fn inspect_holds_what_follows_a_request_to_switch_protocols() {
    let request = get("Connection: upgrade\r\nUpgrade: websocket\r\n");
    let mut framing = Http1Framing::new(limits());
    assert_eq!(framing.inspect(request.as_bytes()), Verdict::Pass(request.len()));
    assert_eq!(framing.inspect(b"\x81\x00"), Verdict::Hold);
    let mut declined = framing.clone();
    declined.upgrade_answered(false);
    assert_eq!(declined.inspect(b"\x81\x00"), Verdict::Refuse(BadRequestLine));
    framing.upgrade_answered(true);
    assert!(framing.is_opaque());
    assert_eq!(framing.inspect(b"\x81\x00"), Verdict::Pass(2));
}

#[test]
fn inspect_decides_on_switching_only_after_the_body() {
    let request = post("Upgrade: x\r\nContent-Length: 2\r\n", "");
    let mut framing = Http1Framing::new(limits());
    assert_eq!(framing.inspect(request.as_bytes()), Verdict::Pass(request.len()));
    assert_eq!(framing.inspect(b"a"), Verdict::Pass(1));
    framing.upgrade_answered(false);
    assert_eq!(framing.inspect(b"bGET"), Verdict::Pass(1));
    assert_eq!(framing.inspect(b"GET"), Verdict::Hold);
    assert!(framing.in_head());
}

#[test]
fn inspect_ignores_upgrade_in_http_1_0() {
    let bytes = "GET / HTTP/1.0\r\nUpgrade: x\r\n\r\nGET / HTTP/1.0\r\n\r\n";
    assert_eq!(outcome(bytes.as_bytes()).heads, 2);
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"GET",
        b"POST",
        b"OPTIONS",
        b"CONNECT",
        b" ",
        b"/",
        b"/a?b",
        b"*",
        b"http://a/",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"\t",
        b"Host: a\r\n",
        b"Host: b\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Upgrade: x\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\n",
        b"0\r\n\r\n",
        b"3\r\nabc\r\n",
        b"abc",
        b";x",
        b"X: y\r\n",
        b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        b"\xff",
    ];
    proptest::collection::vec(proptest::sample::select(words), 0..24).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn inspect_does_not_depend_on_how_bytes_arrive(bytes in pieces(), cuts in proptest::collection::vec(1usize..40, 1..20)) {
        let whole = run([&bytes[..]]);
        prop_assert_eq!(&run(bytes.chunks(1)), &whole);
        let mut rest = &bytes[..];
        let mut split = Vec::new();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            split.push(piece);
            rest = after;
        }
        split.push(rest);
        prop_assert_eq!(&run(split), &whole);
    }

    #[test]
    fn inspect_passes_only_targets_that_the_uri_type_takes(target in "[!-~]{1,40}") {
        for target in [format!("/{target}"), format!("http://a/{target}"), format!("http://a?{target}")] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            if run([request.as_bytes()]).end.is_none() {
                let uri: http::Uri = target.parse().expect("an approved target");
                prop_assert!(uri.to_string().len() >= target.len(), "nothing was cut off: {}", uri);
            }
        }
    }
}
