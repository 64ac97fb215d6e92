//! What was purged goes from the disk, in the background, and the log is told when it has gone.
//!
//! A purge is in force at once, because what is loaded is held against the log. Here the log is worked off: records
//! that a purge may match have their heads read, a few at a time with pauses; those that it matches go, or are written
//! again as stale. Only when their files are deleted may the log forget the purge: what is killed before that begins
//! again with the next start.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Result};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::trouble::State;
use super::{Chore, DiskTier, Shared, Slot};
use crate::cache::entry::StoredResponse;
use crate::cache::key::CacheKey;
use crate::cache::purge::{Logged, PurgeLog, PurgeTarget, Verdict};
use crate::policy::reason::Tier;

/// Heads read before others get a turn.
const SLICE: usize = 64;
/// They get so many times as long as that took, and at least [`PAUSE`].
const PAUSES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(1);
/// Purges that come within this are worked off together.
const GATHER: Duration = Duration::from_millis(100);
/// Until a disk that is off, or not known yet, is looked at again.
const RETRY: Duration = Duration::from_millis(250);

impl DiskTier {
    /// Works off the log's purges, for ever.
    pub(in crate::cache) async fn apply_purges(self: Arc<Self>, log: Arc<PurgeLog>) {
        let mut appended = log.subscribe();
        loop {
            appended.mark_unchanged();
            let outstanding = log.since(log.applied_by(Tier::Disk.word()).unwrap_or_else(|| log.position()));
            let Some(last) = outstanding.last().map(|last| last.seq) else {
                if appended.changed().await.is_err() {
                    return;
                }
                tokio::time::sleep(GATHER).await;
                continue;
            };
            let began = Instant::now();
            if self.0.sweep(&outstanding, &log).await {
                log.applied(Tier::Disk.word(), last);
                tracing::debug!(purges = outstanding.len(), took = ?began.elapsed(), "disk tier: purges worked off");
            } else {
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

impl Shared {
    /// Removes what these purges match. Whether all of it is gone for good.
    async fn sweep(self: &Arc<Self>, purges: &[Arc<Logged>], log: &Arc<PurgeLog>) -> bool {
        if self.state.get() != State::On || !self.index.is_loaded() {
            return false;
        }
        for range in ranges(purges) {
            let mut after = None;
            loop {
                let slots = self.index.following(after, &range, SLICE);
                let Some(last) = slots.last() else { break };
                after = Some(*last);
                let (began, reader, held) = (Instant::now(), self.clone(), log.clone());
                let read = move || slots.into_iter().try_for_each(|slot| reader.agree(slot, &held));
                if let Err(error) = self.io.read(read).await {
                    self.failed("applying purges", &error);
                    return false;
                }
                tokio::time::sleep((began.elapsed() * PAUSES).max(PAUSE)).await;
            }
        }
        self.all_deleted().await
    }

    /// Waits until what was to be deleted by now has been. Whether nothing of it would be there after a restart.
    async fn all_deleted(self: &Arc<Self>) -> bool {
        let (tell, told) = oneshot::channel();
        if self.chores.send(Chore::Tell(tell)).is_err() || !told.await.unwrap_or(false) {
            return false;
        }
        let syncer = self.clone();
        let synced = self.io.write(move || syncer.files()?.sync_directories()).await;
        synced.inspect_err(|error| self.failed("applying purges", error)).is_ok()
    }

    /// A record was written: a purge that came meanwhile found nothing there. Whoever stores keeps the log from
    /// forgetting such a one until this is done.
    pub(super) async fn agree_with_log(self: &Arc<Self>, slot: Slot, key: &CacheKey, response: &StoredResponse) {
        let Some(log) = self.log.get() else { return };
        if log.allows(&response.meta(key), response.epoch()) == Verdict::Allowed {
            return;
        }
        let (reader, log) = (self.clone(), log.clone());
        if let Err(error) = self.io.read(move || reader.agree(slot, &log)).await {
            self.failed("applying purges", &error);
            self.discard(slot);
        }
    }

    /// Makes a record agree with the log: what was purged goes, what was purged softly becomes stale.
    fn agree(self: &Arc<Self>, slot: Slot, log: &PurgeLog) -> Result<()> {
        // Should another record come into its place meanwhile, what is written goes to the old file, which nobody reads.
        let (file, head) = match self.open_record(slot, File::options().read(true).write(true)) {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::IsADirectory => {
                self.damaged(Some(slot), 0);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let Some(head) = head else {
            self.damaged(Some(slot), 0);
            return Ok(());
        };
        let Some((meta, epoch)) = head.meta() else { return Ok(()) };
        match log.allows(&meta, epoch) {
            Verdict::Allowed => Ok(()),
            Verdict::Purged => {
                self.discard(slot);
                Ok(())
            }
            Verdict::SoftPurged { since } => match head.softened(since, &self.clock) {
                Some(bytes) => file.write_all_at(&bytes, 0),
                None => Ok(()),
            },
        }
    }
}

/// Where records that purges match may lie: all of one URL are together.
fn ranges(purges: &[Arc<Logged>]) -> Vec<RangeInclusive<Slot>> {
    let url = |target: &PurgeTarget| match target {
        PurgeTarget::Url(url) => Some(Slot::url_hash(&CacheKey::base_of_url(url))),
        PurgeTarget::Key(key) => Some(Slot::url_hash(key.split('\n').next().unwrap_or_default())),
        _ => None,
    };
    let targets = purges.iter().flat_map(|logged| &logged.purge.targets);
    let of = |from: u64, to: u64| Slot { url: from, rest: 0 }..=Slot { url: to, rest: u64::MAX };
    match targets.map(url).collect::<Option<BTreeSet<u64>>>() {
        Some(urls) => urls.into_iter().map(|url| of(url, url)).collect(),
        None => vec![of(0, u64::MAX)],
    }
}
