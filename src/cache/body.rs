//! A body that one task fills and many read, each at its own pace, while it grows and after.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use parking_lot::Mutex;

/// A body that ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body was cut short")]
pub struct CutBody;

/// Once nobody can join any more (see [`Filler::stop_keeping`]), at most this much is read ahead of the slowest
/// reader.
const READ_AHEAD: u64 = 256 * 1024;

/// A complete body lies in blocks of this size, the last one shorter: few allocations, and a range finds its block
/// by division.
const BLOCK: usize = 1024 * 1024;

/// The most that a reader hands on at once: enough for one `writev`, little enough to share a connection fairly.
const HAND: u64 = 256 * 1024;

/// A body shared among requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedBody(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Set once, when all has arrived: readers then take no lock.
    complete: OnceLock<Complete>,
    growing: Mutex<Growing>,
}

#[derive(Debug)]
struct Complete {
    blocks: Box<[Bytes]>,
    len: u64,
    trailers: Option<Box<HeaderMap>>,
}

#[derive(Debug, Default)]
struct Growing {
    /// As they came, but for those that were dropped from the front.
    pieces: VecDeque<Bytes>,
    /// Pieces dropped, and their bytes.
    dropped: usize,
    dropped_len: u64,
    len: u64,
    end: Option<End>,
    /// Nobody joins any more: pieces that all readers have are dropped.
    passing: bool,
    /// For each reader, the piece that it needs next; `None` when it has gone.
    readers: Vec<Option<usize>>,
    waiting: Vec<Waker>,
    filler: Option<Waker>,
}

#[derive(Debug)]
enum End {
    Clean(Option<Box<HeaderMap>>),
    Cut,
}

impl SharedBody {
    /// An empty body and the hand that fills it.
    pub fn growing() -> (SharedBody, Filler) {
        let shared = Arc::new(Shared { complete: OnceLock::new(), growing: Mutex::default() });
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
        let complete = Complete { blocks: blocks(pieces, len), len: len as u64, trailers: trailers.map(Box::new) };
        SharedBody(Arc::new(Shared { complete: OnceLock::from(complete), growing: Mutex::default() }))
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
            for block in &body.0.complete.get()?.blocks {
                let from = skip.min(block.len() as u64);
                skip -= from;
                pieces.push(&block[from as usize..]);
                at += block.len() as u64 - from;
            }
        }
        debug_assert_eq!(at, len);
        let complete = Complete { blocks: blocks(pieces.into_iter(), at as usize), len: at, trailers: None };
        Some(SharedBody(Arc::new(Shared { complete: OnceLock::from(complete), growing: Mutex::default() })))
    }

    /// Its bytes, in pieces; `None` while it grows.
    pub fn pieces(&self) -> Option<&[Bytes]> {
        self.0.complete.get().map(|complete| &*complete.blocks)
    }

    /// Its trailers, once all has arrived.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.0.complete.get()?.trailers.as_deref()
    }

    /// Its length in bytes, once all has arrived.
    pub fn len(&self) -> Option<u64> {
        self.0.complete.get().map(|complete| complete.len)
    }

    /// Whether all has arrived, and nothing was in it.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Bytes held now.
    pub fn held(&self) -> u64 {
        self.len().unwrap_or_else(|| {
            let growing = self.0.growing.lock();
            growing.len - growing.dropped_len
        })
    }

    /// A reader of the whole body; `None` when nobody can join any more.
    pub fn reader(&self) -> Option<BodyReader> {
        self.range_reader(0..u64::MAX)
    }

    /// A reader of some of its bytes, waiting only for those; `None` when nobody can join any more.
    pub fn range_reader(&self, range: Range<u64>) -> Option<BodyReader> {
        let mut slot = None;
        if self.len().is_none() {
            let mut growing = self.0.growing.lock();
            if growing.passing && growing.dropped > 0 {
                return None;
            }
            // It may have been completed between the look and the lock.
            if self.len().is_none() {
                slot = Some(growing.readers.len());
                growing.readers.push(Some(0));
            }
        }
        Some(BodyReader {
            body: self.clone(),
            slot,
            piece: 0,
            piece_start: 0,
            at: range.start,
            end: range.end,
            over: false,
        })
    }
}

impl Growing {
    fn wake_readers(&mut self) {
        for waker in self.waiting.drain(..) {
            waker.wake();
        }
    }

    fn drop_what_all_have(&mut self) {
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

    fn wake_filler(&mut self) {
        if let Some(filler) = self.filler.take() {
            filler.wake();
        }
    }
}

/// Copies pieces into blocks, so that no stored byte keeps a connection's read buffer alive.
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

/// Fills a [`SharedBody`]. Dropped without [`Filler::finish`], the body counts as cut.
#[derive(Debug)]
pub struct Filler(Arc<Shared>);

impl Filler {
    /// Adds a piece.
    pub fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        let mut growing = self.0.growing.lock();
        growing.len += piece.len() as u64;
        growing.pieces.push_back(piece);
        growing.drop_what_all_have();
        growing.wake_readers();
    }

    /// From now on the body is only passed on: nobody joins, and what all readers have is dropped.
    pub fn stop_keeping(&mut self) {
        let mut growing = self.0.growing.lock();
        growing.passing = true;
        growing.drop_what_all_have();
    }

    /// Ready when there is room for more: at once while the body is kept, else when the slowest reader has come near.
    /// `Ready(false)`: it is not kept and nobody reads, so there is no point in going on.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut growing = self.0.growing.lock();
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

    /// The body that it fills.
    pub fn body(&self) -> SharedBody {
        SharedBody(self.0.clone())
    }

    /// What has come so far, as a body by itself.
    pub fn received(&self) -> SharedBody {
        let growing = self.0.growing.lock();
        let len = (growing.len - growing.dropped_len) as usize;
        let blocks = blocks(growing.pieces.iter().map(|piece| &piece[..]), len);
        let complete = Complete { blocks, len: len as u64, trailers: None };
        SharedBody(Arc::new(Shared { complete: OnceLock::from(complete), growing: Mutex::default() }))
    }

    /// All has arrived.
    pub fn finish(self, trailers: Option<HeaderMap>) {
        let mut growing = self.0.growing.lock();
        let trailers = trailers.map(Box::new);
        if growing.passing {
            growing.end = Some(End::Clean(trailers));
        } else {
            let blocks = blocks(growing.pieces.iter().map(|piece| &piece[..]), growing.len as usize);
            let _ = self.0.complete.set(Complete { blocks, len: growing.len, trailers });
            growing.wake_readers();
            // Readers look no further than what is complete: what it took to get there is given back, all of it.
            *growing = Growing { end: Some(End::Clean(None)), ..Growing::default() };
        }
        growing.wake_readers();
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let mut growing = self.0.growing.lock();
        if growing.end.is_none() {
            growing.end = Some(End::Cut);
            growing.wake_readers();
        }
    }
}

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

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    /// Reads what is there now: the bytes, and whether the end (or the cut) was reached.
    fn read(reader: &mut BodyReader) -> (Vec<u8>, Option<Result<(), CutBody>>) {
        let mut bytes = Vec::new();
        loop {
            match reader.poll_next(&mut cx()) {
                Poll::Ready(Some(Ok(Piece::Data(data)))) => bytes.extend_from_slice(&data),
                Poll::Ready(Some(Ok(Piece::Trailers(_)))) => {}
                Poll::Ready(Some(Err(cut))) => return (bytes, Some(Err(cut))),
                Poll::Ready(None) => return (bytes, Some(Ok(()))),
                Poll::Pending => return (bytes, None),
            }
        }
    }

    #[test]
    fn readers_follow_a_growing_body_each_at_its_own_pace() {
        let (body, mut filler) = SharedBody::growing();
        let (mut early, mut slow) = (body.reader().unwrap(), body.reader().unwrap());
        filler.push(Bytes::from_static(b"hello "));
        assert_eq!(read(&mut early), (b"hello ".to_vec(), None));
        filler.push(Bytes::from_static(b"world"));
        let mut late = body.reader().unwrap();
        assert_eq!(read(&mut early), (b"world".to_vec(), None));
        filler.finish(None);
        for reader in [&mut slow, &mut late] {
            assert_eq!(read(reader), (b"hello world".to_vec(), Some(Ok(()))));
        }
        assert_eq!(read(&mut early), (vec![], Some(Ok(()))));
        assert_eq!(body.len(), Some(11));
        assert_eq!(read(&mut body.reader().unwrap()).0, b"hello world");
    }

    #[test]
    fn range_of_a_growing_body_waits_only_for_its_bytes() {
        let (body, mut filler) = SharedBody::growing();
        let mut range = body.range_reader(3..8).unwrap();
        filler.push(Bytes::from_static(b"01234"));
        assert_eq!(read(&mut range), (b"34".to_vec(), None));
        filler.push(Bytes::from_static(b"56789"));
        assert_eq!(read(&mut range), (b"567".to_vec(), Some(Ok(()))));
        drop(filler);
    }

    #[test]
    fn dropped_filler_is_a_cut_for_every_reader() {
        let (body, mut filler) = SharedBody::growing();
        let mut reader = body.reader().unwrap();
        filler.push(Bytes::from_static(b"half"));
        drop(filler);
        assert_eq!(read(&mut reader), (b"half".to_vec(), Some(Err(CutBody))));
        assert_eq!(read(&mut body.reader().unwrap()).1, Some(Err(CutBody)));
        assert_eq!(body.len(), None);
    }

    #[test]
    fn body_that_is_only_passed_on_keeps_no_more_than_the_slowest_reader_needs() {
        let (body, mut filler) = SharedBody::growing();
        let (mut fast, mut slow) = (body.reader().unwrap(), body.reader().unwrap());
        filler.push(Bytes::from(vec![1; 200_000]));
        filler.stop_keeping();
        filler.push(Bytes::from(vec![2; 200_000]));
        assert_eq!(read(&mut fast).0.len(), 400_000);
        assert_eq!(body.held(), 400_000);
        assert!(filler.poll_room(&mut cx()).is_pending());
        assert!(matches!(slow.poll_next(&mut cx()), Poll::Ready(Some(Ok(_)))));
        assert_eq!(body.held(), 200_000);
        assert_eq!(filler.poll_room(&mut cx()), Poll::Ready(true));
        assert!(body.reader().is_none(), "too late to join");
        drop((fast, slow));
        assert_eq!(filler.poll_room(&mut cx()), Poll::Ready(false));
    }

    #[test]
    fn ranges_of_a_complete_body_cross_blocks() {
        let bytes: Vec<u8> = (0..3 * BLOCK + 5).map(|at| (at % 251) as u8).collect();
        let body = SharedBody::complete(&bytes);
        let len = bytes.len();
        for (start, end) in [(0, len), (1, 2), (BLOCK - 1, BLOCK + 1), (BLOCK, 3 * BLOCK), (len - 1, len), (5, 5)] {
            let mut reader = body.range_reader(start as u64..end as u64).unwrap();
            assert_eq!(reader.remaining(), Some((end - start) as u64));
            assert!(read(&mut reader).0 == bytes[start..end], "{start}..{end}");
        }
    }

    #[test]
    fn readers_may_come_and_go_while_the_body_is_completed() {
        for _ in 0..2_000 {
            let (body, mut filler) = SharedBody::growing();
            filler.push(Bytes::from_static(b"hello "));
            let early = body.reader();
            let filling = std::thread::spawn(move || {
                filler.push(Bytes::from_static(b"world"));
                filler.finish(None);
            });
            drop(early);
            let mut late = body.reader().unwrap();
            filling.join().unwrap();
            assert_eq!(read(&mut late), (b"hello world".to_vec(), Some(Ok(()))));
        }
    }

    #[test]
    fn trailers_come_last_and_not_with_ranges() {
        let (body, mut filler) = SharedBody::growing();
        filler.push(Bytes::from_static(b"x"));
        filler.finish(Some(HeaderMap::from_iter([(http::header::ETAG, "\"t\"".parse().unwrap())])));
        let mut reader = body.reader().unwrap();
        assert!(matches!(reader.poll_next(&mut cx()), Poll::Ready(Some(Ok(Piece::Data(_))))));
        assert!(!reader.is_over());
        assert!(matches!(reader.poll_next(&mut cx()), Poll::Ready(Some(Ok(Piece::Trailers(_))))));
        assert!(matches!(reader.poll_next(&mut cx()), Poll::Ready(None)));
        let mut range = body.range_reader(0..1).unwrap();
        assert_eq!(read(&mut range).0, b"x");
    }
}
