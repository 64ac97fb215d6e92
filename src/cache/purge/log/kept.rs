//! Where the log is kept: in the file `purges` of a disk tier's directory, by whoever has the directory.
//!
//! Of two processes on one directory, as when one takes over from another, the second has to wait for it. Its log begins
//! with what the file says, and its own purges go to a file beside, `purges-<number>`, until the directory is its own.
//! Then what the other has purged meanwhile is added, and all is in `purges`. Whoever opens the directory adds what such
//! files say: a process may have ended while it waited.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::state::State;
use super::{Logged, PurgeLog, UnderWay, first_position, logged};
use crate::cache::purge::journal::{Found, Journal, Line, Record, read_file, read_main};
use crate::cache::purge::target::{Mode, Purge, PurgeTarget};
use crate::cache::record::new_id;
use crate::policy::time::Timestamp;

/// Purges that the process before may still make, where the clock does not tell them from those of the next one.
const AHEAD: u64 = 1_000_000;

/// The file of a log.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) journal: Journal,
    /// The file of the directory, whoever has that.
    path: PathBuf,
    /// As long as another process has it.
    aside: Mutex<Option<Aside>>,
    /// Files beside it that tell nothing any more once it is written up to there.
    told: Mutex<Vec<(PathBuf, u64)>>,
}

/// A log that waits for its place.
#[derive(Clone, Debug)]
struct Aside {
    /// Where it is meanwhile.
    own: PathBuf,
    /// Its own purges come after this, and all that the other process has in its sequence before.
    first: u64,
    /// Up to where that sequence is known, and how the file was when that was read: its size, and when it was written.
    heard: u64,
    seen: Option<(u64, SystemTime)>,
}

/// Purges of another process that are in the log, but that memory does not know of yet. The log forgets none of them as
/// long as this is held.
#[derive(Debug)]
pub struct Heard {
    /// In their order.
    pub purges: Vec<Arc<Logged>>,
    _held: UnderWay,
}

impl PurgeLog {
    /// The log kept in a file of a directory that is ours, for tiers that survive the process. Where there is none, or it
    /// is damaged, what was stored before `now` is taken to be purged. Where it cannot be written, that is tried again
    /// with each purge, and [`PurgeLog::written`] says so. Blocks on the file.
    pub fn open(path: &Path, now: Timestamp) -> Arc<Self> {
        let found = read_main(path);
        let first = first_position(now).max(found.as_ref().map_or(0, |found| found.head + 1));
        let kept = |head| Kept::new(path, Journal::new(path, head), None);
        let log = match found {
            Some(found) if found.intact => PurgeLog::going_on(found.head, found, kept),
            _ => PurgeLog::beginning_at(first, Some(kept(first))),
        };
        let Some(kept) = &log.kept else { return Arc::new(log) };
        let others = others(path, &[]);
        {
            let mut state = log.state.write();
            log.add_others(kept, &mut state, others);
            let head = log.position();
            kept.journal.write_now(&log.beginning(head, &state), head, &state.retained);
        }
        log.drop_told();
        log.appended.send_replace(log.position());
        Arc::new(log)
    }

    /// The log while another process has the directory: what it has purged is known, and what is purged here is kept
    /// beside. Blocks on the file.
    pub fn aside(path: &Path, now: Timestamp) -> Arc<Self> {
        let found = read_file(path);
        let heard = found.as_ref().map_or(0, |found| found.head);
        let first = first_position(now).max(heard + AHEAD);
        let own = path.with_file_name(format!("{}{:016x}", beside(path), new_id()));
        let kept =
            |_| Kept::new(path, Journal::new(&own, first), Some(Aside { own: own.clone(), first, heard, seen: None }));
        Arc::new(match found {
            Some(found) if found.intact => PurgeLog::going_on(first, found, kept),
            _ => PurgeLog::beginning_at(first, Some(kept(first))),
        })
    }

    /// A log that goes on from what a file says.
    fn going_on(head: u64, found: Found, kept: impl FnOnce(u64) -> Kept) -> Self {
        let log = PurgeLog::beginning_at(found.floor, Some(kept(head)));
        {
            let mut state = log.state.write();
            (state.shared_floor, state.forgotten) = (found.shared_floor, found.forgotten);
            for Line { seq, shared, purge } in found.purges {
                state.retain(logged(seq, purge, shared));
            }
        }
        log.head.store(head, Ordering::Release);
        log.appended.send_replace(head);
        *log.shared.lock() = found.shared;
        log
    }

    /// What the process that has the directory has purged since this was asked last; it is in force in this log now.
    /// Blocks on the file.
    pub fn news(self: &Arc<Self>) -> Option<Heard> {
        let kept = self.kept.as_ref()?;
        let aside = kept.aside.lock().clone()?;
        let seen = fs::metadata(&kept.path).and_then(|about| Ok((about.len(), about.modified()?))).ok();
        if seen == aside.seen {
            return None;
        }
        let found = read_file(&kept.path).filter(|found| found.intact)?;
        let held = self.begin();
        let purges = {
            let mut state = self.state.write();
            let head = found.head;
            let purges = self.add_unheard(&mut state, found, aside.heard);
            if let Some(aside) = kept.aside.lock().as_mut() {
                (aside.heard, aside.seen) = (head, seen);
            }
            purges.iter().for_each(|logged| self.write(logged, &state));
            purges
        };
        self.told(purges, held)
    }

    /// The directory is ours from now on, if it was not: the log takes its place there, with all that others have purged
    /// meanwhile. What could not be written before is. Blocks on the file.
    pub fn take_place(self: &Arc<Self>) -> Option<Heard> {
        let kept = self.kept.as_ref()?;
        let Some(aside) = kept.aside.lock().clone() else {
            if kept.journal.has_failed() {
                self.write_again();
            }
            return None;
        };
        let (found, others) = (read_main(&kept.path), others(&kept.path, std::slice::from_ref(&aside.own)));
        let held = self.begin();
        let mut state = self.state.write();
        let mut purges = match found {
            Some(found) if found.intact && found.head < aside.first => {
                state.floor = state.floor.max(found.floor);
                state.shared_floor = state.shared_floor.max(found.shared_floor);
                self.add_unheard(&mut state, found, aside.heard)
            }
            // Of two sequences that overlap nobody can tell what came first: all there is counts as purged.
            Some(found) => {
                state.floor = self.position().max(found.head) + 1;
                self.head.store(state.floor, Ordering::Release);
                self.add_everything(&mut state)
            }
            None => {
                state.floor = state.floor.max(aside.first);
                self.add_everything(&mut state)
            }
        };
        purges.extend(self.add_others(kept, &mut state, others));
        kept.told.lock().push((aside.own, self.position()));
        *kept.aside.lock() = None;
        kept.journal.move_to(&kept.path);
        self.write_anew(self.position(), &state, true);
        drop(state);
        self.told(purges, held)
    }

    /// Adds what a process has purged that waited for the directory, and ended. Blocks on the files.
    pub fn overhear(self: &Arc<Self>) -> Option<Heard> {
        let kept = self.kept.as_ref().filter(|kept| kept.aside.lock().is_none())?;
        let told: Vec<_> = kept.told.lock().iter().map(|(path, _)| path.clone()).collect();
        let others = others(&kept.path, &told);
        let held = self.begin();
        let mut state = self.state.write();
        let purges = self.add_others(kept, &mut state, others);
        purges.iter().for_each(|logged| self.write(logged, &state));
        drop(state);
        self.told(purges, held)
    }

    fn told(&self, purges: Vec<Arc<Logged>>, held: UnderWay) -> Option<Heard> {
        self.appended.send_replace(self.position());
        (!purges.is_empty()).then_some(Heard { purges, _held: held })
    }

    /// Removes the files of others of which all is written by now.
    pub fn drop_told(&self) {
        let Some(kept) = &self.kept else { return };
        kept.told.lock().retain(|(path, seq)| {
            let is_written = kept.journal.has_written(*seq);
            if is_written {
                let _ = fs::remove_file(path);
            }
            !is_written
        });
    }

    /// Writes the file anew, whatever it has.
    pub fn write_again(&self) {
        self.write_anew(self.position(), &self.state.read(), true);
    }

    /// Whether a purge, by its number, would be there after a restart. One that is forgotten has been worked off.
    pub fn has_written(&self, id: &str) -> bool {
        let Some(kept) = &self.kept else { return false };
        let seq = self.state.read().by_id.get(id).map_or_else(|| self.position(), |logged| logged.seq);
        kept.journal.has_written(seq)
    }

    /// Has a purge written. Waits for nothing.
    pub(super) fn write(&self, logged: &Logged, state: &State) {
        match &self.kept {
            Some(kept) if kept.journal.is_broken() => self.write_anew(logged.seq, state, true),
            Some(kept) => kept.journal.append(logged),
            None => {}
        }
    }

    /// Has the file written anew where that is worth it, or `anyway`. Beside the directory's file it says only what that
    /// does not.
    pub(super) fn write_anew(&self, head: u64, state: &State, anyway: bool) {
        let Some(kept) = &self.kept else { return };
        let after = kept.aside.lock().as_ref().map_or(0, |aside| aside.first);
        let own = state.retained.iter().filter(|logged| logged.seq > after);
        kept.journal.write_anew(&self.beginning(head, state), head, own, anyway);
    }

    fn beginning(&self, head: u64, state: &State) -> Record {
        let State { floor, shared_floor, forgotten, .. } = *state;
        Record::Begin { head, floor, shared_floor, shared: *self.shared.lock(), forgotten }
    }

    /// Lists what a file says beyond `heard`. Where that cannot be all that was purged since, everything.
    fn add_unheard(&self, state: &mut State, found: Found, heard: u64) -> Vec<Arc<Logged>> {
        let is_all = found.floor.max(found.forgotten) <= heard;
        let unheard = found.purges.into_iter().filter(|line| line.seq > heard).collect();
        let mut added = self.add_unknown(state, unheard);
        if !is_all {
            added.extend(self.add_everything(state));
        }
        added
    }

    /// Lists what processes have purged that waited for the directory.
    fn add_others(&self, kept: &Kept, state: &mut State, others: Others) -> Vec<Arc<Logged>> {
        let mut added = self.add_unknown(state, others.purges);
        if others.damaged {
            added.extend(self.add_everything(state));
        }
        kept.told.lock().extend(others.files.into_iter().map(|path| (path, self.position())));
        added
    }

    /// Lists a purge of everything, in place of those that nobody knows any more: for who looks at the log only when
    /// something is purged. It is no business of other nodes.
    fn add_everything(&self, state: &mut State) -> Vec<Arc<Logged>> {
        let purge = Purge::new(vec![PurgeTarget::All], Mode::Hard, Timestamp::from_secs(0));
        self.add_unknown(state, vec![Line { seq: 0, shared: Some(self.shared_position()), purge }])
    }

    /// Lists purges that are not known as the newest: those of another sequence, which came at a time that is not known.
    fn add_unknown(&self, state: &mut State, lines: Vec<Line>) -> Vec<Arc<Logged>> {
        let mut added = Vec::new();
        for Line { shared, purge, .. } in lines {
            if state.by_id.contains_key(&purge.id) {
                continue;
            }
            let seq = self.position() + 1;
            let logged = logged(seq, purge, shared);
            state.retain(logged.clone());
            state.bound();
            self.head.store(seq, Ordering::Release);
            added.push(logged);
        }
        added
    }
}

impl Kept {
    fn new(path: &Path, journal: Journal, aside: Option<Aside>) -> Self {
        Kept { journal, path: path.to_owned(), aside: Mutex::new(aside), told: Mutex::default() }
    }
}

/// How the names of files beside a log's begin.
fn beside(path: &Path) -> String {
    format!("{}-", path.file_name().unwrap_or_default().to_string_lossy())
}

/// What processes have purged that waited for the directory.
#[derive(Default)]
struct Others {
    files: Vec<PathBuf>,
    purges: Vec<Line>,
    /// They may have said anything besides.
    damaged: bool,
}

/// What the files beside a log's say, but for those that are `known`.
fn others(path: &Path, known: &[PathBuf]) -> Others {
    let mut others = Others::default();
    let beside = beside(path);
    let entries = path.parent().and_then(|directory| fs::read_dir(directory).ok()).into_iter().flatten().flatten();
    for entry in entries {
        let (name, file) = (entry.file_name(), entry.path());
        let number = name.to_str().and_then(|name| name.strip_prefix(&beside));
        if number.is_none_or(|number| u64::from_str_radix(number, 16).is_err()) || known.contains(&file) {
            continue;
        }
        let Some(found) = read_file(&file) else { continue };
        others.purges.extend(found.purges);
        others.damaged |= !found.intact;
        others.files.push(file);
    }
    others
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
