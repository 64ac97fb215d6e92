//! One server of an upstream: who may connect, on which connection an exchange runs, what is kept for the next.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use xxhash_rust::xxh3::xxh3_64;

use super::connect;
use super::error::{PoolError, UpstreamError, UpstreamErrorKind};
use super::health::{Health, Peers};
use super::http1::{self, IdleStack, Put};
use super::http2::{self, SharedConnections};
use super::lease::Lease;
use super::socket::Socket;
use super::stats::{Counters, Held, ServerStats};
use super::tls::{self, ServerTls};
use crate::config::settings::{Upstream, UpstreamProtocol, UpstreamServer};

/// A server with its connections.
pub(super) struct Server {
    address: UpstreamServer,
    tls: Option<ServerTls>,
    /// One permit an exchange. An idle connection holds none, and a connection is opened only with a permit in hand
    /// and none idle (or in the room of an idle one), so that there are never more connections than permits.
    places: Arc<Semaphore>,
    most_places: usize,
    queue_timeout: Duration,
    max_age: Duration,
    connections: Connections,
    counters: Arc<Counters>,
    health: Health,
    /// Tells it from other servers, the same in every process.
    id: u64,
}

/// What is kept between exchanges.
enum Connections {
    Http1(IdleStack),
    Http2(SharedConnections),
}

impl Server {
    /// A server without connections.
    pub(super) fn new(
        settings: &Upstream,
        address: &UpstreamServer,
        connector: Option<&TlsConnector>,
        peers: &Arc<Peers>,
    ) -> Result<Arc<Self>, PoolError> {
        let tls = match connector {
            Some(connector) if address.tls => {
                let name = tls::server_name(settings, address)?;
                let required = (settings.protocol == UpstreamProtocol::Http2).then_some(b"h2".as_slice());
                Some(ServerTls { connector: connector.clone(), name, required })
            }
            _ => None,
        };
        let (places, connections) = match settings.protocol {
            UpstreamProtocol::Http1 => {
                let stack = IdleStack::new(settings.max_idle, settings.idle_timeout);
                (settings.max_connections, Connections::Http1(stack))
            }
            UpstreamProtocol::Http2 => {
                let shared = SharedConnections::new(settings.max_connections, settings.idle_timeout);
                (settings.max_connections.saturating_mul(http2::STREAMS), Connections::Http2(shared))
            }
        };
        let places = places.min(Semaphore::MAX_PERMITS);
        Ok(Arc::new(Server {
            address: address.clone(),
            tls,
            places: Arc::new(Semaphore::new(places)),
            most_places: places,
            queue_timeout: settings.queue_timeout,
            max_age: settings.max_age,
            connections,
            counters: Arc::default(),
            health: Health::new(settings, address.authority(), peers.clone()),
            id: xxh3_64(address.url().as_bytes()),
        }))
    }

    /// Its address.
    pub(super) fn address(&self) -> &UpstreamServer {
        &self.address
    }

    /// The name of it in metrics and for operators.
    pub(super) fn name(&self) -> String {
        self.address.authority()
    }

    /// Its counters.
    pub(super) fn counters(&self) -> &Counters {
        &self.counters
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

    /// A byte stream to it, outside of its connections.
    pub(super) async fn open(&self, deadline: Instant) -> Result<Socket, UpstreamError> {
        let stream = connect::open(&self.address, self.tls.as_ref(), deadline).await?;
        Ok(Socket::new(stream, Arc::default()).0)
    }

    /// Takes it out for as long as an operator wants, or back in.
    pub(super) fn set_drained(&self, drained: bool) {
        self.health.set_drained(drained);
        if drained {
            self.close_idle();
        }
    }

    fn close_idle(&self) {
        match &self.connections {
            Connections::Http1(idle) => idle.close_all(),
            Connections::Http2(shared) => shared.retire_all(),
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

    /// A connection for one exchange: one used before unless `fresh`, else a new one.
    pub(super) async fn lease(
        self: &Arc<Self>,
        place: OwnedSemaphorePermit,
        connect_timeout: Duration,
        fresh: bool,
    ) -> Result<Lease, UpstreamError> {
        let lease = match &self.connections {
            Connections::Http1(idle) => self.lease_http1(idle, place, connect_timeout, fresh).await,
            Connections::Http2(shared) => self.lease_http2(shared, place, connect_timeout).await,
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
        place: OwnedSemaphorePermit,
        connect_timeout: Duration,
        fresh: bool,
    ) -> Result<Lease, UpstreamError> {
        if fresh {
            // The new connection takes the room of an idle one, which the server has likely closed as well.
            idle.close_oldest();
        } else if let Some(connection) = idle.take().await {
            return Ok(Lease::http1(self.clone(), connection, place, true));
        }
        let stream = connect::open(&self.address, self.tls.as_ref(), Instant::now() + connect_timeout).await?;
        let connection = http1::start(stream, self.counters.clone(), Instant::now() + self.max_age).await?;
        Ok(Lease::http1(self.clone(), connection, place, false))
    }

    async fn lease_http2(
        self: &Arc<Self>,
        shared: &SharedConnections,
        place: OwnedSemaphorePermit,
        connect_timeout: Duration,
    ) -> Result<Lease, UpstreamError> {
        let place = match shared.take(place) {
            Ok(stream) => return Ok(Lease::http2(self.clone(), stream, true)),
            Err(place) => place,
        };
        let deadline = Instant::now() + connect_timeout;
        let too_late = |_| UpstreamError::new(UpstreamErrorKind::ConnectTimeout);
        let _opening = timeout_at(deadline, shared.opening.lock()).await.map_err(too_late)?;
        let place = match shared.take(place) {
            Ok(stream) => return Ok(Lease::http2(self.clone(), stream, true)),
            Err(place) => place,
        };
        let stream = connect::open(&self.address, self.tls.as_ref(), deadline).await?;
        let start = http2::start(stream, self.counters.clone(), Instant::now() + self.max_age);
        let connection = timeout_at(deadline, start).await.map_err(too_late)??;
        let (stream, unswept) = shared.add(connection, place);
        if unswept {
            self.sweep_later();
        }
        Ok(Lease::http2(self.clone(), stream, false))
    }

    /// Keeps a connection for the next exchange; false when it is closed instead.
    pub(super) fn keep(self: &Arc<Self>, connection: http1::Connection) -> bool {
        let Connections::Http1(idle) = &self.connections else { return false };
        if self.health.is_drained() {
            return false;
        }
        match idle.put(connection) {
            Put::Closed => false,
            Put::Kept { swept } => {
                if !swept {
                    self.sweep_later();
                }
                true
            }
        }
    }

    /// Closes idle connections in time, for as long as there are any. It does not keep the server alive: after a
    /// reload the pool goes at once, and its idle connections with it.
    fn sweep_later(self: &Arc<Self>) {
        let server = Arc::downgrade(self);
        let mut next = self.sweep();
        tokio::spawn(async move {
            while let Some(instant) = next {
                sleep_until(instant).await;
                next = server.upgrade().and_then(|server| server.sweep());
            }
        });
    }

    fn sweep(&self) -> Option<Instant> {
        match &self.connections {
            Connections::Http1(idle) => idle.sweep(),
            Connections::Http2(shared) => shared.sweep(),
        }
    }

    /// Counts a failure on its way to the caller.
    pub(super) fn failed(&self, error: UpstreamError) -> UpstreamError {
        self.counters.failed(error.kind);
        if error.kind.is_servers_fault() {
            self.health.failed();
        }
        error
    }

    /// Its figures.
    pub(super) fn stats(&self) -> ServerStats {
        let idle = match &self.connections {
            Connections::Http1(idle) => idle.len(),
            Connections::Http2(shared) => shared.idle(),
        };
        self.counters.read(self.name(), idle, self.in_flight(), &self.health)
    }
}
