//! A request's body that is held until all of it has come, so that a client that sends slowly keeps no connection to a
//! server waiting. It can be sent again.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, timeout_at};

use super::error::{UpstreamError, UpstreamErrorKind};
use super::request_body::{ClientBody, RequestBody, Upload};

/// Bytes of all bodies that a process holds at a time, whoever sends them. Beyond it they are streamed.
const MOST_TOGETHER: usize = 128 << 20;

/// A client has to bring so many bytes, or the end, within its idle time-out: one byte now and then holds nothing.
const MIN_PROGRESS: usize = 256;

static TOGETHER: AtomicUsize = AtomicUsize::new(0);

/// A body that is there.
#[derive(Clone, Debug)]
pub struct HeldBody {
    content: Option<Bytes>,
    trailers: Option<HeaderMap>,
    upload: Arc<Upload>,
    _room: Arc<Room>,
}

/// What a body takes of [`MOST_TOGETHER`].
#[derive(Debug, Default)]
pub(super) struct Room(usize);

impl Room {
    /// Takes more; false when there is not as much left.
    fn grow(&mut self, bytes: usize) -> bool {
        self.0 += bytes;
        TOGETHER.fetch_add(bytes, Relaxed) + bytes <= MOST_TOGETHER
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        TOGETHER.fetch_sub(self.0, Relaxed);
    }
}

impl RequestBody {
    /// Waits for all of the body, or for `most` bytes of it: the rest of a larger one is streamed behind them.
    ///
    /// # Errors
    /// The client's: it left, paused for too long, or sends more than the route allows.
    pub async fn held(self, most: usize) -> Result<RequestBody, UpstreamError> {
        if self.is_too_large() {
            return Err(UpstreamError::new(UpstreamErrorKind::RequestTooLarge));
        }
        let RequestBody::Client(mut body) = self else { return Ok(self) };
        let (mut content, mut trailers, mut room) = (BytesMut::new(), None, Room::default());
        let (patience, mut lap, mut fits) = (body.idle_span(), (Instant::now(), 0), true);
        while fits && content.len() < most {
            if content.len() - lap.1 >= MIN_PROGRESS {
                lap = (Instant::now(), content.len());
            }
            let coming = timeout_at(lap.0 + patience, poll_fn(|cx| body.poll_frame(cx)));
            let too_slow = |_| UpstreamError::new(UpstreamErrorKind::RequestBodyTimeout);
            let frame = match coming.await.map_err(too_slow)? {
                Some(frame) => frame.map_err(|error| UpstreamError::new(error.kind()))?,
                None => return Ok(whole(content.freeze(), trailers, &body, room)),
            };
            match frame.into_data() {
                // Copied: many small pieces would keep many times their size in hyper's buffers.
                Ok(data) => {
                    fits = room.grow(data.len());
                    content.extend_from_slice(&data);
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
            if body.has_ended() {
                return Ok(whole(content.freeze(), trailers, &body, room));
            }
        }
        if !content.is_empty() {
            body.ahead = Some((content.freeze(), room));
        }
        Ok(RequestBody::Client(body))
    }
}

fn whole(content: Bytes, trailers: Option<HeaderMap>, body: &ClientBody, room: Room) -> RequestBody {
    if content.is_empty() && trailers.is_none() {
        return RequestBody::Empty;
    }
    let content = Some(content).filter(|content| !content.is_empty());
    RequestBody::Held(Box::new(HeldBody { content, trailers, upload: body.upload.clone(), _room: Arc::new(room) }))
}

impl HeldBody {
    pub(super) fn next_frame(&mut self) -> Option<Frame<Bytes>> {
        let frame = match self.content.take() {
            Some(content) => Some(Frame::data(content)),
            None => self.trailers.take().map(Frame::trailers),
        };
        self.upload.advanced();
        frame
    }

    /// The content was taken, and not sent.
    pub(super) fn put_back(&mut self, content: Bytes) {
        self.content = Some(content);
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.content.is_none() && self.trailers.is_none()
    }

    /// Its length, for framing by Content-Length; only chunked framing has room for trailers.
    pub(super) fn size(&self) -> SizeHint {
        let length = self.content.as_ref().map_or(0, |content| content.len() as u64);
        if self.trailers.is_none() {
            return SizeHint::with_exact(length);
        }
        let mut hint = SizeHint::new();
        hint.set_lower(length);
        hint
    }

    pub(super) fn upload(&self) -> &Arc<Upload> {
        &self.upload
    }
}

impl ClientBody {
    fn idle_span(&self) -> Duration {
        self.idle.span
    }

    fn has_ended(&self) -> bool {
        self.incoming.is_end_stream()
    }
}
