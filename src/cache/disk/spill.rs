//! A body that goes to disk while it comes: too large for memory, or there is no room.

use std::io::Result;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::HeaderMap;

use super::files::Temporary;
use super::records::GivenUp;
use super::stored_body::{OpenBody, StoredBody};
use super::{DiskTier, Shared};
use crate::cache::entry::StoredResponse;
use crate::cache::key::CacheKey;
use crate::cache::record::blocks::{BLOCK, SEALED, Sealer};
use crate::cache::record::{BodyPlace, Head, PRELUDE};
use crate::cache::tiers::slot::Slot;

/// Written at once.
const CHUNK: usize = 4 * SEALED;
/// Room for what a head gains until its body is there, and by validations later.
const ROOM: usize = 1024;

/// A record whose body is on its way.
pub struct Spill {
    file: Arc<OpenBody>,
    temporary: Temporary,
    sealer: Sealer,
    /// Sealed and not written yet.
    buffer: Vec<u8>,
    /// Bytes of the body that came, and bytes of the file's body that were written.
    len: u64,
    written: u64,
    reservation: Reservation,
}

/// Room in the tier, given back when the record is there or will never be.
struct Reservation {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared.index.release(self.bytes);
    }
}

impl DiskTier {
    /// Begins to write a record whose body is growing. `None`: the disk does not take it.
    pub async fn spill(&self, key: &CacheKey, response: &StoredResponse) -> Option<Spill> {
        let shared = self.0.clone();
        if !self.is_on() {
            return None;
        }
        let mut head = Head::of_body(key, response, &shared.clock, 0, None);
        // Whole pages: whatever the head gains, its record's blocks stay where they are.
        let room = ROOM + (4096 - PRELUDE);
        head.encode(room)?;
        let opener = shared.clone();
        let opened = shared.io.write_along(move || opener.files()?.temporary()).await;
        let (file, temporary) = opened.inspect_err(|error| shared.failed("storing a record", error)).ok()?;
        let place = BodyPlace { section: 0, len: 0, start: head.bodies_start };
        let file = Arc::new(OpenBody { shared: shared.clone(), file, id: head.id, place, slot: None });
        let sealer = Sealer::new(head.id, 0);
        let reservation = Reservation { shared, bytes: 0 };
        Some(Spill { file, temporary, sealer, buffer: Vec::with_capacity(CHUNK), len: 0, written: 0, reservation })
    }
}

impl Spill {
    /// The file, for those who read what is there already.
    pub fn file(&self) -> Arc<OpenBody> {
        self.file.clone()
    }

    /// Writes a piece of the body. How much of it is there now, in whole blocks.
    ///
    /// # Errors
    /// The disk fails; nothing will come of this record.
    pub async fn write(&mut self, piece: &[u8]) -> Result<u64> {
        self.len += piece.len() as u64;
        for part in piece.chunks(CHUNK) {
            self.sealer.push(part, &mut self.buffer);
            if self.buffer.len() >= CHUNK {
                self.flush().await?;
            }
        }
        Ok(self.written / SEALED as u64 * BLOCK as u64)
    }

    async fn flush(&mut self) -> Result<()> {
        let (chunk, file) = (std::mem::take(&mut self.buffer), self.file.clone());
        let (len, offset) = (chunk.len() as u64, self.file.place.start + self.written);
        let shared = &self.reservation.shared;
        shared.delete(shared.index.reserve(len));
        self.reservation.bytes += len;
        let write = move || file.file.write_all_at(&chunk, offset).map(|()| chunk);
        let mut chunk =
            shared.io.write_along(write).await.inspect_err(|error| shared.failed("storing a record", error))?;
        self.written += len;
        chunk.clear();
        self.buffer = chunk;
        Ok(())
    }

    /// All has come: the record is there, or `None` where the disk fails.
    pub async fn finish(
        mut self,
        key: &CacheKey,
        response: &StoredResponse,
        trailers: Option<HeaderMap>,
    ) -> Option<StoredBody> {
        std::mem::replace(&mut self.sealer, Sealer::new(0, 0)).finish(&mut self.buffer);
        self.flush().await.ok()?;
        let shared = self.reservation.shared.clone();
        let mut head = Head::of_body(key, response, &shared.clock, self.len, trailers);
        (head.id, head.bodies_start) = (self.file.id, self.file.place.start);
        let bytes = head.encode(0)?;
        let slot = Slot::of_variant(key, response.selection());
        let stored = StoredBody::new(shared.clone(), slot, &head)?;
        let (file, temporary, reservation) = (self.file.clone(), self.temporary, self.reservation);
        let (given_up, len) = (GivenUp::default(), head.total_len()?);
        let write = shared.clone().unless_late(given_up.clone(), slot, move |writer| {
            file.file.write_all_at(&bytes, 0)?;
            let note = || {
                drop(reservation); // or it would count twice, and others go for it
                writer.delete(writer.index.insert(slot, len));
            };
            writer.files()?.keep(temporary, slot, note)
        });
        let written = shared.io.write_along(write).await;
        let written = written.inspect_err(|error| {
            given_up.store(true, Ordering::SeqCst);
            shared.failed("storing a record", error);
            shared.discard(slot);
        });
        written.ok()?;
        shared.agree_with_log(slot, key, response).await;
        tracing::trace!(pending = shared.to_delete.load(Ordering::Relaxed), "a body was stored on disk");
        Some(stored)
    }
}
