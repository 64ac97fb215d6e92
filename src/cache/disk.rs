//! The disk tier: records as files, which survive a restart.
//!
//! Whatever may block runs on a few threads of its own (`io`). What is wrong with the disk is never a request's
//! error: the tier switches itself off, looks again now and then, and comes back (`trouble`).

mod claim;
mod files;
mod index;
mod io;
mod records;
pub mod spill;
pub mod stored_body;
mod sweep;
mod trouble;

#[cfg(test)]
mod tests;

use std::fs;
use std::io::{ErrorKind, Result};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::purge::{Heard, PurgeLog};
use super::record::Record;
use super::tiers::LowerTier;
use super::tiers::slot::Slot;
use crate::clock::Clock;
use crate::config::settings::DiskTier as Settings;
use crate::policy::reason::Tier;
use crate::telemetry::figures::TierFigures;
use files::Files;
use index::Index;
use io::Io;
use records::{Found, GivenUp};
use trouble::{Backoff, Current, State};

/// Records stored at a time.
const WRITERS: usize = 4;
/// More files than this waiting to be deleted, and storing waits for them.
const MOST_TO_DELETE: u64 = 20_000;

/// The disk tier.
#[derive(Debug)]
pub struct DiskTier(Arc<Shared>);

/// What the tier and the bodies that lie in it share.
#[derive(Debug)]
pub(super) struct Shared {
    settings: Settings,
    clock: Clock,
    io: Io,
    index: Index,
    /// The directory, once it is ours.
    files: OnceLock<Files>,
    /// The log of purges that goes with it.
    log: OnceLock<Arc<PurgeLog>>,
    /// Held while the directory is taken, so that the log goes where it belongs.
    taking: Mutex<()>,
    /// Told of purges of other processes on the directory.
    heard: OnceLock<UnboundedSender<Heard>>,
    state: Current,
    backoff: Mutex<Backoff>,
    errors: AtomicU64,
    damaged: AtomicU64,
    to_delete: AtomicU64,
    chores: Sender<Chore>,
    /// For the thread that does them, which takes it once there is a directory.
    chores_to_do: Mutex<Option<Receiver<Chore>>>,
    runtime: Handle,
}

/// What is done on a thread of its own, one after the other.
enum Chore {
    /// Find out what earlier processes left.
    Load,
    Delete(Slot),
    /// Try again what could not be deleted.
    DeleteOwed,
    /// Delete a file that nothing came of.
    Unlink(PathBuf),
    /// Say that all before this was done: whether nothing is owed.
    Tell(oneshot::Sender<bool>),
}

impl DiskTier {
    /// Opens a directory. When that fails, it is tried again by and by; the log says why. Must be called within a
    /// tokio runtime.
    pub fn open(settings: &Settings, clock: Clock) -> Arc<DiskTier> {
        let (chores, to_do) = mpsc::channel();
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            clock,
            io: Io::new(),
            index: Index::new(settings.size),
            files: OnceLock::new(),
            log: OnceLock::new(),
            taking: Mutex::default(),
            heard: OnceLock::new(),
            state: Current::new(State::On),
            backoff: Mutex::new(Backoff::new()),
            errors: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            to_delete: AtomicU64::new(0),
            chores,
            chores_to_do: Mutex::new(Some(to_do)),
            runtime: Handle::current(),
        });
        if let Err(error) = shared.take_directory() {
            shared.cannot_open(&error);
        }
        Arc::new(DiskTier(shared))
    }

    /// Largest body that is stored, in bytes.
    pub fn max_object(&self) -> u64 {
        self.0.settings.max_object
    }

    /// Bodies larger than this, in bytes, are on disk alone.
    pub fn memory_object(&self) -> u64 {
        self.0.settings.memory_object
    }

    /// Whether it stores anything at the moment.
    pub fn is_on(&self) -> bool {
        self.0.state.get() == State::On
    }

    /// A stored response is in use, although nobody asked the disk for it.
    pub(in crate::cache) fn is_used(&self, slot: Slot) {
        self.0.index.touch(slot);
    }

    /// Waits until so much has gone for room that it matters what of the rest is in use.
    pub(in crate::cache) async fn turned(&self) {
        self.0.index.turned().await;
    }

    /// Whether it knows all that earlier processes left.
    pub fn is_loaded(&self) -> bool {
        self.0.index.is_loaded()
    }
}

impl LowerTier for DiskTier {
    fn tier(&self) -> Tier {
        Tier::Disk
    }

    fn may_hold(&self, slot: Slot) -> bool {
        self.0.state.get().reads() && self.0.index.may_hold(slot)
    }

    fn load(&self, slot: Slot) -> BoxFuture<'_, Option<Record>> {
        let shared = self.0.clone();
        let load = async move {
            let reader = shared.clone();
            match shared.io.read(move || reader.read_record(slot)).await {
                // A purge meanwhile has taken it, although its file may still be there.
                Ok(_) if !shared.index.may_hold(slot) => None,
                Ok(Found::Record(record)) => {
                    shared.index.touch(slot);
                    Some(record)
                }
                Ok(Found::Nothing) => {
                    // While loading, that is how it is found out. One that was stored meanwhile goes with its file.
                    if shared.index.holds(slot) {
                        shared.discard(slot);
                    }
                    None
                }
                Ok(Found::Damaged) => {
                    shared.damaged.fetch_add(1, Ordering::Relaxed);
                    shared.discard(slot);
                    None
                }
                Err(error) => {
                    shared.failed("loading a record", &error);
                    None
                }
            }
        };
        load.boxed()
    }

    fn store(&self, slot: Slot, record: Record) -> BoxFuture<'_, ()> {
        let shared = self.0.clone();
        let store = async move {
            if shared.state.get() != State::On {
                return shared.discard(slot);
            }
            shared.deletions().await;
            let (meant, given_up) = (record.clone(), GivenUp::default());
            let write =
                shared.clone().unless_late(given_up.clone(), slot, move |writer| writer.write_record(slot, &record));
            match shared.io.write(write).await {
                Ok(true) => {
                    if let Record::Response(key, response) = &meant {
                        shared.agree_with_log(slot, key, response).await;
                    }
                }
                Ok(false) => shared.discard(slot),
                Err(error) => {
                    given_up.store(true, Ordering::SeqCst);
                    shared.failed("storing a record", &error);
                    shared.discard(slot);
                }
            }
        };
        store.boxed()
    }

    fn remove(&self, slot: Slot) -> BoxFuture<'_, ()> {
        self.0.discard(slot);
        std::future::ready(()).boxed()
    }

    fn remove_url(&self, base: &str) -> u64 {
        let gone = self.0.index.remove_url(Slot::url_hash(base));
        let count = gone.len() as u64;
        self.0.delete(gone);
        count
    }

    fn remove_all(&self) -> u64 {
        let gone = self.0.index.remove_all();
        let count = gone.len() as u64;
        self.0.delete(gone);
        count
    }

    fn knows_all(&self) -> bool {
        self.is_loaded()
    }

    fn writers(&self) -> usize {
        WRITERS
    }

    fn figures(&self) -> TierFigures {
        let (bytes, entries, evictions) = self.0.index.figures();
        TierFigures {
            tier: Tier::Disk.word(),
            state: self.0.state.get().word(),
            bytes,
            budget_bytes: self.0.settings.size,
            entries,
            evictions,
            damaged: self.0.damaged.load(Ordering::Relaxed),
            errors: self.0.errors.load(Ordering::Relaxed),
            ..TierFigures::default()
        }
    }
}

impl Shared {
    fn files(&self) -> Result<&Files> {
        self.files.get().ok_or_else(|| ErrorKind::NotConnected.into())
    }

    /// An operation failed: the tier switches off where that says something about the disk.
    fn failed(self: &Arc<Self>, what: &'static str, error: &std::io::Error) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let Some(state) = State::after(error) else { return };
        if self.state.leave_on(state) {
            let path = self.settings.path.display();
            tracing::warn!(state = state.word(), "disk tier off: {what} in {path}: {error}; going on without it");
            self.look_again();
        }
    }

    /// A record was read that does not verify.
    fn damaged(&self, slot: Option<Slot>, id: u64) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(id, slot = slot.map(|slot| slot.to_string()), "disk tier: a record does not verify, removed");
        if let Some(slot) = slot {
            self.discard(slot);
        }
    }

    /// What lies in a slot does not count any more, and goes by and by.
    fn discard(&self, slot: Slot) {
        self.index.remove(slot);
        self.delete([slot]);
    }

    fn delete(&self, slots: impl IntoIterator<Item = Slot>) {
        for slot in slots {
            self.to_delete.fetch_add(1, Ordering::Relaxed);
            let _ = self.chores.send(Chore::Delete(slot));
        }
    }

    /// Waits while too many files are to be deleted: otherwise they would take the room of what is stored.
    async fn deletions(&self) {
        while self.to_delete.load(Ordering::Relaxed) > MOST_TO_DELETE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Until the tier is gone.
fn do_chores(tier: &Weak<Shared>) {
    let to_do = tier.upgrade().and_then(|shared| shared.chores_to_do.lock().take());
    let Some(to_do) = to_do else { return };
    // Known to this thread alone: what is not deleted yet is in the queue or here.
    let mut owed = Vec::new();
    while let Ok(chore) = to_do.recv() {
        let Some(shared) = tier.upgrade() else { return };
        match chore {
            Chore::Load => {
                if let Err(error) = load_index(&shared) {
                    shared.failed("reading the directory", &error);
                }
            }
            Chore::Delete(slot) => {
                owed.extend(delete_now(&shared, slot));
                shared.to_delete.fetch_sub(1, Ordering::Relaxed);
            }
            Chore::DeleteOwed => owed.retain(|slot| delete_now(&shared, *slot).is_some()),
            Chore::Unlink(path) => drop(fs::remove_file(path)),
            Chore::Tell(told) => drop(told.send(owed.is_empty())),
        }
    }
}

/// The slot, where its file cannot be deleted.
fn delete_now(shared: &Arc<Shared>, slot: Slot) -> Option<Slot> {
    // It may have been stored again meanwhile.
    let deleted = shared.files().and_then(|files| files.remove(slot, || shared.index.holds(slot)));
    let error = deleted.err()?;
    shared.failed("deleting a record", &error);
    Some(slot)
}

fn load_index(shared: &Arc<Shared>) -> Result<()> {
    if shared.index.is_loaded() {
        return Ok(());
    }
    let began = Instant::now();
    let (files, mut listed) = (shared.files()?, Vec::new());
    files.list(|file| listed.push(file))?;
    shared.delete(shared.index.loaded(listed));
    let (bytes, entries, _) = shared.index.figures();
    tracing::info!(entries, bytes, took = ?began.elapsed(), "disk tier: {}", shared.settings.path.display());
    files.remove_leftovers()
}
