//! The settings the program runs with: parsed, compiled and cross-checked once, so that nothing downstream
//! validates again. One immutable value a reload swaps whole.

mod control;
mod devices;
mod guards;
mod invalidation;
mod listener;
mod private;
pub mod redis;
mod rewrite;
mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use globset::GlobMatcher;
use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use regex::Regex;

pub use control::{Control, Scope, ScopedToken};
pub use devices::{DeviceClass, Devices};
pub use guards::{Access, BasicAuth, Concurrency, ForwardAuth, RateKey, RateLimit, RouteLimits};
pub use invalidation::{Invalidation, Piece, PurgeMethod, Template};
pub use listener::{CertificateFiles, ClientCertificates, ListenAddress, Listener, ListenerLimits, ListenerTls};
pub use private::PrivateCache;

use super::diagnostics::Diagnostic;
use crate::policy::rules::{CacheRules, KeyRules};
use crate::policy::tags::TagRules;
pub use rewrite::{Redirect, Rewrite};
pub use upstream::{
    Balance, BodyPattern, Breaker, Dns, Ejection, HashBy, HealthCheck, Maintenance, Retries, RetryOn, RouteRetry,
    StatusRange, Upstream, UpstreamHost, UpstreamProtocol, UpstreamServer, UpstreamTimeouts,
};

/// Everything that a configuration file and the command line say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients connect. At least one.
    pub listeners: Vec<Listener>,
    /// Where `/metrics`, `/healthz` and `/readyz` are served; `None`: not at all.
    pub metrics: Option<SocketAddr>,
    /// Whether nobody asked for that address: a second larder on the machine then does without, instead of failing.
    pub metrics_assumed: bool,
    /// The control API; `None`: not at all.
    pub control: Option<Control>,
    /// The method PURGE on the listeners of clients; `None`: it is a method like any other.
    pub purge_method: Option<PurgeMethod>,
    /// Named upstreams, in the file's order. Routes refer to them by index.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Routes in order; the first match wins. A request that matches none is answered 404.
    pub routes: Vec<Arc<Route>>,
    /// Static-file classes in order; the first whose extension and Content-Type both match wins.
    pub static_classes: Vec<Arc<StaticClass>>,
    /// Classes of devices.
    pub devices: Arc<Devices>,
    /// The memory tier.
    pub memory: MemoryTier,
    /// The disk tier, if any.
    pub disk: Option<DiskTier>,
    /// Redis, which several larders share.
    pub redis: redis::Redis,
    /// Tags by which responses are purged together.
    pub tags: TagRules,
    /// Bounds of what is accepted from clients.
    pub limits: Limits,
    /// Deadlines of the client side.
    pub client_timeouts: ClientTimeouts,
    /// Peers whose X-Forwarded-* and Forwarded fields are believed. Empty by default.
    pub trusted_proxies: Vec<IpNet>,
    /// Clients that may use request directives that force a forward, and the debug header. Loopback by default.
    pub trusted_clients: Vec<IpNet>,
    /// How caching is turned off for debugging.
    pub debug: Debug,
    /// Access log.
    pub access_log: AccessLog,
    /// Filter of the diagnostic log, in `tracing_subscriber::EnvFilter` syntax, e.g. `info`.
    pub log_level: String,
    /// Longest time that requests in flight get to finish on SIGTERM, or when their listener is removed.
    pub shutdown_grace: Duration,
    /// Worker threads; 0: one a core.
    pub workers: usize,
    /// What is hardly meant, such as what has no effect.
    pub warnings: Vec<Diagnostic>,
}

/// A route: what it matches and what then happens.
#[derive(Clone, Debug)]
pub struct Route {
    /// Name in metrics, logs and explanations.
    pub name: String,
    /// What it matches; all given conditions must hold.
    pub matches: RouteMatch,
    /// Index into [`Settings::upstreams`].
    pub upstream: usize,
    /// Whether its responses are cached at all.
    pub cache_enabled: bool,
    /// Cache rules.
    pub cache: CacheRules,
    /// Private caching for each session; `None`: none.
    pub private: Option<Arc<PrivateCache>>,
    /// Methods whose responses are looked up and stored: GET and HEAD, or fewer.
    pub cache_methods: Vec<Method>,
    /// Cache key additions and removals.
    pub key: KeyRules,
    /// Classes of devices, where one is part of the key.
    pub devices: Option<Arc<Devices>>,
    /// Whether static-file classes apply.
    pub static_files: bool,
    /// Compression; `None`: off.
    pub compression: Option<Compression>,
    /// Edits of request fields before forwarding, in order.
    pub request_headers: Vec<HeaderEdit>,
    /// Edits of response fields before the client, in order.
    pub response_headers: Vec<HeaderEdit>,
    /// Deadlines instead of the upstream's.
    pub timeouts: Option<UpstreamTimeouts>,
    /// Which requests may be sent again when a server fails.
    pub retry: RouteRetry,
    /// What changes between the client's URL and the upstream's; `None`: nothing.
    pub rewrite: Option<Rewrite>,
    /// Requests are answered by a redirect.
    pub redirect: Option<Redirect>,
    /// Largest request body, in bytes.
    pub max_request_body: u64,
    /// Bytes of a request body that are held before the upstream is asked; 0: it is streamed from the start.
    pub buffer_request: usize,
    /// How much clients may.
    pub limits: RouteLimits,
    /// Who may.
    pub access: Access,
    /// What unsafe requests purge beside their own URL.
    pub invalidate: Vec<Invalidation>,
}

/// Conditions of a route. Empty lists match everything; all given must hold.
#[derive(Clone, Debug, Default)]
pub struct RouteMatch {
    /// Host without port, exact or wildcard.
    pub hosts: Vec<HostPattern>,
    /// Path patterns; one must match.
    pub paths: Vec<PathPattern>,
    /// Methods; one must match.
    pub methods: Vec<Method>,
    /// Request fields; all must match.
    pub headers: Vec<ValueMatch<HeaderName>>,
    /// Query parameters; all must match.
    pub query: Vec<ValueMatch<String>>,
    /// Names of cookies that must all be present.
    pub cookies: Vec<String>,
}

/// A host pattern, compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This host, lower case.
    Exact(String),
    /// `*.example.org`: any host that ends in `.example.org` (stored with the leading dot, lower case).
    Suffix(String),
}

/// A path pattern, compared with the path as received, without the query.
#[derive(Clone, Debug)]
pub enum PathPattern {
    /// `path = "= /exact"`: this path alone.
    Exact(String),
    /// `path = "/prefix/"`: paths that begin so.
    Prefix(String),
    /// `path = "/a/**/*.html"`: a glob, `*` within a segment and `**` across.
    Glob(GlobMatcher),
    /// `path = "~ ^/v[0-9]+/"`: a regular expression.
    Regex(Regex),
}

/// A named thing that must be present, or have a value.
#[derive(Clone, Debug)]
pub struct ValueMatch<N> {
    /// Its name.
    pub name: N,
    /// What the value must be.
    pub value: ValuePattern,
}

/// What a value must be.
#[derive(Clone, Debug)]
pub enum ValuePattern {
    /// Anything, but present.
    Present,
    /// Exactly this.
    Exact(String),
    /// A match of this.
    Regex(Regex),
}

/// One edit of header fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderEdit {
    /// Replace all fields of that name by this one.
    Set(HeaderName, HeaderValue),
    /// Add a further field.
    Add(HeaderName, HeaderValue),
    /// Add only when there is none of that name.
    Default(HeaderName, HeaderValue),
    /// Remove all of that name.
    Remove(HeaderName),
}

/// Content codings that larder applies itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Codings offered, most preferred first among equal q-values.
    pub codings: Vec<CompressionCoding>,
    /// Bodies smaller than this many bytes are left alone.
    pub min_size: u64,
    /// Media types that are compressed: `type/subtype`, `type/*` or `*+suffix`, lower case.
    pub types: Vec<String>,
}

/// A coding with its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionCoding {
    /// Which coding.
    pub coding: Coding,
    /// Level in the coding's own scale: gzip 1..=9, br 0..=11, zstd 1..=19.
    pub level: i32,
}

/// Content codings larder can apply (RFC 9110 §8.4.1, RFC 7932, RFC 8878).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Coding {
    /// `gzip`
    Gzip,
    /// `br`
    Brotli,
    /// `zstd`
    Zstd,
}

/// Files that deserve long freshness: recognised by extension AND Content-Type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticClass {
    /// Name, e.g. `fonts`.
    pub name: String,
    /// File extensions, lower case, without dot.
    pub extensions: Vec<String>,
    /// Media types: `type/subtype` or `type/*`, lower case.
    pub types: Vec<String>,
    /// Freshness lifetime given to browsers and to the cache.
    pub max_age: Duration,
    /// Freshness lifetime for versioned URLs (content hash in the name, `?v=`), sent with `immutable`; `None`:
    /// versioned URLs are nothing special.
    pub versioned_max_age: Option<Duration>,
    /// Replace a Cache-Control that the upstream sent.
    pub override_upstream: bool,
    /// Applies to requests with cookies too. False where apps keep files of one person behind a session: then the
    /// answer to a request with a cookie is nobody else's unless the upstream says so.
    pub with_cookies: bool,
}

/// The memory tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryTier {
    /// Budget in bytes for stored responses: keys, fields, bodies and overhead, fills in progress included.
    pub size: u64,
    /// Longest time a request waits for another's fetch of the same key (collapsing).
    pub collapse_wait: Duration,
    /// How long a key whose answer proved uncacheable is not collapsed again.
    pub uncacheable_memory: Duration,
}

/// The disk tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskTier {
    /// Its directory, which no other larder uses.
    pub path: PathBuf,
    /// Budget in bytes for the files.
    pub size: u64,
    /// Largest body stored, in bytes.
    pub max_object: u64,
    /// Bodies larger than this, in bytes, are on disk alone; others are in memory as well.
    pub memory_object: u64,
}

/// Bounds of what is accepted from clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head.
    pub head: usize,
    /// Bytes of one field line.
    pub field: usize,
    /// Number of fields.
    pub fields: usize,
    /// Bytes of a request target.
    pub uri: usize,
    /// Open client connections; further ones wait in the kernel's backlog.
    pub connections: usize,
    /// HTTP/2 streams a connection.
    pub http2_streams: u32,
    /// Ranges in one Range field; more: the field is ignored.
    pub ranges: usize,
}

/// Deadlines of the client side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// From the first byte to the end of a request head (and for the TLS handshake).
    pub header: Duration,
    /// Longest pause within a request body or while the client takes no bytes of a response.
    pub idle: Duration,
    /// An idle connection is closed after this long.
    pub keep_alive: Duration,
}

/// How caching is turned off for debugging.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Debug {
    /// Turns the cache off for everybody.
    pub bypass_all: bool,
    /// A request with this field, from a trusted client, bypasses the cache.
    pub bypass_header: Option<HeaderName>,
}

/// Where and how requests are logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Where to.
    pub target: LogTarget,
    /// In which format.
    pub format: LogFormat,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to a file, reopened on SIGHUP.
    File(PathBuf),
}

/// Format of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// The combined format, with the cache outcome appended.
    Combined,
}

impl Coding {
    /// The token used in Accept-Encoding and Content-Encoding.
    pub const fn token(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
        }
    }
}
