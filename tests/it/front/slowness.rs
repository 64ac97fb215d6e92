//! slowhttptest in its four modes: the service stays available throughout.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::larder::Larder;
use crate::support::process::Process;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::{long, machine};

/// How the tool is asked for each kind of slowness: heads, bodies, ranges, reading.
const MODES: [(&str, &[&str]); 4] = [
    ("slow heads", &["-H", "-i", "2", "-t", "GET", "-x", "24"]),
    ("slow bodies", &["-B", "-i", "2", "-s", "8192", "-t", "POST", "-x", "10"]),
    ("ranges", &["-R", "-a", "1", "-b", "3000", "-t", "HEAD"]),
    ("slow reading", &["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3", "-t", "GET"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_keep_nobody_out() {
    if !long() {
        return; // Each mode takes its time.
    }
    let _machine = machine().await;
    let upstream = Upstream::start(|request| match request.path() {
        "/made" => Reply::ok().header("cache-control", "no-store").body("made"),
        _ => Reply::ok().header("cache-control", "max-age=600").body("x".repeat(1 << 20)),
    })
    .await;
    let larder = Larder::before(&upstream.url()).await;
    larder.until_hit("/").await;
    for (mode, options) in MODES {
        let mut command = Command::new("slowhttptest");
        command.args(["-c", "1000", "-r", "500", "-l", "20", "-p", "2", "-u", &format!("http://{}/", larder.address)]);
        let attack = Process::start(command.args(options));
        let began = Instant::now();
        let (mut asked, mut slowest) = (0, Duration::ZERO);
        while began.elapsed() < Duration::from_secs(18) {
            for path in ["/", "/made"] {
                let one = Instant::now();
                assert_eq!(larder.get(path, &[]).await.status, 200, "{mode}");
                slowest = slowest.max(one.elapsed());
                asked += 1;
            }
        }
        println!("{mode}: {asked} others answered meanwhile, the slowest in {slowest:?}");
        assert!(slowest < Duration::from_secs(1), "{mode}: {slowest:?}");
        let finished = attack.finish(Duration::from_secs(60)).await;
        assert!(!finished.output.contains("Connection refused"), "{mode}: {}", finished.output);
    }
}
