//! Requests behind one another on a connection: none is ever seen as a part of another.

use super::{Vector, last, taken};

pub(super) const VECTORS: &[Vector] = &[
    taken("three requests at once", b"GET /1 HTTP/1.1\r\nHost: app.test\r\n\r\nGET /2 HTTP/1.1\r\nHost: app.test\r\n\r\nGET /3 HTTP/1.1\r\nHost: app.test\r\n\r\n", &[200, 200, 200], "GET /1 HTTP/1.1\r\nhost: app.test\r\n\r\nGET /2 HTTP/1.1\r\nhost: app.test\r\n\r\nGET /3 HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("POST with a body that is a request", b"POST /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 42\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n", &[200], "POST /x HTTP/1.1\r\nhost: app.test\r\ncontent-length: 42\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n"),
    taken("GET with a body is neither looked up nor stored", b"GET /hit HTTP/1.1\r\nHost: app.test\r\nContent-Length: 42\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n", &[200], "GET /hit HTTP/1.1\r\nhost: app.test\r\ncontent-length: 42\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n"),
    taken("HEAD with a body", b"HEAD /hit HTTP/1.1\r\nHost: app.test\r\nContent-Length: 42\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n", &[200], "HEAD /hit HTTP/1.1\r\nhost: app.test\r\ncontent-length: 42\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n"),
    taken("hits behind one another", b"GET /hit HTTP/1.1\r\nHost: app.test\r\n\r\nGET /hit HTTP/1.1\r\nHost: app.test\r\n\r\n", &[200, 200], ""),
    taken("POST, then a hit", b"POST /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\nabcGET /hit HTTP/1.1\r\nHost: app.test\r\n\r\n", &[200, 200], "POST /x HTTP/1.1\r\nhost: app.test\r\ncontent-length: 3\r\n\r\nabc"),
    last("refusal behind an answer", b"GET /1 HTTP/1.1\r\nHost: app.test\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[200, 400], "GET /1 HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    last("refusal behind a hit", b"GET /hit HTTP/1.1\r\nHost: app.test\r\n\r\nGET / HTTP/1.1\r\nHost : a\r\n\r\n", &[200, 400], ""),
    last("close asked for: what follows is nothing", b"GET /x HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    last("HTTP/1.0 without keep-alive: what follows is nothing", b"GET /x HTTP/1.0\r\nHost: app.test\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("HTTP/1.0 with keep-alive", b"GET /x HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("DELETE with a body", b"DELETE /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\nabc", &[200], "DELETE /x HTTP/1.1\r\nhost: app.test\r\ncontent-length: 3\r\n\r\nabc"),
];
