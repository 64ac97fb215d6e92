//! Purges between nodes, each with a log of its own and a way to the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder::cache::purge::{Mode, Purge, PurgeLog, PurgeTarget, Shared};
use larder::cache::redis::gate::{Gate, Standing};
use larder::cache::redis::link::{PurgeLink, Purges, SEQUENCE};
use larder::clock::Clock;
use larder::config::settings::redis::Redis as Settings;
use larder::policy::time::Timestamp;
use parking_lot::Mutex;

use super::client::server;
use crate::support::machine;
use crate::support::redis::{Between, Mood, Redis};
use crate::support::within;

/// A node: what it purged, and what it knows of others having it.
struct Node {
    link: PurgeLink,
    seen: Arc<Seen>,
    gate: Arc<Gate>,
}

struct Seen {
    log: Arc<PurgeLog>,
    applied: Mutex<Vec<Purge>>,
    reached: Mutex<BTreeMap<(String, String), bool>>,
}

impl Purges for Seen {
    fn log(&self) -> &Arc<PurgeLog> {
        &self.log
    }
    fn apply(&self, purge: Purge, shared: Shared) {
        self.applied.lock().push(purge.clone());
        self.log.append_shared(purge, shared);
    }
    fn reached(&self, id: &str, node: &str, has: bool) {
        self.reached.lock().insert((id.to_owned(), node.to_owned()), has);
    }
}

fn now() -> Timestamp {
    Clock::system().now()
}

fn settings(name: &str, port: u16) -> Settings {
    Settings {
        bodies: None,
        purging: Some(server(port)),
        node: Some(name.to_owned()),
        prefix: "larder".to_owned(),
        timeout: Duration::from_millis(20),
        connections: 2,
        max_object: 1 << 20,
        collapse: false,
        strict: false,
        purge_history: 10_000,
    }
}

impl Node {
    fn start(settings: &Settings) -> Self {
        Node::with_log(settings, PurgeLog::in_memory())
    }

    fn with_log(settings: &Settings, log: Arc<PurgeLog>) -> Self {
        let seen = Arc::new(Seen { log, applied: Mutex::default(), reached: Mutex::default() });
        let gate = Arc::new(Gate::new(settings.strict));
        let link = PurgeLink::start(settings, gate.clone(), Clock::system(), seen.clone()).unwrap();
        Node { link, seen, gate }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Node) -> bool) {
        within(what, async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    async fn in_step(self) -> Self {
        self.until("it to follow", |node| node.gate.standing() == Standing::InStep).await;
        self
    }

    /// Purges a URL on this node. Its number.
    fn purge(&self, url: &str) -> String {
        let purge = Purge::new(vec![PurgeTarget::Url(url.to_owned())], Mode::Hard, now());
        self.seen.log.append(purge.clone()).unwrap();
        purge.id
    }

    fn has(&self, id: &str) -> bool {
        self.seen.applied.lock().iter().any(|purge| purge.id == id)
    }

    fn dropped_all(&self) -> bool {
        self.seen.applied.lock().iter().any(|purge| purge.targets == [PurgeTarget::All])
    }

    fn reached(&self, id: &str, node: &str) -> Option<bool> {
        self.seen.reached.lock().get(&(id.to_owned(), node.to_owned())).copied()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_reaches_every_node_within_100_ms_and_each_says_so() {
    let _machine = machine().await;
    let redis = Redis::start().await;
    let a = Node::start(&settings("a", redis.port)).in_step().await;
    let b = Node::start(&settings("b", redis.port)).in_step().await;
    let c = Node::start(&settings("c", redis.port)).in_step().await;
    a.until("all nodes", |a| a.link.figures().nodes == 3).await;

    let began = Instant::now();
    let id = a.purge("http://app.test/page");
    for node in [&b, &c] {
        node.until("the purge", |node| node.has(&id)).await;
    }
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    assert!(a.link.share(&id, Duration::from_secs(5)).await);
    for node in [SEQUENCE, "a", "b", "c"] {
        assert_eq!(a.reached(&id, node), Some(true), "{node}");
    }
    assert_eq!(a.seen.log.unshared().len(), 0);
    assert_eq!(a.seen.log.shared_position(), b.seen.log.shared_position());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_while_redis_is_down_waits_is_reported_and_delivered_on_return() {
    let _machine = machine().await;
    let mut redis = Redis::start().await;
    let a = Node::start(&settings("a", redis.port)).in_step().await;
    let b = Node::start(&settings("b", redis.port)).in_step().await;
    a.until("both nodes", |a| a.link.figures().nodes == 2).await;
    redis.kill();
    a.until("the loss", |a| a.gate.standing() == Standing::Alone).await;
    let id = a.purge("http://app.test/page");
    assert!(!a.link.share(&id, Duration::from_millis(50)).await);
    assert_eq!(a.reached(&id, SEQUENCE), Some(false), "never silent success");
    assert_eq!(a.link.figures().waiting, 1);
    // On a busy machine it takes itself for stopped now and then, which it finds out soon.
    a.until("what it holds to be served", |a| a.gate.is_open()).await;
    assert!(!a.gate.is_in_step(), "what others stored is not");

    redis.start_again().await;
    let began = Instant::now();
    b.until("the purge", |b| b.has(&id)).await;
    a.until("its acknowledgement", |a| a.reached(&id, "b") == Some(true)).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    a.until("its being in step", |a| a.link.figures().waiting == 0 && a.gate.is_in_step()).await;
    // Where the machine had stood still while Redis was there, it may have missed something.
    assert!(!b.dropped_all() || b.link.figures().pauses > 0, "a Redis that forgot all is no reason to");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_after_redis_lost_all_is_done_when_the_nodes_that_were_there_have_it() {
    let mut redis = Redis::start().await;
    let between = Between::before(redis.address()).await;
    let a = Node::start(&settings("a", redis.port)).in_step().await;
    let b = Node::start(&settings("b", between.address.port())).in_step().await;
    a.until("both nodes", |a| a.link.figures().nodes == 2).await;
    between.set(Mood::Cut);
    redis.restart().await;
    a.until("its return", |a| a.link.figures().sessions == 2 && a.gate.is_in_step()).await;
    let id = a.purge("http://app.test/page");
    assert!(!a.link.share(&id, Duration::from_millis(300)).await, "nobody knows what has become of b");
    assert_eq!((a.reached(&id, SEQUENCE), a.reached(&id, "b")), (Some(true), Some(false)));
    between.set(Mood::Honest);
    assert!(a.link.share(&id, Duration::from_secs(20)).await);
    assert!(b.has(&id));
    assert_eq!(a.reached(&id, "b"), Some(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purges_that_redis_lost_are_added_again_by_who_made_them() {
    let mut redis = Redis::start().await;
    let a = Node::start(&settings("a", redis.port)).in_step().await;
    let ids = [a.purge("http://app.test/1"), a.purge("http://app.test/2")];
    assert!(a.link.share(&ids[1], Duration::from_secs(5)).await);
    redis.restart().await;
    a.until("its return", |a| a.link.figures().sessions == 2).await;
    let late = Node::start(&settings("late", redis.port)).in_step().await;
    for id in &ids {
        late.until("what was lost", |late| late.has(id)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_was_away_learns_what_it_missed_before_it_uses_anything() {
    let redis = Redis::start().await;
    let between = Between::before(redis.address()).await;
    let a = Node::start(&settings("a", redis.port)).in_step().await;
    let b = Node::start(&settings("b", between.address.port())).in_step().await;
    between.set(Mood::Cut);
    b.until("the loss", |b| b.gate.standing() == Standing::Alone).await;
    let ids: Vec<String> = (0..700).map(|at| a.purge(&format!("http://app.test/{at}"))).collect();
    assert!(!a.link.share(&ids[699], Duration::from_millis(10)).await);
    a.until("the last to be in Redis", |a| a.reached(&ids[699], SEQUENCE) == Some(true)).await;
    a.until("b to be missed", |a| a.reached(&ids[699], "b") == Some(false)).await;

    between.set(Mood::Honest);
    b.until("its return", |b| b.gate.is_in_step()).await;
    assert!(ids.iter().all(|id| b.has(id)), "all of them, before it is in step");
    a.until("its acknowledgement", |a| a.reached(&ids[699], "b") == Some(true)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_missed_more_than_the_stream_keeps_drops_all() {
    let redis = Redis::start().await;
    let between = Between::before(redis.address()).await;
    let few = |name, port| Settings { purge_history: 100, ..settings(name, port) };
    let a = Node::start(&few("a", redis.port)).in_step().await;
    let b = Node::start(&few("b", between.address.port())).in_step().await;
    let first = a.purge("http://app.test/first");
    b.until("the first", |b| b.has(&first)).await;
    between.set(Mood::Cut);
    b.until("the loss", |b| b.gate.standing() == Standing::Alone).await;
    let mut last = String::new();
    for at in 0..600 {
        last = a.purge(&format!("http://app.test/{at}"));
    }
    redis.until(&["XINFO", "STREAM", "larder:purges"], |info| info.contains(&last)).await;
    between.set(Mood::Honest);
    b.until("its return", |b| b.gate.is_in_step()).await;
    assert!(b.dropped_all());
    assert_eq!(b.link.figures().lost, 1);
    assert!(!a.dropped_all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_leaves_is_not_waited_for() {
    let redis = Redis::start().await;
    let a = Node::start(&settings("a", redis.port)).in_step().await;
    let b = Node::start(&settings("b", redis.port)).in_step().await;
    a.until("both nodes", |a| a.link.figures().nodes == 2).await;
    b.link.leave(Duration::from_secs(5)).await;
    drop(b);
    let id = a.purge("http://app.test/page");
    assert!(a.link.share(&id, Duration::from_secs(5)).await);
    assert_eq!(redis.cli(&["HKEYS", "larder:nodes"]), "a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_node_serves_nothing_while_it_cannot_know() {
    let mut redis = Redis::start().await;
    let a = Node::start(&Settings { strict: true, ..settings("a", redis.port) }).in_step().await;
    let id = a.purge("http://app.test/page");
    assert!(a.link.share(&id, Duration::from_secs(5)).await);
    redis.kill();
    a.until("the loss", |a| a.gate.standing() == Standing::Shut).await;
    assert!(!a.gate.wait().await);
    redis.start_again().await;
    a.until("its return", |a| a.gate.is_open()).await;
    assert!(a.dropped_all(), "the stream was lost, and with it what this node may have missed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_whose_redis_hangs_uses_what_it_holds_all_along() {
    let redis = Redis::start().await;
    let between = Between::before(redis.address()).await;
    let a = Node::start(&settings("a", between.address.port())).in_step().await;
    redis.stop(true);
    a.until("the loss", |a| a.gate.standing() == Standing::Alone).await;
    let before = between.connections();
    // It is connected to again and again, and never answers.
    a.until("three more attempts", |a| {
        assert_eq!(a.gate.standing(), Standing::Alone, "it waits for what nobody tells");
        between.connections() >= before + 3
    })
    .await;
    redis.stop(false);
    a.until("its return", |a| a.gate.standing() == Standing::InStep).await;
}
