//! A new process takes over the listening sockets, and nobody notices.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::client::{Connection, request, status};
use crate::support::larder::Larder;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::{PATIENCE, long, machine, within};

/// Clients that ask without a pause, half of them each request on a connection of its own, the others one after another
/// on a connection that is kept alive, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn on(address: std::net::SocketAddr) -> Self {
        let load = Load { stop: Arc::default(), answered: Arc::default(), failed: Arc::default(), clients: Vec::new() };
        let clients = (0..16).map(|number| {
            let (stop, answered, failed) = (load.stop.clone(), load.answered.clone(), load.failed.clone());
            tokio::spawn(async move {
                let mut kept = None;
                while !stop.load(SeqCst) {
                    match ask(address, number, &mut kept).await {
                        Ok(()) => _ = answered.fetch_add(1, SeqCst),
                        Err(why) => failed.lock().expect("no holder panics").push(why),
                    }
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

    async fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, SeqCst);
        for client in self.clients {
            within("a client to end", client).await.unwrap();
        }
        (self.answered.load(SeqCst), self.failed.lock().expect("no holder panics").clone())
    }
}

/// One request, a POST or a GET that may hit; how it was not answered whole.
async fn ask(address: std::net::SocketAddr, number: usize, kept: &mut Option<Connection>) -> Result<(), String> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::open(address).await,
    };
    let (method, path) = if number.is_multiple_of(2) { ("GET", "/hit") } else { ("POST", "/made") };
    let fields: &[_] = if number % 4 < 2 { &[("Connection", "close")] } else { &[] };
    connection.send(request(method, path, fields, "")).await;
    let Some(head) = connection.try_head().await else {
        return Err(format!("client {number}: no answer"));
    };
    let whole = connection.body(&head).await.whole;
    if head.fields.get("connection") != Some("close") {
        *kept = Some(connection);
    }
    let complete = status(&head) == 200 && whole;
    complete.then_some(()).ok_or_else(|| format!("client {number}: {}, whole: {whole}", head.first_line))
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
    assert_eq!(failed, [""; 0], "{answered} were answered");
    println!("take-over: {answered} answered, 0 failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_fails_no_request_on_a_connection_that_is_kept_alive() {
    let _machine = machine().await;
    let upstream = upstream().await;
    let larder = Larder::before(&upstream.url()).await;
    let address = larder.address;
    let signalled = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..16)
        .map(|number| {
            let signalled = signalled.clone();
            tokio::spawn(async move {
                let mut kept = Some(Connection::open(address).await);
                let mut answered = 0;
                // Number 2 and 3 of four keep their connection until they are told that it ends.
                while kept.is_some() {
                    ask(address, 4 * number + 2 + number % 2, &mut kept).await.expect("an answer");
                    assert!(kept.is_some() || signalled.load(SeqCst), "closed for no reason");
                    answered += 1;
                    tokio::time::sleep(Duration::from_millis(number as u64)).await;
                }
                answered
            })
        })
        .collect();
    within("answers", async {
        while larder.metric("larder_requests_total", "").await < 500.0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    signalled.store(true, SeqCst);
    larder.process.signal("TERM");
    let mut answered = 0;
    for client in clients {
        answered += within("a client to be told", client).await.expect("each request is answered");
    }
    let finished = larder.process.finish(PATIENCE).await;
    assert_eq!(finished.status.code(), Some(0), "{}", finished.output);
    assert!(finished.output.contains("cut=0"), "{}", finished.output);
    println!("SIGTERM: {answered} answered, 0 failed");
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
