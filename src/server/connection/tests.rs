//! Whole connections over an in-memory pipe: hyper, a small service, and raw bytes on the client's side.

mod http2;
mod kernel;

use std::sync::atomic::Ordering;
use std::task::Context;

use futures_util::stream::{Iter, iter};
use http::{StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;
use crate::proxy::at_once::{AtOnce, Content};
use crate::proxy::refusal::Refusal;
use crate::server::alone::Look;

const GET: &str = "GET /plain HTTP/1.1\r\nHost: a\r\n\r\n";
const GET_AND_CLOSE: &str = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

type Pieces = StreamBody<Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

/// A body in pieces of at most 64 KiB.
fn pieces(body: String) -> Pieces {
    let pieces: Vec<_> =
        body.as_bytes().chunks(64 * 1024).map(|piece| Ok(Frame::data(piece.to_vec().into()))).collect();
    StreamBody::new(iter(pieces))
}

/// Answers by path, as the tests need it.
async fn app<B: http_body::Body>(client: Arc<Client>, mut request: Request<B>) -> Response<Pieces> {
    let answer = |status: StatusCode, body: String| {
        let length = header::HeaderValue::from(body.len());
        let mut response = Response::new(pieces(body));
        *response.status_mut() = status;
        if status != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::CONTENT_LENGTH, length);
        }
        response
    };
    if request.method().as_str() == Client::REFUSED_METHOD
        && let Some(refusal) = client.refused.get()
    {
        return answer(refusal.status(), refusal.word().to_owned());
    }
    match request.uri().path() {
        "/echo" => match request.into_body().collect().await {
            Ok(body) => answer(StatusCode::OK, String::from_utf8_lossy(&body.to_bytes()).into_owned()),
            Err(_) => answer(StatusCode::BAD_REQUEST, client.refused.get().map_or("cut", |r| r.word()).to_owned()),
        },
        "/interim" => {
            client.interim.queue(Bytes::from_static(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"));
            client.interim.queue(Bytes::from_static(b"HTTP/1.1 103 Early Hints\r\nlink: </b>\r\n\r\n"));
            answer(StatusCode::OK, "after".to_owned())
        }
        "/hint-then-hang" => {
            let client = client.clone();
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                client.interim.queue(Bytes::from_static(b"HTTP/1.1 103 Early Hints\r\n\r\n"));
            });
            std::future::pending().await
        }
        "/hang" => std::future::pending().await,
        "/slow" => {
            tokio::time::sleep(Duration::from_secs(100)).await;
            answer(StatusCode::OK, "slow".to_owned())
        }
        "/medium" => answer(StatusCode::OK, "x".repeat(1 << 20)),
        "/big" => answer(StatusCode::OK, "x".repeat(4 << 20)),
        "/whole" => {
            let mut response = answer(StatusCode::OK, String::new());
            response.headers_mut().insert(header::CONTENT_LENGTH, header::HeaderValue::from(4 << 20));
            *response.body_mut() = StreamBody::new(iter(vec![Ok(Frame::data(vec![b'x'; 4 << 20].into()))]));
            response
        }
        "/upgrade" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await?);
                let mut bytes = [0; 64];
                while let Ok(len @ 1..) = stream.read(&mut bytes).await {
                    let _ = stream.write_all(&bytes[..len]).await;
                }
                Ok::<_, hyper::Error>(())
            });
            let mut response = answer(StatusCode::SWITCHING_PROTOCOLS, String::new());
            response.headers_mut().insert(header::UPGRADE, header::HeaderValue::from_static("echo"));
            response
        }
        path => answer(StatusCode::OK, path.to_owned()),
    }
}

fn terms() -> Terms {
    Terms {
        limits: Limits {
            head: 4096,
            field: 1024,
            fields: 50,
            uri: 1024,
            connections: 10,
            http2_streams: 100,
            ranges: 8,
        },
        timeouts: ClientTimeouts {
            header: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            keep_alive: Duration::from_secs(60),
        },
        on_its_way: Duration::from_secs(1),
    }
}

/// The client's end of a served connection.
struct Peer {
    stream: DuplexStream,
    wire: Arc<Wire>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn connect(protocol: Protocol) -> Peer {
    connect_before(protocol, Hits::none())
}

/// How a plain request is answered.
#[derive(Clone, Copy, Debug)]
enum Way {
    ByHyper,
    Plainly,
}

fn connect_http1(way: Way) -> Peer {
    connect_before(Protocol::Http1, hits(way))
}

fn hits(way: Way) -> Hits<Pieces> {
    let look: Look = Arc::new(|_, head, _| read(head));
    let http1 = match way {
        Way::ByHyper => None,
        Way::Plainly => Some((look, go_on())),
    };
    Hits { http1, http2: None }
}

/// Answers what was read like any other.
fn go_on() -> GoOn<Pieces> {
    Arc::new(|client, request| {
        let request = Request::from_parts(request.into_parts(), Empty::<Bytes>::new());
        Box::pin(app(client, request))
    })
}

/// Reads a request that asks for nothing of its connection.
fn read(head: &[u8]) -> AtOnce {
    let text = std::str::from_utf8(head).unwrap();
    let (line, fields) = text.split_once("\r\n").unwrap();
    let Some(target) = line.strip_prefix("GET ").and_then(|rest| rest.strip_suffix(" HTTP/1.1")) else {
        return AtOnce::Other;
    };
    if fields.to_ascii_lowercase().contains("connection:") {
        return AtOnce::Other;
    }
    let fields = fields.lines().filter_map(|line| line.split_once(": "));
    let request = fields.fold(Request::get(target), |request, (name, value)| request.header(name, value));
    AtOnce::Read(Unanswered::new(request.body(()).unwrap().into_parts().0))
}

/// Each of them by hyper and plainly.
macro_rules! both_ways {
    ($($name:ident)*) => {$(
        mod $name {
            use super::Way;

            #[tokio::test(start_paused = true)]
            async fn by_hyper() {
                super::$name(Way::ByHyper).await;
            }

            #[tokio::test(start_paused = true)]
            async fn plainly() {
                super::$name(Way::Plainly).await;
            }
        }
    )*};
}

both_ways! {
    http1_pipelined_requests_are_answered_in_order
    http1_a_head_in_single_bytes_is_answered
    http1_a_refused_head_takes_its_turn_and_ends_the_connection
    http1_refusals_are_answered_with_their_status
    http1_a_client_that_uses_our_word_is_no_refusal
    http1_chunked_bodies_reach_the_service_without_their_framing
    http1_a_bad_chunk_fails_the_body_and_ends_the_connection
    http1_a_body_behind_an_early_answer_is_never_read_as_a_request
    http1_a_slow_head_is_refused_at_its_deadline
    http1_an_idle_connection_is_closed_without_a_word
    http1_waiting_for_the_service_is_not_idleness
    http1_a_body_that_pauses_for_too_long_fails
    http1_a_client_that_takes_nothing_is_cut
    http1_a_client_that_takes_slowly_is_served
    http1_a_client_that_has_taken_all_that_was_held_back_is_idle
    interim_heads_come_before_their_response_and_behind_the_one_before
    interim_heads_from_another_task_are_written_at_once
    interim_heads_wait_for_the_end_of_a_response_that_is_stuck
    upgrade_lets_everything_through_after_101
    upgrade_declined_inspects_what_follows
    drain_finishes_the_request_under_way_and_closes
    drain_answers_a_request_that_was_on_its_way_and_closes
    kill_ends_a_request_under_way
}

/// The same, with somebody who answers plain hits.
fn connect_before(protocol: Protocol, hits: Hits<Pieces>) -> Peer {
    connect_through(|stream| stream, protocol, hits)
}

/// The same, with a layer above the socket.
fn connect_through<S>(layer: impl FnOnce(DuplexStream) -> S, protocol: Protocol, hits: Hits<Pieces>) -> Peer
where
    S: ClientStream,
{
    let (stream, ours) = duplex(64 * 1024);
    let ours = layer(ours);
    let address = "127.0.0.1:1".parse().unwrap();
    let client = Arc::new(Client::new(address, address, false));
    let wire = Wire::new(client, Arc::default(), CancellationToken::new(), None);
    let stop = CancellationToken::new();
    let task = tokio::spawn({
        let (wire, stop) = (wire.clone(), stop.clone());
        async move { serve_stream(ours, protocol, BytesMut::new(), &wire, &terms(), &stop, hits, app).await }
    });
    Peer { stream, wire, stop, task }
}

impl Peer {
    async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// All until the connection is closed.
    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// All until `end` has come.
    async fn until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            match self.stream.read_u8().await {
                Ok(byte) => bytes.push(byte),
                Err(error) => panic!("{error} after {}", bytes.escape_ascii()),
            }
        }
        String::from_utf8(bytes).unwrap()
    }
}

/// Sends all, answers all that came back until the connection was closed.
async fn exchange(way: Way, bytes: &str) -> String {
    let mut peer = connect_http1(way);
    peer.send(bytes).await;
    let answer = peer.rest().await;
    peer.task.await.unwrap();
    answer
}

fn statuses(answers: &str) -> Vec<&str> {
    answers.match_indices("HTTP/1.").map(|(at, _)| &answers[at + 9..at + 12]).collect()
}

async fn http1_pipelined_requests_are_answered_in_order(way: Way) {
    let answers = exchange(way, &format!("{GET}{GET}{GET_AND_CLOSE}")).await;
    assert_eq!(statuses(&answers), ["200", "200", "200"]);
    assert!(answers.ends_with("/last"), "{answers}");
}

const RESPONSE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 61440\r\n\r\n";

/// Answers everything with 60 KiB.
fn at_once() -> Hits<Pieces> {
    let http1: Look = Arc::new(|_, _, out| {
        out.extend_from_slice(RESPONSE.as_bytes());
        AtOnce::Answered(Content { bytes: Bytes::from_static(&[b'x'; 61440]), copy: None })
    });
    Hits { http1: Some((http1, go_on())), http2: None }
}

#[tokio::test(start_paused = true)]
async fn http1_requests_that_wait_for_the_client_to_read_have_no_deadline() {
    let mut peer = connect_before(Protocol::Http1, at_once());
    peer.send(&GET.repeat(40)).await;
    let mut response = vec![0; RESPONSE.len() + 61440];
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        peer.stream.read_exact(&mut response).await.unwrap();
        assert!(response.starts_with(b"HTTP/1.1 200 OK"));
    }
}

#[tokio::test(start_paused = true)]
async fn http1_deadline_of_a_head_is_its_own() {
    let mut peer = connect_before(Protocol::Http1, at_once());
    let (begin, end) = GET.split_at(9);
    peer.send(begin).await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        peer.send(&format!("{end}{begin}")).await;
        let mut response = vec![0; RESPONSE.len() + 61440];
        peer.stream.read_exact(&mut response).await.unwrap();
    }
    assert!(peer.rest().await.starts_with("HTTP/1.1 408"));
}

async fn http1_a_head_in_single_bytes_is_answered(way: Way) {
    let mut peer = connect_http1(way);
    for byte in GET_AND_CLOSE.chars() {
        peer.send(&byte.to_string()).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(statuses(&peer.rest().await), ["200"]);
}

async fn http1_a_refused_head_takes_its_turn_and_ends_the_connection(way: Way) {
    let answers = exchange(way, &format!("{GET}GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n{GET}")).await;
    assert_eq!(statuses(&answers), ["200", "400"]);
    assert!(answers.ends_with("bad-host"), "{answers}");
    assert!(answers.contains("connection: close"));
}

async fn http1_refusals_are_answered_with_their_status(way: Way) {
    for (head, refusal) in [
        ("GET / HTTP/3.0\r\n\r\n", Refusal::BadVersion),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", Refusal::Connect),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::HostMismatch),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Refusal::AmbiguousLength,
        ),
    ] {
        let mut peer = connect_http1(way);
        peer.send(head).await;
        // The client half-closes: the answer must come all the same.
        peer.stream.shutdown().await.unwrap();
        let answer = peer.rest().await;
        assert_eq!(statuses(&answer), [refusal.status().as_str()], "{head}");
        assert!(answer.ends_with(refusal.word()), "{answer}");
        let counted: Vec<_> = peer.wire.counters.refused().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(refusal, 1)]);
    }
}

async fn http1_a_client_that_uses_our_word_is_no_refusal(way: Way) {
    let answer = exchange(way, "LARDER-REFUSED /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(statuses(&answer), ["200"]);
}

async fn http1_chunked_bodies_reach_the_service_without_their_framing(way: Way) {
    let answer = exchange(
        way,
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n",
    )
    .await;
    assert!(answer.ends_with("\r\n\r\nabcde"), "{answer}");
}

async fn http1_a_bad_chunk_fails_the_body_and_ends_the_connection(way: Way) {
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answers = exchange(way, &format!("{head}3\r\nabc\r\n0x1\r\n{GET}")).await;
    assert_eq!(statuses(&answers), ["400"]);
    assert!(answers.ends_with("bad-chunk"), "{answers}");
}

async fn http1_a_body_behind_an_early_answer_is_never_read_as_a_request(way: Way) {
    let body = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let answers = exchange(
        way,
        &format!("POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}{GET_AND_CLOSE}", body.len()),
    )
    .await;
    assert!(!answers.contains("smuggled"), "{answers}");
}

async fn http1_a_slow_head_is_refused_at_its_deadline(way: Way) {
    let mut peer = connect_http1(way);
    let begun = Instant::now();
    peer.send("GET / HT").await;
    let feeding = async {
        // A byte now and then does not help.
        tokio::time::sleep(Duration::from_secs(6)).await;
    };
    feeding.await;
    peer.send("T").await;
    let answer = peer.rest().await;
    assert_eq!(statuses(&answer), ["408"]);
    assert!(answer.ends_with("head-timeout"));
    let took = begun.elapsed();
    assert!((10..13).contains(&took.as_secs()), "{took:?}");
    assert_eq!(peer.wire.counters.header_timeouts.load(Ordering::Relaxed), 1);
}

async fn http1_an_idle_connection_is_closed_without_a_word(way: Way) {
    let mut peer = connect_http1(way);
    for _ in 0..2 {
        peer.send(GET).await;
        peer.until("/plain").await;
        tokio::time::sleep(Duration::from_secs(50)).await;
    }
    let begun = Instant::now();
    assert_eq!(peer.rest().await, "");
    assert!((9..12).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(peer.wire.counters.keep_alive_timeouts.load(Ordering::Relaxed), 1);
}

async fn http1_waiting_for_the_service_is_not_idleness(way: Way) {
    let mut peer = connect_http1(way);
    peer.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    peer.until("slow").await;
    let begun = Instant::now();
    assert_eq!(peer.rest().await, "");
    assert!((59..62).contains(&begun.elapsed().as_secs()), "a whole keep-alive time: {:?}", begun.elapsed());
}

async fn http1_a_body_that_pauses_for_too_long_fails(way: Way) {
    let mut peer = connect_http1(way);
    peer.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n").await;
    let begun = Instant::now();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(14)).await;
        peer.send("x").await;
    }
    let answer = peer.rest().await;
    assert!(answer.ends_with("cut"), "{answer}");
    assert!((30..33).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(peer.wire.counters.body_timeouts.load(Ordering::Relaxed), 1);
}

async fn http1_a_client_that_takes_nothing_is_cut(way: Way) {
    let mut peer = connect_http1(way);
    peer.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let begun = Instant::now();
    peer.task.await.unwrap();
    assert!((30..32).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(peer.wire.counters.send_timeouts.load(Ordering::Relaxed), 1);
}

async fn http1_a_client_that_takes_slowly_is_served(way: Way) {
    for path in ["/big", "/whole"] {
        let mut peer = connect_http1(way);
        peer.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        peer.until("\r\n\r\n").await;
        let (mut taken, mut piece) = (0, vec![0; 256 * 1024]);
        while taken < 4 << 20 {
            tokio::time::sleep(Duration::from_secs(20)).await;
            let len = peer.stream.read(&mut piece).await.unwrap();
            assert!(len > 0, "{path}: cut after {taken}");
            taken += len;
        }
        let begun = Instant::now();
        assert_eq!(peer.rest().await, "");
        assert!((39..=61).contains(&begun.elapsed().as_secs()), "{path}: kept alive {:?}", begun.elapsed());
    }
}

async fn http1_a_client_that_has_taken_all_that_was_held_back_is_idle(way: Way) {
    // As TLS does, it takes bytes before the socket does.
    let mut peer = connect_through(|socket| BufWriter::with_capacity(1 << 20, socket), Protocol::Http1, hits(way));
    peer.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await;
    peer.until("\r\n\r\n").await;
    peer.stream.read_exact(&mut vec![0; 4 << 20]).await.unwrap();
    let begun = Instant::now();
    assert_eq!(peer.rest().await, "");
    assert!((59..62).contains(&begun.elapsed().as_secs()), "a whole keep-alive time: {:?}", begun.elapsed());
    assert_eq!(peer.wire.counters.send_timeouts.load(Ordering::Relaxed), 0);
}

async fn interim_heads_come_before_their_response_and_behind_the_one_before(way: Way) {
    let answers = exchange(
        way,
        &format!(
            "{GET}GET /interim HTTP/1.1\r\nHost: a\r\n\r\nGET /interim HTTP/1.1\r\nHost: a\r\n\r\n{GET_AND_CLOSE}"
        ),
    )
    .await;
    assert_eq!(statuses(&answers), ["200", "103", "103", "200", "103", "103", "200", "200"]);
    assert!(answers.find("</a>") < answers.find("</b>"));
}

async fn interim_heads_from_another_task_are_written_at_once(way: Way) {
    let mut peer = connect_http1(way);
    peer.send("GET /hint-then-hang HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let begun = Instant::now();
    peer.until("HTTP/1.1 103 Early Hints\r\n\r\n").await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

async fn interim_heads_wait_for_the_end_of_a_response_that_is_stuck(way: Way) {
    let mut peer = connect_http1(way);
    peer.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\nGET /interim HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let answers = peer.rest().await;
    let body = "x".repeat(4 << 20);
    assert!(answers.contains(&format!("\r\n\r\n{body}HTTP/1.1 103")), "{}", answers.len());
    assert_eq!(statuses(&answers), ["200", "103", "103", "200"]);
}

async fn upgrade_lets_everything_through_after_101(way: Way) {
    let mut peer = connect_http1(way);
    // The client speaks its protocol before it has the answer.
    peer.send("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n\0early").await;
    let answer = peer.until("\0early").await;
    assert_eq!(statuses(&answer), ["101"]);
    peer.send("\r\n\r\nGET \n\n").await;
    assert_eq!(peer.until("GET \n\n").await, "\r\n\r\nGET \n\n");
    // The connection's own deadlines are over; its end is not.
    tokio::time::sleep(Duration::from_secs(1000)).await;
    peer.send("still").await;
    assert_eq!(peer.until("still").await, "still");
    peer.wire.kill.cancel();
    assert_eq!(peer.rest().await, "");
}

async fn upgrade_declined_inspects_what_follows(way: Way) {
    let upgrade = "GET /plain HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    let answers = exchange(way, &format!("{upgrade}{upgrade}GET /x HTTP/1.1\r\n\r\n")).await;
    assert_eq!(statuses(&answers), ["200", "200", "400"]);
    assert!(answers.ends_with("bad-host"));
}

async fn drain_finishes_the_request_under_way_and_closes(way: Way) {
    let mut busy = connect_http1(way);
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut idle = connect_http1(way);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    busy.stop.cancel();
    idle.stop.cancel();
    assert_eq!(idle.rest().await, "");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let answer = busy.rest().await;
    assert!(answer.contains("connection: close") && answer.ends_with("slow"), "{answer}");
    busy.task.await.unwrap();
}

async fn drain_answers_a_request_that_was_on_its_way_and_closes(way: Way) {
    let mut idle = connect_http1(way);
    idle.send(GET).await;
    idle.until("/plain").await;
    let mut sending = connect_http1(way);
    sending.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await;
    sending.until("\r\n\r\n").await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    idle.stop.cancel();
    sending.stop.cancel();
    tokio::time::sleep(Duration::from_millis(900)).await;
    idle.send(GET).await;
    let answer = idle.rest().await;
    assert!(answer.contains("connection: close") && answer.ends_with("/plain"), "{answer}");
    assert_eq!(idle.wire.counters.keep_alive_timeouts.load(Ordering::Relaxed), 0);
    // Its response has begun without a word of the end, so that its client may go on.
    sending.send(GET).await;
    let answers = sending.rest().await;
    assert_eq!(statuses(&answers), ["200"]);
    assert!(answers.contains("connection: close") && answers.ends_with("/plain"));
}

async fn kill_ends_a_request_under_way(way: Way) {
    let mut peer = connect_http1(way);
    peer.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    peer.wire.kill.cancel();
    assert_eq!(peer.rest().await, "");
}

#[tokio::test]
async fn sniff_tells_protocols_apart_however_bytes_arrive() {
    for (bytes, expected) in [
        ("GET / HTTP/1.1\r\n", Some(Protocol::Http1)),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest", Some(Protocol::Http2)),
        ("PRI * HTTP/2.0\r\n\r\nXX", Some(Protocol::Http1)),
        ("PUT", Some(Protocol::Http1)),
        ("PRI", None),
        ("", None),
    ] {
        for size in [1, 7, 1000] {
            let (mut client, mut server) = duplex(size);
            let sending = async {
                let _ = client.write_all(bytes.as_bytes()).await;
                drop(client);
            };
            let (sniffed, ()) = tokio::join!(
                async {
                    let sniffed = sniff(&mut server).await.unwrap();
                    drop(server);
                    sniffed
                },
                sending
            );
            assert_eq!(sniffed.as_ref().map(|(protocol, _)| *protocol), expected, "{bytes:?} by {size}");
            if let Some((_, prefix)) = sniffed {
                assert!(bytes.as_bytes().starts_with(&prefix), "nothing is lost");
            }
        }
    }
}
