//! Ends of lines (RFC 9112 §2.2).

use super::{Vector, refused, taken};

pub(super) const VECTORS: &[Vector] = &[
    refused("bare LF everywhere", 400, b"GET / HTTP/1.1\nHost: a\n\n"),
    refused("bare LF behind the request line", 400, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    refused("bare LF behind a field", 400, b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    refused("bare LF as the empty line", 400, b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    refused("bare LF before the request", 400, b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("bare CR in a value", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rZ: 1\r\n\r\n"),
    refused("bare CR behind the request line", 400, b"GET / HTTP/1.1\rHost: a\r\n\r\n"),
    refused("two CR behind the request line", 400, b"GET / HTTP/1.1\r\rHost: a\r\n\r\n"),
    refused("CR CR LF behind a field", 400, b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    refused("bare CR before the request", 400, b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("bare CR at the start of a value", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX: \ry\r\n\r\n"),
    refused("bare CR in the target", 400, b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("bare LF in the target", 400, b"GET /\nX HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("bare CR in a field name", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX\rY: z\r\n\r\n"),
    refused("LF CR for CR LF", 400, b"GET / HTTP/1.1\n\rHost: a\n\r\n\r"),
    refused(
        "Transfer-Encoding behind a bare LF",
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    refused(
        "Transfer-Encoding behind a bare CR",
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    refused("five empty lines before the request", 400, b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    taken(
        "an empty line before the request",
        b"\r\nGET /x HTTP/1.1\r\nHost: app.test\r\n\r\n",
        &[200],
        "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n",
    ),
];
