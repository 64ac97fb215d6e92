//! Trailer sections of requests (RFC 9112 §7.1.2, RFC 9110 §6.5.1).

use super::{Vector, cut, cut_long, taken};

pub(super) const VECTORS: &[Vector] = &[
    cut("trailer: space in a name", b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nBad Name: x\r\n\r\n"),
    cut("trailer: space before the colon", b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX : y\r\n\r\n"),
    cut("trailer: folded", b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n folded\r\n\r\n"),
    cut("trailer: folded at once", b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n folded\r\n\r\n"),
    cut("trailer: bare CR", b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\rb\r\n\r\n"),
    cut("trailer: bare LF", b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\nb\r\n\r\n"),
    cut("trailer: NUL", b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\0b\r\n\r\n"),
    cut("trailer: no colon", b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX\r\n\r\n"),
    cut("trailer: no name", b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n: x\r\n\r\n"),
    cut("trailer: Content-Length", b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n"),
    cut("trailer: Content-Length in capitals", b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nCONTENT-LENGTH: 5\r\n\r\n"),
    cut("trailer: Transfer-Encoding", b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    cut("trailer: Host", b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n"),
    cut("trailer: control byte", b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: \x01\r\n\r\n"),
    cut_long("trailer: section too large", &[(b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", 1), (b"X: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n", 200), (b"\r\n", 1)]),
    cut_long("trailer: too many fields", &[(b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", 1), (b"X: y\r\n", 101), (b"\r\n", 1)]),
    taken("trailers that may be there", b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n", &[200], "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    taken("trailers that would authorise or steer", b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: x\r\nCookie: a=b\r\nX-Forwarded-For: 1.2.3.4\r\nCache-Control: no-store\r\n\r\n", &[200], "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
];
