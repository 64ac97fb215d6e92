//! The memory tier, bounded in bytes. What goes for room is decided by what it is worth; freshness is the policy's
//! business.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::entry::{Entry, StoredResponse};
use super::index::UrlIndex;
use super::key::CacheKey;
use super::residents::{Change, Residents, Weigh};

/// The memory tier.
#[derive(Debug)]
pub struct MemoryTier {
    entries: Residents<Entry>,
    index: Arc<UrlIndex>,
    size: u64,
    filling: AtomicU64,
}

/// Of the budget, what stored responses may take; the rest is slack for the tier's own tables.
const STORED_PERCENT: u64 = 94;
/// Of the budget, what fills in progress may take.
const FILLING_PERCENT: u64 = 25;

impl MemoryTier {
    /// A tier with a budget in bytes.
    pub fn new(size: u64) -> Self {
        let entries = Residents::new(size / 100 * STORED_PERCENT);
        let index = Arc::new(UrlIndex::default());
        MemoryTier { entries, index, size, filling: AtomicU64::new(0) }
    }

    /// What is stored under a key.
    pub fn get(&self, key: &CacheKey) -> Option<Entry> {
        self.entries.get(key)
    }

    /// Adds a variant; see [`Entry::with`]. What is stored is returned: a part may have been combined with others.
    pub fn insert(&self, key: &CacheKey, response: Arc<StoredResponse>, max_variants: usize) -> Arc<StoredResponse> {
        self.index.insert(key);
        let mut stored = response.clone();
        self.entries.update(key, |existing| {
            let entry = existing.cloned().unwrap_or_default().with(response, max_variants);
            if let Some(newest) = entry.variants().first() {
                stored = newest.clone();
            }
            Change::Put(entry)
        });
        stored
    }

    /// Adds a variant that comes from a lower tier, unless there is one for the same selection: that one is newer.
    pub fn promote(&self, key: &CacheKey, response: &Arc<StoredResponse>, max_variants: usize) {
        self.index.insert(key);
        self.entries.update(key, |existing| {
            let existing = existing.cloned().unwrap_or_default();
            let is_whole = |variant: &Arc<StoredResponse>| variant.parts.is_none();
            let mut wholes = existing.variants().iter().filter(|variant| is_whole(variant));
            let is_there = wholes.any(|variant| variant.selection == response.selection);
            if is_there { Change::Keep } else { Change::Put(existing.with(response.clone(), max_variants)) }
        });
    }

    /// Puts `new` in the place of `old`; false when `old` has gone meanwhile.
    pub fn replace(&self, key: &CacheKey, old: &Arc<StoredResponse>, new: Arc<StoredResponse>) -> bool {
        self.entries.update(key, |existing| match existing.and_then(|existing| existing.replacing(old, new)) {
            Some(entry) => Change::Put(entry),
            None => Change::Keep,
        })
    }

    /// Removes one variant, if it is still there.
    pub fn remove_variant(&self, key: &CacheKey, gone: &Arc<StoredResponse>) {
        self.entries.update(key, |existing| match existing.map(|existing| existing.without(gone)) {
            Some(Some(entry)) => Change::Put(entry),
            Some(None) => Change::Remove,
            None => Change::Keep,
        });
    }

    /// Weighs an entry again, after one of its bodies grew, and joins parts that have become a whole by that. Those.
    pub fn reweigh(&self, key: &CacheKey) -> Vec<Arc<StoredResponse>> {
        let mut joined = Vec::new();
        self.entries.update(key, |existing| {
            let Some(existing) = existing else { return Change::Keep };
            let entry;
            (entry, joined) = existing.clone().joined();
            Change::Put(entry)
        });
        joined
    }

    /// Removes all variants of a key and of the keys that routes derived from the same URL. How many there were.
    pub fn purge(&self, key: &CacheKey) -> u64 {
        let derived = self.index.of_url(key.base());
        std::iter::once(key).chain(derived.iter()).map(|key| self.remove(key)).sum()
    }

    /// Removes everything. How many stored responses there were.
    pub fn purge_all(&self) -> u64 {
        let by_shard = self.entries.by_shard();
        by_shard.map(|entries| entries.iter().map(|(key, _)| self.remove(key)).sum::<u64>()).sum()
    }

    fn remove(&self, key: &CacheKey) -> u64 {
        self.index.remove(key);
        self.entries.remove(key).map_or(0, |entry| entry.variants().len() as u64)
    }

    /// Keeps `bytes` more of the budget for a fill in progress; false when there is no room.
    pub fn reserve(&self, bytes: u64) -> bool {
        let most = self.size / 100 * FILLING_PERCENT;
        let before = self.filling.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= most;
        if !fits {
            self.filling.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Gives back what a fill had reserved.
    pub fn release(&self, bytes: u64) {
        self.filling.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The budget in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of stored responses.
    pub fn bytes(&self) -> u64 {
        self.entries.weight()
    }

    /// Bytes of fills in progress.
    pub fn filling(&self) -> u64 {
        self.filling.load(Ordering::Relaxed)
    }

    /// Number of keys.
    pub fn entries(&self) -> u64 {
        self.entries.len()
    }

    /// Entries evicted for room so far.
    pub fn evictions(&self) -> u64 {
        self.entries.evictions()
    }
}

impl Weigh for Entry {
    fn weight(&self, key: &CacheKey) -> u64 {
        self.cost() + key.as_str().len() as u64
    }
}
