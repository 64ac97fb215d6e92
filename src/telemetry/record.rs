//! All that one finished request tells: made once, when its body has ended, and handed to metrics and access log.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode, Version};

use crate::policy::reason::{ForwardReason, NoStoreReason, Outcome, StaleReason, Tier};
use crate::policy::time::Timestamp;

/// One finished request. Where there is no access log it lacks what only that tells: host, target, age and the
/// request's fields. Its parts are reference-counted where they come from the request, so that making a record
/// copies no text.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// When its head had arrived.
    pub started: Timestamp,
    /// From then to the end of the response's body.
    pub duration: Duration,
    /// The client's address, behind trusted proxies the one they name.
    pub client: IpAddr,
    /// The method.
    pub method: Method,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'static str,
    /// The host asked for; `None` when the head was refused before there was one.
    pub host: Option<HeaderValue>,
    /// Path and query; `None` when the head was refused before there was one.
    pub target: Option<PathAndQuery>,
    /// The protocol the client speaks.
    pub version: Version,
    /// The status sent to the client.
    pub status: StatusCode,
    /// What became of it.
    pub outcome: Outcome,
    /// Why; `None` for what needs no reason, such as a hit.
    pub reason: Option<Reason>,
    /// Why the upstream's response was not stored; `None` when it was, or when there was none.
    pub no_store: Option<NoStoreReason>,
    /// Freshness that remained when it was answered from the cache, in seconds; negative when stale.
    pub ttl: Option<i64>,
    /// The Age sent, in seconds.
    pub age: Option<u64>,
    /// The route's name.
    pub route: Arc<str>,
    /// The upstream's name, when it was asked.
    pub upstream: Option<Arc<str>>,
    /// From asking the upstream to the first byte of its answer, when it was asked and answered.
    pub upstream_first_byte: Option<Duration>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body that were sent.
    pub bytes_out: u64,
    /// Whether the response ended before its body did.
    pub cut: bool,
    /// The request's Referer.
    pub referer: Option<HeaderValue>,
    /// The request's User-Agent.
    pub user_agent: Option<HeaderValue>,
    /// The request's identifier, where one is used.
    pub request_id: Option<HeaderValue>,
}

/// Why a request had the outcome it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It was forwarded.
    Forward(ForwardReason),
    /// It was answered stale.
    Stale(StaleReason),
    /// It was found in a tier below memory.
    Found(Tier),
    /// It was refused; the word names the rule or limit.
    Refused(&'static str),
    /// The upstream could not be asked; the word names the kind of fault.
    Failed(&'static str),
}

impl Reason {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Reason::Forward(reason) => reason.word(),
            Reason::Stale(reason) => reason.word(),
            Reason::Found(tier) => tier.word(),
            Reason::Refused(word) | Reason::Failed(word) => word,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A miss on 2026-11-21 that took 12.5 ms.
    pub(in crate::telemetry) fn sample() -> RequestRecord {
        RequestRecord {
            started: Timestamp::from_millis(1_795_229_933_042),
            duration: Duration::from_micros(12_500),
            client: IpAddr::from([192, 0, 2, 7]),
            method: Method::GET,
            scheme: "https",
            host: Some(HeaderValue::from_static("app.example")),
            target: Some(PathAndQuery::from_static("/list?page=2")),
            version: Version::HTTP_11,
            status: StatusCode::OK,
            outcome: Outcome::Miss,
            reason: Some(Reason::Forward(ForwardReason::UriMiss)),
            no_store: Some(NoStoreReason::SetCookie),
            ttl: None,
            age: None,
            route: Arc::from("app"),
            upstream: Some(Arc::from("web")),
            upstream_first_byte: Some(Duration::from_millis(10)),
            bytes_in: 3,
            bytes_out: 2048,
            cut: false,
            referer: None,
            user_agent: Some(HeaderValue::from_static("curl/8.14")),
            request_id: None,
        }
    }

    #[test]
    fn reason_says_the_word_of_what_it_carries() {
        let table = [
            (Reason::Forward(ForwardReason::VaryMiss), "vary-miss"),
            (Reason::Stale(StaleReason::IfError), "stale-if-error"),
            (Reason::Refused("bad-host"), "bad-host"),
            (Reason::Failed("connect"), "connect"),
        ];
        for (reason, word) in table {
            assert_eq!(reason.word(), word);
        }
    }
}
