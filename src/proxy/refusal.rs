//! Requests that larder refuses itself: each with a status and the one word used in Cache-Status, log and metric.

use http::StatusCode;

/// Why a request is refused before anything of it reaches an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The request line is not one (RFC 9112 §3).
    BadRequestLine,
    /// A line ended in a bare LF, or a bare CR stood in the head (RFC 9112 §2.2).
    BadLineEnding,
    /// NUL or another control byte in the head.
    ControlByte,
    /// A field line without a valid name, or white space before its colon (RFC 9112 §5.1).
    BadField,
    /// A line that continues the one before it (obs-fold, RFC 9112 §5.2).
    ObsoleteFold,
    /// Content-Length that is no number, or several that differ (RFC 9112 §6.3).
    BadContentLength,
    /// Transfer-Encoding that is not exactly `chunked` (RFC 9112 §6.1).
    BadTransferEncoding,
    /// Both Transfer-Encoding and Content-Length (RFC 9112 §6.1).
    AmbiguousLength,
    /// A chunk size, chunk extension or trailer that is malformed (RFC 9112 §7.1).
    BadChunk,
    /// No Host, several, or one that is no host (RFC 9112 §3.2).
    BadHost,
    /// Protocol versions other than HTTP/1.0, HTTP/1.1 and HTTP/2.
    BadVersion,
    /// A request target that is malformed (RFC 9112 §3.2).
    BadTarget,
    /// A path that another route would take if the app reads it otherwise: escapes, dot segments, parameters.
    AmbiguousPath,
    /// A query that another route would take if the app reads its parameters otherwise: repeated, encoded, `name[]`.
    AmbiguousQuery,
    /// An absolute-form target whose host is not the Host field's.
    HostMismatch,
    /// CONNECT: larder is no tunnel.
    Connect,
    /// The head is larger than the limit.
    HeadTooLarge,
    /// The request target is longer than the limit.
    TargetTooLong,
    /// More fields than the limit.
    TooManyFields,
    /// The announced or actual body is larger than the route's limit.
    BodyTooLarge,
    /// The head did not arrive in time.
    HeadTimeout,
    /// An Expect other than 100-continue (RFC 9110 §10.1.1).
    BadExpect,
    /// It has been here before: an upstream's address leads back to larder (RFC 9110 §7.6.3).
    Loop,
    /// Cleartext where the listener wants HTTPS.
    HttpsRedirect,
    /// More requests than the listener or the route allows over time (RFC 6585 §4).
    RateLimited,
    /// The route is not for the client's network.
    Denied,
    /// The route asks for a user, or the program that decides said no (RFC 9110 §15.5.2).
    Unauthorized,
    /// Nobody could say whether the client may.
    AuthUnavailable,
    /// More connections than the listener allows, at all or of one address: closed without an answer.
    TooManyConnections,
    /// No PROXY protocol header where there must be one, or from somebody who may not send one: closed without an answer.
    ProxyProtocol,
    /// No route matches.
    NoRoute,
}

impl Refusal {
    /// Each with the word for it, in the order of their declaration.
    const WORDS: [(Refusal, &'static str); 31] = {
        use Refusal::*;
        [
            (BadRequestLine, "bad-request-line"),
            (BadLineEnding, "bad-line-ending"),
            (ControlByte, "control-byte"),
            (BadField, "bad-field"),
            (ObsoleteFold, "obsolete-fold"),
            (BadContentLength, "bad-content-length"),
            (BadTransferEncoding, "bad-transfer-encoding"),
            (AmbiguousLength, "ambiguous-length"),
            (BadChunk, "bad-chunk"),
            (BadHost, "bad-host"),
            (BadVersion, "bad-version"),
            (BadTarget, "bad-target"),
            (AmbiguousPath, "ambiguous-path"),
            (AmbiguousQuery, "ambiguous-query"),
            (HostMismatch, "host-mismatch"),
            (Connect, "connect"),
            (HeadTooLarge, "head-too-large"),
            (TargetTooLong, "target-too-long"),
            (TooManyFields, "too-many-fields"),
            (BodyTooLarge, "body-too-large"),
            (HeadTimeout, "head-timeout"),
            (BadExpect, "bad-expect"),
            (Loop, "loop"),
            (HttpsRedirect, "https-redirect"),
            (RateLimited, "rate-limited"),
            (Denied, "denied"),
            (Unauthorized, "unauthorized"),
            (AuthUnavailable, "auth-unavailable"),
            (TooManyConnections, "too-many-connections"),
            (ProxyProtocol, "proxy-protocol"),
            (NoRoute, "no-route"),
        ]
    };

    /// All refusals, for the metrics.
    pub const ALL: [Refusal; Self::WORDS.len()] = {
        let mut all = [Refusal::NoRoute; Self::WORDS.len()];
        let mut at = 0;
        while at < all.len() {
            all[at] = Self::WORDS[at].0;
            assert!(all[at] as usize == at, "the words stand in the order of the refusals");
            at += 1;
        }
        all
    };

    /// The status it is answered with.
    pub const fn status(self) -> StatusCode {
        use Refusal::*;
        match self {
            BadVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            HostMismatch => StatusCode::MISDIRECTED_REQUEST,
            Connect => StatusCode::METHOD_NOT_ALLOWED,
            HeadTooLarge | TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            TargetTooLong => StatusCode::URI_TOO_LONG,
            BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            BadExpect => StatusCode::EXPECTATION_FAILED,
            Loop => StatusCode::LOOP_DETECTED,
            HttpsRedirect => StatusCode::PERMANENT_REDIRECT,
            RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Denied => StatusCode::FORBIDDEN,
            Unauthorized => StatusCode::UNAUTHORIZED,
            AuthUnavailable | TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
            NoRoute => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Whether the connection is closed after the answer: framing can't be trusted any more.
    pub const fn closes(self) -> bool {
        use Refusal::*;
        !matches!(
            self,
            NoRoute
                | AmbiguousPath
                | AmbiguousQuery
                | HostMismatch
                | Connect
                | Loop
                | HttpsRedirect
                | RateLimited
                | Denied
                | Unauthorized
                | AuthUnavailable
        )
    }

    /// The word for it.
    pub const fn word(self) -> &'static str {
        Self::WORDS[self as usize].1
    }
}
