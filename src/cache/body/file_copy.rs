//! A body's copy in a file, which goes with the body.

use std::sync::Arc;

use super::{Complete, SharedBody};
use crate::cache::file_copies::{FileCopies, FileCopy, LENGTHS};

impl SharedBody {
    /// Its copy in a file, if there is one. `copies`: one is to be made if not, and if it gains by that.
    pub fn file_copy(&self, copies: Option<&Arc<FileCopies>>) -> Option<Arc<FileCopy>> {
        let Complete::Block(block) = self.0.complete.get()? else { return None };
        if !LENGTHS.contains(&block.len()) {
            return None;
        }
        if let Some(copy) = self.claimed_copy() {
            return Some(copy);
        }
        // Without the lock, which others take with each hit. Of two that are made at once, the later stays.
        let (claim, copy) = copies?.make(block)?;
        let former = self.0.side.lock().made.get_or_insert_default().file_copy.replace(claim);
        drop(former);
        Some(copy)
    }

    fn claimed_copy(&self) -> Option<Arc<FileCopy>> {
        self.0.side.lock().made.as_ref()?.file_copy.as_ref()?.copy()
    }
}
