//! Serves a router on a listener: HTTP/1.1 with deadlines, a bound on connections, and an orderly end.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use http::{HeaderValue, StatusCode, header};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::guard::Ends;

/// Open connections of one listener; for further ones those give way that have not asked for anything yet.
const MAX_CONNECTIONS: usize = 64;
/// From the first byte of a request head to its end.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request head.
const MAX_HEAD: usize = 32 * 1024;
/// A connection may take further requests for this long.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(300);
/// Exchanges under way at the end get this long.
const GRACE: Duration = Duration::from_secs(5);
/// Pause after an `accept` that failed, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process (or another of our own listeners) has it.
    #[error("cannot listen on {address} for the {purpose}: the port is in use")]
    InUse {
        /// What it is for.
        purpose: &'static str,
        /// Where.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("cannot listen on {address} for the {purpose}: {source}")]
    Other {
        /// What it is for.
        purpose: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Opens a listening socket; port 0 picks a free one. `purpose` names it in the error, e.g. `control API`.
///
/// # Errors
/// The address cannot be listened on.
pub async fn bind(purpose: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { purpose, address },
        _ => BindError::Other { purpose, address, source },
    })
}

/// What a listener answers by; a request is answered by what is there when it comes.
pub type Routes = Arc<ArcSwap<Router>>;

/// Serves until `stop` is cancelled; then accepts no more, and returns when exchanges under way are done or their
/// grace is over. Handlers find both ends of their connection as an [`Ends`] extension.
pub async fn serve(listener: TcpListener, routes: Routes, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    let mut silent = VecDeque::new();
    loop {
        let accepted = async {
            let accepted = listener.accept().await;
            if accepted.is_ok() && slots.available_permits() == 0 {
                one_gives_way(&mut silent);
            }
            (accepted, slots.clone().acquire_owned().await.expect("the semaphore is never closed"))
        };
        let (accepted, slot) = tokio::select! {
            accepted = accepted => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (routes, stop, place) = (routes.clone(), stop.clone(), Arc::new(Place::default()));
                silent.retain(|place: &Arc<Place>| Arc::strong_count(place) > 1 && place.is_silent());
                silent.push_back(place.clone());
                connections.spawn(async move {
                    connection(stream, peer, routes, stop, place).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the control or metrics listener could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// A connection's claim to its place.
#[derive(Debug, Default)]
struct Place {
    state: AtomicU8,
    gives_way: CancellationToken,
}

impl Place {
    const SILENT: u8 = 0;
    const ASKED: u8 = 1;
    const GONE: u8 = 2;

    fn is_silent(&self) -> bool {
        self.state.load(Ordering::Relaxed) == Self::SILENT
    }

    /// Of a connection that has been silent until now, which becomes something else; false: it was that already.
    fn becomes(&self, state: u8) -> bool {
        self.state.compare_exchange(Self::SILENT, state, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Ends the connection that has been silent for the longest time, if there is one.
fn one_gives_way(silent: &mut VecDeque<Arc<Place>>) {
    while let Some(place) = silent.pop_front() {
        if Arc::strong_count(&place) > 1 && place.becomes(Place::GONE) {
            place.gives_way.cancel();
            return;
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, routes: Routes, stop: CancellationToken, place: Arc<Place>) {
    let Ok(local) = stream.local_addr() else { return };
    let asks = place.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        asks.becomes(Place::ASKED);
        request.extensions_mut().insert(Ends { peer, local });
        let answer = TowerToHyperService::new(Router::clone(&routes.load())).call(request);
        async move {
            answer.await.map(|mut response| {
                // Who has no token keeps no place.
                if response.status() == StatusCode::UNAUTHORIZED {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                response
            })
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = place.gives_way.cancelled() => return,
        () = ending(stop) => {
            serving.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, serving).await {
                Ok(result) => result,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection to the control or metrics listener");
    }
}

/// Ends when the connection is to take no more requests.
async fn ending(stop: CancellationToken) {
    let _ = tokio::time::timeout(CONNECTION_LIFETIME, stop.cancelled()).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_one_clear_line() {
        let first = bind("control API", ([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = first.local_addr().unwrap();
        let error = bind("metrics endpoint", address).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot listen on {address} for the metrics endpoint: the port is in use")
        );
        let elsewhere = bind("control API", ([192, 0, 2, 1], 0).into()).await.unwrap_err();
        assert!(matches!(elsewhere, BindError::Other { .. }), "{elsewhere}");
    }

    #[tokio::test]
    async fn silent_connections_give_way_to_those_that_ask() {
        let listener = bind("test", ([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new()
            .route("/", axum::routing::get(|| async { "done" }))
            .route("/secret", axum::routing::get(|| async { StatusCode::UNAUTHORIZED }));
        let serving = tokio::spawn(serve(listener, Arc::new(ArcSwap::from_pointee(router)), stop.clone()));
        let ask = async |stream: &mut TcpStream, path: &str| {
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = vec![0; 1000];
            let read = stream.read(&mut answer).await.unwrap();
            String::from_utf8_lossy(&answer[..read]).into_owned()
        };
        let mut first = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut first, "/").await.ends_with("done"));
        let mut silent = Vec::new();
        for _ in 0..2 * MAX_CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut late = TcpStream::connect(address).await.unwrap();
        let began = std::time::Instant::now();
        assert!(ask(&mut late, "/").await.ends_with("done"));
        assert!(began.elapsed() < HEAD_TIMEOUT / 2, "{:?}", began.elapsed());
        assert_eq!(silent[0].read(&mut [0; 8]).await.unwrap_or(0), 0, "the first of them went");
        assert!(ask(&mut first, "/").await.ends_with("done"), "who has asked stays");
        assert!(ask(&mut late, "/secret").await.contains("\r\nconnection: close\r\n"));
        drop((first, late, silent));
        stop.cancel();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn stopping_finishes_what_is_under_way_and_closes_what_is_idle() {
        let listener = bind("test", ([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (entered, mut enters) = tokio::sync::mpsc::channel::<()>(1);
        let release = CancellationToken::new();
        let released = release.clone();
        let slow = async move || {
            let _ = entered.send(()).await;
            released.cancelled().await;
            "done"
        };
        let router = Router::new().route("/slow", axum::routing::get(slow));
        let routes = Arc::new(ArcSwap::from_pointee(router));
        let serving = tokio::spawn(serve(listener, routes, stop.clone()));

        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        enters.recv().await.unwrap();
        stop.cancel();
        assert_eq!(idle.read(&mut [0; 8]).await.unwrap(), 0, "the idle connection is closed");
        release.cancel();
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("done"), "{answer}");
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    }
}
