//! Stored responses in Redis: one value a slot, in the bytes that the disk has as well.
//!
//! A value says by which purges it may be used: the nodes' common sequence, as far as the node that fetched it had seen
//! it. What a later purge matches is not used, whoever stored it and when.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header;
use parking_lot::Mutex;
use redis::cmd;

use super::breaker::State;
use super::client::Client;
use super::fault::Fault;
use super::gate::Gate;
use super::lease::Leases;
use crate::cache::entry::StoredResponse;
use crate::cache::epoch::Epoch;
use crate::cache::key::CacheKey;
use crate::cache::purge::{Logged, PurgeLog, Verdict};
use crate::cache::record::Record;
use crate::cache::tiers::LowerTier;
use crate::cache::tiers::slot::Slot;
use crate::clock::Clock;
use crate::policy::reason::Tier;
use crate::policy::time::Timestamp;
use crate::telemetry::figures::TierFigures;

/// The tier.
#[derive(Debug)]
pub struct RedisTier {
    client: Client,
    clock: Clock,
    max_object: u64,
    log: Arc<PurgeLog>,
    gate: Arc<Gate>,
    leases: Option<Arc<Leases>>,
    damaged: AtomicU64,
    purged: AtomicU64,
    removals: Arc<Removals>,
}

/// Values that are to go.
#[derive(Debug)]
struct Removals {
    client: Client,
    clock: Clock,
    owed: Mutex<Owed>,
}

/// Values that Redis owes us to remove, or that are just being removed: not read before it is done.
#[derive(Debug, Default)]
struct Owed {
    slots: HashSet<Slot>,
    /// All that was fetched up to then, where there were too many to remember each.
    all_until: Option<Timestamp>,
}

impl Owed {
    /// Whether it is new that this is owed.
    fn note(&mut self, slot: Slot, now: Timestamp) -> bool {
        if self.slots.len() >= MOST_OWED && !self.slots.contains(&slot) {
            self.slots.clear();
            self.all_until = Some(now);
        }
        self.slots.insert(slot)
    }

    /// Whether what was fetched at that time may be one of those that are not known one by one.
    fn may_be(&self, fetched: Timestamp) -> bool {
        self.all_until.is_some_and(|until| fetched <= until)
    }
}

/// Bytes of a record beside its body that are no reason to leave it out.
const HEAD: u64 = 64 * 1024;
/// Writes under way at once.
const WRITERS: usize = 4;
/// Removals that are remembered one by one while Redis is away.
const MOST_OWED: usize = 100_000;
/// How long a list of selecting fields is kept; it is written again with each response.
const VARY_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// A response that can be validated is kept beyond its use for as long as it was fresh, within these bounds.
const VALIDATION: (u64, u64) = (60, 3600);

impl RedisTier {
    /// A tier by way of a client. `gate` says when what was purged is known; `leases` are given back with what they
    /// were taken for.
    pub fn new(
        client: Client,
        clock: Clock,
        max_object: u64,
        log: Arc<PurgeLog>,
        gate: Arc<Gate>,
        leases: Option<Arc<Leases>>,
    ) -> Self {
        let removals = Arc::new(Removals { client: client.clone(), clock: clock.clone(), owed: Mutex::default() });
        RedisTier {
            client,
            clock,
            max_object,
            log,
            gate,
            leases,
            damaged: AtomicU64::new(0),
            purged: AtomicU64::new(0),
            removals,
        }
    }

    async fn take(&self, slot: Slot) -> Option<Record> {
        if self.removals.is_owed(slot) {
            self.removals.begin(slot);
            return None;
        }
        // Purges that come while Redis is asked are later than this.
        let began = self.log.begin();
        let bytes = match self.client.read::<Option<Vec<u8>>>(cmd("GET").arg(key(&self.client, slot))).await {
            Ok(bytes) => bytes?,
            Err(fault) => {
                if fault == Fault::Protocol {
                    // Something else lies there than values do.
                    self.is_damaged(slot);
                }
                return None;
            }
        };
        match Record::decode(&bytes, &self.clock) {
            Ok(Record::Response(_, response)) if self.removals.may_be_owed(&response) => {
                self.removals.begin(slot);
                None
            }
            Ok(Record::Response(key, response)) => match self.admitted(&key, response, began.epoch().local) {
                Some(response) => Some(Record::Response(key, response)),
                None => {
                    self.purged.fetch_add(1, Ordering::Relaxed);
                    self.removals.begin(slot);
                    None
                }
            },
            Ok(vary) => Some(vary),
            Err(_) => {
                self.is_damaged(slot);
                None
            }
        }
    }

    fn is_damaged(&self, slot: Slot) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(slot = %slot, "a value in Redis does not verify, and is removed");
        self.removals.begin(slot);
    }

    /// What another node may have stored becomes this node's own: held against the purges that all nodes share, and
    /// from now on against those of this node after `local`.
    fn admitted(&self, key: &CacheKey, mut response: Arc<StoredResponse>, local: u64) -> Option<Arc<StoredResponse>> {
        let verdict = self.log.allows_shared(&response.meta(key), response.epoch());
        let owned = Arc::get_mut(&mut response)?;
        let epoch = Epoch { local, ..owned.epoch() };
        owned.marks = std::mem::take(&mut owned.marks).known(epoch);
        match verdict {
            Verdict::Allowed => {}
            Verdict::SoftPurged { since } => {
                let earlier = owned.facts.stale_since.is_some_and(|already| already < since);
                if !earlier {
                    owned.facts.stale_since = Some(since);
                }
            }
            Verdict::Purged => return None,
        }
        Some(response)
    }

    async fn put(&self, slot: Slot, record: Record) {
        let done = self.try_put(slot, &record).await;
        if !done {
            // What lay there before is older than what there is now.
            self.removals.run(slot).await;
        }
        if let (Some(leases), Record::Response(key, _)) = (&self.leases, &record) {
            leases.give_back(Slot::of_key(key)).await;
        }
    }

    async fn try_put(&self, slot: Slot, record: &Record) -> bool {
        let Some(ttl) = self.ttl(record) else { return false };
        if let Record::Response(_, response) = record
            && response.body.len().is_none_or(|len| len > self.max_object)
        {
            return false;
        }
        if !self.client.takes_writes() {
            return false;
        }
        let Some(bytes) = record.encode(&self.clock).filter(|bytes| bytes.len() as u64 <= self.max_object + HEAD)
        else {
            return false;
        };
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let stored =
            self.client.store::<()>(cmd("SET").arg(key(&self.client, slot)).arg(bytes).arg("PX").arg(ttl)).await;
        if stored.is_ok() {
            self.removals.owed.lock().slots.remove(&slot);
        }
        stored.is_ok()
    }

    /// How long a record is of use: until it is neither fresh nor within a window in which stale is good enough, and
    /// some more where it can be validated. `None`: not at all.
    fn ttl(&self, record: &Record) -> Option<Duration> {
        let Record::Response(_, response) = record else { return Some(VARY_TTL) };
        let facts = &response.facts;
        let has_validator = (response.fields.get_bytes(&header::ETAG).is_some() && !response.own_tag)
            || response.last_modified().is_some();
        let validation = if has_validator { u64::from(facts.lifetime).clamp(VALIDATION.0, VALIDATION.1) } else { 0 };
        let seconds = facts.seconds_of_use(self.clock.now()) + validation;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }
}

fn key(client: &Client, slot: Slot) -> Vec<u8> {
    client.key(&format!("r:{slot}"))
}

impl Removals {
    fn is_owed(&self, slot: Slot) -> bool {
        self.owed.lock().slots.contains(&slot)
    }

    fn may_be_owed(&self, response: &StoredResponse) -> bool {
        self.owed.lock().may_be(response.facts.response_time)
    }

    /// Removes what lies there, without anybody waiting for it.
    fn begin(self: &Arc<Self>, slot: Slot) {
        let removals = self.clone();
        // What comes before it is done does not read it any more.
        if self.note(slot) || self.client.takes_writes() {
            tokio::spawn(async move { removals.run(slot).await });
        }
    }

    /// Removes what lies there; where that cannot be, it is owed, and not read before it is done.
    async fn run(&self, slot: Slot) {
        match self.client.store::<()>(cmd("UNLINK").arg(key(&self.client, slot))).await {
            Ok(()) => {
                self.owed.lock().slots.remove(&slot);
            }
            Err(_) => {
                self.note(slot);
            }
        }
    }

    /// Whether it is new that this is owed.
    fn note(&self, slot: Slot) -> bool {
        self.owed.lock().note(slot, self.clock.now())
    }
}

impl LowerTier for RedisTier {
    fn tier(&self) -> Tier {
        Tier::Redis
    }

    fn may_hold(&self, _slot: Slot) -> bool {
        self.client.is_up() && self.gate.is_in_step()
    }

    fn load(&self, slot: Slot) -> BoxFuture<'_, Option<Record>> {
        Box::pin(self.take(slot))
    }

    fn store(&self, slot: Slot, record: Record) -> BoxFuture<'_, ()> {
        Box::pin(self.put(slot, record))
    }

    fn remove(&self, slot: Slot) -> BoxFuture<'_, ()> {
        Box::pin(self.removals.run(slot))
    }

    /// Nothing to do: what lies in Redis is held against the log of purges before it is used.
    fn remove_url(&self, _base: &str) -> u64 {
        0
    }

    fn remove_all(&self) -> u64 {
        0
    }

    fn purge(&self, _purge: &Logged) -> Option<u64> {
        None
    }

    fn writers(&self) -> usize {
        WRITERS
    }

    fn figures(&self) -> TierFigures {
        let figures = self.client.figures();
        TierFigures {
            tier: Tier::Redis.word(),
            state: match (figures.state, figures.fault, figures.write_fault) {
                (State::Closed, _, Some(fault)) | (_, Some(fault), _) => fault.word(),
                // Not read: what another node stored may have been purged.
                (State::Closed, _, None) if !self.gate.is_in_step() => "purges-unknown",
                (State::Closed, _, None) => TierFigures::ON,
                (_, None, _) => "off",
            },
            damaged: self.damaged.load(Ordering::Relaxed),
            errors: figures.faults.iter().map(|(_, count)| count).sum(),
            ..TierFigures::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removals_beyond_what_is_remembered_are_owed_by_the_time_of_their_fetch() {
        let (mut owed, now) = (Owed::default(), Timestamp::from_secs(1000));
        let slot = |number| Slot { url: number, rest: 0 };
        for number in 0..MOST_OWED as u64 {
            assert!(owed.note(slot(number), now));
        }
        assert!(!owed.note(slot(7), now), "known already");
        assert!(!owed.may_be(now));
        assert!(owed.note(slot(u64::MAX), now));
        assert!(owed.slots.len() == 1 && owed.may_be(now));
        assert!(!owed.may_be(Timestamp::from_secs(1001)), "what was fetched since is of use");
    }
}
