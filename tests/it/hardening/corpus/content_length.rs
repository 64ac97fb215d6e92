//! Content-Length (RFC 9112 §6.3, RFC 9110 §8.6): digits, once.

use super::{Vector, refused, taken};

pub(super) const VECTORS: &[Vector] = &[
    refused("length with a plus", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n"),
    refused("length with a minus", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -0\r\n\r\n"),
    refused("list of lengths that agree", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n"),
    refused("list of lengths without space", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0,0\r\n\r\n"),
    refused("list of lengths that differ", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 5\r\n\r\n"),
    refused("length in hexadecimal", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x0\r\n\r\n"),
    refused("space within a length", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0 0\r\n\r\n"),
    refused("empty length", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n"),
    refused("length that is a letter", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: a\r\n\r\n"),
    refused("letter behind a length", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0a\r\n\r\n"),
    refused("length with a point", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0.\r\n\r\n"),
    refused("length with an exponent", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0e1\r\n\r\n"),
    refused("underscore in a length", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0_0\r\n\r\n"),
    refused(
        "length beyond 64 bits",
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
    ),
    refused(
        "length of 2 to the 64th",
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
    ),
    refused("negative length", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
    refused("semicolon behind a length", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0;\r\n\r\n"),
    refused("quotes around a length", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \"0\"\r\n\r\n"),
    refused("comma before a length", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ,0\r\n\r\n"),
    refused("comma behind a length", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0,\r\n\r\n"),
    refused("length in Arabic digits", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \xd9\xa0\r\n\r\n"),
    refused("vertical tab before a length", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \x0b0\r\n\r\n"),
    refused("NUL behind a length", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\0\r\n\r\n"),
    refused(
        "length twice, the same",
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    ),
    refused(
        "length twice, the first zero",
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 61\r\n\r\n",
    ),
    refused(
        "length twice, the second zero",
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 61\r\ncontent-length: 0\r\n\r\n",
    ),
    refused(
        "length twice on GET",
        400,
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 61\r\nX: y\r\nContent-length: 61\r\n\r\n",
    ),
    refused(
        "space before the colon of Content-Length",
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 61\r\n\r\n",
    ),
    taken(
        "length with leading zeros is written anew",
        b"POST /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 0010\r\n\r\n0123456789",
        &[200],
        "POST /x HTTP/1.1\r\nhost: app.test\r\ncontent-length: 10\r\n\r\n0123456789",
    ),
    taken(
        "white space around a length",
        b"POST /x HTTP/1.1\r\nHost: app.test\r\nContent-Length:\t 3 \r\n\r\nabc",
        &[200],
        "POST /x HTTP/1.1\r\nhost: app.test\r\ncontent-length: 3\r\n\r\nabc",
    ),
    taken(
        "length of zero",
        b"POST /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 0\r\n\r\n",
        &[200],
        "POST /x HTTP/1.1\r\nhost: app.test\r\ncontent-length: 0\r\n\r\n",
    ),
    taken(
        "no length at all",
        b"POST /x HTTP/1.1\r\nHost: app.test\r\n\r\n",
        &[200],
        "POST /x HTTP/1.1\r\nhost: app.test\r\ncontent-length: 0\r\n\r\n",
    ),
    taken(
        "underscore name that some apps take for Content-Length",
        b"POST /x HTTP/1.1\r\nHost: app.test\r\nContent_Length: 9\r\nContent-Length: 3\r\n\r\nabc",
        &[200],
        "POST /x HTTP/1.1\r\nhost: app.test\r\ncontent-length: 3\r\n\r\nabc",
    ),
];
