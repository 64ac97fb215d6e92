//! A client that writes HTTP/2 frames by hand: what no library would send must be sent somehow.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

/// Frame types (RFC 9113 §6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags of frames.
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 0x20;

/// How a stream ended for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By a response with this status.
    Response(u16),
    /// By RST_STREAM, with its error code.
    Reset(u32),
    /// By GOAWAY, with its error code.
    GoAway(u32),
    /// By the end of the connection.
    Closed,
}

impl Ending {
    /// Whether the request was refused, whichever way: by a 4xx or an error.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Ending::Response(status) if !(400..500).contains(status))
    }
}

/// A connection of one client.
pub struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// Connects, and sends the preface and empty settings.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.expect("somebody listens");
        let mut connection = Connection { stream };
        connection.bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        connection.frame(SETTINGS, 0, 0, &[]).await;
        connection
    }

    /// Sends one frame. That the other side has gone is seen by what is read then.
    pub async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a frame is small").to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.bytes(&frame).await;
    }

    /// Sends a whole header block, and with it the end of the stream if that is wanted.
    pub async fn headers(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) {
        let flags = if end { END_HEADERS | END_STREAM } else { END_HEADERS };
        self.frame(HEADERS, flags, stream, &block(fields)).await;
    }

    /// Waits for the end of a stream, or of the connection with it.
    pub async fn ending(&mut self, wanted: u32) -> Ending {
        within("the end of a stream", async {
            loop {
                let Some((kind, flags, stream, payload)) = self.read().await else { return Ending::Closed };
                match kind {
                    HEADERS if stream == wanted => return Ending::Response(status(&payload)),
                    RST_STREAM if stream == wanted => return Ending::Reset(number(&payload)),
                    GOAWAY if number(&payload[4..]) != 0 => return Ending::GoAway(number(&payload[4..])),
                    SETTINGS if flags & ACK == 0 => self.frame(SETTINGS, ACK, 0, &[]).await,
                    _ => {}
                }
            }
        })
        .await
    }

    /// Reads the next frame: type, flags, stream, payload; `None`: the connection has ended.
    pub async fn read(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).ok()?;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Some((head[3], head[4], stream, payload))
    }

    async fn bytes(&mut self, bytes: &[u8]) {
        let _ = within("bytes to be taken", self.stream.write_all(bytes)).await;
    }
}

/// A header block of literals without indexing (RFC 7541 §6.2.2): it says exactly what is given.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a 7-bit prefix (RFC 7541 §5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The status a header block begins with, behind updates of the table's size: indexed, or a literal with an indexed
/// name whose digits may be Huffman-coded (5 or 6 bits each).
fn status(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20).expect("a block has fields");
    match block[start..] {
        [indexed @ 0x88..=0x8e, ..] => INDEXED[usize::from(indexed - 0x88)],
        [0x08 | 0x18 | 0x48, length, ref value @ ..] => {
            let value = &value[..usize::from(length & 0x7f)];
            if length & 0x80 == 0 {
                return String::from_utf8_lossy(value).parse().expect("a status is a number");
            }
            let bits = value.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (4 - value.len()));
            digits(bits)
        }
        _ => panic!("no status: {block:x?}"),
    }
}

fn digits(mut bits: u32) -> u16 {
    (0..3).fold(0, |status, _| {
        let (digit, length) = match bits >> 27 {
            small @ 0..=2 => (small, 5),
            _ => ((bits >> 26) - 0b011001 + 3, 6),
        };
        bits <<= length;
        status * 10 + digit as u16
    })
}

#[test]
fn status_is_read_from_what_libraries_write() {
    for (block, expected) in [
        (&[0x88][..], 200),
        (&[0x20, 0x8d], 404),
        (&[0x48, 3, b'4', b'2', b'1'], 421),
        (&[0x48, 0x82, 0x68, 0x41], 421),
        (&[0x08, 0x83, 0x6c, 0x0c, 0xff], 503),
    ] {
        assert_eq!(status(block), expected, "{block:x?}");
    }
}
