//! Settings of upstreams: their servers, how one is chosen, and what is made of servers that fail.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use regex::Regex;

/// A named group of servers.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// The name that routes, metrics and logs use.
    pub name: String,
    /// Its servers, at least one.
    pub servers: Vec<UpstreamServer>,
    /// How a server is chosen.
    pub balance: Balance,
    /// What `Balance::Hash` hashes.
    pub hash_by: HashBy,
    /// Deadlines towards its servers; a route may replace them.
    pub timeouts: UpstreamTimeouts,
    /// Most connections to one server, idle ones included.
    pub max_connections: usize,
    /// Most idle connections kept to one server.
    pub max_idle: usize,
    /// An idle connection is closed after this long.
    pub idle_timeout: Duration,
    /// A connection older than this takes no further exchange.
    pub max_age: Duration,
    /// Longest wait for a connection when `max_connections` are in use.
    pub queue_timeout: Duration,
    /// What is sent as Host.
    pub host: UpstreamHost,
    /// Protocol spoken to its servers.
    pub protocol: UpstreamProtocol,
    /// Extra PEM file of certificate authorities for https servers; the system's store otherwise.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the certificate shown to https servers that ask for one, and of its key.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Name asked for and verified instead of the server's own.
    pub sni: Option<String>,
    /// Whoever answers is believed.
    pub accept_any_certificate: bool,
    /// Longest TLS handshake; `None`: within the deadline for connecting.
    pub tls_timeout: Option<Duration>,
    /// How names of servers are looked up.
    pub dns: Dns,
    /// How servers are asked whether they are well.
    pub health: HealthCheck,
    /// When a server that fails requests is left out for a while.
    pub ejection: Ejection,
    /// When the upstream as a whole is left alone for a while.
    pub breaker: Breaker,
    /// When a request is sent again to another server.
    pub retries: Retries,
    /// A server that is back gets its full share only after this long; zero: at once.
    pub slow_start: Duration,
    /// When no server is available, ask them all the same.
    pub panic: bool,
    /// What clients get when no server can be reached; `None`: a line of text.
    pub maintenance: Option<Maintenance>,
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamServer {
    /// `https` or `http`.
    pub tls: bool,
    /// Host name or address, without brackets for IPv6.
    pub host: String,
    /// Port, the scheme's default filled in.
    pub port: u16,
    /// The socket's path, where the server listens on a Unix socket.
    pub unix: Option<PathBuf>,
    /// Its share of the requests compared with the others', 1 to 100.
    pub weight: u32,
    /// Servers of the lowest number that has any available get all requests; 0 unless it is a backup.
    pub priority: u32,
}

/// How the server of a request is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// One after another, by weight.
    #[default]
    RoundRobin,
    /// The one with the fewest exchanges under way for its weight.
    LeastConnections,
    /// The less loaded of two taken at random.
    PowerOfTwo,
    /// Always the same one for the same key, by weighted rendezvous hashing.
    Hash,
}

/// What requests are told apart by when servers are chosen by hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashBy {
    /// Host, path and query.
    #[default]
    Url,
    /// The client's address.
    Client,
    /// A request field; the client's address where there is none.
    Header(HeaderName),
    /// A cookie; the client's address where there is none.
    Cookie(String),
}

/// What Host an upstream receives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UpstreamHost {
    /// The client's: legacy apps build links from it.
    #[default]
    Client,
    /// The server's own host and port.
    Server,
    /// This one.
    Fixed(HeaderValue),
}

/// Protocol spoken to an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: by ALPN over https, prior knowledge over http. What gRPC needs.
    Http2,
    /// HTTP/2 where an https server offers it by ALPN, HTTP/1.1 else.
    Auto,
}

/// Deadlines towards an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    /// TCP (and TLS) connection set-up.
    pub connect: Duration,
    /// From the end of the request head to the first byte of the response head.
    pub first_byte: Duration,
    /// Longest pause within a body, either way.
    pub idle: Duration,
    /// From the request to the last byte of the response; `None`: no bound.
    pub total: Option<Duration>,
}

/// How names of servers are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Whom to ask; empty: those of `/etc/resolv.conf`. `/etc/hosts` goes before.
    pub servers: Vec<SocketAddr>,
    /// Names are looked up no more often than this.
    pub min_ttl: Duration,
    /// And at least this often.
    pub max_ttl: Duration,
    /// Longest wait for an answer to one question.
    pub timeout: Duration,
}

/// Active health checks; without a path there are none.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// What is asked for by GET.
    pub path: Option<String>,
    /// Host that is sent; `None`: as for requests, the server's own where those get the client's.
    pub host: Option<HeaderValue>,
    /// Statuses of a server that is well.
    pub statuses: Vec<StatusRange>,
    /// What the body must have in it.
    pub body: Option<BodyPattern>,
    /// From one check to the next.
    pub interval: Duration,
    /// Longest time for a check, connection included.
    pub timeout: Duration,
    /// So many good checks in a row bring a server back.
    pub rise: u32,
    /// So many bad checks in a row take it out.
    pub fall: u32,
}

/// Statuses from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange(pub u16, pub u16);

/// What a body must have in it.
#[derive(Clone, Debug)]
pub enum BodyPattern {
    /// This text.
    Contains(String),
    /// A match of this.
    Matches(Regex),
}

/// Passive ejection: what requests meet takes a server out for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row that eject; 0: never.
    pub failures: u32,
    /// Statuses that count as failures beside connections that fail.
    pub statuses: Vec<StatusRange>,
    /// How long the first ejection lasts; each further one in a row twice as long.
    pub time: Duration,
    /// How long one lasts at most.
    pub max_time: Duration,
    /// Most servers ejected at once, in percent of all, rounded down.
    pub max_share: u32,
}

/// The circuit breaker of an upstream as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Whether there is one.
    pub enabled: bool,
    /// Share of failures within the window that opens it, in percent.
    pub failure_percent: u32,
    /// Fewer requests within the window tell nothing.
    pub min_requests: u32,
    /// The window.
    pub window: Duration,
    /// How long it stays open before one request tries.
    pub open: Duration,
}

/// Retries on another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Most per request; 0: none.
    pub attempts: u32,
    /// Most in all, in percent of the requests of the last ten seconds, beside ten that are always there.
    pub budget: u32,
    /// What is retried.
    pub on: Vec<RetryOn>,
    /// Statuses that are retried.
    pub statuses: Vec<StatusRange>,
    /// A safe request without a body is sent to another server as well when the first one has been silent for so long;
    /// `None`: never.
    pub hedge_after: Option<Duration>,
}

/// A failure after which a request may be sent to another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// The server closed the connection, or its answer is no HTTP, before a response head.
    Reset,
    /// No response head came in time.
    Timeout,
}

/// Which requests of a route may be sent again to another server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteRetry {
    /// Those of idempotent methods (RFC 9110 §9.2.2).
    #[default]
    Idempotent,
    /// Those of any method: the app bears twice what it gets twice.
    All,
    /// None.
    Never,
}

/// What clients get when no server can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// Its status.
    pub status: StatusCode,
    /// Where its content is read from, at the start and at each reload.
    pub file: Option<PathBuf>,
    /// Its content where there is no file, or none that can be read.
    pub body: Option<String>,
    /// Its Content-Type.
    pub content_type: HeaderValue,
    /// Its Retry-After.
    pub retry_after: Duration,
}

impl UpstreamServer {
    /// A server of usual weight.
    pub fn new(tls: bool, host: impl Into<String>, port: u16) -> Self {
        UpstreamServer { tls, host: host.into(), port, unix: None, weight: 1, priority: 0 }
    }

    /// A server on a Unix socket, of usual weight.
    pub fn on_socket(path: impl Into<PathBuf>) -> Self {
        UpstreamServer { unix: Some(path.into()), ..UpstreamServer::new(false, "localhost", 80) }
    }

    /// What it is called in metrics and by operators: `host:port`, or `unix:/path`.
    pub fn name(&self) -> String {
        if self.unix.is_some() { self.url() } else { self.authority() }
    }

    /// `host:port` as it stands in a Host field, brackets around IPv6, default ports left out.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let default = if self.tls { 443 } else { 80 };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }

    /// Its URL, as it stands in the file.
    pub fn url(&self) -> String {
        match &self.unix {
            Some(path) => format!("unix:{}", path.display()),
            None => format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority()),
        }
    }
}

impl StatusRange {
    /// Whether a status lies within.
    pub fn has(self, status: StatusCode) -> bool {
        (self.0..=self.1).contains(&status.as_u16())
    }
}

impl BodyPattern {
    /// Whether a body has it.
    pub fn is_in(&self, body: &str) -> bool {
        match self {
            BodyPattern::Contains(text) => body.contains(text.as_str()),
            BodyPattern::Matches(regex) => regex.is_match(body),
        }
    }
}

impl PartialEq for BodyPattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (BodyPattern::Contains(one), BodyPattern::Contains(other)) => one == other,
            (BodyPattern::Matches(one), BodyPattern::Matches(other)) => one.as_str() == other.as_str(),
            _ => false,
        }
    }
}
