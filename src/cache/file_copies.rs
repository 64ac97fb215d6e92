//! Copies of bodies that are often asked for, as files in memory: the kernel sends their pages as they are.
//!
//! From memory the kernel copies a body with each hit. A page of a file goes out itself, and stays in the caches of
//! whichever core sends or reads it: hits of 64 KiB became 1.2 times as many, of 128 KiB 2.5. The bytes in memory stay,
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
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::MemfdFlags;
use rustix::param::page_size;
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

/// The copies that there are.
#[derive(Debug)]
pub struct FileCopies {
    limit: u64,
    most: usize,
    held: Arc<Held>,
    kept: Mutex<Kept>,
}

/// Those that bodies have a claim to, in the order of their making.
#[derive(Debug, Default)]
struct Kept {
    copies: BTreeMap<u64, Arc<FileCopy>>,
    made: u64,
    /// Where the next look for one that is not asked for begins.
    hand: u64,
}

/// What copies take, until the last who sends them has handed them over.
#[derive(Debug, Default)]
struct Held {
    copies: AtomicUsize,
    bytes: AtomicU64,
}

/// What one copy takes of it.
#[derive(Debug)]
struct Room {
    held: Arc<Held>,
    bytes: u64,
}

/// A body's copy. It is given back with the last who holds it; the kernel keeps what it has still to send.
#[derive(Debug)]
pub struct FileCopy {
    file: File,
    len: usize,
    used: AtomicBool,
    room: Room,
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
        let (limit, most) = (memory / SHARE, most());
        Arc::new(FileCopies { limit, most, held: Arc::default(), kept: Mutex::default() })
    }

    /// Bytes that they take.
    pub fn held(&self) -> u64 {
        self.held.bytes.load(Ordering::Relaxed)
    }

    /// Copies a body, in place of those that were not asked for lately. `None`: all were, or there is no such file.
    pub(super) fn make(self: &Arc<Self>, body: &Bytes) -> Option<(Claim, Arc<FileCopy>)> {
        let room = self.make_room((body.len() as u64).next_multiple_of(page_size() as u64))?;
        // Written without the lock: a file of 1 MiB takes 0.1 to 0.3 ms.
        let copy = Arc::new(FileCopy::write(body, room).ok()?);
        let number = self.kept.lock().add(copy.clone());
        Some((Claim { copies: self.clone(), copy: Arc::downgrade(&copy), number }, copy))
    }

    /// Gives copies back until there is room for one more of so many bytes.
    fn make_room(&self, bytes: u64) -> Option<Room> {
        if bytes > self.limit {
            return None;
        }
        // They go after the lock.
        let (mut gone, mut freed) = (Vec::new(), 0);
        let mut kept = self.kept.lock();
        // Each has one more chance if it was asked for since it last had one.
        for _ in 0..=kept.copies.len() {
            let copies = self.held.copies.load(Ordering::Relaxed);
            if self.held() + bytes <= self.limit + freed && copies < self.most + gone.len() {
                return Some(Room::taken(&self.held, bytes));
            }
            if let Some(copy) = kept.pass_over_or_remove() {
                freed += copy.room.bytes;
                gone.push(copy);
            }
        }
        None
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

impl Kept {
    fn add(&mut self, copy: Arc<FileCopy>) -> u64 {
        self.made += 1;
        self.copies.insert(self.made, copy);
        self.made
    }

    /// Takes the next one out, unless it was asked for, or is being sent and would free nothing.
    fn pass_over_or_remove(&mut self) -> Option<Arc<FileCopy>> {
        let next = self.copies.range(self.hand..).next().or_else(|| self.copies.first_key_value());
        let (&number, copy) = next?;
        self.hand = number + 1;
        let stays = copy.used.swap(false, Ordering::Relaxed) || Arc::strong_count(copy) > 1;
        if stays { None } else { self.copies.remove(&number) }
    }
}

impl Room {
    fn taken(held: &Arc<Held>, bytes: u64) -> Self {
        held.copies.fetch_add(1, Ordering::Relaxed);
        held.bytes.fetch_add(bytes, Ordering::Relaxed);
        Room { held: held.clone(), bytes }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.held.copies.fetch_sub(1, Ordering::Relaxed);
        self.held.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl FileCopy {
    fn write(body: &[u8], room: Room) -> io::Result<Self> {
        let file = File::from(rustix::fs::memfd_create("larder-body", MemfdFlags::CLOEXEC)?);
        file.write_all_at(body, 0)?;
        Ok(FileCopy { file, len: body.len(), used: AtomicBool::new(true), room })
    }

    /// Has the kernel send of its last `left` bytes the first `some`; how many of them it took.
    ///
    /// # Errors
    /// The socket takes none now, or none any more, or the kernel can't send from there.
    pub fn send(&self, left: usize, some: usize, socket: impl AsFd) -> io::Result<usize> {
        let mut at = (self.len - left) as u64;
        Ok(rustix::fs::sendfile(socket, &self.file, Some(&mut at), some)?)
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
        let first = copies.make(&body(1)).unwrap().0;
        let second = copies.make(&body(2)).unwrap().0;
        assert!(copies.make(&body(3)).is_none(), "both are new");
        assert!(second.copy().is_some());
        let third = copies.make(&body(3)).unwrap().0;
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
        for _ in 0..3 {
            assert!(copies.make(&body(2)).is_none());
        }
        assert_eq!(copies.held(), BODY as u64);
    }

    #[test]
    fn what_never_fits_and_what_is_being_sent_drive_nothing_out() {
        let copies = copies(2);
        let first = copies.make(&body(1)).unwrap().0;
        for _ in 0..3 {
            assert!(copies.make(&vec![0; 3 * BODY].into()).is_none(), "larger than all room");
        }
        let (second, sending) = copies.make(&body(2)).unwrap();
        let third = loop {
            if let Some((third, _)) = copies.make(&body(3)) {
                break third;
            }
        };
        assert!(first.copy().is_none() && third.copy().is_some());
        assert!(second.copy().is_some(), "it would not have freed anything");
        drop(sending);
    }
}
