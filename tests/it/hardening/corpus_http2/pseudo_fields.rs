//! Pseudo-fields and hosts (RFC 9113 §8.3).

use super::{Step, Vector, either, stream};

pub(super) const VECTORS: &[Vector] = &[
    stream("no :method", &[Step::Fields(&[(":scheme", "http"), (":authority", "app.test"), (":path", "/")], true)]),
    stream("no :path", &[Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "app.test")], true)]),
    stream("no :scheme", &[Step::Fields(&[(":method", "GET"), (":authority", "app.test"), (":path", "/")], true)]),
    stream("no :authority", &[Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/")], true)]),
    stream(
        ":path that is a query alone",
        &[Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "?x")], true)],
    ),
    stream(
        ":method of 33 bytes",
        &[Step::Fields(
            &[
                (":method", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
            ],
            true,
        )],
    ),
    stream(
        ":authority with two dots at its end",
        &[Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "app.test.."), (":path", "/")], true)],
    ),
    stream(
        "two :path",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), (":path", "/other")],
            true,
        )],
    ),
    stream(
        "two :method",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), (":method", "POST")],
            true,
        )],
    ),
    stream(
        "two :scheme",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                (":scheme", "https"),
            ],
            true,
        )],
    ),
    stream(
        "two :authority",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                (":authority", "evil.test"),
            ],
            true,
        )],
    ),
    stream(
        ":status in a request",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), (":status", "200")],
            true,
        )],
    ),
    either(
        "unknown pseudo-field",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), (":unknown", "1")],
            true,
        )],
    ),
    either(
        "pseudo-field in capitals",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), (":Path", "/x")],
            true,
        )],
    ),
    stream(
        "pseudo-fields behind a field",
        &[Step::Fields(
            &[("x", "1"), (":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")],
            true,
        )],
    ),
    stream(
        "one pseudo-field behind a field",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), ("x", "1"), (":path", "/")],
            true,
        )],
    ),
    either(
        "empty method",
        &[Step::Fields(&[(":method", ""), (":scheme", "http"), (":authority", "app.test"), (":path", "/")], true)],
    ),
    either(
        "space in the method",
        &[Step::Fields(&[(":method", "GE T"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")], true)],
    ),
    either(
        "a request in the method",
        &[Step::Fields(
            &[
                (":method", "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\nGET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
            ],
            true,
        )],
    ),
    either(
        "NUL in the method",
        &[Step::Fields(&[(":method", "GET\0"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")], true)],
    ),
    stream(
        "empty path",
        &[Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "")], true)],
    ),
    stream(
        "path without slash",
        &[Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "x")], true)],
    ),
    stream(
        "asterisk with GET",
        &[Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "*")], true)],
    ),
    stream(
        "space in the path",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/a b")],
            true,
        )],
    ),
    stream(
        "a field in the path",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/ HTTP/1.1\r\nx: y")],
            true,
        )],
    ),
    stream(
        "NUL in the path",
        &[Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/\0")], true)],
    ),
    stream(
        "control byte in the path",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "//evil.test/\x01")],
            true,
        )],
    ),
    stream(
        "absolute URL as the path",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "http://evil.test/")],
            true,
        )],
    ),
    stream(
        "quote in the path",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/a\"b")],
            true,
        )],
    ),
    stream(
        "bytes beyond ASCII in the path",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/\u{e9}")],
            true,
        )],
    ),
    stream(
        "tab in the path",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/a\tb")],
            true,
        )],
    ),
    stream(
        "empty authority",
        &[Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":authority", ""), (":path", "/")], true)],
    ),
    stream(
        "space in the authority",
        &[Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a b"), (":path", "/")], true)],
    ),
    stream(
        "user information in the authority",
        &[Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "u@app.test"), (":path", "/")], true)],
    ),
    stream(
        "path in the authority",
        &[Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "app.test/x"), (":path", "/")], true)],
    ),
    stream(
        "port that is a word",
        &[Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "app.test:x"), (":path", "/")], true)],
    ),
    stream(
        "port too large",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test:65536"), (":path", "/")],
            true,
        )],
    ),
    stream(
        "CRLF in the authority",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test\r\nx: y"), (":path", "/")],
            true,
        )],
    ),
    stream(
        "list of authorities",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test, evil.test"), (":path", "/")],
            true,
        )],
    ),
    stream(
        "query in the authority",
        &[Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "app.test?x"), (":path", "/")], true)],
    ),
    stream(
        "scheme that is a URL",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http://evil.test"), (":authority", "app.test"), (":path", "/")],
            true,
        )],
    ),
    stream(
        "empty scheme",
        &[Step::Fields(&[(":method", "GET"), (":scheme", ""), (":authority", "app.test"), (":path", "/")], true)],
    ),
    stream(
        "other scheme",
        &[Step::Fields(&[(":method", "GET"), (":scheme", "ftp"), (":authority", "app.test"), (":path", "/")], true)],
    ),
    stream(
        "a request in the scheme",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http://app.test/\r\n\r\nGET /smuggled"),
                (":authority", "app.test"),
                (":path", "/"),
            ],
            true,
        )],
    ),
    stream(
        "space in the scheme",
        &[Step::Fields(&[(":method", "GET"), (":scheme", "ht tp"), (":authority", "app.test"), (":path", "/")], true)],
    ),
    stream(
        "Host of another site",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("host", "evil.test"),
            ],
            true,
        )],
    ),
    stream(
        "Host with another port",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("host", "app.test:81"),
            ],
            true,
        )],
    ),
    stream(
        "Host twice",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("host", "app.test"),
                ("host", "app.test"),
            ],
            true,
        )],
    ),
    stream(
        "list in Host",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("host", "app.test, evil.test"),
            ],
            true,
        )],
    ),
    stream(
        "bad Host without authority",
        &[Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a b")], true)],
    ),
    stream("CONNECT", &[Step::Fields(&[(":method", "CONNECT"), (":authority", "app.test:443")], true)]),
    stream(
        "CONNECT with scheme and path",
        &[Step::Fields(
            &[(":method", "CONNECT"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")],
            true,
        )],
    ),
    stream(
        "extended CONNECT",
        &[Step::Fields(
            &[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
            ],
            true,
        )],
    ),
];
