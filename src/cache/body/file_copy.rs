//! A body's copy in a file, which goes with the body.

use std::sync::Arc;

use super::{Complete, SharedBody};
use crate::cache::file_copies::{Claim, FileCopies, FileCopy, LENGTHS};

impl SharedBody {
    /// Its copy in a file, if there is one. `copies`: one is to be made if not, and if it gains by that.
    pub fn file_copy(&self, copies: Option<&Arc<FileCopies>>) -> Option<Arc<FileCopy>> {
        let Complete::Block(block) = self.0.complete.get()? else { return None };
        if !LENGTHS.contains(&block.len()) {
            return None;
        }
        let mut side = self.0.side.lock();
        let claim = side.made.as_ref().and_then(|made| made.file_copy.as_ref());
        if let Some(copy) = claim.and_then(Claim::copy) {
            return Some(copy);
        }
        let (claim, copy) = copies?.make(block)?;
        side.made.get_or_insert_default().file_copy = Some(claim);
        Some(copy)
    }
}
