//! A response sent no faster than a route allows.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until};

/// How often a second bytes are let go: small steps look like a slow line, not like a stuttering one.
const STEPS: u64 = 10;

/// The pace of one response.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes a second.
    rate: u64,
    /// When the next bytes may go.
    due: Pin<Box<Sleep>>,
    /// Of a piece that was too large for one step.
    rest: Bytes,
}

impl Pace {
    /// So many bytes a second.
    pub(super) fn new(rate: u64) -> Box<Self> {
        Box::new(Pace { rate: rate.max(1), due: Box::pin(sleep_until(Instant::now())), rest: Bytes::new() })
    }

    /// Whether there are bytes that only wait for their time.
    pub(super) fn holds(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Bytes that only wait for their time.
    pub(super) fn held(&self) -> u64 {
        self.rest.len() as u64
    }

    /// The next frame of `source` when its time has come.
    pub(super) fn poll<E>(
        &mut self,
        cx: &mut Context<'_>,
        source: impl FnOnce(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        ready!(self.due.as_mut().poll(cx));
        if self.rest.is_empty() {
            match ready!(source(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let step = usize::try_from((self.rate / STEPS).max(1)).unwrap_or(usize::MAX);
        let piece = self.rest.split_to(self.rest.len().min(step));
        let takes = Duration::from_secs_f64(piece.len() as f64 / self.rate as f64);
        // Time lost by a slow client or upstream is not made up for: that would be a burst.
        let from = self.due.deadline().max(Instant::now());
        self.due.as_mut().reset(from + takes);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}
