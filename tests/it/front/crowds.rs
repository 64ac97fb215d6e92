//! Crowds of idle, slow and resetting clients, with the real program: others are served, and memory stays bounded.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{Connection, request};
use crate::support::frames;
use crate::support::larder::Larder;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::{long, machine};

/// Resident bytes of a process.
fn resident(larder: &Larder) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", larder.process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_cost_little_and_keep_nobody_out() {
    let _machine = machine().await;
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=600").body("x")).await;
    let larder = Larder::before(&upstream.url()).await;
    larder.until_hit("/").await;
    let count = if long() { 5000 } else { 500 };
    let before = resident(&larder);
    let mut idle = Vec::new();
    for _ in 0..count {
        let mut connection = Connection::open(larder.address).await;
        assert_eq!(connection.get("/", &[]).await.status, 200);
        idle.push(connection);
    }
    let each = resident(&larder).saturating_sub(before) / count;
    println!("{count} idle HTTP/1.1 connections: {each} bytes each");
    // hyper keeps 16 KiB of buffers; a small sample has the process' own growth in it.
    let most = if long() { 32 } else { 64 };
    assert!(each < most * 1024, "{each} bytes each");
    assert!(larder.get("/", &[]).await.is_hit());
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_share_what_they_read() {
    let _machine = machine().await;
    let (size, readers) = if long() { (100 << 20, 100) } else { (8 << 20, 20) };
    let upstream =
        Upstream::start(move |_| Reply::ok().header("cache-control", "no-store").body(vec![b'x'; size])).await;
    let larder = Larder::before(&upstream.url()).await;
    let before = resident(&larder);
    let mut slow = Vec::new();
    for _ in 0..readers {
        let mut stream = TcpStream::connect(larder.address).await.unwrap();
        stream.write_all(request("GET", "/", &[], "").as_bytes()).await.unwrap();
        let mut first = [0; 1024];
        stream.read_exact(&mut first).await.unwrap();
        slow.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(if long() { 5000 } else { 500 })).await;
    let grown = resident(&larder).saturating_sub(before);
    println!("{readers} slow readers of {} MiB: {} MiB more", size >> 20, grown >> 20);
    assert!(grown < 100_000_000, "{grown}");
    assert_eq!(larder.process.output().matches("panicked").count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_leave_others_their_pace() {
    if !long() {
        return; // Measures time under load.
    }
    let _machine = machine().await;
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=600").body("x")).await;
    let larder = Larder::before(&upstream.url()).await;
    larder.until_hit("/").await;
    let mut honest = Connection::open(larder.address).await;
    let mut p99 = async || {
        let mut times = Vec::new();
        for _ in 0..2000 {
            let began = Instant::now();
            assert!(honest.get("/", &[]).await.is_hit());
            times.push(began.elapsed());
        }
        times.sort();
        times[1980]
    };
    let base = p99().await;
    let address = larder.address;
    let attack = tokio::spawn(async move {
        const GET: [(&str, &str); 4] =
            [(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/slow")];
        let mut resets = 0;
        while resets < 10_000 {
            let mut client = frames::Connection::open(address).await;
            for stream in (1..400).step_by(2) {
                client.headers(stream, &GET, true).await;
                client.frame(frames::RST_STREAM, 0, stream, &8u32.to_be_bytes()).await;
                resets += 1;
            }
        }
    });
    let under_attack = p99().await;
    attack.await.unwrap();
    println!("99th percentile of a hit: {base:?}, during 10,000 rapid resets {under_attack:?}");
    assert!(under_attack < 5 * base.max(Duration::from_millis(1)), "{under_attack:?}, usually {base:?}");
}
