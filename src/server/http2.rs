//! An HTTP/2 connection: hyper, with plain hits answered where they are read and what is written gathered.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http2::Connection;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::gathered::Gathered;

/// hyper at work on a stream, which sends what has gathered each time hyper has written.
pub(super) struct Http2<S, V>
where
    S: AsyncRead + AsyncWrite + Unpin,
    V: HttpService<Incoming>,
{
    hyper: Connection<TokioIo<Gathered<S>>, V, InPlace>,
    stream: Gathered<S>,
    in_place: InPlace,
}

impl<S, V, B> Http2<S, V>
where
    S: AsyncRead + AsyncWrite + Unpin,
    V: HttpService<Incoming, ResBody = B>,
    V::Future: Send + 'static,
    V::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// `hyper` works on `stream` and has streams run by `in_place`.
    pub(super) fn new(
        hyper: Connection<TokioIo<Gathered<S>>, V, InPlace>,
        stream: Gathered<S>,
        in_place: InPlace,
    ) -> Self {
        Http2 { hyper, stream, in_place }
    }

    /// Answers what is under way, then ends.
    pub(super) fn finish(&mut self) {
        Pin::new(&mut self.hyper).graceful_shutdown();
    }
}

impl<S, V, B> Future for Http2<S, V>
where
    S: AsyncRead + AsyncWrite + Unpin,
    V: HttpService<Incoming, ResBody = B>,
    V::Future: Send + 'static,
    V::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Output = hyper::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        let this = self.get_mut();
        this.in_place.begin_turn();
        loop {
            let ended = Pin::new(&mut this.hyper).poll(cx);
            match this.stream.poll_send(cx) {
                // hyper meets the same error and ends.
                Poll::Ready(Err(_)) if ended.is_pending() => {}
                _ => return ended,
            }
        }
    }
}

/// Streams that are answered in place before others get their turn.
const TURN: u32 = 64;

/// Runs the streams of a connection: those that are answered already where they are, since a task costs more than all
/// there is left to do; others as tasks.
#[derive(Clone, Debug, Default)]
pub(super) struct InPlace(Arc<Turn>);

#[derive(Debug, Default)]
struct Turn {
    /// The next stream is answered already.
    answered: AtomicBool,
    /// Streams run in place in this turn.
    run: AtomicU32,
}

impl InPlace {
    /// Tells that the stream to be run next is answered already.
    pub(super) fn answered(&self) {
        self.0.answered.store(true, Ordering::Relaxed);
    }

    fn begin_turn(&self) {
        self.0.run.store(0, Ordering::Relaxed);
    }

    /// Whether the next stream is to be run in place.
    fn takes_next(&self) -> bool {
        self.0.answered.swap(false, Ordering::Relaxed) && self.0.run.fetch_add(1, Ordering::Relaxed) < TURN
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for InPlace {
    fn execute(&self, stream: F) {
        if !self.takes_next() {
            tokio::spawn(stream);
            return;
        }
        let mut stream = Box::pin(stream);
        // Nobody has to be woken: it ends here, or is polled again by its task.
        if stream.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            // The client takes nothing at present.
            tokio::spawn(stream);
        }
    }
}
