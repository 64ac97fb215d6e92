//! What the policy remembers: of a request while it is answered, of a response while it is stored. Parsed once.

use http::{HeaderMap, StatusCode, header};

use super::directives::{MAX_DELTA, RequestDirectives};
use super::present::Fields;
use super::rules::RequestDirectivesRule;
use super::time::Timestamp;

/// What the policy needs of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestFacts {
    /// The directives that count, after the route's rule on whose are obeyed.
    pub directives: RequestDirectives,
    /// Whether it carries Authorization.
    pub authorization: bool,
    /// Whether it carries a cookie that matters on this route.
    pub cookie: bool,
}

impl RequestFacts {
    /// Of a request's fields. `cookie` is the caller's judgement (a route may ignore some), `trusted` says whether
    /// the client's address may force a forward.
    pub fn of<'a>(fields: impl Into<Fields<'a>>, cookie: bool, trusted: bool, rule: RequestDirectivesRule) -> Self {
        let fields = fields.into();
        let mut given = RequestDirectives::of(fields);
        given.no_cache = given.no_cache && !is_conditional_fetch(fields.map());
        let directives = match rule {
            RequestDirectivesRule::Honour => given,
            RequestDirectivesRule::Trusted if trusted => given,
            RequestDirectivesRule::Trusted => RequestDirectives {
                // A stranger's reload would let anybody aim load at the upstream; what is left cannot.
                no_cache: false,
                max_age: None,
                min_fresh: None,
                ..given
            },
            RequestDirectivesRule::Ignore => RequestDirectives::default(),
        };
        RequestFacts { directives, authorization: fields.has(&header::AUTHORIZATION), cookie }
    }
}

/// Whether a script asked with a condition of its own. The Fetch standard then adds both forms of `no-cache`, so that the
/// user agent's cache leaves the request alone: nobody reloads. What caches send when they validate for somebody who
/// does has no Sec-Fetch-Mode.
fn is_conditional_fetch(headers: &HeaderMap) -> bool {
    let says_no_cache = |name| {
        let mut lines = headers.get_all(name).iter();
        lines.next().is_some_and(|line| line == "no-cache") && lines.next().is_none()
    };
    let conditions = [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_RANGE];
    headers.contains_key("sec-fetch-mode")
        && !headers.contains_key(header::VIA)
        && conditions.iter().any(|name| headers.contains_key(name))
        && says_no_cache(header::CACHE_CONTROL)
        && says_no_cache(header::PRAGMA)
}

/// What the policy remembers of a stored response, so that reuse parses nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its status.
    pub status: StatusCode,
    /// When its head was received.
    pub response_time: Timestamp,
    /// `corrected_initial_age` in seconds (RFC 9111 §4.2.3).
    pub initial_age: u32,
    /// Freshness lifetime in seconds (RFC 9111 §4.2.1).
    pub lifetime: u32,
    /// Where the lifetime comes from.
    pub lifetime_source: LifetimeSource,
    /// Seconds for which it may be served stale while it is revalidated.
    pub stale_while_revalidate: u32,
    /// Seconds for which it may be served stale when the upstream fails.
    pub stale_if_error: u32,
    /// Never to be served stale.
    pub forbids_stale: bool,
    /// Does not change while it is fresh (RFC 8246).
    pub immutable: bool,
    /// To be validated before each use.
    pub no_cache: bool,
    /// May answer requests that carry Authorization (RFC 9111 §3.5).
    pub allows_authorization: bool,
    /// May answer requests that carry cookies: explicitly shared, or a static file.
    pub allows_cookies: bool,
    /// Since when it is stale by hand: a soft purge.
    pub stale_since: Option<Timestamp>,
    /// Date, or the time of receipt where there was none.
    pub date: Timestamp,
}

/// Where a freshness lifetime comes from; said in explanations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LifetimeSource {
    /// `s-maxage`
    SMaxage,
    /// `max-age`
    MaxAge,
    /// Expires
    Expires,
    /// A fraction of the time since Last-Modified (RFC 9111 §4.2.2)
    Heuristic,
    /// The route's `ttl`
    Route,
    /// The route's `status_ttl`
    Status,
    /// Nothing: it is always stale
    None,
}

impl LifetimeSource {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            LifetimeSource::SMaxage => "s-maxage",
            LifetimeSource::MaxAge => "max-age",
            LifetimeSource::Expires => "expires",
            LifetimeSource::Heuristic => "heuristic",
            LifetimeSource::Route => "route",
            LifetimeSource::Status => "status",
            LifetimeSource::None => "none",
        }
    }

    /// Whether the upstream or the operator stated it, rather than a guess.
    pub const fn is_explicit(self) -> bool {
        !matches!(self, LifetimeSource::Heuristic | LifetimeSource::None)
    }
}

impl Facts {
    /// `current_age` in seconds (RFC 9111 §4.2.3).
    pub fn age(&self, now: Timestamp) -> u32 {
        let resident = now.since(self.response_time).as_secs();
        u64::from(self.initial_age).saturating_add(resident).min(u64::from(MAX_DELTA)) as u32
    }

    /// Seconds of freshness that remain; negative once stale. The `ttl` of RFC 9211 §2.5.
    pub fn ttl(&self, now: Timestamp) -> i64 {
        let remaining = i64::from(self.lifetime) - i64::from(self.age(now));
        match self.stale_since {
            Some(since) => remaining.min(-(now.since(since).as_secs() as i64)),
            None => remaining,
        }
    }

    /// Whether it may answer a request with these credentials at all.
    pub fn admits(&self, request: &RequestFacts) -> bool {
        (!request.cookie || self.allows_cookies) && (!request.authorization || self.allows_authorization)
    }

    /// Fresh: its age has not reached its lifetime (RFC 9111 §4.2).
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.ttl(now) > 0
    }

    /// Seconds after which it is of no use any more, counted from `now`: freshness and stale windows over.
    pub fn seconds_of_use(&self, now: Timestamp) -> u64 {
        let windows = i64::from(self.stale_while_revalidate.max(self.stale_if_error));
        (self.ttl(now) + windows).max(0) as u64
    }
}
