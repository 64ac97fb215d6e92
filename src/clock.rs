//! The only place that reads wall time. Everything else is handed a [`Timestamp`].

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::policy::dates;
use crate::policy::time::{Times, Timestamp};

/// Tells the time: the system's, or one that a test advances by hand.
///
/// Two readings: [`Clock::now`], by which stored responses age, never jumps; [`Clock::wall`], with which the dates of
/// others are compared, follows whoever sets the machine's clock.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// Wall time read once, then carried forward by the monotonic clock, so that a wall clock that jumps neither
    /// expires everything at once nor makes ages negative.
    System {
        wall: Timestamp,
        started: Instant,
    },
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    now: AtomicI64,
    /// How far the wall clock is ahead of it.
    wall_ahead: AtomicI64,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Clock(Source::System { wall: read_wall(), started: Instant::now() })
    }

    /// A clock that stands still until [`ManualClock::advance`] is called.
    pub fn manual(start: Timestamp) -> (Self, ManualClock) {
        let manual = Arc::new(Manual { now: AtomicI64::new(start.as_millis()), wall_ahead: AtomicI64::new(0) });
        (Clock(Source::Manual(manual.clone())), ManualClock(manual))
    }

    /// The present moment, as time has passed since the start.
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// The same for a moment that was just taken.
    pub fn at(&self, moment: Instant) -> Timestamp {
        match &self.0 {
            Source::System { wall, started } => *wall + moment.saturating_duration_since(*started),
            Source::Manual(manual) => Timestamp::from_millis(manual.now.load(Ordering::Relaxed)),
        }
    }

    /// The times of an exchange whose request was sent at `request`, and the head of whose response came at a moment
    /// that was just taken.
    pub fn times_since(&self, request: Timestamp, came: Instant) -> Times {
        Times { request, response: self.at(came), wall: self.wall() }
    }

    /// The present moment by the machine's wall clock, as the value of a Date field (RFC 9110 §6.6.1).
    pub fn http_date(&self) -> [u8; dates::LENGTH] {
        dates::text(self.wall())
    }

    /// The present moment by the machine's wall clock.
    pub fn wall(&self) -> Timestamp {
        match &self.0 {
            Source::System { .. } => read_wall(),
            Source::Manual(manual) => {
                Timestamp::from_millis(manual.now.load(Ordering::Relaxed) + manual.wall_ahead.load(Ordering::Relaxed))
            }
        }
    }
}

/// The hand that moves a manual clock.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Manual>);

impl ManualClock {
    /// Moves time forward.
    pub fn advance(&self, span: Duration) {
        self.0.now.fetch_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Sets the wall clock by so many seconds, forward or back, without any time passing.
    pub fn step_wall(&self, seconds: i64) {
        self.0.wall_ahead.fetch_add(seconds.saturating_mul(1000), Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that may")]
fn read_wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
