//! The pool against scripted servers: raw TCP on a free port, each test saying byte for byte what the server does.

mod bodies;
mod connections;
mod deadlines;
mod http1;
mod http2_and_tls;
mod names;
mod retries;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::*;
use crate::config::settings::{UpstreamProtocol, UpstreamServer};

/// A complete response of two bytes that leaves the connection open.
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// Longer than any step of a test should take.
const LONG: Duration = Duration::from_secs(10);
/// For deadlines that a test waits to pass.
const SHORT: Duration = Duration::from_millis(30);

/// A listening server whose every step the test takes.
struct Scripted(TcpListener);

impl Scripted {
    async fn listen() -> Self {
        Scripted(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn address(&self) -> UpstreamServer {
        UpstreamServer::new(false, "127.0.0.1", self.0.local_addr().unwrap().port())
    }

    fn settings(&self) -> Upstream {
        settings(vec![self.address()])
    }

    async fn accept(&self) -> Line {
        Line(within(self.0.accept()).await.unwrap().0)
    }

    /// Accepts, reads a request head, answers.
    async fn serve(&self, response: &str) -> Line {
        let mut line = self.accept().await;
        line.serve(response).await;
        line
    }
}

/// The server's end of a connection.
struct Line(TcpStream);

impl Line {
    /// Reads up to the end of a head.
    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(self.0.read_u8()).await.expect("a request head"));
        }
        String::from_utf8(head).unwrap()
    }

    async fn read(&mut self, length: usize) -> String {
        let mut bytes = vec![0; length];
        within(self.0.read_exact(&mut bytes)).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    async fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    async fn serve(&mut self, response: &str) -> String {
        let head = self.head().await;
        self.send(response).await;
        head
    }

    /// Waits until the pool closes the connection, which must send nothing more.
    async fn closed(&mut self) {
        match within(self.0.read_u8()).await {
            Ok(byte) => panic!("another byte came: {byte:#x}"),
            Err(_end_or_reset) => {}
        }
    }
}

fn settings(servers: Vec<UpstreamServer>) -> Upstream {
    Upstream {
        timeouts: UpstreamTimeouts { connect: LONG, first_byte: LONG, idle: LONG, total: None },
        max_connections: 8,
        max_idle: 8,
        idle_timeout: LONG,
        queue_timeout: LONG,
        ..Upstream::usual("app", servers)
    }
}

fn pool(settings: Upstream) -> Arc<Pool> {
    Pool::new(Arc::new(settings)).unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("this step hangs")
}

/// Waits for something that another task is about to do.
async fn eventually(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn exchange(pool: &Pool) -> Exchange {
    Exchange { timeouts: pool.settings().timeouts, on_interim: None, hash: None, retry: RouteRetry::Idempotent }
}

fn request(method: Method, body: RequestBody) -> Request<RequestBody> {
    Request::builder().method(method).uri("/page?x=1").header("host", "shop.example").body(body).unwrap()
}

async fn send(pool: &Pool, method: Method, body: RequestBody) -> Result<Response<UpstreamBody>, UpstreamError> {
    within(ask(pool, request(method, body), exchange(pool))).await
}

async fn ask(
    pool: &Pool,
    mut request: Request<RequestBody>,
    exchange: Exchange,
) -> Result<Response<UpstreamBody>, UpstreamError> {
    pool.send(&mut request, &exchange).await
}

async fn get(pool: &Pool) -> Result<Response<UpstreamBody>, UpstreamError> {
    send(pool, Method::GET, RequestBody::Empty).await
}

async fn text(response: Response<UpstreamBody>) -> Result<String, UpstreamError> {
    let bytes: Bytes = within(response.into_body().collect()).await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

async fn get_text(pool: &Pool) -> Result<String, UpstreamError> {
    text(get(pool).await?).await
}

/// A body as a client's connection delivers it: `bytes` is the whole request so far, more goes into the returned end.
async fn client_body(bytes: &str, limit: u64, idle: Duration) -> (RequestBody, DuplexStream) {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let (found, body) = oneshot::channel();
    let found = parking_lot::Mutex::new(Some(found));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let _ = found.lock().take().expect("one request").send(request.into_body());
        std::future::pending::<Result<Response<String>, std::convert::Infallible>>()
    });
    tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service));
    client.write_all(bytes.as_bytes()).await.unwrap();
    (
        RequestBody::client(
            within(body).await.unwrap(),
            Version::HTTP_11,
            TrailerFilter(Box::new(|_| ())),
            limit,
            idle,
        ),
        client,
    )
}

fn kind<T: fmt::Debug>(result: Result<T, UpstreamError>) -> UpstreamErrorKind {
    result.expect_err("an error").kind
}

fn server_stats(pool: &Pool) -> ServerStats {
    pool.stats().servers.remove(0)
}
