//! Asks a Redis, within a deadline of milliseconds.
//!
//! What fails opens the breaker, and nothing more is asked until a task of the client's own has found that Redis
//! answers again: it alone connects and tries out, so that no request ever waits for that.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::{Cmd, FromRedisValue, Value};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::breaker::{Breaker, State};
use super::connect::{Connection, Connector};
use super::fault::Fault;
use crate::config::settings::redis::RedisServer;
use crate::telemetry::figures::redis::RedisFigures;

/// How a client asks.
#[derive(Clone, Debug)]
pub struct Options {
    /// What for, in logs and metrics: `bodies` or `purging`.
    pub purpose: &'static str,
    /// What every key begins with.
    pub prefix: String,
    /// Longest time that an operation may take.
    pub deadline: Duration,
    /// Connections, at least one.
    pub connections: usize,
}

/// A client of one Redis. Ends its task and connections when the last clone is dropped.
#[derive(Clone)]
pub struct Client(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    options: Options,
    server: RedisServer,
    connector: Connector,
    /// Those for quick operations, and last the one for bulky ones.
    connections: Vec<ArcSwapOption<Connection>>,
    next: AtomicUsize,
    breaker: Breaker,
    /// Opened by refused writes, while reading goes on.
    writes: Breaker,
    /// The key whose operation failed last: in a cluster, its node is the one to try out.
    suspect: Mutex<Option<Vec<u8>>>,
    /// The next try-out begins with new connections.
    renew: AtomicBool,
    wake: Notify,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    operations: AtomicU64,
    skipped: AtomicU64,
    connects: AtomicU64,
    faults: [AtomicU64; Fault::ALL.len()],
}

/// How a client is, and what it did since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFigures {
    /// What it is for.
    pub purpose: &'static str,
    /// Its breaker.
    pub state: State,
    /// Why that is not closed.
    pub fault: Option<Fault>,
    /// Why writes are refused, if they are.
    pub write_fault: Option<Fault>,
    /// Times that the breaker opened.
    pub openings: u64,
    /// Operations that Redis was asked for.
    pub operations: u64,
    /// Operations left out because the breaker was open.
    pub skipped: u64,
    /// Connections opened.
    pub connects: u64,
    /// Operations and connections that failed, by fault.
    pub faults: Vec<(Fault, u64)>,
}

/// What an operation is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// A request waits for it.
    Quick,
    /// Nobody waits, and it may be large: on a connection of its own, so that nothing quick waits behind it.
    Bulk,
}

/// How much longer than others a bulky operation may take.
const BULK: u32 = 10;
/// How often connections on which nothing happens are tried out.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A connection ends operations by itself after this long; the deadline is shorter.
const PATIENCE: Duration = Duration::from_secs(2);

impl Client {
    /// A client that begins to connect at once, in the background. Must be called within a tokio runtime.
    pub fn start(server: &RedisServer, options: Options) -> Client {
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            connector: Connector::new(server),
            server: server.clone(),
            connections: (0..options.connections.max(1) + 1).map(|_| ArcSwapOption::empty()).collect(),
            next: AtomicUsize::new(0),
            breaker: Breaker::open_at_first(),
            writes: Breaker::closed_at_first(),
            suspect: Mutex::default(),
            renew: AtomicBool::new(false),
            wake: Notify::new(),
            counts: Counts::default(),
            options,
        });
        let (task, stopped) = (shared.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = task.look_after() => {}
            }
        });
        Client(Arc::new(Handle { shared, _stop: stop.drop_guard() }))
    }

    /// A key with the prefix.
    pub fn key(&self, rest: &str) -> Vec<u8> {
        let prefix = &self.0.shared.options.prefix;
        [prefix.as_bytes(), b":", rest.as_bytes()].concat()
    }

    /// Whether it is worth asking.
    pub fn is_up(&self) -> bool {
        self.0.shared.breaker.leave().is_some()
    }

    /// Whether it is worth asking for a write.
    pub fn takes_writes(&self) -> bool {
        let writes = &self.0.shared.writes;
        let is_due = || writes.state() == State::Open && Instant::now() >= writes.window_ends();
        self.is_up() && (writes.leave().is_some() || is_due())
    }

    /// Asks for something that changes nothing.
    ///
    /// # Errors
    /// It was not asked, or did not answer in time or as it should.
    pub async fn read<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Fault> {
        self.0.shared.ask(command, Lane::Quick).await.and_then(convert)
    }

    /// Asks for a change. Where Redis refuses changes, none is asked for until a window has passed.
    ///
    /// # Errors
    /// It was not asked, or did not answer in time or as it should. The change may have happened all the same.
    pub async fn write<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Fault> {
        self.change(command, Lane::Quick).await
    }

    /// The same for what may be large and nobody waits for: it may take ten times as long.
    ///
    /// # Errors
    /// As [`Client::write`].
    pub async fn store<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Fault> {
        self.change(command, Lane::Bulk).await
    }

    async fn change<T: FromRedisValue>(&self, command: &Cmd, lane: Lane) -> Result<T, Fault> {
        let shared = &self.0.shared;
        let leave = shared.writes.leave();
        let trial = if leave.is_none() && self.is_up() { shared.writes.may_try() } else { None };
        if leave.is_none() && trial.is_none() {
            shared.counts.skipped.fetch_add(1, Ordering::Relaxed);
            return Err(shared.writes.fault().unwrap_or(Fault::Connecting));
        }
        let outcome = shared.ask(command, lane).await;
        match &outcome {
            Ok(_) => {
                if let Some(fault) = shared.writes.close() {
                    tracing::info!(redis = %shared.server, was = fault.word(), "Redis takes writes again");
                }
            }
            Err(fault) if fault.is_of_writes() => {
                let is_new = match leave {
                    Some(leave) => shared.writes.trip(leave, *fault),
                    None => shared.writes.open(*fault),
                };
                if is_new {
                    shared.warn(*fault, "Redis refuses writes, reading goes on");
                }
                if *fault == Fault::ReadOnly {
                    // After a failover another server is the one to ask.
                    shared.renew.store(true, Ordering::Relaxed);
                    shared.wake.notify_one();
                }
            }
            Err(fault) if leave.is_none() => {
                shared.writes.open(*fault);
            }
            Err(_) => {}
        }
        outcome.and_then(convert)
    }

    /// How it is, and what it did.
    pub fn figures(&self) -> ClientFigures {
        let shared = &self.0.shared;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let state = shared.breaker.state();
        ClientFigures {
            purpose: shared.options.purpose,
            state,
            fault: shared.breaker.fault().filter(|_| state != State::Closed),
            write_fault: shared.writes.fault(),
            openings: shared.breaker.openings(),
            operations: load(&shared.counts.operations),
            skipped: load(&shared.counts.skipped),
            connects: load(&shared.counts.connects),
            faults: Fault::ALL.into_iter().zip(shared.counts.faults.iter().map(load)).collect(),
        }
    }
}

/// What Redis answered, in the form that is expected.
fn convert<T: FromRedisValue>(value: Value) -> Result<T, Fault> {
    T::from_redis_value(value).map_err(|_| Fault::Protocol)
}

impl Shared {
    async fn ask(&self, command: &Cmd, lane: Lane) -> Result<Value, Fault> {
        let Some(leave) = self.breaker.leave() else {
            self.counts.skipped.fetch_add(1, Ordering::Relaxed);
            return Err(self.breaker.fault().unwrap_or(Fault::Connecting));
        };
        let quick = self.connections.len() - 1;
        let (at, deadline) = match lane {
            Lane::Quick => (self.next.fetch_add(1, Ordering::Relaxed) % quick, self.options.deadline),
            Lane::Bulk => (quick, self.options.deadline * BULK),
        };
        let Some(connection) = self.connections[at].load_full() else {
            return Err(Fault::Connecting);
        };
        self.counts.operations.fetch_add(1, Ordering::Relaxed);
        let fault = match self.answer(&connection, command, deadline).await {
            Ok(value) => return Ok(value),
            Err(fault) => fault,
        };
        self.count(fault);
        if !fault.is_of_writes() && fault != Fault::Protocol && self.breaker.trip(leave, fault) {
            *self.suspect.lock() = key_of(command);
            self.warn(fault, "Redis is left alone for now");
            self.wake.notify_one();
        }
        Err(fault)
    }

    async fn answer(&self, connection: &Connection, command: &Cmd, deadline: Duration) -> Result<Value, Fault> {
        let mut connection = connection.clone();
        let asked = command.query_async::<Value>(&mut connection);
        match tokio::time::timeout(deadline, asked).await {
            Ok(answered) => answered.and_then(Value::extract_error).map_err(|error| Fault::of(&error)),
            Err(_) => Err(Fault::Timeout),
        }
    }

    /// Connects, and tries out when something failed and every now and then.
    async fn look_after(&self) {
        loop {
            match self.restore().await {
                Ok(()) => {
                    if let Some(fault) = self.breaker.close() {
                        let (purpose, was) = (self.options.purpose, fault.word());
                        tracing::info!(redis = %self.server, purpose, was, "Redis answers");
                    }
                    let _ = tokio::time::timeout(HEARTBEAT, self.wake.notified()).await;
                    if self.breaker.fault() == Some(Fault::Unreachable) {
                        // A connection that was closed is opened again at once; what does not answer is given time.
                        continue;
                    }
                }
                Err(fault) => {
                    self.count(fault);
                    if self.breaker.open(fault) {
                        self.warn(fault, "Redis is left alone for now");
                    }
                }
            }
            if self.breaker.state() != State::Closed {
                tokio::time::sleep_until(self.breaker.window_ends()).await;
            }
        }
    }

    /// Every connection answers, or has been replaced by one that does.
    async fn restore(&self) -> Result<(), Fault> {
        if self.breaker.state() != State::Closed {
            self.breaker.half_open();
        }
        let renew = self.renew.swap(false, Ordering::Relaxed);
        for (at, slot) in self.connections.iter().enumerate() {
            let is_bulk = at + 1 == self.connections.len();
            let deadline = self.options.deadline * if is_bulk { BULK } else { 1 };
            let present = slot.load_full().filter(|_| !renew);
            if let Some(connection) = present
                && self.try_out(&connection, deadline).await.is_ok()
            {
                continue;
            }
            self.counts.connects.fetch_add(1, Ordering::Relaxed);
            let connection = self.connector.connect(PATIENCE).await?;
            self.try_out(&connection, deadline).await?;
            slot.store(Some(Arc::new(connection)));
        }
        *self.suspect.lock() = None;
        Ok(())
    }

    /// Asks for a key in the way that requests would.
    async fn try_out(&self, connection: &Connection, deadline: Duration) -> Result<(), Fault> {
        let suspect = self.suspect.lock().clone();
        let key = suspect.unwrap_or_else(|| [self.options.prefix.as_bytes(), b":probe"].concat());
        let mut command = redis::cmd("EXISTS");
        command.arg(key);
        self.answer(connection, &command, deadline).await.map(drop)
    }

    fn count(&self, fault: Fault) {
        if let Some(at) = Fault::ALL.iter().position(|known| *known == fault) {
            self.counts.faults[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn warn(&self, fault: Fault, what: &str) {
        let (purpose, fault, advice) = (self.options.purpose, fault.word(), fault.advice());
        tracing::warn!(redis = %self.server, purpose, fault, advice, "{what}");
    }
}

/// The first key of a command: what stands after its name.
fn key_of(command: &Cmd) -> Option<Vec<u8>> {
    match command.args_iter().nth(1) {
        Some(redis::Arg::Simple(key)) => Some(key.to_vec()),
        _ => None,
    }
}

impl From<ClientFigures> for RedisFigures {
    fn from(figures: ClientFigures) -> Self {
        RedisFigures {
            purpose: figures.purpose,
            state: figures.state.word(),
            fault: figures.fault.map(Fault::word),
            write_fault: figures.write_fault.map(Fault::word),
            openings: figures.openings,
            operations: figures.operations,
            skipped: figures.skipped,
            connects: figures.connects,
            faults: figures.faults.into_iter().map(|(fault, count)| (fault.word(), count)).collect(),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("server", &self.0.shared.server).finish_non_exhaustive()
    }
}
