//! Active health checks: each server, and each address behind its name, is asked for a page now and then, on a
//! connection of its own.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use futures_util::future::join_all;
use http::header::{CONNECTION, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::framing;
use super::http1;
use super::request_body::RequestBody;
use super::server::Server;
use super::socket::Socket;
use crate::config::settings::{HealthCheck, Upstream, UpstreamHost, UpstreamProtocol};

/// Bytes of a body that are looked at.
const MAX_BODY: usize = 64 * 1024;

/// Checks a server, beginning at once, until it is dropped.
pub(super) fn begin(server: &Arc<Server>, settings: &Arc<Upstream>) {
    let Some(path) = settings.health.path.as_deref().and_then(|path| path.parse::<PathAndQuery>().ok()) else { return };
    tokio::spawn(run(Arc::downgrade(server), settings.clone(), path));
}

async fn run(server: Weak<Server>, settings: Arc<Upstream>, path: PathAndQuery) {
    let rules = &settings.health;
    for number in 0u64.. {
        let Some(server) = server.upgrade() else { return };
        check_all(&server, &settings, &path).await;
        // Servers that began together drift apart, so that they are not all checked at once.
        let drift = (server.id() ^ number) % 10;
        drop(server);
        sleep(rules.interval.mul_f64(0.95 + drift as f64 / 100.0)).await;
    }
}

/// Checks all addresses of a server at once. It is well as long as one of them is.
async fn check_all(server: &Server, settings: &Upstream, path: &PathAndQuery) {
    let patience = settings.health.timeout;
    let checked = async |peer| {
        let outcome = match timeout(patience, check(server, peer, settings, path)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {patience:?}")),
        };
        server.counters().checked(outcome.is_ok());
        outcome
    };
    let addresses = server.names().map(|names| names.known()).filter(|known| known.len() > 0);
    let Some(addresses) = addresses else { return server.health().checked(checked(None).await) };
    let sockets = addresses.sockets();
    let outcomes = join_all(sockets.iter().map(|socket| checked(Some(*socket)))).await;
    let best = outcomes.iter().find(|outcome| outcome.is_ok()).or(outcomes.first()).cloned();
    for (socket, outcome) in sockets.into_iter().zip(outcomes) {
        addresses.find(socket).into_iter().for_each(|address| address.health.checked(outcome.clone()));
    }
    server.health().checked(best.unwrap_or(Ok(())));
}

async fn check(
    server: &Server,
    peer: Option<SocketAddr>,
    settings: &Upstream,
    path: &PathAndQuery,
) -> Result<(), String> {
    let rules = &settings.health;
    let mut request = Request::new(RequestBody::Empty);
    *request.uri_mut() = Uri::from(path.clone());
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("larder-health-check"));
    let host = match (&rules.host, &settings.host) {
        (Some(host), _) | (None, UpstreamHost::Fixed(host)) => UpstreamHost::Fixed(host.clone()),
        (None, _) => UpstreamHost::Server,
    };

    let (stream, http2) = server.open(peer, Instant::now() + rules.timeout).await.map_err(|error| error.to_string())?;
    let protocol = if http2 { UpstreamProtocol::Http2 } else { settings.protocol };
    framing::address(&mut request, &host, server.address(), protocol);
    let judge = Judge { rules };
    match protocol {
        UpstreamProtocol::Http2 => judge.ask_http2(stream, request).await,
        UpstreamProtocol::Http1 | UpstreamProtocol::Auto => judge.ask_http1(stream, request).await,
    }
}

/// Asks on a new connection, which ends with the answer, and says whether that is as it should be.
struct Judge<'a> {
    rules: &'a HealthCheck,
}

impl Judge<'_> {
    async fn ask_http1(&self, stream: Socket, mut request: Request<RequestBody>) -> Result<(), String> {
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        let mut connection = http1::Connection::new(stream, None, Instant::now());
        let sent = connection.send(&request, RequestBody::Empty, None).await;
        let response = sent.map_err(|failed| failed.error.to_string())?;
        self.judge_status(response.status())?;
        let (mut body, mut text) = (response.into_body(), Vec::new());
        while self.rules.body.is_some()
            && let Some(frame) = poll_fn(|cx| connection.poll_body(cx, &mut body)).await
        {
            let frame = frame.map_err(|error| error.to_string())?;
            text.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            if text.len() > MAX_BODY {
                return Err("the body is too large".to_owned());
            }
        }
        self.judge_text(&text)
    }

    async fn ask_http2(&self, stream: Socket, request: Request<RequestBody>) -> Result<(), String> {
        let connecting = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = connecting.map_err(|error| error.to_string())?;
        // How the connection ends is seen by the request.
        let _driver = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        self.judge_status(response.status())?;
        if self.rules.body.is_none() {
            return Ok(());
        }
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(|error| error.to_string())?;
        self.judge_text(&body.to_bytes())
    }

    fn judge_status(&self, status: StatusCode) -> Result<(), String> {
        match self.rules.statuses.iter().any(|range| range.has(status)) {
            true => Ok(()),
            false => Err(format!("status {}", status.as_u16())),
        }
    }

    fn judge_text(&self, text: &[u8]) -> Result<(), String> {
        match &self.rules.body {
            Some(pattern) if !pattern.is_in(&String::from_utf8_lossy(text)) => {
                Err("the body lacks what it must have in it".to_owned())
            }
            _ => Ok(()),
        }
    }
}
