//! Requests in whichever version of HTTP a story is told over.

use std::net::SocketAddr;

use super::client::{self, Response, status};
use super::http2;
use super::wire::{Body, Head};

/// A version of HTTP that clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http1,
    /// In clear text, with prior knowledge.
    Http2,
}

tokio::task_local! {
    static SPOKEN: Version;
}

/// Tells a story with clients that speak that version: those that come to be within it.
pub async fn told_over(version: Version, story: impl Future<Output = ()>) {
    SPOKEN.scope(version, story).await;
}

/// Clients of one address, each request from another one on a connection of its own.
#[derive(Clone, Copy, Debug)]
pub struct Clients {
    address: SocketAddr,
    version: Version,
}

impl Clients {
    /// They speak the version that the story is told over; HTTP/1.1 where none is said.
    pub fn of(address: SocketAddr) -> Self {
        Clients { address, version: SPOKEN.try_with(|version| *version).unwrap_or(Version::Http1) }
    }

    /// Connects one of them.
    pub async fn connect(self) -> Connection {
        match self.version {
            Version::Http1 => Connection::Http1(client::Connection::open(self.address).await),
            Version::Http2 => Connection::Http2(http2::Connection::open(self.address).await),
        }
    }

    /// One GET.
    pub async fn get(self, path: &str, fields: &[(&str, &str)]) -> Response {
        self.connect().await.get(path, fields).await
    }

    /// One request of any method.
    pub async fn ask(self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Response {
        self.connect().await.ask(method, path, fields, body).await
    }

    /// Sends a GET, whose response is read at leisure. When the exchange is dropped, the client has gone.
    pub async fn begin(self, path: &str, fields: &[(&str, &str)]) -> Exchange {
        match self.connect().await {
            Connection::Http1(mut connection) => {
                connection.send(client::request("GET", path, fields, "")).await;
                Exchange::Http1(connection)
            }
            Connection::Http2(connection) => Exchange::Http2(connection.begin("GET", path, fields, "")),
        }
    }
}

/// A connection of one client, for one request after another.
pub enum Connection {
    Http1(client::Connection),
    Http2(http2::Connection),
}

impl Connection {
    /// Asks by GET and reads the response.
    pub async fn get(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        self.ask("GET", path, fields, "").await
    }

    /// Asks by any method and reads the response.
    pub async fn ask(&mut self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Response {
        match self {
            Connection::Http1(connection) => {
                connection.send(client::request(method, path, fields, body)).await;
                connection.response(method).await
            }
            Connection::Http2(connection) => {
                let mut exchange = connection.begin(method, path, fields, body);
                let head = exchange.try_head().await.expect("a response begins");
                let (status, body) = (status(&head), exchange.body().await);
                Response { interim: Vec::new(), status, fields: head.fields, body }
            }
        }
    }
}

/// A request that was sent, and its response as far as it was read.
pub enum Exchange {
    Http1(client::Connection),
    Http2(http2::Exchange),
}

impl Exchange {
    /// Reads the head alone.
    pub async fn head(&mut self) -> Head {
        self.try_head().await.expect("a response begins")
    }

    /// The same; `None`: the connection or the stream ended before there was one.
    pub async fn try_head(&mut self) -> Option<Head> {
        match self {
            Exchange::Http1(connection) => connection.try_head().await,
            Exchange::Http2(exchange) => exchange.try_head().await,
        }
    }

    /// Reads the first that there is of a body of unknown length: a chunk, or what a DATA frame holds.
    pub async fn piece(&mut self) -> Vec<u8> {
        match self {
            Exchange::Http1(connection) => connection.chunk().await,
            Exchange::Http2(exchange) => exchange.piece().await,
        }
    }

    /// Reads the body that belongs to the head, or what is left of it.
    pub async fn body(&mut self, head: &Head) -> Body {
        match self {
            Exchange::Http1(connection) => connection.body(head).await,
            Exchange::Http2(exchange) => exchange.body().await,
        }
    }
}
