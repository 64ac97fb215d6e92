//! Content and trailers (RFC 9113 §8.1).

use super::{Step, Vector, either, stream};
use crate::support::frames::{DATA, END_STREAM};

pub(super) const VECTORS: &[Vector] = &[
    stream(
        "length without content",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("content-length", "5"),
            ],
            true,
        )],
    ),
    stream(
        "two lengths",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("content-length", "0"),
                ("content-length", "1"),
            ],
            true,
        )],
    ),
    stream(
        "length with a plus",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("content-length", "+0"),
            ],
            true,
        )],
    ),
    stream(
        "length that is a word",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("content-length", "x"),
            ],
            true,
        )],
    ),
    stream(
        "length beyond 64 bits",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("content-length", "99999999999999999999"),
            ],
            true,
        )],
    ),
    stream(
        "negative length",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("content-length", "-1"),
            ],
            true,
        )],
    ),
    stream(
        "length in hexadecimal",
        &[Step::Fields(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "app.test"),
                (":path", "/"),
                ("content-length", "0x0"),
            ],
            true,
        )],
    ),
    stream(
        "less content than announced",
        &[
            Step::Fields(
                &[
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":authority", "app.test"),
                    (":path", "/"),
                    ("content-length", "5"),
                ],
                false,
            ),
            Step::Frame(DATA, END_STREAM, 1, b"abc"),
        ],
    ),
    stream(
        "more content than announced",
        &[
            Step::Fields(
                &[
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":authority", "app.test"),
                    (":path", "/"),
                    ("content-length", "2"),
                ],
                false,
            ),
            Step::Frame(DATA, END_STREAM, 1, b"abc"),
        ],
    ),
    stream(
        "content where none is announced",
        &[
            Step::Fields(
                &[
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":authority", "app.test"),
                    (":path", "/"),
                    ("content-length", "0"),
                ],
                false,
            ),
            Step::Frame(DATA, END_STREAM, 1, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
        ],
    ),
    stream(
        "trailers with Connection",
        &[
            Step::Fields(
                &[(":method", "POST"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")],
                false,
            ),
            Step::Frame(DATA, 0, 1, b"abc"),
            Step::Fields(&[("connection", "close")], true),
        ],
    ),
    stream(
        "trailers with Transfer-Encoding",
        &[
            Step::Fields(
                &[(":method", "POST"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")],
                false,
            ),
            Step::Frame(DATA, 0, 1, b"abc"),
            Step::Fields(&[("transfer-encoding", "chunked")], true),
        ],
    ),
    either(
        "trailers with a name in capitals",
        &[
            Step::Fields(
                &[(":method", "POST"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")],
                false,
            ),
            Step::Frame(DATA, 0, 1, b"abc"),
            Step::Fields(&[("X-Upper", "1")], true),
        ],
    ),
    either(
        "trailers with CRLF",
        &[
            Step::Fields(
                &[(":method", "POST"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")],
                false,
            ),
            Step::Frame(DATA, 0, 1, b"abc"),
            Step::Fields(&[("x", "a\r\nb")], true),
        ],
    ),
    either(
        "trailers without the end of the stream",
        &[
            Step::Fields(
                &[(":method", "POST"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")],
                false,
            ),
            Step::Frame(DATA, 0, 1, b"abc"),
            Step::Fields(&[("x", "a")], false),
        ],
    ),
];
