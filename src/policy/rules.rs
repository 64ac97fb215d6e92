//! What a route says about caching, as the policy reads it: plain data, resolved from the configuration.

use std::time::Duration;

use http::{HeaderName, StatusCode};

/// A route's cache rules. `Default` is what a legacy app gets without a configuration file.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheRules {
    /// Freshness lifetime given by the route; see [`TtlMode`] for when it applies. `None`: the upstream decides.
    pub ttl: Option<Duration>,
    /// Whether `ttl` only fills in for a silent upstream or overrides what it said.
    pub ttl_mode: TtlMode,
    /// No stored response is fresh for longer than this, whoever said so. `None`: no cap.
    pub ttl_max: Option<Duration>,
    /// Freshness lifetimes by status for responses that state none themselves, e.g. 404 for 10 s.
    pub status_ttl: Vec<(StatusCode, Duration)>,
    /// Fraction of the time since Last-Modified used as heuristic lifetime (RFC 9111 §4.2.2), in percent; 0 turns
    /// heuristics off. Range 0..=100.
    pub heuristic_percent: u8,
    /// Upper bound of a heuristic lifetime.
    pub heuristic_max: Duration,
    /// How requests with cookies are treated.
    pub cookies: CookieRule,
    /// What becomes of responses that carry Set-Cookie.
    pub set_cookie: SetCookieRule,
    /// Whether Cache-Control directives of requests are obeyed, for clients that are not trusted.
    pub request_directives: RequestDirectivesRule,
    /// `stale-while-revalidate` (RFC 5861 §3) for responses that do not state it, and were fresh once.
    pub stale_while_revalidate: Duration,
    /// `stale-if-error` (RFC 5861 §4) for responses that do not state it.
    pub stale_if_error: Duration,
    /// Upper bound of both stale windows, stated by whomever.
    pub stale_max: Duration,
    /// Largest body that is stored, in bytes.
    pub max_object: u64,
    /// Most variants (RFC 9111 §4.1) kept for one cache key; the oldest goes first.
    pub max_variants: usize,
}

/// When a route's `ttl` applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TtlMode {
    /// Only where the upstream states no explicit freshness.
    #[default]
    Honour,
    /// Always; the upstream's freshness, `no-cache`, `no-store` and `private` are overruled.
    Override,
}

/// How requests with a Cookie field are treated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CookieRule {
    /// Shared with cookie-bearing requests only when the response is explicitly `public` or `s-maxage`, or is a
    /// static file of a matching type.
    #[default]
    Protect,
    /// Cookies do not matter to caching on this route.
    Ignore,
    /// Only these cookies matter: a request with one of them is treated as under `Bypass`; others are ignored.
    BypassNames(Vec<String>),
    /// A request with any cookie goes to the upstream and is never stored.
    Bypass,
}

/// What becomes of responses that carry Set-Cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetCookieRule {
    /// Not stored.
    #[default]
    Never,
    /// Stored without the Set-Cookie fields; the client that caused the fetch does not get them either.
    Strip,
    /// Stored as received: the letter of RFC 9111, which gives Set-Cookie no special meaning.
    Store,
}

/// Whether Cache-Control directives of requests are obeyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestDirectivesRule {
    /// From trusted addresses all; from others none that can force a forward for everybody's key (`no-cache`,
    /// `max-age`, `min-fresh`), but `only-if-cached`, `max-stale`, `no-store` and `stale-if-error`.
    #[default]
    Trusted,
    /// From everybody: RFC 9111 §5.2.1 to the letter.
    Honour,
    /// From nobody.
    Ignore,
}

/// What a route adds to or removes from the cache key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyRules {
    /// Which query parameters count.
    pub query: QueryRule,
    /// Sort the query parameters by name, so that order does not matter.
    pub sort_query: bool,
    /// Bring percent-encoding into one form (RFC 3986 §6.2.2), so that `%7e` and `~` are the same.
    pub normalise_escapes: bool,
    /// No-Vary-Search of responses has no say in it.
    pub ignore_no_vary_search: bool,
    /// The class of device that the User-Agent names becomes part of the key.
    pub device: bool,
    /// Request header fields whose values become part of the key.
    pub headers: Vec<HeaderName>,
    /// Cookies whose values become part of the key.
    pub cookies: Vec<String>,
}

/// Which query parameters are part of the cache key. The upstream always receives the whole query. A name may end
/// in `*`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum QueryRule {
    /// All of them.
    #[default]
    All,
    /// None: the query is ignored.
    None,
    /// Only these.
    Only(Vec<String>),
    /// All but these.
    Except(Vec<String>),
}

impl Default for CacheRules {
    fn default() -> Self {
        CacheRules {
            ttl: None,
            ttl_mode: TtlMode::Honour,
            ttl_max: None,
            status_ttl: Vec::new(),
            heuristic_percent: 10,
            heuristic_max: Duration::from_secs(24 * 3600),
            cookies: CookieRule::Protect,
            set_cookie: SetCookieRule::Never,
            request_directives: RequestDirectivesRule::Trusted,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            stale_max: Duration::from_secs(7 * 24 * 3600),
            max_object: 64 * 1024 * 1024,
            max_variants: 32,
        }
    }
}
