//! Which records a disk tier holds, how large they are, and which goes for room.
//!
//! A clock: records go in the order in which they came, but one that was used since gets another round. About 100
//! bytes of memory a record.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::{Bound, RangeInclusive};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::files::Listed;
use crate::cache::tiers::slot::Slot;

/// What a file takes beside its bytes, on average: its inode and the unused end of its last block.
const FILE_OVERHEAD: u64 = 2048;
/// Rounds that frequent use earns at most.
const MOST_ROUNDS: u8 = 3;
/// Records that are given another round, or that go, before others get the lock: no look-up waits for long.
const MOST_AT_ONCE: usize = 1000;
/// Of the budget, what goes for room before memory is asked again what is in use.
const TURN: u64 = 16;

/// The records of a disk tier.
#[derive(Debug)]
pub(super) struct Index {
    inner: Mutex<Inner>,
    budget: u64,
    turned: Notify,
}

#[derive(Debug)]
struct Inner {
    /// In order, so that what belongs to a URL is together.
    records: BTreeMap<Slot, Meta>,
    /// Records in the order in which they are looked at for room, by slot and ticket; some of them gone or renewed.
    queue: VecDeque<(Slot, u32)>,
    /// Those that come before the queue: what was there at the start, and what was looked through since.
    front: VecDeque<(Slot, u32)>,
    bytes: u64,
    /// Bytes that went for room since memory was asked what is in use.
    evicted: u64,
    /// Of records that are being written.
    reserved: u64,
    next_ticket: u32,
    evictions: u64,
    /// While what earlier processes left is not known yet.
    loading: Option<Loading>,
}

#[derive(Clone, Copy, Debug)]
struct Meta {
    bytes: u64,
    ticket: u32,
    rounds: u8,
}

/// What became of records that are not known yet.
#[derive(Debug, Default)]
struct Loading {
    gone: HashSet<Slot>,
    urls_gone: HashSet<u64>,
    all_gone: bool,
}

impl Loading {
    fn has_gone(&self, slot: Slot) -> bool {
        self.all_gone || self.gone.contains(&slot) || self.urls_gone.contains(&slot.url)
    }
}

impl Index {
    /// An index that knows nothing yet.
    pub(super) fn new(budget: u64) -> Index {
        Index {
            budget,
            turned: Notify::new(),
            inner: Mutex::new(Inner {
                records: BTreeMap::new(),
                queue: VecDeque::new(),
                front: VecDeque::new(),
                bytes: 0,
                evicted: 0,
                reserved: 0,
                next_ticket: 0,
                evictions: 0,
                loading: Some(Loading::default()),
            }),
        }
    }

    /// Whether there may be a record. As long as not all are known, only looking tells.
    pub(super) fn may_hold(&self, slot: Slot) -> bool {
        let inner = self.inner.lock();
        let unknown = inner.loading.as_ref().is_some_and(|loading| !loading.has_gone(slot));
        unknown || inner.records.contains_key(&slot)
    }

    /// Whether it is known that there is one.
    pub(super) fn holds(&self, slot: Slot) -> bool {
        self.inner.lock().records.contains_key(&slot)
    }

    /// A record was used.
    pub(super) fn touch(&self, slot: Slot) {
        if let Some(meta) = self.inner.lock().records.get_mut(&slot) {
            meta.rounds = (meta.rounds + 1).min(MOST_ROUNDS);
        }
    }

    /// How many rounds a record has earned.
    #[cfg(test)]
    pub(super) fn rounds(&self, slot: Slot) -> u8 {
        self.inner.lock().records.get(&slot).map_or(0, |meta| meta.rounds)
    }

    /// A record was written. What goes for it.
    pub(super) fn insert(&self, slot: Slot, len: u64) -> Vec<Slot> {
        let mut inner = self.inner.lock();
        inner.insert(slot, len);
        self.make_room(&mut inner, self.budget)
    }

    /// Bytes are about to be written. What goes for them.
    pub(super) fn reserve(&self, bytes: u64) -> Vec<Slot> {
        let mut inner = self.inner.lock();
        inner.reserved += bytes;
        self.make_room(&mut inner, self.budget)
    }

    /// They are in a record now, or will never be.
    pub(super) fn release(&self, bytes: u64) {
        let mut inner = self.inner.lock();
        inner.reserved = inner.reserved.saturating_sub(bytes);
    }

    /// Makes room where there seems to be enough: the disk says otherwise. What goes.
    pub(super) fn shrink(&self) -> Vec<Slot> {
        let mut inner = self.inner.lock();
        let target = inner.bytes - inner.bytes / 32;
        self.make_room(&mut inner, target)
    }

    fn make_room(&self, inner: &mut Inner, budget: u64) -> Vec<Slot> {
        let gone = inner.make_room(budget);
        if inner.evicted > self.budget / TURN {
            inner.evicted = 0;
            self.turned.notify_one();
        }
        gone
    }

    /// Waits until so much has gone for room that it matters what of the rest is in use.
    pub(super) async fn turned(&self) {
        self.turned.notified().await;
    }

    /// The next records in the order of their slots, at most so many: those behind `after` and not behind `last`.
    pub(super) fn following(&self, after: Option<Slot>, range: &RangeInclusive<Slot>, most: usize) -> Vec<Slot> {
        let start = after.map_or(Bound::Included(*range.start()), Bound::Excluded);
        let inner = self.inner.lock();
        inner.records.range((start, Bound::Included(*range.end()))).take(most).map(|(slot, _)| *slot).collect()
    }

    /// A record goes. Whether one was known.
    pub(super) fn remove(&self, slot: Slot) -> bool {
        let mut inner = self.inner.lock();
        if let Some(loading) = &mut inner.loading {
            loading.gone.insert(slot);
        }
        inner.remove(slot)
    }

    /// All that belongs to a URL goes. What of it is known.
    pub(super) fn remove_url(&self, url: u64) -> Vec<Slot> {
        let mut inner = self.inner.lock();
        if let Some(loading) = &mut inner.loading {
            loading.urls_gone.insert(url);
        }
        let range = Slot { url, rest: 0 }..=Slot { url, rest: u64::MAX };
        let gone: Vec<Slot> = inner.records.range(range).map(|(slot, _)| *slot).collect();
        for slot in &gone {
            inner.remove(*slot);
        }
        gone
    }

    /// Everything goes. What of it is known.
    pub(super) fn remove_all(&self) -> Vec<Slot> {
        let mut inner = self.inner.lock();
        if let Some(loading) = &mut inner.loading {
            loading.all_gone = true;
        }
        inner.bytes = 0;
        inner.queue.clear();
        inner.front.clear();
        let records = std::mem::take(&mut inner.records);
        drop(inner);
        records.into_keys().collect()
    }

    /// Now all is known: `listed` is what there was. What of it is of no use any more, or goes for room.
    pub(super) fn loaded(&self, mut listed: Vec<Listed>) -> Vec<Slot> {
        listed.sort_unstable();
        let mut gone = Vec::new();
        for some in listed.chunks(MOST_AT_ONCE) {
            let mut inner = self.inner.lock();
            for Listed { slot, len, .. } in some {
                if inner.records.contains_key(slot) {
                    continue; // written meanwhile
                }
                match inner.loading.as_ref().is_some_and(|loading| loading.has_gone(*slot)) {
                    true => gone.push(*slot),
                    false => inner.insert_older(*slot, *len),
                }
            }
        }
        self.inner.lock().loading = None;
        loop {
            let more = self.make_room(&mut self.inner.lock(), self.budget);
            if more.is_empty() {
                return gone;
            }
            gone.extend(more);
        }
    }

    /// Whether all is known.
    pub(super) fn is_loaded(&self) -> bool {
        self.inner.lock().loading.is_none()
    }

    /// Bytes and number of records, and how many went for room.
    pub(super) fn figures(&self) -> (u64, u64, u64) {
        let inner = self.inner.lock();
        (inner.bytes, inner.records.len() as u64, inner.evictions)
    }
}

impl Inner {
    fn insert(&mut self, slot: Slot, len: u64) {
        let ticket = self.record(slot, len);
        self.queue.push_back((slot, ticket));
        self.look_through();
    }

    /// Of what was there before all that is in the queue.
    fn insert_older(&mut self, slot: Slot, len: u64) {
        let ticket = self.record(slot, len);
        self.front.push_back((slot, ticket));
    }

    fn record(&mut self, slot: Slot, len: u64) -> u32 {
        self.remove(slot);
        let bytes = len + FILE_OVERHEAD;
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.records.insert(slot, Meta { bytes, ticket: self.next_ticket, rounds: 0 });
        self.bytes += bytes;
        self.next_ticket
    }

    /// Those that went by themselves leave their places, which are given up a few at a time once there are as many of
    /// them as of records.
    fn look_through(&mut self) {
        if self.front.len() + self.queue.len() <= 2 * self.records.len() + 1024 {
            return;
        }
        for _ in 0..4 {
            let Some((slot, ticket)) = self.queue.pop_front() else { break };
            if self.records.get(&slot).is_some_and(|meta| meta.ticket == ticket) {
                self.front.push_back((slot, ticket));
            }
        }
        if self.queue.is_empty() {
            std::mem::swap(&mut self.queue, &mut self.front);
        }
    }

    fn remove(&mut self, slot: Slot) -> bool {
        let Some(meta) = self.records.remove(&slot) else { return false };
        self.bytes -= meta.bytes;
        true
    }

    fn make_room(&mut self, budget: u64) -> Vec<Slot> {
        let (mut gone, mut spared) = (Vec::new(), 0);
        // What is not known yet cannot be chosen; it is when it is.
        while self.bytes + self.reserved > budget && self.loading.is_none() && gone.len() < MOST_AT_ONCE {
            let Some((slot, ticket)) = self.front.pop_front().or_else(|| self.queue.pop_front()) else { break };
            let Some(meta) = self.records.get_mut(&slot).filter(|meta| meta.ticket == ticket) else { continue };
            if meta.rounds > 0 && spared < MOST_AT_ONCE {
                meta.rounds -= 1;
                spared += 1;
                self.queue.push_back((slot, ticket));
                continue;
            }
            self.evicted += meta.bytes;
            self.remove(slot);
            self.evictions += 1;
            gone.push(slot);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn slot(number: u64) -> Slot {
        Slot { url: number, rest: 0 }
    }

    fn loaded(budget: u64) -> Index {
        let index = Index::new(budget);
        assert!(index.loaded(Vec::new()).is_empty());
        index
    }

    const RECORD: u64 = 1000;

    #[test]
    fn oldest_goes_first_unless_it_was_used() {
        let index = loaded(3 * (RECORD + FILE_OVERHEAD));
        for number in 0..3 {
            assert!(index.insert(slot(number), RECORD).is_empty());
        }
        index.touch(slot(0));
        assert_eq!(index.insert(slot(3), RECORD), [slot(1)]);
        assert_eq!(index.insert(slot(4), RECORD), [slot(2)]);
        assert_eq!(index.insert(slot(5), RECORD), [slot(3)]);
        assert_eq!(index.insert(slot(6), RECORD), [slot(0)], "its second round is over");
        assert_eq!(index.figures(), (3 * (RECORD + FILE_OVERHEAD), 3, 4));
    }

    #[test]
    fn record_written_again_counts_once_and_is_new() {
        let index = loaded(2 * (RECORD + FILE_OVERHEAD));
        index.insert(slot(0), RECORD);
        index.insert(slot(1), RECORD);
        assert!(index.insert(slot(0), RECORD).is_empty());
        assert_eq!(index.insert(slot(2), RECORD), [slot(1)]);
    }

    #[test]
    fn room_is_made_for_what_is_being_written() {
        let index = loaded(2 * (RECORD + FILE_OVERHEAD));
        index.insert(slot(0), RECORD);
        assert_eq!(index.reserve(2 * RECORD), []);
        assert_eq!(index.reserve(2 * RECORD), [slot(0)]);
        index.release(4 * RECORD);
        assert!(index.insert(slot(1), RECORD).is_empty());
    }

    #[test]
    fn what_goes_while_loading_is_not_loaded() {
        let index = Index::new(1 << 30);
        assert!(index.may_hold(slot(1)), "nobody knows");
        index.remove(slot(1));
        index.remove_url(2);
        assert!(!index.may_hold(slot(1)) && !index.may_hold(Slot { url: 2, rest: 7 }));
        index.insert(slot(1), RECORD);
        let listed = |number| Listed { written: 0, slot: slot(number), len: RECORD };
        assert_eq!(index.loaded((0..4).map(listed).collect()), [slot(2)]);
        let held: Vec<bool> = (0..4).map(|number| index.may_hold(slot(number))).collect();
        assert_eq!(held, [true, true, false, true]);
    }

    #[test]
    fn loaded_records_are_older_than_those_written_meanwhile_and_go_by_age() {
        let index = Index::new(3 * (RECORD + FILE_OVERHEAD));
        index.insert(slot(9), RECORD);
        let listed = |(number, written)| Listed { written, slot: slot(number), len: RECORD };
        assert_eq!(index.loaded([(1, 30), (2, 10), (3, 20)].map(listed).to_vec()), [slot(2)]);
        assert_eq!(index.insert(slot(4), RECORD), [slot(3)]);
    }

    #[test]
    fn places_of_records_that_went_are_given_up_by_and_by_and_the_order_holds() {
        let index = loaded(1 << 30);
        for number in 0..3_000 {
            index.insert(slot(number), RECORD);
        }
        // Written again and again, but for the first.
        for round in 0..20 {
            for number in 1..3_000 {
                index.insert(slot(number), RECORD + round);
            }
            let inner = index.inner.lock();
            assert!(inner.queue.len() + inner.front.len() <= 4 * 3_000, "{}", inner.queue.len());
        }
        let half = index.figures().0 / 2;
        let gone: Vec<Slot> = std::iter::repeat_with(|| index.inner.lock().make_room(half)).take(3).flatten().collect();
        assert!(gone.len() >= 1_500);
        assert!(gone.iter().enumerate().all(|(at, gone)| *gone == slot(at as u64)), "the oldest, in order");
    }

    #[test]
    fn room_is_made_in_bounded_time_though_all_is_in_use() {
        let most = 3 * MOST_AT_ONCE as u64;
        let index = loaded(most * (RECORD + FILE_OVERHEAD));
        for number in 0..most {
            index.insert(slot(number), RECORD);
            (0..5).for_each(|_| index.touch(slot(number)));
        }
        assert_eq!(index.insert(slot(most), RECORD), [slot(MOST_AT_ONCE as u64)], "the first that is not spared");
    }

    #[test]
    fn records_follow_one_another_within_a_range() {
        let index = loaded(1 << 30);
        for number in [1, 3, 5, 7] {
            index.insert(slot(number), RECORD);
        }
        let range = slot(2)..=slot(7);
        assert_eq!(index.following(None, &range, 2), [slot(3), slot(5)]);
        assert_eq!(index.following(Some(slot(5)), &range, 2), [slot(7)]);
        assert_eq!(index.following(Some(slot(7)), &range, 2), []);
    }

    #[tokio::test]
    async fn turn_is_told_when_a_part_of_the_budget_has_gone() {
        let index = loaded(100 * (RECORD + FILE_OVERHEAD));
        for number in 0..100 + 100 / TURN {
            index.insert(slot(number), RECORD);
        }
        assert!(index.turned().now_or_never().is_none());
        index.insert(slot(1000), RECORD);
        assert!(index.turned().now_or_never().is_some());
        assert!(index.turned().now_or_never().is_none());
    }

    #[test]
    fn url_takes_all_its_records_along() {
        let index = loaded(1 << 30);
        for rest in [0, 5, u64::MAX] {
            index.insert(Slot { url: 1, rest }, RECORD);
        }
        index.insert(slot(2), RECORD);
        assert_eq!(index.remove_url(1).len(), 3);
        assert_eq!(index.remove_all(), [slot(2)]);
        assert_eq!(index.figures().0, 0);
    }
}
