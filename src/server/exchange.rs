//! One request and its response on a connection: what is noted while the request path answers it.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task;

use super::alone::Look;
use super::wire::{NOT_SWITCHED, SWITCHED, Wire};
use crate::proxy::client::Client;
use crate::proxy::met::Unanswered;

/// Bytes of a response handed to HTTP/2 at a time. It takes a piece of any size as soon as the client takes one byte,
/// and how a client takes a response can only be watched from piece to piece.
const PIECE: usize = 16 * 1024;

/// Answers an HTTP/2 request if that can be done at once; otherwise it goes on as it came.
pub(super) type Hit<B> =
    Arc<dyn Fn(&Arc<Client>, Request<Incoming>) -> ControlFlow<Response<B>, Request<Incoming>> + Send + Sync>;

/// Answers the HTTP/1 request that a look has read.
pub(super) type GoOn<B> =
    Arc<dyn Fn(Arc<Client>, Unanswered) -> Pin<Box<dyn Future<Output = Response<B>> + Send>> + Send + Sync>;

/// Who answers plain hits, past the request path.
pub(super) struct Hits<B> {
    /// With who answers what else it has read.
    pub(super) http1: Option<(Look, GoOn<B>)>,
    pub(super) http2: Option<Hit<B>>,
}

impl<B> Hits<B> {
    /// Nobody does.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Hits { http1: None, http2: None }
    }
}

impl<B> Clone for Hits<B> {
    fn clone(&self) -> Self {
        Hits { http1: self.http1.clone(), http2: self.http2.clone() }
    }
}

/// Runs `handler` for an HTTP/1 request.
pub(super) async fn over_http1<H, F, B>(handler: H, wire: Arc<Wire>, request: Request<Incoming>) -> Response<Answer<B>>
where
    H: Fn(Arc<Client>, Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: http_body::Body,
{
    // The same condition as hyper's: the request may be answered by 101.
    let asks_to_switch = request.version() == Version::HTTP_11 && request.headers().contains_key(header::UPGRADE);
    let is_http10 = request.version() == Version::HTTP_10;
    let answer = handler(wire.client.clone(), request);
    let mut response = plainly(answer, wire.clone()).await;
    if is_http10 {
        end_plainly(&mut response);
    }
    if asks_to_switch {
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        wire.signal(if switched { SWITCHED } else { NOT_SWITCHED });
    }
    response
}

/// RFC 9112 §9.6: where there are no chunks, what has no length ends with the connection, and the answer says so.
fn end_plainly<B: http_body::Body>(response: &mut Response<Answer<B>>) {
    let body = &response.body().body;
    let has_length = body.is_end_stream() || body.size_hint().exact().is_some();
    if !has_length && !response.headers().contains_key(header::CONTENT_LENGTH) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if response.headers().get(header::CONNECTION).is_some_and(|value| value == "close") {
        // To a response of any other version hyper adds `keep-alive`, whatever stands there.
        *response.version_mut() = Version::HTTP_10;
    }
}

/// Waits for the answer to an HTTP/1 request.
pub(super) async fn plainly<F, B>(answer: F, wire: Arc<Wire>) -> Response<Answer<B>>
where
    F: Future<Output = Response<B>>,
    B: http_body::Body,
{
    // Inspection has counted it when its head was approved.
    let exchange = Exchange { wire, id: None, sending: false, finished: true, home: None };
    let mut response = answer.await;
    interim_heads_sent(&exchange.wire.client).await;
    if exchange.wire.draining() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|body| Answer { body, rest: Bytes::new(), exchange })
}

/// Runs `handler` for an HTTP/2 request.
pub(super) async fn over_http2<H, F, B>(handler: H, wire: Arc<Wire>, request: Request<Incoming>) -> Response<Answer<B>>
where
    H: Fn(Arc<Client>, Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: http_body::Body,
{
    let id = wire.begin(1);
    let mut exchange = Exchange { wire: wire.clone(), id: Some(id), sending: false, finished: false, home: None };
    let head_only = request.method() == Method::HEAD;
    let response = handler(wire.client.clone(), request).await;
    exchange.finished = head_only || response.body().is_end_stream();
    response.map(|body| Answer { body, rest: Bytes::new(), exchange })
}

/// Has an HTTP/2 request answered by `hit`, if it does.
pub(super) fn at_once<B: http_body::Body>(
    hit: Option<&Hit<B>>,
    wire: &Arc<Wire>,
    request: Request<Incoming>,
) -> ControlFlow<Response<Answer<B>>, Request<Incoming>> {
    let Some(hit) = hit else { return ControlFlow::Continue(request) };
    let head_only = request.method() == Method::HEAD;
    let response = match hit(&wire.client, request) {
        ControlFlow::Break(response) => response,
        ControlFlow::Continue(request) => return ControlFlow::Continue(request),
    };
    let finished = head_only || response.body().is_end_stream();
    let (id, home) = (Some(wire.begin(1)), task::try_id());
    let exchange = Exchange { wire: wire.clone(), id, sending: false, finished, home };
    ControlFlow::Break(response.map(|body| Answer { body, rest: Bytes::new(), exchange }))
}

/// Waits until the interim heads queued so far are written, so that the response comes after all of them.
async fn interim_heads_sent(client: &Client) {
    std::future::poll_fn(|cx| {
        if client.interim.is_empty() {
            return Poll::Ready(());
        }
        client.interim.listen(cx.waker());
        if client.interim.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Tells the wire when the response has ended, or was given up, whoever drops it.
struct Exchange {
    wire: Arc<Wire>,
    /// On HTTP/2, where flow control is a stream's own.
    id: Option<u64>,
    /// A piece was handed over and may still have to be taken.
    sending: bool,
    /// The response has been handed over whole.
    finished: bool,
    /// The connection's task, where an HTTP/2 exchange began in that.
    home: Option<task::Id>,
}

impl Exchange {
    /// What was handed over last is taken.
    fn taken(&mut self) {
        if let Some(id) = self.id.filter(|_| std::mem::take(&mut self.sending)) {
            self.wire.taken(id);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.taken();
        if !self.finished {
            self.wire.abandoned();
        }
        // hyper runs HTTP/1 exchanges within the connection's own future, HTTP/2 ones as tasks unless they end in place.
        let in_place = self.id.is_none() || (self.home.is_some() && task::try_id() == self.home);
        self.wire.end(!in_place);
    }
}

pin_project_lite::pin_project! {
    /// The body of a response under way.
    pub(super) struct Answer<B> {
        #[pin]
        body: B,
        // Of a piece that was too large for HTTP/2.
        rest: Bytes,
        exchange: Exchange,
    }
}

impl<B: http_body::Body<Data = Bytes>> http_body::Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let exchange = this.exchange;
        let Some(id) = exchange.id else { return this.body.poll_frame(cx) };
        exchange.taken();
        if this.rest.is_empty() {
            match ready!(this.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => *this.rest = data,
                    Err(trailers) => {
                        exchange.finished = true;
                        return Poll::Ready(Some(Ok(trailers)));
                    }
                },
                // Failed or over: nobody has abandoned it.
                ended => {
                    exchange.finished = true;
                    return Poll::Ready(ended);
                }
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        exchange.finished = this.rest.is_empty() && this.body.is_end_stream();
        exchange.wire.sending(id);
        exchange.sending = true;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (of_body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower().saturating_add(rest));
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}
