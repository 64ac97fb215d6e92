//! The only place that reads wall time. Everything else is handed a [`Timestamp`].

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::policy::time::Timestamp;

/// Tells the time: the system's, or one that a test advances by hand.
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
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Clock(Source::System { wall: read_wall(), started: Instant::now() })
    }

    /// A clock that stands still until [`ManualClock::advance`] is called.
    pub fn manual(start: Timestamp) -> (Self, ManualClock) {
        let millis = Arc::new(AtomicI64::new(start.as_millis()));
        (Clock(Source::Manual(millis.clone())), ManualClock(millis))
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System { wall, started } => *wall + started.elapsed(),
            Source::Manual(millis) => Timestamp::from_millis(millis.load(Ordering::Relaxed)),
        }
    }
}

/// The hand that moves a manual clock.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// Moves time forward.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that may")]
fn read_wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
