//! The body of a response to a client: one concrete type, so that a hit needs no box.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::finish::Finish;
use super::pace::Pace;
use crate::cache::body::{BodyReader, CutBody, Piece};
use crate::content::coded_body::{CodedBody, CodedBodyError};
use crate::upstream::{UpstreamBody, UpstreamError};

/// The body of a response to a client. When it ends, or is dropped, its request is recorded.
#[derive(Debug)]
pub struct Body {
    source: Source,
    /// Why it was cut, which is told at the next poll.
    cut: Option<Box<BodyError>>,
    finish: Option<Box<Finish>>,
    pace: Option<Box<Pace>>,
}

/// Where the bytes come from.
#[derive(Debug)]
pub enum Source {
    /// Nowhere: there are none.
    Empty,
    /// A text of our own.
    Text(Bytes),
    /// A stored response, perhaps still growing; with the bytes still to be sent, where that is known beforehand.
    Stored(BodyReader, Option<u64>),
    /// Several ranges or parts of a stored response, with what stands between them.
    Multipart(Multipart),
    /// The upstream, passed on.
    Upstream(Box<UpstreamBody>),
    /// The upstream, passed on until so many bytes have gone.
    Beginning(Box<UpstreamBody>, u64),
    /// The upstream, coded on the way.
    Coded(Box<CodedBody<UpstreamBody>>),
}

/// The parts of a multipart/byteranges body, or the pieces of a single part.
#[derive(Debug)]
pub struct Multipart {
    /// What is still to be sent, in order.
    pub parts: VecDeque<Part>,
    /// Bytes of all of it.
    pub left: u64,
}

/// One part's head, or its content.
#[derive(Debug)]
pub enum Part {
    /// What stands between contents.
    Text(Bytes),
    /// Content.
    Content(BodyReader),
}

/// Why a response was cut.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The stored response's fill was cut.
    #[error(transparent)]
    Cut(#[from] CutBody),
    /// The upstream failed.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The upstream failed, or the coding did.
    #[error(transparent)]
    Coded(#[from] CodedBodyError<UpstreamError>),
}

impl Body {
    /// A body whose request needs no record.
    pub fn new(source: Source) -> Self {
        Body { source, cut: None, finish: None, pace: None }
    }

    /// No bytes.
    pub fn empty() -> Self {
        Self::new(Source::Empty)
    }

    /// Sends so many bytes a second at most.
    pub(super) fn paced(mut self, rate: u64) -> Self {
        self.pace = Some(Pace::new(rate));
        self
    }

    /// Has its request recorded when it ends.
    pub fn recorded(mut self, mut finish: Box<Finish>) -> Self {
        if self.source.is_end() {
            finish.completed(); // hyper need not ask a body that has nothing
        }
        self.finish = Some(finish);
        self
    }
}

impl Body {
    fn is_end(&self) -> bool {
        self.cut.is_none() && self.source.is_end() && !self.pace.as_ref().is_some_and(|pace| pace.holds())
    }
}

impl Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Source::Empty => Poll::Ready(None),
            Source::Text(_) => match std::mem::replace(self, Source::Empty) {
                Source::Text(bytes) if !bytes.is_empty() => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                _ => Poll::Ready(None),
            },
            Source::Stored(reader, left) => poll_stored(reader, cx).map(|next| {
                let sent = next.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
                *left = left.map(|left| left.saturating_sub(sent as u64));
                next
            }),
            Source::Multipart(multipart) => multipart.poll_frame(cx),
            Source::Upstream(body) => Pin::new(body.as_mut()).poll_frame(cx).map_err(BodyError::from),
            Source::Beginning(body, left) => poll_beginning(body, left, cx),
            Source::Coded(body) => Pin::new(body.as_mut()).poll_frame(cx).map_err(BodyError::from),
        }
    }

    fn is_end(&self) -> bool {
        match self {
            Source::Empty => true,
            Source::Text(bytes) => bytes.is_empty(),
            Source::Stored(reader, _) => reader.is_over(),
            // The end of its last part shows only to who asks for more, which a sender that knows the length does not.
            Source::Multipart(multipart) => multipart.left == 0,
            Source::Upstream(body) => body.is_end_stream(),
            Source::Beginning(_, left) => *left == 0,
            Source::Coded(body) => body.is_end_stream(),
        }
    }

    /// Whether all of an announced length has been handed over. A sender asks no further, though the fill may not have
    /// ended yet.
    fn has_sent_all(&self) -> bool {
        matches!(self, Source::Stored(_, Some(0)))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Source::Empty => SizeHint::with_exact(0),
            Source::Text(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Stored(reader, left) => {
                reader.remaining().or(*left).map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            Source::Multipart(multipart) => SizeHint::with_exact(multipart.left),
            Source::Upstream(body) => body.size_hint(),
            Source::Beginning(_, left) => SizeHint::with_exact(*left),
            Source::Coded(body) => body.size_hint(),
        }
    }
}

fn poll_stored(reader: &mut BodyReader, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    reader.poll_next(cx).map(|next| {
        next.map(|piece| match piece {
            Ok(Piece::Data(bytes)) => Ok(Frame::data(bytes)),
            Ok(Piece::Trailers(trailers)) => Ok(Frame::trailers(trailers)),
            Err(cut) => Err(BodyError::Cut(cut)),
        })
    })
}

/// What comes beyond the beginning is left, and its connection with it.
fn poll_beginning(
    body: &mut UpstreamBody,
    left: &mut u64,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    if *left == 0 {
        return Poll::Ready(None);
    }
    let next = std::task::ready!(Pin::new(body).poll_frame(cx)).map(|frame| {
        Ok(frame?.map_data(|mut data| {
            data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= data.len() as u64;
            data
        }))
    });
    Poll::Ready(next)
}

impl Multipart {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while let Some(part) = self.parts.front_mut() {
            let frame = match part {
                Part::Text(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
                Part::Content(reader) => std::task::ready!(poll_stored(reader, cx)),
            };
            let ended = match (&part, &frame) {
                (Part::Text(_), _) => true,
                (Part::Content(_), frame) => frame.is_none(),
            };
            if ended {
                self.parts.pop_front();
            }
            if let Some(frame) = frame {
                if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
                    self.left = self.left.saturating_sub(data.len() as u64);
                }
                return Poll::Ready(Some(frame));
            }
        }
        Poll::Ready(None)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Body { source, cut, pace, .. } = &mut *self;
        let frame = match cut.take() {
            Some(cut) => Some(Err(*cut)),
            None => {
                let frame = std::task::ready!(match pace {
                    None => source.poll_frame(cx),
                    Some(pace) => pace.poll(cx, |cx| source.poll_frame(cx)),
                });
                if let Some(Err(why)) = frame {
                    // hyper closes at once, whatever it has not written yet: what came before the cut goes first.
                    *cut = Some(Box::new(why));
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                frame
            }
        };
        let over = frame.is_none() || self.is_end() || self.source.has_sent_all();
        if let Some(finish) = &mut self.finish {
            match &frame {
                Some(Ok(frame)) => finish.sent(frame.data_ref().map_or(0, Bytes::len)),
                Some(Err(_)) => finish.failed(),
                None => {}
            }
            if over && !matches!(frame, Some(Err(_))) {
                finish.completed();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.source.size_hint();
        match (&self.pace, hint.exact()) {
            (Some(pace), Some(exact)) => SizeHint::with_exact(exact + pace.held()),
            _ => hint,
        }
    }
}
