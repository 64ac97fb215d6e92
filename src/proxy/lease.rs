//! One fetch for all nodes: what another node fetches is waited for, and taken from Redis.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use super::Proxy;
use super::lookup::Wanted;
use crate::cache::entry::StoredResponse;
use crate::cache::record::Record;
use crate::cache::redis::Shared;
use crate::cache::redis::lease::{Leases, Turn};
use crate::cache::tiers::LowerTier;
use crate::cache::tiers::slot::Slot;
use crate::policy::reuse::{self, Reuse};
use crate::policy::vary::Selection;

/// How often it is looked whether the other node is done.
const LOOK: Duration = Duration::from_millis(25);

/// Takes the lease of what is wanted, so that this node fetches it; or waits for what another one fetches, which is in
/// memory then. `None`: this node is to fetch.
pub(super) async fn fetched_by_another(
    proxy: &Proxy,
    wanted: &Wanted,
    request: &HeaderMap,
    wait: Duration,
    max_variants: usize,
) -> Option<Arc<StoredResponse>> {
    let shared = proxy.cache.shared.as_ref().filter(|_| wanted.collapsible)?;
    let leases = shared.leases.as_ref()?;
    let slot = Slot::of_key(&wanted.key);
    if leases.take(slot, wait).await == Turn::Ours {
        // Another node may have stored it, and given the lease back, since it was looked up here.
        let stored = newer(proxy, shared, wanted, request, max_variants).await;
        if stored.is_some() {
            leases.give_back(slot).await;
        }
        return stored;
    }
    let until = Instant::now() + wait;
    loop {
        tokio::time::sleep(LOOK).await;
        // Asked for before the look: who gives it back has stored before.
        let is_taken = leases.is_taken(slot).await;
        if let Some(response) = newer(proxy, shared, wanted, request, max_variants).await {
            return Some(response);
        }
        if !is_taken || Instant::now() >= until {
            return None;
        }
    }
}

/// Lets other nodes fetch: what this one has brought is not for storing.
pub(super) async fn let_go(leases: &Leases, wanted: &Wanted) {
    leases.give_back(Slot::of_key(&wanted.key)).await;
}

/// What lies in Redis, where it answers the request and this node has nothing as new.
async fn newer(
    proxy: &Proxy,
    shared: &Shared,
    wanted: &Wanted,
    request: &HeaderMap,
    max_variants: usize,
) -> Option<Arc<StoredResponse>> {
    let tier = shared.tier.as_ref()?;
    let mut slot = Slot::of_key(&wanted.key);
    if !tier.may_hold(slot) {
        return None;
    }
    let mut record = tier.load(slot).await?;
    if let Record::Vary(_, names) = &record {
        slot = Slot::of_variant(&wanted.key, &Selection::of_names(names, request));
        record = tier.load(slot).await?;
    }
    let Record::Response(key, response) = record else { return None };
    let is_newer = || {
        let known = wanted.stored.as_ref();
        known.is_none_or(|known| response.facts.response_time > known.facts.response_time)
    };
    let answers = || {
        let decision = reuse::decide(&wanted.facts, &response.facts, proxy.clock.now());
        matches!(decision, Reuse::Fresh) && response.is_selected_by(request)
    };
    if key != wanted.key || !is_newer() || !answers() {
        return None;
    }
    proxy.cache.hold(&key, response, max_variants)
}
