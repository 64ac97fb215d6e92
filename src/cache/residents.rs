//! What the memory tier holds: a map bounded in bytes that gives up first what is worth least.
//!
//! Worth is GreedyDual-Size with frequency: how often a value is asked for, and what fetching it anew would cost, for
//! each byte that it occupies, above the worth of what was given up last, so that what is no longer asked for sinks.
//! Whoever was given up keeps its frequency for a while as a ghost; whoever was never seen begins low, so that a scan
//! passes through without harm. `benches/hit_ratio.rs` compares it with LRU and TinyLFU.
//!
//! A hit takes a shard's lock for reading and stores two numbers. Order is kept lazily: a value waits in its shard's
//! queue with the worth it had when it was queued, and its true worth, never lower, is looked at when its turn comes.

mod ghosts;
mod slots;

use std::cmp::Ordering as Order;
use std::collections::BinaryHeap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};

use hashbrown::HashTable;
use parking_lot::RwLock;

use super::key::CacheKey;
use ghosts::Ghosts;
use slots::Slots;

/// What a value occupies.
pub trait Weigh {
    /// Bytes, key included.
    fn weight(&self, key: &CacheKey) -> u64;
}

/// What becomes of a value.
#[derive(Debug)]
pub enum Change<V> {
    /// It stays as it is.
    Keep,
    /// This takes its place.
    Put(V),
    /// It goes.
    Remove,
}

/// A map from keys to values, bounded in bytes.
#[derive(Debug)]
pub struct Residents<V> {
    shards: Box<[Shard<V>]>,
    capacity: u64,
    weight: AtomicU64,
    /// The worth of what was given up last, as the bits of an `f64`; what is asked for now is worth that and more.
    floor: AtomicU64,
    evictions: AtomicU64,
    gone: Gone,
}

/// Is told of each key that goes, while nobody can add it again: it must not come back here.
pub struct Gone(pub Box<dyn Fn(&CacheKey) + Send + Sync>);

impl fmt::Debug for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gone")
    }
}

/// So many that cores rarely meet at one, so few that the least worth is soon found among them.
const SHARDS: usize = 32;

/// Beyond this many bytes a response costs its upstream for its bytes rather than for the request: without that, no
/// large one could hold its place among small ones. 128 KiB lost 0.3 points of hit ratio and won 0.3 of bytes.
const COSTLY: f64 = 128.0 * 1024.0;

/// Frequency is counted in quarters: a hit is one, a first sight a quarter.
const HIT: u16 = 4;
const FIRST_SIGHT: u16 = 1;
/// Where it stops counting.
const MOST: u16 = 255 * HIT;

#[derive(Debug)]
struct Shard<V> {
    inner: RwLock<Inner<V>>,
    /// What its queue begins with, as the bits of an `f64`, to be read without the lock.
    least: AtomicU64,
}

#[derive(Debug)]
struct Inner<V> {
    /// Places in `slots`, by the hash of the key that lies there.
    table: HashTable<u32>,
    slots: Slots<Resident<V>>,
    queue: BinaryHeap<Queued>,
    ghosts: Ghosts,
    /// Tells a resident from those that had its slot before.
    stamps: u32,
}

#[derive(Debug)]
struct Resident<V> {
    key: CacheKey,
    value: V,
    weight: u64,
    frequency: AtomicU16,
    /// Whether it was asked for since somebody wanted to know.
    asked: AtomicBool,
    stamp: u32,
    /// The floor when it was last asked for.
    floor: AtomicU64,
}

impl<V> Resident<V> {
    fn was_asked_for(&self) -> bool {
        self.asked.load(Ordering::Relaxed) && self.asked.swap(false, Ordering::Relaxed)
    }

    fn worth(&self) -> f64 {
        let frequency = f64::from(self.frequency.load(Ordering::Relaxed)) / f64::from(HIT);
        let benefit = 1.0 / self.weight.max(1) as f64 + 1.0 / COSTLY;
        f64::from_bits(self.floor.load(Ordering::Relaxed)) + frequency * benefit
    }
}

/// A resident's place in the queue, least worth first.
#[derive(Debug)]
struct Queued {
    worth: f64,
    slot: u32,
    stamp: u32,
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> Order {
        other.worth.total_cmp(&self.worth)
    }
}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Order::Equal
    }
}
impl Eq for Queued {}

impl<V: Clone + Weigh> Residents<V> {
    /// Room for `capacity` bytes.
    pub fn new(capacity: u64, gone: Gone) -> Self {
        Residents {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            capacity,
            weight: AtomicU64::new(0),
            floor: AtomicU64::new(0f64.to_bits()),
            evictions: AtomicU64::new(0),
            gone,
        }
    }

    /// The value of a key; being asked for raises its worth.
    pub fn get(&self, key: &CacheKey) -> Option<V> {
        self.look(key, |value| Some(value.clone()))
    }

    /// What `look` makes of the value of a key, whose worth that raises; not where it makes nothing of it. `look` must
    /// not come back here.
    pub fn look<T>(&self, key: &CacheKey, look: impl FnOnce(&V) -> Option<T>) -> Option<T> {
        let inner = self.shard(key).inner.read();
        let resident = inner.find(key)?;
        let seen = look(&resident.value)?;
        // Two hits at once may count as one: cheaper than to agree.
        let frequency = resident.frequency.load(Ordering::Relaxed);
        resident.frequency.store((frequency + HIT).min(MOST), Ordering::Relaxed);
        resident.floor.store(self.floor.load(Ordering::Relaxed), Ordering::Relaxed);
        resident.asked.store(true, Ordering::Relaxed);
        Some(seen)
    }

    /// The value of a key, for a look that says nothing about its worth.
    pub fn peek(&self, key: &CacheKey) -> Option<V> {
        self.glance(key, |value| Some(value.clone()))
    }

    /// The same as [`Residents::look`], without raising its worth.
    pub fn glance<T>(&self, key: &CacheKey, look: impl FnOnce(&V) -> Option<T>) -> Option<T> {
        look(&self.shard(key).inner.read().find(key)?.value)
    }

    /// Changes the value of a key, which nobody else changes meanwhile; `change` must not come back here. What is put
    /// is weighed, and others are given up until there is room; something larger than all room is not kept. Whether
    /// anything changed.
    pub fn update(&self, key: &CacheKey, change: impl FnOnce(Option<&V>) -> Change<V>) -> bool {
        let shard = self.shard(key);
        let mut inner = shard.inner.write();
        // Dropped when the lock is free again: whoever listens to its end may come back here.
        let _gone = match change(inner.find(key).map(|resident| &resident.value)) {
            Change::Keep => return false,
            Change::Remove => {
                let Some(gone) = self.take(&mut inner, key) else { return false };
                shard.look_again(&mut inner);
                drop(inner);
                Some(gone.value)
            }
            Change::Put(value) => {
                let weight = value.weight(key);
                let gone = if weight > self.capacity {
                    self.take(&mut inner, key).map(|gone| gone.value)
                } else {
                    self.put(&mut inner, key, value, weight)
                };
                shard.look_again(&mut inner);
                drop(inner);
                self.make_room();
                gone
            }
        };
        true
    }

    /// Removes a key.
    pub fn remove(&self, key: &CacheKey) -> Option<V> {
        let shard = self.shard(key);
        let mut inner = shard.inner.write();
        let gone = self.take(&mut inner, key)?;
        shard.look_again(&mut inner);
        drop(inner);
        Some(gone.value)
    }

    /// All that there is, a shard at a time, each as it was at one moment; no lock is held between them.
    pub fn by_shard(&self) -> impl Iterator<Item = Vec<(CacheKey, V)>> {
        self.shards.iter().map(|shard| {
            let inner = shard.inner.read();
            inner.slots.iter().map(|resident| (resident.key.clone(), resident.value.clone())).collect()
        })
    }

    /// What was asked for since the last call, a shard at a time; no lock is held between them.
    pub fn asked_for(&self) -> impl Iterator<Item = Vec<(CacheKey, V)>> {
        self.shards.iter().map(|shard| {
            let inner = shard.inner.read();
            let asked = inner.slots.iter().filter(|resident| resident.was_asked_for());
            asked.map(|resident| (resident.key.clone(), resident.value.clone())).collect()
        })
    }

    /// Bytes that all values occupy.
    pub fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Number of keys.
    pub fn len(&self) -> u64 {
        self.shards.iter().map(|shard| shard.inner.read().table.len() as u64).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values given up for room so far.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    fn shard(&self, key: &CacheKey) -> &Shard<V> {
        // The table uses the highest and the lowest bits.
        &self.shards[(key.hash() >> 32) as usize % SHARDS]
    }

    /// Puts a value in; what was there before.
    fn put(&self, inner: &mut Inner<V>, key: &CacheKey, value: V, weight: u64) -> Option<V> {
        if let Some(slot) = inner.slot(key)
            && let Some(resident) = inner.slots.get_mut(slot)
        {
            self.weight.fetch_add(weight, Ordering::Relaxed);
            self.weight.fetch_sub(std::mem::replace(&mut resident.weight, weight), Ordering::Relaxed);
            return Some(std::mem::replace(&mut resident.value, value));
        }
        let frequency = match inner.ghosts.take(key.hash()) {
            Some(before) => (before + HIT).min(MOST),
            None => FIRST_SIGHT,
        };
        inner.stamps = inner.stamps.wrapping_add(1);
        let floor = AtomicU64::new(self.floor.load(Ordering::Relaxed));
        let stamp = inner.stamps;
        let (frequency, asked) = (frequency.into(), AtomicBool::new(false));
        inner.add(Resident { key: key.clone(), value, weight, frequency, asked, stamp, floor });
        self.weight.fetch_add(weight, Ordering::Relaxed);
        None
    }

    /// Takes a key out; it leaves no ghost.
    fn take(&self, inner: &mut Inner<V>, key: &CacheKey) -> Option<Resident<V>> {
        let slot = inner.slot(key)?;
        let gone = inner.take(slot)?;
        self.weight.fetch_sub(gone.weight, Ordering::Relaxed);
        (self.gone.0)(key);
        Some(gone)
    }

    /// Gives up what is worth least until all fits.
    fn make_room(&self) {
        while self.weight.load(Ordering::Relaxed) > self.capacity {
            let least = self.shards.iter().min_by(|a, b| a.least().total_cmp(&b.least()));
            let Some(shard) = least.filter(|shard| shard.least().is_finite()) else { return };
            let mut inner = shard.inner.write();
            let gone = inner.take_least();
            if let Some((gone, _)) = &gone {
                (self.gone.0)(&gone.key);
            }
            shard.look_again(&mut inner);
            drop(inner);
            // What was queued with less than its worth may have gone back: then another shard may have less.
            let Some((gone, worth)) = gone else { continue };
            self.weight.fetch_sub(gone.weight, Ordering::Relaxed);
            self.evictions.fetch_add(1, Ordering::Relaxed);
            // Bits of positive numbers order as the numbers do.
            self.floor.fetch_max(worth.to_bits(), Ordering::Relaxed);
        }
    }
}

impl<V> Default for Shard<V> {
    fn default() -> Self {
        let inner = Inner {
            table: HashTable::new(),
            slots: Slots::default(),
            queue: BinaryHeap::new(),
            ghosts: Ghosts::default(),
            stamps: 0,
        };
        Shard { inner: RwLock::new(inner), least: AtomicU64::new(f64::INFINITY.to_bits()) }
    }
}

impl<V> Shard<V> {
    fn least(&self) -> f64 {
        f64::from_bits(self.least.load(Ordering::Relaxed))
    }

    fn look_again(&self, inner: &mut Inner<V>) {
        let least = inner.queue.peek().map_or(f64::INFINITY, |first| first.worth);
        self.least.store(least.to_bits(), Ordering::Relaxed);
    }
}

impl<V> Inner<V> {
    fn slot(&self, key: &CacheKey) -> Option<u32> {
        let is_there = |slot: &u32| self.slots.get(*slot).is_some_and(|resident| resident.key == *key);
        self.table.find(key.hash(), is_there).copied()
    }

    fn find(&self, key: &CacheKey) -> Option<&Resident<V>> {
        self.slots.get(self.slot(key)?)
    }

    /// Adds a key that is not there.
    fn add(&mut self, resident: Resident<V>) {
        let (hash, worth, stamp) = (resident.key.hash(), resident.worth(), resident.stamp);
        let slot = self.slots.add(resident);
        let slots = &self.slots;
        let hash_of = |slot: &u32| slots.get(*slot).map_or(0, |resident| resident.key.hash());
        self.table.insert_unique(hash, slot, hash_of);
        // By doubling, half of it would be room for nobody.
        if self.queue.len() == self.queue.capacity() {
            self.queue.reserve_exact(self.queue.len() / 8 + 16);
        }
        self.queue.push(Queued { worth, slot, stamp });
    }

    fn take(&mut self, slot: u32) -> Option<Resident<V>> {
        let gone = self.slots.take(slot)?;
        if let Ok(place) = self.table.find_entry(gone.key.hash(), |other| *other == slot) {
            place.remove();
        }
        self.forget_the_gone();
        Some(gone)
    }

    /// Takes out what is worth least, and says how much that was. `None`: it was worth more than it was queued with.
    fn take_least(&mut self) -> Option<(Resident<V>, f64)> {
        let first = self.queue.pop()?;
        let resident = self.slots.get(first.slot).filter(|resident| resident.stamp == first.stamp)?;
        let worth = resident.worth();
        if worth > first.worth {
            self.queue.push(Queued { worth, ..first });
            return None;
        }
        let (hash, frequency) = (resident.key.hash(), resident.frequency.load(Ordering::Relaxed));
        self.ghosts.add(hash, frequency, self.table.len());
        Some((self.take(first.slot)?, worth))
    }

    /// Places in the queue of what has been removed are skipped when their turn comes; many of them are dropped.
    fn forget_the_gone(&mut self) {
        if self.queue.len() > 2 * self.table.len() + 64 {
            let slots = &self.slots;
            self.queue.retain(|queued| slots.get(queued.slot).is_some_and(|resident| resident.stamp == queued.stamp));
        }
    }
}

#[cfg(test)]
mod tests;
