//! Copies of bodies that are often asked for, as files in memory: the kernel sends their pages as they are.
//!
//! From memory the kernel copies a body with each hit. A page of a file goes out itself, and stays in the caches of
//! whichever core sends or reads it: hits of 64 KiB became 1.15 times as many, of 128 KiB twice. The bytes in memory stay,
//! for everybody else.
//!
//! Each copy is a file of its own, written once. So the kernel keeps what it has still to send of one that has gone,
//! and never sends another's bytes, nor the zeros that a hole punched into a common file can leave.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::MemfdFlags;
use rustix::process::{Resource, getrlimit};

/// Bodies that gain by it, in bytes. For a shorter one the calls cost more than the copying; a longer one is not held by
/// the kernel as a whole.
pub const LENGTHS: RangeInclusive<usize> = 16 * 1024..=1024 * 1024;

/// Of the memory limit, this part at most is taken by copies, beside it.
const SHARE: u64 = 16;

/// Copies at most: each takes a file descriptor.
const MOST: usize = 1024;

/// And of the descriptors that the process may have, this part at most.
const SHARE_OF_DESCRIPTORS: u64 = 16;

/// What a copy takes is a multiple of it.
const PAGE: u64 = 4096;

/// The copies that there are.
#[derive(Debug)]
pub struct FileCopies {
    limit: u64,
    most: usize,
    held: Arc<AtomicU64>,
    kept: Mutex<Kept>,
}

/// Those that are not given back yet, in the order of their making.
#[derive(Debug, Default)]
struct Kept {
    copies: BTreeMap<u64, Arc<FileCopy>>,
    made: u64,
    /// Where the next look for one that is not asked for begins.
    hand: u64,
}

/// A body's copy. Its pages are given back with the last who holds it, and when the kernel has sent what it took.
#[derive(Debug)]
pub struct FileCopy {
    file: File,
    len: usize,
    used: AtomicBool,
    held: Arc<AtomicU64>,
}

/// A body's claim to its copy, which goes with the body.
#[derive(Debug)]
pub(super) struct Claim {
    copies: Arc<FileCopies>,
    copy: Weak<FileCopy>,
    number: u64,
}

impl FileCopies {
    /// None yet, for a cache with this memory limit in bytes.
    pub fn new(memory: u64) -> Arc<Self> {
        Arc::new(FileCopies { limit: memory / SHARE, most: most(), held: Arc::default(), kept: Mutex::default() })
    }

    /// Bytes that they take.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Copies a body, in place of those that were not asked for lately. `None`: all were, or there is no such file.
    pub(super) fn make(self: &Arc<Self>, body: &Bytes) -> Option<(Claim, Arc<FileCopy>)> {
        let mut kept = self.kept.lock();
        if !kept.make_room(|copies| copies < self.most && self.held() + taken(body.len()) <= self.limit) {
            return None;
        }
        let copy = Arc::new(FileCopy::write(body, self.held.clone()).ok()?);
        kept.made += 1;
        let number = kept.made;
        kept.copies.insert(number, copy.clone());
        Some((Claim { copies: self.clone(), copy: Arc::downgrade(&copy), number }, copy))
    }
}

/// Copies that there may be.
fn most() -> usize {
    // Who writes beyond a limit on files is sent a signal that ends it.
    if getrlimit(Resource::Fsize).current.is_some() {
        return 0;
    }
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    MOST.min((descriptors / SHARE_OF_DESCRIPTORS) as usize)
}

/// What a copy of so many bytes takes.
fn taken(len: usize) -> u64 {
    (len as u64).next_multiple_of(PAGE)
}

impl Kept {
    /// Gives copies back until there is room. Each has one more chance if it was asked for since it last had one.
    fn make_room(&mut self, is_room: impl Fn(usize) -> bool) -> bool {
        for _ in 0..self.copies.len() {
            if is_room(self.copies.len()) {
                return true;
            }
            self.pass_over_or_remove();
        }
        is_room(self.copies.len())
    }

    fn pass_over_or_remove(&mut self) {
        let next = self.copies.range(self.hand..).next().or_else(|| self.copies.first_key_value());
        let Some((&number, copy)) = next else { return };
        if !copy.used.swap(false, Ordering::Relaxed) {
            self.copies.remove(&number);
        }
        self.hand = number + 1;
    }
}

impl FileCopy {
    fn write(body: &[u8], held: Arc<AtomicU64>) -> io::Result<Self> {
        let file = File::from(rustix::fs::memfd_create("larder-body", MemfdFlags::CLOEXEC)?);
        file.write_all_at(body, 0)?;
        held.fetch_add(taken(body.len()), Ordering::Relaxed);
        Ok(FileCopy { file, len: body.len(), used: AtomicBool::new(true), held })
    }

    /// Has the kernel send of its last `left` bytes the first `some`; how many of them it took.
    ///
    /// # Errors
    /// The socket takes none now, or none any more.
    pub fn send(&self, left: usize, some: usize, socket: impl AsFd) -> io::Result<usize> {
        let mut at = (self.len - left) as u64;
        Ok(rustix::fs::sendfile(socket, &self.file, Some(&mut at), some)?)
    }
}

impl Drop for FileCopy {
    fn drop(&mut self) {
        self.held.fetch_sub(taken(self.len), Ordering::Relaxed);
    }
}

impl Claim {
    /// The copy, if it has not been given back for others. It has been asked for.
    pub(super) fn copy(&self) -> Option<Arc<FileCopy>> {
        let copy = self.copy.upgrade()?;
        copy.used.store(true, Ordering::Relaxed);
        Some(copy)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let gone = self.copies.kept.lock().copies.remove(&self.number);
        // The file is closed without the lock.
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    const BODY: usize = 16 * 1024;

    fn body(of: u8) -> Bytes {
        vec![of; BODY].into()
    }

    /// Room for so many copies of a body.
    fn copies(many: usize) -> Arc<FileCopies> {
        FileCopies::new(BODY as u64 * SHARE * many as u64)
    }

    #[test]
    fn a_copy_sends_what_the_body_has_from_where_it_stopped() {
        let body: Bytes = (0..BODY as u32).map(|at| (at % 251) as u8).collect();
        let (_claim, copy) = copies(1).make(&body).unwrap();
        let (from, mut to) = UnixStream::pair().unwrap();
        for (left, some) in [(BODY, BODY), (5000, 4000), (1, 1)] {
            let sent = copy.send(left, some, &from).unwrap();
            let mut came = vec![0; sent];
            to.read_exact(&mut came).unwrap();
            assert!(sent > 0 && body[BODY - left..][..some].starts_with(&came), "{left} left");
        }
    }

    #[test]
    fn what_is_not_asked_for_makes_room_for_another() {
        let copies = copies(2);
        let (first, _) = copies.make(&body(1)).unwrap();
        let (second, _) = copies.make(&body(2)).unwrap();
        assert!(copies.make(&body(3)).is_none(), "both are new");
        assert!(second.copy().is_some());
        let (third, _) = copies.make(&body(3)).unwrap();
        assert!(first.copy().is_none());
        assert!(second.copy().is_some() && third.copy().is_some());
        assert_eq!(copies.held(), 2 * BODY as u64);
    }

    #[test]
    fn a_body_that_goes_takes_its_copy_along() {
        let copies = copies(1);
        let (claim, copy) = copies.make(&body(1)).unwrap();
        drop(claim);
        assert_eq!(copies.held(), BODY as u64, "somebody is sending it still");
        drop(copy);
        assert_eq!(copies.held(), 0);
        assert!(copies.make(&body(2)).is_some());
    }

    #[test]
    fn copies_that_are_being_sent_count_and_no_more_are_made() {
        let copies = copies(1);
        let (_claim, _sending) = copies.make(&body(1)).unwrap();
        assert!(copies.make(&body(2)).is_none());
        assert_eq!(copies.held(), BODY as u64);
    }
}
