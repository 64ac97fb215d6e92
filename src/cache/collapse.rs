//! Collapsing: many requests for one key wait for one fetch (RFC 9111 §4). The one that fetches is the leader, the
//! others are followers.

mod uncacheable;

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::entry::StoredResponse;
use super::epoch::Epoch;
use super::key::{BuildPassHash, CacheKey};
use super::purge::{Logged, PurgeLog, UnderWay};
use crate::policy::reason::NoStoreReason;
use crate::policy::time::Timestamp;
use uncacheable::Uncacheable;

/// How far a fetch has come; what followers wait for.
#[derive(Clone, Debug)]
pub enum Progress {
    /// The upstream has not answered yet.
    Fetching,
    /// Answer with this: its body may still be growing.
    Ready(Ready),
    /// The answer is not for sharing: each follower forwards for itself, at once.
    Uncacheable(NoStoreReason),
    /// The upstream failed; asking it again for each follower would only make things worse.
    Failed(FetchFailure),
}

/// A stored response that a fetch brought or confirmed.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The key under which it is stored.
    pub key: CacheKey,
    /// The response.
    pub response: Arc<StoredResponse>,
    /// The status of what the upstream sent: 304 for a confirmed one.
    pub forward_status: StatusCode,
}

/// Why a fetch failed, in the form that followers need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchFailure {
    /// What a client is answered.
    pub status: StatusCode,
    /// The word for it.
    pub word: &'static str,
}

/// A fetch under way.
#[derive(Debug)]
pub struct Flight {
    key: CacheKey,
    /// Under which key the response will be stored, where it said so itself.
    stored_as: OnceLock<CacheKey>,
    /// `None`: nobody can join, so that there is nobody to tell.
    progress: Option<watch::Sender<Progress>>,
    /// Which purges were known when it began. As long as it goes on, the log keeps those that came later.
    began: UnderWay,
}

impl Flight {
    fn shared(key: &CacheKey, began: UnderWay) -> Self {
        let progress = watch::Sender::new(Progress::Fetching);
        Flight { progress: Some(progress), ..Flight::alone(key, began) }
    }

    fn alone(key: &CacheKey, began: UnderWay) -> Self {
        Flight { key: key.clone(), stored_as: OnceLock::new(), progress: None, began }
    }

    /// The key it fetches.
    pub fn key(&self) -> &CacheKey {
        &self.key
    }

    /// Lets purges of another key reach it as well: the one under which its response will be stored.
    pub fn will_store_as(&self, key: &CacheKey) {
        let _ = self.stored_as.set(key.clone());
    }

    /// Which purges were known when it began: what it brings is of no use against later ones.
    pub fn epoch(&self) -> Epoch {
        self.began.epoch()
    }

    /// Whether a purge may match what it brings: as long as the upstream has not answered, nobody knows its tags.
    fn may_match(&self, purge: &Logged) -> bool {
        if purge.matches_url(&self.key) || self.stored_as.get().is_some_and(|key| purge.matches_url(key)) {
            return true;
        }
        let Some(progress) = &self.progress else { return false };
        match &*progress.borrow() {
            Progress::Ready(ready) => purge.find(&ready.response.meta(&ready.key)).is_some(),
            Progress::Fetching => purge.needs_answer(),
            // Nothing of these is shared.
            Progress::Uncacheable(_) | Progress::Failed(_) => false,
        }
    }

    /// Tells followers how far it has come.
    pub fn publish(&self, progress: Progress) {
        if let Some(told) = &self.progress {
            told.send_replace(progress);
        }
    }

    /// Waits until there is something to tell, at most `limit`; `None` when that has passed or the leader vanished.
    pub async fn wait(&self, limit: Duration) -> Option<Progress> {
        let mut progress = self.progress.as_ref()?.subscribe();
        let told = progress.wait_for(|progress| !matches!(progress, Progress::Fetching));
        let told = tokio::time::timeout(limit, told).await.ok()?.ok()?;
        Some(told.clone())
    }
}

/// What became of an attempt to join.
#[derive(Debug)]
pub enum Role {
    /// Nobody fetches yet: fetch, and hold on to the lead until the body has ended.
    Leader(Lead),
    /// Somebody does: wait.
    Follower(Arc<Flight>),
}

/// All fetches under way, and the keys that are not worth waiting for.
#[derive(Debug)]
pub struct Flights {
    /// Those that can be joined, by key and variant: requests that are known to select different variants do not wait
    /// for each other.
    under_way: Mutex<HashMap<u64, Arc<Flight>, BuildPassHash>>,
    log: Arc<PurgeLog>,
    uncacheable: Uncacheable,
    joined: AtomicU64,
    collapsed: AtomicU64,
    /// How many are under way that nobody can join.
    alone: AtomicU64,
}

impl Flights {
    /// None yet; each is to note its place in this log.
    pub fn new(log: Arc<PurgeLog>) -> Self {
        Flights {
            under_way: Mutex::default(),
            log,
            uncacheable: Uncacheable::default(),
            joined: AtomicU64::new(0),
            collapsed: AtomicU64::new(0),
            alone: AtomicU64::new(0),
        }
    }

    /// Joins the fetch of a key and variant, or begins one.
    pub fn join(self: &Arc<Self>, key: &CacheKey, variant: u64) -> Role {
        let flight_key = key.hash() ^ variant;
        let mut under_way = self.under_way.lock();
        match under_way.entry(flight_key) {
            Slot::Occupied(slot) if slot.get().key == *key => {
                self.joined.fetch_add(1, Ordering::Relaxed);
                return Role::Follower(slot.get().clone());
            }
            // Two keys of the same hash are told apart; the second one then fetches unshared.
            Slot::Occupied(_) => {}
            Slot::Vacant(slot) => {
                let flight = Arc::new(Flight::shared(key, self.log.begin()));
                slot.insert(flight.clone());
                drop(under_way);
                return Role::Leader(Lead { flights: self.clone(), flight_key: Some(flight_key), flight });
            }
        }
        drop(under_way);
        Role::Leader(self.alone(key))
    }

    /// Whether there is a fetch to join.
    pub fn is_under_way(&self, key: &CacheKey, variant: u64) -> bool {
        let under_way = self.under_way.lock();
        under_way.get(&(key.hash() ^ variant)).is_some_and(|flight| flight.key == *key)
    }

    /// Begins a fetch that nobody joins. What it brings is of no use against a later purge, like that of any other.
    pub fn alone(self: &Arc<Self>, key: &CacheKey) -> Lead {
        self.alone.fetch_add(1, Ordering::Relaxed);
        let flight = Arc::new(Flight::alone(key, self.log.begin()));
        Lead { flights: self.clone(), flight_key: None, flight }
    }

    /// Requests after a purge do not join what began before it. (That such a fetch does not store what it brings is
    /// the log's business.)
    pub fn let_go_of(&self, purge: &Logged) {
        self.under_way.lock().retain(|_, flight| !flight.may_match(purge));
    }

    /// Remembers that a key's answer could not be shared.
    pub fn remember_uncacheable(&self, key: &CacheKey, until: Timestamp) {
        self.uncacheable.remember(key.hash(), until);
    }

    /// Forgets that: its answer could be stored after all.
    pub fn forget_uncacheable(&self, key: &CacheKey) {
        self.uncacheable.forget(key.hash());
    }

    /// Whether a key's answer lately could not be shared.
    pub fn is_uncacheable(&self, key: &CacheKey, now: Timestamp) -> bool {
        self.uncacheable.has(key.hash(), now)
    }

    /// Fetches under way.
    pub fn under_way(&self) -> u64 {
        self.under_way.lock().len() as u64 + self.alone.load(Ordering::Relaxed)
    }

    /// Requests that waited for another's fetch so far.
    pub fn joined(&self) -> u64 {
        self.joined.load(Ordering::Relaxed)
    }

    /// Counts a request that was answered by another's fetch.
    pub fn count_collapsed(&self) {
        self.collapsed.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that were answered by another's fetch so far.
    pub fn collapsed(&self) -> u64 {
        self.collapsed.load(Ordering::Relaxed)
    }
}

/// The lead of a fetch. When it goes, the fetch is over, and followers that still wait are told.
#[derive(Debug)]
pub struct Lead {
    flights: Arc<Flights>,
    /// `None`: nobody can join.
    flight_key: Option<u64>,
    flight: Arc<Flight>,
}

impl Lead {
    /// The fetch.
    pub fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// Lets new requests begin a fetch of their own while this one goes on.
    pub fn let_go(&self) {
        let Some(flight_key) = &self.flight_key else { return };
        let mut under_way = self.flights.under_way.lock();
        if under_way.get(flight_key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            under_way.remove(flight_key);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.let_go();
        let Some(progress) = &self.flight.progress else {
            self.flights.alone.fetch_sub(1, Ordering::Relaxed);
            return;
        };
        progress.send_if_modified(|progress| {
            let vanished = matches!(progress, Progress::Fetching);
            if vanished {
                *progress = Progress::Uncacheable(NoStoreReason::Incomplete);
            }
            vanished
        });
    }
}
