//! One fetch for all nodes: what another node fetches is waited for, and taken from Redis.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderMap;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::Proxy;
use super::lookup::Wanted;
use super::part::Ask;
use crate::cache::collapse::Ready;
use crate::cache::entry::StoredResponse;
use crate::cache::record::Record;
use crate::cache::redis::Shared;
use crate::cache::redis::lease::{Leases, Turn};
use crate::cache::tiers::LowerTier;
use crate::cache::tiers::slot::Slot;
use crate::policy::reason::Tier;
use crate::policy::reuse::{self, Reuse};
use crate::policy::vary::Selection;

/// How often it is looked whether the other node is done.
const LOOK: Duration = Duration::from_millis(25);

/// What becomes of a fetch that several nodes may want.
pub(super) enum Agreed {
    /// Another node has done it: this is in memory now.
    Fetched(Arc<StoredResponse>),
    /// This node is to fetch, and has taken the lease for that, where it could.
    Fetch(Option<Arc<Lease>>),
}

/// The lease of a fetch. Given back when that is over, so that others fetch at once; unless what it brought waits to be
/// stored in Redis, which gives the lease back when it is there.
#[derive(Debug)]
pub(super) struct Lease {
    proxy: Arc<Proxy>,
    leases: Arc<Leases>,
    slot: Slot,
    /// Where what it brought would be stored.
    brought: OnceLock<Slot>,
}

impl Lease {
    /// This is what the fetch brought.
    pub(super) fn brought(&self, ready: &Ready) {
        let _ = self.brought.set(Slot::of_variant(&ready.key, ready.response.selection()));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let waits = |slot: &Slot| self.proxy.cache.lower.is_to_store(Tier::Redis, *slot);
        if self.brought.get().is_some_and(waits) {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let (leases, slot) = (self.leases.clone(), self.slot);
            runtime.spawn(async move { leases.give_back(slot).await });
        }
    }
}

/// Takes the lease of what is wanted, so that this node fetches it; or waits for what another one fetches.
pub(super) async fn agree(
    proxy: &Arc<Proxy>,
    wanted: &Wanted,
    request: &HeaderMap,
    wait: Duration,
    max_variants: usize,
) -> Agreed {
    let shared = proxy.cache.shared.as_ref().filter(|_| wanted.collapsible && wanted.ask == Ask::Whole);
    let Some((shared, leases)) = shared.and_then(|shared| Some((shared, shared.leases.as_ref()?))) else {
        return Agreed::Fetch(None);
    };
    let slot = Slot::of_key(&wanted.key);
    let lease = match leases.take(slot, wait).await {
        Turn::Ours => {
            let (proxy, leases) = (proxy.clone(), leases.clone());
            Some(Arc::new(Lease { proxy, leases, slot, brought: OnceLock::new() }))
        }
        Turn::Anybodys => None,
        Turn::Theirs => {
            let fetched = fetched_by_another(proxy, shared, leases, wanted, request, wait, max_variants).await;
            return fetched.map_or(Agreed::Fetch(None), Agreed::Fetched);
        }
    };
    // Another node may have stored it, and given the lease back, since it was looked up here.
    let stored = newer(proxy, shared, wanted, request, max_variants).await;
    stored.map_or(Agreed::Fetch(lease), Agreed::Fetched)
}

/// Waits for what another node fetches. `None`: nothing comes of that.
async fn fetched_by_another(
    proxy: &Proxy,
    shared: &Shared,
    leases: &Leases,
    wanted: &Wanted,
    request: &HeaderMap,
    wait: Duration,
    max_variants: usize,
) -> Option<Arc<StoredResponse>> {
    let slot = Slot::of_key(&wanted.key);
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
