//! How purges travel between the nodes: each adds its own to a stream in Redis, and follows the stream from where it
//! left off.
//!
//! A session begins with what was missed: nothing stored is used meanwhile. Then this node's purges that the stream
//! does not have yet are added, and only when they have come back by the stream are other nodes' responses used again.
//! What ends a session is Redis being away; until the next one, purges wait in the log.

mod figures;
mod state;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::connect::Connector;
use super::fault::Fault;
use super::gate::Gate;
use super::stream::{Entry, Stream, What};
use crate::cache::purge::{Mode, Purge, PurgeLog, PurgeTarget, Shared};
use crate::clock::Clock;
use crate::config::settings::redis::{Redis, RedisServer};
use crate::policy::reason::Tier;
pub use figures::LinkFigures;
use state::{State, WAITED_FOR};

/// What becomes of purges, on this node and others.
pub trait Purges: Send + Sync + 'static {
    /// The log of purges of this node.
    fn log(&self) -> &Arc<PurgeLog>;

    /// Applies a purge of another node, at its place in the shared sequence; one of this node's own is in force
    /// already, and gets its place.
    fn apply(&self, purge: Purge, shared: Shared);

    /// Whether a node, or the shared sequence itself (`redis`), has a purge of this node's.
    fn reached(&self, id: &str, node: &str, has: bool);
}

/// The way of purges to and from the other nodes. Ends its tasks when dropped.
pub struct PurgeLink {
    link: Arc<Link>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stops: DropGuard,
}

struct Link {
    connector: Connector,
    server: RedisServer,
    node: String,
    prefix: String,
    history: usize,
    strict: bool,
    gate: Arc<Gate>,
    clock: Clock,
    purges: Arc<dyn Purges>,
    state: Mutex<State>,
    /// Nodes that were alive when last asked.
    known: Mutex<Vec<String>>,
    progress: watch::Sender<u64>,
    wake: Notify,
    /// Whether this node is about to end, so that nobody waits for it any more.
    leaving: AtomicBool,
    left: Notify,
}

/// What the shared sequence is called among the nodes that have a purge.
pub const SEQUENCE: &str = "redis";
/// What the log knows the other nodes by.
const NODES: &str = "nodes";
/// How long a read waits for something to come.
const BLOCK: Duration = Duration::from_millis(500);
/// Longest time of any other operation: none is on a request's path.
const PATIENCE: Duration = Duration::from_secs(1);
/// What is missed is to be known within this; else Redis is away.
const CATCH_UP: Duration = Duration::from_secs(5);
/// A pause is caught up with within this.
const RESUME: Duration = Duration::from_millis(500);
/// For so long after a pause, a Redis that does not answer may be one that is slow to wake up like this process.
const WAKING: Duration = Duration::from_secs(5);
/// How often a node says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often it is asked who has a purge, while somebody has not.
const ASK_NODES: Duration = Duration::from_millis(20);
/// A node that has not said so for this long is not waited for.
const ALIVE: i64 = 10_000;
/// And for this long, forgotten.
const FORGOTTEN: i64 = 600_000;
/// Pauses between sessions that fail.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
impl PurgeLink {
    /// A link that begins to connect at once. `None`: no way for purges is configured. Must be called within a tokio
    /// runtime.
    pub fn start(settings: &Redis, gate: Arc<Gate>, clock: Clock, purges: Arc<dyn Purges>) -> Option<PurgeLink> {
        let server = settings.purging.as_ref()?;
        let link = Arc::new(Link {
            connector: Connector::new(server),
            server: server.clone(),
            node: settings.node.clone().unwrap_or_else(node_name),
            prefix: settings.prefix.clone(),
            history: settings.purge_history,
            strict: settings.strict,
            gate,
            clock,
            purges,
            state: Mutex::default(),
            known: Mutex::default(),
            progress: watch::Sender::new(0),
            wake: Notify::new(),
            leaving: AtomicBool::new(false),
            left: Notify::new(),
        });
        // The log keeps a purge until it has its place in the shared sequence.
        link.purges.log().register(NODES, link.purges.log().first_outstanding());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (ticking, following) = (link.clone(), link.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move { ticking.gate.keep_ticking().await }));
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move { following.run().await }));
        Some(PurgeLink { link, tasks, stop: stop.clone(), _stops: stop.drop_guard() })
    }

    /// Has a purge of this node's that is in the log added to the stream. Waits, for as long as `patience`, until it
    /// is there and every node that is alive has it. Whether that is so; if not, it will be by and by.
    pub async fn share(&self, id: &str, patience: Duration) -> bool {
        let link = &self.link;
        {
            let state = link.state.lock();
            if !state.has_sent(id) {
                link.purges.reached(id, SEQUENCE, false);
                link.known.lock().iter().for_each(|node| link.purges.reached(id, node, false));
            }
        }
        link.wake.notify_one();
        let mut progress = link.progress.subscribe();
        let done = progress.wait_for(|_| link.state.lock().is_acknowledged(id));
        tokio::time::timeout(patience, done).await.is_ok()
    }

    /// Tells the other nodes, if that can be done within `patience`, not to wait for this one any more. After that the
    /// link is at its end: what is stored is not used any more.
    pub async fn leave(&self, patience: Duration) {
        let left = self.link.left.notified();
        self.link.leaving.store(true, Ordering::Release);
        self.link.wake.notify_one();
        if self.link.gate.is_in_step() {
            let _ = tokio::time::timeout(patience, left).await;
        }
        // Not left to the end of the runtime, which has no timers any more: tasks that wait for one would panic.
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(patience, self.tasks.wait()).await;
    }

    /// How it is, and what it did.
    pub fn figures(&self) -> LinkFigures {
        let link = &self.link;
        let state = link.state.lock();
        LinkFigures {
            node: link.node.clone(),
            standing: link.gate.standing(),
            fault: state.fault,
            waiting: link.purges.log().unshared().len() as u64,
            applied: state.applied,
            sessions: state.sessions,
            lost: state.lost,
            pauses: link.gate.pauses(),
            nodes: link.known.lock().len() as u64,
        }
    }
}

impl Link {
    async fn run(&self) {
        let mut backoff = BACKOFF.0;
        loop {
            let (began, sessions) = (Instant::now(), self.state.lock().sessions);
            let Err(fault) = self.session().await;
            self.gate.notice_pause();
            if self.has_to_ask_again(fault, sessions) {
                continue;
            }
            self.gate.lose();
            let is_new = {
                let mut state = self.state.lock();
                state.fault.replace(fault) != Some(fault)
            };
            if is_new {
                let (fault, advice) = (fault.word(), fault.advice());
                let meanwhile = if self.strict { "nothing stored is served" } else { "what is held is served" };
                tracing::warn!(redis = %self.server, fault, advice, meanwhile, "purges do not reach other nodes");
            }
            if began.elapsed() > BACKOFF.1 {
                backoff = BACKOFF.0;
            }
            tokio::select! {
                () = tokio::time::sleep(backoff) => {}
                // Requests wait to be told whether anything can be known.
                () = self.gate.paused() => {}
            }
            backoff = (backoff * 2).min(BACKOFF.1);
        }
    }

    /// Whether nothing can be concluded from a fault yet, because this process was stopped: deadlines that passed
    /// meanwhile, and connections that broke, say nothing about Redis. It is asked anew, and given some time to answer,
    /// before requests are told that nothing can be known.
    fn has_to_ask_again(&self, fault: Fault, sessions_before: u64) -> bool {
        let was_open = self.state.lock().sessions != sessions_before;
        self.gate.behind_for().is_some_and(|behind| was_open || (fault == Fault::Timeout && behind < WAKING))
    }

    /// Follows the stream until something fails.
    async fn session(&self) -> Result<std::convert::Infallible, Fault> {
        let stream = Stream {
            reader: self.connector.connect(BLOCK + PATIENCE).await?,
            writer: self.connector.connect(PATIENCE).await?,
            stream_key: format!("{}:purges", self.prefix).into_bytes(),
            nodes_key: format!("{}:nodes", self.prefix).into_bytes(),
            history: self.history,
        };
        // A Redis that hangs is connected to all the same: until it answers it is away, and what is held is served on.
        stream.bounds().await?;
        self.gate.close();
        within(CATCH_UP, self.take_up(&stream)).await?;
        self.gate.open();
        let fault = {
            let mut state = self.state.lock();
            state.sessions += 1;
            state.fault.take()
        };
        match fault {
            Some(fault) => tracing::info!(redis = %self.server, was = fault.word(), "purges reach other nodes again"),
            None => tracing::info!(redis = %self.server, node = self.node, "purges reach other nodes"),
        }
        tokio::try_join!(self.follow(&stream), self.tend(&stream)).map(|(never, _)| never)
    }

    /// Learns what was missed, and adds what the stream has missed.
    async fn take_up(&self, stream: &Stream) -> Result<(), Fault> {
        self.state.lock().sent.clear();
        self.check_continuity(stream).await?;
        self.catch_up(stream).await?;
        self.send(stream).await?;
        self.catch_up(stream).await?;
        // Asked first: that this node is missing tells that all of them are.
        self.ask_nodes(stream).await?;
        self.acknowledge(stream).await
    }

    /// Finds out whether the stream still has all that this node has not seen. Where it has not, what is held from
    /// before goes.
    async fn check_continuity(&self, stream: &Stream) -> Result<(), Fault> {
        let log = self.purges.log();
        let position = log.shared_position();
        let is_fresh = position == (0, 0);
        let bounds = match stream.bounds().await? {
            Some(bounds) => Some(bounds),
            None => {
                stream.begin(position).await?;
                stream.bounds().await?
            }
        };
        let Some((first, last)) = bounds else { return Err(Fault::Protocol) };
        // Of what was stored before the first entry there is, nobody can tell whether it was purged.
        log.raise_shared_floor(first.id);
        if is_fresh || (first.id <= position && position <= last) {
            return Ok(());
        }
        let was_begun_anew = last < position || matches!(first.what, What::Begun);
        if was_begun_anew {
            self.send_again(stream, first.id, last).await?;
        }
        // A stream that was lost with its Redis is made whole by the nodes that go on; one that was trimmed is not,
        // and whoever was away cannot wait for them.
        if !was_begun_anew || self.strict || self.gate.behind_for().is_some() {
            tracing::warn!(redis = %self.server, trimmed = !was_begun_anew, "missed purges cannot be known: dropping what is held");
            self.state.lock().lost += 1;
            let all = Purge::new(vec![PurgeTarget::All], Mode::Hard, self.clock.wall());
            self.purges.apply(all, first.id.max(position));
        }
        Ok(())
    }

    /// Adds purges of this node that the stream had, and lost.
    async fn send_again(&self, stream: &Stream, first: Shared, last: Shared) -> Result<(), Fault> {
        let lost: Vec<Purge> = {
            let mut state = self.state.lock();
            let (kept, lost) = state.mine.drain(..).partition(|(_, at)| (first..=last).contains(at));
            state.mine = kept;
            Vec::from(lost).into_iter().map(|(purge, _)| purge).collect()
        };
        for purge in lost {
            let shared = stream.publish(&purge).await?;
            self.remember(purge, shared);
        }
        Ok(())
    }

    /// Applies all there is.
    async fn catch_up(&self, stream: &Stream) -> Result<(), Fault> {
        loop {
            let entries = stream.after(self.purges.log().shared_position()).await?;
            if entries.is_empty() {
                return Ok(());
            }
            apart(|| self.apply(entries));
        }
    }

    /// Applies what comes, and says so; and catches up when this process was stopped.
    async fn follow(&self, stream: &Stream) -> Result<std::convert::Infallible, Fault> {
        loop {
            let position = self.purges.log().shared_position();
            let next = stream.next(position, BLOCK.as_millis() as u64);
            tokio::pin!(next);
            let entries = loop {
                tokio::select! {
                    entries = &mut next => break entries?,
                    () = self.gate.paused() => {
                        within(RESUME, self.catch_up(stream)).await?;
                        self.gate.open();
                        tracing::info!("the process had been stopped; purges have been caught up with");
                    }
                }
            };
            if !entries.is_empty() {
                apart(|| self.apply(entries));
                self.acknowledge(stream).await?;
            }
        }
    }

    fn apply(&self, entries: Vec<Entry>) {
        let log = self.purges.log();
        for entry in entries {
            // What a look beside the reader has brought already.
            if entry.id <= log.shared_position() {
                continue;
            }
            match entry.what {
                What::Purged(purge) => {
                    let mut state = self.state.lock();
                    state.applied += 1;
                    state.sent.remove(&purge.id);
                    drop(state);
                    self.purges.apply(purge, entry.id);
                }
                // It may mean anything: everything is on the safe side.
                What::Unknown => {
                    self.purges.apply(Purge::new(vec![PurgeTarget::All], Mode::Hard, self.clock.wall()), entry.id);
                }
                What::Begun => {}
            }
            log.reached(entry.id);
        }
        let position = log.position();
        let unshared = log.unshared();
        log.applied(NODES, unshared.first().map_or(position, |first| first.seq - 1));
    }

    /// Sends this node's purges, and says that it is alive.
    async fn tend(&self, stream: &Stream) -> Result<std::convert::Infallible, Fault> {
        let mut appended = self.purges.log().subscribe();
        let mut beat = Instant::now() + HEARTBEAT;
        loop {
            let pause = if self.state.lock().unacknowledged.is_empty() { HEARTBEAT } else { ASK_NODES };
            tokio::select! {
                changed = appended.changed() => if changed.is_err() { std::future::pending::<()>().await },
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            self.send(stream).await?;
            if self.leaving.load(Ordering::Acquire) {
                stream.forget(&self.node).await?;
                self.left.notify_waiters();
            }
            if !self.state.lock().unacknowledged.is_empty() {
                self.ask_nodes(stream).await?;
            }
            if Instant::now() >= beat {
                self.bound_log();
                self.ask_nodes(stream).await?;
                self.acknowledge(stream).await?;
                beat = Instant::now() + HEARTBEAT;
            }
        }
    }

    /// What Redis holds may be older than any purge: the log would keep them all. Beyond as many as the stream keeps,
    /// what was stored before them counts as purged instead.
    fn bound_log(&self) {
        let log = self.purges.log();
        let Some(most) = log.retained().checked_sub(self.history) else { return };
        let cut = log.since(0).into_iter().take(most).take_while(|logged| logged.shared().is_some()).last();
        if let Some((cut, shared)) = cut.and_then(|cut| Some((cut.seq, cut.shared()?))) {
            log.raise_shared_floor(shared);
            log.applied(Tier::Redis.word(), cut);
        }
    }

    /// Adds the purges of this node that the stream does not have.
    async fn send(&self, stream: &Stream) -> Result<(), Fault> {
        for logged in self.purges.log().unshared() {
            if self.state.lock().sent.contains_key(&logged.purge.id) {
                continue;
            }
            let shared = stream.publish(&logged.purge).await?;
            self.remember(logged.purge.clone(), shared);
        }
        Ok(())
    }

    fn remember(&self, purge: Purge, shared: Shared) {
        let mut state = self.state.lock();
        self.purges.reached(&purge.id, SEQUENCE, true);
        state.remember(purge, shared);
    }

    async fn acknowledge(&self, stream: &Stream) -> Result<(), Fault> {
        if self.leaving.load(Ordering::Acquire) {
            return Ok(());
        }
        let applied = self.purges.log().shared_position();
        stream.acknowledge(&self.node, applied, self.clock.wall().as_millis()).await
    }

    /// Finds out which nodes have which purges of this one's.
    async fn ask_nodes(&self, stream: &Stream) -> Result<(), Fault> {
        let now = self.clock.wall().as_millis();
        let nodes = stream.nodes().await?;
        for (gone, ..) in nodes.iter().filter(|(_, _, seen)| now.saturating_sub(*seen) > FORGOTTEN) {
            stream.forget(gone).await?;
        }
        let absent = self.state.lock().absent(&nodes, &self.node, &self.known.lock());
        let unacknowledged: Vec<(String, Shared, Instant)> = self.state.lock().unacknowledged.iter().cloned().collect();
        let mut open = Vec::new();
        for (id, shared, since) in &unacknowledged {
            let mut is_done = absent.is_empty() && nodes.iter().any(|(node, ..)| *node == self.node);
            absent.iter().for_each(|node| self.purges.reached(id, node, false));
            for (node, applied, seen) in &nodes {
                if now.saturating_sub(*seen) > FORGOTTEN {
                    continue;
                }
                let has = applied >= shared;
                self.purges.reached(id, node, has);
                is_done &= has;
            }
            if !is_done && since.elapsed() < WAITED_FOR {
                open.push(id.clone());
            }
        }
        let alive = nodes.into_iter().filter(|(_, _, seen)| now.saturating_sub(*seen) <= ALIVE).map(|(node, ..)| node);
        *self.known.lock() = alive.chain(absent).collect();
        let asked_for: Vec<&String> = unacknowledged.iter().map(|(id, ..)| id).collect();
        // What was sent meanwhile has not been asked for.
        self.state.lock().unacknowledged.retain(|(id, ..)| open.contains(id) || !asked_for.contains(&id));
        self.progress.send_modify(|count| *count += 1);
        Ok(())
    }
}

/// Does what may take long, as thousands of patterns do to compile, while another thread goes on with what else this one
/// had to do.
fn apart(work: impl FnOnce()) {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

async fn within<T>(patience: Duration, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::time::timeout(patience, work).await.unwrap_or(Err(Fault::Timeout))
}

/// The machine's name and something that tells processes on it apart.
fn node_name() -> String {
    let host = sysinfo::System::host_name().unwrap_or_else(|| "larder".to_owned());
    format!("{host}-{:08x}", crate::cache::record::new_id() as u32)
}

impl fmt::Debug for PurgeLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PurgeLink").field("server", &self.link.server).field("node", &self.link.node).finish()
    }
}
