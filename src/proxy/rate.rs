//! Requests over time, counted by key, in bounded memory.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter as Governor};
use http::header::HeaderName;

use super::denial::Denial;
use super::front::network_of;
use super::refusal::Refusal;
use crate::config::settings::RateLimit;

/// Keys that are told apart. A crowd beyond shares its places: better to slow some of it than to grow without end.
const MAX_KEYS: u64 = 100_000;

/// After so many requests, keys that have been quiet are forgotten.
const SWEEP: u64 = 8192;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// What counts as one, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u64);

/// A bound of requests over time, for each key.
pub(super) struct RateLimiter {
    limit: RateLimit,
    governor: Governor<u64, DashMapStateStore<u64>, MonotonicClock, NoOpMiddleware<std::time::Instant>>,
    clock: MonotonicClock,
    requests: AtomicU64,
    crowded: AtomicBool,
}

/// The key of an address.
pub(super) fn address_key(address: IpAddr) -> Key {
    key_of(&(0u8, network_of(address)))
}

/// The key of a value, told from addresses.
pub(super) fn value_key(value: &[u8]) -> Key {
    key_of(&(1u8, value))
}

/// Everybody's.
pub(super) fn common_key() -> Key {
    Key(0)
}

fn key_of(value: &impl Hash) -> Key {
    // Random for each process: nobody can look for values that collide.
    static HASHER: std::sync::LazyLock<RandomState> = std::sync::LazyLock::new(RandomState::new);
    Key(HASHER.hash_one(value))
}

impl RateLimiter {
    /// Nothing counted yet.
    pub(super) fn new(limit: RateLimit) -> Self {
        // Faster than one a nanosecond is no bound that could be kept.
        let each = (limit.per / limit.count.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(each).unwrap_or_else(|| Quota::per_second(NonZeroU32::MAX));
        let clock = MonotonicClock;
        RateLimiter {
            limit,
            governor: Governor::new(quota.allow_burst(limit.burst), DashMapStateStore::default(), clock.clone()),
            clock,
            requests: AtomicU64::new(0),
            crowded: AtomicBool::new(false),
        }
    }

    /// What it was made from.
    pub(super) fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Counts a request, unless it is one too many.
    pub(super) fn check(&self, Key(key): Key) -> Result<(), Box<Denial>> {
        if self.requests.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            self.sweep();
        }
        let key = if self.crowded.load(Ordering::Relaxed) { key % MAX_KEYS } else { key };
        self.governor.check_key(&key).map_err(|until| {
            let wait = until.wait_time_from(self.clock.now());
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let RateLimit { count, per, burst } = self.limit;
            // draft-ietf-httpapi-ratelimit-headers: the quota, its window, what is left and when there is more.
            let policy = format!("\"default\";q={count};w={};burst={burst}", per.as_secs());
            Denial::of(Refusal::RateLimited)
                .retry_after(seconds.max(1))
                .with(POLICY, &policy)
                .with(STATE, &format!("\"default\";r=0;t={}", seconds.max(1)))
        })
    }

    fn sweep(&self) {
        if self.governor.len() as u64 > MAX_KEYS / 2 {
            self.governor.retain_recent();
            self.governor.shrink_to_fit();
        }
        self.crowded.store(self.governor.len() as u64 > MAX_KEYS, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimiter").field("limit", &self.limit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(count: u32, per: u64, burst: u32) -> RateLimiter {
        let number = |number| NonZeroU32::new(number).unwrap();
        RateLimiter::new(RateLimit { count: number(count), per: Duration::from_secs(per), burst: number(burst) })
    }

    #[test]
    fn burst_passes_and_what_follows_is_told_when_to_come_back() {
        let limiter = limiter(6, 3600, 3);
        let key = value_key(b"a");
        for _ in 0..3 {
            assert!(limiter.check(key).is_ok());
        }
        let denial = limiter.check(key).unwrap_err();
        let headers = denial.response.headers();
        assert_eq!(denial.response.status(), 429);
        let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((590..=600).contains(&wait), "{wait}");
        assert_eq!(headers["ratelimit-policy"], "\"default\";q=6;w=3600;burst=3");
        assert!(headers["ratelimit"].to_str().unwrap().starts_with("\"default\";r=0;t="));
        assert!(limiter.check(value_key(b"b")).is_ok(), "another key");
        assert!(limiter.check(common_key()).is_ok());
    }

    #[test]
    fn keys_are_bounded_in_number() {
        let limiter = limiter(1, 3600, 1);
        for number in 0..3 * MAX_KEYS {
            let _ = limiter.check(value_key(&number.to_be_bytes()));
        }
        limiter.sweep();
        let kept = limiter.governor.len() as u64;
        assert!(kept <= 2 * MAX_KEYS + SWEEP, "{kept}");
    }

    #[test]
    fn any_rate_has_a_bound() {
        for (count, per) in [(u32::MAX, 1), (1, 3600), (1_000_000, 1)] {
            assert!(limiter(count, per, 1).check(common_key()).is_ok());
        }
    }
}
