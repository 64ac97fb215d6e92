//! The purge log's file: records are appended, each with its checksum, and written through to the medium by a thread of
//! its own; what has been forgotten leaves it by a new file that takes the old one's place.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// One record of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    /// The first one: what holds for all before.
    Begin {
        head: u64,
        floor: u64,
        shared_floor: Shared,
        shared: Shared,
        /// The last purge that was worked off and is told of no more; 0: none.
        #[serde(default)]
        forgotten: u64,
    },
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

impl Line {
    fn of(logged: &Logged) -> Self {
        Line { seq: logged.seq, shared: logged.shared(), purge: logged.purge.clone() }
    }
}

/// What a file said.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Whether all of it could be read, but for a record that was being written when the process ended.
    pub(super) intact: bool,
    pub(super) head: u64,
    pub(super) floor: u64,
    pub(super) shared_floor: Shared,
    pub(super) shared: Shared,
    pub(super) forgotten: u64,
    pub(super) purges: Vec<Line>,
}

/// The file of a log.
#[derive(Debug)]
pub(super) struct Journal {
    work: Arc<Work>,
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
    /// Whether the log says that it cannot be written.
    said: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Where the file is.
    path: PathBuf,
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
    /// The file of a log that has come to `head`. Nothing is written before [`Journal::write_now`], or the first purge.
    pub(super) fn new(path: &Path, head: u64) -> Self {
        let work = Arc::new(Work::new(path, head));
        let writing = work.clone();
        let writer = std::thread::Builder::new().name("purge-journal".to_owned()).spawn(move || write_all(&writing));
        if let Err(error) = &writer {
            tracing::error!(%error, "no thread for the log of purges");
            work.give_up();
        }
        Journal { work, writer: writer.ok() }
    }

    /// Writes the whole file at once, before anything was appended: that leaves out a torn end of the one before, and
    /// shows whether it can be written. It tells of purges up to `head`.
    pub(super) fn write_now(&self, first: &Record, head: u64, retained: &VecDeque<Arc<Logged>>) {
        let mut waiting = self.work.waiting.lock();
        let bytes = whole(first, retained);
        match replace(&waiting.path, &bytes) {
            Ok(()) => {
                (waiting.size, waiting.seq, waiting.broken) = (bytes.len() as u64, head, false);
                self.work.written.send_replace(Written { seq: head, kept: head, broken: false });
            }
            Err(error) => {
                let path = waiting.path.clone();
                drop(waiting);
                self.work.failed(&path, &error);
            }
        }
    }

    /// From now on the file is there, once it is written anew.
    pub(super) fn move_to(&self, path: &Path) {
        let mut waiting = self.work.waiting.lock();
        (waiting.path, waiting.broken) = (path.to_owned(), true);
    }

    /// Has a purge written. Waits for nothing.
    pub(super) fn append(&self, logged: &Logged) {
        let mut waiting = self.work.waiting.lock();
        push(&mut waiting.bytes, &Record::Purge(Line::of(logged)));
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

    /// Whether the last write failed, and nothing was tried since.
    pub(super) fn has_failed(&self) -> bool {
        self.work.written.borrow().broken
    }

    /// Whether a purge is on the medium by now.
    pub(super) fn has_written(&self, seq: u64) -> bool {
        let written = self.work.written.borrow();
        written.seq >= seq && !written.broken
    }

    /// Writes the file anew where that is worth it, or `anyway`: with `first`, which tells of purges up to `head`, and
    /// those that are retained.
    pub(super) fn write_anew<'a>(
        &self,
        first: &Record,
        head: u64,
        retained: impl IntoIterator<Item = &'a Arc<Logged>>,
        anyway: bool,
    ) {
        let mut waiting = self.work.waiting.lock();
        if !anyway && waiting.size + (waiting.bytes.len() as u64) < SMALL {
            return;
        }
        let bytes = whole(first, retained);
        if !anyway && (bytes.len() as u64) > waiting.size / 2 {
            return;
        }
        // Who waits is told of this attempt, not of the last.
        self.work.written.send_modify(|written| match anyway {
            // What the file has now may be of no use: nothing is written until this is.
            true => *written = Written::default(),
            false => written.broken = false,
        });
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

/// What the writing thread has taken to write in one go.
struct Batch {
    path: PathBuf,
    anew: bool,
    bytes: Vec<u8>,
    /// The last purge in it.
    seq: u64,
}

impl Work {
    fn new(path: &Path, head: u64) -> Self {
        Work {
            waiting: Mutex::new(Waiting { path: path.to_owned(), seq: head, broken: true, ..Waiting::default() }),
            arrived: Condvar::new(),
            written: watch::Sender::new(Written { seq: head, kept: head, broken: false }),
            given_up_on: AtomicU64::new(0),
            said: AtomicBool::new(false),
        }
    }

    /// Waits for something to write; `None` at the end.
    fn next(&self) -> Option<Batch> {
        let mut waiting = self.waiting.lock();
        loop {
            while waiting.bytes.is_empty() && !waiting.ends {
                self.arrived.wait(&mut waiting);
            }
            if waiting.bytes.is_empty() {
                return None;
            }
            if waiting.anew || !waiting.broken {
                break;
            }
            // What is appended to a file that lacks something would make it look whole.
            waiting.bytes.clear();
        }
        let anew = std::mem::take(&mut waiting.anew);
        // What comes from now on is appended to the new file.
        waiting.broken &= !anew;
        Some(Batch { path: waiting.path.clone(), anew, bytes: std::mem::take(&mut waiting.bytes), seq: waiting.seq })
    }

    fn write(&self, batch: &Batch) {
        let Batch { path, anew, bytes, seq } = batch;
        let outcome = match anew {
            true => replace(path, bytes),
            false => append(path, bytes, || self.written.send_modify(|written| written.kept = *seq)),
        };
        match outcome {
            Ok(()) => {
                let mut waiting = self.waiting.lock();
                // It has moved meanwhile, or what was to follow was given up: it is to be written anew.
                if waiting.path != *path || waiting.broken {
                    return;
                }
                waiting.size = if *anew { 0 } else { waiting.size } + bytes.len() as u64;
                self.written.send_replace(Written { seq: *seq, kept: *seq, broken: false });
                if self.said.swap(false, Ordering::Relaxed) {
                    tracing::info!(path = %path.display(), "purges are written again");
                }
            }
            Err(error) if self.waiting.lock().path == *path => self.failed(path, &error),
            Err(_) => {}
        }
    }

    fn give_up(&self) {
        let mut waiting = self.waiting.lock();
        waiting.broken = true;
        waiting.bytes = Vec::new();
        self.written.send_modify(|written| written.broken = true);
    }

    fn failed(&self, path: &Path, error: &io::Error) {
        // A start without the file takes all that was stored to be purged; with it, it would miss this purge.
        let removed = fs::remove_file(path);
        let is_gone = removed.err().is_none_or(|error| error.kind() == io::ErrorKind::NotFound);
        if !self.said.swap(true, Ordering::Relaxed) {
            let by_a_restart =
                if is_gone { "all that is on disk counts as purged" } else { "those made from now on are forgotten" };
            tracing::error!(path = %path.display(), %error, by_a_restart, "purges cannot be written");
        }
        self.give_up();
    }
}

/// The writing thread: everything that waits goes in one write, and one wait for the medium.
fn write_all(work: &Work) {
    while let Some(batch) = work.next() {
        work.write(&batch);
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

fn whole<'a>(first: &Record, purges: impl IntoIterator<Item = &'a Arc<Logged>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&mut bytes, first);
    for logged in purges {
        push(&mut bytes, &Record::Purge(Line::of(logged)));
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

/// What a file says. `None`: there is none. One that cannot be read says nothing that can be relied on.
pub(super) fn read_file(path: &Path) -> Option<Found> {
    match fs::read(path) {
        Ok(bytes) => Some(read(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => Some(Found::default()),
    }
}

/// The same, and the log says so where it can't be relied on.
pub(super) fn read_main(path: &Path) -> Option<Found> {
    read_file(path).inspect(|found| {
        if !found.intact {
            tracing::error!(path = %path.display(), purges = found.purges.len(), "the log of purges is damaged: what was stored before now counts as purged");
        }
    })
}

fn read(mut bytes: &[u8]) -> Found {
    let mut found = Found::default();
    let mut begun = false;
    loop {
        match next(bytes) {
            Next::Record(record, rest) => {
                match *record {
                    Record::Begin { head, floor, shared_floor, shared, forgotten } if !begun => {
                        begun = true;
                        found = Found { head, floor, shared_floor, shared, forgotten, ..found };
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
