//! Keys that are not worth waiting for: their last answer was for one client alone.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::policy::time::Timestamp;

/// Which keys those are, until when, by hash. Each has one place, and a newcomer takes it from whoever was there:
/// forgetting one costs a wait.
pub(super) struct Uncacheable(Box<[AtomicU64]>);

/// A power of two. One mebibyte, of which the system gives what is used.
const PLACES: usize = 1 << 17;

/// What a place holds: the half of the hash that does not choose it, and the last second in which it counts.
const SECONDS: u64 = u32::MAX as u64;

impl Default for Uncacheable {
    fn default() -> Self {
        Uncacheable(std::iter::repeat_with(|| AtomicU64::new(0)).take(PLACES).collect())
    }
}

impl Uncacheable {
    pub(super) fn remember(&self, hash: u64, until: Timestamp) {
        let seconds = (until.as_millis().max(0) as u64).div_ceil(1000).min(SECONDS);
        self.place(hash).store(hash & !SECONDS | seconds, Ordering::Relaxed);
    }

    pub(super) fn forget(&self, hash: u64) {
        let place = self.place(hash);
        if place.load(Ordering::Relaxed) & !SECONDS == hash & !SECONDS {
            place.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn has(&self, hash: u64, now: Timestamp) -> bool {
        let held = self.place(hash).load(Ordering::Relaxed);
        held & !SECONDS == hash & !SECONDS && now.as_millis() < (held & SECONDS) as i64 * 1000
    }

    fn place(&self, hash: u64) -> &AtomicU64 {
        &self.0[hash as usize & (PLACES - 1)]
    }
}

impl fmt::Debug for Uncacheable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uncacheable")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_remembered_for_their_time() {
        let known = Uncacheable::default();
        let at = Timestamp::from_millis;
        let (one, other) = (0x1234_5678_9abc_def0, 0x1234_5679_9abc_def0);
        assert!(!known.has(one, at(1_000_000)));
        known.remember(one, at(1_060_000));
        assert!(known.has(one, at(1_059_999)) && !known.has(one, at(1_060_000)));
        assert!(!known.has(other, at(1_000_000)), "of the same place");
        known.forget(other);
        assert!(known.has(one, at(1_000_000)));
        known.remember(other, at(1_060_000));
        assert!(known.has(other, at(1_000_000)) && !known.has(one, at(1_000_000)), "the newcomer has the place");
        known.forget(other);
        assert!(!known.has(other, at(1_000_000)));
    }
}
