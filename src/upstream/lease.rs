//! A connection for the length of one exchange. Whatever is not given back explicitly is closed: a future dropped
//! half-way, a body left unread and every error take that way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use tokio::sync::OwnedSemaphorePermit;

use super::error::{self, UpstreamError, UpstreamErrorKind};
use super::http1::{self, Tunnel};
use super::http2;
use super::request_body::RequestBody;
use super::response_body::Content;
use super::server::Server;
use super::{InterimCallback, copy_of};
use crate::config::settings::UpstreamProtocol;

/// The right to one exchange on a connection.
pub(super) struct Lease {
    server: Arc<Server>,
    connection: Option<Connection>,
    reused: bool,
    /// Whether the response told of a server in trouble.
    failed: bool,
}

enum Connection {
    /// Boxed for as long as it is open: it is moved with every step of an exchange.
    Http1(Box<http1::Connection>),
    Http2(http2::Stream),
}

/// An exchange that ended before the head of a response.
pub(super) struct Failed {
    pub(super) error: UpstreamError,
    /// The server has closed the connection, and had sent nothing.
    pub(super) closed: bool,
    /// The server said that it did not begin to process the request (RFC 9113 §8.7).
    pub(super) refused: bool,
    /// The request's body, when nothing of the request was sent.
    pub(super) unsent: Option<RequestBody>,
}

impl Lease {
    pub(super) fn http1(
        server: Arc<Server>,
        mut connection: Box<http1::Connection>,
        place: OwnedSemaphorePermit,
        reused: bool,
    ) -> Self {
        connection.occupy(place);
        Lease { server, connection: Some(Connection::Http1(connection)), reused, failed: false }
    }

    pub(super) fn http2(server: Arc<Server>, stream: http2::Stream, reused: bool) -> Self {
        Lease { server, connection: Some(Connection::Http2(stream)), reused, failed: false }
    }

    pub(super) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// The protocol spoken on the connection.
    pub(super) fn protocol(&self) -> UpstreamProtocol {
        match &self.connection {
            Some(Connection::Http2(_)) => UpstreamProtocol::Http2,
            _ => UpstreamProtocol::Http1,
        }
    }

    /// Whether an exchange went before this one on the same connection.
    pub(super) fn reused(&self) -> bool {
        self.reused
    }

    /// Sends the request and waits for the head of the response.
    pub(super) async fn send(
        &mut self,
        request: &Request<RequestBody>,
        body: RequestBody,
        on_interim: Option<&InterimCallback>,
    ) -> Result<Response<Content>, Failed> {
        match self.connection.as_mut().expect("a lease holds its connection until it is consumed") {
            Connection::Http1(connection) => match connection.send(request, body, on_interim).await {
                Ok(response) => Ok(response.map(Content::Http1)),
                Err(http1::Failed { error, unsent }) => {
                    let closed = connection.is_untouched() && error.kind == UpstreamErrorKind::Reset;
                    Err(Failed { error, closed, refused: false, unsent })
                }
            },
            Connection::Http2(stream) => {
                let request = copy_of(request, body);
                let sent = Box::pin(stream.sender().try_send_request(request)).await;
                sent.map(|response| response.map(Content::Http2)).map_err(|mut failed| {
                    let unsent = failed.take_message().map(Request::into_body);
                    let error = failed.into_error();
                    let (closed, refused) = (error::is_close(&error), error::is_refused_stream(&error));
                    Failed { error: UpstreamError::from_hyper(error), closed, refused, unsent }
                })
            }
        }
    }

    /// The next piece of a response's body over HTTP/1.1.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut http1::Body,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match &mut self.connection {
            Some(Connection::Http1(connection)) => connection.poll_body(cx, body),
            _ => Poll::Ready(None),
        }
    }

    /// Whether the request is still being sent.
    pub(super) fn is_sending(&self) -> bool {
        matches!(&self.connection, Some(Connection::Http1(connection)) if connection.is_sending())
    }

    /// Sends what it can of the rest of the request.
    pub(super) fn send_on(&mut self, cx: &mut Context<'_>) -> Result<(), UpstreamError> {
        match &mut self.connection {
            Some(Connection::Http1(connection)) => connection.send_on(cx),
            _ => Ok(()),
        }
    }

    /// Whether all of the request has been sent, as far as that is known of the connection itself.
    pub(super) fn has_sent_all(&self) -> bool {
        match &self.connection {
            Some(Connection::Http1(connection)) => connection.has_sent_all(),
            _ => true,
        }
    }

    /// The response tells of a server in trouble.
    pub(super) fn mark_failed(&mut self) {
        self.failed = true;
        self.server.blame(self.peer());
    }

    /// Counts a failure on its way to the caller, against the address that it came from.
    pub(super) fn failed(&self, error: UpstreamError) -> UpstreamError {
        self.server.failed_at(self.peer(), error)
    }

    /// Where the connection leads, for a server with a name.
    fn peer(&self) -> Option<SocketAddr> {
        match self.connection.as_ref()? {
            Connection::Http1(connection) => connection.peer(),
            Connection::Http2(stream) => stream.peer(),
        }
    }

    /// All of the response has come.
    pub(super) fn complete(&self) {
        if !self.failed {
            self.server.praise(self.peer());
        }
    }

    /// The exchange is over and left the connection in order.
    pub(super) fn give_back(mut self) {
        if let Some(Connection::Http1(mut connection)) = self.connection.take() {
            let place = connection.vacate();
            // Into the stack first: whoever gets the place must find it there. A connection not kept is closed before
            // its place is free.
            self.server.keep(connection);
            drop(place);
        }
    }

    /// The connection now belongs to a tunnel, which holds its place until it ends. `early`: what came for it already.
    pub(super) fn into_tunnel(mut self, early: Bytes) -> Option<Tunnel> {
        self.complete();
        match self.connection.take()? {
            Connection::Http1(connection) => Some(Tunnel::new(connection, early)),
            Connection::Http2(_) => None,
        }
    }

    /// The request goes out once more, elsewhere if the server has closed this connection; this place is free at once.
    pub(super) fn give_up(self, closed: bool) {
        self.server.counters().repeats.fetch_add(1, Relaxed);
        match &self.connection {
            Some(Connection::Http2(stream)) if closed => stream.retire_connection(),
            _ => {}
        }
    }
}
