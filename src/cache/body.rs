//! A body that one task fills and many read, each at its own pace, while it grows and after.

mod coded;
mod file_copy;
mod filling;
mod reader;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use parking_lot::Mutex;

use super::disk::stored_body::{OpenBody, StoredBody};
use super::file_copies::Claim;
use super::room::allotted;
use crate::config::settings::Coding;

pub use filling::Filler;
use filling::Growing;
use reader::FileReader;
pub use reader::{BodyReader, Piece};

/// A body that ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body was cut short")]
pub struct CutBody;

/// A complete body lies in blocks of this size, the last one shorter: few allocations, and a range finds its block
/// by division.
const BLOCK: usize = 1024 * 1024;

/// A body shared among requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedBody(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Set once, when all has arrived: readers then take no lock.
    complete: OnceLock<Complete>,
    side: Mutex<Side>,
}

/// What most bodies have nothing of, most of the time.
#[derive(Debug, Default)]
struct Side {
    /// What has come so far, until all has: then it is given back, since it takes as much room as the fields of a page.
    /// Never made anew.
    growing: Option<Box<Growing>>,
    /// What was made of it.
    made: Option<Box<Made>>,
}

/// What larder has made of a body, and what goes with it.
#[derive(Debug, Default)]
struct Made {
    /// The same body in content codings.
    coded: Vec<(Coding, SharedBody)>,
    file_copy: Option<Claim>,
}

#[derive(Debug)]
enum Complete {
    /// As most are: in memory, no longer than a block, without trailers.
    Block(Bytes),
    Other(Box<Other>),
}

#[derive(Debug)]
struct Other {
    place: Place,
    len: u64,
    trailers: Option<HeaderMap>,
}

/// Where a complete body lies.
#[derive(Debug)]
enum Place {
    /// In memory, in blocks.
    Memory(Box<[Bytes]>),
    /// On disk alone.
    Disk(StoredBody),
}

impl Complete {
    fn on_disk(stored: StoredBody, trailers: Option<HeaderMap>) -> Self {
        let len = stored.len();
        Complete::Other(Box::new(Other { place: Place::Disk(stored), len, trailers }))
    }

    /// Copies pieces of `len` bytes in all into blocks, so that no stored byte keeps a connection's read buffer alive.
    fn in_memory<'a>(pieces: impl Iterator<Item = &'a [u8]>, len: usize, trailers: Option<HeaderMap>) -> Self {
        if len <= BLOCK && trailers.is_none() {
            let mut block = Vec::with_capacity(len);
            pieces.for_each(|piece| block.extend_from_slice(piece));
            return Complete::Block(block.into());
        }
        let place = Place::Memory(blocks(pieces, len));
        Complete::Other(Box::new(Other { place, len: len as u64, trailers }))
    }

    /// Its blocks, where they are in memory.
    fn blocks(&self) -> Option<&[Bytes]> {
        match self {
            Complete::Block(block) => Some(std::slice::from_ref(block)),
            Complete::Other(other) => match &other.place {
                Place::Memory(blocks) => Some(blocks),
                Place::Disk(_) => None,
            },
        }
    }

    fn stored(&self) -> Option<&StoredBody> {
        match self {
            Complete::Other(other) => match &other.place {
                Place::Disk(stored) => Some(stored),
                Place::Memory(_) => None,
            },
            Complete::Block(_) => None,
        }
    }

    fn len(&self) -> u64 {
        match self {
            Complete::Block(block) => block.len() as u64,
            Complete::Other(other) => other.len,
        }
    }

    fn held(&self) -> u64 {
        if self.stored().is_some() {
            return size_of::<Other>() as u64;
        }
        let last = self.len() % BLOCK as u64;
        self.len() - last + allotted(last)
    }

    fn trailers(&self) -> Option<&HeaderMap> {
        match self {
            Complete::Block(_) => None,
            Complete::Other(other) => other.trailers.as_ref(),
        }
    }
}

impl SharedBody {
    /// An empty body and the hand that fills it.
    pub fn growing() -> (SharedBody, Filler) {
        let side = Side { growing: Some(Box::default()), made: None };
        let shared = Arc::new(Shared { complete: OnceLock::new(), side: Mutex::new(side) });
        (SharedBody(shared.clone()), Filler(shared))
    }

    /// A body that is all there.
    pub fn complete(bytes: &[u8]) -> SharedBody {
        SharedBody::of_pieces([bytes].into_iter(), bytes.len(), None)
    }

    /// A body that is all there, in pieces of `len` bytes in all, and its trailers.
    pub fn of_pieces<'a>(
        pieces: impl Iterator<Item = &'a [u8]>,
        len: usize,
        trailers: Option<HeaderMap>,
    ) -> SharedBody {
        SharedBody::of(Complete::in_memory(pieces, len, trailers))
    }

    /// A body that is all there, on disk.
    pub fn on_disk(stored: StoredBody, trailers: Option<HeaderMap>) -> SharedBody {
        SharedBody::of(Complete::on_disk(stored, trailers))
    }

    fn of(complete: Complete) -> SharedBody {
        SharedBody(Arc::new(Shared { complete: OnceLock::from(complete), side: Mutex::default() }))
    }

    /// No body: nobody can read it. For a stored response that has parts instead.
    pub fn absent() -> SharedBody {
        SharedBody::growing().0
    }

    /// One body of several, each with its place in it, in the order of their places: none lies within another, they may
    /// overlap, and there is no gap. `None` while one of them grows.
    pub fn joined<'a>(bodies: impl Iterator<Item = (u64, &'a SharedBody)>, len: u64) -> Option<SharedBody> {
        let mut pieces = Vec::new();
        let mut at = 0;
        for (start, body) in bodies {
            let mut skip = at - start;
            for block in body.pieces()? {
                let from = skip.min(block.len() as u64);
                skip -= from;
                pieces.push(&block[from as usize..]);
                at += block.len() as u64 - from;
            }
        }
        debug_assert_eq!(at, len);
        Some(SharedBody::of_pieces(pieces.into_iter(), at as usize, None))
    }

    /// Its bytes, in pieces; `None` while it grows, and where they are not in memory.
    pub fn pieces(&self) -> Option<&[Bytes]> {
        self.0.complete.get()?.blocks()
    }

    /// Where it lies on disk, if that is the only place.
    pub fn stored(&self) -> Option<&StoredBody> {
        self.0.complete.get()?.stored()
    }

    /// Its file, where it lies on disk: kept open for those that began to read before it was complete, or by whoever
    /// opened it since.
    fn opened(&self) -> Option<Arc<OpenBody>> {
        let side = self.0.side.lock();
        let kept = side.growing.as_ref().and_then(|growing| Some(growing.spilled.as_ref()?.file.clone()));
        drop(side);
        kept.or_else(|| self.stored()?.opened())
    }

    /// Whether it is not in memory as a whole, or is on the way to disk: what is made of it is not kept either.
    pub fn is_beyond_memory(&self) -> bool {
        self.stored().is_some() || (self.len().is_none() && self.is_being_spilled())
    }

    fn is_being_spilled(&self) -> bool {
        self.0.side.lock().growing.as_ref().is_some_and(|growing| growing.spilled.is_some())
    }

    /// Its trailers, once all has arrived.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.0.complete.get()?.trailers()
    }

    /// Its length in bytes, once all has arrived.
    pub fn len(&self) -> Option<u64> {
        self.0.complete.get().map(Complete::len)
    }

    /// Whether all has arrived, and nothing was in it.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Bytes of memory held now, without what is held in codings.
    pub fn held(&self) -> u64 {
        if let Some(complete) = self.0.complete.get() {
            return complete.held();
        }
        match &self.0.side.lock().growing {
            Some(growing) => growing.len - growing.dropped_len,
            // It was completed between the look and the lock.
            None => self.len().unwrap_or_default(),
        }
    }

    /// A reader of the whole body; `None` when nobody can join any more, or it is on disk and not open there.
    pub fn reader(&self) -> Option<BodyReader> {
        self.range_reader(0..u64::MAX)
    }

    /// A reader of some of its bytes, waiting only for those; `None` as for [`SharedBody::reader`].
    pub fn range_reader(&self, range: Range<u64>) -> Option<BodyReader> {
        let mut slot = None;
        let mut file = None;
        if self.len().is_none() {
            let mut side = self.0.side.lock();
            // It may have been completed between the look and the lock.
            if self.len().is_none()
                && let Some(growing) = side.growing.as_mut()
            {
                if growing.passing && growing.dropped > 0 {
                    return None;
                }
                slot = Some(growing.take_place());
            }
        }
        if slot.is_none() && self.stored().is_some() {
            file = Some(Box::new(FileReader::new(self.opened()?)));
        }
        Some(BodyReader {
            body: self.clone(),
            slot,
            piece: 0,
            piece_start: 0,
            at: range.start,
            end: range.end,
            over: false,
            file,
        })
    }
}

fn blocks<'a>(pieces: impl Iterator<Item = &'a [u8]>, len: usize) -> Box<[Bytes]> {
    let mut blocks = Vec::with_capacity(len.div_ceil(BLOCK));
    let mut block = BytesMut::with_capacity(len.min(BLOCK));
    let mut left = len;
    for mut piece in pieces {
        while !piece.is_empty() {
            let (now, later) = piece.split_at(piece.len().min(BLOCK - block.len()));
            block.extend_from_slice(now);
            left -= now.len();
            piece = later;
            if block.len() == BLOCK {
                blocks.push(std::mem::replace(&mut block, BytesMut::with_capacity(left.min(BLOCK))).freeze());
            }
        }
    }
    if !block.is_empty() {
        blocks.push(block.freeze());
    }
    blocks.into_boxed_slice()
}
