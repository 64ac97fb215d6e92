//! A plain exchange: a request without a body that hyper is not needed for, answered by the request path, and its
//! response sent from here.
//!
//! hyper would cost 15,000 instructions more, and read the head a second time.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, header};
use http_body::Body;

use super::inspect::Inspected;
use super::response_head::{self, Framing};
use super::socket::ClientStream;
use crate::policy::fields;

/// Pieces of at most so many bytes are copied behind what is sent before them.
const SMALL: usize = 512;

/// So many bytes of them at a time.
const TOGETHER: usize = 16 * 1024;

/// How a plain exchange has ended.
pub(super) enum Ended<S> {
    /// The connection goes on.
    GoesOn(Box<Inspected<S>>),
    /// This response was its last.
    WasLast(Box<Inspected<S>>),
    /// It broke, or the client has left it.
    Broke(io::Error),
}

/// An exchange under way.
pub(super) trait PlainExchange<S>: Send {
    /// Goes on with it. `finishing`: its response is to be the connection's last.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>, finishing: bool) -> Poll<Ended<S>>;
}

pin_project_lite::pin_project! {
    /// An exchange that `F` answers with a body of type `B`.
    pub(super) struct Plain<S, F, B> {
        // Until it is given back.
        stream: Option<Box<Inspected<S>>>,
        method: Method,
        begun: bool,
        #[pin]
        stage: Stage<F, B>,
    }
}

pin_project_lite::pin_project! {
    #[project = StageNow]
    enum Stage<F, B> {
        Answering { #[pin] answer: F },
        Sending { #[pin] body: B, framing: Framing, last: bool },
        Over,
    }
}

impl<S, F, B> Plain<S, F, B> {
    pub(super) fn new(stream: Box<Inspected<S>>, method: Method, answer: F) -> Self {
        Plain { stream: Some(stream), method, begun: false, stage: Stage::Answering { answer } }
    }
}

impl<S, F, B> PlainExchange<S> for Plain<S, F, B>
where
    S: ClientStream,
    F: Future<Output = Response<B>> + Send,
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>, finishing: bool) -> Poll<Ended<S>> {
        let mut this = self.project();
        let stream = this.stream.as_mut().expect("it is not polled any more once it has ended");
        // First at the beginning, since for a client that has left nobody is asked; then only while there is nothing for it.
        let is_first = !std::mem::replace(this.begun, true);
        let mut polled = if is_first { stream.poll_beside(cx).map(Err) } else { Poll::Pending };
        if polled.is_pending() {
            polled = poll_exchange(stream, this.method, this.stage.as_mut(), cx, finishing);
        }
        if polled.is_pending() && !is_first {
            polled = stream.poll_beside(cx).map(Err);
        }
        let last = ready!(polled);
        // What the response was made of goes first: then its end is known.
        this.stage.set(Stage::Over);
        let mut stream = this.stream.take().expect("nobody has taken it meanwhile");
        stream.flushed = stream.wire.ended();
        Poll::Ready(match last {
            Ok(false) => Ended::GoesOn(stream),
            Ok(true) => Ended::WasLast(stream),
            Err(error) => Ended::Broke(error),
        })
    }
}

/// Answers and sends. Ready when all is handed over: whether it was the connection's last response.
fn poll_exchange<S, F, B>(
    stream: &mut Inspected<S>,
    method: &Method,
    mut stage: Pin<&mut Stage<F, B>>,
    cx: &mut Context<'_>,
    finishing: bool,
) -> Poll<io::Result<bool>>
where
    S: ClientStream,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    loop {
        match stage.as_mut().project() {
            StageNow::Answering { answer } => {
                let Poll::Ready(response) = answer.poll(cx) else {
                    stream.wire.client.interim.listen(cx.waker());
                    // The answer waits until all of them are written.
                    ready!(stream.poll_interim(cx, true))?;
                    return Poll::Pending;
                };
                let (mut head, body) = response.into_parts();
                if finishing {
                    head.headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
                }
                let out = &mut stream.output.text;
                let reason = head.extensions.get();
                let framing = response_head::write(method, head.status, reason, &head.headers, &body.size_hint(), out);
                if let Framing::Length(length) = framing {
                    stream.expects(Some(length));
                } else if framing == Framing::Chunked {
                    stream.expects(None);
                }
                stage.set(Stage::Sending { body, framing, last: ends_connection(&head.headers) });
            }
            StageNow::Sending { mut body, framing, last } => loop {
                // What has come goes together with the head.
                let more = poll_fill(stream, body.as_mut(), framing, cx)?;
                if more.is_ready() {
                    return Poll::Ready(Ok(*last));
                }
                if stream.output.is_empty() {
                    return Poll::Pending;
                }
                ready!(stream.poll_output(cx))?;
            },
            StageNow::Over => return Poll::Pending,
        }
    }
}

/// RFC 9112 §9.6.
fn ends_connection(headers: &HeaderMap) -> bool {
    fields::has_token(headers, &header::CONNECTION, "close")
}

/// Takes what there is of the body, as far as there is room. Ready when that was the end of it.
fn poll_fill<S, B>(
    stream: &mut Inspected<S>,
    mut body: Pin<&mut B>,
    framing: &mut Framing,
    cx: &mut Context<'_>,
) -> Result<Poll<()>, io::Error>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let output = &mut stream.output;
    loop {
        if matches!(framing, Framing::None | Framing::Length(0)) {
            return Ok(Poll::Ready(()));
        }
        if !output.piece.is_empty() || output.text.len() >= TOGETHER {
            return Ok(Poll::Pending);
        }
        let data = match body.as_mut().poll_frame(cx) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Poll::Ready(Some(Err(error))) => return Err(io::Error::other(error)),
            Poll::Ready(None) if *framing == Framing::Chunked => {
                output.text.extend_from_slice(LAST_CHUNK);
                return Ok(Poll::Ready(()));
            }
            Poll::Ready(None) => return Err(io::Error::other("the response is shorter than announced")),
        };
        if data.is_empty() {
            continue;
        }
        let ends = match framing {
            Framing::Length(left) => {
                let over = || io::Error::other("the response is longer than announced");
                *left = left.checked_sub(data.len() as u64).ok_or_else(over)?;
                &b""[..]
            }
            _ => {
                let size = format!("{:x}\r\n", data.len());
                output.text.extend_from_slice(size.as_bytes());
                b"\r\n"
            }
        };
        if data.len() <= SMALL {
            output.text.extend_from_slice(&data);
            output.text.extend_from_slice(ends);
        } else {
            (output.piece, output.tail) = (data, ends);
        }
    }
}

/// RFC 9112 §7.1, without trailers: who wants them is answered by hyper.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
