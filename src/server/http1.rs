//! An HTTP/1 connection: alone with its client between exchanges, with hyper during those that need it, and without
//! during those that are plain.

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
use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep};

use super::alone::Next;
use super::inspect::Inspected;
use super::plain::{Ended, PlainExchange};
use super::socket::ClientStream;
use super::wire::Wire;
use crate::proxy::met::Unanswered;

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
    S: ClientStream,
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

/// What answers requests.
pub(super) trait Service<S>: Send {
    /// Puts hyper to work on a stream.
    fn by_hyper(&self, stream: Box<Inspected<S>>) -> Box<dyn Exchanges<S>>;

    /// Answers a plain request that came on a stream.
    fn plainly(&self, stream: Box<Inspected<S>>, request: Unanswered) -> Pin<Box<dyn PlainExchange<S>>>;
}

/// The connection. Ready when it has ended, or is upgraded.
pub(super) struct Http1<S> {
    state: State<S>,
    service: Box<dyn Service<S>>,
    wire: Arc<Wire>,
    finishing: bool,
}

/// hyper leaves a connection when nothing has needed it for so long: one that is in use keeps what it has allocated (9
/// allocations and 22 KB a request that passes through).
const STAYS_FOR: Duration = Duration::from_secs(1);

enum State<S> {
    Alone(Box<Inspected<S>>),
    Plain(Pin<Box<dyn PlainExchange<S>>>),
    // Boxed: an idle connection must not hold room for it.
    Hyper(Box<dyn Exchanges<S>>, Option<Pin<Box<Sleep>>>),
    Closing(Box<Inspected<S>>),
    Over,
}

impl<S: ClientStream> Http1<S> {
    pub(super) fn new(stream: Box<Inspected<S>>, wire: Arc<Wire>, service: Box<dyn Service<S>>) -> Self {
        Http1 { state: State::Alone(stream), service, wire, finishing: false }
    }

    /// Finish what is under way, then end. hyper sees to that, who says so to the client where there is still something
    /// to say.
    pub(super) fn finish(&mut self) {
        self.finishing = true;
        self.wire.stay();
        if let State::Hyper(exchange, _) = &mut self.state {
            exchange.finish();
        }
    }

    /// Goes on from being alone.
    fn go_on(&mut self, next: Next) {
        let State::Alone(mut stream) = std::mem::replace(&mut self.state, State::Over) else { return };
        self.state = match next {
            Next::End => State::Over,
            Next::Request(request) => State::Plain(self.service.plainly(stream, request)),
            Next::Hyper => {
                stream.alone = false;
                stream.expects(None);
                let mut exchange = self.service.by_hyper(stream);
                if self.finishing {
                    exchange.finish();
                }
                self.wire.needs_hyper();
                State::Hyper(exchange, None)
            }
        };
    }
}

impl<S: ClientStream> Future for Http1<S> {
    type Output = hyper::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Alone(stream) => {
                    let next = ready!(stream.poll_alone(cx, this.finishing));
                    this.go_on(next);
                }
                State::Plain(exchange) => {
                    this.state = match ready!(exchange.as_mut().poll(cx, this.finishing)) {
                        Ended::GoesOn(stream) => State::Alone(stream),
                        Ended::WasLast(stream) => State::Closing(stream),
                        Ended::Broke(error) => {
                            tracing::debug!(peer = %this.wire.client.peer, %error, "connection ended");
                            State::Over
                        }
                    }
                }
                State::Closing(stream) => {
                    if let Err(error) = ready!(Pin::new(stream).poll_shutdown(cx)) {
                        tracing::debug!(peer = %this.wire.client.peer, %error, "connection ended");
                    }
                    this.state = State::Over;
                }
                State::Hyper(exchange, rest) => {
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
                    if let State::Hyper(exchange, _) = std::mem::replace(&mut this.state, State::Over)
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
