//! Which differences of the query make none: looking up and storing by the No-Vary-Search of responses.

use super::Asked;
use super::fetch::Fetch;
use super::lookup;
use crate::cache::collapse::Flight;
use crate::cache::entry::{Entry, StoredResponse};
use crate::cache::key::CacheKey;
use crate::cache::searches::{Moment, PurgedMeanwhile};
use crate::policy::rules::KeyRules;
use crate::policy::search::{NO_VARY_SEARCH, NoVarySearch};

/// What is stored for a URL, and under which key if that is not its own but one that a rule makes of it. Of several the
/// one with the most recent response (RFC 9111 §4). Where there is nothing, the key of the latest rule.
pub(super) fn look_up(asked: &Asked<'_>, exact: &CacheKey) -> (Option<CacheKey>, Entry) {
    let cache = &asked.proxy.cache;
    let rules = match asked.route.route.key.ignore_no_vary_search {
        true => Default::default(),
        false => cache.searches.rules(exact),
    };
    let own = cache.memory.get(exact);
    if rules.is_empty() {
        return (None, own.unwrap_or_default());
    }
    let date = |entry: &Entry| lookup::select(asked, entry).ok().map(|(stored, _)| stored.facts.date);
    let under = rules.iter().map(|rule| exact.under(rule));
    let found = under.filter_map(|key| cache.memory.get(&key).map(|entry| (Some(key), entry)));
    let found = own.map(|entry| (None, entry)).into_iter().chain(found);
    found.max_by_key(|(_, entry)| date(entry)).unwrap_or_else(|| (Some(exact.under(&rules[0])), Entry::default()))
}

impl Fetch {
    /// Under which key a response is stored that says this of the query, and whose fetch began then. Older responses to
    /// the same URL under its other keys go: the most recent one is to be found.
    pub(super) fn key_of(
        &self,
        said: Option<&NoVarySearch>,
        began: Moment,
        flight: &Flight,
    ) -> Result<CacheKey, PurgedMeanwhile> {
        let (cache, exact) = (&self.proxy.cache, self.wanted.exact());
        let key = match said.filter(|_| !self.route.route.key.ignore_no_vary_search) {
            Some(rule) => {
                // First: a purge that learns of the rule from now on is to find the fetch.
                flight.will_store_as(&exact.under(rule));
                cache.searches.learn(exact, rule, began)?
            }
            None => exact.clone(),
        };
        for other in cache.searches.rules(exact).iter().map(|rule| exact.under(rule)).filter(|other| *other != key) {
            cache.memory.remove(&other);
        }
        if key != *exact {
            cache.memory.remove(exact);
            if cache.may_be_below(exact) {
                cache.lower.remove_url(exact.base());
            }
        }
        Ok(key)
    }
}

/// The key that a URL has by what a stored response says of the query.
pub(super) fn key_by(response: &StoredResponse, exact: &CacheKey, rules: &KeyRules) -> CacheKey {
    match said(response).filter(|_| !rules.ignore_no_vary_search) {
        Some(rule) => exact.under(&rule),
        None => exact.clone(),
    }
}

/// What a stored response says of the query.
pub(super) fn said(response: &StoredResponse) -> Option<NoVarySearch> {
    response.fields.get_bytes(&NO_VARY_SEARCH)?;
    NoVarySearch::of(&response.fields.unpack(0))
}
