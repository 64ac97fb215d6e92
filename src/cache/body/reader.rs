//! Reading a body, while it grows and after.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;

use super::filling::{End, Growing};
use super::{BLOCK, Complete, CutBody, SharedBody};
use crate::cache::disk::stored_body::OpenBody;

/// Bytes of a file that are read at once. From memory a whole block is handed on: each write wakes the client.
const READ: u64 = 256 * 1024;

/// So little is handed on as a copy. To share a block for the first time takes 32 bytes of memory, which stay; a copy
/// takes no longer, and most pages are read but once, by whoever fetched them.
const COPIED: usize = 2048;

/// Reads a [`SharedBody`] at its own pace.
#[derive(Debug)]
pub struct BodyReader {
    pub(super) body: SharedBody,
    /// Its place among the readers of a growing body.
    pub(super) slot: Option<usize>,
    /// The piece of the growing body that it needs next, and where that begins.
    pub(super) piece: usize,
    pub(super) piece_start: u64,
    /// The next byte to hand on, and the first not to.
    pub(super) at: u64,
    pub(super) end: u64,
    pub(super) over: bool,
    /// The file that it reads from, where the bytes are not in memory. Boxed: hardly any reader has one.
    pub(super) file: Option<Box<FileReader>>,
}

/// What a reader hands on.
#[derive(Debug)]
pub enum Piece {
    /// Bytes of the body.
    Data(Bytes),
    /// Trailers, last of all.
    Trailers(HeaderMap),
}

impl BodyReader {
    /// The next piece; `None` at the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, CutBody>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let body = self.body.clone();
        if let Some(complete) = body.0.complete.get() {
            return self.next_of_complete(complete, cx);
        }
        let mut side = body.0.side.lock();
        // It may have been completed between the look and the lock.
        if let Some(complete) = body.0.complete.get() {
            drop(side);
            return self.next_of_complete(complete, cx);
        }
        let Some(growing) = side.growing.as_deref_mut() else { return Poll::Ready(Some(Err(CutBody))) };
        let next = match self.on_disk(growing) {
            Some(there) => {
                let file = self.file.get_or_insert_with(|| Box::new(FileReader::new(there.0)));
                let read = file.poll_next(self.at, self.end.min(there.1), there.1, cx);
                read.map(|read| Some(read.map(|data| self.handed(data))))
            }
            None => self.next_of_growing(growing, cx),
        };
        if let Some(place) = self.slot.and_then(|slot| growing.readers.get_mut(slot)) {
            *place = Some(self.piece);
            if growing.passing {
                growing.drop_what_all_have();
                growing.wake_filler();
            }
        }
        next
    }

    fn next_of_complete(&mut self, complete: &Complete, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, CutBody>>> {
        let Some(blocks) = complete.blocks() else { return self.next_of_file(complete, cx) };
        let left = self.end.min(complete.len()).saturating_sub(self.at);
        if left == 0 {
            return Poll::Ready(self.ended(complete).map(Ok));
        }
        let block = &blocks[(self.at / BLOCK as u64) as usize];
        let start = (self.at % BLOCK as u64) as usize;
        let take = (block.len() - start).min(left.min(BLOCK as u64) as usize);
        self.at += take as u64;
        Poll::Ready(Some(Ok(Piece::Data(if take <= COPIED {
            Bytes::copy_from_slice(&block[start..start + take])
        } else {
            block.slice(start..start + take)
        }))))
    }

    fn next_of_file(&mut self, complete: &Complete, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, CutBody>>> {
        let end = self.end.min(complete.len());
        if self.at >= end {
            return Poll::Ready(self.ended(complete).map(Ok));
        }
        if self.file.is_none() {
            self.file = self.body.opened().map(|open| Box::new(FileReader::new(open)));
        }
        let Some(file) = &mut self.file else {
            self.over = true;
            return Poll::Ready(Some(Err(CutBody)));
        };
        let read = ready!(file.poll_next(self.at, end, complete.len(), cx));
        self.over = read.is_err();
        Poll::Ready(Some(read.map(|data| self.handed(data))))
    }

    fn ended(&mut self, complete: &Complete) -> Option<Piece> {
        self.over = true;
        let trailers = complete.trailers().filter(|_| self.end == u64::MAX)?;
        Some(Piece::Trailers(trailers.clone()))
    }

    fn handed(&mut self, data: Bytes) -> Piece {
        self.at += data.len() as u64;
        Piece::Data(data)
    }

    /// Where to read on when what comes next has been dropped from memory: the file, and how much is there.
    fn on_disk(&mut self, growing: &Growing) -> Option<(Arc<OpenBody>, u64)> {
        let spilled = growing.spilled.as_ref().filter(|_| self.piece < growing.dropped)?;
        if self.at >= growing.dropped_len {
            (self.piece, self.piece_start) = (growing.dropped, growing.dropped_len);
            return None;
        }
        (self.at < self.end).then(|| (spilled.file.clone(), spilled.len))
    }

    fn next_of_growing(&mut self, growing: &mut Growing, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, CutBody>>> {
        while self.at < self.end
            && let Some(piece) = growing.pieces.get(self.piece - growing.dropped)
        {
            let piece_end = self.piece_start + piece.len() as u64;
            let skip = self.at.saturating_sub(self.piece_start).min(piece.len() as u64) as usize;
            let take = (piece_end.min(self.end).saturating_sub(self.piece_start) as usize).max(skip);
            let data = piece.slice(skip..take);
            self.piece += 1;
            self.piece_start = piece_end;
            if !data.is_empty() {
                self.at += data.len() as u64;
                return Poll::Ready(Some(Ok(Piece::Data(data))));
            }
        }
        if self.at >= self.end {
            self.over = true;
            return Poll::Ready(None);
        }
        match &growing.end {
            None => {
                growing.waiting.push(cx.waker().clone());
                Poll::Pending
            }
            Some(End::Clean(trailers)) => {
                self.over = true;
                Poll::Ready(trailers.as_ref().map(|fields| Ok(Piece::Trailers(HeaderMap::clone(fields)))))
            }
            Some(End::Cut) => {
                self.over = true;
                Poll::Ready(Some(Err(CutBody)))
            }
        }
    }

    /// Bytes still to come, once that is known.
    pub fn remaining(&self) -> Option<u64> {
        let len = self.body.len()?;
        Some(self.end.min(len).saturating_sub(self.at))
    }

    /// Whether nothing at all is to come.
    pub fn is_over(&self) -> bool {
        self.over || (self.remaining() == Some(0) && !self.has_trailers())
    }

    fn has_trailers(&self) -> bool {
        self.end == u64::MAX && self.body.0.complete.get().is_some_and(|complete| complete.trailers().is_some())
    }
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        let mut side = self.body.0.side.lock();
        // Once it is complete in memory, nobody keeps places any more.
        let Some(growing) = side.growing.as_deref_mut() else { return };
        growing.leave_place(slot);
        if self.body.len().is_some() {
            if growing.is_unread() {
                // Nobody is left that began to read the file before it was complete.
                side.growing = None;
            }
            return;
        }
        if growing.passing {
            growing.drop_what_all_have();
            growing.wake_filler();
        }
    }
}

/// Reads from a file, a few blocks at a time, and the next ones while those are handed on.
pub(super) struct FileReader {
    file: Arc<OpenBody>,
    /// Read and not handed on: pieces from this offset on.
    ready: VecDeque<Bytes>,
    ready_at: u64,
    /// What is being read, from which offset on.
    reading: Option<(u64, Reading)>,
}

type Reading = BoxFuture<'static, Result<VecDeque<Bytes>, CutBody>>;

impl fmt::Debug for FileReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileReader").field("ready_at", &self.ready_at).finish_non_exhaustive()
    }
}

impl FileReader {
    pub(super) fn new(file: Arc<OpenBody>) -> Self {
        FileReader { file, ready: VecDeque::new(), ready_at: 0, reading: None }
    }

    /// The bytes at `at`, at most up to `end`; the body has `len` bytes by now. `at` goes on from where it was.
    fn poll_next(&mut self, at: u64, end: u64, len: u64, cx: &mut Context<'_>) -> Poll<Result<Bytes, CutBody>> {
        if self.ready_at != at || self.ready.is_empty() {
            self.ready.clear();
            if self.reading.as_ref().is_none_or(|(from, _)| *from != at) {
                self.reading = Some((at, self.file.read(at..end.min(at + READ), len)));
            }
            let Some((_, reading)) = &mut self.reading else { return Poll::Ready(Err(CutBody)) };
            let read = ready!(reading.as_mut().poll(cx));
            self.reading = None;
            self.ready = read?;
            self.ready_at = at;
            let next = at + self.ready.iter().map(|piece| piece.len() as u64).sum::<u64>();
            if next < end {
                self.reading = Some((next, self.file.read(next..end.min(next + READ), len)));
            }
        }
        let Some(piece) = self.ready.pop_front() else { return Poll::Ready(Err(CutBody)) };
        self.ready_at += piece.len() as u64;
        Poll::Ready(Ok(piece))
    }
}
