//! Says whether a Redis is worth asking. Asking it is one atomic load.
//!
//! Closed: it is asked. Open: nothing is asked for a window of time, which grows while it goes on failing. Half-open:
//! it is tried out, by whoever looks after it and not by a request; if that goes well, the breaker closes.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::fault::Fault;

/// How a breaker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is asked.
    Closed,
    /// It is tried out.
    HalfOpen,
    /// It is left alone.
    Open,
}

impl State {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::HalfOpen => "half-open",
            State::Open => "open",
        }
    }
}

/// A breaker.
#[derive(Debug)]
pub struct Breaker {
    state: AtomicU8,
    /// Counts closings, so that a failure from before the last one says nothing about now.
    term: AtomicU64,
    openings: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    fault: Option<Fault>,
    /// Openings in a row without a while of going well between them.
    streak: u32,
    closed_at: Option<Instant>,
    opened_at: Instant,
}

/// The first window.
const FIRST_WINDOW: Duration = Duration::from_millis(250);
/// The longest: what has come back is noticed within this.
const LONGEST_WINDOW: Duration = Duration::from_secs(1);
/// What went well for this long begins with the first window again.
const WELL: Duration = Duration::from_secs(10);

/// The one try-out of a breaker that is not closed. Dropped before it is known how that went, it lets another try.
#[derive(Debug)]
pub struct Trial<'a>(&'a Breaker);

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        let (half_open, open) = (State::HalfOpen as u8, State::Open as u8);
        let _ = self.0.state.compare_exchange(half_open, open, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// Leave to ask, given while the breaker is closed.
#[derive(Clone, Copy, Debug)]
pub struct Leave(u64);

impl Breaker {
    /// An open one: nothing has gone well yet.
    pub fn open_at_first() -> Self {
        Breaker::new(State::Open, Some(Fault::Connecting))
    }

    /// A closed one.
    pub fn closed_at_first() -> Self {
        Breaker::new(State::Closed, None)
    }

    fn new(state: State, fault: Option<Fault>) -> Self {
        Breaker {
            state: AtomicU8::new(state as u8),
            term: AtomicU64::new(0),
            openings: AtomicU64::new(0),
            inner: Mutex::new(Inner { fault, streak: 0, closed_at: None, opened_at: Instant::now() }),
        }
    }

    /// Leave to ask; none while it is not closed.
    pub fn leave(&self) -> Option<Leave> {
        (self.state.load(Ordering::Acquire) == State::Closed as u8).then(|| Leave(self.term.load(Ordering::Relaxed)))
    }

    /// How it is.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Closed,
            1 => State::HalfOpen,
            _ => State::Open,
        }
    }

    /// Why it is not closed.
    pub fn fault(&self) -> Option<Fault> {
        self.inner.lock().fault
    }

    /// How often it opened.
    pub fn openings(&self) -> u64 {
        self.openings.load(Ordering::Relaxed)
    }

    /// An operation that had leave failed. Whether it is this that opened the breaker.
    pub fn trip(&self, leave: Leave, fault: Fault) -> bool {
        let mut inner = self.inner.lock();
        let is_current = self.term.load(Ordering::Relaxed) == leave.0 && self.state() == State::Closed;
        if is_current {
            self.open_now(&mut inner, fault);
        }
        is_current
    }

    /// Trying it out failed, or there is nothing to try. Whether the fault is another than before.
    pub fn open(&self, fault: Fault) -> bool {
        let mut inner = self.inner.lock();
        let is_new = inner.fault != Some(fault);
        self.open_now(&mut inner, fault);
        is_new
    }

    fn open_now(&self, inner: &mut Inner, fault: Fault) {
        if self.state() == State::Closed {
            self.openings.fetch_add(1, Ordering::Relaxed);
        }
        let went_well = inner.closed_at.take().is_some_and(|at| at.elapsed() > WELL);
        inner.streak = if went_well { 0 } else { inner.streak.saturating_add(1) };
        inner.fault = Some(fault);
        inner.opened_at = Instant::now();
        self.state.store(State::Open as u8, Ordering::Release);
    }

    /// The end of the window in which nothing is asked.
    pub fn window_ends(&self) -> Instant {
        let inner = self.inner.lock();
        inner.opened_at + FIRST_WINDOW.saturating_mul(1 << inner.streak.saturating_sub(1).min(8)).min(LONGEST_WINDOW)
    }

    /// It is tried out from now on.
    pub fn half_open(&self) {
        let _inner = self.inner.lock();
        self.state.store(State::HalfOpen as u8, Ordering::Release);
    }

    /// For the one that is to try it out, because the window is over and nobody does yet.
    pub fn may_try(&self) -> Option<Trial<'_>> {
        if self.state() != State::Open || Instant::now() < self.window_ends() {
            return None;
        }
        let (open, half_open) = (State::Open as u8, State::HalfOpen as u8);
        let is_first = self.state.compare_exchange(open, half_open, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        is_first.then(|| Trial(self))
    }

    /// It goes well. Whether it did not before, and why.
    pub fn close(&self) -> Option<Fault> {
        let mut inner = self.inner.lock();
        if self.state() == State::Closed {
            return None;
        }
        self.term.fetch_add(1, Ordering::Relaxed);
        inner.closed_at = Some(Instant::now());
        self.state.store(State::Closed as u8, Ordering::Release);
        inner.fault.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn breaker_opens_at_the_first_failure_and_closes_after_a_trial() {
        let breaker = Breaker::closed_at_first();
        let leave = breaker.leave().unwrap();
        assert!(breaker.trip(leave, Fault::Timeout));
        assert!(!breaker.trip(leave, Fault::Timeout), "others that were under way change nothing");
        assert!(breaker.leave().is_none());
        assert!(breaker.may_try().is_none(), "the window has just begun");
        tokio::time::advance(FIRST_WINDOW).await;
        let trial = breaker.may_try().expect("the window is over");
        assert!(breaker.may_try().is_none(), "one tries it out");
        assert!(breaker.leave().is_none());
        assert_eq!(breaker.close(), Some(Fault::Timeout));
        drop(trial);
        assert!(breaker.leave().is_some());
        assert!(!breaker.trip(leave, Fault::Timeout), "a failure from before says nothing about now");
        assert_eq!(breaker.openings(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn trial_that_is_broken_off_lets_another_try_and_one_that_failed_does_not() {
        let breaker = Breaker::closed_at_first();
        breaker.open(Fault::Full);
        tokio::time::advance(FIRST_WINDOW).await;
        drop(breaker.may_try().expect("the window is over"));
        let trial = breaker.may_try().expect("nobody tries it out any more");
        breaker.open(Fault::Full);
        drop(trial);
        assert!(breaker.may_try().is_none(), "the next window has begun");
        assert_eq!(breaker.state(), State::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn breaker_windows_grow_to_a_bound_and_shrink_after_a_while() {
        let breaker = Breaker::closed_at_first();
        let mut windows = Vec::new();
        for _ in 0..5 {
            breaker.open(Fault::Unreachable);
            windows.push((breaker.window_ends() - Instant::now()).as_millis());
        }
        assert_eq!(windows, [250, 500, 1000, 1000, 1000]);
        breaker.close();
        tokio::time::advance(WELL + Duration::from_millis(1)).await;
        breaker.open(Fault::Unreachable);
        assert_eq!(breaker.window_ends() - Instant::now(), FIRST_WINDOW);
    }
}
