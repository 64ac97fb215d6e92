//! Bodies that are often asked for, which the kernel sends from files in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use larder::cache::purge::PurgeTarget;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::ok;
use crate::support::client::{Connection, request};
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

/// More than it takes until a body is copied.
const OFTEN: usize = 40;

/// Bytes in which no part is like another of the same body, or of that with another seed.
fn bytes(len: usize, seed: u8) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32 + u32::from(seed);
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn image(body: Vec<u8>) -> Reply {
    Reply::ok().header("cache-control", "max-age=600").header("content-type", "image/png").body(body)
}

fn copied(proxy: &Proxy) -> u64 {
    proxy.app.proxy.cache.file_copies.held()
}

#[tokio::test]
async fn copied_bodies_arrive_as_they_are() {
    let upstream = Upstream::start(|request| match request.path()[1..].parse() {
        Ok(len) => image(bytes(len, 0)).header("etag", "\"v1\""),
        Err(_) => ok("max-age=600", &"compressible ".repeat(5000)).header("content-type", "text/html"),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    // Around the least and the largest that is copied, and around one and two segments of the loopback interface.
    for len in [16 << 10, 65_000, 65_483, 1 << 16, 131_000, 200_001, 1 << 20] {
        let path = format!("/{len}");
        let before = copied(&proxy);
        let mut connection = Connection::open(proxy.address).await;
        for _ in 0..OFTEN {
            assert!(connection.get(&path, &[]).await.body.content == bytes(len, 0), "{len}");
        }
        assert!(copied(&proxy) > before, "{len}");
        // The same connection, for what is no whole body.
        let range = connection.get(&path, &[("range", "bytes=100-20099")]).await;
        assert!(range.status == 206 && range.body.content == bytes(len, 0)[100..len.min(20_100)], "{len}");
        connection.send(request("HEAD", &path, &[], "")).await;
        assert_eq!(connection.response("HEAD").await.field("content-length"), len.to_string());
        assert_eq!(connection.get(&path, &[("if-none-match", "\"v1\"")]).await.status, 304);
        assert!(connection.get(&path, &[]).await.body.content == bytes(len, 0), "{len}");
        // Several in one go.
        connection.send(request("GET", &path, &[], "").repeat(3)).await;
        for _ in 0..3 {
            assert!(connection.response("GET").await.body.content == bytes(len, 0), "{len}");
        }
    }
    for (coding, len) in [("identity", 65_000), ("gzip", 0)] {
        let first = proxy.get("/text", &[("accept-encoding", coding)]).await;
        assert!(len == 0 || first.body.content.len() == len);
        for _ in 0..OFTEN {
            let next = proxy.get("/text", &[("accept-encoding", coding)]).await;
            assert!(next.body.content == first.body.content, "{coding}");
        }
    }
}

#[tokio::test]
async fn what_is_too_small_or_not_asked_for_again_or_by_head_alone_is_not_copied() {
    let upstream =
        Upstream::start(|request| image(bytes(if request.path() == "/small" { 16_000 } else { 20_000 }, 0))).await;
    let proxy = Proxy::before(&upstream);
    for _ in 0..OFTEN {
        proxy.get("/small", &[]).await;
    }
    for page in 0..OFTEN {
        proxy.get(&format!("/{page}"), &[]).await;
        proxy.get(&format!("/{page}"), &[]).await;
    }
    proxy.get("/page", &[]).await;
    for _ in 0..OFTEN {
        proxy.ask("HEAD", "/page", &[], "").await;
    }
    assert_eq!(copied(&proxy), 0);
}

/// Who speaks through a Unix socket gets no files, so that nothing is copied for it.
#[tokio::test]
async fn nothing_is_copied_for_a_unix_socket() {
    let upstream = Upstream::start(|_| image(bytes(100_000, 0))).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("larder.sock");
    let proxy = Proxy::as_written(&format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[[listeners]]\naddress = \"unix:{}\"\n[upstreams.app]\nservers = \
         [\"http://{}\"]\n",
        path.display(),
        upstream.address()
    ));
    let mut stream = BufReader::new(tokio::net::UnixStream::connect(&path).await.unwrap());
    for _ in 0..OFTEN {
        stream.write_all(request("GET", "/a", &[], "").as_bytes()).await.unwrap();
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
        }
        let mut body = vec![0; 100_000];
        stream.read_exact(&mut body).await.unwrap();
        assert!(body == bytes(100_000, 0));
    }
    assert_eq!(copied(&proxy), 0);
}

/// Who has begun to read a copy gets all of it, whatever becomes of the body meanwhile.
#[tokio::test]
async fn slow_reader_of_a_copy_gets_no_other_bytes() {
    const LEN: usize = 1 << 20;
    let version = Arc::new(AtomicU8::new(1));
    let current = version.clone();
    let upstream = Upstream::start(move |_| image(bytes(LEN, current.load(Ordering::SeqCst)))).await;
    let proxy = Proxy::before(&upstream);
    let often = async || {
        for _ in 0..OFTEN {
            assert!(proxy.get("/a", &[]).await.body.content == bytes(LEN, version.load(Ordering::SeqCst)));
        }
    };
    often().await;
    assert_eq!(copied(&proxy), LEN as u64);
    let mut readers = Vec::new();
    for next in 2..=4 {
        let mut reader = Connection::open(proxy.address).await;
        reader.send(request("GET", "/a", &[], "")).await;
        let head = reader.head().await;
        readers.push((next - 1, reader, head));
        version.store(next, Ordering::SeqCst);
        assert_eq!(proxy.purge(PurgeTarget::Url("http://app.test/a".to_owned())), 1);
        often().await;
    }
    for (seed, mut reader, head) in readers {
        assert!(reader.body(&head).await.content == bytes(LEN, seed), "{seed}");
    }
    assert!(proxy.purge(PurgeTarget::Url("http://app.test/a".to_owned())) == 1);
    assert_eq!(copied(&proxy), 0, "nobody holds one any more");
}
