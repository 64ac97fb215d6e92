//! The stream below HTTP/2: what is written while a connection is polled goes out in one call.
//!
//! The codec below hyper holds one frame of content at a time and flushes before the next: a system call for each
//! response, and a record where there is TLS, however many are ready. So a flush means nothing here, and the connection
//! sends what has gathered when hyper has nothing more to write.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::Wire;

/// Bytes that gather at most. Sixteen responses of 1 KiB fit.
const ROOM: usize = 32 * 1024;

/// What is at least as long goes out with what has gathered, and is not copied.
const LARGE: usize = 8 * 1024;

/// Pieces that are written at once; the codec offers two.
const SLICES: usize = 4;

/// A client's stream; hyper has one half of it, so to speak, and whoever polls hyper the other.
pub(super) struct Gathered<S>(Arc<Mutex<State<S>>>);

struct State<S> {
    inner: S,
    wire: Arc<Wire>,
    /// Read before hyper was there.
    prefix: BytesMut,
    /// Written, but not yet taken by the stream below.
    unsent: BytesMut,
    /// The stream below has taken bytes, but may hold them back.
    unflushed: bool,
    /// Sending failed, which hyper has yet to learn.
    failed: Option<io::ErrorKind>,
}

impl<S> Clone for Gathered<S> {
    fn clone(&self) -> Self {
        Gathered(self.0.clone())
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Wraps a stream of which `prefix` was already read.
    pub(super) fn new(inner: S, wire: Arc<Wire>, prefix: BytesMut) -> Self {
        let unsent = BytesMut::new();
        Gathered(Arc::new(Mutex::new(State { inner, wire, prefix, unsent, unflushed: false, failed: None })))
    }

    /// Sends what has gathered. An error is told once, and again to hyper.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        let sent = ready!(state.poll_send(cx));
        if let Err(error) = &sent {
            state.failed = Some(error.kind());
            state.unsent = BytesMut::new();
            state.unflushed = false;
        }
        Poll::Ready(sent)
    }
}

impl<S: AsyncWrite + Unpin> State<S> {
    /// Takes some of what is offered.
    fn poll_take(&mut self, cx: &mut Context<'_>, offered: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let Some(kind) = self.failed {
            return Poll::Ready(Err(kind.into()));
        }
        let length = offered.iter().map(|piece| piece.len()).sum::<usize>();
        if length >= LARGE {
            return self.poll_write(cx, offered);
        }
        if self.unsent.len() + length > ROOM {
            ready!(self.poll_write(cx, &[]))?;
        }
        if self.unsent.capacity() == 0 {
            self.unsent.reserve(ROOM);
        }
        offered.iter().for_each(|piece| self.unsent.extend_from_slice(piece));
        Poll::Ready(Ok(length))
    }

    /// Writes what has gathered, and then some of what is offered: how much of that.
    fn poll_write(&mut self, cx: &mut Context<'_>, offered: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let State { inner, wire, unsent, .. } = self;
        let mut sent_of_offered = 0;
        while !unsent.is_empty() || (sent_of_offered == 0 && !offered.is_empty()) {
            let gathered = unsent.len();
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = offered.len().min(SLICES - 1);
            slices[0] = IoSlice::new(unsent);
            slices[1..=count].copy_from_slice(&offered[..count]);
            let whole = slices.iter().map(|slice| slice.len()).sum::<usize>();
            let Poll::Ready(sent) = Pin::new(&mut *inner).poll_write_vectored(cx, &slices[..=count])? else {
                wire.stalls().send.blocked();
                return Poll::Pending;
            };
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if sent < whole {
                wire.stalls().send.moved(sent);
            }
            sent_of_offered = sent.saturating_sub(gathered);
            unsent.advance(sent - sent_of_offered);
            self.unflushed = true;
        }
        Poll::Ready(Ok(sent_of_offered))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.unsent.is_empty() {
            ready!(self.poll_write(cx, &[]))?;
        }
        if self.unflushed {
            if Pin::new(&mut self.inner).poll_flush(cx)?.is_pending() {
                // TLS takes bytes before the socket does.
                self.wire.stalls().send.blocked();
                return Poll::Pending;
            }
            self.unflushed = false;
            self.wire.stalls().send.over();
        }
        // An idle connection holds no room.
        self.unsent = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if let Some(kind) = state.failed {
            return Poll::Ready(Err(kind.into()));
        }
        if !state.prefix.is_empty() {
            let length = state.prefix.len().min(buf.remaining());
            buf.put_slice(&state.prefix.split_to(length));
            if state.prefix.is_empty() {
                state.prefix = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut state.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().poll_take(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_take(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        state.wire.stalls().closing = true;
        ready!(state.poll_send(cx))?;
        let Poll::Ready(shut) = Pin::new(&mut state.inner).poll_shutdown(cx) else {
            state.wire.stalls().send.blocked();
            return Poll::Pending;
        };
        state.wire.stalls().send.over();
        Poll::Ready(shut)
    }
}

impl<S> std::fmt::Debug for Gathered<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gathered").finish_non_exhaustive()
    }
}
