//! What is kept, and who fetches it.
//!
//! [`key`] names a stored response, [`entry`] holds the variants of a key, [`body`] is filled by one and read by
//! many, [`parts`] are what there is of a body in part, [`memory`] bounds it all in bytes, [`collapse`] makes one fetch
//! of many requests, [`index`] finds what a purge means. Below memory are further [`tiers`], which keep [`record`]s.

pub mod body;
pub mod collapse;
pub mod entry;
pub mod epoch;
pub mod fields;
pub mod index;
pub mod key;
pub mod memory;
pub mod parts;
pub mod purge;
pub mod record;
pub mod redis;
pub mod tiers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use collapse::Flights;
use entry::StoredResponse;
use epoch::Epoch;
use key::CacheKey;
use memory::MemoryTier;
use purge::{Mode, Purge, PurgeLog, PurgeTarget, Verdict};
use redis::Shared;
use tiers::Tiers;

use crate::policy::time::Timestamp;

/// The cache: its tiers and the fetches under way.
#[derive(Debug)]
pub struct Cache {
    /// The memory tier.
    pub memory: MemoryTier,
    /// The tiers below it.
    pub lower: Tiers,
    /// Fetches under way.
    pub flights: Arc<Flights>,
    /// What was purged.
    pub log: Arc<PurgeLog>,
    /// What is shared with other nodes.
    pub shared: Option<Shared>,
    purged: AtomicU64,
}

impl Cache {
    /// A cache with a memory budget in bytes and nothing below.
    pub fn new(memory: u64) -> Self {
        Cache::above(memory, Tiers::default(), PurgeLog::in_memory(Timestamp::default()), None)
    }

    /// A cache with a memory budget in bytes above these tiers.
    pub fn above(memory: u64, lower: Tiers, log: Arc<PurgeLog>, shared: Option<Shared>) -> Self {
        let (memory, flights) = (MemoryTier::new(memory), Arc::default());
        Cache { memory, lower, flights, log, shared, purged: AtomicU64::new(0) }
    }

    /// Which purges a fetch that begins now knows of.
    pub fn epoch(&self) -> Epoch {
        self.log.begin().epoch()
    }

    /// Whether no purge that matches a stored response came after its epoch.
    pub fn allows(&self, key: &CacheKey, response: &StoredResponse) -> bool {
        self.log.allows(&response.meta(key), response.epoch) == Verdict::Allowed
    }

    /// Puts what another node fetched into memory, unless it was purged meanwhile.
    pub fn take_over(
        &self,
        key: &CacheKey,
        response: Arc<StoredResponse>,
        max_variants: usize,
    ) -> Option<Arc<StoredResponse>> {
        self.allows(key, &response).then(|| self.memory.insert(key, response, max_variants))
    }

    /// A purge that came by the sequence that the nodes share. What it names beside URLs counts as everything.
    pub fn purge_shared(&self, purge: Purge, shared: purge::log::Shared) {
        let targets = purge.targets.clone();
        let before = self.log.position();
        self.log.append_shared(purge, shared);
        if self.log.position() == before {
            return; // this node's own
        }
        for target in targets {
            let key = match &target {
                PurgeTarget::Url(url) => CacheKey::from_text(format!("GET {url}"), "GET ".len() + url.len()),
                _ => None,
            };
            match key {
                Some(key) => self.remove_all_of(&key),
                None => self.remove_everything(),
            };
        }
    }

    /// Stores a variant in every tier; in those below memory by and by, and parts not at all. What is stored now is
    /// returned: a part may have been combined with others ([`Entry::with`](entry::Entry::with)).
    pub fn insert(&self, key: &CacheKey, response: &Arc<StoredResponse>, max_variants: usize) -> Arc<StoredResponse> {
        let stored = self.memory.insert(key, response.clone(), max_variants);
        if stored.parts.is_none() {
            self.lower.store(key, &stored);
        }
        stored
    }

    /// Takes note that the body of what was inserted is complete: it is weighed again, and parts that are a whole by
    /// that are joined.
    pub fn completed(&self, key: &CacheKey) {
        for joined in self.memory.reweigh(key) {
            self.lower.store(key, &joined);
        }
    }

    /// Puts `new` in the place of `old` in every tier, unless `old` has gone meanwhile.
    pub fn replace(&self, key: &CacheKey, old: &Arc<StoredResponse>, new: &Arc<StoredResponse>) {
        if !self.memory.replace(key, old, new.clone()) {
            return;
        }
        if old.selection != new.selection {
            self.lower.remove(key, old);
        }
        if new.parts.is_none() {
            self.lower.store(key, new);
        }
    }

    /// Removes one variant from every tier, if it is still there.
    pub fn remove_variant(&self, key: &CacheKey, gone: &Arc<StoredResponse>) {
        self.memory.remove_variant(key, gone);
        self.lower.remove(key, gone);
    }

    /// Removes all stored responses of the URL that a key names, and keeps fetches under way from storing theirs.
    /// How many stored responses there were.
    pub fn purge(&self, key: &CacheKey) -> u64 {
        self.note(PurgeTarget::Url(key.url().to_owned()));
        self.remove_all_of(key)
    }

    /// Has the purge noted in the log, from where other nodes and tiers learn of it.
    fn note(&self, target: PurgeTarget) {
        // A URL is no pattern that could be wrong.
        let _ = self.log.append(Purge::new(vec![target], Mode::Hard, Timestamp::default()));
    }

    fn remove_all_of(&self, key: &CacheKey) -> u64 {
        // Fetches first: one that ends in between must not put back what is about to go.
        self.flights.purge(key.base());
        let removed = self.memory.purge(key) + self.lower.remove_url(key.base());
        self.purged.fetch_add(removed, Ordering::Relaxed);
        removed
    }

    /// Removes everything. How many stored responses there were.
    pub fn purge_all(&self) -> u64 {
        self.note(PurgeTarget::All);
        self.remove_everything()
    }

    fn remove_everything(&self) -> u64 {
        self.flights.purge_all();
        let removed = self.memory.purge_all() + self.lower.remove_all();
        self.purged.fetch_add(removed, Ordering::Relaxed);
        removed
    }

    /// Stored responses purged or invalidated so far.
    pub fn purged(&self) -> u64 {
        self.purged.load(Ordering::Relaxed)
    }
}
