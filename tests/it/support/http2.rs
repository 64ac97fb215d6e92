//! A client that speaks HTTP/2 with prior knowledge, on hyper.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::within;

/// A connection of one client; streams run on it side by side.
pub struct Connection {
    sender: http2::SendRequest<Full<Bytes>>,
    authority: String,
    _driving: AbortOnDropHandle<()>,
}

impl Connection {
    /// Connects; requests name `address` as their authority.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.expect("somebody listens");
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = within("an HTTP/2 handshake", handshake).await.expect("HTTP/2 is spoken");
        let driving = tokio::spawn(async move {
            // How a connection ends is seen by its streams.
            let _ = connection.await;
        });
        Connection { sender, authority: address.to_string(), _driving: AbortOnDropHandle::new(driving) }
    }

    /// A GET request for that path, to be amended.
    pub fn get(&self, path: &str) -> http::request::Builder {
        Request::get(format!("http://{}{path}", self.authority))
    }

    /// Sends a request and reads the response, body included. An error is the stream's or the connection's.
    pub async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, hyper::Error> {
        within("a response", async {
            let (parts, body) = self.sender.clone().send_request(request).await?.into_parts();
            Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
        })
        .await
    }
}
