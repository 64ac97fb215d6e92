//! Listening sockets: opening them, accepting from them, and what a reload changes about them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::StartError;
use super::connection::{Accepted, Terms};
use super::counters::{ServerCounters, add};
use super::slots::Slots;
use super::tls;
use crate::config::settings::Listener;

/// Connections the kernel completes ahead of us.
const BACKLOG: i32 = 1024;

/// After a failure to accept (no descriptors, no memory) we wait this long, doubled up to the other.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Serves one accepted connection.
pub(super) type Serve = Arc<dyn Fn(Accepted) -> BoxFuture<'static, ()> + Send + Sync>;

/// What all listeners share.
pub(super) struct Shared {
    pub(super) serve: Serve,
    pub(super) terms: arc_swap::ArcSwap<Terms>,
    pub(super) slots: Arc<Slots>,
    pub(super) counters: Arc<ServerCounters>,
    pub(super) tasks: TaskTracker,
    /// Answer what is under way, then close: all connections.
    pub(super) stop: CancellationToken,
    /// Close: all connections.
    pub(super) kill: CancellationToken,
}

/// The open listeners.
#[derive(Debug)]
pub(super) struct Listeners(Vec<Open>);

#[derive(Debug)]
struct Open {
    settings: Listener,
    bound: SocketAddr,
    tls: Arc<ArcSwapOption<ServerConfig>>,
    stop: CancellationToken,
    kill: CancellationToken,
}

/// A listener to be, with everything that can fail done.
struct Prepared {
    settings: Listener,
    tls: Option<Arc<ServerConfig>>,
    socket: Option<TcpListener>,
    /// Its place among the listeners that are open already.
    kept: Option<usize>,
}

impl Listeners {
    /// None open.
    pub(super) fn none() -> Self {
        Listeners(Vec::new())
    }

    /// Where they are bound, in the order of the settings.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|open| open.bound).collect()
    }

    /// Makes the open listeners those of `wanted`: new ones open, removed ones stop accepting and drain for at most
    /// `grace`, the sockets and connections of unchanged ones are not touched. Certificates are read anew. On an
    /// error nothing has changed. Answers what did, a line each.
    pub(super) fn apply(
        &mut self,
        wanted: &[Listener],
        grace: Duration,
        shared: &Arc<Shared>,
    ) -> Result<Vec<String>, StartError> {
        let prepared = self.prepare(wanted)?;
        let mut changes = Vec::new();
        let mut before: Vec<Option<Open>> = self.0.drain(..).map(Some).collect();
        for listener in prepared {
            let Prepared { settings, tls, socket, kept } = listener;
            if let Some(mut open) = kept.and_then(|at| before[at].take()) {
                if open.settings.tls.is_some() != settings.tls.is_some() {
                    let now = if settings.tls.is_some() { "speaks TLS" } else { "speaks no TLS any more" };
                    changes.push(format!("listener {} {now}", open.bound));
                } else if open.settings != settings {
                    changes.push(format!("listener {} has other TLS settings", open.bound));
                }
                open.settings = settings;
                open.tls.store(tls);
                self.0.push(open);
            } else if let Some(socket) = socket {
                let open = Open::start(settings, tls, socket, shared)?;
                changes.push(format!("listener {} opened", open.bound));
                self.0.push(open);
            }
        }
        for open in before.into_iter().flatten() {
            changes.push(format!("listener {} closed", open.bound));
            open.drain(grace);
        }
        Ok(changes)
    }

    /// Does all that can fail: reads certificates and binds new addresses.
    fn prepare(&self, wanted: &[Listener]) -> Result<Vec<Prepared>, StartError> {
        let mut taken = vec![false; self.0.len()];
        wanted
            .iter()
            .map(|settings| {
                let tls = settings.tls.as_ref().map(tls::server_config).transpose()?;
                let same = |at: &usize| !taken[*at] && self.0[*at].settings.address == settings.address;
                let kept = (0..self.0.len()).find(same);
                if let Some(at) = kept {
                    taken[at] = true;
                }
                let socket = match kept {
                    Some(_) => None,
                    None => Some(
                        bind(settings.address)
                            .map_err(|source| StartError::Bind { address: settings.address, source })?,
                    ),
                };
                Ok(Prepared { settings: settings.clone(), tls, socket, kept })
            })
            .collect()
    }
}

impl Open {
    fn start(
        settings: Listener,
        tls: Option<Arc<ServerConfig>>,
        socket: TcpListener,
        shared: &Arc<Shared>,
    ) -> Result<Self, StartError> {
        let address = settings.address;
        let bound = socket.local_addr().map_err(|source| StartError::Bind { address, source })?;
        let open = Open {
            settings,
            bound,
            tls: Arc::new(ArcSwapOption::new(tls)),
            stop: shared.stop.child_token(),
            kill: shared.kill.child_token(),
        };
        let accepting = accept_all(socket, open.tls.clone(), open.stop.clone(), open.kill.clone(), shared.clone());
        shared.tasks.spawn(accepting);
        Ok(open)
    }

    /// Stops accepting; connections finish what is under way, or are cut after `grace`.
    fn drain(self, grace: Duration) {
        self.stop.cancel();
        let kill = self.kill;
        // Not tracked: a shutdown need not wait for it.
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(grace) => kill.cancel(),
                () = kill.cancelled() => {}
            }
        });
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the process before it to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept_all(
    socket: TcpListener,
    tls: Arc<ArcSwapOption<ServerConfig>>,
    stop: CancellationToken,
    kill: CancellationToken,
    shared: Arc<Shared>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            accepted = async { shared.slots.room().await; socket.accept().await } => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                pause = FIRST_PAUSE;
                spawn(stream, &tls, &stop, &kill, &shared);
            }
            Err(error) if is_the_clients_fault(&error) => {}
            Err(error) => {
                add(&shared.counters.accept_errors, 1);
                if pause == FIRST_PAUSE {
                    tracing::warn!(%error, "accepting connections fails; trying again with pauses");
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return,
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn spawn(
    stream: TcpStream,
    tls: &ArcSwapOption<ServerConfig>,
    stop: &CancellationToken,
    kill: &CancellationToken,
    shared: &Arc<Shared>,
) {
    let serving = (shared.serve)(Accepted {
        stream,
        tls: tls.load_full(),
        terms: shared.terms.load_full(),
        counters: shared.counters.clone(),
        stop: stop.clone(),
        kill: kill.clone(),
        slot: shared.slots.take(),
    });
    shared.tasks.spawn(serving);
}

/// Whether a connection was lost between the kernel's accepting it and ours.
fn is_the_clients_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
