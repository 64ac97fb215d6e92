//! A body while it grows, and the hand that fills it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::{MappedMutexGuard, MutexGuard};

use super::{Complete, Shared, SharedBody};
use crate::cache::disk::stored_body::{OpenBody, StoredBody};

/// Once nobody can join any more (see [`Filler::stop_keeping`]), at most this much is read ahead of the slowest
/// reader.
const READ_AHEAD: u64 = 256 * 1024;

/// Of a body that is on its way to disk, the end stays in memory: who follows closely needs no file.
const WINDOW: u64 = 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Growing {
    /// As they came, but for those that were dropped from the front.
    pub(super) pieces: VecDeque<Bytes>,
    /// Pieces dropped, and their bytes.
    pub(super) dropped: usize,
    pub(super) dropped_len: u64,
    pub(super) len: u64,
    pub(super) end: Option<End>,
    /// Nobody joins any more: pieces that all readers have are dropped.
    pub(super) passing: bool,
    /// For each reader, the piece that it needs next; `None` when it has gone.
    pub(super) readers: Vec<Option<usize>>,
    /// Places of those that have gone.
    vacant: Vec<usize>,
    pub(super) waiting: Vec<Waker>,
    pub(super) filler: Option<Waker>,
    /// Where what was dropped can be read, once the body has outgrown memory.
    pub(super) spilled: Option<Spilled>,
}

/// The part of a growing body that is on disk.
#[derive(Debug)]
pub(super) struct Spilled {
    pub(super) file: Arc<OpenBody>,
    /// Bytes that are there, in whole blocks.
    pub(super) len: u64,
}

#[derive(Debug)]
pub(super) enum End {
    Clean(Option<Box<HeaderMap>>),
    Cut,
}

impl Growing {
    pub(super) fn wake_readers(&mut self) {
        for waker in self.waiting.drain(..) {
            waker.wake();
        }
    }

    /// A place for one more reader, which begins with the first piece.
    pub(super) fn take_place(&mut self) -> usize {
        let place = self.vacant.pop().unwrap_or_else(|| {
            self.readers.push(None);
            self.readers.len() - 1
        });
        self.readers[place] = Some(0);
        place
    }

    /// A reader has gone.
    pub(super) fn leave_place(&mut self, place: usize) {
        if let Some(next) = self.readers.get_mut(place) {
            *next = None;
            self.vacant.push(place);
        }
    }

    pub(super) fn drop_what_all_have(&mut self) {
        if !self.passing {
            return;
        }
        let slowest = self.readers.iter().flatten().min().copied().unwrap_or(self.dropped + self.pieces.len());
        while self.dropped < slowest {
            let Some(piece) = self.pieces.pop_front() else { break };
            self.dropped += 1;
            self.dropped_len += piece.len() as u64;
        }
    }

    /// Whether no reader that joined while it grew is left.
    pub(super) fn is_unread(&self) -> bool {
        self.readers.iter().all(Option::is_none)
    }

    pub(super) fn wake_filler(&mut self) {
        if let Some(filler) = self.filler.take() {
            filler.wake();
        }
    }
}

/// Fills a [`SharedBody`]. Dropped without [`Filler::finish`], the body counts as cut.
#[derive(Debug)]
pub struct Filler(pub(super) Arc<Shared>);

impl Filler {
    /// What has come so far. It is there for as long as the filler is, which `finish` consumes.
    fn growing(&self) -> MappedMutexGuard<'_, Growing> {
        MutexGuard::map(self.0.side.lock(), |side| &mut **side.growing.get_or_insert_default())
    }

    /// Adds a piece.
    pub fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        let mut growing = self.growing();
        growing.len += piece.len() as u64;
        growing.pieces.push_back(piece);
        growing.drop_what_all_have();
        growing.wake_readers();
    }

    /// The body that it fills.
    pub fn body(&self) -> SharedBody {
        SharedBody(self.0.clone())
    }

    /// What has come so far, as a body by itself.
    pub fn received(&self) -> SharedBody {
        let growing = self.growing();
        let len = (growing.len - growing.dropped_len) as usize;
        SharedBody::of_pieces(growing.pieces.iter().map(|piece| &piece[..]), len, None)
    }

    /// All that came so far.
    pub fn pieces(&self) -> Vec<Bytes> {
        self.growing().pieces.iter().cloned().collect()
    }

    /// From now on the body is on its way to disk: what is there already can be dropped from memory, so that readers
    /// may be as slow as they are.
    pub fn spill(&mut self, file: Arc<OpenBody>) {
        self.growing().spilled = Some(Spilled { file, len: 0 });
    }

    /// So many bytes have arrived on disk, in whole blocks.
    pub fn spilled(&mut self, len: u64) {
        let mut growing = self.growing();
        let growing = &mut *growing;
        let Some(spilled) = &mut growing.spilled else { return };
        spilled.len = len;
        while let Some(piece) = growing.pieces.front()
            && growing.dropped_len + piece.len() as u64 <= len
            && growing.len - growing.dropped_len > WINDOW
        {
            growing.dropped_len += piece.len() as u64;
            growing.dropped += 1;
            growing.pieces.pop_front();
        }
    }

    /// All has arrived, and lies on disk.
    pub fn finish_on_disk(self, stored: StoredBody, trailers: Option<HeaderMap>) {
        let mut side = self.0.side.lock();
        let _ = self.0.complete.set(Complete::on_disk(stored, trailers));
        let Some(mut growing) = side.growing.take() else { return };
        growing.wake_readers();
        // The file stays open for as long as there are readers that found it so.
        if !growing.is_unread() {
            let Growing { readers, spilled, .. } = *growing;
            let end = Some(End::Clean(None));
            side.growing = Some(Box::new(Growing { end, readers, spilled, ..Growing::default() }));
        }
    }

    /// From now on the body is only passed on: nobody joins, and what all readers have is dropped.
    pub fn stop_keeping(&mut self) {
        let mut growing = self.growing();
        growing.passing = true;
        growing.drop_what_all_have();
    }

    /// Ready when there is room for more: at once while the body is kept, else when the slowest reader has come near.
    /// `Ready(false)`: it is not kept and nobody reads, so there is no point in going on.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut growing = self.growing();
        if !growing.passing {
            return Poll::Ready(true);
        }
        if growing.readers.iter().all(Option::is_none) {
            return Poll::Ready(false);
        }
        if growing.len - growing.dropped_len <= READ_AHEAD {
            return Poll::Ready(true);
        }
        growing.filler = Some(cx.waker().clone());
        Poll::Pending
    }

    /// All has arrived.
    pub fn finish(self, trailers: Option<HeaderMap>) {
        let mut side = self.0.side.lock();
        let Some(growing) = side.growing.as_deref_mut() else { return };
        if growing.passing {
            growing.end = Some(End::Clean(trailers.map(Box::new)));
            return growing.wake_readers();
        }
        let pieces = growing.pieces.iter().map(|piece| &piece[..]);
        let _ = self.0.complete.set(Complete::in_memory(pieces, growing.len as usize, trailers));
        growing.wake_readers();
        // Readers look no further than what is complete: what it took to get there is given back, all of it.
        side.growing = None;
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // Nothing is left of it once the body is complete.
        if let Some(growing) = self.0.side.lock().growing.as_deref_mut()
            && growing.end.is_none()
        {
            growing.end = Some(End::Cut);
            growing.wake_readers();
        }
    }
}
