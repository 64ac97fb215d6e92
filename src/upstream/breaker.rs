//! The circuit breaker of an upstream: when most requests fail, the next ones are not even tried for a while; then one
//! tries, and its outcome decides.

use parking_lot::Mutex;
use tokio::time::Instant;

use super::error::{UpstreamError, UpstreamErrorKind};
use crate::config::settings;

/// A breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    upstream: String,
    rules: settings::Breaker,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Requests go through and are counted.
    Closed { since: Instant, requests: u32, failures: u32 },
    /// None does until then.
    Open { until: Instant },
    /// One does, and is waited for.
    Trial,
}

/// The right to ask the upstream once. Given up without an outcome, it tells nothing.
pub(super) struct Admission<'a> {
    breaker: &'a Breaker,
    trial: bool,
    settled: bool,
}

impl Breaker {
    /// As the settings want it; `None`: not at all.
    pub(super) fn new(settings: &settings::Upstream) -> Option<Self> {
        let rules = settings.breaker.clone();
        let state = State::Closed { since: Instant::now(), requests: 0, failures: 0 };
        rules.enabled.then(|| Breaker { upstream: settings.name.clone(), rules, state: Mutex::new(state) })
    }

    /// Lets a request through, or fails it at once.
    pub(super) fn admit(&self) -> Result<Admission<'_>, UpstreamError> {
        let mut state = self.state.lock();
        let trial = match *state {
            State::Closed { .. } => false,
            State::Open { until } if Instant::now() >= until => {
                *state = State::Trial;
                true
            }
            State::Open { .. } | State::Trial => return Err(UpstreamError::new(UpstreamErrorKind::BreakerOpen)),
        };
        Ok(Admission { breaker: self, trial, settled: false })
    }

    /// The word for its state.
    pub(super) fn word(&self) -> &'static str {
        match *self.state.lock() {
            State::Closed { .. } => "closed",
            State::Open { .. } => "open",
            State::Trial => "trial",
        }
    }

    fn settle(&self, trial: bool, failed: bool) {
        let now = Instant::now();
        let mut state = self.state.lock();
        match &mut *state {
            State::Closed { since, requests, failures } => {
                if now.duration_since(*since) >= self.rules.window {
                    (*since, *requests, *failures) = (now, 0, 0);
                }
                *requests = requests.saturating_add(1);
                *failures = failures.saturating_add(u32::from(failed));
                let share = u64::from(*failures) * 100 / u64::from(*requests);
                if failed && *requests >= self.rules.min_requests && share >= u64::from(self.rules.failure_percent) {
                    tracing::warn!(
                        upstream = self.upstream, requests, failures, time = ?self.rules.open, "circuit breaker opened"
                    );
                    *state = State::Open { until: now + self.rules.open };
                }
            }
            State::Trial if trial && failed => *state = State::Open { until: now + self.rules.open },
            State::Trial if trial => {
                tracing::info!(upstream = self.upstream, "circuit breaker closed");
                *state = State::Closed { since: now, requests: 0, failures: 0 };
            }
            // Requests that began before it opened.
            State::Open { .. } | State::Trial => {}
        }
    }
}

impl Admission<'_> {
    /// How the exchange went.
    pub(super) fn settle(mut self, failed: bool) {
        self.settled = true;
        self.breaker.settle(self.trial, failed);
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if self.trial && !self.settled {
            // The client has left: the next request tries.
            *self.breaker.state.lock() = State::Open { until: Instant::now() };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    fn breaker() -> Breaker {
        let mut settings = settings::Upstream::usual("app", Vec::new());
        settings.breaker.enabled = true;
        settings.breaker.min_requests = 4;
        Breaker::new(&settings).unwrap()
    }

    fn run(breaker: &Breaker, outcomes: &[bool]) {
        outcomes.iter().for_each(|failed| breaker.admit().unwrap().settle(*failed));
    }

    #[tokio::test(start_paused = true)]
    async fn most_failures_open_it_and_one_good_trial_closes_it() {
        let breaker = breaker();
        run(&breaker, &[true, true, false]);
        assert_eq!(breaker.word(), "closed", "too few requests");
        run(&breaker, &[true]);
        assert_eq!(breaker.admit().err().unwrap().kind, UpstreamErrorKind::BreakerOpen);
        advance(Duration::from_secs(5)).await;
        let trial = breaker.admit().unwrap();
        assert!(breaker.admit().is_err(), "one at a time");
        trial.settle(true);
        assert!(breaker.admit().is_err());
        advance(Duration::from_secs(5)).await;
        drop(breaker.admit().unwrap());
        run(&breaker, &[false]);
        assert_eq!(breaker.word(), "closed");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_long_ago_do_not_count() {
        let breaker = breaker();
        run(&breaker, &[true, true, true]);
        advance(Duration::from_secs(10)).await;
        run(&breaker, &[true, true, true]);
        assert_eq!(breaker.word(), "closed");
    }
}
