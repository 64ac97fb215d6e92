//! One 304 for several stored responses: all that have the strong entity tag which it names (RFC 9111 §4.3.4).

use std::sync::Arc;

use super::fetch::freshen::freshened;
use super::fetch::{Arrived, Fetch};
use super::search;
use crate::cache::entry::StoredResponse;
use crate::policy::reason::NoStoreReason;
use crate::policy::validate;

impl Fetch {
    /// Freshens the others of the key that a 304 confirms by a strong entity tag, but for `done`: variants for other
    /// fields which are one representation.
    pub(super) fn freshen_alike(&self, arrived: &Arrived, done: Option<&Arc<StoredResponse>>) {
        let (wanted, headers) = (&self.wanted, arrived.response.headers());
        let (Ok(tags), true) = (&arrived.tags, validate::has_strong_tag(headers)) else { return };
        let others = wanted.entry.variants().iter().filter(|stored| !stored.own_tag);
        for stored in others.filter(|stored| !done.is_some_and(|done| Arc::ptr_eq(done, stored))) {
            if !validate::confirms(headers, &stored.fields.unpack(0), false) {
                continue;
            }
            let fresh = freshened(stored, true, headers, arrived.times, wanted, &self.received.headers, &self.route);
            // Where it says something else of the request, what selects it is not for this one to tell.
            let exact = wanted.found_in().map_or_else(|| wanted.exact(), |own| &own.key);
            let stays = fresh.response.selection() == stored.selection()
                && search::key_by(&fresh.response, exact, &self.route.route.key) == wanted.key;
            match fresh.no_store {
                None if stays => {
                    let tags = stored.tags().updated(tags, headers);
                    let response = Arc::new(fresh.response.marked(arrived.epoch, tags));
                    self.proxy.cache.replace(&wanted.key, stored, response);
                }
                // A reason that lies in this request is none against what others get.
                None
                | Some(NoStoreReason::CookieRequest | NoStoreReason::Authorization | NoStoreReason::RequestNoStore) => {
                }
                Some(_) => self.proxy.cache.remove_variant(&wanted.key, stored),
            }
        }
    }
}
