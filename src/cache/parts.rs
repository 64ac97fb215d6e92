//! A representation that is stored in part: pieces of it, each brought by a 206 (RFC 9111 §3.3, §3.4).

use std::ops::Range;

use super::body::{BodyReader, SharedBody};

/// Pieces of one representation. Cheap to clone next to their bytes.
#[derive(Clone, Debug)]
pub struct StoredParts {
    /// Length of the whole in bytes.
    complete_length: u64,
    /// Most bytes that are kept of it.
    most: u64,
    /// By where they begin; none lies within another.
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
struct Piece {
    /// Which bytes of the representation it has.
    range: Range<u64>,
    body: SharedBody,
}

/// Beyond this many pieces, those furthest from the newest go: whoever reads there has moved on.
const MOST_PIECES: usize = 64;

/// What a piece costs beside its bytes.
const PIECE_OVERHEAD: u64 = 256;

impl StoredParts {
    /// One piece: the bytes `range` of a representation that has `complete_length`, of which at most `most` bytes are
    /// kept. The range must lie within it.
    pub fn new(range: Range<u64>, complete_length: u64, body: SharedBody, most: u64) -> Self {
        StoredParts { complete_length, most, pieces: vec![Piece { range, body }] }
    }

    /// Length of the whole representation in bytes.
    pub fn complete_length(&self) -> u64 {
        self.complete_length
    }

    /// Whether nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.gap(0..self.complete_length).is_none()
    }

    /// The smallest range with all bytes of `wanted` that are missing; `None` when none is.
    pub fn gap(&self, wanted: Range<u64>) -> Option<Range<u64>> {
        let Range { mut start, mut end } = wanted;
        for Piece { range, .. } in &self.pieces {
            if range.contains(&start) {
                start = range.end;
            }
        }
        for Piece { range, .. } in self.pieces.iter().rev() {
            if range.start < end && end <= range.end {
                end = range.start;
            }
        }
        (start < end).then_some(start..end)
    }

    /// Readers which one after another give the bytes `wanted`; `None` when some are missing or can't be read any more.
    pub fn readers(&self, wanted: Range<u64>) -> Option<Vec<BodyReader>> {
        let mut readers = Vec::new();
        let mut at = wanted.start;
        while at < wanted.end {
            // The last one that has it reaches furthest.
            let Piece { range, body } = self.pieces.iter().rev().find(|piece| piece.range.contains(&at))?;
            let end = range.end.min(wanted.end);
            readers.push(body.range_reader(at - range.start..end - range.start)?);
            at = end;
        }
        Some(readers)
    }

    /// With the pieces of `newer`, which are of the same representation.
    pub fn with(&self, newer: &StoredParts) -> StoredParts {
        self.combined(newer, u64::MAX)
    }

    /// The same, and as many of the old pieces as may be kept.
    pub fn keeping(&self, newer: &StoredParts) -> StoredParts {
        self.combined(newer, newer.most)
    }

    fn combined(&self, newer: &StoredParts, most: u64) -> StoredParts {
        let within =
            |inner: &Piece, outer: &Piece| outer.range.start <= inner.range.start && inner.range.end <= outer.range.end;
        let mut kept: Vec<&Piece> =
            self.pieces.iter().filter(|old| !newer.pieces.iter().any(|new| within(old, new))).collect();
        let added = newer.pieces.iter().filter(|new| !kept.iter().any(|old| within(new, old)));
        let added: Vec<&Piece> = added.collect();
        let at = newer.pieces.first().map_or(0, |piece| piece.range.start);
        kept.sort_by_key(|piece| piece.range.start.abs_diff(at));
        let length = |piece: &Piece| piece.range.end - piece.range.start;
        let mut left = most.saturating_sub(added.iter().map(|piece| length(piece)).sum());
        kept.truncate(MOST_PIECES.saturating_sub(added.len()));
        let fitting = kept.iter().take_while(|piece| {
            let fits = length(piece) <= left;
            left = left.saturating_sub(length(piece));
            fits
        });
        let mut pieces: Vec<Piece> = fitting.copied().chain(added).cloned().collect();
        pieces.sort_by_key(|piece| piece.range.start);
        StoredParts { complete_length: self.complete_length, most: newer.most, pieces }
    }

    /// All of it as one body, where nothing is missing and all has arrived.
    pub fn joined(&self) -> Option<SharedBody> {
        let pieces = self.pieces.iter().map(|piece| (piece.range.start, &piece.body));
        if self.is_whole() { SharedBody::joined(pieces, self.complete_length) } else { None }
    }

    /// Bytes held now, with what they cost.
    pub fn held(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.body.held() + PIECE_OVERHEAD).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;

    use super::*;
    use crate::cache::body;

    const TEXT: &[u8] = b"0123456789abcdefghij";

    fn part(range: Range<usize>) -> StoredParts {
        let body = SharedBody::complete(&TEXT[range.clone()]);
        StoredParts::new(range.start as u64..range.end as u64, TEXT.len() as u64, body, 100)
    }

    fn parts(ranges: &[Range<usize>]) -> StoredParts {
        let mut ranges = ranges.iter().cloned().map(part);
        let first = ranges.next().unwrap();
        ranges.fold(first, |parts, next| parts.with(&next))
    }

    fn read(parts: &StoredParts, wanted: Range<u64>) -> Option<String> {
        let mut text = Vec::new();
        for mut reader in parts.readers(wanted)? {
            while let Poll::Ready(Some(Ok(body::Piece::Data(data)))) =
                reader.poll_next(&mut Context::from_waker(Waker::noop()))
            {
                text.extend_from_slice(&data);
            }
        }
        Some(String::from_utf8(text).unwrap())
    }

    #[test]
    fn parts_that_touch_or_overlap_answer_together() {
        let parts = parts(&[10..15, 5..8, 7..10]);
        for (wanted, expected) in [
            (5..15, Some("56789abcde")),
            (6..7, Some("6")),
            (12..15, Some("cde")),
            (4..6, None),
            (14..16, None),
            (0..20, None),
        ] {
            assert_eq!(read(&parts, wanted.clone()).as_deref(), expected, "{wanted:?}");
        }
    }

    #[test]
    fn parts_know_what_is_missing() {
        let parts = parts(&[0..5, 8..10, 12..14]);
        for (wanted, expected) in [
            (0..5, None),
            (0..6, Some(5..6)),
            (0..10, Some(5..8)),
            (0..14, Some(5..12)),
            (0..20, Some(5..20)),
            (9..13, Some(10..12)),
            (15..20, Some(15..20)),
        ] {
            assert_eq!(parts.gap(wanted.clone()), expected, "{wanted:?}");
        }
        assert!(parts.joined().is_none());
    }

    #[test]
    fn parts_that_make_a_whole_are_joined() {
        let whole = parts(&[6..20, 0..8]);
        assert!(whole.is_whole());
        let joined = whole.joined().unwrap();
        assert_eq!(read(&StoredParts::new(0..20, 20, joined, 100), 0..20).unwrap().as_bytes(), TEXT);
    }

    #[test]
    fn parts_far_from_the_newest_go_first() {
        let near = part(0..5).with(&part(6..9)).combined(&part(15..20), 9);
        assert_eq!((near.gap(15..20), near.gap(6..9), near.gap(0..5)), (None, None, Some(0..5)));
        let mut many = part(0..1);
        let big = (MOST_PIECES as u64 + 9) * 2;
        for start in 0..MOST_PIECES as u64 + 9 {
            let piece = SharedBody::complete(b"x");
            many = many.keeping(&StoredParts::new(start * 2..start * 2 + 1, big, piece, 1000));
        }
        assert_eq!(many.pieces.len(), MOST_PIECES);
        assert_eq!(many.gap(0..1), Some(0..1), "the one furthest from the last has gone");
    }

    proptest! {
        #[test]
        fn parts_answer_exactly_what_is_not_missing(
            ranges in prop::collection::vec((0usize..20, 1usize..20), 1..8),
            (start, length) in (0u64..20, 1u64..20),
        ) {
            let ranges: Vec<_> = ranges.iter().map(|(start, length)| *start..(start + length).min(20)).collect();
            let parts = parts(&ranges);
            let wanted = start..(start + length).min(20);
            let covered = wanted.clone().all(|at| ranges.iter().any(|range| range.contains(&(at as usize))));
            prop_assert_eq!(parts.gap(wanted.clone()).is_none(), covered);
            let text = &TEXT[wanted.start as usize..wanted.end as usize];
            prop_assert_eq!(read(&parts, wanted.clone()), covered.then(|| String::from_utf8(text.to_vec()).unwrap()));
            if let Some(gap) = parts.gap(wanted.clone()) {
                prop_assert!(wanted.start <= gap.start && gap.end <= wanted.end);
                prop_assert!(parts.with(&part(gap.start as usize..gap.end as usize)).gap(wanted).is_none());
            }
        }
    }
}
