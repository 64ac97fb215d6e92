//! The TOML file as it is written. What a comment here says is what editors show, by way of the JSON Schema.
//!
//! Nothing is required as far as these types go: what the file must have is in the schema (`required`), which the
//! check reads, so that one missing key does not keep the rest from being looked at.

mod control;
mod devices;
mod disk;
mod guards;
mod listener;
mod redis;
mod rewrite;
mod rules;
mod shapes;
mod tags;
mod upstreams;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

pub(super) use control::{Control, Scope, ScopedToken};
pub(super) use devices::{DeviceClass, Devices};
pub(super) use disk::Disk;
pub(super) use guards::{Access, RouteLimits};
pub(super) use listener::{ClientCertificate, Hsts, Listener, Tls};
pub(super) use redis::Redis;
pub(super) use rewrite::{Redirect, Rewrite};
pub(super) use rules::{
    CachedMethod, CookieRule, Cookies, Key, Private, Query, QueryRule, RequestDirectives, Rules, SetCookie,
    UpstreamSays,
};
pub(super) use shapes::{OneOrMany, Ordered};
pub(super) use tags::Tags;
pub(super) use upstreams::{
    Balance, Breaker, Dns, Ejection, Health, Maintenance, Protocol, Retries, RetryOn, RouteRetry,
    Server as UpstreamServer, Upstream,
};

use super::scalar::{Deadline, Memory, Size, Span, Written};
use super::settings::{HostPattern, LogTarget, PathPattern, ValuePattern};
use super::values::{EditedField, Endpoint, Extension, LogFilter, MediaType, Name, ParameterName};

/// Configuration of larder, a caching reverse proxy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "larder")]
pub(super) struct File {
    /// Where clients connect. Default: one, on 127.0.0.1:8080.
    pub(super) listeners: Vec<Listener>,
    /// Where metrics and health are served.
    pub(super) metrics: Metrics,
    /// The control API.
    pub(super) control: Control,
    /// Groups of servers, by name.
    pub(super) upstreams: Ordered<Name, Upstream>,
    /// What happens to which requests; the first match wins. Default: one route named `default` that sends
    /// everything to the only upstream.
    pub(super) routes: Vec<Route>,
    /// The memory tier, and rules for all routes.
    pub(super) cache: Cache,
    /// Classes of files that deserve long freshness, by name. Built in: fonts, images, styles, scripts, media,
    /// documents; a key given here replaces that of the built-in class.
    pub(super) static_files: Ordered<Name, StaticFiles>,
    /// Classes of devices, for routes whose `cache.key` asks for them.
    pub(super) devices: Devices,
    /// Content codings that larder applies.
    pub(super) compression: Compression,
    /// Bounds of what is accepted from clients.
    pub(super) limits: Limits,
    /// Deadlines of the client side.
    pub(super) timeouts: Timeouts,
    /// The process and whom it trusts.
    pub(super) server: Server,
    /// How caching is turned off for debugging.
    pub(super) debug: Debug,
    /// The log of requests.
    pub(super) access_log: AccessLog,
    /// The diagnostic log, on standard error.
    pub(super) log: Log,
}

/// Where metrics and health are served.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Metrics {
    /// Address of `/metrics`, `/healthz` and `/readyz`, or `off`. Default: 127.0.0.1:9145.
    pub(super) address: Option<Written<Endpoint>>,
}

/// What happens to which requests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Route {
    /// Name in metrics, logs and explanations. Default: `route1` for the first, and so on.
    pub(super) name: Option<Written<Name>>,
    /// What it matches; all given conditions must hold. Default: everything.
    #[serde(rename = "match")]
    pub(super) matches: Match,
    /// Name of the upstream. Default: the only one.
    pub(super) upstream: Option<Written<Name>>,
    /// Cache rules; what is not given comes from `[cache.rules]`.
    pub(super) cache: Rules,
    /// Whether the classes of `[static_files]` apply. Default: true.
    pub(super) static_files: Option<bool>,
    /// Whether larder compresses. Default: as `[compression]` says.
    pub(super) compression: Option<bool>,
    /// Edits of request fields before forwarding.
    pub(super) request_headers: Edits,
    /// Edits of response fields before the client sees them.
    pub(super) response_headers: Edits,
    /// Deadlines instead of the upstream's.
    pub(super) timeouts: RouteTimeouts,
    /// What changes between the URL of the client and that of the upstream.
    pub(super) rewrite: Rewrite,
    /// Requests are answered by a redirect. Default: they are not.
    pub(super) redirect: Option<Redirect>,
    /// Which requests may be sent again to another server when one fails. Default: idempotent.
    pub(super) retry: Option<RouteRetry>,
    /// Largest request body. Default: 100MiB.
    pub(super) max_request_body: Option<Written<Size>>,
    /// How much clients may.
    pub(super) limits: RouteLimits,
    /// Who may.
    pub(super) access: Access,
}

/// Conditions of a route.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Match {
    /// Hosts without port, exact or `*.example.org`.
    pub(super) host: Option<OneOrMany<HostPattern>>,
    /// Paths: `/prefix/`, `= /exact`, a glob such as `/a/**/*.html`, or `~ regex`.
    pub(super) path: Option<OneOrMany<PathPattern>>,
    /// Methods.
    pub(super) method: Option<OneOrMany<Method>>,
    /// Request fields that must all match: name = value, `*` (present) or `~ regex`.
    pub(super) header: Ordered<HeaderName, Written<ValuePattern>>,
    /// Query parameters that must all match: name = value, `*` (present) or `~ regex`.
    pub(super) query: Ordered<ParameterName, Written<ValuePattern>>,
    /// Names of cookies that must all be present.
    pub(super) cookie: Option<OneOrMany<ParameterName>>,
}

/// Edits of header fields, applied in this order: remove, set, default, add.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Edits {
    /// Replace all fields of that name by this one.
    pub(super) set: Ordered<EditedField, Written<HeaderValue>>,
    /// Add a further field.
    pub(super) add: Ordered<EditedField, Written<HeaderValue>>,
    /// Add only when there is none of that name.
    pub(super) default: Ordered<EditedField, Written<HeaderValue>>,
    /// Remove all of that name.
    pub(super) remove: Vec<Written<EditedField>>,
}

/// Deadlines instead of the upstream's.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RouteTimeouts {
    /// Instead of the upstream's `connect_timeout`.
    pub(super) connect: Option<Written<Deadline>>,
    /// Instead of the upstream's `first_byte_timeout`.
    pub(super) first_byte: Option<Written<Deadline>>,
    /// Instead of the upstream's `idle_timeout`.
    pub(super) idle: Option<Written<Deadline>>,
    /// Instead of the upstream's `total_timeout`.
    pub(super) total: Option<Written<Deadline>>,
}

/// The memory tier, and rules for all routes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Cache {
    /// Memory for stored responses, overhead included: a size or a share of the machine's (or cgroup's) memory.
    /// Default: 25%.
    pub(super) memory: Option<Written<Memory>>,
    /// Longest time a request waits for another's fetch of the same URL. Default: 5s.
    pub(super) collapse_wait: Option<Written<Span>>,
    /// How long it is remembered that a URL's answer can't be stored, so that requests do not queue for it.
    /// Default: 1m.
    pub(super) uncacheable_memory: Option<Written<Span>>,
    /// The disk tier, below memory. Default: none.
    pub(super) disk: Disk,
    /// Redis, which several larders share.
    pub(super) redis: Redis,
    /// Tags by which the app lets responses be purged together.
    pub(super) tags: Tags,
    /// Cache rules for all routes; a route's own `cache` goes before.
    pub(super) rules: Rules,
}

/// A class of files that deserve long freshness.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StaticFiles {
    /// Whether the class applies. Default: true.
    pub(super) enabled: Option<bool>,
    /// File extensions without dot.
    #[schemars(length(min = 1))]
    pub(super) extensions: Option<Vec<Written<Extension>>>,
    /// Media types, e.g. `font/woff2` or `image/*`. Extension and type must both match.
    #[schemars(length(min = 1))]
    pub(super) types: Option<Vec<Written<MediaType>>>,
    /// Freshness given to browsers and to the cache.
    pub(super) max_age: Option<Written<Span>>,
    /// Freshness of versioned URLs (a content hash in the name, `?v=`), sent with `immutable`; `0`: nothing special.
    /// Default: 365d.
    pub(super) versioned_max_age: Option<Written<Span>>,
    /// Whether a Cache-Control that the upstream sent is replaced. Default: false.
    #[serde(rename = "override")]
    pub(super) overrides: Option<bool>,
    /// Whether the class also applies to requests with cookies, so that their answers are shared. Default: true, but
    /// false for `media` and `documents`, which apps often keep for one person.
    pub(super) with_cookies: Option<bool>,
}

/// Content codings that larder applies.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Compression {
    /// Whether larder compresses, where a route does not say. Default: true.
    pub(super) enabled: Option<bool>,
    /// Codings offered, the most preferred first. Default: br, zstd, gzip.
    #[schemars(length(min = 1))]
    pub(super) codings: Option<Vec<Coding>>,
    /// How hard each tries.
    pub(super) levels: Levels,
    /// Smaller bodies are left alone. Default: 1KiB.
    pub(super) min_size: Option<Written<Size>>,
    /// Media types that are compressed: `type/subtype`, `type/*` or `*+suffix`. text/event-stream never is.
    pub(super) types: Option<Vec<Written<MediaType>>>,
}

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Coding {
    /// Brotli.
    Br,
    /// Zstandard.
    Zstd,
    /// gzip.
    Gzip,
}

/// Levels of the codings, each in its own scale.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Levels {
    /// 0 to 11. Default: 4.
    #[schemars(range(min = 0, max = 11))]
    pub(super) br: Option<i32>,
    /// 1 to 19. Default: 3.
    #[schemars(range(min = 1, max = 19))]
    pub(super) zstd: Option<i32>,
    /// 1 to 9. Default: 6.
    #[schemars(range(min = 1, max = 9))]
    pub(super) gzip: Option<i32>,
}

/// Bounds of what is accepted from clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    /// Largest request head. Default: 32KiB.
    pub(super) head: Option<Written<Size>>,
    /// Largest field line. Default: 8KiB.
    pub(super) field: Option<Written<Size>>,
    /// Most fields of a request. Default: 100.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) fields: Option<usize>,
    /// Longest request target. Default: 8KiB.
    pub(super) uri: Option<Written<Size>>,
    /// Most open client connections. Default: 10000.
    #[schemars(range(min = 1))]
    pub(super) connections: Option<usize>,
    /// Most HTTP/2 streams of a connection. Default: 100.
    #[schemars(range(min = 1, max = 10000))]
    pub(super) http2_streams: Option<u32>,
    /// Most ranges of a Range field; with more it is ignored. Default: 8.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) ranges: Option<usize>,
}

/// Deadlines of the client side.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Timeouts {
    /// Longest time for a request head, and for the TLS handshake. Default: 10s.
    pub(super) header: Option<Written<Deadline>>,
    /// Longest pause within a request body, or while a client takes nothing of a response. Default: 30s.
    pub(super) idle: Option<Written<Deadline>>,
    /// An idle connection is closed after this long. Default: 1m.
    pub(super) keep_alive: Option<Written<Deadline>>,
}

/// The process and whom it trusts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Server {
    /// Proxies in front whose X-Forwarded-* and Forwarded fields are believed: addresses and networks.
    /// Default: none.
    pub(super) trusted_proxies: Option<Vec<Written<IpNet>>>,
    /// Clients that may force a fetch and use the debug field. Default: loopback.
    pub(super) trusted_clients: Option<Vec<Written<IpNet>>>,
    /// Worker threads; 0: one a core. Default: 0.
    #[schemars(range(min = 0, max = 1024))]
    pub(super) workers: Option<usize>,
    /// Longest time that requests in flight get to finish when the process ends. Default: 30s.
    pub(super) shutdown_grace: Option<Written<Span>>,
}

/// How caching is turned off for debugging.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Debug {
    /// Turn the cache off for everybody. Default: false.
    pub(super) bypass_all: Option<bool>,
    /// A request with this field, from a trusted client, bypasses the cache. Default: none.
    pub(super) bypass_header: Option<Written<HeaderName>>,
}

/// The log of requests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AccessLog {
    /// `stdout`, `off` or the path of a file. Default: stdout.
    pub(super) target: Option<Written<LogTarget>>,
    /// One JSON object a line, or the combined format. Default: json.
    pub(super) format: Option<LogFormat>,
}

/// Format of the log of requests.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum LogFormat {
    /// One JSON object a line.
    Json,
    /// The combined format, with the cache's outcome appended.
    Combined,
}

/// The diagnostic log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,larder::cache=debug`. Default: info.
    pub(super) level: Option<Written<LogFilter>>,
}
