//! A connection's byte stream, which keeps the books: it counts as open, and holds its place under the cap, exactly
//! as long as the socket exists, whoever owns it then (hyper, or a tunnel after an upgrade).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::client::TlsStream;

use super::stats::Counters;

/// A cleartext or TLS stream to a server.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// What an exchange shares with the socket it runs on.
#[derive(Debug)]
pub(super) struct Line {
    received: AtomicU64,
    /// The place under the cap; absent while the connection is idle.
    place: Mutex<Option<OwnedSemaphorePermit>>,
    counters: Arc<Counters>,
}

impl Line {
    /// Bytes received since the connection was opened.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Begins an exchange: the socket holds the place until it is given up or the socket is gone.
    pub(super) fn occupy(&self, place: OwnedSemaphorePermit) {
        *self.place.lock() = Some(place);
    }

    /// Gives the place to the next in the queue.
    pub(super) fn vacate(&self) {
        self.place.lock().take();
    }
}

/// The stream with its books.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Stream,
    /// After `stream`: the books are closed once the descriptor is.
    books: Books,
}

#[derive(Debug)]
struct Books(Arc<Line>);

impl Socket {
    /// Counts the stream as an open connection from here on.
    pub(super) fn new(stream: Stream, counters: Arc<Counters>) -> (Self, Arc<Line>) {
        counters.open.fetch_add(1, Relaxed);
        counters.connects.fetch_add(1, Relaxed);
        let line = Arc::new(Line { received: AtomicU64::new(0), place: Mutex::new(None), counters });
        (Socket { stream, books: Books(line.clone()) }, line)
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        self.0.counters.open.fetch_sub(1, Relaxed);
        self.0.vacate();
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        })?;
        self.books.0.received.fetch_add((buf.filled().len() - before) as u64, Relaxed);
        Poll::Ready(Ok(()))
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
