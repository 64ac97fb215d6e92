//! The client side: listeners, connections, TLS, inspection of HTTP/1 bytes, shutdown.
//!
//! `listeners` accepts, `connection` serves: TLS, HTTP/1 or HTTP/2, hyper and the deadlines. On HTTP/1 hyper reads
//! through `inspect`, which shows it only what `http1_framing` (with `head` and `chunked`) approves of; `http1` has hyper
//! come only for exchanges that need it: between them `alone` answers plain hits, and `plain` sends what the request
//! path answers to requests without a body (`response_head`, `output`). `http2` answers plain hits where hyper has read
//! them, over a stream on which what is written is `gathered`. `exchange` is one request and its response; `wire` is what
//! stream, exchange and deadlines tell each other. [`approval`] asks the inspection without a connection.

mod alone;
pub mod approval;
mod certificates;
mod chunked;
mod connection;
mod counters;
mod crowd;
mod exchange;
mod gathered;
mod head;
mod http1;
mod http1_framing;
mod http2;
pub mod inherit;
mod inspect;
mod listeners;
pub mod notify;
mod output;
mod plain;
mod proxy_protocol;
mod rarely;
mod response_head;
mod sendfile;
pub mod shutdown;
mod slots;
mod socket;
mod tls;
pub mod upgrade;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use certificates::Fingerprint;
pub use counters::ServerCounters;
pub use tls::{TlsError, Validity, check as check_tls};

use crate::config::settings::{ListenAddress, Settings};
use crate::proxy::Proxy;
use crate::proxy::body::Body;
use crate::proxy::client::Client;
use alone::Look;
use connection::Terms;
use exchange::{GoOn, Hit, Hits};
use listeners::{Listeners, Serve, Shared};
use slots::Slots;

/// Longest wait for a request that is on its way on an idle connection when we stop.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// After connections were told to close at once, they get this long to do so.
const KILL_TIME: Duration = Duration::from_millis(500);

/// Why the server can't start, or can't change to new settings. One line each.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address can't be listened on.
    #[error("can't listen on {address}: {}", BindFault(source))]
    Bind {
        /// Which.
        address: ListenAddress,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A certificate or key can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A failure to bind in an operator's words.
struct BindFault<'a>(&'a io::Error);

impl std::fmt::Display for BindFault<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.kind() {
            io::ErrorKind::AddrInUse => f.write_str("the port is in use by another process"),
            io::ErrorKind::AddrNotAvailable => f.write_str("this machine has no such address"),
            io::ErrorKind::PermissionDenied => {
                f.write_str("no permission (ports below 1024 need CAP_NET_BIND_SERVICE)")
            }
            _ => self.0.fmt(f),
        }
    }
}

/// How draining went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections that were open when it began and ended by themselves.
    pub finished: usize,
    /// Connections that were cut at the deadline.
    pub cut: usize,
}

/// The running client side. Dropping it leaves listeners and connections as they are; see [`Server::drain`].
pub struct Server {
    shared: Arc<Shared>,
    listeners: Arc<Mutex<Listeners>>,
    /// Whether any of them speaks TLS.
    speak_tls: watch::Sender<bool>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

impl Server {
    /// Opens the listeners and serves clients from then on. Must be called within a tokio runtime.
    pub fn start(proxy: Arc<Proxy>, settings: &Settings) -> Result<Server, StartError> {
        let hits = proxy.clone();
        let look: Look = Arc::new(move |client, head, out| hits.at_once(client, head, out));
        let unanswered = proxy.clone();
        let go_on: GoOn<Body> = Arc::new(move |client, request| {
            let proxy = unanswered.clone();
            Box::pin(async move { proxy.go_on(&client, request).await })
        });
        let hits = proxy.clone();
        let http2: Hit<Body> = Arc::new(move |client, request| hits.hit(client, request));
        let hits = Hits { http1: Some((look, go_on)), http2: Some(http2) };
        Server::start_with(settings, hits, move |client, request| {
            let proxy = proxy.clone();
            // Boxed: it is large, and would be moved into each future that waits for it.
            Box::pin(async move { proxy.handle(&client, request).await })
        })
    }

    /// The same for any request path.
    fn start_with<H, F, B>(settings: &Settings, hits: Hits<B>, handler: H) -> Result<Server, StartError>
    where
        H: Fn(Arc<Client>, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let serve: Serve =
            Arc::new(move |accepted| Box::pin(connection::serve(accepted, hits.clone(), handler.clone())));
        let counters = Arc::new(ServerCounters::default());
        let shared = Arc::new(Shared {
            serve,
            terms: ArcSwap::from_pointee(terms(settings)),
            slots: Slots::new(settings.limits.connections, counters.clone()),
            counters,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
        });
        let mut listeners = Listeners::none();
        listeners.apply(&settings.listeners, settings.shutdown_grace, &shared)?;
        let speak_tls = watch::Sender::new(listeners.speak_tls());
        let listeners = Arc::new(Mutex::new(listeners));
        certificates::watch(&listeners, speak_tls.subscribe(), shared.counters.clone(), shared.stop.clone());
        Ok(Server { shared, listeners, speak_tls })
    }

    /// The listeners in an operator's words, in the order of the settings; ports that were 0 are resolved.
    pub fn listeners(&self) -> Vec<String> {
        self.listeners.lock().names()
    }

    /// The listening sockets, to be given to another process, with the names by which it finds them.
    ///
    /// # Errors
    /// The kernel has no more descriptors.
    pub fn sockets(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        self.listeners.lock().sockets()
    }

    /// Where the listeners of TCP are bound, in the order of the settings; ports that were 0 are resolved.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.lock().addresses()
    }

    /// The certificates in force, each with the listener that shows it, in an operator's words.
    pub fn certificates(&self) -> Vec<(String, Validity)> {
        self.listeners.lock().certificates()
    }

    /// What the client side counts.
    pub fn counters(&self) -> Arc<ServerCounters> {
        self.shared.counters.clone()
    }

    /// Changes to new settings: listeners, certificates (read anew in any case), limits and deadlines of connections
    /// to come. Open connections stay, but for those of removed listeners, which drain. Answers what changed about
    /// listeners, a line each; on an error nothing has changed.
    pub fn reload(&self, settings: &Settings) -> Result<Vec<String>, StartError> {
        let mut listeners = self.listeners.lock();
        let changes = listeners.apply(&settings.listeners, settings.shutdown_grace, &self.shared)?;
        self.speak_tls.send_replace(listeners.speak_tls());
        drop(listeners);
        self.shared.terms.store(Arc::new(terms(settings)));
        self.shared.slots.set_cap(settings.limits.connections);
        Ok(changes)
    }

    /// Stops accepting, lets connections finish what is under way, and cuts them after `deadline`.
    pub async fn drain(&self, deadline: Duration) -> DrainReport {
        let open = self.shared.slots.open();
        self.shared.stop.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(deadline, self.idle()).await.is_ok() {
            return DrainReport { finished: open, cut: 0 };
        }
        let cut = self.shared.slots.open().min(open);
        self.shared.kill.cancel();
        // What was cut still has to notice; nothing depends on it.
        let _ = tokio::time::timeout(KILL_TIME, self.idle()).await;
        DrainReport { finished: open - cut, cut }
    }

    /// No task left and no upgraded stream either.
    async fn idle(&self) {
        self.shared.tasks.wait().await;
        self.shared.slots.empty().await;
    }
}

fn terms(settings: &Settings) -> Terms {
    Terms {
        limits: settings.limits.clone(),
        timeouts: settings.client_timeouts.clone(),
        // Who waits for nothing is not to be cut at the deadline.
        on_its_way: ON_ITS_WAY.min(settings.shutdown_grace / 2),
    }
}

#[cfg(test)]
mod tests;
