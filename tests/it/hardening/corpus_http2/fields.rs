//! Fields (RFC 9113 §8.2).

use super::{Step, Vector, either, stream};

pub(super) const VECTORS: &[Vector] = &[
    stream(
        "Connection",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("connection", "close"),
            ],
            true,
        )],
    ),
    stream(
        "Transfer-Encoding",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("transfer-encoding", "chunked"),
            ],
            true,
        )],
    ),
    stream(
        "Keep-Alive",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("keep-alive", "timeout=5"),
            ],
            true,
        )],
    ),
    stream(
        "Proxy-Connection",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("proxy-connection", "keep-alive"),
            ],
            true,
        )],
    ),
    stream(
        "Upgrade",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("upgrade", "websocket"),
            ],
            true,
        )],
    ),
    stream(
        "TE other than trailers",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("te", "gzip")],
            true,
        )],
    ),
    stream(
        "TE with more than trailers",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("te", "trailers, gzip"),
            ],
            true,
        )],
    ),
    either(
        "name in capitals",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("X-Upper", "1")],
            true,
        )],
    ),
    either(
        "one capital in a name",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("x-uppeR", "1")],
            true,
        )],
    ),
    stream(
        "white space before a value",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("x", " a")],
            true,
        )],
    ),
    stream(
        "white space behind a value",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("x", "a\t")],
            true,
        )],
    ),
    stream(
        "a length that is no number",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("content-length", ""),
            ],
            true,
        )],
    ),
    stream(
        "a length twice",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("content-length", "0"),
                ("content-length", "0"),
            ],
            true,
        )],
    ),
    either(
        "space in a name",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("x y", "1")],
            true,
        )],
    ),
    either(
        "colon in a name",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("x:y", "1")],
            true,
        )],
    ),
    either(
        "empty name",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("", "1")],
            true,
        )],
    ),
    either(
        "CRLF in a name",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("x\r\ny", "1")],
            true,
        )],
    ),
    either(
        "NUL in a name",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("x\0y", "1")],
            true,
        )],
    ),
    either(
        "non-ASCII name",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("xé", "1")],
            true,
        )],
    ),
    either(
        "DEL in a name",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("x\x7f", "1")],
            true,
        )],
    ),
    either(
        "a request in a value",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("x", "a\r\nHost: evil.test"),
            ],
            true,
        )],
    ),
    either(
        "two CRLF in a value",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("x", "a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
            ],
            true,
        )],
    ),
    either(
        "LF in a value",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("x", "a\nb")],
            true,
        )],
    ),
    either(
        "CR in a value",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("x", "a\rb")],
            true,
        )],
    ),
    either(
        "NUL in a value",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("x", "a\0b")],
            true,
        )],
    ),
    either(
        "control byte in a value",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("x", "a\x01b")],
            true,
        )],
    ),
    either(
        "DEL in a value",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("x", "a\x7fb")],
            true,
        )],
    ),
    either(
        "CRLF at the end of a value",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("x", "a\r\n")],
            true,
        )],
    ),
    either(
        "CRLF in a cookie",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("cookie", "a=b\r\nx: y"),
            ],
            true,
        )],
    ),
];
