//! A response that came ahead of the end of its request. A task of its own runs the exchange, so that the rest of the
//! request is sent also while nobody takes the response: there are clients that read nothing before they have sent all.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

use super::error::{UpstreamError, UpstreamErrorKind};
use super::response_body::UpstreamBody;

type Piece = Result<Frame<Bytes>, UpstreamError>;

/// What the task brings.
#[derive(Debug)]
pub(super) struct Beside {
    /// `None` is the end.
    pieces: mpsc::Receiver<Option<Piece>>,
    /// Bytes still to come, where that is known.
    left: Option<u64>,
    over: bool,
}

impl Beside {
    /// Has a task read the body, a piece ahead of whoever reads it here. Dropping this ends it.
    pub(super) fn begin(body: UpstreamBody) -> Self {
        let left = body.size_hint().exact();
        let (sender, pieces) = mpsc::channel(1);
        tokio::spawn(async move {
            tokio::select! {
                () = run(body, &sender) => {}
                () = sender.closed() => {}
            }
        });
        Beside { pieces, left, over: false }
    }

    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        if self.over {
            return Poll::Ready(None);
        }
        let piece = ready!(self.pieces.poll_recv(cx)).unwrap_or_else(|| {
            let why = "the task that reads it is gone";
            Some(Err(UpstreamError::because(UpstreamErrorKind::Reset, why)))
        });
        self.over = !matches!(piece, Some(Ok(_)));
        if let (Some(left), Some(Ok(frame))) = (&mut self.left, &piece) {
            *left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        Poll::Ready(piece)
    }

    /// Whether nothing more comes.
    pub(super) fn is_over(&self) -> bool {
        self.over || self.left == Some(0)
    }

    /// Bytes still to come, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.left
    }
}

/// Reads a body to its end, and goes on sending the request meanwhile.
async fn run(mut body: UpstreamBody, sender: &mpsc::Sender<Option<Piece>>) {
    loop {
        let mut room = pin!(sender.reserve());
        let mut failed = None;
        let room = poll_fn(|cx| {
            failed = failed.take().or_else(|| body.send_on(cx));
            room.as_mut().poll(cx)
        });
        let Ok(room) = room.await else { return };
        let piece = match failed {
            Some(error) => Some(Err(error)),
            None => poll_fn(|cx| body.poll_incoming(cx)).await,
        };
        let goes_on = matches!(piece, Some(Ok(_)));
        room.send(piece);
        if !goes_on {
            return;
        }
    }
}
