//! What is wrong with a disk, and when to look again.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::figures::TierFigures;

/// How a disk tier is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// In use.
    On,
    /// No room although larder's own share is not used up: nothing is stored; what is there is served.
    Full,
    /// Likewise, because it must not be written to.
    ReadOnly,
    /// It fails, or does not answer: not used at all.
    Failing,
    /// Another larder uses the directory: not used at all.
    InUse,
}

impl State {
    const ALL: [State; 5] = [State::On, State::Full, State::ReadOnly, State::Failing, State::InUse];

    /// The word for it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            State::On => TierFigures::ON,
            State::Full => "full",
            State::ReadOnly => "read-only",
            State::Failing => "failing",
            State::InUse => "in-use",
        }
    }

    /// Whether what is there may be read.
    pub(super) const fn reads(self) -> bool {
        matches!(self, State::On | State::Full | State::ReadOnly)
    }

    /// What an error says about the disk; `None`: nothing.
    pub(super) fn after(error: &io::Error) -> Option<State> {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(State::Full),
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Some(State::ReadOnly),
            // It was not asked: its turn did not come.
            io::ErrorKind::ResourceBusy => None,
            // Too many open files: the process' trouble, not the disk's.
            _ if matches!(error.raw_os_error(), Some(23 | 24)) => None,
            _ => Some(State::Failing),
        }
    }
}

/// A state that many look at.
#[derive(Debug)]
pub(super) struct Current(AtomicU8);

impl Current {
    pub(super) fn new(state: State) -> Current {
        Current(AtomicU8::new(state as u8))
    }

    pub(super) fn get(&self) -> State {
        State::ALL[usize::from(self.0.load(Ordering::Acquire)) % State::ALL.len()]
    }

    /// Goes from `On` to another state; false when it was not on any more.
    pub(super) fn leave_on(&self, to: State) -> bool {
        self.0.compare_exchange(State::On as u8, to as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The state before.
    pub(super) fn set(&self, state: State) -> State {
        State::ALL[usize::from(self.0.swap(state as u8, Ordering::AcqRel)) % State::ALL.len()]
    }
}

/// Pauses between looks whether a disk works again. One that fails again soon after it came back is looked at as rarely
/// as before: a directory on too small a file system would go off and on twice a second.
#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
    back: Option<Instant>,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(30);
    const IN_USE: Duration = Duration::from_millis(200);

    pub(super) fn new() -> Backoff {
        Backoff { pause: Backoff::FIRST, back: None }
    }

    /// It works again.
    pub(super) fn is_back(&mut self) {
        self.back = Some(Instant::now());
    }

    /// It does not work any more.
    pub(super) fn has_failed(&mut self) {
        if self.back.take().is_some_and(|back| back.elapsed() > Backoff::LONGEST) {
            self.pause = Backoff::FIRST;
        }
    }

    /// The next pause. Who waits for another process looks often: that is a question to the kernel, not to the disk.
    pub(super) fn next(&mut self, state: State) -> Duration {
        if state == State::InUse {
            return Backoff::IN_USE;
        }
        let now = self.pause;
        self.pause = (now * 2).min(Backoff::LONGEST);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_tell_what_is_wrong_with_the_disk() {
        for (error, state) in [
            (28, Some(State::Full)),
            (122, Some(State::Full)),
            (30, Some(State::ReadOnly)),
            (13, Some(State::ReadOnly)),
            (5, Some(State::Failing)),
            (2, Some(State::Failing)),
            (24, None),
        ] {
            assert_eq!(State::after(&io::Error::from_raw_os_error(error)), state, "{error}");
        }
        assert_eq!(State::after(&io::ErrorKind::TimedOut.into()), Some(State::Failing));
        assert_eq!(State::after(&io::ErrorKind::ResourceBusy.into()), None);
    }

    #[test]
    fn looks_become_rarer_within_bounds() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..10).map(|_| backoff.next(State::Failing)).collect();
        assert_eq!(pauses[1], 2 * pauses[0]);
        assert_eq!(pauses[9], Backoff::LONGEST);
        assert_eq!(backoff.next(State::InUse), Backoff::IN_USE);
    }

    #[tokio::test(start_paused = true)]
    async fn looks_stay_rare_until_the_disk_has_worked_for_long() {
        let mut backoff = Backoff::new();
        for (works, expected) in [(1, 1), (1, 2), (29, 4), (31, 8), (1, 1)] {
            backoff.has_failed();
            assert_eq!(backoff.next(State::Full), Backoff::FIRST * expected);
            backoff.is_back();
            tokio::time::advance(Duration::from_secs(works)).await;
        }
    }
}
