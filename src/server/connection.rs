//! One client connection from accept to close: TLS, which protocol, hyper, deadlines.

use std::convert::Infallible;
use std::future::{Future, poll_fn, ready};
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::Either;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::alone::poll_some;
use super::counters::{ServerCounters, add};
use super::crowd::Crowd;
use super::exchange::{self, GoOn, Hits};
use super::gathered::Gathered;
use super::head::HeadLimits;
use super::http1::{Exchanges, Http1, Service};
use super::http1_framing::Http1Framing;
use super::http2::{Http2, InPlace};
use super::inspect::Inspected;
use super::listeners::ListenerTerms;
use super::plain::{Plain, PlainExchange};
use super::proxy_protocol;
use super::rarely::Rarely;
use super::slots::Slot;
use super::socket::{ClientStream, Socket};
use super::wire::{BODY_EXPIRED, Expiry, HEAD_EXPIRED, Idle, Wire};
use crate::config::settings::{ClientTimeouts, Limits, Listener};
use crate::proxy::admit::contains;
use crate::proxy::client::Client;
use crate::proxy::met::Unanswered;
use crate::proxy::refusal::Refusal;

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Fields that hyper parses without allocating for them.
const HYPER_FIELDS: usize = 100;

/// Bytes hyper buffers of a connection, a way.
const BUFFER: usize = 128 * 1024;

/// HTTP/2 flow control: bytes a client may send ahead on one stream and on all together.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Streams reset by the client before we took them up, and for its faults by us, until the connection is closed.
const MAX_PENDING_RESETS: usize = 20;
const MAX_ERROR_RESETS: usize = 100;

/// What connections are held to. Swapped whole by a reload; a connection keeps what it began with.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) limits: Limits,
    pub(super) timeouts: ClientTimeouts,
    /// How long a connection waits for a request that is on its way when the process, or its listener, stops.
    pub(super) on_its_way: Duration,
}

/// An accepted connection and all it needs to be served.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) socket: Socket,
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) listener: Arc<ListenerTerms>,
    pub(super) crowd: Arc<Crowd>,
    pub(super) terms: Arc<Terms>,
    pub(super) counters: Arc<ServerCounters>,
    /// Answer what is under way, then close.
    pub(super) stop: CancellationToken,
    /// Close.
    pub(super) kill: CancellationToken,
    pub(super) slot: Slot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// Serves a connection to its end, or until it is upgraded.
pub(super) async fn serve<H, F, B>(accepted: Accepted, hits: Hits<B>, handler: H)
where
    H: Fn(Arc<Client>, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Accepted { mut socket, tls, listener, crowd, terms, counters, stop, kill, slot } = accepted;
    let Ok((mut peer, mut local)) = socket.addresses() else { return };
    socket.tune();
    if !listener.settings.proxy_protocol.is_empty() {
        let told = tokio::select! {
            told = told_by_balancer(&mut socket, peer, &listener.settings, terms.timeouts.header) => told,
            () = stop.cancelled() => return,
        };
        match told {
            Ok(Some(told)) => (peer, local) = told,
            Ok(None) => {}
            Err(error) => {
                counters.count_refusal(Refusal::ProxyProtocol);
                tracing::debug!(%peer, %error, "PROXY protocol");
                return;
            }
        }
    }
    let Some(presence) = crowd.enter(peer.ip(), &listener.settings.limits) else {
        counters.count_refusal(Refusal::TooManyConnections);
        return;
    };
    let slot = slot.with(presence);
    let mut client = Client::new(peer, local, tls.is_some());
    client.front = listener.front.clone();
    client.takes_files = tls.is_none() && socket.plain_tcp().is_some();
    let opening = async {
        let Some(config) = tls else {
            let deadline = timeout(terms.timeouts.header, sniff(&mut socket));
            return match deadline.await {
                Ok(Ok(Some((protocol, prefix)))) => Some(Opened::Plain(socket, protocol, prefix)),
                Ok(_) => None,
                Err(_) => {
                    add(&counters.header_timeouts, 1);
                    None
                }
            };
        };
        // Boxed, since only the beginning needs it.
        match timeout(terms.timeouts.header, Box::pin(TlsAcceptor::from(config).accept(socket))).await {
            Ok(Ok(stream)) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                Some(Opened::Tls(Box::new(stream), if http2 { Protocol::Http2 } else { Protocol::Http1 }))
            }
            Ok(Err(error)) => {
                add(&counters.tls_errors, 1);
                tracing::debug!(%peer, %error, "TLS handshake failed");
                None
            }
            Err(_) => {
                add(&counters.header_timeouts, 1);
                None
            }
        }
    };
    let opened = tokio::select! {
        opened = opening => opened,
        () = async { stop.cancelled().await; tokio::time::sleep(terms.on_its_way).await } => None,
    };
    let Some(opened) = opened else { return };
    if let (Opened::Tls(stream, _), Some(field)) = (&opened, listener.settings.subject_field()) {
        client.subject = super::tls::subject_of(stream.get_ref().1).map(|subject| (field.clone(), subject));
    }
    let wire = Wire::new(Arc::new(client), counters, kill, Some(slot));
    match opened {
        Opened::Plain(stream, protocol, prefix) => {
            serve_stream(stream, protocol, prefix, &wire, &terms, &stop, hits, handler).await;
        }
        Opened::Tls(stream, protocol) => {
            serve_stream(stream, protocol, BytesMut::new(), &wire, &terms, &stop, hits, handler).await;
        }
    }
}

/// Who connected to the balancer in front, and to which of its addresses. Only balancers may say so, and must.
async fn told_by_balancer(
    socket: &mut Socket,
    peer: SocketAddr,
    listener: &Listener,
    deadline: Duration,
) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
    if !contains(&listener.proxy_protocol, peer.ip()) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not one of the balancers"));
    }
    timeout(deadline, proxy_protocol::read(socket)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

enum Opened {
    Plain(Socket, Protocol, BytesMut),
    Tls(Box<tokio_rustls::server::TlsStream<Socket>>, Protocol),
}

/// Reads until it is clear whether the client speaks HTTP/2 with prior knowledge. `None`: it left before.
async fn sniff<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<(Protocol, BytesMut)>> {
    let mut prefix = BytesMut::new();
    while poll_fn(|cx| poll_some(stream, cx, &mut prefix)).await? > 0 {
        let common = prefix.len().min(HTTP2_PREFACE.len());
        if prefix[..common] != HTTP2_PREFACE[..common] {
            return Ok(Some((Protocol::Http1, prefix)));
        }
        if common == HTTP2_PREFACE.len() {
            return Ok(Some((Protocol::Http2, prefix)));
        }
    }
    Ok(None)
}

#[expect(clippy::too_many_arguments, reason = "what a connection consists of")]
async fn serve_stream<S, H, F, B>(
    stream: S,
    protocol: Protocol,
    prefix: BytesMut,
    wire: &Arc<Wire>,
    terms: &Terms,
    stop: &CancellationToken,
    hits: Hits<B>,
    handler: H,
) where
    S: ClientStream,
    H: Fn(Arc<Client>, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Terms { limits, timeouts, .. } = terms;
    let Hits { http1: look, http2: hit } = hits;
    match protocol {
        Protocol::Http1 => {
            let bounds = HeadLimits::new(limits.head, limits.field, limits.fields, limits.uri);
            let (look, go_on) = look.unzip();
            let stream = Inspected::new(stream, wire.clone(), Http1Framing::new(bounds), prefix).looked_at(look);
            let service = Http1Service { handler, go_on, builder: http1_builder(limits), wire: wire.clone() };
            let connection = pin!(Http1::new(Box::new(stream), wire.clone(), Box::new(service)));
            drive(connection, wire, terms, stop).await;
        }
        Protocol::Http2 => {
            let stream = Gathered::new(stream, wire.clone(), prefix);
            let in_place = InPlace::default();
            let service = service_fn(|request| match exchange::at_once(hit.as_ref(), wire, request) {
                ControlFlow::Break(response) => {
                    in_place.answered();
                    Either::Left(ready(Ok(response)))
                }
                // Boxed: answered ones would be moved around with room for it.
                ControlFlow::Continue(request) => {
                    let exchange = exchange::over_http2(handler.clone(), wire.clone(), request);
                    Either::Right(Box::pin(async { Ok::<_, Infallible>(exchange.await) }))
                }
            });
            // Not kept: an idle connection would hold it.
            let hyper = http2_builder(in_place.clone(), limits, timeouts)
                .serve_connection(TokioIo::new(stream.clone()), service);
            // Boxed: within this future every connection, of whatever protocol, would hold room for it.
            let mut connection = Box::pin(Http2::new(hyper, stream, in_place.clone()));
            drive(connection.as_mut(), wire, terms, stop).await;
        }
    }
}

/// What answers the requests of an HTTP/1 connection.
struct Http1Service<H, B> {
    handler: H,
    go_on: Option<GoOn<B>>,
    builder: hyper::server::conn::http1::Builder,
    wire: Arc<Wire>,
}

impl<S, H, F, B> Service<S> for Http1Service<H, B>
where
    S: ClientStream,
    H: Fn(Arc<Client>, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn by_hyper(&self, stream: Box<Inspected<S>>) -> Box<dyn Exchanges<S>> {
        let (handler, wire) = (self.handler.clone(), self.wire.clone());
        let service = service_fn(move |request| {
            let exchange = exchange::over_http1(handler.clone(), wire.clone(), request);
            async { Ok::<_, Infallible>(exchange.await) }
        });
        Box::new(self.builder.serve_connection(TokioIo::new(stream), service).with_upgrades())
    }

    fn plainly(&self, stream: Box<Inspected<S>>, request: Unanswered) -> Pin<Box<dyn PlainExchange<S>>> {
        let go_on = self.go_on.as_ref().expect("a look comes with who answers what it has read");
        let method = request.method().clone();
        let answer = go_on(self.wire.client.clone(), request);
        Box::pin(Plain::new(stream, method, exchange::plainly(answer, self.wire.clone())))
    }
}

/// hyper for HTTP/1. Its header deadline is off: inspection holds heads back, so that hyper never waits for the
/// rest of one. Flushing of pipelined responses together is off, too: it would lift hyper's bound on what it buffers
/// for a client that does not read.
fn http1_builder(limits: &Limits) -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.half_close(false).keep_alive(true).header_read_timeout(None).max_buf_size(BUFFER.max(2 * limits.head));
    if limits.fields > HYPER_FIELDS {
        builder.max_headers(limits.fields);
    }
    builder
}

fn http2_builder(
    executor: InPlace,
    limits: &Limits,
    timeouts: &ClientTimeouts,
) -> hyper::server::conn::http2::Builder<InPlace> {
    let mut builder = hyper::server::conn::http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(BUFFER)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS)
        .keep_alive_interval(timeouts.idle.max(Duration::from_secs(1)))
        .keep_alive_timeout(timeouts.header.max(Duration::from_secs(1)));
    builder
}

/// A connection that can be told to finish.
trait Graceful: Future<Output = hyper::Result<()>> {
    /// Finishing tells the client, and requests that are on their way are still answered.
    const LOSES_NONE: bool;

    /// Whether its exchanges may run in tasks of their own, whose end the driver has to hear of.
    const RUNS_TASKS: bool;

    /// Answers what is under way, then closes; when nothing is, at once.
    fn finish(self: Pin<&mut Self>);
}

impl<S: ClientStream> Graceful for Http1<S> {
    const LOSES_NONE: bool = false;
    const RUNS_TASKS: bool = false;

    fn finish(self: Pin<&mut Self>) {
        Http1::finish(self.get_mut());
    }
}

impl<S, V, B> Graceful for Http2<S, V>
where
    S: AsyncRead + AsyncWrite + Unpin,
    V: HttpService<Incoming, ResBody = B>,
    V::Future: Send + 'static,
    V::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// By GOAWAY in two steps (RFC 9113 §6.8).
    const LOSES_NONE: bool = true;
    const RUNS_TASKS: bool = true;

    fn finish(self: Pin<&mut Self>) {
        Http2::finish(self.get_mut());
    }
}

/// What a connection's driver has to do next.
enum Turn {
    Ended(hyper::Result<()>),
    Killed,
    Stopping,
    Expired(Expiry),
}

/// Runs a connection and enforces the deadlines that only show between its polls.
async fn drive<C: Graceful>(mut connection: Pin<&mut C>, wire: &Arc<Wire>, terms: &Terms, stop: &CancellationToken) {
    let mut timeouts = terms.timeouts.clone();
    let (timer, kill, stop) =
        (pin!(tokio::time::sleep(timeouts.keep_alive)), pin!(wire.kill.cancelled()), pin!(stop.cancelled()));
    let (mut timer, mut kill, mut stop) = (Rarely::new(timer), Rarely::new(kill), Rarely::new(stop));
    let mut idle = Idle::begin();
    let (mut stopping, mut finishing) = (false, false);
    loop {
        let next = poll_fn(|cx| {
            // The connection first: what expires next depends on what it has done.
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(Turn::Ended(ended));
            }
            if kill.poll(cx).is_ready() {
                return Poll::Ready(Turn::Killed);
            }
            if !stopping && stop.poll(cx).is_ready() {
                return Poll::Ready(Turn::Stopping);
            }
            loop {
                let now = Instant::now();
                if C::RUNS_TASKS {
                    wire.listen(cx.waker());
                }
                let expiry = wire.next_expiry(now, &mut idle, &timeouts);
                let Some((at, what)) = expiry else { return Poll::Pending };
                if at <= now {
                    return Poll::Ready(Turn::Expired(what));
                }
                // A timer that is set too early is left alone: most deadlines are met long before, so that a busy
                // connection hardly ever touches it.
                if timer.get().deadline() > at || timer.get().is_elapsed() {
                    timer.change(|timer| timer.reset(at));
                }
                std::task::ready!(timer.poll(cx));
            }
        });
        let what = match next.await {
            Turn::Ended(ended) => {
                if let Err(error) = ended {
                    if is_http2_fault(&error) {
                        add(&wire.counters.http2_errors, 1);
                    }
                    tracing::debug!(peer = %wire.client.peer, %error, "connection ended");
                }
                return;
            }
            Turn::Killed => return,
            Turn::Stopping => {
                stopping = true;
                if C::LOSES_NONE {
                    finishing = true;
                    connection.as_mut().finish();
                } else {
                    // HTTP/1 can only say so with a response. Who holds an idle connection may have sent the next
                    // request already: it is waited for, so that it does not meet a connection that is closed.
                    wire.drain();
                    idle = Idle::begin();
                    timeouts.keep_alive = timeouts.keep_alive.min(terms.on_its_way);
                }
                continue;
            }
            Turn::Expired(what) => what,
        };
        match what {
            Expiry::Head => {
                add(&wire.counters.header_timeouts, 1);
                wire.stalls().head = None;
                wire.signal(HEAD_EXPIRED);
            }
            Expiry::Body => {
                add(&wire.counters.body_timeouts, 1);
                wire.stalls().body.over();
                wire.signal(BODY_EXPIRED);
            }
            Expiry::Send => {
                add(&wire.counters.send_timeouts, 1);
                return;
            }
            Expiry::KeepAlive if finishing => return,
            Expiry::KeepAlive => {
                if !stopping {
                    add(&wire.counters.keep_alive_timeouts, 1);
                }
                finishing = true;
                idle = Idle::begin();
                connection.as_mut().finish();
            }
            Expiry::Abandoned => {
                add(&wire.counters.http2_errors, 1);
                return;
            }
        }
    }
}

/// Whether our side of HTTP/2 ended the connection because of what the client sent.
fn is_http2_fault(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    source.is_some_and(h2::Error::is_library)
}

#[cfg(test)]
mod tests;
