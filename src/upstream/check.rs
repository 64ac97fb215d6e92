//! Active health checks: each server, and each address behind its name, is asked for a page now and then, on a
//! connection of its own.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use http::header::{CONNECTION, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::framing;
use super::request_body::RequestBody;
use super::server::Server;
use crate::config::settings::{Upstream, UpstreamHost, UpstreamProtocol};

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

    let (response, _connection) = ask(server, peer, settings.protocol, &host, request, rules.timeout).await?;
    let status = response.status();
    if !rules.statuses.iter().any(|range| range.has(status)) {
        return Err(format!("status {}", status.as_u16()));
    }
    let Some(pattern) = &rules.body else { return Ok(()) };
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(|error| error.to_string())?;
    match pattern.is_in(&String::from_utf8_lossy(&body.to_bytes())) {
        true => Ok(()),
        false => Err("the body lacks what it must have in it".to_owned()),
    }
}

/// Asks on a new connection, which ends with the returned task.
async fn ask(
    server: &Server,
    peer: Option<SocketAddr>,
    protocol: UpstreamProtocol,
    host: &UpstreamHost,
    mut request: Request<RequestBody>,
    patience: Duration,
) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), String> {
    let (stream, http2) = server.open(peer, Instant::now() + patience).await.map_err(|error| error.to_string())?;
    let io = TokioIo::new(stream);
    let protocol = if http2 { UpstreamProtocol::Http2 } else { protocol };
    framing::address(&mut request, host, server.address(), protocol);
    // How the connection ends is seen by the request.
    let driven = match protocol {
        UpstreamProtocol::Http2 => {
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), io).await.map_err(|error| error.to_string())?;
            let driver = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
            (sender.send_request(request).await, driver)
        }
        UpstreamProtocol::Http1 | UpstreamProtocol::Auto => {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            let (mut sender, connection) = http1::handshake(io).await.map_err(|error| error.to_string())?;
            let driver = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
            (sender.send_request(request).await, driver)
        }
    };
    let (response, driver) = driven;
    Ok((response.map_err(|error| error.to_string())?, driver))
}
