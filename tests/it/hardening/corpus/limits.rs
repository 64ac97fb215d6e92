//! Heads beyond the limits: refused before they are collected.

use super::{Vector, refused_long};

pub(super) const VECTORS: &[Vector] = &[
    refused_long("target of 9,000 bytes", 414, &[(b"GET /", 1), (b"a", 9000), (b" HTTP/1.1\r\nHost: a\r\n\r\n", 1)]),
    refused_long("target without end", 414, &[(b"GET /", 1), (b"a", 40000)]),
    refused_long("query of 9,000 bytes", 414, &[(b"GET /?", 1), (b"a", 9000), (b" HTTP/1.1\r\nHost: a\r\n\r\n", 1)]),
    refused_long("field of 9,000 bytes", 431, &[(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", 1), (b"a", 9000), (b"\r\n\r\n", 1)]),
    refused_long("field name of 9,000 bytes", 431, &[(b"GET / HTTP/1.1\r\nHost: a\r\n", 1), (b"a", 9000), (b": x\r\n\r\n", 1)]),
    refused_long("field without end", 431, &[(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", 1), (b"a", 40000)]),
    refused_long("head of 40,000 bytes", 431, &[(b"GET / HTTP/1.1\r\nHost: a\r\n", 1), (b"X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789X: 0123456789012345678901234567890123456789\r\n", 48), (b"\r\n", 1)]),
    refused_long("101 fields", 431, &[(b"GET / HTTP/1.1\r\nHost: a\r\n", 1), (b"X: y\r\n", 100), (b"\r\n", 1)]),
    refused_long("10,000 empty fields", 431, &[(b"GET / HTTP/1.1\r\nHost: a\r\n", 1), (b"X:\r\n", 10000), (b"\r\n", 1)]),
    refused_long("cookies of 9,000 bytes in two lines", 431, &[(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: ", 1), (b"a", 4500), (b"\r\nCookie: ", 1), (b"a", 4500), (b"\r\n\r\n", 1)]),
    refused_long("spaces without end", 400, &[(b"GET ", 1), (b" ", 9000), (b"/ HTTP/1.1\r\nHost: a\r\n\r\n", 1)]),
];
