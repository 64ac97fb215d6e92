//! The directory of a disk tier.
//!
//! ```text
//! <path>/lock                  held by the larder that uses the directory
//! <path>/records/<ab>/<slot>   one record a file, in 256 directories by the slot's first byte
//! <path>/purges               the log of purges; purges-<number>: of a process that waits for the directory
//! <path>/new/<number>/<n>      records being written, renamed when they are complete
//! ```
//!
//! Records are not synced: after a crash of the machine a file may be empty or half there, which its checksums tell. The
//! log of purges is, and so are removals before it forgets what they were for.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use parking_lot::{Mutex, MutexGuard};

use super::Chore;
use crate::cache::record::new_id;
use crate::cache::tiers::slot::Slot;

const PLACES: usize = 64;

/// A directory that is ours alone.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    records: PathBuf,
    new: PathBuf,
    next: AtomicU64,
    chores: Sender<Chore>,
    /// Held while the file of a slot is kept or removed, and the index told: one does not undo the other. A few stand
    /// for all slots.
    places: [Mutex<()>; PLACES],
    /// Whoever holds it has the directory.
    lock: Mutex<File>,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("another larder uses it")]
    InUse,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A file that goes when it is not kept.
#[derive(Debug)]
pub(super) struct Temporary {
    /// Where it is, until it is kept.
    path: Option<PathBuf>,
    chores: Sender<Chore>,
}

impl Files {
    /// Takes a directory, which is made where there is none; what belongs in it, [`Files::make`] makes.
    pub(super) fn open(path: &Path, chores: Sender<Chore>) -> Result<Files, OpenError> {
        let lock = Mutex::new(take_lock(path)?);
        let (records, new) = (path.join("records"), path.join("new").join(format!("{:016x}", new_id())));
        let places = [const { Mutex::new(()) }; PLACES];
        Ok(Files { path: path.to_owned(), records, new, next: AtomicU64::new(0), chores, places, lock })
    }

    /// Makes what is missing; somebody may have removed it. Whether there was no place for records.
    pub(super) fn make(&self) -> Result<bool, OpenError> {
        {
            let mut lock = self.lock.lock();
            if !is_at(&lock, &lock_file(&self.path)) {
                *lock = take_lock(&self.path)?;
            }
        }
        let is_bare = !self.records.exists();
        fs::create_dir_all(&self.records)?;
        for byte in 0..=u8::MAX {
            match fs::create_dir(self.records.join(format!("{byte:02x}"))) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
                _ => {}
            }
        }
        fs::create_dir_all(&self.new)?;
        Ok(is_bare)
    }

    /// The file of a slot.
    pub(super) fn path(&self, slot: Slot) -> PathBuf {
        let name = slot.to_string();
        self.records.join(&name[..2]).join(name)
    }

    /// A new file, to be filled and kept.
    pub(super) fn temporary(&self) -> io::Result<(File, Temporary)> {
        let path = self.new.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok((file, Temporary { path: Some(path), chores: self.chores.clone() }))
    }

    /// Keeps a file as that of a slot, in the place of what was there, and notes it.
    pub(super) fn keep<T>(&self, mut temporary: Temporary, slot: Slot, note: impl FnOnce() -> T) -> io::Result<T> {
        let _place = self.places[place(slot)].lock();
        if let Some(path) = &temporary.path {
            put(path, &self.path(slot))?;
        }
        temporary.path = None;
        Ok(note())
    }

    /// Keeps the file of a slot, which is open, as that of another one or of the same, and notes it. `None`: the slot has
    /// another file by now, or none.
    pub(super) fn keep_as<T>(
        &self,
        file: &File,
        from: Slot,
        to: Slot,
        note: impl FnOnce() -> T,
    ) -> io::Result<Option<T>> {
        let _places = self.both_places(from, to);
        let path = self.path(from);
        if !is_at(file, &path) {
            return Ok(None);
        }
        if from != to {
            put(&path, &self.path(to))?;
        }
        Ok(Some(note()))
    }

    /// The lower one first: no two wait for one another.
    fn both_places(&self, one: Slot, other: Slot) -> (MutexGuard<'_, ()>, Option<MutexGuard<'_, ()>>) {
        let (low, high) = (place(one).min(place(other)), place(one).max(place(other)));
        let first = self.places[low].lock();
        (first, (low != high).then(|| self.places[high].lock()))
    }

    /// Removes the file of a slot, unless it is wanted again; that there is none is as good.
    pub(super) fn remove(&self, slot: Slot, is_wanted: impl FnOnce() -> bool) -> io::Result<()> {
        let _place = self.places[place(slot)].lock();
        if is_wanted() {
            return Ok(());
        }
        let path = self.path(slot);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => fs::remove_dir_all(path),
            removed => removed,
        }
    }

    /// Sees to it that files which were removed do not come back after a power failure.
    pub(super) fn sync_directories(&self) -> io::Result<()> {
        for directory in fs::read_dir(&self.records)? {
            File::open(directory?.path())?.sync_all()?;
        }
        Ok(())
    }

    /// All files there are: when they were written, in seconds since the epoch, their slots and sizes. What is no
    /// record of ours is removed.
    pub(super) fn list(&self, mut found: impl FnMut(Listed)) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        for directory in fs::read_dir(&self.records)? {
            let directory = directory?;
            if !directory.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(directory.path())? {
                let file = file?;
                // It may have gone meanwhile.
                let Ok(about) = file.metadata() else { continue };
                match file.file_name().to_str().and_then(Slot::parse) {
                    _ if about.is_dir() => drop(fs::remove_dir_all(file.path())),
                    Some(slot) => found(Listed { written: about.mtime(), slot, len: about.len() }),
                    None => drop(fs::remove_file(file.path())),
                }
            }
        }
        Ok(())
    }

    /// Removes what earlier processes left half written.
    pub(super) fn remove_leftovers(&self) -> io::Result<()> {
        let Some(all_new) = self.new.parent() else { return Ok(()) };
        for directory in fs::read_dir(all_new)? {
            let path = directory?.path();
            if path != self.new {
                fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    }
}

fn place(slot: Slot) -> usize {
    (slot.url ^ slot.rest) as usize % PLACES
}

/// Puts a file in the place of whatever is there.
fn put(path: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(path, to) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            fs::remove_dir_all(to)?;
            fs::rename(path, to)
        }
        renamed => renamed,
    }
}

fn lock_file(path: &Path) -> PathBuf {
    path.join("lock")
}

fn take_lock(path: &Path) -> Result<File, OpenError> {
    fs::create_dir_all(path)?;
    let lock_file = lock_file(path);
    if !lock_file.exists() {
        File::create(&lock_file)?;
    }
    // Not open for writing: that would keep an operator from mounting the disk read-only.
    let lock = File::open(lock_file)?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::InUse,
        TryLockError::Error(error) => OpenError::Io(error),
    })?;
    Ok(lock)
}

/// Whether an open file is still the one of this name.
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = |about: fs::Metadata| (about.dev(), about.ino());
    fs::metadata(path).map(number).is_ok_and(|there| file.metadata().map(number).is_ok_and(|held| held == there))
}

/// A file that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    pub written: i64,
    pub slot: Slot,
    pub len: u64,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Not here: who gives it up may be a task that must not wait for the disk, and a large file takes long. What is
        // not done any more is at the next start.
        if let Some(path) = self.path.take() {
            let _ = self.chores.send(Chore::Unlink(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tempfile::TempDir;

    use super::*;

    /// A directory, and what is to be done in it.
    fn made() -> (TempDir, Files, mpsc::Receiver<Chore>) {
        let (chores, to_do) = mpsc::channel();
        let directory = tempfile::tempdir().unwrap();
        let files = Files::open(directory.path(), chores).unwrap();
        files.make().unwrap();
        (directory, files, to_do)
    }

    fn slot(rest: u64) -> Slot {
        Slot { url: 1, rest }
    }

    #[test]
    fn file_moves_with_its_note_or_stays_where_another_has_come_into_its_place() {
        let (_directory, files, _to_do) = made();
        let stored = |slot| {
            let (file, temporary) = files.temporary().unwrap();
            files.keep(temporary, slot, || ()).unwrap();
            file
        };
        let there = |slot| files.path(slot).exists();
        // Two that have a place each, and two of one place.
        for (from, to) in [(slot(1), slot(2)), (slot(4), slot(3)), (slot(5), slot(5 + PLACES as u64))] {
            let file = stored(from);
            let held = || [from, to].map(|slot| files.places[place(slot)].is_locked());
            assert_eq!(files.keep_as(&file, from, to, held).unwrap(), Some([true; 2]), "neither can go meanwhile");
            assert_eq!((there(from), there(to)), (false, true));
            assert_eq!(files.keep_as(&file, to, to, || ()).unwrap(), Some(()), "it stays");
            let _other = stored(to);
            assert_eq!(files.keep_as(&file, to, from, || ()).unwrap(), None);
            assert_eq!((there(from), there(to)), (false, true), "the other one stays");
        }
    }

    #[test]
    fn file_that_is_given_up_is_left_to_the_thread_that_may_wait_for_the_disk() {
        let (_directory, files, to_do) = made();
        let (_file, temporary) = files.temporary().unwrap();
        let path = temporary.path.clone().unwrap();
        drop(temporary);
        assert!(path.exists());
        assert!(matches!(to_do.try_recv(), Ok(Chore::Unlink(gone)) if gone == path));
        let (_file, kept) = files.temporary().unwrap();
        files.keep(kept, slot(1), || ()).unwrap();
        assert!(to_do.try_recv().is_err());
    }
}
