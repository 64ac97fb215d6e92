//! What measurements share: larder in this process before an origin, and a client that costs next to nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use larder::cli::app::{App, Origin};
use larder::clock::Clock;
use larder::config::{self, Overrides, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Bytes of the body that is served.
pub const BODY: usize = 1024;

/// The fields of the page, as an app sends them.
pub const FIELDS: &str = "content-type: text/html; charset=utf-8\r\ncache-control: max-age=86400\r\n\
                          etag: \"5e1f-1024\"\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

/// The page that hits are asked for.
pub const PAGE: &str = "/shop/page?id=7";
/// A page that nobody may store.
pub const PASS: &str = "/pass";
/// 64 KiB that nobody compresses.
pub const LARGE: &str = "/large";
/// 64 KiB of text.
pub const TEXT: &str = "/text";

/// The rest of a request, nearly as a browser sends it.
const REST: &str = " HTTP/1.1\r\nhost: app.test\r\nuser-agent: measure/1.0\r\naccept: */*\r\n";

/// A listener on a free port.
pub const LISTENER: &str = "[[listeners]]\naddress = \"127.0.0.1:0\"\n";

/// Starts larder, with everything off that is not on the way of a hit, before an origin of its own.
pub async fn larder() -> (Arc<App>, SocketAddr) {
    larder_with(LISTENER).await
}

/// The same with these lines of configuration, which name its listener.
pub async fn larder_with(lines: &str) -> (Arc<App>, SocketAddr) {
    larder_logging(lines, "off").await
}

/// The same with an access log at `target`.
pub async fn larder_logging(lines: &str, target: &str) -> (Arc<App>, SocketAddr) {
    let origin = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let text = format!(
        "{lines}[upstreams.app]\nservers = [\"http://{}\"]\n[access_log]\ntarget = \"{target}\"\n",
        origin.local_addr().expect("it is bound")
    );
    tokio::spawn(serve_origin(origin));
    let overrides = Overrides {
        metrics: Some("off".to_owned()),
        control: Some("off".to_owned()),
        memory: Some("256MiB".to_owned()),
        ..Overrides::default()
    };
    let source = Source::Text { name: "measure".to_owned(), text };
    let settings = config::load(&source, &|_| None, &overrides).unwrap_or_else(|wrong| panic!("{wrong}"));
    let app = App::start(settings, Origin { source, overrides }, Clock::system(), None).expect("larder starts");
    let address = app.addresses()[0];
    (app, address)
}

/// Serves [`PASS`] as what nobody may store, [`LARGE`] and [`TEXT`] as 64 KiB, and all else as a page of [`BODY`]
/// bytes, one connection after another.
pub async fn serve_origin(listener: TcpListener) {
    let response = |fields: &str, body: &str| {
        format!("HTTP/1.1 200 OK\r\n{fields}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let page = response(FIELDS, &"x".repeat(BODY));
    let pass = response(&FIELDS.replace("max-age=86400", "no-store"), &"x".repeat(BODY));
    let large = response(&FIELDS.replace("text/html; charset=utf-8", "image/png"), &"x".repeat(64 * 1024));
    let words: String =
        (0..).map(|word: u64| format!("{:x} ", word.wrapping_mul(0x9e37_79b9_7f4a_7c15))).take(8192).collect();
    let text = response(FIELDS, &words[..64 * 1024]);
    let mut request = [0; 4096];
    while let Ok((mut stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        while let Ok(read @ 1..) = stream.read(&mut request).await {
            let asked = |page: &str| request[..read].get(4..).is_some_and(|rest| rest.starts_with(page.as_bytes()));
            let response = match () {
                () if asked(PASS) => &pass,
                () if asked(LARGE) => &large,
                () if asked(TEXT) => &text,
                () => &page,
            };
            if stream.write_all(response).await.is_err() {
                break;
            }
        }
    }
}

/// One keep-alive connection that blocks its thread, so that hardly anything but the server is measured.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects.
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_nodelay(true).expect("a connected socket");
        Client { stream, request: Vec::with_capacity(1024), buffer: vec![0; 128 * 1024] }
    }

    /// Asks for a page and reads the whole response; returns its head.
    pub fn ask(&mut self, page: &str) -> &str {
        self.ask_with(page, "")
    }

    /// The same with further field lines.
    pub fn ask_with(&mut self, page: &str, fields: &str) -> &str {
        self.request.clear();
        for part in ["GET ", page, REST, fields, "\r\n"] {
            self.request.extend_from_slice(part.as_bytes());
        }
        self.stream.write_all(&self.request).expect("the request is taken");
        let mut read = 0;
        loop {
            match self.stream.read(&mut self.buffer[read..]).expect("the response comes") {
                0 => panic!("the response ends early"),
                more => read += more,
            }
            let Some(end) = memchr::memmem::find(&self.buffer[..read], b"\r\n\r\n") else { continue };
            if body_ended(&self.buffer[..end], &self.buffer[end + 4..read]) {
                return std::str::from_utf8(&self.buffer[..end]).expect("a head is text");
            }
        }
    }
}

fn body_ended(head: &[u8], body: &[u8]) -> bool {
    const LENGTH: &[u8] = b"content-length: ";
    let Some(at) = memchr::memmem::find(head, LENGTH) else { return body.ends_with(b"\r\n0\r\n\r\n") };
    let digits = head[at + LENGTH.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    body.len() == digits.fold(0, |length, digit| 10 * length + usize::from(digit - b'0'))
}
