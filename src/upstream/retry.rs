//! How many requests may be sent again: a share of all, so that servers in trouble do not get more work than usual.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Retries that there always are within a window.
const RESERVE: usize = 10;
const WINDOW: Duration = Duration::from_secs(10);

/// The budget of one upstream.
#[derive(Debug)]
pub(super) struct RetryBudget {
    percent: usize,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    /// Requests that there had been when it began.
    requests: usize,
    used: usize,
}

impl RetryBudget {
    /// Of `percent` of the requests.
    pub(super) fn new(percent: u32) -> Self {
        let window = Window { began: Instant::now(), requests: 0, used: 0 };
        RetryBudget { percent: percent as usize, window: Mutex::new(window) }
    }

    /// Takes one retry; false when there is none left. `requests` counts all since the start. Requests cost nothing
    /// here: only those that fail come by.
    pub(super) fn take(&self, requests: usize) -> bool {
        let mut window = self.window.lock();
        let now = Instant::now();
        if now.duration_since(window.began) >= WINDOW {
            *window = Window { began: now, requests, used: 0 };
        }
        let most = RESERVE + requests.wrapping_sub(window.requests).saturating_mul(self.percent) / 100;
        let left = window.used < most;
        window.used += usize::from(left);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn budget_is_a_share_of_recent_requests() {
        let budget = RetryBudget::new(20);
        let taken = |requests| (0..1000).filter(|_| budget.take(requests)).count();
        assert_eq!(taken(0), 10);
        assert_eq!(taken(100), 20);
        tokio::time::advance(WINDOW).await;
        assert_eq!(taken(100), 10, "those of before count no more");
        assert_eq!(taken(150), 10);
    }
}
