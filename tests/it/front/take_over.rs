//! A new process takes over the listening sockets, and nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::support::client::{Connection, request, status};
use crate::support::larder::Larder;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::{PATIENCE, long, machine, within};

/// Clients that ask without a pause, each request on a connection of its own or several on one, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn on(address: std::net::SocketAddr) -> Self {
        let load = Load { stop: Arc::default(), answered: Arc::default(), failed: Arc::default(), clients: Vec::new() };
        let clients = (0..16).map(|number| {
            let (stop, answered, failed) = (load.stop.clone(), load.answered.clone(), load.failed.clone());
            tokio::spawn(async move {
                while !stop.load(SeqCst) {
                    match ask(address, number).await {
                        true => answered.fetch_add(1, SeqCst),
                        false => failed.fetch_add(1, SeqCst),
                    };
                }
            })
        });
        Load { clients: clients.collect(), ..load }
    }

    async fn answers(&self, more: usize) {
        let goal = self.answered.load(SeqCst) + more;
        within("answers", async {
            while self.answered.load(SeqCst) < goal {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    async fn end(self) -> (usize, usize) {
        self.stop.store(true, SeqCst);
        for client in self.clients {
            within("a client to end", client).await.unwrap();
        }
        (self.answered.load(SeqCst), self.failed.load(SeqCst))
    }
}

/// One request, a POST or a GET that may hit; whether it was answered whole.
async fn ask(address: std::net::SocketAddr, number: usize) -> bool {
    let mut connection = Connection::open(address).await;
    let (method, path) = if number.is_multiple_of(2) { ("GET", "/hit") } else { ("POST", "/made") };
    connection.send(request(method, path, &[("Connection", "close")], "")).await;
    let head = connection.try_head().await;
    match head {
        Some(head) => status(&head) == 200 && connection.body(&head).await.whole,
        None => false,
    }
}

async fn upstream() -> Upstream {
    Upstream::start(|request| match request.path() {
        "/hit" => Reply::ok().header("cache-control", "max-age=60").body("hit"),
        _ => Reply::ok().header("cache-control", "no-store").piece("one").piece("two"),
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn take_over_under_load_fails_no_request() {
    let _machine = machine().await;
    let upstream = upstream().await;
    let mut larder = Larder::before(&upstream.url()).await;
    let load = Load::on(larder.address);
    load.answers(if long() { 5000 } else { 300 }).await;
    let first = larder.process.id();
    larder.process.signal("USR2");
    let pid = |line: &str| line.split_once("a new process takes over pid=")?.1.trim().parse::<u32>().ok();
    let second = larder.process.line("that a new process takes over", pid).await;
    assert_ne!(first, second);
    larder.process.hand_over_to(second).await;
    load.answers(if long() { 5000 } else { 300 }).await;
    assert!(larder.process.output().contains("cut=0"), "{}", larder.process.output());
    assert!(larder.metric("larder_requests_total", "").await > 0.0, "metrics are the new one's");
    let (answered, failed) = load.end().await;
    assert_eq!(failed, 0, "of {}", answered + failed);
    println!("take-over: {answered} answered, {failed} failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn successor_that_can_not_start_leaves_the_old_one_serving() {
    let upstream = upstream().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxy.toml");
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[upstreams.app]\nservers = [\"{}\"]\n[access_log]\ntarget = \"off\"\n",
        upstream.url()
    );
    std::fs::write(&file, &text).unwrap();
    let mut larder = Larder::configured(&file).await;
    std::fs::write(&file, "nonsense").unwrap();
    larder.process.signal("USR2");
    larder.process.line("that it has ended", |line| line.contains("this one goes on").then_some(())).await;
    assert_eq!(larder.get("/hit", &[]).await.status, 200);
    larder.process.signal("TERM");
    let finished = larder.process.finish(PATIENCE).await;
    assert_eq!(finished.status.code(), Some(0), "{}", finished.output);
}
