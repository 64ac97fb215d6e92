//! A body in blocks, each followed by its checksum, so that a part verifies without the rest.

use std::ops::Range;

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use super::Damaged;

/// Bytes of a body in one block; the last one is shorter.
pub const BLOCK: usize = 64 * 1024;
/// Bytes of a checksum.
pub const CHECKSUM: usize = 8;
/// Bytes of a whole block with its checksum.
pub const SEALED: usize = BLOCK + CHECKSUM;

/// Bytes that a body of `len` bytes takes with its checksums.
pub const fn sealed_len(len: u64) -> u64 {
    len.saturating_add(len.div_ceil(BLOCK as u64).saturating_mul(CHECKSUM as u64))
}

/// Where blocks lie, counted from the beginning of their body, that hold these bytes of a body of `len` bytes; and
/// the number of the first of them. Empty where there are no such bytes.
pub fn holding(range: &Range<u64>, len: u64) -> (Range<u64>, u64) {
    let end = range.end.min(len);
    if range.start >= end {
        return (0..0, 0);
    }
    let (first, after) = (range.start / BLOCK as u64, end.div_ceil(BLOCK as u64));
    let start = first.saturating_mul(SEALED as u64);
    (start..after.saturating_mul(SEALED as u64).min(sealed_len(len)), first)
}

/// What a block's checksum is seeded with: whose it is, and its place.
fn seed(id: u64, section: u8, number: u64) -> u64 {
    id.wrapping_add(u64::from(section) << 48).wrapping_add(number)
}

/// The blocks that `sealed` consists of, from block `first` of a body on.
///
/// # Errors
/// One does not verify.
pub fn verified_from(sealed: &[u8], id: u64, section: u8, first: u64) -> Result<Vec<&[u8]>, Damaged> {
    let blocks = sealed.chunks(SEALED).zip(first..);
    blocks
        .map(|(sealed, number)| {
            let (block, checksum) = sealed.split_last_chunk::<CHECKSUM>().ok_or(Damaged)?;
            let intact = !block.is_empty()
                && xxh3_64_with_seed(block, seed(id, section, number)) == u64::from_le_bytes(*checksum);
            if intact { Ok(block) } else { Err(Damaged) }
        })
        .collect()
}

/// The blocks of a whole body.
///
/// # Errors
/// One does not verify.
pub fn verified(sealed: &[u8], id: u64, section: u8) -> Result<Vec<&[u8]>, Damaged> {
    verified_from(sealed, id, section, 0)
}

/// Adds checksums to a body as it comes, in pieces of any size.
pub struct Sealer {
    id: u64,
    section: u8,
    number: u64,
    in_block: usize,
    hasher: Box<Xxh3>,
}

impl Sealer {
    /// For a body of a record.
    pub fn new(id: u64, section: u8) -> Self {
        Sealer { id, section, number: 0, in_block: 0, hasher: Box::new(Xxh3::with_seed(seed(id, section, 0))) }
    }

    /// Appends a piece to `sealed`, with the checksums that become due.
    pub fn push(&mut self, mut piece: &[u8], sealed: &mut Vec<u8>) {
        while !piece.is_empty() {
            let (now, later) = piece.split_at(piece.len().min(BLOCK - self.in_block));
            sealed.extend_from_slice(now);
            self.hasher.update(now);
            self.in_block += now.len();
            if self.in_block == BLOCK {
                self.end_block(sealed);
            }
            piece = later;
        }
    }

    /// Appends the last block's checksum.
    pub fn finish(mut self, sealed: &mut Vec<u8>) {
        if self.in_block > 0 {
            self.end_block(sealed);
        }
    }

    fn end_block(&mut self, sealed: &mut Vec<u8>) {
        sealed.extend_from_slice(&self.hasher.digest().to_le_bytes());
        self.number += 1;
        self.in_block = 0;
        *self.hasher = Xxh3::with_seed(seed(self.id, self.section, self.number));
    }
}
