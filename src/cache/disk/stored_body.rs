//! A body that lies on disk alone: found by its slot, opened when somebody is to read it, read in blocks of which
//! each is verified before a byte of it is handed on.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::Shared;
use crate::cache::body::CutBody;
use crate::cache::record::blocks::{BLOCK, holding, verified_from};
use crate::cache::record::{BodyPlace, Head};
use crate::cache::tiers::slot::Slot;

/// A complete body on disk. It holds no descriptor: there may be many.
#[derive(Debug)]
pub struct StoredBody {
    shared: Arc<Shared>,
    id: u64,
    place: BodyPlace,
    /// Where it lies: moves when what selects its response changes.
    slot: Mutex<Slot>,
    open: Mutex<Weak<OpenBody>>,
}

/// A body's file, open.
#[derive(Debug)]
pub struct OpenBody {
    pub(super) shared: Arc<Shared>,
    pub(super) file: File,
    pub(super) id: u64,
    pub(super) place: BodyPlace,
    /// Where its record lies; `None` while it is being written.
    pub(super) slot: Option<Slot>,
}

impl StoredBody {
    pub(super) fn new(shared: Arc<Shared>, slot: Slot, head: &Head) -> Option<StoredBody> {
        let place = head.places().next()?;
        Some(StoredBody { shared, id: head.id, place, slot: Mutex::new(slot), open: Mutex::default() })
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.place.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.place.len == 0
    }

    /// The slot and the number of its record.
    pub(super) fn record(&self) -> (Slot, u64) {
        (*self.slot.lock(), self.id)
    }

    pub(super) fn moved(&self, slot: Slot) {
        *self.slot.lock() = slot;
    }

    /// Its file, if somebody has it open.
    pub fn opened(&self) -> Option<Arc<OpenBody>> {
        self.open.lock().upgrade()
    }

    /// Opens its file; readers can be made for as long as the result is held. `None`: it is not there any more.
    pub async fn open(&self) -> Option<Arc<OpenBody>> {
        if let Some(open) = self.opened() {
            return Some(open);
        }
        let (slot, id, place, shared) = (*self.slot.lock(), self.id, self.place, self.shared.clone());
        let opened = self.shared.io.read(move || {
            let (file, head) = shared.open_record(slot, File::options().read(true))?;
            Ok(head.filter(|head| head.id == id).map(|_| OpenBody { file, id, place, slot: Some(slot), shared }))
        });
        match opened.await {
            Ok(open) => {
                let open = Arc::new(open?);
                *self.open.lock() = Arc::downgrade(&open);
                Some(open)
            }
            // It went for room just before.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                self.shared.failed("opening a record", &error);
                None
            }
        }
    }
}

impl OpenBody {
    /// Some of its bytes; it has `len` by now. Those in a block that does not verify are never handed on.
    pub fn read(self: &Arc<Self>, range: Range<u64>, len: u64) -> BoxFuture<'static, Result<VecDeque<Bytes>, CutBody>> {
        let this = self.clone();
        let reading = async move {
            let open = this.clone();
            match this.shared.io.read_on(move || open.read_now(&range, len)).await {
                Ok(Some(pieces)) => Ok(pieces),
                Ok(None) => {
                    this.shared.damaged(this.slot, this.id);
                    Err(CutBody)
                }
                Err(error) => {
                    this.shared.failed("reading a record", &error);
                    Err(CutBody)
                }
            }
        };
        // Goes on by itself, so that blocks are read ahead while others are sent.
        let read = tokio::spawn(reading);
        async move { read.await.unwrap_or(Err(CutBody)) }.boxed()
    }

    /// `None`: it does not verify.
    fn read_now(&self, range: &Range<u64>, len: u64) -> std::io::Result<Option<VecDeque<Bytes>>> {
        let (place, first) = holding(range, len);
        let mut sealed = vec![0; (place.end - place.start) as usize];
        if let Err(error) = self.file.read_exact_at(&mut sealed, self.place.start + place.start) {
            // A file that is too short is a damaged record, not a failing disk.
            return if error.kind() == std::io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
        }
        let Ok(blocks) = verified_from(&sealed, self.id, self.place.section, first) else { return Ok(None) };
        let lengths: Vec<usize> = blocks.iter().map(|block| block.len()).collect();
        let sealed = Bytes::from(sealed);
        let (mut pieces, mut at, mut start) = (VecDeque::with_capacity(lengths.len()), 0, first * BLOCK as u64);
        for length in lengths {
            let from = range.start.saturating_sub(start).min(length as u64) as usize;
            let to = range.end.saturating_sub(start).min(length as u64) as usize;
            if from < to {
                pieces.push_back(sealed.slice(at + from..at + to));
            }
            at += length + crate::cache::record::blocks::CHECKSUM;
            start += length as u64;
        }
        Ok((!pieces.is_empty()).then_some(pieces))
    }
}
