//! The disk tier: records as files, which survive a restart.
//!
//! Whatever may block runs on a few threads of its own (`io`). What is wrong with the disk is never a request's
//! error: the tier switches itself off, looks again now and then, and comes back (`trouble`).

mod files;
mod index;
mod io;
pub mod spill;
pub mod stored_body;
mod sweep;
mod trouble;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{ErrorKind, Result, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::body::SharedBody;
use super::entry::StoredResponse;
use super::purge::PurgeLog;
use super::record::blocks::sealed_len;
use super::record::{Damaged, Head, MAX_HEAD, Record};
use super::tiers::LowerTier;
use super::tiers::slot::Slot;
use crate::clock::Clock;
use crate::config::settings::DiskTier as Settings;
use crate::policy::reason::Tier;
use crate::policy::time::Timestamp;
use crate::telemetry::figures::TierFigures;
use files::{Files, OpenError};
use index::Index;
use io::Io;
use stored_body::StoredBody;
use trouble::{Backoff, Current, State};

/// Records stored at a time.
const WRITERS: usize = 4;
/// More files than this waiting to be deleted, and storing waits for them.
const MOST_TO_DELETE: u64 = 20_000;
/// A record with all its codings is read whole up to so many times the size of what is kept in memory.
const MOST_WHOLE: u64 = 4;
/// What a look whether the disk works again writes.
static PROBE: [u8; 256 * 1024] = [0; 256 * 1024];

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
    state: Current,
    errors: AtomicU64,
    damaged: AtomicU64,
    to_delete: AtomicU64,
    chores: Sender<Chore>,
    /// For the thread that does them, once there is a directory.
    chores_to_do: Mutex<Option<Receiver<Chore>>>,
    /// Files whose deletion failed.
    owed: Mutex<Vec<Slot>>,
    runtime: Handle,
}

/// What is done on a thread of its own, one after the other.
enum Chore {
    /// Find out what earlier processes left.
    Load,
    Delete(Slot),
    /// Say that all before this was done: whether nothing is owed.
    Tell(oneshot::Sender<bool>),
}

/// Whether nobody waits for a write any more, because it took too long.
type GivenUp = Arc<AtomicBool>;

/// What lay in a slot.
enum Found {
    Record(Record),
    Nothing,
    Damaged,
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
            state: Current::new(State::On),
            errors: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            to_delete: AtomicU64::new(0),
            chores,
            chores_to_do: Mutex::new(Some(to_do)),
            owed: Mutex::default(),
            runtime: Handle::current(),
        });
        if let Err(error) = shared.take_directory() {
            shared.cannot_open(&error);
        }
        Arc::new(DiskTier(shared))
    }

    /// The log of purges that goes with it: kept beside the records, so that what was purged stays purged. Where it
    /// can't be kept, nothing that is stored outlives the process. Blocks on the disk.
    pub fn purge_log(&self, now: Timestamp) -> Arc<PurgeLog> {
        let open = || {
            PurgeLog::open(&self.0.settings.path.join("purges"), now).unwrap_or_else(|error| {
                tracing::warn!(%error, "disk tier: the log of purges can't be kept; what is stored now ends with the process");
                PurgeLog::unkept(now)
            })
        };
        let log = if self.is_on() { open() } else { PurgeLog::unkept(now) };
        self.0.log.get_or_init(|| log).clone()
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
                    // While loading, that is how it is found out.
                    if shared.index.holds(slot) {
                        shared.index.remove(slot);
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
                Ok(Some(gone)) => {
                    shared.delete(gone);
                    if let Record::Response(key, response) = &meant {
                        shared.agree_with_log(slot, key, response).await;
                    }
                }
                Ok(None) => shared.discard(slot),
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

    /// Opens the directory, unless that was done, and has what lies there found out.
    fn take_directory(self: &Arc<Self>) -> std::result::Result<(), OpenError> {
        if self.files.get().is_none() {
            let _ = self.files.set(Files::open(&self.settings.path)?);
        }
        if let Some(to_do) = self.chores_to_do.lock().take() {
            let shared = Arc::downgrade(self);
            let thread = std::thread::Builder::new().name("larder-disk".to_owned());
            thread.spawn(move || do_chores(&shared, &to_do))?;
        }
        if !self.index.is_loaded() {
            let _ = self.chores.send(Chore::Load);
        }
        Ok(())
    }

    fn cannot_open(self: &Arc<Self>, error: &OpenError) {
        let state = match error {
            OpenError::InUse => State::InUse,
            OpenError::Io(error) => State::after(error).filter(|state| !state.reads()).unwrap_or(State::Failing),
        };
        if self.state.leave_on(state) {
            self.errors.fetch_add(1, Ordering::Relaxed);
            let path = self.settings.path.display();
            tracing::warn!(state = state.word(), "disk tier off: {path}: {error}; going on without it");
            self.look_again();
        }
    }

    /// An operation failed: the tier switches off where that says something about the disk.
    fn failed(self: &Arc<Self>, what: &'static str, error: &std::io::Error) {
        if error.kind() == ErrorKind::NotFound {
            return;
        }
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

    /// Looks now and then whether the disk works again.
    fn look_again(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        self.runtime.spawn(async move {
            let mut backoff = Backoff::new();
            loop {
                tokio::time::sleep(backoff.next()).await;
                let Some(shared) = weak.upgrade() else { return };
                let prober = shared.clone();
                if shared.io.write(move || prober.probe()).await.is_ok() {
                    shared.state.set(State::On);
                    let owed = std::mem::take(&mut *shared.owed.lock());
                    shared.delete(owed);
                    tracing::info!("disk tier on again: {}", shared.settings.path.display());
                    return;
                }
                if shared.state.get() == State::Full {
                    shared.delete(shared.index.shrink());
                }
            }
        });
    }

    /// Whether the disk can be read and written.
    fn probe(self: &Arc<Self>) -> Result<()> {
        self.take_directory().map_err(std::io::Error::other)?;
        let (mut file, _temporary) = self.files()?.temporary()?;
        file.write_all(&PROBE)?;
        file.sync_all()?;
        let mut read = vec![0; PROBE.len()];
        file.read_exact_at(&mut read, 0)
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

    fn read_record(self: &Arc<Self>, slot: Slot) -> Result<Found> {
        match self.try_read_record(slot) {
            // The head of a large record is written again in its place: it may have been half there.
            Ok(Found::Damaged) => self.try_read_record(slot),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Nothing),
            read => read,
        }
    }

    fn try_read_record(self: &Arc<Self>, slot: Slot) -> Result<Found> {
        let file = File::open(self.files()?.path(slot))?;
        let len = file.metadata()?.len();
        let found = |record: std::result::Result<Record, Damaged>| record.map_or(Found::Damaged, Found::Record);
        let whole = || {
            let mut bytes = vec![0; len as usize];
            match file.read_exact_at(&mut bytes, 0) {
                Ok(()) => Ok(found(Record::decode(&bytes, &self.clock))),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Found::Damaged),
                Err(error) => Err(error),
            }
        };
        let memory_object = self.settings.memory_object;
        if len <= sealed_len(memory_object) {
            return whole();
        }
        let Some(head) = read_head(&file, &self.clock)? else { return Ok(Found::Damaged) };
        if head.total_len() != Some(len) {
            return Ok(Found::Damaged);
        }
        // With its codings it may be larger than its body alone.
        let is_small = head.response().is_none_or(|response| response.body_len <= memory_object);
        if is_small && len <= MOST_WHOLE * sealed_len(memory_object) + 2 * MAX_HEAD as u64 {
            return whole();
        }
        let trailers = head.trailers(0);
        let Some(stored) = StoredBody::new(self.clone(), slot, &head) else { return Ok(Found::Damaged) };
        let record = head.into_response(SharedBody::on_disk(stored, trailers));
        Ok(found(record.ok_or(Damaged)))
    }

    /// The file of a slot, and its head where that verifies.
    fn open_record(&self, slot: Slot) -> Result<(File, Option<Head>)> {
        let file = File::open(self.files()?.path(slot))?;
        let head = match read_head(&file, &self.clock)? {
            // It may have been written again just then.
            None => read_head(&file, &self.clock)?,
            head => head,
        };
        Ok((file, head))
    }

    /// What writes a record. Should that be done only after it was given up on, the record does not stay: nobody would
    /// know of it, and of purges that came meanwhile it knows nothing.
    fn unless_late<T>(
        self: Arc<Self>,
        given_up: GivenUp,
        slot: Slot,
        write: impl FnOnce(&Shared) -> Result<T>,
    ) -> impl FnOnce() -> Result<T> {
        move || {
            let written = write(&self)?;
            if given_up.load(Ordering::SeqCst) {
                self.discard(slot);
            }
            Ok(written)
        }
    }

    /// Writes a record; what goes for it. `None`: it is not to be stored here.
    fn write_record(&self, slot: Slot, record: &Record) -> Result<Option<Vec<Slot>>> {
        if let Record::Response(_, response) = record
            && let Some(stored) = response.body.stored()
        {
            return self.write_head_again(slot, record, response, stored);
        }
        let Some(bytes) = record.encode(&self.clock).filter(|bytes| bytes.len() as u64 <= self.settings.max_object)
        else {
            return Ok(None);
        };
        let (mut file, temporary) = self.files()?.temporary()?;
        file.write_all(&bytes)?;
        self.files()?.keep(temporary, slot, || self.index.insert(slot, bytes.len() as u64)).map(Some)
    }

    /// Writes the head of a record whose body lies here already, in its place.
    fn write_head_again(
        &self,
        slot: Slot,
        record: &Record,
        response: &StoredResponse,
        stored: &StoredBody,
    ) -> Result<Option<Vec<Slot>>> {
        let (old_slot, id) = stored.record();
        let file = match File::options().read(true).write(true).open(self.files()?.path(old_slot)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(old) = read_head(&file, &self.clock)?.filter(|old| old.id == id) else { return Ok(None) };
        let trailers = response.body.trailers().cloned();
        let mut head = Head::of_body(record.key(), response, &self.clock, stored.len(), trailers);
        (head.id, head.bodies_start) = (old.id, old.bodies_start);
        let Some(bytes) = head.encode(0) else { return Ok(None) };
        file.write_all_at(&bytes, 0)?;
        if old_slot != slot {
            self.files()?.rename(old_slot, slot)?;
            self.index.remove(old_slot);
            stored.moved(slot);
        }
        Ok(head.total_len().map(|len| self.index.insert(slot, len)))
    }
}

/// The head of a record; `None`: it does not verify.
fn read_head(file: &File, clock: &Clock) -> Result<Option<Head>> {
    let mut bytes = vec![0; 4096];
    let mut read = read_up_to(file, &mut bytes, 0)?;
    let Ok(len) = Head::len(&bytes[..read]) else { return Ok(None) };
    if len > read {
        bytes.resize(len, 0);
        read += read_up_to(file, &mut bytes[read..], read as u64)?;
    }
    Ok(Head::decode(&bytes[..read], clock).ok())
}

fn read_up_to(file: &File, bytes: &mut [u8], offset: u64) -> Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Until the tier is gone.
fn do_chores(tier: &Weak<Shared>, to_do: &Receiver<Chore>) {
    while let Ok(chore) = to_do.recv() {
        let Some(shared) = tier.upgrade() else { return };
        match chore {
            Chore::Load => {
                if let Err(error) = load_index(&shared) {
                    shared.failed("reading the directory", &error);
                }
            }
            Chore::Tell(told) => drop(told.send(shared.owed.lock().is_empty())),
            Chore::Delete(slot) => {
                // It may have been stored again meanwhile.
                let deleted = shared.files().and_then(|files| files.remove(slot, || shared.index.holds(slot)));
                if let Err(error) = deleted {
                    shared.owed.lock().push(slot);
                    shared.failed("deleting a record", &error);
                }
                shared.to_delete.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
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
