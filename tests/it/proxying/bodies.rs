//! Bodies stream both ways, piece by piece, within limits.

use std::time::Duration;

use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::before;
use crate::support::client::{Connection, request};
use crate::support::http2;
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;
use crate::support::within;

#[tokio::test]
async fn download_comes_piece_by_piece() {
    for method in ["GET", "POST"] {
        let gate = Gate::new();
        let held = gate.clone();
        let upstream = Upstream::start(move |_| Reply::ok().piece("first").gate(&held).piece("second")).await;
        let proxy = before(&upstream, "");
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        client.write_all(request(method, "/", &[("Connection", "close")], "").as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        within("the first piece", async {
            while !seen.ends_with(b"5\r\nfirst\r\n") {
                assert!(client.read_buf(&mut seen).await.unwrap() > 0);
            }
        })
        .await;
        gate.open();
        within("the rest", client.read_to_end(&mut seen)).await.unwrap();
        assert!(seen.ends_with(b"5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n"), "{}", String::from_utf8_lossy(&seen));
    }
}

#[tokio::test]
async fn upload_goes_piece_by_piece() {
    let (proxy, listener) = streaming().await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client
        .write_all(b"POST /up HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n")
        .await
        .unwrap();
    let (mut upstream, _) = within("the proxy", listener.accept()).await.unwrap();
    let head = until(&mut upstream, b"3\r\nabc\r\n").await;
    assert!(head.starts_with("POST /up HTTP/1.1\r\n") && !head.contains("ext"), "chunk extensions end here: {head}");
    client.write_all(b"0005\r\ndefgh\r\n0\r\nX-Trailer: t\r\n\r\n").await.unwrap();
    let rest = until(&mut upstream, b"0\r\n\r\n").await;
    assert_eq!(rest, "5\r\ndefgh\r\n0\r\n\r\n", "an unannounced trailer field is dropped");
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    until(&mut client, b"ok").await;
}

#[tokio::test]
async fn small_upload_is_held_until_it_is_whole() {
    let upstream = Upstream::start_at_head(|_| Reply::ok().read_body().body("x")).await;
    let proxy = before(&upstream, "");
    let mut client = Connection::open(proxy.address).await;
    client
        .send("POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    assert_eq!(client.head().await.first_line, "HTTP/1.1 100 Continue", "it is read already");
    client.send("3\r\nabc\r\n").await;
    // Whoever asks meanwhile gets the upstream's only connection.
    assert_eq!(proxy.get("/other", &[]).await.status, 200);
    client.send("2;x=y\r\nde\r\n0\r\n\r\n").await;
    assert_eq!(client.response("POST").await.status, 200);
    let seen = upstream.requests();
    assert_eq!([&seen[0].method, &seen[1].method], ["GET", "POST"]);
    let upload = &seen[1];
    let framing = (upload.fields.get("content-length"), upload.fields.get("transfer-encoding"));
    assert_eq!((framing, &*upload.body.content), ((Some("5"), None), &b"abcde"[..]), "apps need not know chunks");
    assert_eq!(upstream.connections(), 1);
    // The connection is in order for further requests on both sides.
    assert_eq!(client.get("/next", &[]).await.status, 200);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn large_upload_streams_once_so_much_of_it_is_there() {
    for framing in ["Content-Length: 100\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n64\r\n"] {
        let (proxy, listener) = by_hand_with("[[routes]]\nbuffer_request = \"60\"\n").await;
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        let head = format!("PUT / HTTP/1.1\r\nHost: app.test\r\n{framing}{}", "a".repeat(30));
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all("b".repeat(30).as_bytes()).await.unwrap();
        let (mut upstream, _) = within("the proxy", listener.accept()).await.unwrap();
        let (mut seen, mut body) = (String::new(), String::new());
        for (letter, count) in [('b', 30), ('c', 40)] {
            while body.matches(letter).count() < count {
                let mut bytes = vec![0; 1000];
                let read = within("bytes", upstream.read(&mut bytes)).await.unwrap();
                seen += str::from_utf8(&bytes[..read]).unwrap();
                body = seen.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned());
            }
            if letter == 'b' {
                client.write_all("c".repeat(40).as_bytes()).await.unwrap();
            }
        }
        assert_eq!(body.matches('a').count(), 30, "{body}");
        if framing.starts_with('T') {
            client.write_all(b"\r\n0\r\n\r\n").await.unwrap();
            until(&mut upstream, b"0\r\n\r\n").await;
        } else {
            assert!(seen.contains("content-length: 100\r\n") && body.len() == 100, "{seen}");
        }
        upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        until(&mut client, b"ok").await;
    }
}

#[tokio::test]
async fn upload_of_grpc_is_not_held() {
    let (proxy, listener) = by_hand().await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    let head = "POST /a.B/C HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/grpc+proto\r\n\
                Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut upstream, _) = within("the proxy", listener.accept()).await.unwrap();
    until(&mut upstream, b"3\r\nabc\r\n").await;
}

#[tokio::test]
async fn slow_uploads_leave_the_upstream_to_others() {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "no-store").body("x")).await;
    let proxy = Proxy::configured(&format!(
        "[upstreams.app]\nservers = [\"{}\"]\nmax_connections = 2\nqueue_timeout = \"100ms\"\n\
         [[routes]]\nlimits = {{ concurrency = 2 }}\n",
        upstream.url()
    ));
    let mut slow = Vec::new();
    for number in 0..20 {
        let mut client = Connection::open(proxy.address).await;
        let framing = if number % 2 == 0 { "Content-Length: 8" } else { "Transfer-Encoding: chunked" };
        client
            .send(format!("POST /slow HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\n{framing}\r\n\r\n"))
            .await;
        assert_eq!(client.head().await.first_line, "HTTP/1.1 100 Continue");
        client.send(if number % 2 == 0 { "0123" } else { "4\r\n0123\r\n" }).await;
        slow.push(client);
    }
    for _ in 0..10 {
        assert_eq!(proxy.get("/", &[]).await.status, 200);
        assert_eq!(proxy.ask("POST", "/", &[], "quick").await.status, 200);
    }
    assert_eq!(upstream.count("/slow"), 0);
    for (number, mut client) in slow.into_iter().enumerate() {
        client.send(if number % 2 == 0 { "4567" } else { "4\r\n4567\r\n0\r\n\r\n" }).await;
        assert_eq!(client.response("POST").await.status, 200);
    }
    assert!(
        upstream.requests().iter().filter(|seen| seen.path() == "/slow").all(|seen| seen.body.content == b"01234567")
    );
    assert_eq!(upstream.count("/slow"), 20);
}

#[tokio::test]
async fn upload_of_known_length_keeps_it() {
    let upstream = Upstream::start(|request| Reply::ok().body(&request.body.content)).await;
    let proxy = before(&upstream, "");
    let body = "x".repeat(300_000);
    let response = proxy.ask("PUT", "/", &[], &body).await;
    assert_eq!(response.text(), body);
    let seen = &upstream.requests()[0].fields;
    assert_eq!((seen.get("content-length"), seen.get("transfer-encoding")), (Some("300000"), None));
}

#[tokio::test]
async fn upload_without_content_says_so() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let proxy = before(&upstream, "");
    proxy.ask("POST", "/", &[], "").await;
    proxy.ask("DELETE", "/", &[], "").await;
    let lengths: Vec<_> =
        upstream.requests().iter().map(|seen| seen.fields.get("content-length").map(str::to_owned)).collect();
    assert_eq!(lengths, [Some("0".to_owned()), None]);
}

#[tokio::test]
async fn upload_announced_too_large_is_refused_before_the_upstream() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let proxy = limited(&upstream);
    let mut client = Connection::open(proxy.address).await;
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n").await;
    let response = client.response("POST").await;
    assert_eq!((response.status, response.interim.len()), (413, 0), "no 100: nothing is wanted");
    assert_eq!(response.field("cache-status"), "larder; detail=body-too-large");
    assert_eq!(client.rest().await, b"", "closed");
    assert_eq!(upstream.connections(), 0);
    assert_eq!(proxy.ask("POST", "/", &[], "0123456789").await.status, 200);
}

#[tokio::test]
async fn upload_that_grows_too_large_never_ends_for_the_upstream() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let proxy = limited(&upstream);
    let mut client = Connection::open(proxy.address).await;
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n").await;
    client.send("8\r\n01234567\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    let response = client.response("POST").await;
    assert_eq!((response.status, response.field("connection")), (413, "close"));
    assert_eq!(client.rest().await, b"");
    assert_eq!(upstream.requests().len(), 0, "no whole request arrived");
}

#[tokio::test]
async fn upload_answered_early_closes_and_is_not_read_as_a_request() {
    let upstream = Upstream::start_at_head(|_| Reply::status("401 Unauthorized").body("no").then_close()).await;
    let proxy = before(&upstream, STREAMING);
    let mut client = Connection::open(proxy.address).await;
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 40\r\n\r\n").await;
    let response = client.response("POST").await;
    assert_eq!((response.status, response.text().as_str()), (401, "no"));
    client.send("GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    client.send("GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    let rest = client.rest().await;
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    assert_eq!(upstream.count("/smuggled"), 0);
}

#[tokio::test]
async fn upload_that_the_client_breaks_off_is_broken_off_upstream() {
    let (proxy, listener) = streaming().await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 9\r\n\r\nabc").await.unwrap();
    let (mut upstream, _) = within("the proxy", listener.accept()).await.unwrap();
    until(&mut upstream, b"abc").await;
    drop(client);
    let mut rest = Vec::new();
    // A reset is as good an end.
    let _ = within("the end of the upstream's connection", upstream.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn continue_is_said_once_and_only_where_wanted() {
    let upstream = Upstream::start(|request| Reply::ok().body(&request.body.content)).await;
    let proxy = before(&upstream, "");
    let mut client = Connection::open(proxy.address).await;
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-Continue\r\nContent-Length: 4\r\n\r\n").await;
    assert_eq!(client.head().await.first_line, "HTTP/1.1 100 Continue");
    client.send("body").await;
    let response = client.response("POST").await;
    assert_eq!((response.text().as_str(), response.interim.len()), ("body", 0));
    assert_eq!(upstream.requests()[0].fields.get("expect"), None);
    let response = proxy.ask("POST", "/", &[], "body").await;
    assert_eq!(response.interim.len(), 0);
    assert_eq!(proxy.ask("POST", "/", &[("Expect", "miracle")], "body").await.status, 417);
}

#[tokio::test]
async fn trailers_pass_to_clients_that_take_them() {
    let upstream =
        Upstream::start(|_| Reply::ok().header("trailer", "X-Sum").piece("data").trailer("X-Sum", "7")).await;
    let proxy = before(&upstream, "");
    for method in ["GET", "POST"] {
        let response = proxy.ask(method, "/", &[("TE", "trailers"), ("Connection", "TE")], "").await;
        assert_eq!((response.text().as_str(), response.body.trailers.get("x-sum")), ("data", Some("7")), "{method}");
    }
    let seen = upstream.requests();
    assert!(seen.iter().all(|seen| seen.fields.get("te") == Some("trailers")));
    let response = proxy.ask("POST", "/", &[], "").await;
    assert_eq!((response.body.whole, response.body.trailers.0.len()), (true, 0));
}

#[tokio::test]
async fn trailers_of_an_upload_pass_where_announced() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let proxy = before(&upstream, "");
    let mut client = Connection::open(proxy.address).await;
    client
        .send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n4\r\ndata\r\n0\r\nX-Sum: 7\r\n\r\n")
        .await;
    assert_eq!(client.response("POST").await.status, 200);
    let body = &upstream.requests()[0].body;
    assert_eq!((&*body.content, body.trailers.get("x-sum")), (&b"data"[..], Some("7")));
}

/// What frames, routes, signs in or is believed of proxies alone is no more to be said behind a body than by a client in
/// front of one (RFC 9110 §6.5.1).
#[tokio::test]
async fn trailers_say_nothing_that_belongs_in_front() {
    let said = [
        ("X-Forwarded-For", "9.9.9.9"),
        ("X_Forwarded_For", "9.9.9.9"),
        ("X-Original-URL", "/admin"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("Forwarded", "for=9.9.9.9"),
        ("Cookie", "session=alice"),
        ("Set-Cookie", "session=mallory"),
        ("Proxy-Authorization", "Basic x"),
        ("Connection", "close"),
        ("Keep-Alive", "timeout=5"),
        ("Upgrade", "h2c"),
        ("Via", "1.1 nobody"),
        ("Range", "bytes=0-0"),
        ("If-Match", "\"1\""),
        ("Cache-Control", "no-store"),
    ];
    let upstream = Upstream::start(move |_| {
        let reply = Reply::ok().header("cache-control", "max-age=60").piece("data").trailer("X-Sum", "7");
        said.iter().fold(reply.trailer("Content-Length", "3"), |reply, (name, value)| reply.trailer(name, value))
    })
    .await;
    let proxy = before(&upstream, "");
    let mut client = Connection::open(proxy.address).await;
    let names: String = said.iter().map(|(name, _)| format!(", {name}")).collect();
    let lines: String = said.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    client
        .send(format!(
            "POST /up HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum{names}\r\n\r\n\
             4\r\ndata\r\n0\r\nX-Sum: 7\r\n{lines}\r\n"
        ))
        .await;
    assert_eq!(client.response("POST").await.status, 200);
    assert_eq!(upstream.requests()[0].body.trailers.0, [("x-sum".to_owned(), "7".to_owned())]);
    // Fetched, and from the cache, by each version of HTTP.
    let own = http2::Connection::open(proxy.address).await;
    for _ in 0..2 {
        let request = own.get("/down").body(Full::default()).unwrap();
        let body = own.ask(request).await.expect("the stream ends well");
        assert_eq!(body.body(), "data");
        let answer = proxy.ask("GET", "/down", &[("TE", "trailers"), ("Connection", "TE")], "").await;
        assert_eq!(answer.text(), "data");
        assert!(answer.body.trailers.0.iter().all(|(name, _)| name.eq_ignore_ascii_case("x-sum")), "{answer:?}");
    }
}

/// What buffers may hold between an upstream and a client that does not read: kernel sockets and hyper.
const IN_BETWEEN: usize = 16 << 20;

#[tokio::test]
async fn slow_reader_slows_the_upstream_down() {
    const WHOLE: usize = 64 << 20;
    for request_head in ["GET / HTTP/1.1\r\nHost: app.test\r\n\r\n", "POST / HTTP/1.1\r\nHost: app.test\r\n\r\n"] {
        let (proxy, listener) = by_hand().await;
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        client.write_all(request_head.as_bytes()).await.unwrap();
        let (mut upstream, _) = within("the proxy", listener.accept()).await.unwrap();
        until(&mut upstream, b"\r\n\r\n").await;
        let head = format!("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: {WHOLE}\r\n\r\n");
        upstream.write_all(head.as_bytes()).await.unwrap();
        let piece = vec![b'x'; 1 << 16];
        let mut sent = 0;
        // Stalled when nothing has been taken for a while.
        while let Ok(written) = tokio::time::timeout(
            Duration::from_millis(500),
            upstream.write(&piece[..piece.len().min(WHOLE - sent).max(1)]),
        )
        .await
        {
            sent += written.unwrap();
            assert!(sent < IN_BETWEEN, "back-pressure reaches the upstream");
        }
        let writing = tokio::spawn(async move {
            while sent < WHOLE {
                sent += upstream.write(&piece[..piece.len().min(WHOLE - sent)]).await.unwrap();
            }
            upstream
        });
        let mut received = 0;
        let mut buffer = vec![0; 1 << 16];
        within("all of it", async {
            while received < WHOLE {
                received += client.read(&mut buffer).await.unwrap();
            }
        })
        .await;
        within("the writer", writing).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upload_goes_on_while_its_client_does_not_read() {
    const WHOLE: usize = 32 << 20;
    for tables in [STREAMING, ""] {
        let (proxy, listener) = by_hand_with(tables).await;
        let client = TcpStream::connect(proxy.address).await.unwrap();
        let (mut reading, mut sending) = client.into_split();
        let uploading = tokio::spawn(async move {
            let head = format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {WHOLE}\r\n\r\n");
            sending.write_all(head.as_bytes()).await.unwrap();
            sending.write_all(&vec![b'u'; WHOLE]).await.unwrap();
            sending
        });
        // An app that answers while it reads.
        let (mut upstream, _) = within("the proxy", listener.accept()).await.unwrap();
        let mut seen = Vec::new();
        let head_end = |seen: &[u8]| seen.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        while head_end(&seen).is_none() {
            assert!(within("a head", upstream.read_buf(&mut seen)).await.unwrap() > 0);
        }
        let mut taken = seen.len() - head_end(&seen).unwrap() - 4;
        let (mut incoming, mut answer) = upstream.into_split();
        let answering = tokio::spawn(async move {
            let head = format!("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: {WHOLE}\r\n\r\n");
            answer.write_all(head.as_bytes()).await.unwrap();
            answer.write_all(&vec![b'x'; WHOLE]).await.unwrap();
            answer
        });
        let mut buffer = vec![0; 1 << 16];
        within(&format!("all of the upload, {tables}"), async {
            while taken < WHOLE {
                let read = incoming.read(&mut buffer).await.unwrap();
                assert!(read > 0, "broken off after {taken}");
                taken += read;
            }
        })
        .await;
        // Dropped, it would tell that the client has left.
        let _sending = within("the client", uploading).await.unwrap();
        let mut received = 0;
        within("all of the response", async {
            while received < WHOLE {
                let read = reading.read(&mut buffer).await.unwrap();
                assert!(read > 0, "broken off after {received}");
                received += read;
            }
        })
        .await;
        within("the app", answering).await.unwrap();
    }
}

#[tokio::test]
async fn answer_ahead_of_its_upload_ends_when_either_side_leaves() {
    for client_leaves in [true, false] {
        let (proxy, listener) = streaming().await;
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        let head = b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
        client.write_all(head).await.unwrap();
        let (mut upstream, _) = within("the proxy", listener.accept()).await.unwrap();
        until(&mut upstream, b"3\r\nabc\r\n").await;
        let answer = b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n";
        upstream.write_all(answer).await.unwrap();
        until(&mut client, b"3\r\nxyz\r\n").await;
        client.write_all(b"3\r\ndef\r\n").await.unwrap();
        until(&mut upstream, b"3\r\ndef\r\n").await;
        let mut rest = Vec::new();
        let mut other = if client_leaves {
            drop(client);
            upstream
        } else {
            drop(upstream);
            client
        };
        // It may be a reset.
        let _ = within("the end", other.read_to_end(&mut rest)).await;
        assert_eq!(rest.escape_ascii().to_string(), "", "cut short, not ended");
    }
}

#[tokio::test]
async fn slow_upstream_slows_an_upload_down() {
    const WHOLE: usize = 64 << 20;
    let (proxy, listener) = streaming().await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client
        .write_all(format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {WHOLE}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let (_upstream, _) = within("the proxy", listener.accept()).await.unwrap();
    let piece = vec![b'x'; 1 << 16];
    let mut sent = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), client.write(&piece)).await {
        sent += written.unwrap();
        assert!(sent < IN_BETWEEN, "back-pressure reaches the client");
    }
}

fn limited(upstream: &Upstream) -> Proxy {
    before(upstream, "[[routes]]\nmax_request_body = \"10\"")
}

/// A proxy in front of an upstream that the test plays itself.
pub(super) async fn by_hand() -> (Proxy, TcpListener) {
    by_hand_with("").await
}

/// The same where bodies go on as they come.
const STREAMING: &str = "[[routes]]\nbuffer_request = \"0\"\n";

async fn streaming() -> (Proxy, TcpListener) {
    by_hand_with(STREAMING).await
}

async fn by_hand_with(tables: &str) -> (Proxy, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (Proxy::configured(&format!("[upstreams.app]\nservers = [\"http://{address}\"]\n{tables}")), listener)
}

/// Reads until what came ends so.
pub(super) async fn until(stream: &mut TcpStream, end: &[u8]) -> String {
    let mut seen = Vec::new();
    within("bytes", async {
        while !seen.ends_with(end) {
            let read = stream.read_buf(&mut seen).await.unwrap();
            assert!(read > 0, "ended after {:?}", String::from_utf8_lossy(&seen));
        }
    })
    .await;
    String::from_utf8(seen).unwrap()
}
