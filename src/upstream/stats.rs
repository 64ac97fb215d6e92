//! Counters of one server's connections: atomics that the exchanges move and a scrape reads.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::error::UpstreamErrorKind;
use super::health::Health;

/// Figures of one upstream at the moment of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStats {
    /// One a server, in the order of the settings.
    pub servers: Vec<ServerStats>,
    /// State of the circuit breaker: `closed`, `open` or `trial`; `None`: there is none.
    pub breaker: Option<&'static str>,
    /// Retries not made because the budget was used up.
    pub retries_denied: u64,
}

/// How one of the addresses behind a name does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressStats {
    /// The address.
    pub address: SocketAddr,
    /// `up`, `rising`, `ejected` or `down`.
    pub state: &'static str,
    /// Times it was ejected since it is known.
    pub ejections: u64,
}

/// Figures of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStats {
    /// `host:port` of the server, a default port left out.
    pub server: String,
    /// The addresses its name stands for; none where it has no name.
    pub addresses: Vec<AddressStats>,
    /// Open connections: in use, idle and tunnelled.
    pub open: usize,
    /// Open connections that no exchange uses.
    pub idle: usize,
    /// Requests that wait for a connection to become free.
    pub waiting: usize,
    /// Connections opened since the start.
    pub connects: u64,
    /// Exchanges that began on a connection used before.
    pub reuses: u64,
    /// Requests sent a second time because a reused connection had been closed.
    pub repeats: u64,
    /// Requests sent to another server because this one had failed.
    pub retries: u64,
    /// Requests sent to this server as well because another was slow.
    pub hedges: u64,
    /// Exchanges under way.
    pub in_flight: usize,
    /// `up`, `rising`, `ejected`, `down` or `drained`.
    pub state: &'static str,
    /// Times it was ejected since the start.
    pub ejections: u64,
    /// Health checks that came out well, and that did not.
    pub checks: (u64, u64),
    /// Failures by kind, those that have occurred only.
    pub errors: Vec<(UpstreamErrorKind, u64)>,
}

/// The live counters behind [`ServerStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) open: AtomicUsize,
    pub(super) waiting: AtomicUsize,
    pub(super) connects: AtomicU64,
    pub(super) reuses: AtomicU64,
    pub(super) repeats: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) hedges: AtomicU64,
    good_checks: AtomicU64,
    bad_checks: AtomicU64,
    errors: [AtomicU64; UpstreamErrorKind::ALL.len()],
}

impl Counters {
    /// Counts a failure.
    pub(super) fn failed(&self, kind: UpstreamErrorKind) {
        self.errors[kind as usize].fetch_add(1, Relaxed);
    }

    /// Counts a health check.
    pub(super) fn checked(&self, good: bool) {
        if good { &self.good_checks } else { &self.bad_checks }.fetch_add(1, Relaxed);
    }

    /// Reads them all.
    pub(super) fn read(&self, server: String, idle: usize, in_flight: usize, health: &Health) -> ServerStats {
        let errors = UpstreamErrorKind::ALL.into_iter().map(|kind| (kind, self.errors[kind as usize].load(Relaxed)));
        ServerStats {
            server,
            addresses: Vec::new(),
            open: self.open.load(Relaxed),
            idle,
            waiting: self.waiting.load(Relaxed),
            connects: self.connects.load(Relaxed),
            reuses: self.reuses.load(Relaxed),
            repeats: self.repeats.load(Relaxed),
            retries: self.retries.load(Relaxed),
            hedges: self.hedges.load(Relaxed),
            in_flight,
            state: health.word(),
            ejections: health.ejections(),
            checks: (self.good_checks.load(Relaxed), self.bad_checks.load(Relaxed)),
            errors: errors.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

/// One more of something for as long as it lives.
#[derive(Debug)]
pub(super) struct Held<'a>(&'a AtomicUsize);

impl<'a> Held<'a> {
    pub(super) fn of(gauge: &'a AtomicUsize) -> Self {
        gauge.fetch_add(1, Relaxed);
        Held(gauge)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
