//! How long hits take at a steady rate: from when each was due, so that a server that falls behind cannot hide it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Connections that take turns.
const CONNECTIONS: usize = 64;

/// Requests are sent, and counted after the first tenth, for so long.
const RUN: Duration = Duration::from_secs(5);

struct Connection {
    stream: TcpStream,
    /// When the request under way was due.
    asked: Option<Instant>,
    /// When the next one is.
    due: Instant,
    /// Bytes of the response that have come.
    read: usize,
}

/// Asks `address` for `path` so many times a second and prints percentiles. Burns a core, which should not be the
/// server's: no timer is as fine as this has to be.
pub fn at_rate(address: SocketAddr, path: &str, rate: u32) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: app.test\r\n\r\n").into_bytes();
    let length = length_of_response(address, &request);
    let began = Instant::now();
    let every = Duration::from_secs(CONNECTIONS as u64) / rate;
    let mut connections: Vec<Connection> = (0..CONNECTIONS as u32)
        .map(|at| {
            let stream = connect(address);
            stream.set_nonblocking(true).expect("a connected socket");
            Connection { stream, asked: None, due: began + every * at / CONNECTIONS as u32, read: 0 }
        })
        .collect();
    let mut took: Vec<Duration> = Vec::new();
    let mut buffer = [0; 64 * 1024];
    while began.elapsed() < RUN {
        for connection in &mut connections {
            let Some(asked) = connection.asked else {
                if connection.due <= Instant::now() {
                    connection.stream.write_all(&request).expect("a request fits into the socket");
                    connection.asked = Some(connection.due);
                    connection.due += every;
                }
                continue;
            };
            match connection.stream.read(&mut buffer) {
                Ok(0) => panic!("the server closed a connection"),
                Ok(read) => connection.read += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => panic!("{error}"),
            }
            if connection.read >= length {
                connection.read -= length;
                connection.asked = None;
                if asked > began + RUN / 10 {
                    took.push(asked.elapsed());
                }
            }
        }
    }
    took.sort_unstable();
    let percentile = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    let (p50, p99, p999) = (percentile(0.5), percentile(0.99), percentile(0.999));
    let reached = took.len() as f64 / (RUN * 9 / 10).as_secs_f64();
    println!("{reached:.0} of {rate} a second   p50 {p50:.1?}   p99 {p99:.1?}   p99.9 {p999:.1?}");
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_nodelay(true).expect("a connected socket");
    stream
}

/// Bytes of a response, head and all: hits that are asked for alike are as long, but for the age.
fn length_of_response(address: SocketAddr, request: &[u8]) -> usize {
    let mut stream = connect(address);
    let mut length = 0;
    // The first may be a miss.
    for _ in 0..2 {
        stream.write_all(request).expect("the request is taken");
        let mut buffer = vec![0; 1024 * 1024];
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a connected socket");
        length = 0;
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            length += read;
        }
    }
    length
}
