//! The log of purges: what was purged after a fetch began must not be used any more, wherever it is kept.
//!
//! A fetch notes the log's position when it begins, and what it stores carries that [`Epoch`] for good. Whoever takes
//! something out of a tier, or is about to put something in, asks the log whether it was purged since. So a purge is in
//! force everywhere at once, and tiers remove what it matches in their own time; a purge that all of them have applied
//! is forgotten.

mod kept;
mod state;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::matcher::{BadTarget, Patterns};
use super::target::{Meta, Mode, Purge, PurgeTarget};
use crate::cache::epoch::Epoch;
use crate::cache::key::CacheKey;
use crate::policy::time::Timestamp;
pub use kept::Heard;
use kept::Kept;
use state::State;

/// A position in the sequence that the nodes share.
pub type Shared = (u64, u64);

/// Whether something may still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing that matches it was purged since.
    Allowed,
    /// It was purged.
    Purged,
    /// It was purged softly: stale since then.
    SoftPurged {
        /// Since when.
        since: Timestamp,
    },
}

/// A purge with its place in the log.
#[derive(Debug)]
pub struct Logged {
    /// Its place in this node's sequence.
    pub seq: u64,
    /// What was purged.
    pub purge: Purge,
    /// Those of its targets that are patterns.
    pub patterns: Patterns,
    shared: OnceLock<Shared>,
}

impl Logged {
    /// Its place in the sequence that the nodes share, once it has one.
    pub fn shared(&self) -> Option<Shared> {
        self.shared.get().copied()
    }

    /// The place of a target that matches a stored response.
    pub fn find(&self, meta: &Meta<'_>) -> Option<usize> {
        let exact = || self.purge.targets.iter().position(|target| target.is_exact() && target.names(meta));
        self.patterns.find(meta).or_else(exact)
    }

    /// Whether it matches whatever is stored under a key.
    pub fn matches_url(&self, key: &CacheKey) -> bool {
        let by_key = |target: &PurgeTarget| match target {
            PurgeTarget::Url(url) => url == key.url(),
            PurgeTarget::Key(text) => text == key.as_str(),
            _ => false,
        };
        self.patterns.find_by_url(key.url()).is_some() || self.purge.targets.iter().any(by_key)
    }

    /// Whether the answer alone can tell if it matches.
    pub fn needs_answer(&self) -> bool {
        use PurgeTarget::{Group, Tag};
        self.patterns.needs_answer() || self.purge.targets.iter().any(|target| matches!(target, Tag(_) | Group { .. }))
    }

    /// Since when what it matches is stale, where it is a soft one.
    pub fn soft_since(&self) -> Option<Timestamp> {
        (self.purge.mode == Mode::Soft).then(|| self.purge.time())
    }

    /// As far as is known: what has no place yet will have one after all others.
    fn shared_or_last(&self) -> Shared {
        self.shared().unwrap_or((u64::MAX, u64::MAX))
    }
}

/// The log of purges of this node.
#[derive(Debug)]
pub struct PurgeLog {
    /// The sequence number of the last purge.
    head: AtomicU64,
    state: RwLock<State>,
    shared: Mutex<Shared>,
    /// Where those who are under way began, in order, and how many there.
    under_way: Mutex<Vec<(u64, usize)>>,
    appended: watch::Sender<u64>,
    kept: Option<Kept>,
}

/// Keeps the log from forgetting purges that a fetch, or a look-up in a slow tier, must still be told of.
#[derive(Debug)]
pub struct UnderWay {
    log: Arc<PurgeLog>,
    epoch: Epoch,
}

impl UnderWay {
    /// Where the log was when it began.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut under_way = self.log.under_way.lock();
        if let Ok(at) = under_way.binary_search_by_key(&self.epoch.local, |(began, _)| *began) {
            under_way[at].1 -= 1;
            if under_way[at].1 == 0 {
                under_way.remove(at);
            }
        }
    }
}

impl PurgeLog {
    /// A log that ends with the process.
    pub fn in_memory() -> Arc<Self> {
        Arc::new(PurgeLog::beginning_at(0, None))
    }

    fn beginning_at(first: u64, kept: Option<Kept>) -> Self {
        PurgeLog {
            head: AtomicU64::new(first),
            state: RwLock::new(State::beginning_at(first)),
            shared: Mutex::default(),
            under_way: Mutex::default(),
            appended: watch::Sender::new(first),
            kept,
        }
    }

    /// Whether it is kept in a file.
    pub fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// The sequence number of the last purge.
    pub fn position(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Told of each purge, by its sequence number.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.appended.subscribe()
    }

    /// Where the log is now, and that somebody works from there: as long as that is held, the log forgets nothing that
    /// came after.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        let mut under_way = self.under_way.lock();
        let epoch = Epoch { local: self.position(), shared: *self.shared.lock() };
        note(&mut under_way, epoch.local);
        UnderWay { log: self.clone(), epoch }
    }

    /// As long as the result is held, the log forgets nothing that it remembers now, nor what comes after: for what was
    /// fetched long ago and is on its way between tiers.
    pub fn hold(self: &Arc<Self>) -> UnderWay {
        let mut under_way = self.under_way.lock();
        let epoch = Epoch { local: self.first_outstanding(), shared: *self.shared.lock() };
        note(&mut under_way, epoch.local);
        UnderWay { log: self.clone(), epoch }
    }

    /// Adds a purge of this node, which is in force when this returns. Its sequence number. What is kept in a file is
    /// there once [`PurgeLog::written`] says so.
    ///
    /// # Errors
    /// A target is no pattern; nothing is purged.
    pub fn append(&self, purge: Purge) -> Result<Arc<Logged>, BadTarget> {
        Ok(self.append_compiled(Compiled::new(purge)?, None))
    }

    /// The same of one whose patterns are compiled already, and that may have its place among those of the nodes.
    pub(super) fn append_compiled(&self, purge: Compiled, shared: Option<Shared>) -> Arc<Logged> {
        let mut state = self.state.write();
        let seq = self.position() + 1;
        let logged = Arc::new(purge.at(seq, shared));
        state.retain(logged.clone());
        state.bound();
        // In the order of the sequence, because the state is held.
        self.write(&logged, &state);
        self.head.store(seq, Ordering::Release);
        drop(state);
        self.appended.send_replace(seq);
        shared.inspect(|shared| self.reached(*shared));
        logged
    }

    /// Adds a purge that the nodes share, at its place among theirs; one of this node's own gets its place by this. A
    /// pattern that this node cannot compile counts as everything. Its place in this node's sequence, and whether it
    /// is new.
    pub fn append_shared(&self, purge: Purge, shared: Shared) -> (Arc<Logged>, bool) {
        match self.placed(&purge.id, shared) {
            Some(known) => (known, false),
            None => (self.append_compiled(Compiled::or_everything(purge), Some(shared)), true),
        }
    }

    /// Gives a purge that is known already, by its number, its place among those of the nodes.
    pub(super) fn placed(&self, id: &str, shared: Shared) -> Option<Arc<Logged>> {
        let known = self.state.read().by_id.get(id).cloned()?;
        let _ = known.shared.set(shared);
        self.reached(shared);
        Some(known)
    }

    /// This node has seen all that the nodes share up to this position.
    pub fn reached(&self, shared: Shared) {
        let mut position = self.shared.lock();
        *position = shared.max(*position);
    }

    /// How far this node has seen what the nodes share.
    pub fn shared_position(&self) -> Shared {
        *self.shared.lock()
    }

    /// Waits until all that was purged so far would survive the end of this process, but not that of the machine: for
    /// those whom a receipt would cost too much. False: it would not, or nobody knows in time.
    pub async fn kept(&self) -> bool {
        match &self.kept {
            Some(kept) => kept.journal.kept(self.position()).await,
            None => true,
        }
    }

    /// Waits until a purge is in the log's file. False: it cannot be written, so that a restart would forget it.
    pub async fn written(&self, seq: u64) -> bool {
        let Some(kept) = &self.kept else { return true };
        if kept.journal.written(seq).await {
            return true;
        }
        // Where somebody has removed the file, and nothing else, a new one can be made.
        self.write_again();
        kept.journal.written(seq).await
    }

    /// Whether what began at `epoch` of this node may be used. Where nothing was purged since, one comparison.
    pub fn allows(&self, meta: &Meta<'_>, epoch: Epoch) -> Verdict {
        let head = self.position();
        if epoch.local == head {
            return Verdict::Allowed;
        }
        let state = self.state.read();
        // What is ahead of the log cannot be this log's.
        if epoch.local > self.position() || epoch.local < state.floor {
            return Verdict::Purged;
        }
        state.verdict(meta, |logged| logged.seq > epoch.local)
    }

    /// Whether a purge other than `own` came after `epoch` that matches, soft or hard. Reads all that came after: for
    /// who holds an [`UnderWay`] of that time.
    pub fn is_overtaken(&self, meta: &Meta<'_>, epoch: Epoch, own: &Logged) -> bool {
        let state = self.state.read();
        let later = state.retained.iter().rev().take_while(|logged| logged.seq > epoch.local);
        // Not by the marks: of one name they keep the last, which is its own.
        later.filter(|logged| logged.purge.id != own.purge.id).any(|logged| logged.find(meta).is_some())
    }

    /// The same for what another node may have stored: by the sequence that the nodes share.
    pub fn allows_shared(&self, meta: &Meta<'_>, epoch: Epoch) -> Verdict {
        let state = self.state.read();
        if epoch.shared < state.shared_floor {
            return Verdict::Purged;
        }
        state.verdict(meta, |logged| logged.shared_or_last() > epoch.shared)
    }

    /// Purges that a tier which has applied the log up to `seq` has still to apply.
    pub fn since(&self, seq: u64) -> Vec<Arc<Logged>> {
        let state = self.state.read();
        let from = state.retained.partition_point(|logged| logged.seq <= seq);
        state.retained.range(from..).cloned().collect()
    }

    /// Purges of this node that have no place yet in the sequence that the nodes share.
    pub fn unshared(&self) -> Vec<Arc<Logged>> {
        self.state.read().retained.iter().filter(|logged| logged.shared().is_none()).cloned().collect()
    }

    /// A tier holds something: purges are kept until it has applied them.
    pub fn register(&self, tier: &'static str, applied: u64) {
        self.state.write().tiers.insert(tier, applied);
    }

    /// A tier has gone: nothing is kept for it any more.
    pub fn unregister(&self, tier: &'static str) {
        self.state.write().tiers.remove(tier);
    }

    /// A tier has removed all that purges up to `seq` match. What nobody needs any more is forgotten.
    pub fn applied(&self, tier: &'static str, seq: u64) {
        {
            let mut state = self.state.write();
            let Some(applied) = state.tiers.get_mut(tier) else { return };
            *applied = seq.max(*applied);
        }
        self.compact();
    }

    /// How far a tier has applied the log.
    pub fn applied_by(&self, tier: &'static str) -> Option<u64> {
        self.state.read().tiers.get(tier).copied()
    }

    /// What others stored before this position counts as purged from now on: of the time before, too little is known.
    pub fn raise_shared_floor(&self, floor: Shared) {
        let mut state = self.state.write();
        state.shared_floor = state.shared_floor.max(floor);
    }

    /// Forgets purges that every tier has applied and no fetch under way began before.
    fn compact(&self) {
        let under_way = self.under_way.lock();
        let oldest = under_way.first().map_or(u64::MAX, |(began, _)| *began);
        let mut state = self.state.write();
        let least = state.tiers.values().copied().min().unwrap_or(u64::MAX).min(oldest);
        let before = state.retained.len();
        state.forget(least);
        drop(under_way);
        if state.retained.len() < before {
            self.write_anew(self.position(), &state, false);
        }
    }

    /// Up to where nothing is outstanding for anybody: what a tier has surely applied that survived a restart.
    pub fn first_outstanding(&self) -> u64 {
        let state = self.state.read();
        state.retained.front().map_or_else(|| self.position(), |first| first.seq - 1)
    }

    /// Purges remembered.
    pub fn retained(&self) -> usize {
        self.state.read().retained.len()
    }
}

/// Notes that somebody began there.
fn note(under_way: &mut Vec<(u64, usize)>, began: u64) {
    match under_way.binary_search_by_key(&began, |(began, _)| *began) {
        Ok(at) => under_way[at].1 += 1,
        Err(at) => under_way.insert(at, (began, 1)),
    }
}

/// Later than any sequence that counted purges up to now: nobody purges a million times a second.
fn first_position(now: Timestamp) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or_default().saturating_mul(1000)
}

fn logged(seq: u64, purge: Purge, shared: Option<Shared>) -> Arc<Logged> {
    Arc::new(Compiled::or_everything(purge).at(seq, shared))
}

/// A purge that is not in the log yet. To compile its patterns may take its time: nobody should wait for that.
#[derive(Debug)]
pub(super) struct Compiled {
    purge: Purge,
    patterns: Patterns,
}

impl Compiled {
    pub(super) fn new(purge: Purge) -> Result<Self, BadTarget> {
        let patterns = Patterns::new(&purge.targets)?;
        Ok(Compiled { purge, patterns })
    }

    /// Where its patterns cannot be compiled here, everything, which is the safe side.
    pub(super) fn or_everything(purge: Purge) -> Self {
        match Patterns::new(&purge.targets) {
            Ok(patterns) => Compiled { purge, patterns },
            Err(error) => {
                tracing::error!(purge = purge.id, %error, "a purge of another version is taken to mean everything");
                let purge = Purge { targets: vec![PurgeTarget::All], ..purge };
                let patterns = Patterns::new(&purge.targets).unwrap_or_default();
                Compiled { purge, patterns }
            }
        }
    }

    fn at(self, seq: u64, shared: Option<Shared>) -> Logged {
        let Compiled { purge, patterns } = self;
        Logged { seq, purge, patterns, shared: shared.map(OnceLock::from).unwrap_or_default() }
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
