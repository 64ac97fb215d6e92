//! HTTP/1.1 as bytes, read simply: for the tests' two ends, which must see what larder really sends. Lenient where a
//! test may want to look at something malformed.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Fields in the order and with the names received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The first value of that name, compared without regard to case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// All values of that name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// Whether a list-valued field has that member, compared without regard to case.
    pub fn lists(&self, name: &str, member: &str) -> bool {
        self.all(name).flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(member))
    }
}

/// The head of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Request line or status line.
    pub first_line: String,
    /// Its fields.
    pub fields: Fields,
    /// All of it as received, the empty line included.
    pub raw: Vec<u8>,
}

/// A body as received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Its content, without chunk framing.
    pub content: Vec<u8>,
    /// Trailer fields of a chunked body.
    pub trailers: Fields,
    /// Whether all of it came; `false`: the connection ended before.
    pub whole: bool,
    /// As received, chunk framing included.
    pub raw: Vec<u8>,
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// This many bytes.
    Length(usize),
    /// Chunks.
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

impl Framing {
    /// Of a request.
    pub fn of_request(fields: &Fields) -> Self {
        Framing::stated(fields).unwrap_or(Framing::Empty)
    }

    /// Of a response with that status to a request with that method (RFC 9112 §6.3).
    pub fn of_response(method: &str, status: u16, fields: &Fields) -> Self {
        if method == "HEAD" || matches!(status, 100..=199 | 204 | 304) {
            return Framing::Empty;
        }
        Framing::stated(fields).unwrap_or(Framing::UntilClose)
    }

    fn stated(fields: &Fields) -> Option<Self> {
        if fields.lists("transfer-encoding", "chunked") {
            return Some(Framing::Chunked);
        }
        fields
            .get("content-length")
            .map(|length| Framing::Length(length.parse().expect("a Content-Length is a number")))
    }
}

/// Reads messages from one end of a connection.
#[derive(Debug)]
pub struct Reader<S> {
    stream: S,
    /// Bytes read and not yet taken.
    ahead: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    /// A reader that has read nothing yet.
    pub fn new(stream: S) -> Self {
        Reader { stream, ahead: Vec::new() }
    }

    /// The head of the next message; `None`: the connection ended before its first byte.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        let Some(first) = self.line().await? else { return Ok(None) };
        let mut raw = first.clone();
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            raw.extend(&line);
            match field(&line) {
                Some(field) => fields.push(field),
                None => return Ok(Some(Head { first_line: text(&first), fields: Fields(fields), raw })),
            }
        }
    }

    /// A body of that framing, up to its end or the connection's.
    pub async fn body(&mut self, framing: Framing) -> io::Result<Body> {
        let mut body = Body::default();
        body.whole = match framing {
            Framing::Empty => true,
            Framing::Length(length) => self.length(length, &mut body).await?,
            Framing::Chunked => self.chunks(&mut body).await?,
            Framing::UntilClose => {
                body.raw = self.rest().await?;
                body.content.clone_from(&body.raw);
                true
            }
        };
        Ok(body)
    }

    /// Everything up to the end of the connection.
    pub async fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.more().await? {}
        Ok(std::mem::take(&mut self.ahead))
    }

    async fn length(&mut self, length: usize, body: &mut Body) -> io::Result<bool> {
        while self.ahead.len() < length {
            if !self.more().await? {
                break;
            }
        }
        let taken = self.take(length);
        body.raw.extend(&taken);
        let whole = taken.len() == length;
        body.content.extend(taken);
        Ok(whole)
    }

    /// One chunk of a body: its size, 0 for the last; `None`: it is cut.
    pub async fn chunk(&mut self, body: &mut Body) -> io::Result<Option<usize>> {
        let Some(line) = self.line().await? else { return Ok(None) };
        body.raw.extend(&line);
        let size = text(&line);
        let size = size.split(';').next().unwrap_or_default().trim().to_owned();
        let Ok(size) = usize::from_str_radix(&size, 16) else { return Ok(None) };
        if size > 0 {
            if !self.length(size, body).await? {
                return Ok(None);
            }
            let Some(end) = self.line().await? else { return Ok(None) };
            body.raw.extend(end);
        }
        Ok(Some(size))
    }

    async fn chunks(&mut self, body: &mut Body) -> io::Result<bool> {
        loop {
            match self.chunk(body).await? {
                None => return Ok(false),
                Some(0) => return self.trailers(body).await,
                Some(_) => {}
            }
        }
    }

    async fn trailers(&mut self, body: &mut Body) -> io::Result<bool> {
        loop {
            let Some(line) = self.line().await? else { return Ok(false) };
            body.raw.extend(&line);
            match field(&line) {
                Some(field) => body.trailers.0.push(field),
                None => return Ok(true),
            }
        }
    }

    /// The next line with its end; `None` when the connection ends before there is one.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.ahead.iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.take(end + 1)));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.ahead.drain(..count.min(self.ahead.len())).collect()
    }

    /// Reads on; `false` at the end. A reset is an end: tests ask whether a message was whole, not how it was cut.
    async fn more(&mut self) -> io::Result<bool> {
        match self.stream.read_buf(&mut self.ahead).await {
            Ok(count) => Ok(count > 0),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl<S> Reader<S> {
    /// The stream, to write to.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }
}

/// A field line's name and value; `None` for the empty line.
fn field(line: &[u8]) -> Option<(String, String)> {
    let line = text(line);
    if line.is_empty() {
        return None;
    }
    let (name, value) = line.split_once(':').unwrap_or((&line, ""));
    Some((name.to_owned(), value.trim().to_owned()))
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end_matches(['\r', '\n']).to_owned()
}

#[tokio::test]
async fn reader_takes_messages_apart_by_their_framing() {
    let bytes: &[u8] = b"POST / HTTP/1.1\r\nA: 1\r\na:  2 \r\nTransfer-Encoding: chunked\r\n\r\n\
        3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ncut";
    let mut reader = Reader::new(bytes);
    let head = reader.head().await.unwrap().unwrap();
    assert_eq!(head.first_line, "POST / HTTP/1.1");
    assert_eq!(head.fields.all("A").collect::<Vec<_>>(), ["1", "2"]);
    let body = reader.body(Framing::of_request(&head.fields)).await.unwrap();
    assert_eq!((&*body.content, body.whole, body.trailers.get("t")), (&b"abcde"[..], true, Some("v")));
    assert_eq!(body.raw, b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n");
    let head = reader.head().await.unwrap().unwrap();
    let body = reader.body(Framing::of_response("GET", 200, &head.fields)).await.unwrap();
    assert_eq!((&*body.content, body.whole), (&b"cut"[..], false));
    assert_eq!(reader.head().await.unwrap(), None);
    assert_eq!(Framing::of_response("HEAD", 200, &head.fields), Framing::Empty);
}
