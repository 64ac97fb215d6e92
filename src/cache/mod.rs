//! What is kept, and who fetches it.
//!
//! [`key`] names a stored response, [`entry`] holds the variants of a key, [`body`] is filled by one and read by
//! many, [`memory`] bounds it all in bytes, [`collapse`] makes one fetch of many requests, [`index`] finds what a
//! purge means.

pub mod body;
pub mod collapse;
pub mod entry;
pub mod fields;
pub mod index;
pub mod key;
pub mod memory;
pub mod redis;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use collapse::Flights;
use key::CacheKey;
use memory::MemoryTier;

/// The cache: its tiers and the fetches under way.
#[derive(Debug)]
pub struct Cache {
    /// The memory tier.
    pub memory: MemoryTier,
    /// Fetches under way.
    pub flights: Arc<Flights>,
    purged: AtomicU64,
}

impl Cache {
    /// A cache with a memory budget in bytes.
    pub fn new(memory: u64) -> Self {
        Cache { memory: MemoryTier::new(memory), flights: Arc::default(), purged: AtomicU64::new(0) }
    }

    /// Removes all stored responses of the URL that a key names, and keeps fetches under way from storing theirs.
    /// How many stored responses there were.
    pub fn purge(&self, key: &CacheKey) -> u64 {
        // Fetches first: one that ends in between must not put back what is about to go.
        self.flights.purge(key.base());
        let removed = self.memory.purge(key);
        self.purged.fetch_add(removed, Ordering::Relaxed);
        removed
    }

    /// Removes everything. How many stored responses there were.
    pub fn purge_all(&self) -> u64 {
        self.flights.purge_all();
        let removed = self.memory.purge_all();
        self.purged.fetch_add(removed, Ordering::Relaxed);
        removed
    }

    /// Stored responses purged or invalidated so far.
    pub fn purged(&self) -> u64 {
        self.purged.load(Ordering::Relaxed)
    }
}
