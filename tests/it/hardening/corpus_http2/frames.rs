//! Frames (RFC 9113 §4 to §6).

use super::{Step, Vector, connection, either};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY, PUSH_PROMISE, RST_STREAM,
    WINDOW_UPDATE, WITH_PRIORITY,
};

pub(super) const VECTORS: &[Vector] = &[
    connection("DATA on stream 0", &[Step::Frame(DATA, 0, 0, b"abc")]),
    connection(
        "HEADERS on stream 0",
        &[Step::Frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            0,
            b"\0\x07:method\x03GET\0\x07:scheme\x04http\0\n:authority\x08app.test\0\x05:path\x01/",
        )],
    ),
    connection(
        "HEADERS on an even stream",
        &[Step::Frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            2,
            b"\0\x07:method\x03GET\0\x07:scheme\x04http\0\n:authority\x08app.test\0\x05:path\x01/",
        )],
    ),
    connection("DATA on a stream that never was", &[Step::Frame(DATA, 0, 5, b"abc")]),
    connection("RST_STREAM on a stream that never was", &[Step::Frame(RST_STREAM, 0, 5, b"\0\0\0\x08")]),
    connection("RST_STREAM on stream 0", &[Step::Frame(RST_STREAM, 0, 0, b"\0\0\0\x08")]),
    connection("RST_STREAM of three bytes", &[Step::Frame(RST_STREAM, 0, 1, b"\0\0\x08")]),
    connection("WINDOW_UPDATE of zero on the connection", &[Step::Frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0")]),
    connection("window of the connection overflows", &[Step::Frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff")]),
    connection("WINDOW_UPDATE of three bytes", &[Step::Frame(WINDOW_UPDATE, 0, 0, b"\0\0\x01")]),
    connection("WINDOW_UPDATE on a stream that never was", &[Step::Frame(WINDOW_UPDATE, 0, 5, b"\0\0\0\x01")]),
    connection("PING of seven bytes", &[Step::Frame(PING, 0, 0, b"1234567")]),
    connection("PING on a stream", &[Step::Frame(PING, 0, 1, b"12345678")]),
    connection("GOAWAY on a stream", &[Step::Frame(GOAWAY, 0, 1, b"\0\0\0\0\0\0\0\0")]),
    connection(
        "PUSH_PROMISE from a client",
        &[Step::Frame(
            PUSH_PROMISE,
            END_HEADERS,
            1,
            b"\0\0\0\x02\0\x07:method\x03GET\0\x07:scheme\x04http\0\n:authority\x08app.test\0\x05:path\x01/",
        )],
    ),
    connection(
        "CONTINUATION without HEADERS",
        &[Step::Frame(
            CONTINUATION,
            END_HEADERS,
            1,
            b"\0\x07:method\x03GET\0\x07:scheme\x04http\0\n:authority\x08app.test\0\x05:path\x01/",
        )],
    ),
    connection(
        "DATA within a header block",
        &[Step::Frame(HEADERS, END_STREAM, 1, b"\0\x07:method\x03GET\0\x07:sche"), Step::Frame(DATA, 0, 1, b"x")],
    ),
    connection(
        "HEADERS within a header block",
        &[
            Step::Frame(HEADERS, END_STREAM, 1, b"\0\x07:method\x03GET\0\x07:sche"),
            Step::Frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                3,
                b"\0\x07:method\x03GET\0\x07:scheme\x04http\0\n:authority\x08app.test\0\x05:path\x01/",
            ),
        ],
    ),
    connection(
        "CONTINUATION of another stream",
        &[
            Step::Frame(HEADERS, END_STREAM, 1, b"\0\x07:method\x03GET\0\x07:sche"),
            Step::Frame(CONTINUATION, END_HEADERS, 3, b"me\x04http\0\n:authority\x08app.test\0\x05:path\x01/"),
        ],
    ),
    connection(
        "unknown frame within a header block",
        &[Step::Frame(HEADERS, END_STREAM, 1, b"\0\x07:method\x03GET\0\x07:sche"), Step::Frame(0xfa, 0, 1, b"x")],
    ),
    connection(
        "frame larger than allowed",
        &[
            Step::Fields(
                &[(":method", "POST"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")],
                false,
            ),
            Step::Zeros(DATA, 0, 1, 20000),
        ],
    ),
    connection("header frame larger than allowed", &[Step::Zeros(HEADERS, END_HEADERS, 1, 20000)]),
    connection("PING larger than allowed", &[Step::Zeros(PING, 0, 0, 20000)]),
    connection(
        "padding longer than the frame",
        &[
            Step::Fields(
                &[(":method", "POST"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")],
                false,
            ),
            Step::Frame(DATA, PADDED, 1, b"\x05abc"),
        ],
    ),
    connection(
        "padding of all the frame and more in HEADERS",
        &[Step::Frame(
            HEADERS,
            END_HEADERS | END_STREAM | PADDED,
            1,
            b"\xff\0\x07:method\x03GET\0\x07:scheme\x04http\0\n:authority\x08app.test\0\x05:path\x01/",
        )],
    ),
    connection(
        "padding length missing",
        &[
            Step::Fields(
                &[(":method", "POST"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")],
                false,
            ),
            Step::Frame(DATA, PADDED, 1, b""),
        ],
    ),
    either(
        "HEADERS that depend on themselves",
        &[Step::Frame(
            HEADERS,
            END_HEADERS | END_STREAM | WITH_PRIORITY,
            1,
            b"\0\0\0\x01\x10\0\x07:method\x03GET\0\x07:scheme\x04http\0\n:authority\x08app.test\0\x05:path\x01/",
        )],
    ),
    either(
        "PRIORITY that depends on itself",
        &[
            Step::Fields(
                &[(":method", "POST"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")],
                false,
            ),
            Step::Frame(PRIORITY, 0, 1, b"\0\0\0\x01\x10"),
        ],
    ),
    either(
        "PRIORITY of four bytes",
        &[
            Step::Fields(
                &[(":method", "POST"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")],
                false,
            ),
            Step::Frame(PRIORITY, 0, 1, b"\0\0\0\x01"),
        ],
    ),
    connection("PRIORITY on stream 0", &[Step::Frame(PRIORITY, 0, 0, b"\0\0\0\x01\x10")]),
    either(
        "WINDOW_UPDATE of zero on a stream",
        &[
            Step::Fields(
                &[(":method", "POST"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")],
                false,
            ),
            Step::Frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\0"),
        ],
    ),
    either(
        "window of a stream overflows",
        &[
            Step::Fields(
                &[(":method", "POST"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")],
                false,
            ),
            Step::Frame(WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff"),
        ],
    ),
];
