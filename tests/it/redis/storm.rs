//! A storm of kill -9: nodes and Redis die at random under load, and never is a purged or a corrupt page served.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::client::{Connection, request};
use crate::support::larder::{Larder, TOKEN};
use crate::support::redis::Redis;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::{long, machine};

/// Pages that are asked for and purged.
const PAGES: u32 = 8;

/// What is true of the pages: their versions as the app has them, and the least that nobody may fall short of.
#[derive(Default)]
struct Truth {
    current: [AtomicU64; PAGES as usize],
    /// A purge of what came before this version has been acknowledged by every node.
    least: [AtomicU64; PAGES as usize],
}

/// A body that shows its version, and that it is whole.
fn body(page: u32, version: u64) -> String {
    let filler = format!("<{page}.{version}>").repeat(200);
    format!("{page} {version} {:016x} {filler}", xxhash(&filler))
}

fn xxhash(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The version that a body shows; the test fails when it is not whole.
fn version_of(page: u32, text: &str) -> u64 {
    let mut parts = text.splitn(4, ' ');
    let mut part = || parts.next().unwrap_or_default();
    let (shown, version) = (part().to_owned(), part().parse().unwrap_or_default());
    assert_eq!(text, body(page, version), "page {page}, which says that it is {shown}, is corrupt");
    version
}

async fn start(file: &Path) -> Larder {
    Larder::configured(file).await
}

/// Purges; whether all three nodes say within a while that they have it.
async fn purge(larder: &Larder, redis: &Redis, url: &str) -> bool {
    let (host, bearer) = (larder.control.to_string(), format!("Bearer {TOKEN}"));
    let fields = [("Host", &*host), ("Authorization", &*bearer), ("Content-Type", "application/json")];
    let mut connection = Connection::open(larder.control).await;
    connection.send(request("POST", "/v1/purge", &fields, &json!({ "url": url }).to_string())).await;
    let _ = connection.response("POST").await;
    for _ in 0..20 {
        if larder.metric("larder_purge_link_waiting", "").await == 0.0 && all_have_all(redis) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// Whether three nodes that were alive a moment ago have applied the last purge there is.
fn all_have_all(redis: &Redis) -> bool {
    let last = redis.cli(&["XREVRANGE", "larder:purges", "+", "-", "COUNT", "1"]);
    let Some(last) = last.lines().next().and_then(id) else { return false };
    let now = larder::clock::Clock::system().wall().as_millis();
    let states = redis.cli(&["HVALS", "larder:nodes"]);
    let alive = states.lines().filter_map(|state| {
        let (applied, seen) = state.split_once(' ')?;
        let is_alive = now - seen.parse::<i64>().ok()? < 2_000;
        is_alive.then(|| id(applied))?
    });
    let (count, all) = alive.fold((0, true), |(count, all), applied| (count + 1, all && applied >= last));
    count >= 3 && all
}

/// An entry's id, so that ids compare.
fn id(text: &str) -> Option<(u64, u64)> {
    let (time, number) = text.split_once('-')?;
    Some((time.parse().ok()?, number.parse().ok()?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storm_of_kills_serves_nothing_purged_and_nothing_corrupt() {
    let _machine = machine().await;
    let rounds = if long() { 100 } else { 6 };
    let truth = Arc::new(Truth::default());
    let app = truth.clone();
    let upstream = Upstream::start(move |request| {
        let page: u32 = request.path().trim_start_matches('/').parse().unwrap_or_default();
        let version = app.current[page as usize].load(Ordering::SeqCst);
        Reply::ok().header("cache-control", "max-age=3600").body(body(page, version))
    })
    .await;
    let mut redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let files = tempfile::tempdir().unwrap();
    let file: PathBuf = files.path().join("larder.toml");
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[upstreams.app]\nservers = [\"{}\"]\n\
         [cache.redis]\nurl = \"{}\"\nstrict = true\n",
        upstream.url(),
        redis.url()
    );
    std::fs::write(&file, text).unwrap();
    let mut nodes = [start(&file).await, start(&file).await, start(&file).await];
    let seed = larder::cache::record::new_id();
    let mut random = seed;
    let mut draw = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let (mut served, mut acknowledged) = (0_u32, 0_u32);
    for round in 0..rounds {
        let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
        let (over, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let load: Vec<_> = addresses
            .into_iter()
            .map(|address| {
                let (over, seen, truth) = (over.clone(), seen.clone(), truth.clone());
                tokio::spawn(async move {
                    let mut page = 0;
                    while !over.load(Ordering::Relaxed) {
                        page = (page + 1) % PAGES;
                        let least = truth.least[page as usize].load(Ordering::SeqCst);
                        // A node that was killed does not answer: that is no answer that could be wrong.
                        let Some(text) = ask(address, page).await else {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                            continue;
                        };
                        let version = version_of(page, &text);
                        assert!(
                            version >= least,
                            "page {page}: {version} was purged, {least} is the least (seed {seed})"
                        );
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for _ in 0..4 {
            let page = draw(u64::from(PAGES)) as usize;
            let version = truth.current[page].fetch_add(1, Ordering::SeqCst) + 1;
            let by = &nodes[draw(3) as usize];
            if purge(by, &redis, &format!("http://app.test/{page}")).await {
                truth.least[page].fetch_max(version, Ordering::SeqCst);
                acknowledged += 1;
            }
        }
        match draw(4) {
            0 => {
                redis.kill();
                tokio::time::sleep(Duration::from_millis(draw(100))).await;
                redis.start_again().await;
            }
            at => {
                let at = at as usize - 1;
                nodes[at].process.kill();
                nodes[at] = start(&file).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        over.store(true, Ordering::Relaxed);
        for task in load {
            task.await.unwrap_or_else(|failed| panic!("round {round}: {failed}"));
        }
        served += seen.load(Ordering::Relaxed);
    }
    assert!(served > rounds * 10, "{served} answers");
    assert!(acknowledged > 0, "no purge was acknowledged by all");
}

/// Asks a node that may be gone.
async fn ask(address: std::net::SocketAddr, page: u32) -> Option<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let asking = async {
        let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
        let text = format!("GET /{page} HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let length: usize = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned))?
            .parse()
            .ok()?;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        // Cut by the kill of the node.
        (body.len() == length).then(|| body.to_owned())
    };
    tokio::time::timeout(Duration::from_secs(10), asking).await.ok()?
}
