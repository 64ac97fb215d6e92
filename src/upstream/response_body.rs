//! The body of a response on its way from an upstream's server: it holds the connection until it has ended.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::beside::Beside;
use super::error::{UpstreamError, UpstreamErrorKind};
use super::framing::Framing;
use super::http1::{self, Tunnel};
use super::idle_timer::IdleTimer;
use super::lease::Lease;
use super::request_body::Upload;
use crate::policy::trailers;

/// What brings a body.
#[derive(Debug)]
pub(super) enum Content {
    Http1(http1::Body),
    Http2(hyper::body::Incoming),
    /// A task that sends the rest of the request meanwhile.
    Beside(Box<Beside>),
}

/// How long a body may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// Longest pause.
    pub(super) idle: Duration,
    /// When all of it must have come.
    pub(super) end: Option<Instant>,
}

/// The body of an upstream's response. Its clean end gives the connection back to the pool; an error, or dropping it
/// early, closes the connection. A body cut short ends in an error.
pub struct UpstreamBody {
    /// What was taken in before anybody read it; comes first.
    early: VecDeque<Result<Frame<Bytes>, UpstreamError>>,
    /// Nothing comes after that.
    early_is_all: bool,
    incoming: Content,
    idle: IdleTimer,
    /// When all of it must have come.
    end: Option<Pin<Box<Sleep>>>,
    /// Until the end.
    lease: Option<Lease>,
    framing: Framing,
    upload: Option<Arc<Upload>>,
    /// The connection, when it has become one.
    tunnel: Option<Box<Tunnel>>,
}

impl Content {
    /// Whether nothing more comes.
    fn is_over(&self) -> bool {
        match self {
            Content::Http1(body) => body.is_over(),
            Content::Http2(body) => body.is_end_stream(),
            Content::Beside(body) => body.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Content::Http1(body) => body.remaining().map_or_else(SizeHint::new, SizeHint::with_exact),
            Content::Http2(body) => body.size_hint(),
            Content::Beside(body) => body.left().map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}

impl UpstreamBody {
    pub(super) fn new(
        incoming: Content,
        deadlines: Deadlines,
        lease: Lease,
        framing: Framing,
        upload: Option<Arc<Upload>>,
    ) -> Self {
        let mut body = UpstreamBody {
            early: VecDeque::new(),
            early_is_all: false,
            incoming,
            idle: IdleTimer::new(deadlines.idle),
            end: deadlines.end.map(|end| Box::pin(sleep_until(end))),
            lease: Some(lease),
            framing,
            upload,
            tunnel: None,
        };
        if body.incoming.is_over() {
            body.ended();
        }
        body
    }

    /// The body of a response whose connection has become a tunnel.
    pub(super) fn of_upgrade(incoming: Content, lease: Lease, framing: Framing) -> Self {
        let early = match incoming {
            Content::Http1(body) => body.into_excess(),
            Content::Http2(_) | Content::Beside(_) => Bytes::new(),
        };
        UpstreamBody {
            early: VecDeque::new(),
            early_is_all: true,
            incoming: Content::Http1(http1::Body::empty()),
            idle: IdleTimer::new(Duration::ZERO),
            end: None,
            lease: None,
            framing,
            upload: None,
            tunnel: lease.into_tunnel(early).map(Box::new),
        }
    }

    /// The same read by a task, where the request is still being sent.
    pub(super) fn beside_upload(self) -> Self {
        if !self.lease.as_ref().is_some_and(Lease::is_sending) {
            return self;
        }
        UpstreamBody {
            early: VecDeque::new(),
            early_is_all: false,
            framing: self.framing,
            // The task has those of the exchange.
            idle: IdleTimer::new(Duration::ZERO),
            end: None,
            lease: None,
            upload: None,
            tunnel: None,
            incoming: Content::Beside(Box::new(Beside::begin(self))),
        }
    }

    /// The stream to the server after a switch of protocols; `None`: there was none, or it has been taken.
    pub fn take_tunnel(&mut self) -> Option<Tunnel> {
        self.tunnel.take().map(|tunnel| *tunnel)
    }

    /// The length in bytes of a body that ends before it has `most` bytes, and soon; what comes meanwhile is kept for
    /// whoever reads it. `None`: it is longer, takes its time, fails, or has trailers.
    pub async fn settle(&mut self, most: u64, patience: Duration) -> Option<u64> {
        let all = timeout(patience, async {
            let mut length = 0;
            while length < most {
                match poll_fn(|cx| self.poll_incoming(cx)).await {
                    None => return Some(length),
                    Some(frame) => {
                        let data = frame.as_ref().ok().and_then(Frame::data_ref).map(|data| data.len() as u64);
                        self.early.push_back(frame);
                        length += data?;
                    }
                }
            }
            None
        });
        let length = all.await.ok().flatten();
        self.early_is_all = length.is_some();
        length
    }

    /// Whether only the end of the connection ends this body, so that a cut in cleartext can't be told from the end
    /// (RFC 9112 §6.3).
    pub fn close_delimited(&self) -> bool {
        self.framing.close_delimited
    }

    /// Nothing more comes, and all that was announced has come.
    fn ended(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.complete();
            // Bytes behind the response would be taken for the next one.
            let has_excess = matches!(&self.incoming, Content::Http1(body) if body.has_excess());
            if self.framing.reusable && !has_excess && lease.has_sent_all() {
                lease.give_back();
            }
        }
    }

    fn failed(&mut self, error: UpstreamError) -> UpstreamError {
        match self.lease.take() {
            Some(lease) => lease.failed(error),
            None => error,
        }
    }

    /// Sends what it can of the rest of the request; why that failed, if it did.
    pub(super) fn send_on(&mut self, cx: &mut Context<'_>) -> Option<UpstreamError> {
        let error = self.lease.as_mut()?.send_on(cx).err()?;
        Some(self.blamed(error))
    }

    /// A failure, which the client may be to blame for.
    fn blamed(&mut self, mut error: UpstreamError) -> UpstreamError {
        let by_client = self.upload.as_ref().and_then(|upload| upload.failure());
        error.kind = by_client.unwrap_or(error.kind);
        self.failed(error)
    }

    pub(super) fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let this = self;
        if this.lease.is_some() && this.end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready()) {
            let error = this.failed(UpstreamError::new(UpstreamErrorKind::TotalTimeout));
            return Poll::Ready(Some(Err(error)));
        }
        let polled = match (&mut this.incoming, &mut this.lease) {
            (Content::Http1(body), Some(lease)) => lease.poll_body(cx, body),
            (Content::Http1(_), None) => Poll::Ready(None),
            (Content::Http2(body), _) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(UpstreamError::from_hyper)))
            }
            (Content::Beside(body), _) => body.poll_piece(cx),
        };
        let frame = match polled {
            Poll::Ready(frame) => frame,
            Poll::Pending if this.lease.is_some() && this.idle.poll_expired(cx).is_ready() => {
                let error = UpstreamError::new(UpstreamErrorKind::IdleTimeout);
                return Poll::Ready(Some(Err(this.failed(error))));
            }
            Poll::Pending => return Poll::Pending,
        };
        this.idle.stop();
        Poll::Ready(match frame {
            Some(Ok(mut frame)) => {
                if let Some(fields) = frame.trailers_mut() {
                    trailers::keep_allowed(fields);
                }
                if this.incoming.is_over() {
                    this.ended();
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => Some(Err(this.blamed(error))),
            // An HTTP/2 stream reset without an error ends the body for hyper, however little has come.
            None if this.lease.is_some() && matches!(&this.incoming, Content::Http2(body) if !body.is_end_stream()) => {
                let error = UpstreamError::because(UpstreamErrorKind::Reset, "the stream was reset");
                Some(Err(this.failed(error)))
            }
            None => {
                this.ended();
                None
            }
        })
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match self.early.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None if self.early_is_all => Poll::Ready(None),
            None => self.poll_incoming(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.early.is_empty() && (self.early_is_all || self.incoming.is_over())
    }

    fn size_hint(&self) -> SizeHint {
        if self.early.is_empty() && !self.early_is_all {
            return self.incoming.size_hint();
        }
        let early = self.early.iter().flatten().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum::<u64>();
        let rest = if self.early_is_all { SizeHint::with_exact(0) } else { self.incoming.size_hint() };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(early));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(early));
        }
        hint
    }
}

impl fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamBody")
            .field("incoming", &self.incoming)
            .field("framing", &self.framing)
            .finish_non_exhaustive()
    }
}
