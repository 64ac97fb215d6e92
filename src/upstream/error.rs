//! What can go wrong between larder and an upstream, named by whose fault it is, each with its status and its word.

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;

use http::StatusCode;

/// An exchange with an upstream that failed.
#[derive(Debug)]
pub struct UpstreamError {
    /// What failed.
    pub kind: UpstreamErrorKind,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The ways in which an exchange fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamErrorKind {
    /// The server's name has no address.
    Resolve,
    /// No address of the server accepted a connection.
    Connect,
    /// The connection, TLS included, was not up in time.
    ConnectTimeout,
    /// The TLS handshake failed.
    Tls,
    /// All connections were in use for too long.
    QueueTimeout,
    /// The request was sent, and no response head came in time.
    FirstByteTimeout,
    /// The response body paused for too long.
    IdleTimeout,
    /// The server closed the connection before the response was complete.
    Reset,
    /// The server's answer is malformed.
    Protocol,
    /// The client's body could not be read to its end.
    RequestBody,
    /// The client's body paused for too long.
    RequestBodyTimeout,
    /// The client's body is larger than the route allows.
    RequestTooLarge,
    /// No server is available: all are down, ejected or drained.
    NoServer,
    /// The upstream's circuit breaker is open.
    BreakerOpen,
    /// The exchange as a whole took too long.
    TotalTimeout,
}

impl UpstreamErrorKind {
    /// All kinds, in the order of their discriminants, for the metrics.
    pub const ALL: [UpstreamErrorKind; 15] = {
        use UpstreamErrorKind::*;
        [
            Resolve,
            Connect,
            ConnectTimeout,
            Tls,
            QueueTimeout,
            FirstByteTimeout,
            IdleTimeout,
            Reset,
            Protocol,
            RequestBody,
            RequestBodyTimeout,
            RequestTooLarge,
            NoServer,
            BreakerOpen,
            TotalTimeout,
        ]
    };

    /// The word for it in Cache-Status, log and metrics.
    pub const fn word(self) -> &'static str {
        use UpstreamErrorKind::*;
        match self {
            Resolve => "resolve",
            Connect => "connect",
            ConnectTimeout => "connect-timeout",
            Tls => "tls",
            QueueTimeout => "queue-timeout",
            FirstByteTimeout => "first-byte-timeout",
            IdleTimeout => "idle-timeout",
            Reset => "reset",
            Protocol => "protocol",
            RequestBody => "request-body",
            RequestBodyTimeout => "request-body-timeout",
            RequestTooLarge => "request-too-large",
            NoServer => "no-server",
            BreakerOpen => "breaker-open",
            TotalTimeout => "total-timeout",
        }
    }

    /// The status it is answered with.
    pub const fn status(self) -> StatusCode {
        use UpstreamErrorKind::*;
        match self {
            Resolve | Connect | Tls | Reset | Protocol => StatusCode::BAD_GATEWAY,
            QueueTimeout | NoServer | BreakerOpen => StatusCode::SERVICE_UNAVAILABLE,
            ConnectTimeout | FirstByteTimeout | IdleTimeout | TotalTimeout => StatusCode::GATEWAY_TIMEOUT,
            RequestBody => StatusCode::BAD_REQUEST,
            RequestBodyTimeout => StatusCode::REQUEST_TIMEOUT,
            RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }

    /// Whether it tells of a server that is in trouble, and not of a client or of the load.
    pub(super) const fn is_servers_fault(self) -> bool {
        use UpstreamErrorKind::*;
        !matches!(self, QueueTimeout | RequestBody | RequestBodyTimeout | RequestTooLarge | NoServer | BreakerOpen)
    }

    /// Whether no server could be asked at all, which is when a maintenance page is due.
    pub(super) const fn is_unreachable(self) -> bool {
        use UpstreamErrorKind::*;
        matches!(self, Resolve | Connect | ConnectTimeout | Tls | NoServer | BreakerOpen)
    }
}

impl UpstreamError {
    /// A failure without a deeper cause.
    pub(super) fn new(kind: UpstreamErrorKind) -> Self {
        UpstreamError { kind, source: None }
    }

    /// A failure with its cause.
    pub(crate) fn because(kind: UpstreamErrorKind, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        UpstreamError { kind, source: Some(source.into()) }
    }

    /// A failure that hyper met: either the server's bytes were malformed, or it went away.
    pub(super) fn from_hyper(error: hyper::Error) -> Self {
        let kind = if is_malformed(&error) { UpstreamErrorKind::Protocol } else { UpstreamErrorKind::Reset };
        Self::because(kind, error)
    }

    /// The status it is answered with where a stored response may not be reused without the upstream's word: a cache
    /// that is cut off from the origin says so by 504 (RFC 9111 §5.2.2.2).
    pub fn status_for_validation(&self) -> StatusCode {
        use UpstreamErrorKind::*;
        match self.kind {
            Resolve | Connect | Tls | Reset | NoServer | BreakerOpen => StatusCode::GATEWAY_TIMEOUT,
            _ => self.status(),
        }
    }

    /// See [`UpstreamErrorKind::word`].
    pub fn word(&self) -> &'static str {
        self.kind.word()
    }

    /// See [`UpstreamErrorKind::status`].
    pub fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// Whether certainly no server has seen any of the request, so that sending it again repeats nothing.
    pub fn retry_safe(&self) -> bool {
        use UpstreamErrorKind::*;
        matches!(self.kind, Resolve | Connect | ConnectTimeout | Tls | QueueTimeout | NoServer | BreakerOpen)
    }
}

/// Whether what the server sent is no HTTP, as opposed to the server going away.
pub(super) fn is_malformed(error: &hyper::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput};
    let Some(source) = error.source() else { return error.is_parse() };
    // Bad chunks surface as these kinds of i/o error.
    let bad_chunk =
        source.downcast_ref().is_some_and(|io: &std::io::Error| matches!(io.kind(), InvalidData | InvalidInput));
    let bad_frame = source.downcast_ref().is_some_and(h2::Error::is_library);
    error.is_parse() || bad_chunk || bad_frame
}

/// Whether the whole connection went away, and not this one exchange.
pub(super) fn is_close(error: &hyper::Error) -> bool {
    let h2: Option<&h2::Error> = error.source().and_then(|source| source.downcast_ref());
    !is_malformed(error) && h2.is_none_or(|h2| h2.is_go_away() || h2.is_io())
}

/// Whether the server said that it did not begin to process the request (RFC 9113 §8.7).
pub(super) fn is_refused_stream(error: &hyper::Error) -> bool {
    let h2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    h2.and_then(h2::Error::reason) == Some(h2::Reason::REFUSED_STREAM)
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for UpstreamError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Why an upstream can't be set up from its settings. One line each.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The file of certificate authorities can't be read, or holds no usable one.
    #[error("upstream {upstream}: ca_file {}: {reason}", file.display())]
    CaFile {
        /// The upstream's name.
        upstream: String,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Neither the system nor a file names a certificate authority.
    #[error("upstream {upstream}: no certificate authorities to check https servers against; set ca_file")]
    NoAuthorities {
        /// The upstream's name.
        upstream: String,
    },
    /// The certificate for servers that ask for one can't be read, or holds none.
    #[error("upstream {upstream}: client certificate {}: {reason}", file.display())]
    ClientCertificate {
        /// The upstream's name.
        upstream: String,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file of the maintenance page can't be read.
    #[error("upstream {upstream}: maintenance.file {}: {source}", file.display())]
    MaintenanceFile {
        /// The upstream's name.
        upstream: String,
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A name that no certificate can be checked against.
    #[error("upstream {upstream}: {host} is no host name for TLS")]
    ServerName {
        /// The upstream's name.
        upstream: String,
        /// The name.
        host: String,
    },
    /// The TLS library refused its settings.
    #[error("upstream {upstream}: TLS: {source}")]
    Tls {
        /// The upstream's name.
        upstream: String,
        /// Why.
        source: rustls::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_listed_in_order_with_distinct_words() {
        let words: std::collections::HashSet<_> = UpstreamErrorKind::ALL.iter().map(|kind| kind.word()).collect();
        assert_eq!(words.len(), UpstreamErrorKind::ALL.len());
        for (index, kind) in UpstreamErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }

    #[test]
    fn display_says_the_whole_chain_in_one_line() {
        let error = UpstreamError::because(UpstreamErrorKind::Connect, std::io::Error::other("connection refused"));
        assert_eq!(error.to_string(), "connect: connection refused");
    }
}
