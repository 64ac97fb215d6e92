//! The exchange with an upstream's servers, over our own pool of connections.
//!
//! [`Pool::send`] is the way of a request: a server in turn, a place under its connection cap, a connection (used
//! before, or new), the request, the head of the response. The [`UpstreamBody`] then holds the connection until it
//! has ended.
//!
//! | file | subject |
//! |---|---|
//! | `server` | one server: the queue, its connections, what is kept |
//! | `lease` | a connection for the length of one exchange |
//! | `http1`, `http2` | connections as each protocol shares them out |
//! | `connect`, `tls`, `socket` | addresses, TCP, TLS; the byte stream that counts |
//! | `framing` | Host, lengths, and which responses can be trusted |
//! | `request_body`, `response_body`, `idle_timer` | bodies both ways |
//! | `error`, `stats` | failures and figures |

mod connect;
mod error;
mod framing;
mod http1;
mod http2;
mod idle_timer;
mod lease;
mod request_body;
mod response_body;
mod server;
mod socket;
mod stats;
#[cfg(test)]
mod tests;
mod tls;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::{Extensions, HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until};

use crate::config::settings::{Upstream, UpstreamTimeouts};
pub use error::{PoolError, UpstreamError, UpstreamErrorKind};
use lease::Lease;
use request_body::Upload;
pub use request_body::{ClientBody, Meter, RequestBody, RequestBodyError};
pub use response_body::UpstreamBody;
use server::Server;
pub use stats::{PoolStats, ServerStats};

/// A connection older than this takes no further exchange: servers behind a name move.
const MAX_AGE: Duration = Duration::from_secs(600);
/// Largest response head, in bytes.
const MAX_RESPONSE_HEAD: usize = 64 * 1024;

/// The connections to one upstream. It outlives a reload that does not change the upstream's settings.
pub struct Pool {
    settings: Arc<Upstream>,
    servers: Vec<Arc<Server>>,
    /// Which server is next.
    turn: AtomicUsize,
}

/// How one exchange is to be run.
#[derive(Clone)]
pub struct Exchange {
    /// Its deadlines.
    pub timeouts: UpstreamTimeouts,
    /// Told of each interim (1xx) response but 101 as it arrives. HTTP/1.1 servers only.
    pub on_interim: Option<InterimCallback>,
}

/// See [`Exchange::on_interim`].
pub type InterimCallback = Arc<dyn Fn(StatusCode, &HeaderMap) + Send + Sync>;

impl Pool {
    /// A pool without connections yet. Reads `ca_file`.
    pub fn new(settings: Arc<Upstream>) -> Result<Arc<Self>, PoolError> {
        Self::with_max_age(settings, MAX_AGE)
    }

    fn with_max_age(settings: Arc<Upstream>, max_age: Duration) -> Result<Arc<Self>, PoolError> {
        let connector = tls::connector(&settings)?;
        let server = |address| Server::new(&settings, address, connector.as_ref(), max_age);
        let servers = settings.servers.iter().map(server).collect::<Result<_, _>>()?;
        Ok(Arc::new(Pool { settings, servers, turn: AtomicUsize::new(0) }))
    }

    /// The settings it was made from.
    pub fn settings(&self) -> &Upstream {
        &self.settings
    }

    /// Its figures at this moment.
    pub fn stats(&self) -> PoolStats {
        PoolStats { servers: self.servers.iter().map(|server| server.stats()).collect() }
    }

    /// Sends a request to one of the servers and returns the head of the response, the body still streaming.
    ///
    /// The request has an origin-form target and the end-to-end fields, Host among them; the pool sets Host where
    /// the settings say so, and the fields that frame the body. Its extensions are dropped.
    pub async fn send(
        &self,
        mut request: Request<RequestBody>,
        exchange: Exchange,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        if request.body().is_too_large() {
            return Err(UpstreamError::new(UpstreamErrorKind::RequestTooLarge));
        }
        let upload = request.body().upload();
        let upgrade_asked = framing::asks_upgrade(&request);
        self.prepare(&mut request, exchange.on_interim);

        let first_byte = exchange.timeouts.first_byte;
        let lease = self.lease(&exchange.timeouts, false).await?;
        let may_repeat = lease.reused();
        let first = self.ask(lease, request, upload.as_deref(), first_byte, may_repeat).await;
        let (lease, response) = match first {
            Err(Failure { again: Some(request), .. }) => {
                let lease = self.lease(&exchange.timeouts, true).await?;
                self.ask(lease, *request, upload.as_deref(), first_byte, false).await
            }
            outcome => outcome,
        }
        .map_err(|failure| failure.error)?;

        accept(lease, response, upgrade_asked, upload, exchange.timeouts.idle)
    }

    /// What is the same for every server and attempt.
    fn prepare(&self, request: &mut Request<RequestBody>, on_interim: Option<InterimCallback>) {
        *request.extensions_mut() = Extensions::new();
        framing::frame(request, self.settings.protocol);
        framing::nominate_te(request, self.settings.protocol);
        if let Some(tell) = on_interim {
            hyper::ext::on_informational(request, move |interim| tell(interim.status(), interim.headers()));
        }
    }

    /// A connection to the next server in turn that accepts one. Servers whose connections are all in use are passed
    /// over; when no other is left, the request queues for the first of them.
    async fn lease(&self, timeouts: &UpstreamTimeouts, fresh: bool) -> Result<Lease, UpstreamError> {
        let turn = self.turn.fetch_add(1, Relaxed) % self.servers.len();
        let (before, after) = self.servers.split_at(turn);
        let mut busy = None;
        let mut failure = None;
        for server in after.iter().chain(before) {
            let Some(place) = server.try_place() else {
                busy.get_or_insert(server);
                continue;
            };
            match server.lease(place, timeouts.connect, fresh).await {
                Ok(lease) => return Ok(lease),
                Err(error) => failure = Some(error),
            }
        }
        match (busy, failure) {
            (Some(server), _) => server.lease(server.place().await?, timeouts.connect, fresh).await,
            (None, failure) => Err(failure.expect("an upstream has at least one server: it failed or is busy")),
        }
    }

    /// Sends the request on a connection and waits for the response's head. When that fails and `may_repeat`, the
    /// failure carries the request if it is safe to send again.
    async fn ask(
        &self,
        mut lease: Lease,
        mut request: Request<RequestBody>,
        upload: Option<&Upload>,
        first_byte: Duration,
        may_repeat: bool,
    ) -> Result<(Lease, Response<Incoming>), Failure> {
        framing::address(&mut request, &self.settings.host, lease.server().address(), self.settings.protocol);
        let copy = if may_repeat { copy_of(&request) } else { None };
        let answer = {
            let response = pin!(lease.send(request));
            before_deadline(response, upload, first_byte).await
        };
        let mut failed = match answer {
            Some(Ok(response)) => return Ok((lease, response)),
            Some(Err(failed)) => failed,
            None => {
                let error = UpstreamError::new(UpstreamErrorKind::FirstByteTimeout);
                return Err(Failure { error: lease.server().failed(error), again: None });
            }
        };

        let unsent = failed.take_message();
        let error = failed.into_error();
        let closed = lease.is_untouched() && error::is_close(&error);
        // A connection used before may have been closed by the server at any time. That is no fault of this request,
        // which goes out once more if nothing of it was sent, or if sending it twice means the same as sending it
        // once (RFC 9110 §9.2.2). Never otherwise: a POST may have been acted on.
        let again = match unsent {
            Some(request) if may_repeat => Some(request),
            _ => copy.filter(|copy| closed && copy.method().is_idempotent() || error::is_refused_stream(&error)),
        };
        if let Some(request) = again {
            let error = UpstreamError::from_hyper(error);
            lease.give_up(closed);
            return Err(Failure { error, again: Some(Box::new(request)) });
        }
        let error = match upload.and_then(Upload::failure) {
            Some(kind) => UpstreamError::because(kind, error),
            None => UpstreamError::from_hyper(error),
        };
        Err(Failure { error: lease.server().failed(error), again: None })
    }
}

/// An attempt that failed, and the request if it may be sent again.
struct Failure {
    error: UpstreamError,
    again: Option<Box<Request<RequestBody>>>,
}

/// The request once more, when there is no body to be used up.
fn copy_of(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    if !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

/// Waits for an outcome; `None` when the server was silent for `first_byte` since it had the request. As long as a
/// body is being sent, its progress moves the deadline.
async fn before_deadline<T>(
    outcome: impl Future<Output = T>,
    upload: Option<&Upload>,
    first_byte: Duration,
) -> Option<T> {
    let mut outcome = pin!(outcome);
    let sent = Instant::now();
    let deadline = || upload.map_or(sent, |upload| upload.waiting_since().max(sent)) + first_byte;
    loop {
        let silent_until = deadline();
        tokio::select! {
            biased;
            outcome = &mut outcome => return Some(outcome),
            () = sleep_until(silent_until) => if deadline() <= Instant::now() { return None },
        }
    }
}

/// Judges a response's framing and puts the connection in the care of its body.
fn accept(
    lease: Lease,
    mut response: Response<Incoming>,
    upgrade_asked: bool,
    upload: Option<Arc<Upload>>,
    idle: Duration,
) -> Result<Response<UpstreamBody>, UpstreamError> {
    let mut framing = framing::check(&mut response, upgrade_asked).map_err(|error| lease.server().failed(error))?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response.map(|incoming| UpstreamBody::of_upgrade(incoming, lease, framing)));
    }
    // An answer ahead of the end of the request: what is left of the request must not meet the next one.
    framing.reusable &= upload.as_ref().is_none_or(|upload| upload.is_complete());
    Ok(response.map(|incoming| UpstreamBody::new(incoming, idle, lease, framing, upload)))
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("upstream", &self.settings.name).field("stats", &self.stats()).finish()
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("timeouts", &self.timeouts).finish_non_exhaustive()
    }
}
