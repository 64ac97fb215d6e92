//! A client that speaks HTTP/2 with prior knowledge, on hyper.

use std::net::SocketAddr;
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::wire::{Body, Fields, Head};
use super::within;

/// A connection of one client; streams run on it side by side. It closes when its last clone is gone.
#[derive(Clone)]
pub struct Connection {
    sender: http2::SendRequest<Full<Bytes>>,
    authority: String,
    _driving: std::sync::Arc<AbortOnDropHandle<()>>,
}

impl Connection {
    /// Connects; requests name `address` as their authority.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.expect("somebody listens");
        stream.set_nodelay(true).expect("a connected socket");
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = within("an HTTP/2 handshake", handshake).await.expect("HTTP/2 is spoken");
        let driving = tokio::spawn(async move {
            // How a connection ends is seen by its streams.
            let _ = connection.await;
        });
        let driving = AbortOnDropHandle::new(driving).into();
        Connection { sender, authority: address.to_string(), _driving: driving }
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

    /// Sends a request as [`super::client::request`] writes it: its authority is `app.test` unless a `Host` is given.
    pub fn begin(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Exchange {
        let is_host = |name: &str| name.eq_ignore_ascii_case("host");
        let authority = fields.iter().find(|(name, _)| is_host(name)).map_or("app.test", |(_, value)| value);
        let mut request = Request::builder().method(method).uri(format!("http://{authority}{path}"));
        for (name, value) in fields.iter().filter(|(name, _)| !is_host(name)) {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).expect("a field value"));
        }
        let request = request.body(Full::from(body.to_owned())).expect("a request");
        let head = Box::pin(self.sender.clone().send_request(request));
        Exchange { stream: Stream::Sent(head), _connection: self.clone() }
    }
}

/// A stream whose response is read at leisure. It is reset when this is dropped before its end.
pub struct Exchange {
    stream: Stream,
    _connection: Connection,
}

enum Stream {
    Sent(Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>),
    Head(Incoming),
}

impl Exchange {
    /// Reads the head, once; `None`: the stream ended before there was one.
    pub async fn try_head(&mut self) -> Option<Head> {
        let Stream::Sent(response) = &mut self.stream else { panic!("the head was read") };
        let (parts, body) = within("a head or the end", response).await.ok()?.into_parts();
        self.stream = Stream::Head(body);
        let first_line = format!("HTTP/2 {}", parts.status.as_u16());
        Some(Head { first_line, fields: fields(&parts.headers), raw: Vec::new() })
    }

    /// Reads what one DATA frame holds.
    pub async fn piece(&mut self) -> Vec<u8> {
        let frame = within("a frame", self.incoming().frame()).await.expect("the body goes on").expect("no error");
        frame.into_data().expect("data").to_vec()
    }

    /// Reads the body, up to its end or the stream's.
    pub async fn body(&mut self) -> Body {
        let incoming = self.incoming();
        within("a body", async {
            let mut body = Body { whole: true, ..Body::default() };
            while let Some(frame) = incoming.frame().await {
                match frame.map(hyper::body::Frame::into_data) {
                    Ok(Ok(data)) => body.content.extend(&data),
                    Ok(Err(other)) => body.trailers = fields(other.trailers_ref().expect("data or trailers")),
                    Err(_) => {
                        body.whole = false;
                        break;
                    }
                }
            }
            body
        })
        .await
    }

    fn incoming(&mut self) -> &mut Incoming {
        match &mut self.stream {
            Stream::Sent(_) => panic!("the head comes first"),
            Stream::Head(incoming) => incoming,
        }
    }
}

fn fields(map: &HeaderMap) -> Fields {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Fields(map.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect())
}
