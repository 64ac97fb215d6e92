//! The table `upstreams.NAME`.

use std::net::SocketAddr;

use http::HeaderValue;
use schemars::JsonSchema;
use serde::Deserialize;

use super::OneOrMany;
use crate::config::scalar::{Deadline, Span, Written};
use crate::config::settings::{BodyPattern, HashBy, StatusRange, UpstreamHost, UpstreamServer};
use crate::config::values::UrlPath;

/// A group of servers that answer alike.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["servers"]))]
pub(in crate::config) struct Upstream {
    /// Its servers: URLs `http://host:port`, `https://host:port` or `unix:/path`, or tables with more.
    #[schemars(length(min = 1))]
    pub(in crate::config) servers: Vec<Server>,
    /// How the server of a request is chosen. Default: round_robin.
    pub(in crate::config) balance: Option<Balance>,
    /// With `balance = "hash"`: `url`, `client`, `header NAME` or `cookie NAME`. Default: url.
    pub(in crate::config) hash_by: Option<Written<HashBy>>,
    /// Host that it receives: `client` (as the client sent it), `server` (its own) or a value. Default: client.
    pub(in crate::config) host: Option<Written<UpstreamHost>>,
    /// Protocol spoken to it. Default: http1.
    pub(in crate::config) protocol: Option<Protocol>,
    /// Longest time to connect. Default: 3s.
    pub(in crate::config) connect_timeout: Option<Written<Deadline>>,
    /// Longest TLS handshake. Default: what `connect_timeout` leaves.
    pub(in crate::config) tls_timeout: Option<Written<Deadline>>,
    /// Longest time from the end of the request head to the first byte of the response. Default: 30s.
    pub(in crate::config) first_byte_timeout: Option<Written<Deadline>>,
    /// Longest pause within a body, either way. Default: 30s.
    pub(in crate::config) idle_timeout: Option<Written<Deadline>>,
    /// Longest time from the request to the last byte of the response. Default: no bound.
    pub(in crate::config) total_timeout: Option<Written<Deadline>>,
    /// Most connections to one server, idle ones included. Default: 256.
    #[schemars(range(min = 1))]
    pub(in crate::config) max_connections: Option<usize>,
    /// Most idle connections kept to one server. Default: 64.
    pub(in crate::config) max_idle: Option<usize>,
    /// An idle connection is closed after this long. Default: 4s.
    pub(in crate::config) idle_connection_timeout: Option<Written<Deadline>>,
    /// A connection older than this takes no further exchange. Default: 10m.
    pub(in crate::config) max_connection_age: Option<Written<Deadline>>,
    /// Longest wait for a connection when `max_connections` are in use. Default: 5s.
    pub(in crate::config) queue_timeout: Option<Written<Deadline>>,
    /// PEM file of certificate authorities trusted beside the system's. Default: none.
    pub(in crate::config) ca_file: Option<String>,
    /// PEM file of the certificate that is shown to https servers which ask for one. Default: none.
    pub(in crate::config) client_cert: Option<String>,
    /// PEM file of its key.
    pub(in crate::config) client_key: Option<String>,
    /// Name asked for and verified by TLS. Default: the server's own.
    pub(in crate::config) sni: Option<String>,
    /// Believe whoever answers, without verifying https servers. Default: false.
    pub(in crate::config) danger_accept_any_certificate: Option<bool>,
    /// How names of servers are looked up.
    pub(in crate::config) dns: Dns,
    /// A server that is back gets its full share only after this long. Default: 0.
    pub(in crate::config) slow_start: Option<Written<Span>>,
    /// Whether servers are asked all the same when none is available. Default: true.
    pub(in crate::config) panic: Option<bool>,
    /// How servers are asked whether they are well.
    pub(in crate::config) health: Health,
    /// When a server that fails requests is left out for a while.
    pub(in crate::config) ejection: Ejection,
    /// When the upstream as a whole is left alone for a while.
    pub(in crate::config) breaker: Breaker,
    /// When a request is sent again to another server.
    pub(in crate::config) retries: Retries,
    /// What clients get when no server can be reached. Default: a line of text.
    pub(in crate::config) maintenance: Option<Maintenance>,
}

/// A server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum Server {
    /// Its URL alone.
    Url(Written<UpstreamServer>),
    /// Its URL and more.
    Table(ServerTable),
}

/// A server with more than its URL.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["url"]))]
pub(in crate::config) struct ServerTable {
    /// `http://host:port`, `https://host:port` or `unix:/path`.
    pub(in crate::config) url: Option<Written<UpstreamServer>>,
    /// Its share of the requests compared with the others'. Default: 1.
    #[schemars(range(min = 1, max = 100))]
    pub(in crate::config) weight: Option<u32>,
    /// Gets requests only when no other server is available; the same as `priority = 1`. Default: false.
    pub(in crate::config) backup: Option<bool>,
    /// Servers of the lowest number that has any available get all requests. Default: 0.
    #[schemars(range(min = 0, max = 100))]
    pub(in crate::config) priority: Option<u32>,
}

/// How the server of a request is chosen.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Balance {
    /// One after another, by weight.
    RoundRobin,
    /// The one with the fewest exchanges under way for its weight.
    LeastConnections,
    /// The less loaded of two taken at random.
    P2c,
    /// Always the same one for the same `hash_by`.
    Hash,
}

/// Protocol spoken to an upstream.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; what gRPC needs.
    Http2,
    /// HTTP/2 where an https server offers it, HTTP/1.1 else.
    Auto,
}

/// How names of servers are looked up.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Dns {
    /// Whom to ask. Default: those of /etc/resolv.conf; /etc/hosts goes before.
    pub(in crate::config) servers: Option<Vec<Written<SocketAddr>>>,
    /// Names are looked up no more often than this. Default: 1s.
    pub(in crate::config) min_ttl: Option<Written<Deadline>>,
    /// Names are looked up at least this often. Default: 1m.
    pub(in crate::config) max_ttl: Option<Written<Deadline>>,
    /// Longest wait for an answer to one question. Default: 2s.
    pub(in crate::config) timeout: Option<Written<Deadline>>,
}

/// How servers are asked whether they are well.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Health {
    /// What is asked for by GET. Default: none, no checks.
    pub(in crate::config) path: Option<Written<UrlPath>>,
    /// Host that is sent. Default: that of requests, or the server's own where those get the client's.
    pub(in crate::config) host: Option<Written<HeaderValue>>,
    /// Statuses of a server that is well: `200`, `2xx` or `200-399`. Default: 200-399.
    pub(in crate::config) status: Option<OneOrMany<StatusRange>>,
    /// What the body must have in it: a text, or `~ regex`. Default: anything.
    pub(in crate::config) body: Option<Written<BodyPattern>>,
    /// From one check to the next. Default: 5s.
    pub(in crate::config) interval: Option<Written<Deadline>>,
    /// Longest time for a check. Default: 2s.
    pub(in crate::config) timeout: Option<Written<Deadline>>,
    /// So many good checks in a row bring a server back. Default: 2.
    #[schemars(range(min = 1, max = 100))]
    pub(in crate::config) rise: Option<u32>,
    /// So many bad checks in a row take it out. Default: 3.
    #[schemars(range(min = 1, max = 100))]
    pub(in crate::config) fall: Option<u32>,
}

/// When a server that fails requests is left out for a while.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Ejection {
    /// Failures in a row that eject; 0: never. Default: 5.
    #[schemars(range(min = 0, max = 10000))]
    pub(in crate::config) failures: Option<u32>,
    /// Statuses that count as failures beside connections that fail. Default: 502-504.
    pub(in crate::config) status: Option<Vec<Written<StatusRange>>>,
    /// How long the first ejection lasts; each further one in a row twice as long. Default: 10s.
    pub(in crate::config) time: Option<Written<Deadline>>,
    /// How long one lasts at most. Default: 5m.
    pub(in crate::config) max_time: Option<Written<Deadline>>,
    /// Most servers ejected at once, in percent of all, rounded down. Default: 50.
    #[schemars(range(min = 0, max = 100))]
    pub(in crate::config) max_share: Option<u32>,
}

/// When the upstream as a whole is left alone for a while.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Breaker {
    /// Whether there is a breaker. Default: false.
    pub(in crate::config) enabled: Option<bool>,
    /// Share of failures that opens it, in percent. Default: 50.
    #[schemars(range(min = 1, max = 100))]
    pub(in crate::config) failure_percent: Option<u32>,
    /// Fewer requests within `window` tell nothing. Default: 20.
    #[schemars(range(min = 1))]
    pub(in crate::config) min_requests: Option<u32>,
    /// The time over which failures are counted. Default: 10s.
    pub(in crate::config) window: Option<Written<Deadline>>,
    /// How long it stays open before one request tries. Default: 5s.
    pub(in crate::config) open: Option<Written<Deadline>>,
}

/// When a request is sent again to another server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Retries {
    /// Most for one request; 0: none. Default: 1.
    #[schemars(range(min = 0, max = 10))]
    pub(in crate::config) attempts: Option<u32>,
    /// Most for all, in percent of the requests of the last ten seconds, beside ten that are always there. Default: 20.
    #[schemars(range(min = 0, max = 100))]
    pub(in crate::config) budget: Option<u32>,
    /// What is retried. Default: reset.
    pub(in crate::config) on: Option<Vec<RetryOn>>,
    /// A safe request without a body is sent to another server as well when the first one has been silent for so long.
    /// Default: never.
    pub(in crate::config) hedge_after: Option<Written<Deadline>>,
    /// Statuses that are retried. Default: none.
    pub(in crate::config) status: Option<Vec<Written<StatusRange>>>,
}

/// A failure that is retried.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RetryOn {
    /// The server closed the connection, or its answer is no HTTP, before a response head.
    Reset,
    /// No response head came in time.
    Timeout,
}

/// Which requests of a route may be sent again.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RouteRetry {
    /// Those of idempotent methods.
    Idempotent,
    /// Those of any method: the app bears twice what it gets twice.
    All,
    /// None.
    Never,
}

/// What clients get when no server can be reached.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Maintenance {
    /// Its status. Default: 503.
    #[schemars(range(min = 400, max = 599))]
    pub(in crate::config) status: Option<u16>,
    /// Its content; beside `file`, what stands in where that can't be read.
    pub(in crate::config) body: Option<String>,
    /// File with its content.
    pub(in crate::config) file: Option<String>,
    /// Its Content-Type. Default: text/html; charset=utf-8.
    pub(in crate::config) content_type: Option<Written<HeaderValue>>,
    /// Its Retry-After, in whole seconds. Default: 30s.
    pub(in crate::config) retry_after: Option<Written<Span>>,
}
