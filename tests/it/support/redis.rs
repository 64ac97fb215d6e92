//! Real redis-servers: alone, as primary and replicas with a sentinel, as a cluster; and a proxy that misbehaves in
//! front of them.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::process::Command;
use std::sync::Arc;

use parking_lot::Mutex;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::process::{POLL, Process};
use super::within;

/// A running redis-server. Killed when dropped.
pub struct Redis {
    process: Process,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Where it runs.
    pub dir: Arc<TempDir>,
    arguments: Vec<String>,
    /// Keeps the port for it, also while it is down.
    _held: Socket,
}

impl Redis {
    /// A server that keeps nothing on disk.
    pub async fn start() -> Self {
        Redis::with(&[]).await
    }

    /// With further arguments, e.g. `--requirepass x`.
    pub async fn with(arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        Redis::within(dir, arguments).await
    }

    async fn within(dir: Arc<TempDir>, arguments: Vec<String>) -> Self {
        let (held, port) = held_port();
        let process = Redis::run(port, &dir, &arguments).await;
        Redis { process, port, dir, arguments, _held: held }
    }

    async fn run(port: u16, dir: &TempDir, arguments: &[String]) -> Process {
        let mut command = Command::new("redis-server");
        command.current_dir(dir.path());
        if arguments.first().is_some_and(|first| first.ends_with(".conf")) {
            command.arg(&arguments[0]).args(["--port", &port.to_string()]).args(&arguments[1..]);
        } else {
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]).args(arguments);
        }
        let mut process = Process::start(&mut command);
        let is_ready = |line: &str| line.contains("Ready to accept connections") || line.contains("Sentinel ID is");
        process.line("readiness", |line| is_ready(line).then_some(())).await;
        process
    }

    /// `redis://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Kills it and starts it again on the same port.
    pub async fn restart(&mut self) {
        self.kill();
        self.start_again().await;
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port, after it was killed.
    pub async fn start_again(&mut self) {
        self.process = Redis::run(self.port, &self.dir, &self.arguments).await;
    }

    /// Stops it (SIGSTOP), or lets it go on (SIGCONT).
    pub fn stop(&self, stopped: bool) {
        self.process.signal(if stopped { "STOP" } else { "CONT" });
    }

    /// Asks it by its own client; the answer.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(arguments).output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Asks until the answer is as expected.
    pub async fn until(&self, arguments: &[&str], is_so: impl Fn(&str) -> bool) {
        within(&format!("{arguments:?}"), async {
            while !is_so(&self.cli(arguments)) {
                tokio::time::sleep(POLL).await;
            }
        })
        .await;
    }
}

/// A primary, a replica, and a sentinel that watches them.
pub struct Watched {
    /// The one that takes writes at first.
    pub primary: Redis,
    /// The one that takes over.
    pub replica: Redis,
    /// Who decides.
    pub sentinel: Redis,
}

impl Watched {
    /// Starts all three; the sentinel gives the primary up after half a second.
    pub async fn start() -> Self {
        let primary = Redis::start().await;
        let port = primary.port.to_string();
        let replica =
            Redis::with(&["--replicaof", &format!("127.0.0.1 {port}"), "--repl-diskless-sync-delay", "0"]).await;
        primary.until(&["INFO", "replication"], |info| info.contains("state=online")).await;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("sentinel.conf");
        let lines = [
            format!("sentinel monitor app 127.0.0.1 {port} 1"),
            "sentinel down-after-milliseconds app 500".to_owned(),
            "sentinel failover-timeout app 2000".to_owned(),
        ];
        std::fs::write(&file, lines.join("\n") + "\n").expect("the sentinel's configuration");
        let arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
        let sentinel = Redis::within(Arc::new(dir), arguments).await;
        sentinel.until(&["SENTINEL", "replicas", "app"], |replicas| replicas.contains(&replica.port.to_string())).await;
        Watched { primary, replica, sentinel }
    }

    /// `redis+sentinel://…/app`
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/app", self.sentinel.port)
    }
}

/// Three primaries with a replica each, as a cluster.
pub struct Cluster {
    /// All six; the first three are the primaries at first.
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts the six processes and joins them.
    pub async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..6 {
            nodes.push(
                Redis::with(&[
                    "--cluster-enabled",
                    "yes",
                    "--cluster-node-timeout",
                    "1000",
                    "--cluster-replica-validity-factor",
                    "0",
                    "--cluster-port",
                    &free_port().to_string(),
                ])
                .await,
            );
        }
        let addresses: Vec<String> = nodes.iter().map(|node| node.address().to_string()).collect();
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(&addresses);
        super::process::run(create.args(["--cluster-replicas", "1", "--cluster-yes"])).await;
        for node in &nodes {
            node.until(&["CLUSTER", "INFO"], |info| info.contains("cluster_state:ok")).await;
            node.until(&["CLUSTER", "NODES"], |nodes| nodes.matches("slave").count() == 3).await;
        }
        Cluster { nodes }
    }

    /// `redis+cluster://…`
    pub fn url(&self) -> String {
        let addresses: Vec<String> = self.nodes[..3].iter().map(|node| node.address().to_string()).collect();
        format!("redis+cluster://{}", addresses.join(","))
    }
}

/// A port on which nobody listens now.
pub fn free_port() -> u16 {
    // A cluster's bus would be 10000 higher, unless told otherwise.
    StdListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

/// A port that is kept for whoever binds it to listen, by a socket that does not.
fn held_port() -> (Socket, u16) {
    let held = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    held.set_reuse_address(true).expect("a socket allows that");
    held.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    let address = held.local_addr().ok().and_then(|address| address.as_socket()).expect("it is bound");
    (held, address.port())
}

/// How a [`Between`] treats what passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Hands it on.
    #[default]
    Honest,
    /// Hands it on after so many milliseconds.
    Slow(u64),
    /// Swallows it.
    Silent,
    /// Closes connections, old and new.
    Cut,
}

/// A TCP proxy that misbehaves on request.
pub struct Between {
    /// Where it listens.
    pub address: SocketAddr,
    mood: watch::Sender<Mood>,
    connections: watch::Receiver<usize>,
    _tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Between {
    /// In front of a server.
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (mood, tasks) = (watch::Sender::default(), Arc::new(Mutex::new(JoinSet::new())));
        let (watched, weak) = (mood.subscribe(), Arc::downgrade(&tasks));
        let (count, connections) = watch::channel(0);
        tasks.lock().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                let Some(tasks) = weak.upgrade() else { return };
                tasks.lock().spawn(relay(client, server, watched.clone()));
            }
        });
        Between { address, mood, connections, _tasks: tasks }
    }

    /// How often it was connected to so far.
    pub fn connections(&self) -> usize {
        *self.connections.borrow()
    }

    /// Changes how it treats what passes from now on.
    pub fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// `redis://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}

async fn relay(client: TcpStream, server: SocketAddr, mut mood: watch::Receiver<Mood>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = pass(from_client, to_server, mood.clone()) => {}
        () = pass(from_server, to_client, mood.clone()) => {}
        _ = mood.wait_for(|mood| *mood == Mood::Cut) => {}
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWriteExt + Unpin, mood: watch::Receiver<Mood>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let now = *mood.borrow();
        match now {
            Mood::Honest => {}
            Mood::Slow(milliseconds) => tokio::time::sleep(std::time::Duration::from_millis(milliseconds)).await,
            Mood::Silent => continue,
            Mood::Cut => return,
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
