//! A larder that nobody asks for anything sleeps.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::client::Connection;
use crate::support::larder::Larder;
use crate::support::machine;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

/// How long nothing is asked.
const WINDOW: Duration = Duration::from_secs(2);
/// What has begun before may take this many windows to end.
const WINDOWS: usize = 10;
/// Times that a thread may wake in a window. What wakes twice a second takes a dozen.
const FEW: u64 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_process_is_not_woken() {
    let _machine = machine().await;
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("cooked")).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxy.toml");
    let servers = format!("[\"{}\"]", upstream.url());
    std::fs::write(&file, format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n[upstreams.app]\nservers = {servers}\n"))
        .unwrap();
    let larder = Larder::configured(&file).await;
    // Both sides keep a connection.
    let mut client = Connection::open(larder.address).await;
    assert_eq!(client.get("/page", &[]).await.text(), "cooked");

    let mut woken = Vec::new();
    for _ in 0..WINDOWS {
        let before = wakes(larder.process.id());
        tokio::time::sleep(WINDOW).await;
        let after = wakes(larder.process.id());
        let in_window: u64 =
            after.iter().map(|(thread, count)| count - before.get(thread).copied().unwrap_or_default()).sum();
        if in_window <= FEW {
            return;
        }
        woken.push(in_window);
    }
    panic!("threads woke so often in {WINDOW:?} each: {woken:?}");
}

/// How often each thread of a process has slept and was woken.
fn wakes(process: u32) -> HashMap<PathBuf, u64> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let of_one = |thread: PathBuf| {
        // One that is no longer needed may just have ended.
        let status = std::fs::read_to_string(thread.join("status")).ok()?;
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        Some((thread, count.trim().parse().unwrap()))
    };
    tasks.flatten().filter_map(|thread| of_one(thread.path())).collect()
}
