//! What a 304, or the answer to a HEAD, confirms is taken over into what is stored.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};

use super::super::lookup::Wanted;
use super::super::search;
use super::super::site::SiteRoute;
use super::judge::selection;
use super::keep::{may_be_coded, move_field, take_out};
use super::{Arrived, Brought, Fetch, Outcome};
use crate::cache::collapse::{Lead, Progress, Ready};
use crate::cache::entry::StoredResponse;
use crate::cache::searches::PurgedMeanwhile;
use crate::policy::directives::ResponseDirectives;
use crate::policy::facts::Facts;
use crate::policy::reason::NoStoreReason;
use crate::policy::rules::SetCookieRule;
use crate::policy::store::{self, Arrival};
use crate::policy::time::Times;
use crate::policy::{fields, freshness};

impl Fetch {
    /// A 304: what it confirms is freshened and answers.
    pub(super) fn freshen(&self, confirmed: &Arc<StoredResponse>, arrived: &Arrived, lead: Lead) -> Outcome {
        let is_selected = self.wanted.stored.as_ref().is_some_and(|selected| Arc::ptr_eq(selected, confirmed));
        self.freshen_alike(arrived, is_selected.then_some(confirmed));
        let headers = arrived.response.headers();
        let fresh = freshened(
            confirmed,
            is_selected,
            headers,
            arrived.times,
            &self.wanted,
            &self.received.headers,
            &self.route,
        );
        let own = self.wanted.found_in();
        let tags = arrived.tags.as_ref().map(|tags| fresh.response.tags().updated(tags, headers));
        let unfound = tags.as_ref().err().map(|_| NoStoreReason::TooManyTags);
        let tags = tags.unwrap_or_default();
        let response = Arc::new(fresh.response.marked(arrived.epoch, tags));
        let (cache, key) = (&self.proxy.cache, &self.wanted.key);
        let stored_as = match fresh.no_store {
            None => self.key_of(search::said(&response).as_ref(), own, arrived.began, lead.flight()),
            Some(_) => Ok(key.clone()),
        };
        let no_store = fresh.no_store.or(unfound).or(stored_as.is_err().then_some(NoStoreReason::Purged));
        let stored_as = stored_as.unwrap_or_else(|PurgedMeanwhile| key.clone());
        let ready =
            Ready { key: stored_as.clone(), response: response.clone(), forward_status: StatusCode::NOT_MODIFIED };
        match no_store {
            None => {
                let keeps_key = stored_as == *key;
                if is_selected && keeps_key {
                    cache.replace(key, confirmed, response);
                } else if cache.usable(key, confirmed.clone()).is_some() {
                    cache.insert(&stored_as, response, self.route.route.cache.max_variants);
                }
                // The session ended between the question and the insertion.
                if own.is_some_and(|own| !cache.sessions.goes_on(own.name.as_str(), arrived.began.1)) {
                    cache.memory.remove(&stored_as);
                }
                if !keeps_key {
                    // It says something else of the query now.
                    cache.remove_variant(key, confirmed);
                }
                match own {
                    Some(_) => lead.flight().publish(Progress::Uncacheable(NoStoreReason::Private)),
                    None => self.announce(&ready, &lead),
                }
            }
            // It may answer this request, but no other.
            Some(reason) => {
                self.release_followers(&lead, reason);
                if reason != NoStoreReason::RequestNoStore {
                    cache.remove_variant(key, confirmed);
                }
            }
        }
        let anchor = ready.response.body.reader();
        Outcome::Ready(Box::new(Brought { ready, own: fresh.own, no_store, part: None, _anchor: anchor }))
    }
}

/// A stored response with the fields of a 304, or of a HEAD's answer, taken over.
pub(in crate::proxy) struct Freshened {
    /// With its new fields, age and lifetime.
    pub response: StoredResponse,
    /// Fields that only the client that asked gets.
    own: HeaderMap,
    /// Why it may not be kept any more, if so.
    pub no_store: Option<NoStoreReason>,
}

/// Takes the fields of a 304, or of a HEAD's answer, over into a stored response (RFC 9111 §3.2, §4.3.4, §4.3.5).
/// `is_selected` says that the request selects it already; else it becomes the variant for requests like this one.
pub(in crate::proxy) fn freshened(
    stored: &StoredResponse,
    is_selected: bool,
    fresh: &HeaderMap,
    times: Times,
    wanted: &Wanted,
    request: &HeaderMap,
    route: &SiteRoute,
) -> Freshened {
    let own_cache = wanted.found_in();
    let facts = own_cache.map_or(&wanted.facts, |own| &own.facts);
    let (mut fresh, mut own) = (fresh.clone(), HeaderMap::new());
    if route.route.cache.set_cookie != SetCookieRule::Store {
        // A cookie that comes along with a confirmation makes nothing personal of what is stored.
        move_field(&header::SET_COOKIE, &mut fresh, &mut own);
    }
    if route.route.cache.set_cookie == SetCookieRule::Strip {
        own.clear();
    }
    let mut headers = stored.fields.unpack(4);
    // What the fields said themselves they have to say again; what larder knew of the file stays true.
    let is_static = stored.facts.allows_cookies && !ResponseDirectives::of(&headers).allows_sharing();
    fields::update(&mut headers, &fresh);
    let arrival = Arrival {
        method: &Method::GET,
        request: facts,
        status: stored.facts.status,
        fields: (&headers).into(),
        times,
        is_static,
        private: own_cache.is_some(),
    };
    let judged = store::judge(&arrival, &route.route.cache)
        .and_then(|storable| Ok((storable, selection(&headers, request, route)?)));
    let (facts, selection, no_store) = match judged {
        Ok((storable, selection)) => {
            for (name, value) in &take_out(&mut headers, &storable) {
                own.append(name.clone(), value.clone());
            }
            let keeps = is_selected && selection.names_same_fields(stored.selection());
            (storable.facts, if keeps { stored.selection().clone() } else { selection }, None)
        }
        Err(reason) => {
            let initial_age = freshness::initial_age(&headers, &times);
            let facts = Facts { response_time: times.response, initial_age, ..stored.facts.clone() };
            (facts, stored.selection().clone(), Some(reason))
        }
    };
    let own_tag = stored.own_tag && !fresh.contains_key(header::ETAG);
    // RFC 9111 §5.2.2.6: what is said of transformations now holds for what came before it was said.
    let compressible = may_be_coded(route, facts.status, &headers);
    let response = StoredResponse { compressible, ..stored.revised(facts, selection, &headers, own_tag) };
    Freshened { response, own, no_store }
}
