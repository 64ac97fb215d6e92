//! Every reason a caching decision can have, with the one word that `Cache-Status`, the access log, the metrics and
//! the command line all use for it. `docs/CACHING.md` explains each.

/// What became of a request, from the cache's point of view; the metric label and log field `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered from a fresh stored response.
    Hit,
    /// Answered from a stale stored response, on purpose.
    Stale,
    /// Answered from a stored response that the upstream confirmed by a 304.
    Revalidated,
    /// Forwarded: nothing usable was stored.
    Miss,
    /// Answered by a forward that another request began.
    Collapsed,
    /// Forwarded without asking the cache.
    Bypass,
    /// Refused by larder itself: malformed, over a limit, no route.
    Refused,
    /// The upstream could not be asked and nothing stored could stand in.
    Failed,
    /// Answered by larder itself, for nothing that is stored: a redirect, PURGE, or the end of Max-Forwards.
    Own,
}

impl Outcome {
    /// All outcomes, for the metrics.
    pub const ALL: [Outcome; 9] = [
        Outcome::Hit,
        Outcome::Stale,
        Outcome::Revalidated,
        Outcome::Miss,
        Outcome::Collapsed,
        Outcome::Bypass,
        Outcome::Refused,
        Outcome::Failed,
        Outcome::Own,
    ];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Outcome::Hit => "hit",
            Outcome::Stale => "stale",
            Outcome::Revalidated => "revalidated",
            Outcome::Miss => "miss",
            Outcome::Collapsed => "collapsed",
            Outcome::Bypass => "bypass",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
            Outcome::Own => "own",
        }
    }
}

/// Why a request was forwarded to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForwardReason {
    /// Nothing is stored under the key.
    UriMiss,
    /// Something is stored, but for other values of the fields that Vary names (RFC 9111 §4.1).
    VaryMiss,
    /// What is stored is in a content coding that the client does not accept.
    CodingMiss,
    /// Stored, but stale.
    Stale,
    /// Stored with `no-cache`: to be validated each time (RFC 9111 §5.2.2.4).
    ResponseNoCache,
    /// Stored for a part only, and the request needs more of it (RFC 9111 §3.4).
    Partial,
    /// The request's method is not looked up.
    Method,
    /// The request says `no-cache` (or `Pragma: no-cache`).
    RequestNoCache,
    /// The request says `no-store`, so that it does not wait for another's fetch, whose response is to be stored.
    RequestNoStore,
    /// The request's `max-age` is below the stored response's age.
    RequestMaxAge,
    /// The request's `min-fresh` is more than what remains.
    RequestMinFresh,
    /// The route or the configuration turns caching off.
    CacheOff,
    /// The debug header or flag turns caching off.
    Debug,
    /// The request carries a cookie and the stored response is not marked as shared, or the route bypasses cookies.
    CookieRequest,
    /// The request carries the route's session cookie, but not so that it is clear whose session it is.
    SessionUnclear,
    /// The request carries a body with a method for which that has no meaning.
    RequestBody,
    /// The request asks to switch protocols.
    Upgrade,
    /// The key's last answer could not be stored, so requests are not queued behind one another.
    Uncacheable,
    /// Another's fetch took longer than the collapsing limit.
    CollapseTimeout,
    /// The request has a precondition that only the upstream can decide (If-Match, If-Unmodified-Since).
    Precondition,
    /// The request carries Authorization and what is stored may not answer it.
    Authorization,
    /// It is not known what other nodes have purged, so that nothing stored may be used.
    PurgesUnknown,
}

impl ForwardReason {
    /// The `fwd` value of RFC 9211 §2.2.
    pub const fn fwd(self) -> &'static str {
        use ForwardReason::*;
        match self {
            UriMiss | CollapseTimeout => "uri-miss",
            VaryMiss | CodingMiss => "vary-miss",
            Stale | ResponseNoCache => "stale",
            Partial => "partial",
            Method => "method",
            RequestNoCache | RequestNoStore | RequestMaxAge | RequestMinFresh | Precondition => "request",
            CacheOff | Debug | CookieRequest | SessionUnclear | RequestBody | Upgrade | Uncacheable | Authorization
            | PurgesUnknown => "bypass",
        }
    }

    /// larder's own word, more precise than `fwd`; `detail` in Cache-Status where the two differ.
    pub const fn word(self) -> &'static str {
        use ForwardReason::*;
        match self {
            UriMiss => "uri-miss",
            VaryMiss => "vary-miss",
            CodingMiss => "coding-miss",
            Stale => "stale",
            ResponseNoCache => "response-no-cache",
            Partial => "partial",
            Method => "method",
            RequestNoCache => "request-no-cache",
            RequestNoStore => "request-no-store",
            RequestMaxAge => "request-max-age",
            RequestMinFresh => "request-min-fresh",
            CacheOff => "cache-off",
            Debug => "debug",
            CookieRequest => "cookie-request",
            SessionUnclear => "session-unclear",
            RequestBody => "request-body",
            Upgrade => "upgrade",
            Uncacheable => "uncacheable",
            CollapseTimeout => "collapse-timeout",
            Precondition => "precondition",
            Authorization => "authorization",
            PurgesUnknown => "purges-unknown",
        }
    }

    /// Whether the cache was not even asked.
    pub const fn is_bypass(self) -> bool {
        use ForwardReason::*;
        matches!(
            self,
            CacheOff
                | Debug
                | CookieRequest
                | SessionUnclear
                | RequestBody
                | Upgrade
                | Uncacheable
                | Authorization
                | Method
                | Precondition
                | PurgesUnknown
        )
    }
}

/// Why a response was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoStoreReason {
    /// The request was a bypass; storing was never considered.
    Bypass,
    /// The request's method is not one whose responses are stored.
    Method,
    /// The status is not final, or not known and without `public` or explicit freshness (RFC 9111 §3).
    Status,
    /// The request says `no-store` (RFC 9111 §5.2.1.5).
    RequestNoStore,
    /// The response says `no-store` (RFC 9111 §5.2.2.5).
    NoStore,
    /// The response says `private` (RFC 9111 §5.2.2.7).
    Private,
    /// The response sets a cookie.
    SetCookie,
    /// The request carried Authorization and nothing in the response allows sharing it (RFC 9111 §3.5).
    Authorization,
    /// The request carried a cookie and nothing in the response says that it may be shared.
    CookieRequest,
    /// It would be stored for the session that asked, and it was not clear which that is.
    SessionUnclear,
    /// `Vary: *` never matches again.
    VaryAny,
    /// Neither freshness nor a validator: it could never be used.
    NoFreshness,
    /// It says nothing of caching, and its URL ends like a static file's while its Content-Type is another: what cache
    /// deception looks like.
    Disguised,
    /// The lifetime is zero (or it arrived already stale) and there is no validator.
    ZeroTtl,
    /// A server error without stated freshness.
    ErrorStatus,
    /// Larger than `max_object`.
    TooLarge,
    /// A part that cannot be stored or combined (RFC 9111 §3.3).
    Partial,
    /// The body ended before its announced end.
    Incomplete,
    /// The memory budget has no room for it while it is being filled.
    NoRoom,
    /// Its key was purged or invalidated while it was being fetched.
    Purged,
    /// It has more tags than are kept: a purge by the others would not find it.
    TooManyTags,
    /// It is an upgraded connection.
    Upgrade,
}

impl NoStoreReason {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        use NoStoreReason::*;
        match self {
            Bypass => "bypass",
            Method => "method",
            Status => "status",
            RequestNoStore => "request-no-store",
            NoStore => "no-store",
            Private => "private",
            SetCookie => "set-cookie",
            Authorization => "authorization",
            CookieRequest => "cookie-request",
            SessionUnclear => "session-unclear",
            VaryAny => "vary-any",
            NoFreshness => "no-freshness",
            Disguised => "disguised",
            ZeroTtl => "zero-ttl",
            ErrorStatus => "error-status",
            TooLarge => "too-large",
            Partial => "partial",
            Incomplete => "incomplete",
            NoRoom => "no-room",
            Purged => "purged",
            TooManyTags => "too-many-tags",
            Upgrade => "upgrade",
        }
    }
}

/// Why a stale response was served (RFC 9111 §4.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StaleReason {
    /// The request's `max-stale` allows it.
    MaxStale,
    /// `stale-while-revalidate`: a background fetch is under way (RFC 5861 §3).
    WhileRevalidate,
    /// `stale-if-error`: the upstream failed (RFC 5861 §4).
    IfError,
}

impl StaleReason {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            StaleReason::MaxStale => "max-stale",
            StaleReason::WhileRevalidate => "stale-while-revalidate",
            StaleReason::IfError => "stale-if-error",
        }
    }
}

/// Why something stored was purged; the metric label and log field `reason` of purges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PurgeReason {
    /// An operator asked for it, by the control API.
    Control,
    /// A client that may asked for it by the method PURGE.
    Method,
    /// An unsafe request succeeded on a route that has a rule for it.
    Rule,
    /// An unsafe request succeeded: its URL, and what its answer names (RFC 9111 §4.4, RFC 9875 §3).
    Unsafe,
    /// Another node did.
    Node,
}

impl PurgeReason {
    /// All reasons, for the metrics.
    pub const ALL: [PurgeReason; 5] =
        [PurgeReason::Control, PurgeReason::Method, PurgeReason::Rule, PurgeReason::Unsafe, PurgeReason::Node];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            PurgeReason::Control => "control",
            PurgeReason::Method => "purge-method",
            PurgeReason::Rule => "rule",
            PurgeReason::Unsafe => "unsafe-request",
            PurgeReason::Node => "node",
        }
    }
}

/// Where a stored response was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// On the disk of this machine.
    Disk,
    /// In Redis, which several machines share.
    Redis,
}

impl Tier {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Tier::Disk => "disk",
            Tier::Redis => "redis",
        }
    }
}
