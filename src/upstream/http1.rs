//! HTTP/1.1 connections to one server: each serves one exchange at a time, and waits in a stack between two.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::MAX_RESPONSE_HEAD;
use super::driver::Driver;
use super::error::UpstreamError;
use super::request_body::RequestBody;
use super::socket::{Line, Socket, Stream};
use super::stats::Counters;

/// How long a connection just given back may take to finish its own book-keeping.
const SETTLE: Duration = Duration::from_millis(50);

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) line: Arc<Line>,
    pub(super) driver: Driver,
    /// Where it leads, for a server with a name.
    pub(super) peer: Option<SocketAddr>,
    /// No exchange begins on it from then on.
    retires: Instant,
}

/// Starts HTTP/1.1 on a stream, to be used until `retires`.
pub(super) async fn start(
    stream: Stream,
    peer: Option<SocketAddr>,
    counters: Arc<Counters>,
    retires: Instant,
) -> Result<Connection, UpstreamError> {
    let (socket, line) = Socket::new(stream, counters);
    // hyper's own defaults are the strict ones: no HTTP/0.9, no folded or invalid field lines, 100 fields at most.
    let (sender, connection) = Builder::new()
        .max_buf_size(MAX_RESPONSE_HEAD)
        .max_header_size(MAX_RESPONSE_HEAD)
        .handshake(TokioIo::new(socket))
        .await
        .map_err(UpstreamError::from_hyper)?;
    Ok(Connection { sender, line, driver: Driver::new(connection), peer, retires })
}

impl Connection {
    /// Waits until the connection can take a request; false when it never will. hyper looks for bytes after the
    /// last response, and for the server's close, before it says that it can.
    async fn is_usable(&mut self) -> bool {
        self.driver.wake_nobody();
        self.driver.look();
        if self.sender.is_ready() {
            return true;
        }
        let Connection { sender, driver, .. } = self;
        let ready = poll_fn(|cx| driver.poll(cx, |cx| sender.poll_ready(cx)));
        timeout(SETTLE, ready).await.is_ok_and(|ready| ready.is_ok())
    }

    /// Whether it was closed while it was idle.
    fn is_closed(&mut self) -> bool {
        self.driver.look();
        self.sender.is_closed()
    }
}

/// Idle connections, the most recently used on top: the load decides how many stay in use, and the others age out.
#[derive(Debug)]
pub(super) struct IdleStack {
    stack: Mutex<Stack>,
    max: usize,
    timeout: Duration,
}

/// What became of a connection that was put back.
#[derive(Debug)]
pub(super) enum Put {
    /// It waits for the next exchange. Not `swept`: the caller must see to it that [`IdleStack::sweep`] is called.
    Kept { swept: bool },
    /// It is too old, or none are to be kept.
    Closed,
}

#[derive(Debug, Default)]
struct Stack {
    idle: Vec<Idle>,
    /// Whether a task is about to sweep.
    swept: bool,
    /// Wakes it.
    sweeper: Option<Waker>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl IdleStack {
    /// Keeps at most `max` connections, none for longer than `timeout`.
    pub(super) fn new(max: usize, timeout: Duration) -> Self {
        IdleStack { stack: Mutex::default(), max, timeout }
    }

    /// The connection used last that still works, to that address where one is given.
    pub(super) async fn take(&self, peer: Option<SocketAddr>) -> Option<Connection> {
        loop {
            let idle = match peer {
                None => self.stack.lock().idle.pop()?,
                Some(_) => {
                    let mut stack = self.stack.lock();
                    let at = stack.idle.iter().rposition(|idle| idle.connection.peer == peer)?;
                    stack.idle.remove(at)
                }
            };
            let mut connection = idle.connection;
            if Instant::now() < self.expiry(&connection, idle.since) && connection.is_usable().await {
                return Some(connection);
            }
        }
    }

    /// Closes the connection that has been idle longest, if any.
    pub(super) fn close_oldest(&self) {
        let mut stack = self.stack.lock();
        if !stack.idle.is_empty() {
            stack.idle.remove(0);
        }
    }

    /// Closes those that are not to be kept.
    pub(super) fn retain(&self, keep: impl Fn(Option<SocketAddr>) -> bool) {
        self.stack.lock().idle.retain(|idle| keep(idle.connection.peer));
    }

    /// Puts a connection back, or closes it.
    pub(super) fn put(&self, mut connection: Connection) -> Put {
        let now = Instant::now();
        if self.max == 0 || now >= connection.retires {
            return Put::Closed;
        }
        connection.driver.rest();
        let mut stack = self.stack.lock();
        if let Some(sweeper) = &stack.sweeper {
            connection.driver.listen(sweeper);
        }
        if connection.is_closed() {
            return Put::Closed;
        }
        if stack.idle.len() >= self.max {
            stack.idle.remove(0);
        }
        stack.idle.push(Idle { connection, since: now });
        Put::Kept { swept: std::mem::replace(&mut stack.swept, true) }
    }

    /// Closes what has been idle for too long, or was closed by the server; when to sweep next, `None` when nothing is
    /// left. `sweeper` is woken before that when a server closes.
    pub(super) fn sweep(&self, sweeper: &Waker) -> Option<Instant> {
        let now = Instant::now();
        let mut stack = self.stack.lock();
        stack.idle.retain_mut(|idle| {
            idle.connection.driver.listen(sweeper);
            now < self.expiry(&idle.connection, idle.since) && !idle.connection.is_closed()
        });
        let next = stack.idle.iter().map(|idle| self.expiry(&idle.connection, idle.since)).min();
        stack.swept = next.is_some();
        stack.sweeper = next.map(|_| sweeper.clone());
        next
    }

    /// How many are idle and open.
    pub(super) fn len(&self) -> usize {
        self.stack.lock().idle.iter().filter(|idle| !idle.connection.sender.is_closed()).count()
    }

    fn expiry(&self, connection: &Connection, since: Instant) -> Instant {
        (since + self.timeout).min(connection.retires)
    }
}
