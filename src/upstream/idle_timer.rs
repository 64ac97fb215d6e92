//! The deadline between two frames of a body.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// Runs while a body is waited for; a body that never makes anybody wait never allocates it.
#[derive(Debug)]
pub(super) struct IdleTimer {
    pub(super) span: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl IdleTimer {
    pub(super) fn new(span: Duration) -> Self {
        IdleTimer { span, sleep: None, running: false }
    }

    /// A frame came: the next wait starts anew.
    pub(super) fn stop(&mut self) {
        self.running = false;
    }

    /// Ready when nothing came for the whole span. The first call of a wait starts it.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let span = self.span;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(span)));
        if !self.running {
            self.running = true;
            sleep.as_mut().reset(Instant::now() + span);
        }
        sleep.as_mut().poll(cx)
    }
}
