//! Points in time as the policy sees them: numbers handed in, never read from a clock.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::Add;
use std::time::Duration;

/// A wall-clock instant: milliseconds since the Unix epoch. Range: any `i64` but the least, which becomes the next.
///
/// RFC 9111 computes in whole seconds; milliseconds are kept so that `response_delay` (§4.2.3) is not lost to
/// rounding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(
    /// With the sign's bit turned, which orders them as the milliseconds. Never zero, so that a time which may be
    /// missing takes no more room: every stored response has two.
    NonZeroU64,
);

const SIGN: u64 = 1 << 63;

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        match NonZeroU64::new(millis as u64 ^ SIGN) {
            Some(turned) => Timestamp(turned),
            None => Timestamp(NonZeroU64::MIN),
        }
    }

    /// From whole seconds since the Unix epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Timestamp::from_millis(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        (self.0.get() ^ SIGN) as i64
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.as_millis().div_euclid(1000)
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.as_millis().saturating_sub(earlier.as_millis()).max(0) as u64)
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        Timestamp::from_millis(0)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timestamp").field(&self.as_millis()).finish()
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
        Timestamp::from_millis(self.as_millis().saturating_add(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_keep_their_milliseconds_and_order() {
        let all = [i64::MIN + 1, -1001, -1, 0, 1, 999, 1_700_000_000_000, i64::MAX].map(Timestamp::from_millis);
        assert!(all.is_sorted_by(|earlier, later| earlier < later));
        assert!(all.iter().all(|time| Timestamp::from_millis(time.as_millis()) == *time));
        assert_eq!(Timestamp::from_millis(i64::MIN), all[0]);
        assert_eq!((Timestamp::default().as_millis(), all[1].as_secs()), (0, -2));
        assert_eq!(size_of::<Option<Timestamp>>(), size_of::<Timestamp>());
    }
}
