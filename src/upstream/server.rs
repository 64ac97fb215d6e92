//! One server of an upstream: who may connect, on which connection an exchange runs, what is kept for the next.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Poll, Waker, ready};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use xxhash_rust::xxh3::xxh3_64;

use super::connect::{self, Opened};
use super::error::{PoolError, UpstreamError, UpstreamErrorKind};
use super::health::{Health, Peers};
use super::http1::{self, IdleStack, Put};
use super::http2::{self, SharedConnections};
use super::lease::Lease;
use super::names::Names;
use super::socket::Socket;
use super::stats::{Counters, Held, ServerStats};
use super::tls::{Connectors, ServerTls};
use crate::config::settings::{Upstream, UpstreamProtocol, UpstreamServer};

/// A server with its connections.
pub(super) struct Server {
    address: UpstreamServer,
    /// What its name stands for; `None`: it has none.
    names: Option<Arc<Names>>,
    tls: Option<ServerTls>,
    /// Whether it did not agree to HTTP/2 when it was last offered.
    speaks_http1: AtomicBool,
    /// One permit an exchange. An idle connection holds none, and a connection is opened only with a permit in hand
    /// and none idle (or in the room of an idle one), so that there are never more connections than permits.
    places: Arc<Semaphore>,
    most_places: usize,
    queue_timeout: Duration,
    max_age: Duration,
    connections: Connections,
    /// Whether a task sweeps them.
    swept: AtomicBool,
    counters: Arc<Counters>,
    health: Health,
    /// Tells it from other servers, the same in every process.
    id: u64,
}

/// What is kept between exchanges: of one kind, or where the server decides (ALPN), of both.
struct Connections {
    http1: Option<IdleStack>,
    http2: Option<SharedConnections>,
}

/// What an exchange wants of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Longest time to open one.
    pub(super) connect_timeout: Duration,
    /// One not used before.
    pub(super) fresh: bool,
    /// One of HTTP/1.1: HTTP/2 knows no switching of protocols.
    pub(super) http1: bool,
}

impl Server {
    /// A server without connections.
    pub(super) fn new(
        settings: &Upstream,
        address: &UpstreamServer,
        connectors: Option<&Connectors>,
        peers: &Arc<Peers>,
    ) -> Result<Arc<Self>, PoolError> {
        let connectors = connectors.filter(|_| address.tls);
        let tls = connectors.map(|connectors| ServerTls::new(connectors, settings, address)).transpose()?;
        let stack = || IdleStack::new(settings.max_idle, settings.idle_timeout);
        let shared = || SharedConnections::new(settings.max_connections, settings.idle_timeout);
        let (places, connections) = match settings.protocol {
            UpstreamProtocol::Http1 => (settings.max_connections, Connections { http1: Some(stack()), http2: None }),
            UpstreamProtocol::Http2 => {
                let places = settings.max_connections.saturating_mul(http2::STREAMS);
                (places, Connections { http1: None, http2: Some(shared()) })
            }
            UpstreamProtocol::Auto => {
                // Each exchange might need a connection of its own.
                let http2 = address.tls.then(shared);
                (settings.max_connections, Connections { http1: Some(stack()), http2 })
            }
        };
        let places = places.min(Semaphore::MAX_PERMITS);
        Ok(Arc::new(Server {
            address: address.clone(),
            names: Names::of(settings, address).map(Arc::new),
            tls,
            speaks_http1: AtomicBool::new(false),
            places: Arc::new(Semaphore::new(places)),
            most_places: places,
            queue_timeout: settings.queue_timeout,
            max_age: settings.max_age,
            connections,
            swept: AtomicBool::new(false),
            counters: Arc::default(),
            health: Health::new(settings, address.name(), peers.clone()),
            id: xxh3_64(address.url().as_bytes()),
        }))
    }

    /// Its address.
    pub(super) fn address(&self) -> &UpstreamServer {
        &self.address
    }

    /// The name of it in metrics and for operators.
    pub(super) fn name(&self) -> String {
        self.address.name()
    }

    /// Its counters.
    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What its name stands for; `None`: it has none.
    pub(super) fn names(&self) -> Option<&Arc<Names>> {
        self.names.as_ref()
    }

    /// Its health.
    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Tells it from other servers, the same in every process.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Exchanges under way.
    pub(super) fn in_flight(&self) -> usize {
        self.most_places - self.places.available_permits()
    }

    /// A byte stream to it, or to just that address of it, outside of its connections; and whether it agreed to HTTP/2
    /// by ALPN.
    pub(super) async fn open(
        &self,
        peer: Option<SocketAddr>,
        deadline: Instant,
    ) -> Result<(Socket, bool), UpstreamError> {
        let opened = match peer {
            None => self.connect(None, false, deadline).await?,
            Some(peer) => {
                let only = UpstreamServer { host: peer.ip().to_string(), port: peer.port(), ..self.address.clone() };
                connect::open(&only, None, None, self.tls.as_ref(), false, deadline).await?
            }
        };
        Ok((Socket::new(opened.stream, Arc::default()), opened.http2))
    }

    /// Takes it out for as long as an operator wants, or back in.
    pub(super) fn set_drained(&self, drained: bool) {
        self.health.set_drained(drained);
        if drained {
            self.retain(|_| false);
        }
    }

    /// A place, when one is free and nobody waits for it.
    pub(super) fn try_place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// A place, when the queue gets that far in time. First come, first served.
    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, UpstreamError> {
        let _waiting = Held::of(&self.counters.waiting);
        match timeout(self.queue_timeout, self.places.clone().acquire_owned()).await {
            Ok(place) => Ok(place.expect("the semaphore is never closed")),
            Err(_) => Err(self.failed(UpstreamError::new(UpstreamErrorKind::QueueTimeout))),
        }
    }

    /// A connection for one exchange: one used before unless a fresh one is wanted, else a new one.
    pub(super) async fn lease(
        self: &Arc<Self>,
        place: OwnedSemaphorePermit,
        wanted: Wanted,
    ) -> Result<Lease, UpstreamError> {
        let Connections { http1, http2 } = &self.connections;
        // A name with several addresses: each gets its turn.
        let peer = self.names.as_ref().and_then(|names| names.next());
        let lease = match (http1, http2) {
            (Some(idle), None) => self.lease_http1(idle, peer, place, wanted).await,
            (Some(idle), _) if wanted.http1 => self.lease_http1(idle, peer, place, wanted).await,
            (idle, Some(shared)) => Box::pin(self.lease_http2(shared, idle.as_ref(), peer, place, wanted)).await,
            (None, None) => Err(UpstreamError::new(UpstreamErrorKind::NoServer)),
        };
        let lease = lease.map_err(|error| self.failed(error))?;
        if lease.reused() {
            self.counters.reuses.fetch_add(1, Relaxed);
        }
        Ok(lease)
    }

    async fn lease_http1(
        self: &Arc<Self>,
        idle: &IdleStack,
        peer: Option<SocketAddr>,
        place: OwnedSemaphorePermit,
        wanted: Wanted,
    ) -> Result<Lease, UpstreamError> {
        if wanted.fresh {
            // The new connection takes the room of an idle one, which the server has likely closed as well.
            idle.close_oldest();
        } else if let Some(connection) = idle.take(peer) {
            return Ok(Lease::http1(self.clone(), connection, place, true));
        } else if peer.is_some() && self.counters.open.load(Relaxed) >= self.most_places {
            // Those that are idle lead to other addresses: one of them makes room.
            idle.close_oldest();
        }
        // Boxed: a request seldom connects, and all of its way would hold and move the room for it (6,000 instructions).
        let opened = Box::pin(self.connect(peer, wanted.http1, Instant::now() + wanted.connect_timeout)).await?;
        let retires = Instant::now() + self.max_age;
        let socket = Socket::new(opened.stream, self.counters.clone());
        let connection = Box::new(http1::Connection::new(socket, opened.peer, retires));
        Ok(Lease::http1(self.clone(), connection, place, false))
    }

    /// `idle` where the server may decide for HTTP/1.1.
    async fn lease_http2(
        self: &Arc<Self>,
        shared: &SharedConnections,
        idle: Option<&IdleStack>,
        peer: Option<SocketAddr>,
        place: OwnedSemaphorePermit,
        wanted: Wanted,
    ) -> Result<Lease, UpstreamError> {
        let place = match shared.take(peer, place) {
            Ok(stream) => return Ok(Lease::http2(self.clone(), stream, true)),
            Err(place) => place,
        };
        if let Some(idle) = idle {
            if wanted.fresh {
                idle.close_oldest();
            } else if let Some(connection) = idle.take(peer) {
                return Ok(Lease::http1(self.clone(), connection, place, true));
            }
        }
        let deadline = Instant::now() + wanted.connect_timeout;
        let too_late = |_| UpstreamError::new(UpstreamErrorKind::ConnectTimeout);
        // A server that has been seen to speak HTTP/1.1 alone is connected to side by side.
        let opening = match idle {
            Some(_) if self.speaks_http1.load(Relaxed) => None,
            _ => Some(timeout_at(deadline, shared.opening.lock()).await.map_err(too_late)?),
        };
        let place = match shared.take(peer, place) {
            Ok(stream) => return Ok(Lease::http2(self.clone(), stream, true)),
            Err(place) => place,
        };
        let opened = Box::pin(self.connect(peer, false, deadline)).await?;
        let retires = Instant::now() + self.max_age;
        if idle.is_some() {
            self.speaks_http1.store(!opened.http2, Relaxed);
            if !opened.http2 {
                drop(opening);
                let socket = Socket::new(opened.stream, self.counters.clone());
                let connection = Box::new(http1::Connection::new(socket, opened.peer, retires));
                return Ok(Lease::http1(self.clone(), connection, place, false));
            }
        }
        let start = http2::start(opened.stream, opened.peer, self.counters.clone(), retires);
        let connection = timeout_at(deadline, start).await.map_err(too_late)??;
        let stream = shared.add(connection, place);
        self.sweep_later();
        Ok(Lease::http2(self.clone(), stream, false))
    }

    async fn connect(
        &self,
        peer: Option<SocketAddr>,
        http1_only: bool,
        deadline: Instant,
    ) -> Result<Opened, UpstreamError> {
        connect::open(&self.address, self.names.as_deref(), peer, self.tls.as_ref(), http1_only, deadline).await
    }

    /// Keeps a connection for the next exchange, or closes it.
    pub(super) fn keep(self: &Arc<Self>, connection: Box<http1::Connection>) {
        let Some(idle) = &self.connections.http1 else { return };
        let vanished = |peer| self.names.as_ref().is_some_and(|names| !names.has(peer));
        if self.health.is_drained() || connection.peer().is_some_and(vanished) {
            return;
        }
        if let Put::Kept = idle.put(connection) {
            self.sweep_later();
        }
    }

    /// Closes idle connections in time, for as long as there are any; called when there is one more. One task does so,
    /// which does not keep the server alive: after a reload the pool goes at once, and its idle connections with it.
    fn sweep_later(self: &Arc<Self>) {
        // Read first: of those that call, hardly any is the one that changes it.
        if self.swept.load(Relaxed) || self.swept.swap(true, Relaxed) {
            return;
        }
        let server = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut timer = pin!(sleep_until(Instant::now()));
            // Woken by the timer, and by a connection that its server closes.
            poll_fn(|cx| {
                loop {
                    let Some(next) = server.upgrade().and_then(|server| server.sweep(cx.waker())) else {
                        return Poll::Ready(());
                    };
                    timer.as_mut().reset(next);
                    ready!(timer.as_mut().poll(cx));
                }
            })
            .await;
        });
    }

    /// When to sweep next. `None`: there is nothing, and whoever puts something there sees that it is not swept.
    fn sweep(&self, sweeper: &Waker) -> Option<Instant> {
        self.sweep_once(sweeper).or_else(|| {
            self.swept.store(false, Relaxed);
            // Something may have come after the look and before that. The lists' locks tell which was first.
            let next = self.sweep_once(sweeper)?;
            (!self.swept.swap(true, Relaxed)).then_some(next)
        })
    }

    fn sweep_once(&self, sweeper: &Waker) -> Option<Instant> {
        let Connections { http1, http2 } = &self.connections;
        let next =
            [http1.as_ref().and_then(|idle| idle.sweep(sweeper)), http2.as_ref().and_then(SharedConnections::sweep)];
        next.into_iter().flatten().min()
    }

    /// Closes connections to addresses that the name no longer stands for, once they are idle.
    pub(super) fn forget_vanished(&self) {
        if let Some(names) = &self.names {
            self.retain(|peer| peer.is_none_or(|peer| names.has(peer)));
        }
    }

    fn retain(&self, keep: impl Fn(Option<SocketAddr>) -> bool + Copy) {
        let Connections { http1, http2 } = &self.connections;
        http1.iter().for_each(|idle| idle.retain(keep));
        http2.iter().for_each(|shared| shared.retain(keep));
    }

    /// Counts a failure on its way to the caller.
    pub(super) fn failed(&self, error: UpstreamError) -> UpstreamError {
        self.failed_at(None, error)
    }

    /// The same of an exchange with one of its addresses.
    pub(super) fn failed_at(&self, peer: Option<SocketAddr>, error: UpstreamError) -> UpstreamError {
        self.counters.failed(error.kind);
        if error.kind.is_servers_fault() {
            self.blame(peer);
        }
        error
    }

    /// An exchange failed by the server's fault: by that of one address, as long as there are others.
    pub(super) fn blame(&self, peer: Option<SocketAddr>) {
        if let (Some(names), Some(peer)) = (&self.names, peer) {
            let addresses = names.known();
            addresses.find(peer).inspect(|address| address.health.failed());
            if addresses.has_others_than(peer) {
                return;
            }
        }
        self.health.failed();
    }

    /// An exchange went well.
    pub(super) fn praise(&self, peer: Option<SocketAddr>) {
        if let (Some(names), Some(peer)) = (&self.names, peer) {
            names.known().find(peer).inspect(|address| address.health.succeeded());
        }
        self.health.succeeded();
    }

    /// Its figures.
    pub(super) fn stats(&self) -> ServerStats {
        let Connections { http1, http2 } = &self.connections;
        let idle = http1.as_ref().map_or(0, IdleStack::len) + http2.as_ref().map_or(0, SharedConnections::idle);
        let addresses = self.names.as_ref().map(|names| names.known().stats()).unwrap_or_default();
        ServerStats { addresses, ..self.counters.read(self.name(), idle, self.in_flight(), &self.health) }
    }
}
