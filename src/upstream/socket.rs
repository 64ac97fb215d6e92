//! A connection's byte stream, which keeps the books: it counts as open exactly as long as the socket exists, whoever
//! owns it then (an exchange, hyper, or a tunnel after an upgrade).

use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::coop::unconstrained;
use tokio_rustls::client::TlsStream;

use super::stats::Counters;

/// A cleartext or TLS stream to a server.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// The stream with its books.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Stream,
    /// After `stream`: the books are closed once the descriptor is.
    _books: Books,
}

#[derive(Debug)]
struct Books(Arc<Counters>);

impl Socket {
    /// Counts the stream as an open connection from here on.
    pub(super) fn new(stream: Stream, counters: Arc<Counters>) -> Self {
        counters.open.fetch_add(1, Relaxed);
        counters.connects.fetch_add(1, Relaxed);
        Socket { stream, _books: Books(counters) }
    }

    /// Whether there is nothing to read, neither bytes nor the server's close. The kernel is asked: what tokio knows of
    /// a socket is what its driver has been told, which may be a while ago.
    pub(super) fn is_quiet(&mut self) -> bool {
        // TLS may hold what it has taken in and decrypted already.
        if matches!(self.stream, Stream::Tls(_)) && !self.watch(Waker::noop()) {
            return false;
        }
        let socket = match &self.stream {
            Stream::Plain(stream) => SockRef::from(stream),
            Stream::Tls(stream) => SockRef::from(stream.get_ref().0),
            Stream::Unix(stream) => SockRef::from(stream),
        };
        let peeked = socket.peek(&mut [MaybeUninit::uninit()]);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The same as far as tokio knows, and has a task woken when that changes. Not subject to its cooperative budget:
    /// a task that has used that up would be told to wait, whatever there is to read.
    pub(super) fn watch(&mut self, waker: &Waker) -> bool {
        let mut byte = [0];
        let mut byte = ReadBuf::new(&mut byte);
        let read = unconstrained(poll_fn(|cx| Pin::new(&mut *self).poll_read(cx, &mut byte)));
        pin!(read).poll(&mut Context::from_waker(waker)).is_pending()
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
            Stream::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
