//! Fields that must not travel on, and those that must (RFC 9110 §7.6.1).

use super::{Vector, taken};

pub(super) const VECTORS: &[Vector] = &[
    taken("forwarding: X-Forwarded-For of a stranger", b"GET /x HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("forwarding: X-Forwarded-Host of a stranger", b"GET /x HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /x\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("forwarding: Forwarded of a stranger", b"GET /x HTTP/1.1\r\nHost: app.test\r\nForwarded: for=1.2.3.4;host=evil.test\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("forwarding: X-Original-URL and X-Rewrite-URL", b"GET /x HTTP/1.1\r\nHost: app.test\r\nX-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("forwarding: method overrides", b"GET /x HTTP/1.1\r\nHost: app.test\r\nX-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\nX-Method-Override: DELETE\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("forwarding: addresses in other fields", b"GET /x HTTP/1.1\r\nHost: app.test\r\nX-Real-IP: 1.2.3.4\r\nTrue-Client-IP: 1.2.3.4\r\nClient-IP: 1.2.3.4\r\nX-Client-IP: 1.2.3.4\r\nCF-Connecting-IP: 1.2.3.4\r\nFastly-Client-IP: 1.2.3.4\r\nX-Cluster-Client-IP: 1.2.3.4\r\nX-Remote-Addr: 1.2.3.4\r\nForwarded-For: 1.2.3.4\r\nX-Forwarded: for=1.2.3.4\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("forwarding: Proxy (httpoxy)", b"GET /x HTTP/1.1\r\nHost: app.test\r\nProxy: http://evil.test\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("forwarding: underscores for dashes", b"GET /x HTTP/1.1\r\nHost: app.test\r\nX_Forwarded_For: 1.2.3.4\r\nX-Forwarded_For: 1.2.3.4\r\nX_Original_URL: /admin\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("forwarding: fields of the connection", b"GET /x HTTP/1.1\r\nHost: app.test\r\nConnection: keep-alive, X-Own\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nX-Own: y\r\nX-Kept: y\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\nx-kept: y\r\n\r\n"),
    taken("forwarding: Proxy-Authorization is for proxies", b"GET /x HTTP/1.1\r\nHost: app.test\r\nProxy-Authorization: Basic eDp5\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("forwarding: Connection nominates what must stay", b"GET /x HTTP/1.1\r\nHost: app.test\r\nConnection: Authorization, Cookie, Host, X-Forwarded-For, Via\r\nAuthorization: Basic eDp5\r\nCookie: a=b\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\nauthorization: Basic eDp5\r\ncookie: a=b\r\n\r\n"),
    taken("forwarding: Connection nominates in several lines and cases", b"GET /x HTTP/1.1\r\nHost: app.test\r\nconnection: x-one\r\nConnection: X-TWO , ,x-three\r\nX-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\n\r\n"),
    taken("forwarding: cookies in several lines become one", b"GET /x HTTP/1.1\r\nHost: app.test\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\ncookie: a=1; b=2\r\n\r\n"),
    taken("forwarding: trailers are asked for hop by hop", b"GET /x HTTP/1.1\r\nHost: app.test\r\nTE: trailers\r\n\r\n", &[200], "GET /x HTTP/1.1\r\nhost: app.test\r\nte: trailers\r\nconnection: te\r\n\r\n"),
];
