//! A tap on the line between larder and the scripted upstream: keeps every byte that larder sends, whether or not it
//! ever becomes a request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// Fields that larder adds to every request on HTTP/1, whose values follow from the connection.
const OWN_FIELDS: [&str; 5] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "via"];

/// A running tap. It ends, with its connections, when it is dropped.
pub struct Tap {
    address: SocketAddr,
    bytes: Arc<Mutex<Vec<u8>>>,
    _accepting: AbortOnDropHandle<()>,
}

impl Tap {
    /// On the line to that upstream.
    pub async fn before(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let bytes = Arc::default();
        let accepting = tokio::spawn(accept(listener, upstream, Arc::clone(&bytes)));
        Tap { address, bytes, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// As a URL without path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What larder has sent since the last call, over all connections, [`normal`], without the fields that it adds to
    /// every request.
    pub fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.bytes.lock().expect("no holder panics"));
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let own = |line: &str| OWN_FIELDS.iter().any(|name| line.split(':').next() == Some(name));
        normal(&text.split_inclusive('\n').filter(|line| !own(line)).collect::<String>())
    }
}

/// The same requests written in one way: the fields of each head in alphabetical order, which means nothing, and a
/// chunked body as one chunk, since where chunks end depends on how bytes arrive.
pub fn normal(mut requests: &str) -> String {
    let mut normal = String::new();
    while let Some((head, rest)) = requests.split_once("\r\n\r\n") {
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let mut fields: Vec<&str> = lines.collect();
        fields.sort_unstable();
        normal += &[&[first], &*fields, &["\r\n"]].concat().join("\r\n");
        requests = rest;
        if fields.contains(&"transfer-encoding: chunked") {
            let (content, rest) = dechunked(requests);
            requests = rest;
            if !content.is_empty() {
                normal += &format!("{:x}\r\n{content}\r\n", content.len());
            }
        } else if let Some(length) = fields.iter().find_map(|field| field.strip_prefix("content-length: ")) {
            let (content, rest) = requests.split_at(length.parse().expect("a length is a number"));
            normal += content;
            requests = rest;
        }
    }
    normal + requests
}

/// The content of the chunks that `text` begins with, up to the last chunk, and the rest.
fn dechunked(mut text: &str) -> (String, &str) {
    let mut content = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("larder writes plain sizes");
        if size == 0 || rest.len() < size + 2 {
            break;
        }
        content += &rest[..size];
        text = &rest[size + 2..];
    }
    (content, text)
}

async fn accept(listener: TcpListener, upstream: SocketAddr, bytes: Arc<Mutex<Vec<u8>>>) {
    // Connections end with this task, which ends with the `Tap`.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        let bytes = bytes.clone();
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect(upstream).await else { return };
            for stream in [&client, &server] {
                let _ = stream.set_nodelay(true);
            }
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let kept = async {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                    bytes.lock().expect("no holder panics").extend(&buffer[..read]);
                    if to_server.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
                let _ = to_server.shutdown().await;
            };
            let back = async {
                let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
                let _ = to_client.shutdown().await;
            };
            tokio::join!(kept, back);
        });
    }
}
