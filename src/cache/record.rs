//! A stored response outside the process: on disk and in Redis, in the same bytes.
//!
//! ```text
//! prelude    40 bytes: magic, version, kind, lengths, the record's number, the head's checksum
//! payload    the head: key, facts, selection, fields, tags, epoch, lengths of the bodies
//! (room)     so that a head can be written again, in its place, after a validation
//! bodies     as received, then in content codings; in blocks of 64 KiB, each followed by its checksum
//! ```
//!
//! The prelude and the payload verify as one; a block verifies by itself, so that a part of a large body is served
//! after reading that part alone. Each block's checksum is seeded with the record's number and the block's place:
//! blocks that were exchanged do not verify. Numbers are little-endian. What does not verify is [`Damaged`], whatever
//! it is that is wrong: a miss, and to be removed.

pub mod blocks;
mod head;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::HeaderName;

use super::body::SharedBody;
use super::entry::StoredResponse;
use super::key::CacheKey;
use crate::clock::Clock;

pub use head::{BodyPlace, Head, ResponseHead};

/// What stands at the beginning of a record.
const MAGIC: [u8; 6] = *b"larder";
/// The layout. A record of another version is as good as damaged.
const VERSION: u16 = 3;
/// Bytes of the prelude.
pub const PRELUDE: usize = 40;
/// Most bytes of prelude and payload; a response with more is not stored outside the process.
pub const MAX_HEAD: usize = 256 * 1024;

/// It does not verify: cut, changed, of another version, or never a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record does not verify")]
pub struct Damaged;

/// What is stored in one slot of a lower tier.
#[derive(Clone, Debug)]
pub enum Record {
    /// A stored response.
    Response(CacheKey, Arc<StoredResponse>),
    /// The responses of this key vary by these fields: each is in the slot that their values make.
    Vary(CacheKey, Arc<[HeaderName]>),
}

impl Record {
    /// The key that it belongs to.
    pub fn key(&self) -> &CacheKey {
        let (Record::Response(key, _) | Record::Vary(key, _)) = self;
        key
    }

    /// As bytes. `None`: its body is not complete or not in memory, or its head is too large.
    pub fn encode(&self, clock: &Clock) -> Option<Vec<u8>> {
        let mut head = Head::of(self, clock)?;
        let mut bytes = head.encode(0)?;
        let bodies = match self {
            Record::Response(_, response) => head.response()?.bodies_of(response)?,
            Record::Vary(..) => Vec::new(),
        };
        for (place, body) in head.places().zip(&bodies) {
            bytes.reserve(blocks::sealed_len(place.len) as usize);
            let mut seal = blocks::Sealer::new(head.id, place.section);
            for piece in body.pieces()? {
                seal.push(piece, &mut bytes);
            }
            seal.finish(&mut bytes);
        }
        Some(bytes)
    }

    /// From bytes, every one of which is verified.
    ///
    /// # Errors
    /// They do not verify.
    pub fn decode(bytes: &[u8], clock: &Clock) -> Result<Record, Damaged> {
        let head = Head::decode(bytes, clock)?;
        if head.total_len().ok_or(Damaged)? != bytes.len() as u64 {
            return Err(Damaged);
        }
        let mut bodies = head
            .places()
            .map(|place| {
                let sealed = bytes.get(place.range().ok_or(Damaged)?).ok_or(Damaged)?;
                let pieces = blocks::verified(sealed, head.id, place.section)?;
                let len = pieces.iter().map(|piece| piece.len()).sum();
                Ok(SharedBody::of_pieces(pieces.into_iter(), len, head.trailers(place.section)))
            })
            .collect::<Result<Vec<_>, Damaged>>()?
            .into_iter();
        let codings = head.codings();
        let Some(body) = bodies.next() else { return head.into_vary().ok_or(Damaged) };
        for (coding, coded) in codings.into_iter().zip(bodies) {
            body.coded_or_begun(coding, || coded);
        }
        head.into_response(body).ok_or(Damaged)
    }
}

/// A number for a new record, unlike that of any other.
pub fn new_id() -> u64 {
    let mut random = [0; 8];
    match getrandom::fill(&mut random) {
        Ok(()) => u64::from_ne_bytes(random),
        // Only what tells exchanged blocks apart is lost.
        Err(_) => 0,
    }
}
