//! What hyper gets to read through the inspection, whatever the sizes of writes and reads.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_util::sync::CancellationToken;

use super::super::head::HeadLimits;
use super::*;
use crate::proxy::client::Client;

const GOOD: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n\
                    POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
                    POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

fn wire() -> Arc<Wire> {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    Wire::new(Arc::new(Client::new(address, address, false)), Arc::default(), CancellationToken::new(), None)
}

/// All that can be read of what a client sends, then whether reading failed.
async fn read_through(sent: &str, written: usize, read: usize, expected: usize) -> (String, Option<io::ErrorKind>) {
    let (mut client, server) = duplex(written);
    let wire = wire();
    let framing = Http1Framing::new(HeadLimits::new(4096, 1024, 50, 1024));
    let mut inspected = Inspected::new(server, wire, framing, BytesMut::new());
    let reading = async move {
        let (mut got, mut buf) = (Vec::new(), vec![0; read]);
        while got.len() < expected {
            match inspected.read(&mut buf).await {
                Ok(0) => break,
                Ok(len) => got.extend_from_slice(&buf[..len]),
                Err(error) => return (got, Some(error.kind())),
            }
        }
        (got, None)
    };
    let sending = async {
        let _ = client.write_all(sent.as_bytes()).await;
        let _ = client.shutdown().await;
    };
    let ((got, failure), ()) = tokio::join!(reading, sending);
    (String::from_utf8(got).unwrap(), failure)
}

#[tokio::test]
async fn inspected_hands_on_sound_requests_whatever_the_sizes() {
    for (written, read) in [(1, 1), (1, 1000), (7, 3), (1000, 1), (1000, 13), (1000, 1000)] {
        let (got, failure) = read_through(GOOD, written, read, usize::MAX).await;
        assert_eq!((got.as_str(), failure), (GOOD, None), "written by {written}, read by {read}");
    }
}

#[tokio::test]
async fn inspected_puts_the_stand_in_where_a_refused_head_was() {
    let expected = format!("{GOOD}{}", String::from_utf8_lossy(STAND_IN));
    for (written, read) in [(1, 1), (7, 3), (4096, 4096)] {
        let sent = format!("{GOOD}GET /evil HTTP/1.1\r\nHost : a\r\n\r\n{GOOD}");
        let (got, failure) = read_through(&sent, written.max(sent.len()), read, expected.len()).await;
        assert_eq!((got.as_str(), failure), (expected.as_str(), None), "written by {written}, read by {read}");
    }
}

#[tokio::test]
async fn inspected_fails_at_a_bad_chunk_after_handing_on_what_is_good() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (written, read) in [(1, 1), (7, 3), (1000, 1000)] {
        let (got, failure) = read_through(&format!("{head}5\r\nhelloX\r\n{GOOD}"), written, read, usize::MAX).await;
        assert_eq!((got, failure), (format!("{head}5\r\nhello"), Some(io::ErrorKind::InvalidData)));
    }
}

#[tokio::test]
async fn inspected_holds_an_incomplete_head_back() {
    let (got, failure) = read_through("GET / HTTP/1.1\r\nHost: a\r\n", 1000, 1000, usize::MAX).await;
    assert_eq!((got.as_str(), failure), ("", None));
}

#[tokio::test]
async fn inspected_begins_with_what_was_read_before() {
    let (client, server) = duplex(1000);
    drop(client);
    let framing = Http1Framing::new(HeadLimits::new(4096, 1024, 50, 1024));
    let mut inspected = Inspected::new(server, wire(), framing, BytesMut::from(GOOD));
    let mut got = String::new();
    inspected.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, GOOD);
}
