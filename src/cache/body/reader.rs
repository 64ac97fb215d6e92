//! Reading a body, while it grows and after.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;

use super::filling::{End, Growing};
use super::{BLOCK, Complete, CutBody, SharedBody};

/// The most that a reader hands on at once: enough for one `writev`, little enough to share a connection fairly.
const HAND: u64 = 256 * 1024;

/// Reads a [`SharedBody`] at its own pace.
#[derive(Debug)]
pub struct BodyReader {
    body: SharedBody,
    /// Its place among the readers of a growing body.
    slot: Option<usize>,
    /// The piece of the growing body that it needs next, and where that begins.
    piece: usize,
    piece_start: u64,
    /// The next byte to hand on, and the first not to.
    at: u64,
    end: u64,
    over: bool,
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
        if let Some(complete) = self.body.0.complete.get() {
            return Poll::Ready(next_of_complete(complete, &mut self.at, self.end, &mut self.over).map(Ok));
        }
        let body = self.body.clone();
        let mut growing = body.0.growing.lock();
        // It may have been completed between the look and the lock.
        if let Some(complete) = body.0.complete.get() {
            return Poll::Ready(next_of_complete(complete, &mut self.at, self.end, &mut self.over).map(Ok));
        }
        let next = self.next_of_growing(&mut growing, cx);
        if let Some(slot) = self.slot {
            growing.readers[slot] = Some(self.piece);
            if growing.passing {
                growing.drop_what_all_have();
                growing.wake_filler();
            }
        }
        next
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
        self.end == u64::MAX && self.body.0.complete.get().is_some_and(|complete| complete.trailers.is_some())
    }
}

fn next_of_complete(complete: &Complete, at: &mut u64, end: u64, over: &mut bool) -> Option<Piece> {
    let left = end.min(complete.len).saturating_sub(*at);
    if left == 0 {
        *over = true;
        let trailers = complete.trailers.as_ref().filter(|_| end == u64::MAX)?;
        return Some(Piece::Trailers(HeaderMap::clone(trailers)));
    }
    let block = &complete.blocks[(*at / BLOCK as u64) as usize];
    let start = (*at % BLOCK as u64) as usize;
    let take = (block.len() - start).min(left.min(HAND) as usize);
    *at += take as u64;
    Some(Piece::Data(if take == block.len() { block.clone() } else { block.slice(start..start + take) }))
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        let mut growing = self.body.0.growing.lock();
        if self.body.len().is_some() {
            return; // nobody keeps places any more
        }
        growing.readers[slot] = None;
        if growing.passing {
            growing.drop_what_all_have();
            growing.wake_filler();
        }
    }
}
