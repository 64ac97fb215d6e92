//! A purge takes effect: the log, fetches under way, memory, the tiers below.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::log::{Compiled, Heard, Logged, PurgeLog, Shared, Verdict};
use super::matcher::{BadTarget, Patterns};
use super::memory::Found;
use super::receipt::{Receipt, Receipts, TierState};
use super::target::{Mode, Purge, PurgeTarget};
use crate::cache::Cache;
use crate::cache::entry::StoredResponse;
use crate::cache::key::CacheKey;
use crate::cache::memory::MemoryTier;
use crate::policy::reason::Tier;
use crate::policy::time::Timestamp;

/// What the memory tier is called.
pub const MEMORY: &str = "memory";

/// Purges that memory has still to apply, and how many stored responses all purges matched.
#[derive(Debug, Default)]
pub struct Outstanding {
    /// Every purge waits for it, before it is in force and when it has been carried out: held for moments only.
    pub(super) seqs: Mutex<BTreeSet<u64>>,
    matched: AtomicU64,
}

/// A purge that is in force, of which nothing has been carried out yet. Where that is not done, it stays in force.
#[derive(Debug)]
#[must_use = "what it matches stays in its place until it is carried out"]
pub struct Ordered(Arc<Logged>);

impl Ordered {
    /// The purge's place in the log.
    pub fn logged(&self) -> &Arc<Logged> {
        &self.0
    }
}

/// A purge that is in force; what its patterns match has still to be removed from memory.
#[derive(Debug)]
#[must_use = "what its patterns match stays in memory until it is swept"]
pub struct Purging {
    logged: Arc<Logged>,
    memory: Arc<MemoryTier>,
    log: Arc<PurgeLog>,
    receipts: Arc<Receipts>,
    outstanding: Arc<Outstanding>,
    found: Found,
    finished: bool,
}

impl Cache {
    /// Purges. When this returns, the purge is in force on this node: nothing that was asked for before is used for a
    /// request from now on, nor stored. Exact targets are gone from memory; what patterns match goes when
    /// [`Purging::finish`] is called, which takes its time.
    ///
    /// # Errors
    /// A target is no pattern; nothing is purged.
    pub fn purge(&self, purge: Purge) -> Result<Purging, BadTarget> {
        let logged = self.log_as_outstanding(Compiled::new(purge)?, None);
        self.receipts.open(&logged.purge);
        Ok(self.apply(logged))
    }

    /// A purge that came by the sequence that the nodes share. `None`: it is this node's own, or known already.
    pub fn purge_shared(&self, purge: Purge, shared: Shared) -> Option<Purging> {
        if self.log.placed(&purge.id, shared).is_some() {
            return None;
        }
        let logged = self.log_as_outstanding(Compiled::or_everything(purge), Some(shared));
        Some(self.apply(logged))
    }

    /// The log has it when this returns, and memory has still to apply it.
    fn log_as_outstanding(&self, purge: Compiled, shared: Option<Shared>) -> Arc<Logged> {
        // Before it is logged: what looks at memory alone must not miss it.
        self.memory.bans.fetch_add(1, Ordering::AcqRel);
        let mut seqs = self.outstanding.seqs.lock();
        let logged = self.log.append_compiled(purge, shared);
        seqs.insert(logged.seq);
        logged
    }

    /// Purges that are in the log already, because another process on the disk's directory made them. Must be called
    /// within a tokio runtime.
    pub fn carry_out_heard(&self, heard: &Heard) {
        for logged in &heard.purges {
            self.memory.bans.fetch_add(1, Ordering::AcqRel);
            self.outstanding.seqs.lock().insert(logged.seq);
            self.apply(logged.clone()).finish_in_background();
        }
    }

    /// Another process has taken over, and knows of purges that this one does not: nothing stored is used any more, nor
    /// stored.
    pub fn retire(&self) {
        self.memory.retire();
    }

    /// The receipt of a purge, as it is now.
    pub fn receipt(&self, id: &str) -> Option<Receipt> {
        let receipt = self.receipts.get(id)?;
        if receipt.durable == Some(false) && self.log.has_written(id) {
            // The disk works again.
            self.receipts.durable(id, true);
            return self.receipts.get(id);
        }
        Some(receipt)
    }

    /// A purge that nobody asked for a receipt of. Where one of the targets is no pattern, everything is purged: what
    /// names them has been checked.
    pub fn invalidate(&self, targets: Vec<PurgeTarget>, now: Timestamp) -> Purging {
        self.carry_out(self.order(Purge::new(targets, Mode::Hard, now)))
    }

    /// The same in two steps, the second of which may take its time: when this returns, the purge is in force.
    pub fn order(&self, purge: Purge) -> Ordered {
        let logged = self.log_as_outstanding(Compiled::or_everything(purge), None);
        self.flights.let_go_of(&logged);
        Ordered(logged)
    }

    /// The second step: exact targets go from memory.
    pub fn carry_out(&self, Ordered(logged): Ordered) -> Purging {
        self.take_out(logged)
    }

    fn apply(&self, logged: Arc<Logged>) -> Purging {
        self.flights.let_go_of(&logged);
        self.take_out(logged)
    }

    fn take_out(&self, logged: Arc<Logged>) -> Purging {
        let found = self.memory.purge_exact(&logged);
        for (tier, matched) in self.lower.purge(&logged) {
            self.receipts.tier(&logged.purge.id, tier.word(), matched, TierState::Done);
        }
        let purging = Purging {
            memory: self.memory.clone(),
            log: self.log.clone(),
            receipts: self.receipts.clone(),
            outstanding: self.outstanding.clone(),
            finished: false,
            found,
            logged,
        };
        purging.receipts.tier(&purging.logged.purge.id, MEMORY, Some(purging.found.total()), TierState::Pending);
        purging
    }

    /// What purging these would match in memory.
    ///
    /// # Errors
    /// A target is no pattern.
    pub fn would_purge(&self, targets: &[PurgeTarget]) -> Result<Found, BadTarget> {
        let patterns = Patterns::new(targets)?;
        Ok(self.memory.count(targets, &patterns))
    }

    /// Purges that this node's own tiers have still to work off. They are in force all the same. (What is shared with
    /// other nodes is held against the log for as long as that reaches back, and never works it off.)
    pub fn outstanding_purges(&self) -> u64 {
        let applied = [MEMORY, Tier::Disk.word()].iter().filter_map(|tier| self.log.applied_by(tier)).min();
        applied.map_or(0, |applied| self.log.since(applied).len() as u64)
    }

    /// Stored responses purged or invalidated so far, as far as they were in memory.
    pub fn purged(&self) -> u64 {
        self.outstanding.matched.load(Ordering::Relaxed)
    }

    /// A response as it may be used: stale where it was purged softly since its epoch; not at all where it was purged.
    pub fn usable(&self, key: &CacheKey, response: Arc<StoredResponse>) -> Option<Arc<StoredResponse>> {
        if self.memory.is_retired() {
            return None;
        }
        match self.log.allows(&response.meta(key), response.epoch()) {
            Verdict::Allowed => Some(response),
            Verdict::SoftPurged { since } => match response.facts.stale_since {
                Some(before) if before <= since => Some(response),
                _ => Some(Arc::new(response.softened(since))),
            },
            Verdict::Purged => None,
        }
    }

    /// The same for one that is in memory, which is made to agree.
    pub(in crate::cache) fn checked(&self, key: &CacheKey, held: &Arc<StoredResponse>) -> Option<Arc<StoredResponse>> {
        let usable = self.usable(key, held.clone());
        match &usable {
            None => self.memory.remove_variant(key, held),
            Some(usable) if !Arc::ptr_eq(usable, held) => {
                self.memory.replace(key, held, usable.clone());
            }
            Some(_) => {}
        }
        usable
    }
}

impl Purging {
    /// The purge's place in the log.
    pub fn logged(&self) -> &Arc<Logged> {
        &self.logged
    }

    /// Whether there are patterns, so that [`Purging::finish`] takes as long as it takes to look at all of memory.
    pub fn has_to_sweep(&self) -> bool {
        !self.logged.patterns.is_empty()
    }

    /// Removes what the patterns match from memory, in slices, so that serving goes on. What was found over all.
    pub fn finish(mut self) -> Found {
        if self.has_to_sweep() {
            self.memory.sweep(&self.logged, &mut self.found);
        }
        self.finished()
    }

    /// The same where a later purge with the same patterns, in the same mode, is in force and will be finished: that one
    /// finds what this one would.
    pub fn leave_to_later(self) -> Found {
        self.finished()
    }

    fn finished(mut self) -> Found {
        self.outstanding.matched.fetch_add(self.found.total(), Ordering::Relaxed);
        self.receipts.tier(&self.logged.purge.id, MEMORY, Some(self.found.total()), TierState::Done);
        self.finished = true;
        std::mem::take(&mut self.found)
    }
}

impl Purging {
    /// [`Purging::finish`], without waiting for it where it takes long. Must be called within a tokio runtime.
    pub fn finish_in_background(self) {
        if self.has_to_sweep() {
            tokio::task::spawn_blocking(move || self.finish());
        } else {
            self.finish();
        }
    }
}

impl Drop for Purging {
    fn drop(&mut self) {
        // What could not be swept stays banned.
        if self.has_to_sweep() && !self.finished {
            return;
        }
        self.memory.bans.fetch_sub(1, Ordering::AcqRel);
        let applied = {
            let mut seqs = self.outstanding.seqs.lock();
            seqs.remove(&self.logged.seq);
            // Held, so that no purge is logged that has not been noted as outstanding.
            seqs.first().map_or_else(|| self.log.position(), |first| first - 1)
        };
        self.log.applied(MEMORY, applied);
    }
}
