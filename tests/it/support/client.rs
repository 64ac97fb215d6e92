//! A client that speaks HTTP/1.1 in raw bytes, and reads responses by their framing.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::wire::{Body, Fields, Framing, Head, Reader};
use super::within;

/// A response as received.
#[derive(Clone, Debug)]
pub struct Response {
    /// Interim responses that came before it.
    pub interim: Vec<Head>,
    /// Its status code.
    pub status: u16,
    /// Its fields.
    pub fields: Fields,
    /// Its body.
    pub body: Body,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body.content).into_owned()
    }

    /// The first value of a field; empty when there is none.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_default()
    }

    /// Whether `Cache-Status` tells of a hit.
    pub fn is_hit(&self) -> bool {
        let mut parameters = self.field("cache-status").split(';').map(str::trim);
        parameters.next() == Some("larder") && parameters.any(|parameter| parameter == "hit")
    }
}

/// A connection of one client.
#[derive(Debug)]
pub struct Connection {
    reader: Reader<TcpStream>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.expect("somebody listens");
        stream.set_nodelay(true).expect("a connected socket");
        Connection { reader: Reader::new(stream) }
    }

    /// Sends bytes as they are. That the other side has gone is seen by what is read then.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within("bytes to be taken", self.reader.stream().write_all(bytes.as_ref())).await;
    }

    /// Reads the response to a request with that method, interim responses before it included.
    pub async fn response(&mut self, method: &str) -> Response {
        within("a response", async {
            let mut interim = Vec::new();
            loop {
                let head = self.head().await;
                let status = status(&head);
                if (100..200).contains(&status) && status != 101 {
                    interim.push(head);
                    continue;
                }
                let framing = Framing::of_response(method, status, &head.fields);
                let body = self.reader.body(framing).await.expect("the connection is read");
                return Response { interim, status, fields: head.fields, body };
            }
        })
        .await
    }

    /// Reads a head alone, interim or not; the body is left.
    pub async fn head(&mut self) -> Head {
        within("a head", self.reader.head()).await.expect("the connection is read").expect("a response begins")
    }

    /// The same; `None`: the connection ended before there was one.
    pub async fn try_head(&mut self) -> Option<Head> {
        within("a head or the end", self.reader.head()).await.ok().flatten()
    }

    /// Reads the body that belongs to a head read alone, of a response to a method other than HEAD.
    pub async fn body(&mut self, head: &Head) -> Body {
        let framing = Framing::of_response("GET", status(head), &head.fields);
        within("a body", self.reader.body(framing)).await.expect("the connection is read")
    }

    /// Reads one chunk of a body in chunks; the rest is left.
    pub async fn chunk(&mut self) -> Vec<u8> {
        let mut body = Body::default();
        within("a chunk", self.reader.chunk(&mut body)).await.expect("the connection is read");
        body.content
    }

    /// Asks by GET for a path, with further fields, and reads the response.
    pub async fn get(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        self.send(request("GET", path, fields, "")).await;
        self.response("GET").await
    }

    /// Waits until the other side closes; returns what came before.
    pub async fn rest(&mut self) -> Vec<u8> {
        within("the end of a connection", self.reader.rest()).await.expect("the connection is read")
    }
}

/// Asks by GET on a connection of its own.
pub async fn get(address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> Response {
    Connection::open(address).await.get(path, fields).await
}

/// A request's bytes. `Host` is `app.test` unless given; a body that is not empty gets its length.
pub fn request(method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text.push_str("Host: app.test\r\n");
    }
    text.extend(fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text + "\r\n" + body
}

/// The status code of a response's head.
pub fn status(head: &Head) -> u16 {
    let code = head.first_line.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.unwrap_or_else(|| panic!("not a status line: {:?}", head.first_line))
}
