//! The purge log's file: records are appended, each with its checksum, and written through to the medium by a thread of
//! its own; what has been forgotten leaves it by a new file that takes the old one's place.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

use super::log::{Logged, Shared};
use super::target::Purge;

/// Of a record, before its text: length, checksum of the length, checksum of the text; little-endian.
const RECORD_HEAD: usize = 4 + 4 + 8;
/// Bytes that wait for the medium; beyond, the file is given up until it can be written anew.
const MOST_WAITING: usize = 64 << 20;
/// Longest wait for the system to take a purge.
const KEPT: Duration = Duration::from_millis(250);
/// Bytes that a file may have before forgetting makes a new one.
const SMALL: u64 = 64 * 1024;

/// Why the log cannot be kept in its file.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep purges in {path}: {source}")]
pub struct JournalError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// One record of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    /// The first one: what holds for all before.
    Begin { head: u64, floor: u64, shared_floor: Shared, shared: Shared },
    /// A purge.
    Purge(Line),
}

/// A purge as the file has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) seq: u64,
    pub(super) shared: Option<Shared>,
    pub(super) purge: Purge,
}

/// What a file said.
#[derive(Debug)]
pub(super) struct Found {
    /// Whether all of it could be read, but for a record that was being written when the process ended.
    pub(super) intact: bool,
    pub(super) head: u64,
    pub(super) floor: u64,
    pub(super) shared_floor: Shared,
    pub(super) shared: Shared,
    pub(super) purges: Vec<Line>,
}

/// The file of a log.
#[derive(Debug)]
pub(super) struct Journal {
    work: Arc<Work>,
    path: PathBuf,
    writer: Option<JoinHandle<()>>,
}

/// What the writing thread shares with the others.
#[derive(Debug)]
struct Work {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    written: watch::Sender<Written>,
    /// What nobody has to wait for any more, because it took too long once: up to that purge.
    given_up_on: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Instead of what the file has.
    anew: bool,
    bytes: Vec<u8>,
    seq: u64,
    /// The file cannot be relied on until it is written anew.
    broken: bool,
    ends: bool,
    size: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Written {
    /// The last purge that is on the medium.
    seq: u64,
    /// The last one that the system has: it survives this process, but not the machine.
    kept: u64,
    broken: bool,
}

impl Journal {
    /// Opens or makes a file, and reads it. `None`: there was none.
    pub(super) fn open(path: &Path) -> Result<(Self, Option<Found>), JournalError> {
        let failed = |source| JournalError { path: path.to_owned(), source };
        let found = match fs::read(path) {
            Ok(bytes) => Some(read(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        if let Some(found) = found.as_ref().filter(|found| !found.intact) {
            tracing::error!(path = %path.display(), purges = found.purges.len(), "the log of purges is damaged: what was stored before now counts as purged");
        }
        let work = Arc::new(Work {
            waiting: Mutex::new(Waiting { broken: true, ..Waiting::default() }),
            arrived: Condvar::new(),
            written: watch::Sender::new(Written::default()),
            given_up_on: AtomicU64::new(0),
        });
        let journal = Journal { work, path: path.to_owned(), writer: None };
        // Written anew at each start: that leaves out a torn end, and shows at once whether it can be written.
        if let Some(found) = found.as_ref().filter(|found| found.intact) {
            let Found { head, floor, shared_floor, shared, .. } = *found;
            let bytes = whole(&Record::Begin { head, floor, shared_floor, shared }, &found.purges);
            replace(path, &bytes).map_err(failed)?;
        }
        Ok((journal.started(found.as_ref().map_or(0, |found| found.head)), found))
    }

    fn started(mut self, head: u64) -> Self {
        let (work, path) = (self.work.clone(), self.path.clone());
        let size = fs::metadata(&path).map_or(0, |meta| meta.len());
        *work.waiting.lock() = Waiting { seq: head, size, ..Waiting::default() };
        work.written.send_replace(Written { seq: head, kept: head, broken: false });
        let writer =
            std::thread::Builder::new().name("purge-journal".to_owned()).spawn(move || write_all(&work, &path));
        if let Err(error) = &writer {
            tracing::error!(%error, "no thread for the log of purges");
            self.work.give_up();
        }
        self.writer = writer.ok();
        self
    }

    /// Makes the file, in which nothing was purged after `head`.
    pub(super) fn begin(&self, head: u64) -> Result<(), JournalError> {
        let first = Record::Begin { head, floor: head, shared_floor: (0, 0), shared: (0, 0) };
        let bytes = whole(&first, &[]);
        replace(&self.path, &bytes).map_err(|source| JournalError { path: self.path.clone(), source })?;
        let mut waiting = self.work.waiting.lock();
        (waiting.seq, waiting.size) = (head, bytes.len() as u64);
        self.work.written.send_replace(Written { seq: head, kept: head, broken: false });
        Ok(())
    }

    /// Has a purge written. Waits for nothing.
    pub(super) fn append(&self, logged: &Logged) {
        let line = Line { seq: logged.seq, shared: logged.shared(), purge: logged.purge.clone() };
        let mut waiting = self.work.waiting.lock();
        push(&mut waiting.bytes, &Record::Purge(line));
        waiting.seq = logged.seq;
        if waiting.bytes.len() > MOST_WAITING {
            drop(waiting);
            return self.work.give_up();
        }
        self.work.arrived.notify_one();
    }

    /// Whether it has to be written anew before anything appended to it counts.
    pub(super) fn is_broken(&self) -> bool {
        self.work.waiting.lock().broken
    }

    /// Writes the file anew where that is worth it, or `anyway`: with `first`, which tells of purges up to `head`, and
    /// those that are retained.
    pub(super) fn write_anew(&self, first: Record, head: u64, retained: &VecDeque<Arc<Logged>>, anyway: bool) {
        let mut waiting = self.work.waiting.lock();
        if !anyway && waiting.size + (waiting.bytes.len() as u64) < SMALL {
            return;
        }
        let lines: Vec<Line> = retained
            .iter()
            .map(|logged| Line { seq: logged.seq, shared: logged.shared(), purge: logged.purge.clone() })
            .collect();
        let bytes = whole(&first, &lines);
        if !anyway && (bytes.len() as u64) > waiting.size / 2 {
            return;
        }
        // Who waits is told of this attempt, not of the last.
        self.work.written.send_modify(|written| written.broken = false);
        waiting.anew = true;
        waiting.bytes = bytes;
        waiting.seq = head;
        self.work.arrived.notify_one();
    }

    /// Waits until a purge is on the medium; false when it will not be.
    pub(super) async fn written(&self, seq: u64) -> bool {
        let mut written = self.work.written.subscribe();
        let told = written.wait_for(|written| written.broken || written.seq >= seq).await;
        told.is_ok_and(|written| written.seq >= seq && !written.broken)
    }

    /// Waits, within a bound, until the system has a purge; false when it has not. A disk that hangs is waited for once.
    pub(super) async fn kept(&self, seq: u64) -> bool {
        let is_told = |written: &Written| written.broken || written.kept >= seq;
        let mut written = self.work.written.subscribe();
        let hangs = written.borrow().kept < self.work.given_up_on.load(Ordering::Relaxed);
        if !hangs && tokio::time::timeout(KEPT, written.wait_for(is_told)).await.is_err() {
            self.work.given_up_on.fetch_max(seq, Ordering::Relaxed);
        }
        let written = *written.borrow();
        written.kept >= seq && !written.broken
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.work.waiting.lock().ends = true;
        self.work.arrived.notify_one();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Work {
    fn give_up(&self) {
        let mut waiting = self.waiting.lock();
        waiting.broken = true;
        waiting.bytes = Vec::new();
        self.written.send_modify(|written| written.broken = true);
    }
}

/// The writing thread: everything that waits goes in one write, and one wait for the medium.
fn write_all(work: &Work, path: &Path) {
    loop {
        let (anew, bytes, seq) = {
            let mut waiting = work.waiting.lock();
            while waiting.bytes.is_empty() && !waiting.ends {
                work.arrived.wait(&mut waiting);
            }
            if waiting.bytes.is_empty() {
                return;
            }
            if waiting.broken && !waiting.anew {
                // What is appended to a file that lacks something would make it look whole.
                waiting.bytes.clear();
                continue;
            }
            (std::mem::take(&mut waiting.anew), std::mem::take(&mut waiting.bytes), waiting.seq)
        };
        let outcome = match anew {
            true => replace(path, &bytes),
            false => append(path, &bytes, || work.written.send_modify(|written| written.kept = seq)),
        };
        match outcome {
            Ok(()) => {
                let mut waiting = work.waiting.lock();
                waiting.size = if anew { 0 } else { waiting.size } + bytes.len() as u64;
                waiting.broken = false;
                work.written.send_replace(Written { seq, kept: seq, broken: false });
            }
            Err(error) => {
                // A start without the file takes all that was stored to be purged; with it, it would miss this purge.
                let removed = fs::remove_file(path);
                tracing::error!(
                    path = %path.display(), %error, removed = removed.is_ok(),
                    "purges cannot be written: should larder be restarted now, all that is on disk counts as purged"
                );
                work.give_up();
            }
        }
    }
}

fn append(path: &Path, bytes: &[u8], kept: impl FnOnce()) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(bytes)?;
    kept();
    file.sync_data()
}

/// A new file in the place of the old: at any moment there is one of them, whole.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn whole(first: &Record, purges: &[Line]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&mut bytes, first);
    for line in purges {
        push(&mut bytes, &Record::Purge(line.clone()));
    }
    bytes
}

fn push(bytes: &mut Vec<u8>, record: &Record) {
    let text = serde_json::to_vec(record).expect("a record has text and numbers only");
    let length = u32::try_from(text.len()).expect("a purge is bounded by the request that brought it").to_le_bytes();
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&(xxh3_64(&length) as u32).to_le_bytes());
    bytes.extend_from_slice(&xxh3_64(&text).to_le_bytes());
    bytes.extend_from_slice(&text);
}

/// The purges that the bytes of a log's file tell of. `None`: they are damaged, or no log's.
pub fn purges_in(bytes: &[u8]) -> Option<Vec<Purge>> {
    let found = read(bytes);
    found.intact.then(|| found.purges.into_iter().map(|line| line.purge).collect())
}

fn read(mut bytes: &[u8]) -> Found {
    let mut found =
        Found { intact: false, head: 0, floor: 0, shared_floor: (0, 0), shared: (0, 0), purges: Vec::new() };
    let mut begun = false;
    loop {
        match next(bytes) {
            Next::Record(record, rest) => {
                match *record {
                    Record::Begin { head, floor, shared_floor, shared } if !begun => {
                        begun = true;
                        found = Found { head, floor, shared_floor, shared, ..found };
                    }
                    Record::Purge(line) if begun && line.seq > found.purges.last().map_or(0, |last| last.seq) => {
                        found.head = found.head.max(line.seq);
                        found.shared = found.shared.max(line.shared.unwrap_or_default());
                        found.purges.push(line);
                    }
                    _ => return found,
                }
                bytes = rest;
            }
            Next::End => {
                found.intact = begun;
                return found;
            }
            Next::Damage => return found,
        }
    }
}

enum Next<'a> {
    Record(Box<Record>, &'a [u8]),
    /// Nothing follows, or the beginning of a record that was never acknowledged.
    End,
    Damage,
}

fn next(bytes: &[u8]) -> Next<'_> {
    let Some((head, rest)) = bytes.split_at_checked(RECORD_HEAD) else { return Next::End };
    let (length, head) = head.split_at(4);
    let (check, sum) = head.split_at(4);
    if check != (xxh3_64(length) as u32).to_le_bytes() {
        return Next::Damage;
    }
    let length = u32::from_le_bytes(length.try_into().expect("it was split at 4")) as usize;
    let Some((text, rest)) = rest.split_at_checked(length) else { return Next::End };
    if sum != xxh3_64(text).to_le_bytes() {
        return Next::Damage;
    }
    match serde_json::from_slice(text) {
        Ok(record) => Next::Record(Box::new(record), rest),
        Err(_) => Next::Damage,
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
