//! Figures that other rooms own: read by the caller at the moment of a scrape and handed in as plain values.

pub mod redis;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// All figures that are pulled rather than recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Snapshot {
    /// The memory tier.
    pub cache: CacheFigures,
    /// The tiers below it, the nearest first.
    pub tiers: Vec<TierFigures>,
    /// Clients of Redis.
    pub redis: Vec<redis::RedisFigures>,
    /// The way of purges to other nodes, where there is one.
    pub purge_link: Option<redis::PurgeLinkFigures>,
    /// One element a server of an upstream.
    pub upstreams: Vec<UpstreamFigures>,
    /// One element an upstream.
    pub balancing: Vec<BalancingFigures>,
    /// Clients' connections.
    pub connections: ConnectionFigures,
    /// Reloads of the configuration.
    pub reload: ReloadFigures,
}

/// What the memory tier holds and did since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CacheFigures {
    /// Bytes held: keys, fields, bodies and overhead, fills in progress included.
    pub bytes: u64,
    /// Cache keys held, each with its variants.
    pub entries: u64,
    /// Most bytes it may hold.
    pub budget_bytes: u64,
    /// Cache keys evicted for room, each with its variants.
    pub evictions: u64,
    /// Stored responses purged by an operator or invalidated by a request.
    pub purged: u64,
    /// Sessions with a private cache.
    pub sessions: u64,
    /// Bytes that these hold.
    pub session_bytes: u64,
    /// Cache keys of sessions evicted for their bounds.
    pub session_evictions: u64,
    /// Fills under way now.
    pub fills_in_progress: u64,
    /// Requests that waited for another's fetch, whether or not it could answer them.
    pub joined: u64,
    /// Requests that were answered by another's fetch instead of their own.
    pub collapsed: u64,
}

/// What a tier below memory holds and did since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TierFigures {
    /// Which tier: `disk` or `redis`.
    pub tier: &'static str,
    /// How it is: `on`, or why not.
    pub state: &'static str,
    /// Bytes held, where it knows.
    pub bytes: u64,
    /// Most bytes it may hold; 0: it does not decide.
    pub budget_bytes: u64,
    /// Records held, where it knows.
    pub entries: u64,
    /// Look-ups that found something to use.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Microseconds that loading took in all.
    pub load_micros: u64,
    /// Records stored.
    pub stores: u64,
    /// Records removed for what replaced them, or because they were of no use.
    pub removals: u64,
    /// Records evicted for room.
    pub evictions: u64,
    /// Records that did not verify.
    pub damaged: u64,
    /// Operations that failed.
    pub errors: u64,
    /// Records not stored because too many waited.
    pub dropped: u64,
    /// Records waiting to be stored or removed.
    pub waiting: u64,
}

impl TierFigures {
    /// The state of a tier that is in use.
    pub const ON: &'static str = "on";
}

/// What an upstream as a whole does about failures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BalancingFigures {
    /// The upstream's name.
    pub upstream: String,
    /// State of its circuit breaker: `closed`, `open` or `trial`; none without a breaker.
    pub breaker: Option<&'static str>,
    /// Retries not made because the budget was used up.
    pub retries_denied: u64,
}

/// How one of the addresses behind a server's name does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AddressFigures {
    /// The address, as `ip:port`.
    pub address: String,
    /// `up`, `rising`, `ejected` or `down`.
    pub state: &'static str,
    /// Times it was ejected since it is known.
    pub ejections: u64,
}

/// Connections and faults of one server of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UpstreamFigures {
    /// The upstream's name.
    pub upstream: String,
    /// The server, as `host:port`.
    pub server: String,
    /// The addresses that its name stands for; none where it has no name.
    pub addresses: Vec<AddressFigures>,
    /// Connections with an exchange under way.
    pub active: u64,
    /// Connections kept open for the next exchange.
    pub idle: u64,
    /// Connections opened since the start.
    pub connects: u64,
    /// Exchanges begun since the start.
    pub requests: u64,
    /// Requests that wait for a connection now.
    pub waiting: u64,
    /// `up`, `rising`, `ejected`, `down` or `drained`.
    pub state: &'static str,
    /// Times it was ejected since the start.
    pub ejections: u64,
    /// Requests that it failed and that were sent to another server.
    pub retries: u64,
    /// Requests sent to it as well because another server was slow.
    pub hedges: u64,
    /// Requests sent once more because it had closed a connection kept open.
    pub repeats: u64,
    /// Health checks that came out well since the start.
    pub good_checks: u64,
    /// Health checks that did not.
    pub bad_checks: u64,
    /// Faults since the start, by kind.
    pub errors: BTreeMap<&'static str, u64>,
}

/// Clients' connections and what went wrong with them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ConnectionFigures {
    /// Open now.
    pub open: u64,
    /// Accepted since the start.
    pub total: u64,
    /// `accept` calls that failed.
    pub accept_errors: u64,
    /// TLS handshakes that failed.
    pub tls_errors: u64,
    /// HTTP/2 connections closed for what the client did.
    pub http2_errors: u64,
    /// Connections closed because the client was too slow.
    pub timeouts: u64,
    /// Whether the certificates in force are those of the files: not when these have become unusable.
    pub certificates_current: bool,
    /// The certificates in force.
    pub certificates: Vec<CertificateFigures>,
    /// Connections closed for what the client sent, or for a limit, by the word for it.
    pub refused: BTreeMap<&'static str, u64>,
}

/// A certificate that a listener shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CertificateFigures {
    /// The listener.
    pub listener: String,
    /// The certificate's file.
    pub certificate: String,
    /// Until when it is valid, in seconds since the Unix epoch.
    pub not_after: i64,
}

/// Reloads of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReloadFigures {
    /// Whether the last one (or the start) succeeded.
    pub last_successful: bool,
    /// When settings were last taken over, in seconds since the Unix epoch.
    pub last_success_seconds: i64,
    /// Reloads that succeeded.
    pub succeeded: u64,
    /// Reloads that were refused.
    pub failed: u64,
}
