//! Interim (1xx) heads on their way to a client: they go ahead of the response to the same request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// Heads that wait for a client at most. An upstream may send them without end.
const MAX_HEADS: usize = 32;

/// Those that wait to be written, in order.
#[derive(Debug, Default)]
pub struct InterimHeads {
    queue: Mutex<Vec<Bytes>>,
    /// Whether there are any: asked some times a request, where there are hardly ever any.
    any: AtomicBool,
    waker: AtomicWaker,
}

impl InterimHeads {
    /// Queues a complete head. Beyond a bound it is left out: nobody relies on them.
    pub fn queue(&self, head: Bytes) {
        let mut queue = self.queue.lock();
        if !head.is_empty() && queue.len() < MAX_HEADS {
            queue.push(head);
            self.any.store(true, Ordering::Release);
            drop(queue);
            self.wake();
        }
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// Has the first one written, which goes once nothing of it is left. `None`: there is none.
    pub fn write<T>(&self, write: impl FnOnce(&mut Bytes) -> T) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let mut queue = self.queue.lock();
        let first = queue.first_mut()?;
        let wrote = write(first);
        if first.is_empty() {
            queue.remove(0);
            self.any.store(!queue.is_empty(), Ordering::Release);
        }
        Some(wrote)
    }

    /// Wakes a task when a head is queued, and when they are written. Before it looks whether there are any, so that it
    /// misses none.
    pub fn listen(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Wakes whoever listens.
    pub fn wake(&self) {
        self.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_wait_in_order_and_bounded_number() {
        let heads = InterimHeads::default();
        assert!(heads.is_empty());
        for number in 0..=u8::MAX {
            heads.queue(Bytes::from(vec![number]));
        }
        let mut written = Vec::new();
        while let Some(head) = heads.write(std::mem::take) {
            written.extend_from_slice(&head);
        }
        assert_eq!(written, Vec::from_iter(0..MAX_HEADS as u8));
        assert!(heads.is_empty());
    }

    #[test]
    fn head_that_is_written_in_part_stays_the_first() {
        let heads = InterimHeads::default();
        heads.queue(Bytes::from_static(b"ab"));
        heads.queue(Bytes::from_static(b"c"));
        for expected in ["a", "b", "c"] {
            assert_eq!(heads.write(|head| head.split_to(1)), Some(Bytes::from_static(expected.as_bytes())));
        }
        assert!(heads.is_empty());
    }
}
