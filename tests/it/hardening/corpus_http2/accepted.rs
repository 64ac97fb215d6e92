//! What is odd and yet means one thing: taken, and written anew.

use super::{Step, Vector, taken};
use crate::support::frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, SETTINGS};

pub(super) const VECTORS: &[Vector] = &[
    taken(
        "plain request",
        &[Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")], true)],
        200,
        "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n",
    ),
    taken(
        "TE: trailers",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/"), ("te", "trailers")],
            true,
        )],
        200,
        "GET / HTTP/1.1\r\nhost: app.test\r\nte: trailers\r\nconnection: te\r\n\r\n",
    ),
    taken(
        "Host that is the authority in other letters",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("host", "APP.test:80"),
            ],
            true,
        )],
        200,
        "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n",
    ),
    taken(
        "Host without authority",
        &[Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "app.test")], true)],
        200,
        "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n",
    ),
    taken(
        "authority in capitals with a dot",
        &[Step::Fields(
            &[(":method", "GET"), (":scheme", "http"), (":authority", "APP.test.:80"), (":path", "/")],
            true,
        )],
        200,
        "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n",
    ),
    taken(
        "cookie crumbs become one field",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("cookie", "a=1"),
                ("cookie", "b=2"),
            ],
            true,
        )],
        200,
        "GET / HTTP/1.1\r\nhost: app.test\r\ncookie: a=1; b=2\r\n\r\n",
    ),
    taken(
        "fields of proxies from a stranger",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("x-forwarded-for", "1.2.3.4"),
                ("forwarded", "for=1.2.3.4"),
                ("x-original-url", "/admin"),
                ("x_forwarded_for", "1.2.3.4"),
                ("proxy", "http://evil.test"),
            ],
            true,
        )],
        200,
        "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n",
    ),
    taken(
        "HTTP2-Settings ends here",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("http2-settings", "AAMAAABkAAQAAP__"),
            ],
            true,
        )],
        200,
        "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n",
    ),
    taken(
        "unknown frames are nothing",
        &[
            Step::Frame(0xfa, 0xff, 0, b"x"),
            Step::Frame(0xfb, 0, 1, b"x"),
            Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")], true),
        ],
        200,
        "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n",
    ),
    taken(
        "unknown setting is nothing",
        &[
            Step::Frame(SETTINGS, 0, 0, b"\xab\xcd\0\0\0\x01"),
            Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")], true),
        ],
        200,
        "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n",
    ),
    taken(
        "padded frames",
        &[
            Step::Frame(
                HEADERS,
                END_HEADERS | PADDED,
                1,
                b"\x03\0\x07:method\x04POST\0\x07:scheme\x04http\0\n:authority\x08app.test\0\x05:path\x01/\0\0\0",
            ),
            Step::Frame(DATA, END_STREAM | PADDED, 1, b"\x02abc\0\0"),
        ],
        200,
        "POST / HTTP/1.1\r\ncontent-length: 3\r\nhost: app.test\r\n\r\nabc",
    ),
    taken(
        "padding alone",
        &[
            Step::Fields(
                &[(":method", "POST"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")],
                false,
            ),
            Step::Frame(DATA, PADDED, 1, b"\x02\0\0"),
            Step::Frame(DATA, END_STREAM, 1, b"abc"),
        ],
        200,
        "POST / HTTP/1.1\r\ncontent-length: 3\r\nhost: app.test\r\n\r\nabc",
    ),
    taken(
        "header block in many frames",
        &[
            Step::Frame(HEADERS, END_STREAM, 1, b"\0\x07:me"),
            Step::Frame(CONTINUATION, 0, 1, b"t"),
            Step::Frame(CONTINUATION, 0, 1, b""),
            Step::Frame(
                CONTINUATION,
                END_HEADERS,
                1,
                b"hod\x03GET\0\x07:scheme\x04http\0\n:authority\x08app.test\0\x05:path\x01/",
            ),
        ],
        200,
        "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n",
    ),
    taken(
        "content of the announced length",
        &[
            Step::Fields(
                &[
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":authority", "app.test"),
                    (":path", "/"),
                    ("content-length", "3"),
                ],
                false,
            ),
            Step::Frame(DATA, 0, 1, b"ab"),
            Step::Frame(DATA, END_STREAM, 1, b"c"),
        ],
        200,
        "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 3\r\n\r\nabc",
    ),
    taken(
        "content that is a request",
        &[
            Step::Fields(
                &[(":method", "POST"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")],
                false,
            ),
            Step::Frame(DATA, END_STREAM, 1, b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
        ],
        200,
        "POST / HTTP/1.1\r\ncontent-length: 40\r\nhost: app.test\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    taken(
        "GET with content is forwarded as it is",
        &[
            Step::Fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")], false),
            Step::Frame(DATA, END_STREAM, 1, b"abc"),
        ],
        200,
        "GET / HTTP/1.1\r\ncontent-length: 3\r\nhost: app.test\r\n\r\nabc",
    ),
    taken(
        "trailers that are not announced end here",
        &[
            Step::Fields(
                &[(":method", "POST"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")],
                false,
            ),
            Step::Frame(DATA, 0, 1, b"abc"),
            Step::Fields(&[("x", "y"), ("authorization", "z")], true),
        ],
        200,
        "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ),
    taken(
        "asterisk with OPTIONS",
        &[Step::Fields(
            &[(":method", "OPTIONS"), (":scheme", "http"), (":authority", "app.test"), (":path", "*")],
            true,
        )],
        200,
        "OPTIONS * HTTP/1.1\r\nhost: app.test\r\n\r\n",
    ),
];
