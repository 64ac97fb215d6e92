//! Which share of the threads a thread belongs to. What each request counts is counted once for each share and added up
//! when it is asked for: threads that answer side by side would else take the counters from each other's caches.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Shares there are. Beyond so many threads, some have one in common.
pub(super) const SHARES: usize = 16;

/// The share of this thread, less than [`SHARES`].
pub(super) fn mine() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARES;
    }
    MINE.with(|mine| *mine)
}
