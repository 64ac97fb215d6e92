//! The cap on open client connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::counters::{ServerCounters, add};
use super::crowd::Presence;

/// Room for connections. The cap may change while they are open.
#[derive(Debug)]
pub(super) struct Slots {
    open: AtomicUsize,
    cap: AtomicUsize,
    freed: Notify,
    counters: Arc<ServerCounters>,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Slots>, Option<Presence>);

impl Slot {
    /// Keeps a place at the listener as well.
    pub(super) fn with(self, presence: Presence) -> Self {
        let mut slot = self;
        slot.1 = Some(presence);
        slot
    }
}

impl Slots {
    /// Room for `cap` connections.
    pub(super) fn new(cap: usize, counters: Arc<ServerCounters>) -> Arc<Self> {
        Arc::new(Slots { open: AtomicUsize::new(0), cap: AtomicUsize::new(cap), freed: Notify::new(), counters })
    }

    /// Connections open now.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Changes the cap; connections above it stay open.
    pub(super) fn set_cap(&self, cap: usize) {
        self.cap.store(cap, Ordering::Release);
        self.freed.notify_waiters();
    }

    /// Waits until there is room. Several listeners may take the same last place, so the cap may be passed by as
    /// many; holding a place while waiting for a client would let one quiet listener starve the others.
    pub(super) async fn room(&self) {
        self.until(|open, cap| open < cap).await;
    }

    /// Waits until no connection is open.
    pub(super) async fn empty(&self) {
        self.until(|open, _| open == 0).await;
    }

    async fn until(&self, enough: impl Fn(usize, usize) -> bool) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Listening before looking: a place given back in between is not missed.
            freed.as_mut().enable();
            if enough(self.open(), self.cap.load(Ordering::Acquire)) {
                return;
            }
            freed.await;
        }
    }

    /// Takes a place.
    pub(super) fn take(self: &Arc<Self>) -> Slot {
        self.open.fetch_add(1, Ordering::AcqRel);
        add(&self.counters.connections, 1);
        add(&self.counters.open, 1);
        Slot(self.clone(), None)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        self.0.counters.open.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn slots_full_until_one_is_given_back_or_the_cap_grows() {
        let slots = Slots::new(1, Arc::default());
        assert!(slots.room().now_or_never().is_some());
        let first = slots.take();
        assert!(slots.room().now_or_never().is_none(), "full");
        let mut waiting = Box::pin(slots.room());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(first);
        assert!(waiting.now_or_never().is_some(), "given back");
        let _second = slots.take();
        assert!(slots.room().now_or_never().is_none());
        slots.set_cap(2);
        assert!(slots.room().now_or_never().is_some(), "grown");
        assert_eq!(slots.open(), 1);
    }
}
