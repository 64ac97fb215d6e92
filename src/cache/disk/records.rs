//! A record as the file of its slot: read and verified, written, its head written again.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Result, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::stored_body::StoredBody;
use super::{Shared, Slot};
use crate::cache::body::SharedBody;
use crate::cache::entry::StoredResponse;
use crate::cache::record::blocks::sealed_len;
use crate::cache::record::{Damaged, Head, MAX_HEAD, Record};
use crate::clock::Clock;

/// A record with all its codings is read whole up to so many times the size of what is kept in memory.
const MOST_WHOLE: u64 = 4;
/// Whether nobody waits for a write any more, because it took too long.
pub(super) type GivenUp = Arc<AtomicBool>;

/// What lay in a slot.
pub(super) enum Found {
    Record(Record),
    Nothing,
    Damaged,
}

impl Shared {
    pub(super) fn read_record(self: &Arc<Self>, slot: Slot) -> Result<Found> {
        match self.try_read_record(slot) {
            // The head of a large record is written again in its place: it may have been half there.
            Ok(Found::Damaged) => self.try_read_record(slot),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Nothing),
            read => read,
        }
    }

    fn try_read_record(self: &Arc<Self>, slot: Slot) -> Result<Found> {
        let file = File::open(self.files()?.path(slot))?;
        let about = file.metadata()?;
        if about.is_dir() {
            return Ok(Found::Damaged);
        }
        let len = about.len();
        let found = |record: std::result::Result<Record, Damaged>| record.map_or(Found::Damaged, Found::Record);
        let whole = || {
            let mut bytes = vec![0; len as usize];
            match file.read_exact_at(&mut bytes, 0) {
                Ok(()) => Ok(found(Record::decode(&bytes, &self.clock))),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Found::Damaged),
                Err(error) => Err(error),
            }
        };
        let memory_object = self.settings.memory_object;
        if len <= sealed_len(memory_object) {
            return whole();
        }
        let Some(head) = read_head(&file, &self.clock)? else { return Ok(Found::Damaged) };
        if head.total_len() != Some(len) {
            return Ok(Found::Damaged);
        }
        // With its codings it may be larger than its body alone.
        let is_small = head.response().is_none_or(|response| response.body_len <= memory_object);
        if is_small && len <= MOST_WHOLE * sealed_len(memory_object) + 2 * MAX_HEAD as u64 {
            return whole();
        }
        let trailers = head.trailers(0);
        let Some(stored) = StoredBody::new(self.clone(), slot, &head) else { return Ok(Found::Damaged) };
        let record = head.into_response(SharedBody::on_disk(stored, trailers));
        Ok(found(record.ok_or(Damaged)))
    }

    /// The file of a slot, and its head where that verifies.
    pub(super) fn open_record(&self, slot: Slot, how: &OpenOptions) -> Result<(File, Option<Head>)> {
        let file = how.open(self.files()?.path(slot))?;
        let head = match read_head(&file, &self.clock)? {
            // It may have been written again just then.
            None => read_head(&file, &self.clock)?,
            head => head,
        };
        Ok((file, head))
    }

    /// What writes a record. Should that be done only after it was given up on, the record does not stay: nobody would
    /// know of it, and of purges that came meanwhile it knows nothing.
    pub(super) fn unless_late<T>(
        self: Arc<Self>,
        given_up: GivenUp,
        slot: Slot,
        write: impl FnOnce(&Shared) -> Result<T>,
    ) -> impl FnOnce() -> Result<T> {
        move || {
            let written = write(&self)?;
            if given_up.load(Ordering::SeqCst) {
                self.discard(slot);
            }
            Ok(written)
        }
    }

    /// Writes a record; what goes for it is deleted, whoever waits for this. False: it is not to be stored here.
    pub(super) fn write_record(&self, slot: Slot, record: &Record) -> Result<bool> {
        if let Record::Response(_, response) = record
            && let Some(stored) = response.body.stored()
        {
            return self.write_head_again(slot, record, response, stored);
        }
        let Some(bytes) = record.encode(&self.clock).filter(|bytes| bytes.len() as u64 <= self.settings.max_object)
        else {
            return Ok(false);
        };
        let (mut file, temporary) = self.files()?.temporary()?;
        file.write_all(&bytes)?;
        self.files()?.keep(temporary, slot, || self.delete(self.index.insert(slot, bytes.len() as u64)))?;
        Ok(true)
    }

    /// Writes the head of a record whose body lies here already, in its place.
    fn write_head_again(
        &self,
        slot: Slot,
        record: &Record,
        response: &StoredResponse,
        stored: &StoredBody,
    ) -> Result<bool> {
        let (old_slot, id) = stored.record();
        let (file, old) = match self.open_record(old_slot, File::options().read(true).write(true)) {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(old) = old.filter(|old| old.id == id) else { return Ok(false) };
        let trailers = response.body.trailers().cloned();
        let mut head = Head::of_body(record.key(), response, &self.clock, stored.len(), trailers);
        (head.id, head.bodies_start) = (old.id, old.bodies_start);
        let Some((bytes, len)) = head.encode(0).zip(head.total_len()) else { return Ok(false) };
        file.write_all_at(&bytes, 0)?;
        let note = || {
            if old_slot != slot {
                self.index.remove(old_slot);
                stored.moved(slot);
            }
            self.delete(self.index.insert(slot, len));
        };
        // It may have gone for room just now, or another have come into its place.
        Ok(self.files()?.keep_as(&file, old_slot, slot, note)?.is_some())
    }
}

/// The head of a record; `None`: it does not verify.
fn read_head(file: &File, clock: &Clock) -> Result<Option<Head>> {
    let mut bytes = vec![0; 4096];
    let mut read = match read_up_to(file, &mut bytes, 0) {
        Err(error) if error.kind() == ErrorKind::IsADirectory => return Ok(None),
        read => read?,
    };
    let Ok(len) = Head::len(&bytes[..read]) else { return Ok(None) };
    if len > read {
        bytes.resize(len, 0);
        read += read_up_to(file, &mut bytes[read..], read as u64)?;
    }
    Ok(Head::decode(&bytes[..read], clock).ok())
}

fn read_up_to(file: &File, bytes: &mut [u8], offset: u64) -> Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
