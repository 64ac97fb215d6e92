//! A client for HTTP/2 that costs next to nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::PAGE;

/// One connection with prior knowledge that blocks its thread.
#[derive(Debug)]
pub struct Http2Client<S = TcpStream> {
    stream: S,
    next: u32,
    buffer: Vec<u8>,
    read: usize,
}

impl Http2Client {
    /// Connects, with windows that need no more opening.
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_nodelay(true).expect("a connected socket");
        Http2Client::over(stream)
    }
}

impl<S: Read + Write> Http2Client<S> {
    /// Speaks over a stream.
    pub fn over(mut stream: S) -> Self {
        let mut opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        opening.extend(frame(4, 0, 0, &[]));
        opening.extend(frame(8, 0, 0, &0x7fff_0000_u32.to_be_bytes()));
        opening.extend(frame(4, 1, 0, &[]));
        stream.write_all(&opening).expect("the preface is taken");
        Http2Client { stream, next: 1, buffer: vec![0; 64 * 1024], read: 0 }
    }

    /// The stream; what was kept to speak over it is given back.
    pub fn into_stream(self) -> S {
        self.stream
    }

    /// Asks for [`PAGE`] on so many streams at once and reads all the responses.
    pub fn ask(&mut self, streams: u32) {
        let mut block = vec![0x82, 0x86, 0x04, PAGE.len() as u8];
        block.extend_from_slice(PAGE.as_bytes());
        // :authority, user-agent and accept, each by its index in the static table and not to be indexed.
        for (name, value) in [(1, "app.test"), (58, "measure/1.0"), (19, "*/*")] {
            let index: &[u8] = if name < 15 { &[name] } else { &[15, name - 15] };
            block.extend_from_slice(index);
            block.push(value.len() as u8);
            block.extend_from_slice(value.as_bytes());
        }
        let mut requests = Vec::new();
        for _ in 0..streams {
            requests.extend(frame(1, 5, self.next, &block));
            self.next += 2;
        }
        self.stream.write_all(&requests).expect("the requests are taken");
        let mut open = streams;
        while open > 0 {
            match self.stream.read(&mut self.buffer[self.read..]).expect("the responses come") {
                0 => panic!("the connection ends early"),
                more => self.read += more,
            }
            let mut at = 0;
            while self.read - at >= 9 {
                let head = &self.buffer[at..at + 9];
                let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                if self.read - at < 9 + length {
                    break;
                }
                assert!(!matches!(head[3], 3 | 7), "reset or going away");
                open -= u32::from(head[3] <= 1 && head[4] & 1 == 1);
                at += 9 + length;
            }
            self.buffer.copy_within(at..self.read, 0);
            self.read -= at;
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}
