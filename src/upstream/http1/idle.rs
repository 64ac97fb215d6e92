//! The connections to one server between two exchanges: a stack, so that the load decides how many stay in use, and the
//! others age out.

use std::net::SocketAddr;
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::connection::Connection;

/// Idle connections, the most recently used on top.
#[derive(Debug)]
pub(in crate::upstream) struct IdleStack {
    stack: Mutex<Stack>,
    max: usize,
    timeout: Duration,
}

/// What became of a connection that was put back.
#[derive(Debug)]
pub(in crate::upstream) enum Put {
    /// It waits for the next exchange. The caller must see to it that [`IdleStack::sweep`] is called.
    Kept,
    /// It is too old, or none are to be kept.
    Closed,
}

#[derive(Debug, Default)]
struct Stack {
    idle: Vec<Idle>,
    /// Wakes who sweeps, or who did last.
    sweeper: Option<Waker>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

impl IdleStack {
    /// Keeps at most `max` connections, none for longer than `timeout`.
    pub(in crate::upstream) fn new(max: usize, timeout: Duration) -> Self {
        IdleStack { stack: Mutex::default(), max, timeout }
    }

    /// The connection used last that still works, to that address where one is given. One on which anything at all has
    /// come meanwhile is closed: bytes after a response belong to no request.
    pub(in crate::upstream) fn take(&self, peer: Option<SocketAddr>) -> Option<Box<Connection>> {
        loop {
            let Idle { mut connection, since } = match peer {
                None => self.stack.lock().idle.pop()?,
                Some(_) => {
                    let mut stack = self.stack.lock();
                    let at = stack.idle.iter().rposition(|idle| idle.connection.peer() == peer)?;
                    stack.idle.remove(at)
                }
            };
            if Instant::now() < self.expiry(&connection, since) && connection.is_quiet() {
                return Some(connection);
            }
        }
    }

    /// Closes the connection that has been idle longest, if any.
    pub(in crate::upstream) fn close_oldest(&self) {
        let mut stack = self.stack.lock();
        if !stack.idle.is_empty() {
            stack.idle.remove(0);
        }
    }

    /// Closes those that are not to be kept.
    pub(in crate::upstream) fn retain(&self, keep: impl Fn(Option<SocketAddr>) -> bool) {
        self.stack.lock().idle.retain(|idle| keep(idle.connection.peer()));
    }

    /// Puts a connection back, or closes it.
    pub(in crate::upstream) fn put(&self, mut connection: Box<Connection>) -> Put {
        let now = Instant::now();
        if self.max == 0 || now >= connection.retires() {
            return Put::Closed;
        }
        let mut stack = self.stack.lock();
        // Without a sweeper the first sweep is still to come, and looks at all of them.
        if stack.sweeper.as_ref().is_some_and(|sweeper| !connection.watch(sweeper)) {
            return Put::Closed;
        }
        if stack.idle.len() >= self.max {
            stack.idle.remove(0);
        }
        stack.idle.push(Idle { connection, since: now });
        Put::Kept
    }

    /// Closes what has been idle for too long, or was closed by the server; when to sweep next, `None` when nothing is
    /// left. `sweeper` is woken before that when a server closes.
    pub(in crate::upstream) fn sweep(&self, sweeper: &Waker) -> Option<Instant> {
        let now = Instant::now();
        let mut stack = self.stack.lock();
        stack.idle.retain_mut(|idle| now < self.expiry(&idle.connection, idle.since) && idle.connection.watch(sweeper));
        let next = stack.idle.iter().map(|idle| self.expiry(&idle.connection, idle.since)).min();
        stack.sweeper = Some(sweeper.clone());
        next
    }

    /// How many are idle.
    pub(in crate::upstream) fn len(&self) -> usize {
        self.stack.lock().idle.len()
    }

    fn expiry(&self, connection: &Connection, since: Instant) -> Instant {
        (since + self.timeout).min(connection.retires())
    }
}
