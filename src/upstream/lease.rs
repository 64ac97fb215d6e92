//! A connection for the length of one exchange. Whatever is not given back explicitly is closed: a future dropped
//! half-way, a body left unread and every error take that way.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::sync::OwnedSemaphorePermit;

use super::error::UpstreamError;
use super::request_body::RequestBody;
use super::server::Server;
use super::{http1, http2};
use crate::config::settings::UpstreamProtocol;

/// The right to one exchange on a connection.
pub(super) struct Lease {
    server: Arc<Server>,
    connection: Option<Connection>,
    reused: bool,
    /// Whether the response told of a server in trouble.
    failed: bool,
    received_before: u64,
}

enum Connection {
    Http1(http1::Connection),
    Http2(http2::Stream),
}

impl Lease {
    pub(super) fn http1(
        server: Arc<Server>,
        connection: http1::Connection,
        place: OwnedSemaphorePermit,
        reused: bool,
    ) -> Self {
        connection.line.occupy(place);
        let received_before = connection.line.received();
        Lease { server, connection: Some(Connection::Http1(connection)), reused, failed: false, received_before }
    }

    pub(super) fn http2(server: Arc<Server>, stream: http2::Stream, reused: bool) -> Self {
        Lease { server, connection: Some(Connection::Http2(stream)), reused, failed: false, received_before: 0 }
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
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match self.connection.as_mut().expect("a lease holds its connection until it is consumed") {
            Connection::Http1(http1::Connection { sender, driver, .. }) => {
                let mut response = pin!(sender.try_send_request(request));
                poll_fn(|cx| driver.poll(cx, |cx| response.as_mut().poll(cx))).await
            }
            Connection::Http2(stream) => stream.sender().try_send_request(request).await,
        }
    }

    /// Polls a step of the exchange, and has the connection bring what it waits for.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut step: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        match &mut self.connection {
            Some(Connection::Http1(connection)) => connection.driver.poll(cx, step),
            _ => step(cx),
        }
    }

    /// Whether the server has sent no byte in this exchange. On HTTP/2 a failed exchange has had no response head.
    pub(super) fn is_untouched(&self) -> bool {
        match &self.connection {
            Some(Connection::Http1(connection)) => connection.line.received() == self.received_before,
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
            Connection::Http1(connection) => connection.peer,
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
        if let Some(Connection::Http1(connection)) = self.connection.take() {
            let line = connection.line.clone();
            // Into the stack first: whoever gets the place must find it there. A connection not kept holds its place
            // until it is closed.
            if self.server.keep(connection) {
                line.vacate();
            }
        }
    }

    /// The connection now belongs to a tunnel, which holds its place until it ends.
    pub(super) fn hand_over(mut self) {
        self.complete();
        if let Some(Connection::Http1(connection)) = self.connection.take() {
            connection.driver.detach();
        }
    }

    /// The request goes out once more, elsewhere if the server has closed this connection; this place is free at once.
    pub(super) fn give_up(self, closed: bool) {
        self.server.counters().repeats.fetch_add(1, Relaxed);
        match &self.connection {
            Some(Connection::Http1(connection)) => connection.line.vacate(),
            Some(Connection::Http2(stream)) if closed => stream.retire_connection(),
            _ => {}
        }
    }
}
