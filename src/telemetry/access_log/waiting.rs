//! Lines that wait to be written. A thread that answers puts its lines on a shelf that it shares with few others, and the
//! writer takes what lies there in one go: it is told once, by the first line it does not know of.

use std::array;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};

use parking_lot::Mutex;

use crate::telemetry::date::LastSecond;
use crate::telemetry::share;

/// As many threads never wait for one another; of more, some share one for as long as a line is put there.
const SHELVES: usize = 8;

/// What lies on the shelves, and whether the writer knows.
#[derive(Debug)]
pub(super) struct Waiting {
    shelves: [Shelf; SHELVES],
    /// Bytes after which a shelf takes no further line.
    room: usize,
    /// Whether the writer has been told and has not looked since.
    told: AtomicBool,
    /// Tells it.
    wake: SyncSender<()>,
    closing: AtomicBool,
}

/// By itself in its line of the processor's cache.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shelf(Mutex<Lying>);

#[derive(Debug, Default)]
struct Lying {
    lines: Lines,
    clock: LastSecond,
    /// Nobody takes anything any more.
    closed: bool,
}

/// Whole lines, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) text: Vec<u8>,
    pub(super) count: u64,
}

impl Waiting {
    /// Nothing yet, and on each shelf room for so many bytes. What is received tells the writer to look.
    pub(super) fn new(room: usize) -> (Arc<Self>, Receiver<()>) {
        let (wake, woken) = mpsc::sync_channel(1);
        let (told, closing) = (AtomicBool::new(false), AtomicBool::new(false));
        (Arc::new(Waiting { shelves: array::from_fn(|_| Shelf::default()), room, told, wake, closing }), woken)
    }

    /// Has `write` put a line where there is room. False: there is none, or nobody takes lines any more.
    pub(super) fn put(&self, write: impl FnOnce(&mut Vec<u8>, &mut LastSecond)) -> bool {
        let mut shelf = self.shelves[share::mine() % SHELVES].0.lock();
        let Lying { lines, clock, closed } = &mut *shelf;
        if *closed || lines.text.len() >= self.room {
            return false;
        }
        write(&mut lines.text, clock);
        lines.count += 1;
        drop(shelf);
        // A line that the writer has not taken came to the shelf after it had looked there, and so sees that it did.
        if !self.told.load(Ordering::Relaxed) {
            self.tell();
        }
        true
    }

    /// Has the writer look.
    pub(super) fn tell(&self) {
        if !self.told.swap(true, Ordering::AcqRel) {
            // Full: it is about to look. Nobody there: it has ended.
            let _ = self.wake.try_send(());
        }
    }

    /// Has the writer take what there is, for the last time.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.tell();
    }

    /// Takes all there is, a shelf at a time: `write` gets its lines, and leaves an empty buffer for the next. Returns
    /// whether that was the last time.
    pub(super) fn take(&self, lines: &mut Lines, mut write: impl FnMut(&mut Lines)) -> bool {
        // A swap, not a store: it makes seen what was said before it was told.
        self.told.swap(false, Ordering::AcqRel);
        let last = self.closing.load(Ordering::Acquire);
        for shelf in &self.shelves {
            let mut shelf = shelf.0.lock();
            shelf.closed = last;
            mem::swap(&mut shelf.lines, lines);
            drop(shelf);
            write(lines);
        }
        last
    }
}
