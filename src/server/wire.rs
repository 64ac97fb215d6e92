//! What an inspected stream and the driver of its connection tell each other: stalls, exchanges, signals.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::counters::ServerCounters;
use super::slots::Slot;
use crate::config::settings::ClientTimeouts;
use crate::proxy::client::Client;

/// A pause counts as ended only when this many bytes have moved: a byte now and then does not hold a connection.
const MIN_PROGRESS: u64 = 256;

/// Requests a client may abandon (reset, on HTTP/2) within [`ABANDON_WINDOW`] ...
const MAX_ABANDONED: usize = 100;
/// ... before its connection is closed.
const ABANDON_WINDOW: Duration = Duration::from_secs(60);

/// The request head took too long.
pub(super) const HEAD_EXPIRED: u8 = 1;
/// The request body paused for too long.
pub(super) const BODY_EXPIRED: u8 = 2;
/// A request to switch protocols was answered by 101.
pub(super) const SWITCHED: u8 = 4;
/// A request to switch protocols was answered otherwise.
pub(super) const NOT_SWITCHED: u8 = 8;

/// hyper has nothing to do.
const RESTS: u8 = 1;
/// It had, since that was last asked.
const USED: u8 = 2;
/// It has to stay: the connection is to end.
const STAYS: u8 = 4;

/// Shared by the stream (which hyper owns), the service and the driver of one connection.
#[derive(Debug)]
pub(super) struct Wire {
    /// The connection, as the request path sees it.
    pub(super) client: Arc<Client>,
    /// The process' counters.
    pub(super) counters: Arc<ServerCounters>,
    /// Ends the connection at once, upgraded or not.
    pub(super) kill: CancellationToken,
    /// Wakes whoever reads the stream, when a signal was set.
    pub(super) reader: AtomicWaker,
    stalls: Mutex<Stalls>,
    signals: AtomicU8,
    /// Requests begun.
    begun: AtomicU64,
    /// Requests whose response has ended.
    ended: AtomicU64,
    /// What hyper is there for.
    rest: AtomicU8,
    /// Wakes the driver when the last response has ended.
    driver: AtomicWaker,
    /// The next response is the connection's last.
    draining: AtomicBool,
    /// Given back when nothing of the connection is left, an upgraded stream included.
    _slot: Option<Slot>,
}

/// What the connection waits for, and since when.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    /// A head is incomplete.
    pub(super) head: Option<Instant>,
    /// A request body does not come.
    pub(super) body: Pause,
    /// The client takes no bytes.
    pub(super) send: Pause,
    /// The stream is being shut down; only `send` still counts.
    pub(super) closing: bool,
    streams: Streams,
}

/// What the responses of an HTTP/2 connection wait for, where flow control hides it from the stream below.
#[derive(Debug, Default)]
struct Streams {
    /// Responses whose last piece has not been taken, since when: few, and hardly ever for long.
    sending: Vec<(u64, Instant)>,
    /// Start of the window in which `abandoned` counts.
    window: Option<Instant>,
    abandoned: usize,
}

/// A pause in a flow of bytes.
#[derive(Debug, Default)]
pub(super) struct Pause {
    since: Option<Instant>,
    moved: u64,
}

impl Pause {
    /// Nothing moves at present.
    pub(super) fn blocked(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// Some bytes moved; more are waited for.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.moved += bytes as u64;
        if self.moved >= MIN_PROGRESS {
            self.over();
        }
    }

    /// Nothing more is waited for.
    pub(super) fn over(&mut self) {
        *self = Pause::default();
    }
}

/// A deadline that has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// Of a request head.
    Head,
    /// Of a pause in a request body.
    Body,
    /// Of a client that takes nothing.
    Send,
    /// Of an idle connection.
    KeepAlive,
    /// None: too many requests were abandoned.
    Abandoned,
}

/// How long the driver has seen the connection idle.
#[derive(Debug)]
pub(super) struct Idle {
    since: Instant,
    /// Requests begun and ended by then.
    begun: u64,
    ended: u64,
    /// The client was behind with taking what was sent.
    behind: bool,
}

impl Wire {
    /// For a new connection.
    pub(super) fn new(
        client: Arc<Client>,
        counters: Arc<ServerCounters>,
        kill: CancellationToken,
        slot: Option<Slot>,
    ) -> Arc<Self> {
        Arc::new(Wire {
            client,
            counters,
            kill,
            reader: AtomicWaker::new(),
            stalls: Mutex::default(),
            signals: AtomicU8::new(0),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            rest: AtomicU8::new(0),
            driver: AtomicWaker::new(),
            draining: AtomicBool::new(false),
            _slot: slot,
        })
    }

    /// What is waited for.
    pub(super) fn stalls(&self) -> parking_lot::MutexGuard<'_, Stalls> {
        self.stalls.lock()
    }

    /// Tells the stream something.
    pub(super) fn signal(&self, signal: u8) {
        self.signals.fetch_or(signal, Ordering::AcqRel);
        self.reader.wake();
    }

    /// What the stream has been told since the last time.
    pub(super) fn take_signals(&self) -> u8 {
        match self.signals.load(Ordering::Acquire) {
            0 => 0,
            _ => self.signals.swap(0, Ordering::AcqRel),
        }
    }

    /// From now on each HTTP/1 response is its connection's last.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the next HTTP/1 response has to say that it is the last (RFC 9112 §9.6).
    pub(super) fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Requests have begun.
    pub(super) fn begin(&self, requests: u64) -> u64 {
        self.begun.fetch_add(requests, Ordering::AcqRel)
    }

    /// A piece of a response was handed over, and is now to be taken by the client.
    pub(super) fn sending(&self, exchange: u64) {
        let now = Instant::now();
        self.stalls().streams.sending.push((exchange, now));
    }

    /// It was taken.
    pub(super) fn taken(&self, exchange: u64) {
        let sending = &mut self.stalls().streams.sending;
        if let Some(at) = sending.iter().rposition(|(sent, _)| *sent == exchange) {
            sending.swap_remove(at);
        }
    }

    /// The client gave up a request before it had its response.
    pub(super) fn abandoned(&self) {
        let now = Instant::now();
        let mut stalls = self.stalls();
        let streams = &mut stalls.streams;
        if streams.window.is_none_or(|since| since + ABANDON_WINDOW < now) {
            streams.window = Some(now);
            streams.abandoned = 0;
        }
        streams.abandoned += 1;
        if streams.abandoned > MAX_ABANDONED {
            drop(stalls);
            self.driver.wake();
        }
    }

    /// A request's response has ended. `elsewhere`: in another task than the driver's, which then may have to be
    /// woken; in its own it looks anyway, and waking it would poll a connection twice for each request.
    pub(super) fn end(&self, elsewhere: bool) {
        let ended = self.ended.fetch_add(1, Ordering::AcqRel) + 1;
        if elsewhere && ended >= self.begun.load(Ordering::Acquire) {
            self.driver.wake();
        }
    }

    /// Responses that have ended so far.
    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether no request has begun and no response has ended since so many had.
    pub(super) fn nothing_since(&self, ended: u64) -> bool {
        self.rest.load(Ordering::Acquire) & STAYS == 0
            && self.begun.load(Ordering::Acquire) == ended
            && self.ended() == ended
    }

    /// Tells that hyper has nothing to do.
    pub(super) fn rest(&self) {
        self.rest.fetch_or(RESTS, Ordering::AcqRel);
    }

    /// Tells that it has.
    pub(super) fn needs_hyper(&self) {
        self.rest.fetch_and(!RESTS, Ordering::AcqRel);
        self.rest.fetch_or(USED, Ordering::AcqRel);
    }

    /// Has hyper stay from now on.
    pub(super) fn stay(&self) {
        self.rest.store(STAYS, Ordering::Release);
    }

    /// Whether hyper has nothing to do, and need not stay.
    pub(super) fn rests(&self) -> bool {
        self.rest.load(Ordering::Acquire) & (RESTS | STAYS) == RESTS
    }

    /// Whether it had something to do since this was last asked.
    pub(super) fn was_used(&self) -> bool {
        self.rest.fetch_and(!USED, Ordering::AcqRel) & USED != 0
    }

    /// Wakes the driver from then on when what other tasks tell changes what [expires next](Wire::next_expiry).
    pub(super) fn listen(&self, driver: &Waker) {
        self.driver.register(driver);
    }

    /// The earliest deadline now, with what it is of.
    pub(super) fn next_expiry(
        &self,
        now: Instant,
        idle: &mut Idle,
        timeouts: &ClientTimeouts,
    ) -> Option<(Instant, Expiry)> {
        let begun = self.begun.load(Ordering::Acquire);
        let ended = self.ended.load(Ordering::Acquire);
        let in_flight = begun > ended;

        let stalls = self.stalls();
        let sending = stalls.streams.sending.iter().map(|(_, since)| *since).min();
        let abandoned = stalls.streams.abandoned > MAX_ABANDONED;
        // A response has ended for us when hyper has its last piece; the client may still be taking it.
        let behind = stalls.send.since.is_some();
        if (begun, ended) != (idle.begun, idle.ended) || behind || idle.behind {
            *idle = Idle { since: now, begun, ended, behind };
        }
        let after = |since: Option<Instant>, limit: Duration, of| since.map(|since| (since + limit, of));
        let kept_alive = !in_flight && stalls.head.is_none() && !behind && !stalls.closing;
        [
            after(stalls.head, timeouts.header, Expiry::Head),
            after(stalls.body.since, timeouts.idle, Expiry::Body),
            after(stalls.send.since, timeouts.idle, Expiry::Send),
            after(sending, timeouts.idle, Expiry::Send),
            after(abandoned.then_some(now), Duration::ZERO, Expiry::Abandoned),
            after(kept_alive.then_some(idle.since), timeouts.keep_alive, Expiry::KeepAlive),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }
}

impl Idle {
    /// Idle from now on.
    pub(super) fn begin() -> Self {
        Idle { since: Instant::now(), begun: 0, ended: 0, behind: false }
    }
}
