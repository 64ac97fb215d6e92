//! Expect, and attempts to switch protocols (RFC 9110 §10.1.1 and §7.8).

use super::{Vector, refused, taken};

pub(super) const VECTORS: &[Vector] = &[
    refused("expectation that is unknown", 417, b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n"),
    refused("expectations in a list", 417, b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\n\r\n"),
    taken("h2c by Upgrade is not taken up", b"GET /x HTTP/1.1\r\nHost: app.test\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("h2c without nomination", b"GET /x HTTP/1.1\r\nHost: app.test\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nConnection: Upgrade\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("h2c with a version", b"GET /x HTTP/1.1\r\nHost: app.test\r\nUpgrade: h2c/1\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nConnection: Upgrade\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("h2c in capitals among others", b"GET /x HTTP/1.1\r\nHost: app.test\r\nUpgrade: x, H2C/1.0\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nConnection: Upgrade\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("h2c among others", b"GET /x HTTP/1.1\r\nHost: app.test\r\nUpgrade: websocket, h2c\r\nConnection: Upgrade\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("Upgrade without Connection", b"GET /x HTTP/1.1\r\nHost: app.test\r\nUpgrade: websocket\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("Upgrade that the app does not take up", b"GET /x HTTP/1.1\r\nHost: app.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"),
    taken("Upgrade with a body that is a request", b"POST /x HTTP/1.1\r\nHost: app.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 42\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n", &[200], "POST /x HTTP/1.1\r\nhost: app.test\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 42\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n"),
];
