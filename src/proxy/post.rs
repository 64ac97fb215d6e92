//! Answers to POST that serve later GETs and HEADs (RFC 9110 §9.3.3, RFC 9111 §4): the request is always forwarded,
//! and invalidates as ever; what it brought is then stored as the response to GET.

use http::{Method, Response};

use super::Asked;
use super::fetch::{Arrived, Fetch, Outcome};
use super::lookup::{self, Wanted};
use super::part::Ask;
use crate::cache::collapse::Lead;
use crate::cache::key::CacheKey;
use crate::policy::reason::ForwardReason;
use crate::policy::store;
use crate::upstream::UpstreamBody;

/// A POST whose answer may be stored.
pub(super) struct Post {
    key: CacheKey,
    /// Shows whether the URL was purged or invalidated while the answer was on its way.
    watch: Lead,
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
        let watch = asked.proxy.cache.flights.alone(&key);
        Some(Post { key, watch })
    }

    /// Whether an answer is the response to a GET as well, and nobody has purged that meanwhile. To be asked before the
    /// answer invalidates.
    pub(super) fn serves_get(&self, asked: &Asked<'_>, response: &Response<UpstreamBody>) -> bool {
        let (uri, target) = (asked.admitted.uri(), asked.admitted.target.as_str());
        self.watch.flight().may_store()
            && store::post_serves_get(response.status(), response.headers(), uri.scheme, uri.authority, target)
    }

    /// Stores the answer, or passes it on for the reason that keeps it out, as if a GET had brought it.
    pub(super) fn store(self, asked: &Asked<'_>, arrived: Arrived) -> (Wanted, Outcome) {
        let (key, facts) = (self.key, lookup::facts(asked));
        let lead = asked.proxy.cache.flights.alone(&key);
        let entry = asked.proxy.cache.memory.get(&key).unwrap_or_default();
        let (why, ask) = (ForwardReason::Method, Ask::Whole);
        let wanted = Wanted { key, exact: None, why, facts, entry, stored: None, ask, collapsible: false };
        let outcome = Fetch::new(asked, wanted.clone()).take(arrived, lead);
        (wanted, outcome)
    }
}
