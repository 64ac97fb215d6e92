//! Field lines (RFC 9112 §5, RFC 9110 §5.5).

use super::{Vector, refused, taken};

pub(super) const VECTORS: &[Vector] = &[
    refused("space before the colon of Host", 400, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    refused("space before a colon", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n"),
    refused("tab before a colon", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX\t: y\r\n\r\n"),
    refused("no name", 400, b"GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n"),
    refused("no colon", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
    refused("space in a name", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n"),
    refused("folded line", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n"),
    refused("line folded by a tab", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n"),
    refused(
        "folded Transfer-Encoding",
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    ),
    refused("folded Content-Length", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 0\r\n\r\n"),
    refused("space before the first field", 400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    refused("tab before a field", 400, b"GET / HTTP/1.1\r\nHost: a\r\n\tX: y\r\n\r\n"),
    refused("line of spaces", 400, b"GET / HTTP/1.1\r\nHost: a\r\n  \r\n\r\n"),
    refused("NUL in a value", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
    refused("NUL at the end of Host", 400, b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n"),
    refused("control byte in a value", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n"),
    refused("escape in a value", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[31m\r\n\r\n"),
    refused("vertical tab in a value", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX: \x0b\r\n\r\n"),
    refused("DEL in a value", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n"),
    refused("NUL in a name", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n"),
    refused("non-ASCII in a name", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX\xc3\xa9: y\r\n\r\n"),
    refused("brackets in a name", 400, b"GET / HTTP/1.1\r\nHost: a\r\n(X): y\r\n\r\n"),
    refused("at sign in a name", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX@Y: y\r\n\r\n"),
    refused("quote in a name", 400, b"GET / HTTP/1.1\r\nHost: a\r\n\"X\": y\r\n\r\n"),
    refused("slash in a name", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX/Y: y\r\n\r\n"),
    taken(
        "empty value",
        b"GET /x HTTP/1.1\r\nHost: app.test\r\nX:\r\n\r\n",
        &[200],
        "GET /x HTTP/1.1\r\nhost: app.test\r\nx: \r\n\r\n",
    ),
    taken(
        "white space around a value",
        b"GET /x HTTP/1.1\r\nHost:app.test\t \r\nX:\t y z \t\r\n\r\n",
        &[200],
        "GET /x HTTP/1.1\r\nhost: app.test\r\nx: y z\r\n\r\n",
    ),
    taken(
        "bytes above ASCII in a value",
        b"GET /x HTTP/1.1\r\nHost: app.test\r\nX: \xc3\xa9\r\n\r\n",
        &[200],
        "GET /x HTTP/1.1\r\nhost: app.test\r\nx: é\r\n\r\n",
    ),
];
