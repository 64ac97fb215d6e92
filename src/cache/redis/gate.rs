//! Whether this node knows what was purged: asked on every hit, at the price of one atomic load and a look at the
//! clock.
//!
//! A task ticks while all is well. A process that was stopped, or a machine that was suspended, does not tick: the
//! first request after that finds the last tick too long ago, and waits until the purges that were missed are known.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// How this node stands to the sequence of purges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is being caught up with.
    CatchingUp,
    /// It is followed.
    InStep,
    /// It cannot be reached; this node serves what it holds.
    Alone,
    /// It cannot be reached; this node serves nothing.
    Shut,
}

impl Standing {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Standing::CatchingUp => "catching-up",
            Standing::InStep => "in-step",
            Standing::Alone => "alone",
            Standing::Shut => "shut",
        }
    }
}

/// The gate before all tiers.
#[derive(Debug)]
pub struct Gate {
    origin: std::time::Instant,
    /// Milliseconds from `origin` to the last tick; 0: closed.
    tick: AtomicU64,
    standing: watch::Sender<Standing>,
    /// Whether this node serves nothing when it cannot know what was purged.
    strict: bool,
    /// Times that this process was found to have been stopped.
    pauses: AtomicU64,
    paused: Notify,
    /// Milliseconds from `origin` to when it was noticed that the process had been stopped while it followed the
    /// sequence; 0: it has caught up since.
    behind: AtomicU64,
}

/// How often it ticks.
const TICK: Duration = Duration::from_millis(20);
/// Longer without a tick: the process was stopped. A purge may take this long to be in force everywhere.
const PAUSE: u64 = 100;
/// Longest time that a request waits for the gate.
const WAIT: Duration = Duration::from_millis(250);

impl Gate {
    /// A gate that is closed until the sequence of purges has been caught up with.
    pub fn new(strict: bool) -> Self {
        Gate {
            origin: std::time::Instant::now(),
            tick: AtomicU64::new(0),
            standing: watch::Sender::new(Standing::CatchingUp),
            strict,
            pauses: AtomicU64::new(0),
            paused: Notify::new(),
            behind: AtomicU64::new(0),
        }
    }

    fn elapsed(&self) -> u64 {
        // Never 0, which means closed.
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Whether what is stored may be used now.
    pub fn is_open(&self) -> bool {
        let tick = self.tick.load(Ordering::Acquire);
        tick != 0 && self.elapsed().saturating_sub(tick) <= PAUSE
    }

    /// Whether the sequence of purges is followed, so that what other nodes stored may be used.
    pub fn is_in_step(&self) -> bool {
        *self.standing.borrow() == Standing::InStep
    }

    /// Waits, within a bound, until what is stored may be used. Whether it may.
    pub async fn wait(&self) -> bool {
        if self.is_open() {
            return true;
        }
        self.notice_pause();
        let mut standing = self.standing.subscribe();
        let open =
            standing.wait_for(|standing| matches!(standing, Standing::InStep | Standing::Alone | Standing::Shut));
        let _ = tokio::time::timeout(WAIT, open).await;
        self.is_open()
    }

    /// How this node stands.
    pub fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Times that this process was found to have been stopped.
    pub fn pauses(&self) -> u64 {
        self.pauses.load(Ordering::Relaxed)
    }

    /// Purges are being caught up with: nothing stored is used meanwhile.
    pub(super) fn close(&self) {
        self.tick.store(0, Ordering::Release);
        self.standing.send_replace(Standing::CatchingUp);
    }

    /// All purges are known.
    pub(super) fn open(&self) {
        self.behind.store(0, Ordering::Release);
        self.tick.store(self.elapsed(), Ordering::Release);
        self.standing.send_replace(Standing::InStep);
    }

    /// The sequence of purges cannot be reached.
    pub(super) fn lose(&self) {
        let standing = if self.strict { Standing::Shut } else { Standing::Alone };
        self.tick.store(if self.strict { 0 } else { self.elapsed() }, Ordering::Release);
        self.standing.send_replace(standing);
    }

    /// Returns when the process was stopped since the last call.
    pub(super) async fn paused(&self) {
        self.paused.notified().await;
    }

    /// Ticks for ever.
    pub(super) async fn keep_ticking(&self) {
        let mut interval = tokio::time::interval_at(Instant::now() + TICK, TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.notice_pause();
            let last = self.tick.load(Ordering::Acquire);
            if last != 0 {
                // Closed meanwhile: it stays so.
                let _ = self.tick.compare_exchange(last, self.elapsed(), Ordering::AcqRel, Ordering::Relaxed);
            }
        }
    }

    /// Closes when the last tick is too long ago. Whoever looks first does it, a request or the ticking task.
    pub(super) fn notice_pause(&self) {
        let last = self.tick.load(Ordering::Acquire);
        let is_late = last != 0 && self.elapsed().saturating_sub(last) > PAUSE;
        if is_late && self.tick.compare_exchange(last, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.pauses.fetch_add(1, Ordering::Relaxed);
            if self.standing.send_replace(Standing::CatchingUp) == Standing::InStep {
                self.behind.store(self.elapsed(), Ordering::Release);
            }
            self.paused.notify_one();
        }
    }

    /// For how long it has been known that this process was stopped while others could rely on its following, and not
    /// what it missed by that. Whoever was alone before it was stopped has missed nothing.
    pub(super) fn behind_for(&self) -> Option<Duration> {
        let since = self.behind.load(Ordering::Acquire);
        (since != 0).then(|| Duration::from_millis(self.elapsed().saturating_sub(since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate_last_ticked(ago: u64) -> Gate {
        let mut gate = Gate::new(false);
        gate.origin -= Duration::from_secs(3600);
        gate.open();
        gate.tick.store(gate.elapsed() - ago, Ordering::Release);
        gate
    }

    #[test]
    fn gate_is_closed_at_first_and_open_while_it_ticks() {
        assert!(!Gate::new(false).is_open());
        assert!(gate_last_ticked(0).is_open());
        assert!(gate_last_ticked(PAUSE - 50).is_open());
        assert!(!gate_last_ticked(PAUSE + 1).is_open(), "stopped meanwhile");
    }

    #[tokio::test]
    async fn gate_waits_for_what_was_missed_while_the_process_was_stopped() {
        let gate = gate_last_ticked(PAUSE + 1);
        let (served, ()) = tokio::join!(gate.wait(), async {
            gate.paused().await;
            assert!(!gate.is_in_step());
            gate.open();
        });
        assert!(served);
        assert_eq!(gate.pauses(), 1);
    }

    #[test]
    fn gate_tells_a_pause_that_may_have_cost_purges_from_one_while_alone() {
        for (alone, behind) in [(false, true), (true, false)] {
            let gate = gate_last_ticked(0);
            if alone {
                gate.lose();
            }
            gate.tick.store(gate.elapsed() - PAUSE - 1, Ordering::Release);
            gate.notice_pause();
            assert_eq!(gate.behind_for().is_some(), behind);
            gate.open();
            assert_eq!(gate.behind_for(), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn gate_waits_no_longer_than_its_bound() {
        let gate = Gate::new(false);
        let began = Instant::now();
        assert!(!gate.wait().await);
        assert_eq!(began.elapsed(), WAIT);
    }

    #[tokio::test]
    async fn gate_of_a_lost_sequence_is_open_unless_strict() {
        for strict in [false, true] {
            let gate = Gate::new(strict);
            gate.lose();
            assert_eq!(gate.is_open(), !strict);
            assert_eq!(gate.wait().await, !strict);
            assert!(!gate.is_in_step());
        }
    }
}
