//! What is kept, and who fetches it.
//!
//! [`key`] names a stored response, [`entry`] holds the variants of a key, [`body`] is filled by one and read by
//! many, [`parts`] are what there is of a body in part, [`file_copies`] are sent by the kernel, [`memory`] bounds it
//! all in bytes, [`collapse`] makes one fetch of many requests, [`purge`] takes out what is no longer to be used, which
//! [`index`] finds. Below memory are further [`tiers`], which keep [`record`]s.

pub mod body;
pub mod collapse;
pub mod disk;
pub mod entry;
pub mod epoch;
pub mod fields;
pub mod file_copies;
pub mod index;
pub mod key;
pub mod memory;
pub mod parts;
pub mod purge;
pub mod record;
pub mod redis;
pub mod residents;
mod room;
pub mod searches;
pub mod sessions;
pub mod tiers;

use std::sync::Arc;

use collapse::Flights;
use entry::StoredResponse;
use file_copies::FileCopies;
use key::CacheKey;
use memory::MemoryTier;
use purge::{Outstanding, PurgeLog, Receipts};
use redis::Shared;
use searches::Searches;
use sessions::{SessionName, Sessions};
use tiers::Tiers;

/// The cache: its tiers and the fetches under way.
#[derive(Debug)]
pub struct Cache {
    /// The memory tier.
    pub memory: Arc<MemoryTier>,
    /// Copies of hot bodies that the kernel sends.
    pub file_copies: Arc<FileCopies>,
    /// The tiers below it.
    pub lower: Tiers,
    /// Fetches under way.
    pub flights: Arc<Flights>,
    /// What was purged.
    pub log: Arc<PurgeLog>,
    /// What is shared with other nodes.
    pub shared: Option<Shared>,
    /// What became of purges.
    pub receipts: Arc<Receipts>,
    /// Which queries make no difference.
    pub searches: Arc<Searches>,
    /// What is stored for single sessions.
    pub sessions: Arc<Sessions>,
    /// Purges that memory has still to apply.
    outstanding: Arc<Outstanding>,
}

impl Cache {
    /// A cache with a memory budget in bytes and nothing below.
    pub fn new(memory: u64) -> Self {
        Cache::above(memory, Tiers::default(), PurgeLog::in_memory())
    }

    /// A cache with a memory budget in bytes above these tiers. Where one of them survives the process, so must the
    /// log.
    pub fn above(memory: u64, lower: Tiers, log: Arc<PurgeLog>) -> Self {
        log.register(purge::MEMORY, log.position());
        for tier in lower.names() {
            log.register(tier, log.first_outstanding());
        }
        let searches = Arc::new(Searches::default());
        let sessions = Arc::new(Sessions::default());
        let file_copies = FileCopies::new(memory);
        let memory = Arc::new(MemoryTier::new(memory, log.clone(), searches.clone(), sessions.clone()));
        lower.look_after(&memory, &log);
        Cache {
            memory,
            file_copies,
            lower,
            flights: Arc::new(Flights::new(log.clone())),
            shared: None,
            receipts: Arc::default(),
            searches,
            sessions,
            outstanding: Arc::default(),
            log,
        }
    }

    /// Stores a variant in every tier, in those below memory by and by; not what was purged since its epoch. Whether
    /// it is stored.
    pub fn insert(&self, key: &CacheKey, response: Arc<StoredResponse>, max_variants: usize) -> bool {
        self.hold(key, response, max_variants).is_some_and(|held| self.keep(key, held))
    }

    /// The first half of [`Cache::insert`]: from now on memory answers with it, though its body may still grow. What is
    /// stored is returned: a part may have been combined with others ([`Entry::with`](entry::Entry::with)).
    pub fn hold(
        &self,
        key: &CacheKey,
        response: Arc<StoredResponse>,
        max_variants: usize,
    ) -> Option<Arc<StoredResponse>> {
        let response = self.usable(key, response)?;
        Some(self.memory.insert(key, response, max_variants))
    }

    /// The second half, when its body is complete: parts that are a whole by that are joined, and the tiers below get
    /// what is no part.
    pub fn keep(&self, key: &CacheKey, held: Arc<StoredResponse>) -> bool {
        let log_held = Arc::new(self.log.hold());
        // A purge between the question and the insertion found nothing in memory.
        let Some(kept) = self.checked(key, &held) else { return false };
        self.completed(key);
        if kept.parts().is_none() {
            self.lower.store(key, &kept, &log_held);
        }
        true
    }

    /// Takes note that a body under a key is complete: it is weighed again, and parts that are a whole by that are
    /// joined.
    pub fn completed(&self, key: &CacheKey) {
        let log_held = Arc::new(self.log.hold());
        for joined in self.memory.reweigh(key) {
            self.lower.store(key, &joined, &log_held);
        }
    }

    /// Puts `new` in the place of `old` in every tier, unless `old` has gone meanwhile, or `new` was purged.
    pub fn replace(&self, key: &CacheKey, old: &Arc<StoredResponse>, new: Arc<StoredResponse>) {
        let log_held = Arc::new(self.log.hold());
        let Some(new) = self.usable(key, new) else { return self.remove_variant(key, old) };
        if !self.memory.replace(key, old, new.clone()) {
            return;
        }
        let Some(new) = self.checked(key, &new) else { return };
        // A body that is on disk alone moves there.
        if old.selection() != new.selection() && new.body.stored().is_none() {
            self.lower.remove(key, old);
        }
        if new.parts().is_none() {
            self.lower.store(key, &new, &log_held);
        }
    }

    /// Removes one variant from every tier, if it is still there.
    pub fn remove_variant(&self, key: &CacheKey, gone: &Arc<StoredResponse>) {
        self.memory.remove_variant(key, gone);
        self.lower.remove(key, gone);
    }

    /// A session ends: removes what is stored for it. What is under way for it asks before it is stored.
    pub fn end_session(&self, session: &SessionName) {
        for key in self.sessions.end(session) {
            self.memory.remove(&key);
        }
    }
}
