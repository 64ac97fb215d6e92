//! Step 9: what becomes of it: filled into the cache or passed on, and what those who wait are told.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use http::{HeaderMap, HeaderName, StatusCode};

use super::super::fill::Fill;
use super::super::lookup::Own;
use super::super::part::{Ask, Brings};
use super::super::received::announced_length;
use super::super::site::SiteRoute;
use super::judge::Judged;
use super::{Arrived, Brought, Fetch, Outcome};
use crate::cache::body::SharedBody;
use crate::cache::collapse::{FetchFailure, Lead, Progress, Ready};
use crate::cache::entry::{Marks, StoredResponse};
use crate::cache::fields::StoredFields;
use crate::cache::parts::StoredParts;
use crate::content::compressible::{self, CodingDecision};
use crate::policy::facts::RequestFacts;
use crate::policy::reason::{ForwardReason, NoStoreReason};
use crate::policy::reuse::{self, Reuse};
use crate::policy::search::NoVarySearch;
use crate::policy::store::Storable;

impl Fetch {
    pub(super) fn may_stand_in(&self) -> bool {
        let now = self.proxy.clock.now();
        self.wanted.stored.as_ref().is_some_and(|stored| reuse::may_stand_in(&self.wanted.facts, &stored.facts, now))
    }

    pub(in crate::proxy) fn pass_on(&self, arrived: Arrived, reason: NoStoreReason, lead: Lead) -> Outcome {
        let status = arrived.response.status();
        if reuse::is_failure(status) {
            // Asking for each of them would only add to the load; and it tells nothing of the answers to come.
            lead.flight().publish(Progress::Failed(FetchFailure { status, word: "upstream-error" }));
        } else {
            self.release_followers(&lead, reason);
        }
        // RFC 9111 §4.3.3: what was to be validated has been replaced by something that may not be kept. An answer that
        // is only this client's says nothing about what others share.
        let is_about_this_request = matches!(
            reason,
            NoStoreReason::CookieRequest | NoStoreReason::Authorization | NoStoreReason::RequestNoStore
        );
        let replaced = !status.is_server_error() && !is_about_this_request;
        if let Some(stored) = self.wanted.stored.as_ref().filter(|_| replaced) {
            self.proxy.cache.remove_variant(&self.wanted.key, stored);
        }
        Outcome::Passed(arrived.response, self.of_whom(reason))
    }

    /// Where the answer is for one session alone, but not clearly for which, that is the reason.
    fn of_whom(&self, reason: NoStoreReason) -> NoStoreReason {
        if self.session_unclear && is_personal(reason) { NoStoreReason::SessionUnclear } else { reason }
    }

    /// The answer is of no use to others: they ask for themselves, at once, and those to come do not wait at all.
    pub(super) fn release_followers(&self, lead: &Lead, reason: NoStoreReason) {
        lead.flight().publish(Progress::Uncacheable(reason));
        // What is said of a part says nothing about the whole.
        if self.tells_of_others() && self.wanted.ask == Ask::Whole {
            let until = self.proxy.clock.now() + self.site.settings.memory.uncacheable_memory;
            self.proxy.cache.flights.remember_uncacheable(&self.wanted.key, until);
        }
    }

    /// Whether others that ask for the same would be answered likewise. Also where nobody waits for this answer, because
    /// the last one could not be shared either: as long as that is so, it stays known.
    fn tells_of_others(&self) -> bool {
        let facts = &self.wanted.facts;
        let is_anybodys = !facts.directives.no_store && !facts.authorization && !facts.cookie;
        self.wanted.collapsible || (is_anybodys && self.wanted.why != ForwardReason::Method)
    }

    /// Tells followers what there is, if any request but the one that fetched it may have it (RFC 9111 §4): what is
    /// stale on arrival or says `no-cache` is kept for validating alone.
    pub(super) fn announce(&self, ready: &Ready, lead: &Lead) {
        let ordinary = RequestFacts::default();
        match reuse::decide(&ordinary, &ready.response.facts, self.proxy.clock.now()) {
            Reuse::Fresh | Reuse::Stale(_) => {
                lead.flight().publish(Progress::Ready(ready.clone()));
                if self.wanted.ask == Ask::Whole {
                    self.proxy.cache.flights.forget_uncacheable(&self.wanted.key);
                }
            }
            _ => self.release_followers(lead, NoStoreReason::ZeroTtl),
        }
    }

    pub(super) fn fill(
        &self,
        arrived: Arrived,
        (storable, selection): Judged,
        part: Option<(Brings, Option<StoredParts>)>,
        private: Option<&Own>,
        lead: Lead,
    ) -> Outcome {
        // A part is stored under the URL's own key, whatever it says of the query.
        let said = NoVarySearch::of(arrived.response.headers()).filter(|_| part.is_none());
        let Ok(key) = self.key_of(said.as_ref(), private, arrived.began, lead.flight()) else {
            return self.pass_on(arrived, NoStoreReason::Purged, lead);
        };
        let (brings, onto) = part.unzip();
        let (mut head, upstream_body) = arrived.response.into_parts();
        let own = take_out(&mut head.headers, &storable);
        let compressible = may_be_coded(&self.route, storable.facts.status, &head.headers);
        let (filled, filler) = SharedBody::growing();
        let part = brings.as_ref().filter(|it| it.range != (0..it.complete_length));
        let parts = part.map(|Brings { range, complete_length }| {
            let new =
                StoredParts::new(range.clone(), *complete_length, filled.clone(), self.route.route.cache.max_object);
            Box::new(onto.flatten().map_or(new.clone(), |stored| stored.with(&new)))
        });
        let response = Arc::new(StoredResponse {
            facts: storable.facts,
            fields: StoredFields::pack(&head.headers),
            body: if parts.is_some() { SharedBody::absent() } else { filled.clone() },
            marks: Marks::since(arrived.epoch)
                .selected_by(selection)
                .tagged(arrived.tags.unwrap_or_default())
                .in_parts(parts),
            compressible,
            own_tag: false,
            hits: AtomicU32::new(0),
            listing: Default::default(),
        });
        let ready = Ready { key: key.clone(), response: response.clone(), forward_status: head.status };
        match private {
            Some(_) => self.release_followers(&lead, NoStoreReason::Private),
            None => self.announce(&ready, &lead),
        }
        let max_object = self.route.route.cache.max_object;
        let fill = Fill {
            proxy: self.proxy.clone(),
            key,
            response,
            filler,
            range: brings.as_ref().map(|it| it.range.clone()),
            max_object: private.map_or(max_object, |own| max_object.min(own.rules.max_session_bytes)),
            max_variants: self.route.route.cache.max_variants,
            uncacheable_memory: self.site.settings.memory.uncacheable_memory,
            session: private.map(|own| (own.name.clone(), arrived.began.1)),
            metrics: self.route.metrics.clone(),
            _lease: self.lease.clone(),
        };
        let anchor = filled.reader();
        fill.begin(upstream_body, lead, self.place.clone());
        let part = part.map(|it| it.range.clone());
        Outcome::Ready(Box::new(Brought { ready, own, no_store: None, part, _anchor: anchor }))
    }
}

/// Whether a response is not stored for all, but may be for the session that asked.
pub(super) fn is_personal(reason: NoStoreReason) -> bool {
    matches!(reason, NoStoreReason::Private | NoStoreReason::CookieRequest)
}

/// Whether larder may code what is stored with these fields.
pub(super) fn may_be_coded(route: &SiteRoute, status: StatusCode, headers: &HeaderMap) -> bool {
    let judge = |compression| compressible::judge(compression, status, headers, announced_length(headers));
    route.route.compression.as_ref().map(judge) == Some(CodingDecision::Code)
}

/// Takes out what must not be stored; what of it the client that asked still gets.
pub(super) fn take_out(headers: &mut HeaderMap, storable: &Storable) -> HeaderMap {
    for name in &storable.stripped {
        headers.remove(name);
    }
    let mut own = HeaderMap::new();
    for name in &storable.without {
        move_field(name, headers, &mut own);
    }
    own
}

pub(super) fn move_field(name: &HeaderName, from: &mut HeaderMap, to: &mut HeaderMap) {
    for value in from.get_all(name) {
        to.append(name.clone(), value.clone());
    }
    from.remove(name);
}
