//! Answers to POST that serve later GETs and HEADs (RFC 9110 §9.3.3, RFC 9111 §4): the request is always forwarded,
//! and invalidates as ever; what it brought is then stored as the response to GET.

use std::time::Duration;

use http::{HeaderValue, Method, Response, header};

use super::Asked;
use super::fetch::{Arrived, Fetch, Outcome};
use super::lookup::{self, Wanted};
use super::part::Ask;
use crate::cache::key::CacheKey;
use crate::cache::purge::{Meta, UnderWay, Verdict};
use crate::policy::reason::ForwardReason;
use crate::policy::store;
use crate::policy::tags::{Tags, TooManyTags};
use crate::policy::time::Times;
use crate::upstream::UpstreamBody;

/// A POST whose answer may be stored.
pub(super) struct Post {
    key: CacheKey,
    /// Keeps what is purged or invalidated while the answer is on its way.
    began: UnderWay,
}

impl Post {
    /// Before a request is forwarded; `None` where its answer could not be stored anyway.
    pub(super) fn of(asked: &Asked<'_>) -> Option<Self> {
        let (route, request) = (&asked.route.route, &asked.parts);
        let caches = route.cache_enabled && route.cache_methods.contains(&Method::GET);
        if request.method != Method::POST || !caches || asked.upgrade || lookup::is_debugged(asked) {
            return None;
        }
        let key = lookup::identify(asked);
        Some(Post { key, began: asked.proxy.cache.log.begin() })
    }

    /// Whether an answer is the response to a GET as well, and nobody has purged that meanwhile. To be asked before the
    /// answer invalidates.
    pub(super) fn serves_get(
        &self,
        asked: &Asked<'_>,
        response: &Response<UpstreamBody>,
        tags: &Result<Tags, TooManyTags>,
    ) -> bool {
        let (uri, target) = (asked.admitted.uri(), asked.admitted.target.as_str());
        let (Ok(tags), headers) = (tags, response.headers()) else { return false };
        let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let meta = Meta { key: self.key.as_str(), tags, status: response.status().as_u16(), content_type };
        asked.proxy.cache.log.allows(&meta, self.began.epoch()) == Verdict::Allowed
            && store::post_serves_get(response.status(), headers, uri.scheme, uri.authority, target)
    }

    /// Stores the answer, or passes it on for the reason that keeps it out, as if a GET had brought it.
    pub(super) fn store(
        self,
        asked: &Asked<'_>,
        response: Response<UpstreamBody>,
        times: Times,
        first_byte: Duration,
        tags: Result<Tags, TooManyTags>,
    ) -> (Wanted, Outcome) {
        let (cache, key, facts) = (&asked.proxy.cache, self.key, lookup::facts(asked));
        // Begun now: what it invalidated itself is no reason against it.
        let lead = cache.flights.alone(&key);
        let (epoch, began) = (lead.flight().epoch(), cache.searches.moment());
        let arrived = Arrived { response, times, first_byte, epoch, began, tags };
        let entry = cache.memory.get(&key).unwrap_or_default();
        let (why, ask) = (ForwardReason::Method, Ask::Whole);
        let wanted = Wanted { key, exact: None, why, facts, entry, stored: None, ask, collapsible: false };
        let outcome = Fetch::new(asked, wanted.clone()).take(arrived, lead);
        (wanted, outcome)
    }
}
