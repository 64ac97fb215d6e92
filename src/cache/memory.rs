//! The memory tier, bounded in bytes. What goes for room is decided by what it is worth; freshness is the policy's
//! business.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::entry::{Entry, StoredResponse};
use super::index::Index;
use super::key::CacheKey;
use super::purge::PurgeLog;
use super::residents::{Change, Gone, Residents, Weigh};
use super::searches::Searches;
use super::sessions::Sessions;

/// The memory tier.
#[derive(Debug)]
pub struct MemoryTier {
    pub(super) entries: Residents<Entry>,
    pub(super) index: Arc<Index>,
    pub(super) log: Arc<PurgeLog>,
    /// Purges in the log that memory has not carried out yet, and one for good once it is retired. As long as it is 0,
    /// look-ups do not ask the log: whoever raises the log's floor has to purge something as well.
    pub(super) bans: AtomicU64,
    /// Whether another process has taken over: nothing is used any more.
    retired: AtomicBool,
    searches: Arc<Searches>,
    sessions: Arc<Sessions>,
    size: u64,
    filling: AtomicU64,
}

/// Of the budget, what stored responses may take; the rest is slack for the tier's own tables.
const STORED_PERCENT: u64 = 94;
/// Of the budget, what fills in progress may take.
const FILLING_PERCENT: u64 = 25;

impl MemoryTier {
    /// A tier with a budget in bytes, which obeys this log of purges. `searches` and `sessions` are told what is
    /// stored.
    pub fn new(size: u64, log: Arc<PurgeLog>, searches: Arc<Searches>, sessions: Arc<Sessions>) -> Self {
        let (under_rules, of_sessions) = (searches.clone(), sessions.clone());
        let gone = Gone(Box::new(move |key| {
            under_rules.gone(key);
            of_sessions.gone(key);
        }));
        let entries = Residents::new(size / 100 * STORED_PERCENT, gone);
        let (bans, filling, retired) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        MemoryTier { entries, index: Arc::default(), log, bans, retired, searches, sessions, size, filling }
    }

    /// From now on nothing is used.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        // For good: what looks at memory alone must not miss it.
        self.bans.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether nothing is used any more.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// What is stored under a key.
    pub fn get(&self, key: &CacheKey) -> Option<Entry> {
        self.entries.look(key, |entry| self.usable(key, entry))
    }

    /// What of an entry may be used. Only while it is known to be in its place: a purge that is carried out meanwhile
    /// takes it out first, then its ban goes, and then the log forgets it.
    fn usable(&self, key: &CacheKey, entry: &Entry) -> Option<Entry> {
        if self.bans.load(Ordering::Acquire) == 0 { Some(entry.clone()) } else { self.allowed(key, entry) }
    }

    /// What `look` makes of what is stored under a key, without copying it; see [`Residents::look`]. `None` as well while
    /// purges are outstanding, which [`MemoryTier::get`] knows to obey.
    pub fn look<T>(&self, key: &CacheKey, look: impl FnOnce(&Entry) -> Option<T>) -> Option<T> {
        if self.bans.load(Ordering::Acquire) > 0 { None } else { self.entries.look(key, look) }
    }

    /// The same for who only looks: it does not count as used.
    pub fn peek(&self, key: &CacheKey) -> Option<Entry> {
        self.entries.glance(key, |entry| self.usable(key, entry))
    }

    /// What of every entry may still be used, in slices. Blocks; pauses between them.
    pub fn each_usable(&self, mut look: impl FnMut(&CacheKey, &Entry)) {
        self.each(|key, _| self.peek(key).iter().for_each(|usable| look(key, usable)));
    }

    /// Adds a variant; see [`Entry::with`]. What is stored is returned: a part may have been combined with others.
    pub fn insert(&self, key: &CacheKey, response: Arc<StoredResponse>, max_variants: usize) -> Arc<StoredResponse> {
        let mut stored = response.clone();
        self.entries.update(key, |existing| {
            let entry = existing.cloned().unwrap_or_default().with(response, max_variants);
            if let Some(newest) = entry.variants().first() {
                stored = newest.clone();
                self.list(key, newest);
            }
            self.searches.stored(key);
            Change::Put(entry)
        });
        self.account(key);
        stored
    }

    /// Adds a variant that comes from a lower tier, unless there is one for the same selection: that one is newer.
    pub fn promote(&self, key: &CacheKey, response: &Arc<StoredResponse>, max_variants: usize) {
        self.list(key, response);
        self.entries.update(key, |existing| {
            let existing = existing.cloned().unwrap_or_default();
            let is_whole = |variant: &Arc<StoredResponse>| variant.parts().is_none();
            let mut wholes = existing.variants().iter().filter(|variant| is_whole(variant));
            let is_there = wholes.any(|variant| variant.selection() == response.selection());
            if is_there {
                return Change::Keep;
            }
            self.searches.stored(key);
            Change::Put(existing.with(response.clone(), max_variants))
        });
        self.account(key);
    }

    /// Puts `new` in the place of `old`; false when `old` has gone meanwhile.
    pub fn replace(&self, key: &CacheKey, old: &Arc<StoredResponse>, new: Arc<StoredResponse>) -> bool {
        self.list(key, &new);
        let replaced =
            self.entries.update(key, |existing| match existing.and_then(|existing| existing.replacing(old, new)) {
                Some(entry) => Change::Put(entry),
                None => Change::Keep,
            });
        self.account(key);
        replaced
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
            joined.iter().for_each(|whole| self.list(key, whole));
            Change::Put(entry)
        });
        self.account(key);
        joined
    }

    /// Tells what a session holds, and removes what is too much for it.
    fn account(&self, key: &CacheKey) {
        if key.session().is_none() {
            return;
        }
        let held = self.entries.peek(key).map(|entry| entry.weight(key));
        for over in held.map(|bytes| self.sessions.holds(key, bytes)).unwrap_or_default() {
            self.remove(&over);
        }
        // Gone between the two: then nobody else takes it off the accounts.
        if self.entries.peek(key).is_none() {
            self.sessions.gone(key);
        }
    }

    /// Lists a response, so that purges find it. It is listed until it is dropped: before it is in the tier, and for a
    /// moment after, but never not while it is there.
    pub(super) fn list(&self, key: &CacheKey, response: &StoredResponse) {
        if response.listing.get().is_none()
            && let Some(listing) = self.index.list(key, response.tags())
        {
            // Who lists it at the same time lists it as well, and then once less.
            let _ = response.listing.set(Box::new(listing));
        }
    }

    /// Removes all variants of a key. How many there were.
    pub fn remove(&self, key: &CacheKey) -> u64 {
        self.entries.remove(key).map_or(0, |entry| entry.variants().len() as u64)
    }

    /// What was asked for since the last call. Blocks.
    pub fn asked_for(&self, mut look: impl FnMut(&CacheKey, &Entry)) {
        self.entries.asked_for().flatten().for_each(|(key, entry)| look(&key, &entry));
    }

    /// Keeps `bytes` more of the budget for a fill in progress; false when there is no room.
    pub fn reserve(&self, bytes: u64) -> bool {
        let most = self.room_for_fills();
        let before = self.filling.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= most;
        if !fits {
            self.filling.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Most bytes that fills in progress may take, all together.
    pub fn room_for_fills(&self) -> u64 {
        self.size / 100 * FILLING_PERCENT
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
        self.cost(key)
    }
}
