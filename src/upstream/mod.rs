//! The exchange with an upstream's servers, over our own pool of connections.
//!
//! [`Pool::send`] is the way of a request: a server, a place under its connection cap, a connection (used before, or
//! new), the request, the head of the response; and where a server fails, perhaps once more elsewhere. The
//! [`UpstreamBody`] then holds the connection until it has ended.
//!
//! | file | subject |
//! |---|---|
//! | `balance`, `health`, `check` | which server, and which are well |
//! | `retry`, `hedge`, `breaker`, `maintenance` | what is made of failures and slowness |
//! | `server` | one server: the queue, its connections, what is kept |
//! | `lease` | a connection for the length of one exchange |
//! | `http1` | HTTP/1.1 from bytes to bytes, and the connections that wait for their next exchange |
//! | `http2` | HTTP/2 by hyper: connections that exchanges share |
//! | `names`, `address`, `connect`, `tls`, `socket` | addresses, TCP, TLS; the byte stream that counts |
//! | `framing` | Host, lengths, and which responses can be trusted |
//! | `request_body`, `held_body`, `response_body`, `idle_timer` | bodies both ways |
//! | `error`, `stats` | failures and figures |

mod address;
mod balance;
mod beside;
mod breaker;
mod check;
mod connect;
mod error;
mod framing;
mod health;
mod hedge;
mod held_body;
mod http1;
mod http2;
mod idle_timer;
mod lease;
mod maintenance;
mod names;
mod request_body;
mod response_body;
mod retry;
mod server;
mod socket;
mod stats;
#[cfg(test)]
mod tests;
mod tls;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::config::settings::{RetryOn, RouteRetry, Upstream, UpstreamProtocol, UpstreamTimeouts};
use balance::{Balancer, Way};
use breaker::Breaker;
pub use error::{PoolError, UpstreamError, UpstreamErrorKind};
use health::Peers;
pub use http1::{Reading, Tunnel, read_response};
use lease::{Failed, Lease};
pub use maintenance::MaintenancePage;
use request_body::Upload;
pub use request_body::{ClientBody, Meter, RequestBody, RequestBodyError, TrailerFilter};
pub use response_body::UpstreamBody;
use response_body::{Content, Deadlines};
use retry::RetryBudget;
use server::{Server, Wanted};
pub use stats::{AddressStats, PoolStats, ServerStats};

/// Largest response head, in bytes.
const MAX_RESPONSE_HEAD: usize = 64 * 1024;

/// The connections to one upstream. It outlives a reload that does not change the upstream's settings.
pub struct Pool {
    settings: Arc<Upstream>,
    servers: Vec<Arc<Server>>,
    balancer: Balancer,
    breaker: Option<Breaker>,
    budget: RetryBudget,
    /// Retries and hedges not made because the budget was used up.
    retries_denied: AtomicU64,
    maintenance: Option<MaintenancePage>,
}

/// How one exchange is to be run.
#[derive(Clone)]
pub struct Exchange {
    /// Its deadlines.
    pub timeouts: UpstreamTimeouts,
    /// Told of each interim (1xx) response but 101 as it arrives. HTTP/1.1 servers only.
    pub on_interim: Option<InterimCallback>,
    /// What tells the request from others where the server is chosen by hash.
    pub hash: Option<u64>,
    /// Whether it may be sent to another server when one fails.
    pub retry: RouteRetry,
}

/// See [`Exchange::on_interim`].
pub type InterimCallback = Arc<dyn Fn(StatusCode, &HeaderMap) + Send + Sync>;

impl Pool {
    /// A pool without connections yet. Reads the files that the settings name. Health checks begin at once where
    /// there is a runtime.
    ///
    /// # Errors
    /// A file is unusable, or a server's name.
    pub fn new(settings: Arc<Upstream>) -> Result<Arc<Self>, PoolError> {
        let connectors = tls::connectors(&settings)?;
        let maintenance = MaintenancePage::read(&settings)?;
        let peers = Peers::of(&settings);
        let server = |address| Server::new(&settings, address, connectors.as_ref(), &peers);
        let servers = settings.servers.iter().map(server).collect::<Result<Vec<_>, _>>()?;
        if tokio::runtime::Handle::try_current().is_ok() {
            servers.iter().for_each(|server| check::begin(server, &settings));
            servers.iter().filter(|server| server.names().is_some()).for_each(names::keep_current);
        }
        Ok(Arc::new(Pool {
            balancer: Balancer::new(&settings, &servers),
            breaker: Breaker::new(&settings),
            budget: RetryBudget::new(settings.retries.budget),
            retries_denied: AtomicU64::new(0),
            maintenance,
            servers,
            settings,
        }))
    }

    /// The settings it was made from.
    pub fn settings(&self) -> &Upstream {
        &self.settings
    }

    /// What clients get for a failure of this word instead of a line of text.
    pub fn maintenance_page(&self, word: &str) -> Option<&MaintenancePage> {
        let unreachable = |kind: &UpstreamErrorKind| kind.is_unreachable() && kind.word() == word;
        self.maintenance.as_ref().filter(|_| UpstreamErrorKind::ALL.iter().any(unreachable))
    }

    /// Sends no further requests to a server, or does so again; false: there is no such server. It is named as in
    /// [`ServerStats::server`].
    pub fn set_drained(&self, server: &str, drained: bool) -> bool {
        let named = self.servers.iter().filter(|known| known.name() == server);
        named.map(|server| server.set_drained(drained)).count() > 0
    }

    /// Takes over from a pool that it replaces which servers are drained.
    pub fn keep_drained(&self, former: &Pool) {
        for server in former.servers.iter().filter(|server| server.health().is_drained()) {
            self.set_drained(&server.name(), true);
        }
    }

    /// Its figures at this moment.
    pub fn stats(&self) -> PoolStats {
        PoolStats {
            servers: self.servers.iter().map(|server| server.stats()).collect(),
            breaker: self.breaker.as_ref().map(Breaker::word),
            retries_denied: self.retries_denied.load(Relaxed),
        }
    }

    /// Sends a request to one of the servers and returns the head of the response, the body still streaming.
    ///
    /// The request has an origin-form target and the end-to-end fields, Host among them; the pool sets Host where
    /// the settings say so, and the fields that frame the body. Its extensions are dropped. Both are borrowed, since
    /// this future would hold them twice otherwise.
    pub async fn send(
        &self,
        request: &mut Request<RequestBody>,
        exchange: &Exchange,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        if request.body().is_too_large() {
            return Err(UpstreamError::new(UpstreamErrorKind::RequestTooLarge));
        }
        request.body_mut().settle().await.map_err(UpstreamError::new)?;
        let admission = self.breaker.as_ref().map(Breaker::admit).transpose()?;
        let upload = request.body().upload();
        let upgrade_asked = framing::asks_upgrade(request);
        let &Exchange { ref timeouts, ref on_interim, hash, retry } = exchange;
        framing::frame(request, self.settings.protocol);
        framing::nominate_te(request, self.settings.protocol);
        let terms = Terms { timeouts, upload: upload.as_deref(), on_interim: on_interim.as_ref(), retry };

        let end = timeouts.total.map(|total| Instant::now() + total);
        let asked = {
            // Boxed: it is large, and each future around it would be moved with room for it (12 KB a request).
            let mut asking = Box::pin(async {
                match self.hedge_after(request, retry) {
                    // Boxed: it is two of the other, and hardly ever.
                    Some(after) => Box::pin(self.ask_hedged(request, terms, hash, after)).await,
                    None => self.ask_servers(request, terms, self.balancer.way(hash)).await,
                }
            });
            match end {
                None => asking.as_mut().await,
                Some(end) => timeout_at(end, asking.as_mut())
                    .await
                    .unwrap_or_else(|_| Err(UpstreamError::new(UpstreamErrorKind::TotalTimeout))),
            }
        };
        if let Some(admission) = admission {
            admission.settle(match &asked {
                Ok((_, response)) => self.is_failure(response.status()),
                Err(error) => error.kind.is_servers_fault() || error.kind == UpstreamErrorKind::NoServer,
            });
        }
        let (mut lease, response) = asked?;
        if self.is_failure(response.status()) {
            lease.mark_failed();
        }
        accept(lease, response, upgrade_asked, upload, Deadlines { idle: timeouts.idle, end })
    }

    /// Asks one server, and others where it fails and the request may be sent again.
    async fn ask_servers<'a>(
        &'a self,
        request: &mut Request<RequestBody>,
        terms: Terms<'_>,
        mut way: Way<'a>,
    ) -> Result<(Lease, Response<Content>), UpstreamError> {
        let may_retry = match terms.retry {
            RouteRetry::Idempotent => request.method().is_idempotent(),
            RouteRetry::All => true,
            RouteRetry::Never => false,
        };
        let mut left = if may_retry && self.servers.len() > 1 { self.settings.retries.attempts } else { 0 };
        let http1 = self.settings.protocol == UpstreamProtocol::Auto && framing::asks_upgrade(request);
        let mut repeats = false;
        loop {
            let wanted = Wanted { connect_timeout: terms.timeouts.connect, fresh: repeats, http1 };
            let (server, lease) = self.lease(wanted, &mut way).await?;
            let may_repeat = lease.reused() && !repeats;
            let (outcome, may_go_on) = match self.ask(lease, request, terms, may_repeat, left > 0).await {
                Asked::Repeat => {
                    repeats = true;
                    continue;
                }
                Asked::Answered(lease, response) => {
                    let retried = self.settings.retries.statuses.iter().any(|range| range.has(response.status()));
                    (Ok((lease, response)), retried && left > 0 && request.body().is_whole())
                }
                Asked::Failed(error, may_go_on) => (Err(error), may_go_on),
            };
            if !(may_go_on && self.goes_elsewhere(&mut way, server)) {
                return outcome;
            }
            repeats = false;
            left -= 1;
        }
    }

    /// Whether another server is there for a request that this one has failed, and the budget allows it.
    fn goes_elsewhere<'a>(&'a self, way: &mut Way<'a>, server: &'a Arc<Server>) -> bool {
        way.failed.push(server);
        way.busy.clear();
        if self.balancer.pick(way).is_none() {
            return false;
        }
        let allowed = self.budget.take(self.balancer.requests());
        if allowed { &server.counters().retries } else { &self.retries_denied }.fetch_add(1, Relaxed);
        allowed
    }

    /// A connection to the server chosen, or to another where that one can't be reached or has no place. When no
    /// other is left, the request queues for the first that was full.
    async fn lease<'a>(&'a self, wanted: Wanted, way: &mut Way<'a>) -> Result<(&'a Arc<Server>, Lease), UpstreamError> {
        let mut failure = None;
        while let Some(server) = self.balancer.pick(way) {
            let place = match server.try_place() {
                Some(place) => place,
                None if self.balancer.is_sticky(way) => Box::pin(server.place()).await?,
                None => {
                    way.busy.push(server);
                    continue;
                }
            };
            match server.lease(place, wanted).await {
                Ok(lease) => return Ok((server, lease)),
                Err(error) => {
                    way.failed.push(server);
                    failure = Some(error);
                }
            }
        }
        match (way.busy.first().copied(), failure) {
            (Some(server), _) => {
                let lease = Box::pin(server.lease(server.place().await?, wanted)).await?;
                Ok((server, lease))
            }
            (None, failure) => Err(failure.unwrap_or_else(|| UpstreamError::new(UpstreamErrorKind::NoServer))),
        }
    }

    /// Sends the request on a connection and waits for the response's head. `may_repeat`: once more where this one
    /// connection is to blame; `may_retry`: elsewhere where the server is. A body that can be sent again is still in the
    /// request then.
    async fn ask(
        &self,
        mut lease: Lease,
        request: &mut Request<RequestBody>,
        terms: Terms<'_>,
        may_repeat: bool,
        may_retry: bool,
    ) -> Asked {
        let protocol = lease.protocol();
        if protocol != self.settings.protocol {
            framing::reframe(request, protocol);
        }
        framing::address(request, &self.settings.host, lease.server().address(), protocol);
        let body = request.body_mut().take();
        terms.upload.inspect(|upload| upload.begin());
        let retried = |on, request: &Request<RequestBody>| {
            may_retry && request.body().is_whole() && self.settings.retries.on.contains(&on)
        };
        let answer = {
            let response = pin!(lease.send(request, body, terms.on_interim));
            before_deadline(response, terms.upload, terms.timeouts.first_byte).await
        };
        let Failed { mut error, closed, refused, unsent } = match answer {
            Some(Ok(response)) => return Asked::Answered(lease, response),
            Some(Err(failed)) => failed,
            None => {
                let error = lease.failed(UpstreamError::new(UpstreamErrorKind::FirstByteTimeout));
                return Asked::Failed(error, retried(RetryOn::Timeout, request));
            }
        };

        // A connection used before may have been closed by the server at any time. That is no fault of this request,
        // which goes out once more if nothing of it was sent, or if sending it twice means the same as sending it
        // once (RFC 9110 §9.2.2). Never otherwise: a POST may have been acted on.
        let means_the_same = (closed && request.method().is_idempotent()) || refused;
        let is_unsent = unsent.is_some();
        if let Some(body) = unsent {
            *request.body_mut() = body;
        }
        if may_repeat && (is_unsent || (means_the_same && request.body().is_whole())) {
            lease.give_up(closed);
            return Asked::Repeat;
        }
        match terms.upload.and_then(Upload::failure) {
            Some(kind) => {
                error.kind = kind;
                Asked::Failed(lease.failed(error), false)
            }
            None => Asked::Failed(lease.failed(error), retried(RetryOn::Reset, request)),
        }
    }

    /// Whether a status tells of a server in trouble.
    fn is_failure(&self, status: StatusCode) -> bool {
        self.settings.ejection.statuses.iter().any(|range| range.has(status))
    }
}

/// How asking one server ended.
enum Asked {
    /// With the head of a response.
    Answered(Lease, Response<Content>),
    /// With a connection that the server had closed meanwhile: the request is to be sent once more.
    Repeat,
    /// With a failure, and whether another server may be asked.
    Failed(UpstreamError, bool),
}

/// What holds for a request whichever server is asked.
#[derive(Clone, Copy)]
struct Terms<'a> {
    timeouts: &'a UpstreamTimeouts,
    upload: Option<&'a Upload>,
    on_interim: Option<&'a InterimCallback>,
    retry: RouteRetry,
}

/// The request once more, with this body.
fn copy_of(request: &Request<RequestBody>, body: RequestBody) -> Request<RequestBody> {
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
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
    mut response: Response<Content>,
    upgrade_asked: bool,
    upload: Option<Arc<Upload>>,
    deadlines: Deadlines,
) -> Result<Response<UpstreamBody>, UpstreamError> {
    let mut framing = match response.body() {
        Content::Http1(body) => body.framing(),
        _ => framing::check_http2(&mut response, upgrade_asked).map_err(|error| lease.failed(error))?,
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response.map(|incoming| UpstreamBody::of_upgrade(incoming, lease, framing)));
    }
    // An answer ahead of the end of the request: what is left of the request must not meet the next one.
    framing.reusable &= lease.has_sent_all();
    Ok(response.map(|incoming| UpstreamBody::new(incoming, deadlines, lease, framing, upload).beside_upload()))
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
