//! A lower tier with what stands before it: loads that are shared, and stores that wait in a bounded queue so that
//! no request waits for them.

use std::collections::hash_map::Entry as Place;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{Notify, OnceCell};
use tokio_util::sync::CancellationToken;

use super::LowerTier;
use super::slot::Slot;
use crate::cache::purge::UnderWay;
use crate::cache::record::Record;
use crate::telemetry::figures::TierFigures;

/// Most stores that wait.
const MOST_WAITING: usize = 4096;
/// Most bytes of bodies that wait with them.
const MOST_WAITING_BYTES: u64 = 64 << 20;

type Loads = Mutex<HashMap<Slot, Arc<OnceCell<Option<Record>>>>>;

/// A lower tier, its loads under way and its queue.
#[derive(Debug)]
pub(super) struct Behind {
    pub tier: Arc<dyn LowerTier>,
    loads: Loads,
    queue: Mutex<Queue>,
    wake: Notify,
    settled: Notify,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    stores: AtomicU64,
    removals: AtomicU64,
    dropped: AtomicU64,
    load_micros: AtomicU64,
}

/// One job a slot: the newest is the one that counts.
#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<Slot>,
    jobs: HashMap<Slot, Job>,
    bytes: u64,
    next: u64,
}

#[derive(Clone, Debug)]
struct Job {
    number: u64,
    work: Work,
}

#[derive(Clone, Debug)]
enum Work {
    /// The log forgets no purge that may concern it before it is there.
    Store(Record, Arc<UnderWay>),
    Remove,
}

impl Work {
    fn bytes(&self) -> u64 {
        match self {
            Work::Store(Record::Response(_, response), _) => response.body.held(),
            _ => 0,
        }
    }
}

impl Behind {
    /// Begins to work off the queue, until `stop`.
    pub(super) fn start(tier: Arc<dyn LowerTier>, stop: &CancellationToken) -> Arc<Behind> {
        let behind = Arc::new(Behind {
            loads: Mutex::default(),
            queue: Mutex::default(),
            wake: Notify::new(),
            settled: Notify::new(),
            counts: Counts::default(),
            tier,
        });
        for _ in 0..behind.tier.writers() {
            tokio::spawn(stop.clone().run_until_cancelled_owned(behind.clone().work()));
        }
        behind
    }

    /// What lies in a slot. However many ask at once, it is loaded once; `taken` sees it first, and says what of it
    /// may be used.
    pub(super) async fn load(
        &self,
        slot: Slot,
        known: impl Fn() -> Option<Record>,
        taken: impl Fn(Record) -> Option<Record>,
    ) -> Option<Record> {
        // Not there yet, or not gone yet.
        match self.waiting(slot) {
            Some(Work::Store(record, _held)) => return taken(record),
            Some(Work::Remove) => return None,
            None => {}
        }
        if !self.tier.may_hold(slot) {
            self.counts.misses.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let cell = self.loads.lock().entry(slot).or_default().clone();
        let _over = Over { loads: &self.loads, slot, cell: &cell };
        let load = async {
            // Whoever loaded it just before has left it in memory.
            if let Some(record) = known() {
                return Some(record);
            }
            let began = Instant::now();
            let record = self.tier.load(slot).await;
            self.counts.load_micros.fetch_add(began.elapsed().as_micros() as u64, Ordering::Relaxed);
            let usable = record.and_then(taken);
            let count = if usable.is_some() { &self.counts.hits } else { &self.counts.misses };
            count.fetch_add(1, Ordering::Relaxed);
            usable
        };
        cell.get_or_init(|| load).await.clone()
    }

    /// What is to be done about a slot. A copy: whoever asks may add to the queue by what it does with it.
    fn waiting(&self, slot: Slot) -> Option<Work> {
        self.queue.lock().jobs.get(&slot).map(|job| job.work.clone())
    }

    /// Whether something waits to be stored in a slot, or is just being stored.
    pub(super) fn is_to_store(&self, slot: Slot) -> bool {
        matches!(self.queue.lock().jobs.get(&slot), Some(Job { work: Work::Store(..), .. }))
    }

    /// Has a record stored by and by. Where there are too many waiting it is not, and what it would have replaced
    /// goes.
    pub(super) fn store(&self, slot: Slot, record: Record, held: &Arc<UnderWay>) {
        self.enqueue(slot, Work::Store(record, held.clone()));
    }

    /// Has what lies in a slot removed by and by; from now on it is not found any more.
    pub(super) fn remove(&self, slot: Slot) {
        self.enqueue(slot, Work::Remove);
    }

    fn enqueue(&self, slot: Slot, mut work: Work) {
        let mut queue = self.queue.lock();
        let bytes = work.bytes();
        if matches!(work, Work::Store(..)) && !queue.takes(bytes) {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            work = Work::Remove;
        }
        if matches!(work, Work::Remove) && !queue.jobs.contains_key(&slot) && !self.tier.may_hold(slot) {
            return;
        }
        queue.bytes += work.bytes();
        queue.next += 1;
        let job = Job { number: queue.next, work };
        match queue.jobs.insert(slot, job) {
            // Its turn stays as it is; who is at it now sees that there is a newer one.
            Some(old) => queue.bytes -= old.work.bytes(),
            None => queue.order.push_back(slot),
        }
        drop(queue);
        self.wake.notify_one();
    }

    async fn work(self: Arc<Self>) {
        loop {
            let Some((slot, job)) = self.queue.lock().next() else {
                self.wake.notified().await;
                continue;
            };
            match job.work {
                Work::Store(record, _held) => {
                    self.tier.store(slot, record).await;
                    self.counts.stores.fetch_add(1, Ordering::Relaxed);
                }
                Work::Remove => {
                    self.tier.remove(slot).await;
                    self.counts.removals.fetch_add(1, Ordering::Relaxed);
                }
            }
            let mut queue = self.queue.lock();
            queue.done(slot, job.number);
            if !queue.order.is_empty() {
                self.wake.notify_one(); // another may have slept while this one worked
            }
            if queue.jobs.is_empty() {
                self.settled.notify_waiters();
            }
        }
    }

    /// Waits until nothing waits.
    pub(super) async fn settle(&self) {
        loop {
            let settled = self.settled.notified();
            if self.queue.lock().jobs.is_empty() {
                return;
            }
            settled.await;
        }
    }

    /// What it holds and did.
    pub(super) fn figures(&self) -> TierFigures {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let waiting = self.queue.lock().jobs.len() as u64;
        TierFigures {
            hits: of(&self.counts.hits),
            misses: of(&self.counts.misses),
            stores: of(&self.counts.stores),
            removals: of(&self.counts.removals),
            dropped: of(&self.counts.dropped),
            load_micros: of(&self.counts.load_micros),
            waiting,
            ..self.tier.figures()
        }
    }
}

/// A load that somebody waits for. Once it is done, and also where all who waited have left, the next one is another.
struct Over<'a> {
    loads: &'a Loads,
    slot: Slot,
    cell: &'a Arc<OnceCell<Option<Record>>>,
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        let mut loads = self.loads.lock();
        // The map's and this one's.
        let is_last = Arc::strong_count(self.cell) <= 2;
        if let Place::Occupied(place) = loads.entry(self.slot)
            && Arc::ptr_eq(place.get(), self.cell)
            && (self.cell.initialized() || is_last)
        {
            place.remove();
        }
    }
}

impl Queue {
    fn takes(&self, bytes: u64) -> bool {
        self.jobs.len() < MOST_WAITING && self.bytes + bytes <= MOST_WAITING_BYTES
    }

    /// The next in turn. It stays among the jobs until it is done, so that look-ups find it.
    fn next(&mut self) -> Option<(Slot, Job)> {
        let slot = self.order.pop_front()?;
        Some((slot, self.jobs.get(&slot)?.clone()))
    }

    fn done(&mut self, slot: Slot, number: u64) {
        match self.jobs.entry(slot) {
            Place::Occupied(place) if place.get().number == number => {
                let done = place.remove();
                self.bytes -= done.work.bytes();
            }
            Place::Occupied(_) => self.order.push_back(slot),
            Place::Vacant(_) => {}
        }
    }
}
