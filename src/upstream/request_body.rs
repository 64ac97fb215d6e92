//! The body of a request on its way from the client to an upstream's server.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::error::UpstreamErrorKind;
use super::held_body::{HeldBody, Room};
use super::idle_timer::IdleTimer;
use crate::policy::trailers;

/// The body of a request to an upstream: one concrete type.
#[derive(Debug)]
pub enum RequestBody {
    /// No bytes: the request may be sent again when its method allows.
    Empty,
    /// All of it is there: the same holds.
    Held(Box<HeldBody>),
    /// Streamed from the client: it can be sent once. Both boxed: requests are moved some twenty times on their way to
    /// the upstream, and hardly any has a body.
    Client(Box<ClientBody>),
    /// It was streamed from the client.
    Taken,
}

/// A client's body, counted and watched while it streams.
#[derive(Debug)]
pub struct ClientBody {
    /// What was held of it, to go first.
    pub(super) ahead: Option<(Bytes, Room)>,
    pub(super) incoming: Incoming,
    /// Only the end of its stream ends it: hyper tells a reset without an error, too, as the end.
    ends_with_stream: bool,
    trailers: TrailerFilter,
    remaining: u64,
    pub(super) idle: IdleTimer,
    pub(super) upload: Arc<Upload>,
}

/// Takes out of trailers what the client may not say to the upstream, beside what [may never](trailers::keep_allowed)
/// stand there.
pub struct TrailerFilter(pub Box<dyn Fn(&mut HeaderMap) + Send + Sync>);

impl fmt::Debug for TrailerFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrailerFilter")
    }
}

/// Why the client's body ended early.
#[derive(Debug)]
pub struct RequestBodyError(UpstreamErrorKind);

impl RequestBody {
    /// The client's body, which came by this version of HTTP, of at most `limit` bytes, with at most `idle` between two
    /// frames.
    pub fn client(incoming: Incoming, version: Version, trailers: TrailerFilter, limit: u64, idle: Duration) -> Self {
        if incoming.is_end_stream() {
            return RequestBody::Empty;
        }
        RequestBody::Client(Box::new(ClientBody {
            ahead: None,
            incoming,
            ends_with_stream: version == Version::HTTP_2,
            trailers,
            remaining: limit,
            idle: IdleTimer::new(idle),
            upload: Arc::new(Upload::new(idle)),
        }))
    }

    /// Whether its announced length is over the limit already.
    pub(super) fn is_too_large(&self) -> bool {
        match self {
            RequestBody::Empty | RequestBody::Taken | RequestBody::Held(_) => false,
            RequestBody::Client(body) => body.incoming.size_hint().lower() > body.remaining,
        }
    }

    /// Waits for the end of content that is announced to be empty. If there is some all the same, the request is
    /// malformed and goes no further (RFC 9113 §8.1.1).
    pub(super) async fn settle(&mut self) -> Result<(), UpstreamErrorKind> {
        let RequestBody::Client(body) = self else { return Ok(()) };
        if body.incoming.size_hint().exact() != Some(0) {
            return Ok(());
        }
        while let Some(frame) = poll_fn(|cx| body.poll_frame(cx)).await {
            let frame = frame.map_err(|RequestBodyError(kind)| kind)?;
            if frame.data_ref().is_some_and(|data| !data.is_empty()) {
                return Err(UpstreamErrorKind::RequestBody);
            }
        }
        *self = RequestBody::Empty;
        Ok(())
    }

    /// Counts its bytes as they come; `None`: there are none to come.
    pub fn meter(&self) -> Option<Meter> {
        self.upload().map(Meter)
    }

    /// How far it has got; `None`: there is nothing to send.
    pub(super) fn upload(&self) -> Option<Arc<Upload>> {
        match self {
            RequestBody::Empty | RequestBody::Taken => None,
            RequestBody::Held(body) => Some(body.upload().clone()),
            RequestBody::Client(body) => Some(body.upload.clone()),
        }
    }

    /// Takes back the piece that was taken last; false: it can't.
    pub(super) fn put_back(&mut self, data: Bytes) -> bool {
        match self {
            RequestBody::Empty | RequestBody::Taken => return false,
            RequestBody::Held(body) => body.put_back(data),
            // It has been counted.
            RequestBody::Client(body) => body.ahead = Some((data, Room::default())),
        }
        true
    }

    /// The body, to be sent. What can be sent again stays as well; of any other it is left that it [was
    /// taken](Self::is_whole).
    pub(super) fn take(&mut self) -> RequestBody {
        match self {
            RequestBody::Empty => RequestBody::Empty,
            RequestBody::Held(body) => RequestBody::Held(body.clone()),
            RequestBody::Client(_) | RequestBody::Taken => std::mem::replace(self, RequestBody::Taken),
        }
    }

    /// Whether it is there to be sent.
    pub(super) fn is_whole(&self) -> bool {
        !matches!(self, RequestBody::Taken)
    }
}

impl ClientBody {
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        if let Some((ahead, _)) = self.ahead.take() {
            self.upload.advanced();
            return Poll::Ready(Some(Ok(Frame::data(ahead))));
        }
        let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                self.upload.waits_for_client();
                ready!(self.idle.poll_expired(cx));
                return Poll::Ready(Some(Err(self.upload.failed(UpstreamErrorKind::RequestBodyTimeout))));
            }
        };
        self.idle.stop();
        let result = match frame {
            None if self.ends_with_stream && !self.incoming.is_end_stream() => {
                Some(Err(self.upload.failed(UpstreamErrorKind::RequestBody)))
            }
            None => None,
            Some(Err(_)) => Some(Err(self.upload.failed(UpstreamErrorKind::RequestBody))),
            Some(Ok(mut frame)) => {
                if let Some(fields) = frame.trailers_mut() {
                    trailers::keep_allowed(fields);
                    (self.trailers.0)(fields);
                }
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                match self.remaining.checked_sub(length) {
                    Some(remaining) => {
                        self.remaining = remaining;
                        self.upload.state.lock().bytes += length;
                        Some(Ok(frame))
                    }
                    None => Some(Err(self.upload.failed(UpstreamErrorKind::RequestTooLarge))),
                }
            }
        };
        self.upload.advanced();
        Poll::Ready(result)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        match &mut *self {
            RequestBody::Empty | RequestBody::Taken => Poll::Ready(None),
            RequestBody::Held(body) => Poll::Ready(body.next_frame().map(Ok)),
            RequestBody::Client(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty | RequestBody::Taken => true,
            RequestBody::Held(body) => body.is_at_end(),
            RequestBody::Client(body) => body.ahead.is_none() && body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty | RequestBody::Taken => SizeHint::with_exact(0),
            RequestBody::Held(body) => body.size(),
            RequestBody::Client(body) => {
                let (mut hint, ahead) = (body.incoming.size_hint(), &body.ahead);
                let ahead = ahead.as_ref().map_or(0, |(ahead, _)| ahead.len() as u64);
                // First the upper bound: a lower one above it would not do for a moment, either.
                if let Some(upper) = hint.upper() {
                    hint.set_upper(upper.saturating_add(ahead));
                }
                hint.set_lower(hint.lower().saturating_add(ahead));
                hint
            }
        }
    }
}

/// How far the sending of a body has got: written by the body as it is taken, read by the exchange that waits for the
/// response.
#[derive(Debug)]
pub(super) struct Upload {
    client_idle: Duration,
    state: Mutex<UploadState>,
}

/// Tells how many bytes of a request's body have come so far.
#[derive(Clone, Debug)]
pub struct Meter(Arc<Upload>);

impl Meter {
    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.0.state.lock().bytes
    }
}

#[derive(Debug)]
struct UploadState {
    last_progress: Instant,
    bytes: u64,
    waits_for_client: bool,
    failure: Option<UpstreamErrorKind>,
}

impl Upload {
    fn new(client_idle: Duration) -> Self {
        let last_progress = Instant::now();
        let state = UploadState { last_progress, bytes: 0, waits_for_client: false, failure: None };
        Upload { client_idle, state: Mutex::new(state) }
    }

    fn waits_for_client(&self) {
        self.state.lock().waits_for_client = true;
    }

    /// It is sent, perhaps not for the first time.
    pub(super) fn begin(&self) {
        self.state.lock().last_progress = Instant::now();
    }

    pub(super) fn advanced(&self) {
        let mut state = self.state.lock();
        state.last_progress = Instant::now();
        state.waits_for_client = false;
    }

    fn failed(&self, kind: UpstreamErrorKind) -> RequestBodyError {
        self.state.lock().failure.get_or_insert(kind);
        RequestBodyError(kind)
    }

    /// From when on the server is to blame for silence: the last progress, or, while the client is waited for, now,
    /// up to the client's own deadline.
    pub(super) fn waiting_since(&self) -> Instant {
        let state = self.state.lock();
        if state.waits_for_client {
            Instant::now().min(state.last_progress + self.client_idle)
        } else {
            state.last_progress
        }
    }

    /// Why it ended early, when it did.
    pub(super) fn failure(&self) -> Option<UpstreamErrorKind> {
        self.state.lock().failure
    }
}

impl RequestBodyError {
    pub(super) fn kind(&self) -> UpstreamErrorKind {
        self.0
    }
}

impl fmt::Display for RequestBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.word())
    }
}

impl std::error::Error for RequestBodyError {}
