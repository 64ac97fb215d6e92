//! An HTTP/1 connection: alone with its client between exchanges, with hyper during those that need it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1::UpgradeableConnection;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use super::alone::Next;
use super::inspect::Inspected;
use super::wire::Wire;

/// hyper at work on a stream.
pub(super) trait Exchanges<S>: Future<Output = hyper::Result<()>> + Send + Unpin {
    /// Finish what is under way, then end.
    fn finish(&mut self);

    /// Gives the stream back, and what of the approved bytes was not needed. Only when the stream says that nothing is
    /// under way. `None`: it is upgraded.
    fn leave(self: Box<Self>) -> Option<(Box<Inspected<S>>, Bytes)>;
}

impl<S, V, B> Exchanges<S> for UpgradeableConnection<TokioIo<Box<Inspected<S>>>, V>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    V: HttpService<Incoming, ResBody = B> + Send,
    V::Future: Send,
    V::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn finish(&mut self) {
        Pin::new(self).graceful_shutdown();
    }

    fn leave(self: Box<Self>) -> Option<(Box<Inspected<S>>, Bytes)> {
        let parts = self.into_parts()?;
        Some((parts.io.into_inner(), parts.read_buf))
    }
}

/// Puts hyper to work on a stream.
pub(super) type Begin<S> = Box<dyn Fn(Box<Inspected<S>>) -> Box<dyn Exchanges<S>> + Send>;

/// The connection. Ready when it has ended, or is upgraded.
pub(super) struct Http1<S> {
    state: State<S>,
    begin: Begin<S>,
    wire: Arc<Wire>,
    finishing: bool,
}

/// hyper leaves a connection when nothing has needed it for so long: one that is in use keeps what it has allocated (9
/// allocations and 22 KB a request that passes through).
const STAYS_FOR: Duration = Duration::from_secs(1);

enum State<S> {
    Alone(Box<Inspected<S>>),
    // Boxed: an idle connection must not hold room for it.
    Exchange(Box<dyn Exchanges<S>>, Option<Pin<Box<Sleep>>>),
    Over,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http1<S> {
    pub(super) fn new(stream: Box<Inspected<S>>, wire: Arc<Wire>, begin: Begin<S>) -> Self {
        Http1 { state: State::Alone(stream), begin, wire, finishing: false }
    }

    /// Finish what is under way, then end. hyper sees to that, who says so to the client where there is still something
    /// to say.
    pub(super) fn finish(&mut self) {
        self.finishing = true;
        self.wire.stay();
        if let State::Exchange(exchange, _) = &mut self.state {
            exchange.finish();
        }
    }

    fn begin(&mut self) {
        if let State::Alone(stream) = std::mem::replace(&mut self.state, State::Over) {
            let mut exchange = (self.begin)(stream);
            if self.finishing {
                exchange.finish();
            }
            self.wire.needs_hyper();
            self.state = State::Exchange(exchange, None);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Http1<S> {
    type Output = hyper::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Alone(stream) => match ready!(stream.poll_alone(cx, this.finishing)) {
                    Next::Exchange => this.begin(),
                    Next::End => {
                        this.state = State::Over;
                        return Poll::Ready(Ok(()));
                    }
                },
                State::Exchange(exchange, rest) => {
                    if let Poll::Ready(ended) = Pin::new(exchange).poll(cx) {
                        this.state = State::Over;
                        return Poll::Ready(ended);
                    }
                    if !this.wire.rests() {
                        return Poll::Pending;
                    }
                    let rest = rest.get_or_insert_with(|| Box::pin(tokio::time::sleep(STAYS_FOR)));
                    ready!(rest.as_mut().poll(cx));
                    if this.wire.was_used() {
                        rest.as_mut().reset(Instant::now() + STAYS_FOR);
                        continue;
                    }
                    if let State::Exchange(exchange, _) = std::mem::replace(&mut this.state, State::Over)
                        && let Some((mut stream, unread)) = exchange.leave()
                    {
                        stream.left_by_hyper(&unread);
                        this.state = State::Alone(stream);
                    }
                }
                State::Over => return Poll::Ready(Ok(())),
            }
        }
    }
}
