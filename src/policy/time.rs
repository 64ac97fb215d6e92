//! Points in time as the policy sees them: numbers handed in, never read from a clock.

use std::ops::Add;
use std::time::Duration;

/// A wall-clock instant: milliseconds since the Unix epoch. Range: any `i64`.
///
/// RFC 9111 computes in whole seconds; milliseconds are kept so that `response_delay` (§4.2.3) is not lost to
/// rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis)
    }

    /// From whole seconds since the Unix epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Timestamp(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0) as u64)
    }
}

/// When a request was sent, and when the head of its response came (RFC 9111 §4.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// `request_time`
    pub request: Timestamp,
    /// `response_time`
    pub response: Timestamp,
    /// The same by the wall clock, which may have been set meanwhile: what the upstream's Date is compared with.
    pub wall: Timestamp,
}

impl Times {
    /// An exchange that took no time.
    pub const fn at(moment: Timestamp) -> Self {
        Times { request: moment, response: moment, wall: moment }
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: Duration) -> Timestamp {
        // Without the 128 bits that `as_millis` takes.
        let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        let millis = seconds.saturating_mul(1000).saturating_add(i64::from(span.subsec_millis()));
        Timestamp(self.0.saturating_add(millis))
    }
}
