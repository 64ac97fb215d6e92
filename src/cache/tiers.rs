//! The tiers below memory, in order: what memory does not have is looked for there, and what is found comes up.
//!
//! Nothing here decides about freshness: what is found is put into memory, and the request is planned again. A fault
//! of a tier is a miss, never a request's error.

mod behind;
mod recency;
pub mod slot;

#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::HeaderMap;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Cache;
use super::disk::DiskTier;
use super::entry::StoredResponse;
use super::key::CacheKey;
use super::memory::MemoryTier;
use super::purge::{Logged, PurgeLog, PurgeTarget, UnderWay};
use super::record::Record;
use crate::policy::reason::Tier;
use crate::policy::vary::Selection;
use crate::telemetry::figures::TierFigures;
use behind::Behind;
use slot::Slot;

/// A tier that keeps records beyond this process.
pub trait LowerTier: Debug + Send + Sync + 'static {
    /// Which it is.
    fn tier(&self) -> Tier;

    /// Whether it is worth asking for a slot: no where it is known to hold nothing there, or is switched off.
    fn may_hold(&self, slot: Slot) -> bool;

    /// What lies in a slot. What does not verify is removed, and is nothing.
    fn load(&self, slot: Slot) -> BoxFuture<'_, Option<Record>>;

    /// Stores a record; where it cannot, what lay there before goes.
    fn store(&self, slot: Slot, record: Record) -> BoxFuture<'_, ()>;

    /// Removes what lies in a slot.
    fn remove(&self, slot: Slot) -> BoxFuture<'_, ()>;

    /// Removes all that belongs to a URL (the part of its keys that [`CacheKey::base`] is), at once as far as
    /// look-ups are concerned. How many stored responses there were, where it knows.
    fn remove_url(&self, base: &str) -> u64;

    /// Removes everything, likewise.
    fn remove_all(&self) -> u64;

    /// Removes what a purge matches as far as that is quick. The log keeps look-ups from the rest, until the tier says
    /// that it has none of it any more ([`PurgeLog::applied`](super::purge::PurgeLog::applied)). How many stored
    /// responses there were; `None`: it cannot tell.
    fn purge(&self, purge: &Logged) -> Option<u64> {
        if purge.soft_since().is_some() {
            return None;
        }
        let of = |target: &PurgeTarget| match target {
            PurgeTarget::Url(url) => Some(self.remove_url(&CacheKey::base_of_url(url))),
            PurgeTarget::All => Some(self.remove_all()),
            _ => None,
        };
        // Every one of them, whether or not the others can be counted.
        let counts: Vec<_> = purge.purge.targets.iter().map(of).collect();
        counts.into_iter().sum::<Option<u64>>().filter(|_| self.knows_all())
    }

    /// Whether it knows of all that it holds.
    fn knows_all(&self) -> bool {
        true
    }

    /// How many records are stored at once.
    fn writers(&self) -> usize;

    /// What it holds, and how it is.
    fn figures(&self) -> TierFigures;
}

/// The tiers below memory. Without any, nothing is ever looked for or queued.
#[derive(Debug, Default)]
pub struct Tiers {
    tiers: Vec<Arc<Behind>>,
    disk: Option<Arc<DiskTier>>,
    stop: CancellationToken,
    _stop: Option<DropGuard>,
}

impl Tiers {
    /// These tiers: the disk, then others, the nearest first. Must be called within a tokio runtime.
    pub fn start(disk: Option<Arc<DiskTier>>, further: Vec<Arc<dyn LowerTier>>) -> Tiers {
        let stop = CancellationToken::new();
        let nearest = disk.clone().map(|disk| disk as Arc<dyn LowerTier>);
        let tiers = nearest.into_iter().chain(further).map(|tier| Behind::start(tier, &stop)).collect();
        Tiers { tiers, disk, _stop: Some(stop.clone().drop_guard()), stop }
    }

    /// The disk, which takes bodies that are too large for memory.
    pub fn disk(&self) -> Option<&Arc<DiskTier>> {
        self.disk.as_ref()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tiers.is_empty()
    }

    /// What each holds and did.
    pub fn figures(&self) -> Vec<TierFigures> {
        self.tiers.iter().map(|behind| behind.figures()).collect()
    }

    /// Waits until all that was to be stored or removed has been.
    pub async fn settle(&self) {
        for behind in &self.tiers {
            behind.settle().await;
        }
    }

    /// Has the disk work off the purges in the log, and learn what of it is asked for in memory.
    pub(super) fn look_after(&self, memory: &Arc<MemoryTier>, log: &Arc<PurgeLog>) {
        let Some(disk) = &self.disk else { return };
        let stop = &self.stop;
        tokio::spawn(stop.clone().run_until_cancelled_owned(disk.clone().apply_purges(log.clone())));
        tokio::spawn(stop.clone().run_until_cancelled_owned(recency::tell(memory.clone(), disk.clone())));
    }

    /// Has a stored response stored in all of them. `held` keeps the log from forgetting a purge that may concern it,
    /// until it is.
    pub fn store(&self, key: &CacheKey, response: &Arc<StoredResponse>, held: &Arc<UnderWay>) {
        if key.stays_here() {
            return;
        }
        for behind in &self.tiers {
            if !response.selection().is_empty() {
                let names = response.selection().fields().map(|(name, _)| name.clone()).collect();
                behind.store(Slot::of_key(key), Record::Vary(key.clone(), names), held);
            }
            let slot = Slot::of_variant(key, response.selection());
            behind.store(slot, Record::Response(key.clone(), response.clone()), held);
        }
    }

    /// Whether something waits to be stored in a slot of a tier, or is just being stored.
    pub fn is_to_store(&self, tier: Tier, slot: Slot) -> bool {
        self.tiers.iter().any(|behind| behind.tier.tier() == tier && behind.is_to_store(slot))
    }

    /// Has a stored response removed from all of them.
    pub fn remove(&self, key: &CacheKey, response: &StoredResponse) {
        for behind in &self.tiers {
            behind.remove(Slot::of_variant(key, response.selection()));
        }
    }

    /// Applies a purge to all of them: which found how many stored responses, where it can tell.
    pub fn purge(&self, purge: &Logged) -> Vec<(Tier, Option<u64>)> {
        self.tiers.iter().map(|behind| (behind.tier.tier(), behind.tier.purge(purge))).collect()
    }

    /// Removes all that belongs to a URL from all of them.
    pub fn remove_url(&self, base: &str) {
        self.tiers.iter().for_each(|behind| {
            behind.tier.remove_url(base);
        });
    }

    /// What they are called.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.tiers.iter().map(|behind| behind.tier.tier().word())
    }
}

impl Cache {
    /// Whether a look below memory may bring something.
    pub fn may_be_below(&self, key: &CacheKey) -> bool {
        self.may_be_in(key).next().is_some()
    }

    /// Which of the tiers below memory may have something under a key.
    pub fn may_be_in(&self, key: &CacheKey) -> impl Iterator<Item = Tier> {
        let slot = Slot::of_key(key);
        let tiers = if self.memory.is_retired() { &[] } else { &self.lower.tiers[..] };
        tiers.iter().filter(move |behind| behind.tier.may_hold(slot)).map(|behind| behind.tier.tier())
    }

    /// Looks below memory for a stored response that a request with these fields selects; where there is one, it is
    /// in memory then. In which tier it was.
    pub async fn fetch_up(&self, key: &CacheKey, request: &HeaderMap, max_variants: usize) -> Option<Tier> {
        if self.memory.is_retired() {
            return None;
        }
        // What was purged since a record was stored, the log forgets in no tier as long as this is held.
        let _held = self.log.hold();
        for behind in &self.lower.tiers {
            let load = async |slot| {
                let known = || self.in_memory(key, slot);
                behind.load(slot, known, |record| self.brought_up(key, record, behind, slot, max_variants)).await
            };
            let found = match load(Slot::of_key(key)).await {
                Some(Record::Vary(_, names)) => {
                    load(Slot::of_variant(key, &Selection::of_names(&names, request))).await
                }
                found => found,
            };
            if let Some(Record::Response(_, response)) = found
                && response.is_selected_by(request)
            {
                return Some(behind.tier.tier());
            }
        }
        None
    }

    /// What memory holds of a slot.
    fn in_memory(&self, key: &CacheKey, slot: Slot) -> Option<Record> {
        let entry = self.memory.get(key)?;
        let mut wholes = entry.variants().iter().filter(|response| response.parts().is_none());
        let response = wholes.find(|response| Slot::of_variant(key, response.selection()) == slot)?;
        Some(Record::Response(key.clone(), response.clone()))
    }

    /// Puts what was loaded into memory, unless it belongs to another key or was purged: then it goes.
    fn brought_up(
        &self,
        key: &CacheKey,
        record: Record,
        behind: &Behind,
        slot: Slot,
        max_variants: usize,
    ) -> Option<Record> {
        if record.key() != key {
            behind.remove(slot);
            return None;
        }
        let Record::Response(_, response) = record else { return Some(record) };
        let usable = self.usable(key, response).and_then(|response| {
            self.memory.promote(key, &response, max_variants);
            // A purge between the question and the promotion found nothing to remove in memory.
            self.checked(key, &response)
        });
        if usable.is_none() {
            behind.remove(slot);
        }
        Some(Record::Response(key.clone(), usable?))
    }
}
