//! Listening sockets: opening them, accepting from them, and what a reload changes about them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::future::BoxFuture;
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::StartError;
use super::certificates::Fingerprint;
use super::connection::{Accepted, Terms};
use super::counters::{ServerCounters, add};
use super::crowd::Crowd;
use super::inherit;
use super::slots::Slots;
use super::socket::{BACKLOG, Listening, Socket};
use super::tls::{self, Tls, Validity};
use crate::config::settings::{ListenAddress, Listener};
use crate::proxy::front::Front;

/// After a failure to accept (no descriptors, no memory) we wait this long, doubled up to the other.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Serves one accepted connection.
pub(super) type Serve = Arc<dyn Fn(Accepted) -> BoxFuture<'static, ()> + Send + Sync>;

/// What all listeners share.
pub(super) struct Shared {
    pub(super) serve: Serve,
    pub(super) terms: ArcSwap<Terms>,
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
    /// Where it is bound; `None`: no TCP.
    bound: Option<SocketAddr>,
    /// The socket, as long as it is accepted from.
    socket: Weak<Listening>,
    live: Arc<Live>,
    /// Of the certificates in use.
    files: Option<Fingerprint>,
    validities: Vec<Validity>,
    /// Of files that have changed; they may still be changing.
    changed: Option<Fingerprint>,
    stop: CancellationToken,
    kill: CancellationToken,
}

/// What connections to come are held to; a reload changes it.
#[derive(Debug)]
struct Live {
    tls: ArcSwapOption<ServerConfig>,
    terms: ArcSwap<ListenerTerms>,
    crowd: Arc<Crowd>,
}

/// What a listener's connections are held to.
#[derive(Debug)]
pub(super) struct ListenerTerms {
    /// What it asks of requests.
    pub(super) front: Arc<Front>,
    /// The listener.
    pub(super) settings: Listener,
}

/// A listener to be, with everything that can fail done.
struct Prepared {
    settings: Listener,
    files: Option<Fingerprint>,
    tls: Option<Tls>,
    socket: Option<Listening>,
    /// Its place among the listeners that are open already.
    kept: Option<usize>,
}

impl Listeners {
    /// None open.
    pub(super) fn none() -> Self {
        Listeners(Vec::new())
    }

    /// Where those of TCP are bound, in the order of the settings.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().filter_map(|open| open.bound).collect()
    }

    /// All of them, in an operator's words.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(Open::name).collect()
    }

    /// The certificates in force, each with the listener that shows it.
    pub(super) fn certificates(&self) -> Vec<(String, Validity)> {
        let of_one = |open: &Open| -> Vec<_> {
            open.validities.iter().map(|validity| (open.name(), validity.clone())).collect()
        };
        self.0.iter().flat_map(of_one).collect()
    }

    /// Whether any of them speaks TLS.
    pub(super) fn speak_tls(&self) -> bool {
        self.0.iter().any(|open| open.settings.tls.is_some())
    }

    /// Their sockets with the names by which another process knows them.
    pub(super) fn sockets(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let open = self.0.iter().filter_map(|open| Some((open, open.socket.upgrade()?)));
        open.map(|(open, socket)| Ok((inherit::client_name(&open.settings.address), socket.duplicate()?))).collect()
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
            let Prepared { settings, files, tls, socket, kept } = listener;
            if let Some(mut open) = kept.and_then(|at| before[at].take()) {
                let name = open.name();
                if open.settings.tls.is_some() != settings.tls.is_some() {
                    let now = if settings.tls.is_some() { "speaks TLS" } else { "speaks no TLS any more" };
                    changes.push(format!("listener {name} {now}"));
                } else if open.settings.tls != settings.tls {
                    changes.push(format!("listener {name} has other TLS settings"));
                } else if open.settings != settings {
                    changes.push(format!("listener {name} has other settings"));
                }
                open.live.terms.rcu(|terms| Arc::new(ListenerTerms::new(&settings, Some(terms))));
                open.take_over(tls);
                (open.settings, open.files, open.changed) = (settings, files, None);
                self.0.push(open);
            } else if let Some(socket) = socket {
                let open = Open::start(settings, files, tls, socket, shared);
                changes.push(format!("listener {} opened", open.name()));
                self.0.push(open);
            }
        }
        for open in before.into_iter().flatten() {
            changes.push(format!("listener {} closed", open.name()));
            open.drain(grace);
        }
        shared.counters.certificates_broken.store(0, Ordering::Relaxed);
        Ok(changes)
    }

    /// Does all that can fail: reads certificates and binds new addresses.
    fn prepare(&self, wanted: &[Listener]) -> Result<Vec<Prepared>, StartError> {
        let mut taken = vec![false; self.0.len()];
        wanted
            .iter()
            .map(|settings| {
                // Before reading: a change in between is seen as one later.
                let files = settings.tls.as_ref().map(|tls| Fingerprint::of(tls.files()));
                let tls = settings.tls.as_ref().map(tls::server_config).transpose()?;
                let same = |at: &usize| !taken[*at] && self.0[*at].settings.address == settings.address;
                let kept = (0..self.0.len()).find(same);
                if let Some(at) = kept {
                    taken[at] = true;
                }
                let socket = match kept {
                    Some(_) => None,
                    None => Some(
                        Listening::open(settings)
                            .map_err(|source| StartError::Bind { address: settings.address.clone(), source })?,
                    ),
                };
                Ok(Prepared { settings: settings.clone(), files, tls, socket, kept })
            })
            .collect()
    }

    /// Reads certificates whose files have changed, once they have stopped changing. What can't be used leaves the
    /// old ones in force. Answers whether any are changing.
    pub(super) fn renew_certificates(&mut self, counters: &ServerCounters) -> bool {
        for open in &mut self.0 {
            let Some(tls) = &open.settings.tls else { continue };
            let now = Fingerprint::of(tls.files());
            if open.files.as_ref() == Some(&now) {
                open.changed = None;
                continue;
            }
            if open.changed.as_ref() != Some(&now) {
                open.changed = Some(now);
                continue;
            }
            match tls::server_config(tls) {
                Ok(tls) => {
                    open.take_over(Some(tls));
                    counters.certificates_broken.store(0, Ordering::Relaxed);
                    tracing::info!("listener {}: certificates read again", open.name());
                }
                Err(error) => {
                    counters.certificates_broken.store(1, Ordering::Relaxed);
                    tracing::error!("listener {}: the old certificates stay in force: {error}", open.name());
                }
            }
            // Said once: what is broken is not read again before it changes.
            (open.files, open.changed) = (open.changed.take(), None);
        }
        self.0.iter().any(|open| open.changed.is_some())
    }
}

impl ListenerTerms {
    fn new(settings: &Listener, before: Option<&ListenerTerms>) -> Self {
        let front = Arc::new(Front::new(settings, before.map(|before| &*before.front)));
        ListenerTerms { front, settings: settings.clone() }
    }
}

impl Open {
    fn start(
        settings: Listener,
        files: Option<Fingerprint>,
        tls: Option<Tls>,
        socket: Listening,
        shared: &Arc<Shared>,
    ) -> Self {
        let socket = Arc::new(socket);
        let (config, validities) = tls.map(|tls| (tls.config, tls.validities)).unzip();
        let open = Open {
            bound: socket.address(),
            socket: Arc::downgrade(&socket),
            live: Arc::new(Live {
                tls: ArcSwapOption::new(config),
                terms: ArcSwap::from_pointee(ListenerTerms::new(&settings, None)),
                crowd: Arc::default(),
            }),
            settings,
            files,
            validities: validities.unwrap_or_default(),
            changed: None,
            stop: shared.stop.child_token(),
            kill: shared.kill.child_token(),
        };
        let accepting = accept_all(socket, open.live.clone(), open.stop.clone(), open.kill.clone(), shared.clone());
        shared.tasks.spawn(accepting);
        open
    }

    /// Handshakes to come use these certificates.
    fn take_over(&mut self, tls: Option<Tls>) {
        let (config, validities) = tls.map(|tls| (tls.config, tls.validities)).unzip();
        self.live.tls.store(config);
        self.validities = validities.unwrap_or_default();
    }

    fn name(&self) -> String {
        match (&self.settings.address, self.bound) {
            (ListenAddress::Tcp(_), Some(bound)) => bound.to_string(),
            (address, Some(bound)) => format!("{bound} ({address})"),
            (address, _) => address.to_string(),
        }
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

async fn accept_all(
    socket: Arc<Listening>,
    live: Arc<Live>,
    stop: CancellationToken,
    kill: CancellationToken,
    shared: Arc<Shared>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            accepted = async { shared.slots.room().await; socket.accept().await } => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok(accepted) => {
                pause = FIRST_PAUSE;
                spawn(accepted, &live, &stop, &kill, &shared);
            }
            Err(error) if is_the_clients_fault(&error) => {}
            Err(error) => {
                add(&shared.counters.accept_errors, 1);
                if pause == FIRST_PAUSE {
                    tracing::warn!(%error, "accepting connections fails; trying again with pauses");
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => break,
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    // Their clients take them for accepted: closing the socket would reset them.
    for accepted in std::iter::repeat_with(|| socket.accept_completed()).take(BACKLOG as usize) {
        let Ok(accepted) = accepted else { break };
        spawn(accepted, &live, &stop, &kill, &shared);
    }
}

fn spawn(socket: Socket, live: &Live, stop: &CancellationToken, kill: &CancellationToken, shared: &Arc<Shared>) {
    let serving = (shared.serve)(Accepted {
        socket,
        tls: live.tls.load_full(),
        listener: live.terms.load_full(),
        crowd: live.crowd.clone(),
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
