//! The table `cache` of a route, which is also `[cache.rules]`.

use http::{HeaderName, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Ordered;
use crate::config::scalar::{Size, Span, Written};

/// Cache rules.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Rules {
    /// Whether responses are cached at all. Default: true.
    pub(in crate::config) enabled: Option<bool>,
    /// How long responses are fresh; `upstream` says when this applies. Default: the upstream decides.
    pub(in crate::config) ttl: Option<Written<Span>>,
    /// `honour`: `ttl` only fills in where the upstream states no freshness. `override`: it always applies, even
    /// against no-store and private. Default: honour.
    pub(in crate::config) upstream: Option<UpstreamSays>,
    /// Nothing is fresh for longer than this, whoever said so. Default: no bound.
    pub(in crate::config) ttl_max: Option<Written<Span>>,
    /// How long responses of a status are fresh when they state nothing, e.g. `{ "404" = "10s" }`. Default: none.
    pub(in crate::config) status_ttl: Option<Ordered<StatusCode, Written<Span>>>,
    /// Share of the time since Last-Modified taken as freshness, in percent; 0 turns that off. Default: 10.
    #[schemars(range(min = 0, max = 100))]
    pub(in crate::config) heuristic_percent: Option<u8>,
    /// Longest freshness taken from Last-Modified. Default: 1d.
    pub(in crate::config) heuristic_max: Option<Written<Span>>,
    /// Requests with cookies. `protect`: shared only when the response is public, has s-maxage or is a static file;
    /// `ignore`: cookies do not matter; `bypass`: never cached; names: only these cookies bypass. Default: protect.
    pub(in crate::config) cookies: Option<Cookies>,
    /// Responses with Set-Cookie. `never`: not stored; `strip`: stored without it; `store`: stored with it.
    /// Default: never.
    pub(in crate::config) set_cookie: Option<SetCookie>,
    /// Cache-Control of requests. `trusted`: only trusted clients may force a fetch; `honour`: everybody may;
    /// `ignore`: nobody. Default: trusted.
    pub(in crate::config) request_directives: Option<RequestDirectives>,
    /// How long a stale response is served while it is fetched anew, unless it says itself. Default: 0.
    pub(in crate::config) stale_while_revalidate: Option<Written<Span>>,
    /// How long a stale response stands in for an error, unless it says itself. Default: 0.
    pub(in crate::config) stale_if_error: Option<Written<Span>>,
    /// Bound of both, whoever said so. Default: 7d.
    pub(in crate::config) stale_max: Option<Written<Span>>,
    /// Largest body that is stored. Default: 64MiB.
    pub(in crate::config) max_object: Option<Written<Size>>,
    /// Most variants (by Vary) kept of one URL. Default: 32.
    #[schemars(range(min = 1))]
    pub(in crate::config) max_variants: Option<usize>,
    /// Methods that are cached. Default: GET and HEAD.
    #[schemars(length(min = 1))]
    pub(in crate::config) methods: Option<Vec<CachedMethod>>,
    /// A private cache for each session. Default: none.
    pub(in crate::config) private: Option<Private>,
    /// What tells one stored response from another, beside scheme, host and path.
    pub(in crate::config) key: Key,
}

/// A private cache for each session.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["cookie"]))]
pub(in crate::config) struct Private {
    /// The cookie that names a session.
    #[schemars(length(min = 1))]
    pub(in crate::config) cookie: Option<String>,
    /// Most sessions; the least recently used goes first. Default: 10000.
    #[schemars(range(min = 1))]
    pub(in crate::config) max_sessions: Option<usize>,
    /// Most bytes of all sessions together. Default: 64MiB.
    pub(in crate::config) max_bytes: Option<Written<Size>>,
    /// Most bytes of one session. Default: 1MiB.
    pub(in crate::config) max_session_bytes: Option<Written<Size>>,
}

/// What the upstream's word counts beside `ttl`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum UpstreamSays {
    /// `ttl` only fills in where the upstream states no freshness.
    Honour,
    /// `ttl` always applies.
    Override,
}

/// What becomes of responses with Set-Cookie.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum SetCookie {
    /// Not stored.
    Never,
    /// Stored without their cookies, which no client gets.
    Strip,
    /// Stored as received.
    Store,
}

/// Whose Cache-Control in requests is obeyed.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RequestDirectives {
    /// That of trusted clients; of others only what forces no fetch.
    Trusted,
    /// Everybody's.
    Honour,
    /// Nobody's.
    Ignore,
}

/// A method that can be cached.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(in crate::config) enum CachedMethod {
    /// GET
    Get,
    /// HEAD
    Head,
}

/// How requests with cookies are treated.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum Cookies {
    /// One of the general rules.
    Rule(CookieRule),
    /// Only these cookies bypass the cache.
    Names(#[schemars(length(min = 1))] Vec<String>),
}

/// A general rule for requests with cookies.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum CookieRule {
    /// Shared only when the response is public, has s-maxage or is a static file.
    Protect,
    /// Cookies do not matter.
    Ignore,
    /// Never cached.
    Bypass,
}

/// What tells one stored response from another.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Key {
    /// Query parameters that count: `all`, `none`, `no_tracking`, `{ only = [...] }` or `{ except = [...] }`.
    /// Default: all.
    pub(in crate::config) query: Option<Query>,
    /// Whether parameters are sorted, so that their order does not matter. Default: false.
    pub(in crate::config) sort_query: Option<bool>,
    /// Whether percent-encoding is brought into one form, so that `%7e` and `~` are the same. Default: false.
    pub(in crate::config) normalise_escapes: Option<bool>,
    /// Whether a response's No-Vary-Search says which differences of the query make none. Default: true.
    pub(in crate::config) no_vary_search: Option<bool>,
    /// Whether the class of device that the User-Agent names counts; see `devices`. Default: false.
    pub(in crate::config) device: Option<bool>,
    /// Request fields whose values count. Default: none.
    pub(in crate::config) headers: Option<Vec<Written<HeaderName>>>,
    /// Cookies whose values count. Default: none.
    pub(in crate::config) cookies: Option<Vec<String>>,
}

/// Query parameters that count.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum Query {
    /// All or none.
    Rule(QueryRule),
    /// Some, by name.
    Names(QueryNames),
}

/// All query parameters, none, or all but those that only track visitors.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum QueryRule {
    /// All of them.
    All,
    /// None: the query is ignored.
    None,
    /// All but those by which advertisers and newsletters track visitors.
    NoTracking,
}

/// Query parameters by name; one of the two. A name may end in `*`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct QueryNames {
    /// Only these count.
    pub(in crate::config) only: Option<Vec<String>>,
    /// All but these count.
    pub(in crate::config) except: Option<Vec<String>>,
}
