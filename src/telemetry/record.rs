//! All that one finished request tells: made once, when its body has ended, and handed to metrics and access log.

use std::mem;
use std::net::IpAddr;
use std::time::Duration;

use http::{Method, StatusCode, Version};

use crate::policy::reason::{ForwardReason, NoStoreReason, Outcome, StaleReason, Tier};
use crate::policy::time::Timestamp;

/// One finished request. The names of its route and its upstream are those of its
/// [`RouteMetrics`](super::route_metrics::RouteMetrics).
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
    /// Whether the upstream was asked.
    pub asked_upstream: bool,
    /// From asking the upstream to the first byte of its answer, when it was asked and answered.
    pub upstream_first_byte: Option<Duration>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body that were sent.
    pub bytes_out: u64,
    /// Whether the response ended before its body did.
    pub cut: bool,
}

/// What only the access log tells of a request, in the bytes that came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told<'a> {
    /// The host asked for; `None` when the head was refused before there was one.
    pub host: Option<&'a [u8]>,
    /// Path and query; `None` when the head was refused before there was one.
    pub target: Option<&'a [u8]>,
    /// The Age sent, in seconds.
    pub age: Option<u64>,
    /// The request's Referer.
    pub referer: Option<&'a [u8]>,
    /// The request's User-Agent.
    pub user_agent: Option<&'a [u8]>,
    /// The request's identifier, where one is used.
    pub request_id: Option<&'a [u8]>,
}

/// The same for as long as an answer takes, copied into one block: a download of hours does not hold on to the head of
/// its request.
#[derive(Debug)]
pub struct Kept {
    text: Box<[u8]>,
    /// Where host, target, Referer, User-Agent and identifier end in `text`, one behind the other.
    ends: [Option<usize>; 5],
    age: Option<u64>,
}

impl Kept {
    /// Copies what is told.
    pub fn of(told: &Told<'_>) -> Self {
        let fields = [told.host, told.target, told.referer, told.user_agent, told.request_id];
        let mut text = Vec::with_capacity(fields.iter().flatten().map(|field| field.len()).sum());
        let ends = fields.map(|field| {
            text.extend_from_slice(field?);
            Some(text.len())
        });
        Kept { text: text.into_boxed_slice(), ends, age: told.age }
    }

    /// What was told.
    pub fn told(&self) -> Told<'_> {
        let mut start = 0;
        let field = |end: Option<usize>| end.map(|end| &self.text[mem::replace(&mut start, end)..end]);
        let [host, target, referer, user_agent, request_id] = self.ends.map(field);
        Told { host, target, age: self.age, referer, user_agent, request_id }
    }
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
            version: Version::HTTP_11,
            status: StatusCode::OK,
            outcome: Outcome::Miss,
            reason: Some(Reason::Forward(ForwardReason::UriMiss)),
            no_store: Some(NoStoreReason::SetCookie),
            ttl: None,
            asked_upstream: true,
            upstream_first_byte: Some(Duration::from_millis(10)),
            bytes_in: 3,
            bytes_out: 2048,
            cut: false,
        }
    }

    /// What the log tells of it beside.
    pub(in crate::telemetry) fn told() -> Told<'static> {
        Told {
            host: Some(b"app.example"),
            target: Some(b"/list?page=2"),
            user_agent: Some(b"curl/8.14"),
            ..Told::default()
        }
    }

    #[test]
    fn what_is_kept_is_what_was_told() {
        for told in [told(), Told::default(), Told { host: Some(b""), age: Some(7), referer: Some(b"r"), ..told() }] {
            assert_eq!(Kept::of(&told).told(), told);
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
