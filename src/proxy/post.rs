//! Answers to POST that serve later GETs and HEADs (RFC 9110 §9.3.3, RFC 9111 §4): the request is always forwarded,
//! and invalidates as ever; what it brought is then stored as the response to GET.

use std::time::Duration;

use http::{HeaderValue, Method, Response, header};

use super::Asked;
use super::fetch::{Arrived, Fetch, Outcome};
use super::lookup::{self, Wanted};
use super::part::Ask;
use crate::cache::key::CacheKey;
use crate::cache::purge::{Logged, Meta, UnderWay};
use crate::policy::present::Names;
use crate::policy::reason::{ForwardReason, NoStoreReason};
use crate::policy::search::NoVarySearch;
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
        let key = lookup::identify(asked).clone();
        Some(Post { key, began: asked.proxy.cache.log.begin() })
    }

    /// Stores the answer, or passes it on for the reason that keeps it out, as if a GET had brought it. `own` is how it
    /// invalidated.
    pub(super) fn store(
        self,
        asked: &Asked<'_>,
        response: Box<Response<UpstreamBody>>,
        times: Times,
        first_byte: Duration,
        tags: Result<Tags, TooManyTags>,
        own: &Logged,
    ) -> (Box<Wanted>, Outcome) {
        let (cache, key, facts) = (&asked.proxy.cache, self.key, lookup::facts(asked));
        // Begun now: what it invalidated itself is no reason against it. What others purge from here on is; what they
        // purged before is asked for after, so that no moment lies between.
        let lead = cache.flights.alone(&key);
        let content_type = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let (status, none) = (response.status().as_u16(), Tags::default());
        let meta = Meta { key: key.as_str(), tags: tags.as_ref().unwrap_or(&none), status, content_type };
        let is_overtaken = cache.log.is_overtaken(&meta, self.began.epoch(), own);
        let (epoch, began) = (lead.flight().epoch(), (cache.searches.moment(), cache.sessions.moment()));
        let names = Names::of(response.headers());
        let arrived = Arrived { response, names, times, first_byte, epoch, began, tags };
        let entry = cache.memory.get(&key).unwrap_or_default();
        let (why, ask) = (ForwardReason::Method, Ask::Whole);
        let wanted =
            Box::new(Wanted { key, exact: None, why, facts, entry, stored: None, own: None, ask, collapsible: false });
        let fetch = Fetch::new(asked, wanted.clone());
        let outcome = match is_overtaken {
            true => fetch.pass_on(arrived, NoStoreReason::Purged, lead),
            false => fetch.take(arrived, lead),
        };
        (wanted, outcome)
    }
}

/// Whether an answer is the response to a GET as well. One that says that its query makes no difference is not taken
/// for that: whether it was purged by another query meanwhile, nobody could tell from its own invalidation.
pub(super) fn serves_get(asked: &Asked<'_>, response: &Response<UpstreamBody>) -> bool {
    let (uri, target, headers) = (asked.admitted.uri(), asked.admitted.target.as_str(), response.headers());
    let says_nothing_of_query = asked.route.route.key.ignore_no_vary_search || NoVarySearch::of(headers).is_none();
    says_nothing_of_query && store::post_serves_get(response.status(), headers, uri.scheme, uri.authority, target)
}
