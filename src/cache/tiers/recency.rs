//! What is asked for in memory counts as used on disk, which would otherwise give it up for want of anybody who asks for
//! it there: then it would be gone at the next start.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::slot::Slot;
use crate::cache::disk::DiskTier;
use crate::cache::memory::MemoryTier;

/// Between two looks it is at least so many times as long as one takes, and at least [`PAUSE`].
const PAUSES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// Tells the disk what memory was asked for, whenever a part of the disk's room has been given to others; for ever.
pub(super) async fn tell(memory: Arc<MemoryTier>, disk: Arc<DiskTier>) {
    loop {
        disk.turned().await;
        let (began, asked, told) = (Instant::now(), memory.clone(), disk.clone());
        let look = move || {
            asked.asked_for(|key, entry| {
                for response in entry.variants().iter().filter(|response| response.parts().is_none()) {
                    if !response.selection().is_empty() {
                        told.is_used(Slot::of_key(key));
                    }
                    told.is_used(Slot::of_variant(key, response.selection()));
                }
            });
        };
        // It fails only when the process ends.
        let _ = tokio::task::spawn_blocking(look).await;
        tokio::time::sleep((began.elapsed() * PAUSES).max(PAUSE)).await;
    }
}
