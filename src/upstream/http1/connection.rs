//! A connection, and the exchange that runs on it: the request goes out and the response comes in within the task that
//! asks, both at the same time where there is a body to be sent.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use super::arriving::Arriving;
use super::body::Body;
use super::request::{Outgoing, SendFault, write_head};
use super::response::Asked;
use crate::upstream::InterimCallback;
use crate::upstream::error::{UpstreamError, UpstreamErrorKind};
use crate::upstream::request_body::RequestBody;
use crate::upstream::socket::Socket;

/// Bytes that are read at a time, and copied out: no response holds more memory than it has bytes.
const READ: usize = 16 * 1024;

/// Bytes that are read at a time once a body has proved large, where they are handed out.
const LARGE_READ: usize = 64 * 1024;

thread_local! {
    /// What comes from any connection that this thread reads from.
    static INCOMING: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
    /// The head of any request that this thread sends.
    static HEAD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// An open connection.
#[derive(Debug)]
pub(in crate::upstream) struct Connection {
    socket: Socket,
    /// The place under the cap, absent while the connection is idle. After `socket`: it is free once that is closed.
    place: Option<OwnedSemaphorePermit>,
    /// Where it leads, for a server with a name.
    peer: Option<SocketAddr>,
    /// No exchange begins on it from then on.
    retires: Instant,
    /// What is still to be sent in this exchange.
    outgoing: Option<Box<Outgoing>>,
    /// Room for what a large body brings next.
    large: Option<Box<BytesMut>>,
    /// The server has sent something in this exchange.
    touched: bool,
    /// The server did not take all of the request.
    broken: bool,
}

/// An exchange that ended before the head of a response.
#[derive(Debug)]
pub(in crate::upstream) struct Failed {
    pub(in crate::upstream) error: UpstreamError,
    /// The request's body, when nothing of the request was sent.
    pub(in crate::upstream) unsent: Option<RequestBody>,
}

impl Connection {
    /// Starts HTTP/1.1 on a socket, to be used until `retires`.
    pub(in crate::upstream) fn new(socket: Socket, peer: Option<SocketAddr>, retires: Instant) -> Self {
        Connection { socket, place: None, peer, retires, outgoing: None, large: None, touched: false, broken: false }
    }

    /// Where it leads, for a server with a name.
    pub(in crate::upstream) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// No exchange begins on it from then on.
    pub(super) fn retires(&self) -> Instant {
        self.retires
    }

    pub(super) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Whether nothing has come on it, asked of the kernel.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.socket.is_quiet()
    }

    /// Whether nothing has come on it, as far as is known; a task is woken when something does.
    pub(super) fn watch(&mut self, waker: &Waker) -> bool {
        self.socket.watch(waker)
    }

    /// Begins an exchange, which holds its place until it has ended.
    pub(in crate::upstream) fn occupy(&mut self, place: OwnedSemaphorePermit) {
        self.place = Some(place);
        self.touched = false;
    }

    /// Ends an exchange that left the connection in order: the place, to be given up once the connection is kept.
    pub(in crate::upstream) fn vacate(&mut self) -> Option<OwnedSemaphorePermit> {
        self.large = None;
        self.place.take()
    }

    /// Whether all of the request has been sent.
    pub(in crate::upstream) fn has_sent_all(&self) -> bool {
        self.outgoing.is_none() && !self.broken
    }

    /// Whether the request is still being sent.
    pub(in crate::upstream) fn is_sending(&self) -> bool {
        self.outgoing.is_some()
    }

    /// Sends what it can of the rest of the request, while nobody waits for the response.
    pub(in crate::upstream) fn send_on(&mut self, cx: &mut Context<'_>) -> Result<(), UpstreamError> {
        self.go_on_sending(cx).map_err(|failed| failed.error)
    }

    /// Whether the server has sent no byte in this exchange.
    pub(in crate::upstream) fn is_untouched(&self) -> bool {
        !self.touched
    }

    /// Sends a request and waits for the head of the response.
    pub(in crate::upstream) async fn send(
        &mut self,
        request: &Request<RequestBody>,
        body: RequestBody,
        on_interim: Option<&InterimCallback>,
    ) -> Result<Response<Body>, Failed> {
        let asked = Asked::by(request);
        let mut body = Some(body);
        let mut arriving = Arriving::default();
        poll_fn(|cx| {
            if let Some(body) = body.take() {
                self.begin(request, body, cx)?;
            }
            self.poll_head(cx, &mut arriving, asked, on_interim)
        })
        .await
    }

    /// Sends the head, mostly all of it at once.
    fn begin(&mut self, request: &Request<RequestBody>, body: RequestBody, cx: &mut Context<'_>) -> Result<(), Failed> {
        HEAD.with_borrow_mut(|head| {
            head.clear();
            write_head(head, request);
            if !matches!(body, RequestBody::Empty) {
                self.outgoing = Some(Box::new(Outgoing::new(head.clone(), request.headers(), body)));
                return Ok(());
            }
            let sent = match Pin::new(&mut self.socket).poll_write(cx, head) {
                Poll::Ready(Ok(sent)) => sent,
                Poll::Ready(Err(error)) => {
                    return Err(Failed { error: closed(error), unsent: Some(body) });
                }
                Poll::Pending => 0,
            };
            let flushed = Pin::new(&mut self.socket).poll_flush(cx);
            if sent < head.len() || !matches!(flushed, Poll::Ready(Ok(()))) {
                self.outgoing = Some(Box::new(Outgoing::rest(&head[sent..], sent > 0)));
            }
            Ok(())
        })
    }

    /// Sends what is left of the request, as far as that goes.
    fn go_on_sending(&mut self, cx: &mut Context<'_>) -> Result<(), Failed> {
        let Some(outgoing) = &mut self.outgoing else { return Ok(()) };
        let Poll::Ready(sent) = outgoing.poll(&mut self.socket, cx) else { return Ok(()) };
        let outgoing = self.outgoing.take();
        match sent {
            Ok(()) => Ok(()),
            Err(SendFault::Body(error)) => Err(Failed { error, unsent: None }),
            Err(SendFault::Connection(error)) => {
                self.broken = true;
                match outgoing.and_then(|outgoing| (!outgoing.began).then_some(outgoing)) {
                    Some(unsent) => Err(Failed { error: closed(error), unsent: unsent.unsent() }),
                    // The server may have refused the rest, and said why before it closed.
                    None => Ok(()),
                }
            }
        }
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        arriving: &mut Arriving,
        asked: Asked,
        on_interim: Option<&InterimCallback>,
    ) -> Poll<Result<Response<Body>, Failed>> {
        self.go_on_sending(cx)?;
        loop {
            let read = ready!(self.poll_read(cx, |bytes| arriving.push(bytes)));
            let failed = match read {
                Ok(0) if arriving.is_empty() => closed("the connection ended before a response"),
                Ok(0) => closed("the connection ended within the head of a response"),
                Err(error) => closed(error),
                Ok(_) => match arriving.next(asked, on_interim) {
                    Ok(None) => continue,
                    Ok(Some(response)) => return Poll::Ready(Ok(response)),
                    Err(why) => malformed(why),
                },
            };
            return Poll::Ready(Err(Failed { error: failed, unsent: None }));
        }
    }

    /// The next piece of a body, or its end. What is left of the request is sent meanwhile.
    pub(in crate::upstream) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        if let Err(failed) = self.go_on_sending(cx) {
            return Poll::Ready(Some(Err(failed.error)));
        }
        loop {
            match body.decode() {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if body.is_over() => return Poll::Ready(None),
                Ok(None) => {}
                Err(why) => return Poll::Ready(Some(Err(malformed(why)))),
            }
            match ready!(self.poll_content(cx, body)) {
                Ok(0) if body.end() => return Poll::Ready(None),
                Ok(0) => return Poll::Ready(Some(Err(closed("the body is shorter than announced")))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(closed(error)))),
            }
        }
    }

    /// Reads more of a body: little at a time and in pieces of its own size, or much at a time where there is much.
    fn poll_content(&mut self, cx: &mut Context<'_>, body: &mut Body) -> Poll<io::Result<usize>> {
        let left = body.remaining().and_then(|left| usize::try_from(left).ok());
        if self.large.is_none() {
            if left.is_none_or(|left| left <= READ) {
                let read = ready!(self.poll_read(cx, |bytes| body.push(Bytes::copy_from_slice(bytes))))?;
                if read == READ {
                    self.large = Some(Box::default());
                }
                return Poll::Ready(Ok(read));
            }
            self.large = Some(Box::default());
        }
        let Some(large) = &mut self.large else { return Poll::Ready(Ok(0)) };
        if large.capacity() == 0 {
            large.reserve(left.unwrap_or(LARGE_READ).min(LARGE_READ));
        }
        let read = ready!(poll_read_buf(Pin::new(&mut self.socket), cx, large.as_mut()))?;
        if read > large.capacity() / 2 {
            body.push(std::mem::take(large.as_mut()).freeze());
        } else {
            body.push(Bytes::copy_from_slice(large));
            large.clear();
        }
        if read < READ {
            self.large = None;
        }
        Poll::Ready(Ok(read))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, take: impl FnOnce(&[u8])) -> Poll<io::Result<usize>> {
        INCOMING.with_borrow_mut(|incoming| {
            let mut incoming = ReadBuf::new(incoming);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut incoming))?;
            let read = incoming.filled();
            self.touched |= !read.is_empty();
            if !read.is_empty() {
                take(read);
            }
            Poll::Ready(Ok(read.len()))
        })
    }
}

fn closed(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> UpstreamError {
    UpstreamError::because(UpstreamErrorKind::Reset, why)
}

fn malformed(why: &'static str) -> UpstreamError {
    UpstreamError::because(UpstreamErrorKind::Protocol, why)
}
