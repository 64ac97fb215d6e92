//! Runs hyper's part of an HTTP/1.1 connection within the exchange that uses it, rather than in a task of its own: an
//! exchange then wakes one task where it would wake two by turns, some eight times.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use hyper::client::conn::http1::Connection;
use hyper_util::rt::TokioIo;

use super::request_body::RequestBody;
use super::socket::Socket;

/// How often an exchange and its connection may take turns before other tasks get theirs.
const TURNS: usize = 16;

/// The part of a connection that reads and writes. Dropped, it closes the connection.
pub(super) struct Driver {
    /// `None` once it has ended: what it leaves unfinished then ends with it.
    connection: Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>,
    bell: Arc<Bell>,
    /// Rings the bell.
    waker: Waker,
}

/// Tells that something has happened on the connection: bytes, or what one half of hyper has left for the other.
#[derive(Debug, Default)]
struct Bell {
    rung: AtomicBool,
    /// Who waits for that, if anybody does: nobody while the connection is driven, so that what the halves of hyper
    /// tell each other then wakes no task.
    listener: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.listener.wake();
    }
}

impl Driver {
    pub(super) fn new(connection: Connection<TokioIo<Socket>, RequestBody>) -> Self {
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(bell.clone());
        Driver { connection: Some(Box::pin(connection.with_upgrades())), bell, waker }
    }

    /// Polls `step`, which waits for something that the connection brings, and the connection by turns, until neither
    /// gets any further.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut step: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        for _ in 0..TURNS {
            self.bell.rung.store(false, Ordering::Release);
            if let Poll::Ready(done) = step(&mut Context::from_waker(&self.waker)) {
                return Poll::Ready(done);
            }
            self.run();
            if !self.bell.rung.load(Ordering::Acquire) {
                self.bell.listener.register(cx.waker());
                // It may have been rung between the look and the registration.
                if !self.bell.rung.load(Ordering::Acquire) {
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Has what comes next on an idle connection, such as its end, ring the bell.
    pub(super) fn rest(&mut self) {
        self.bell.rung.store(false, Ordering::Release);
        self.run();
    }

    /// Sees to what has happened on a connection that waits for its next exchange, such as its end.
    pub(super) fn look(&mut self) {
        if self.bell.rung.swap(false, Ordering::AcqRel) {
            self.run();
        }
    }

    /// An exchange begins: whoever listened is no longer concerned.
    pub(super) fn wake_nobody(&self) {
        drop(self.bell.listener.take());
    }

    /// Has a task woken when something happens from now on.
    pub(super) fn listen(&self, waker: &Waker) {
        self.bell.listener.register(waker);
    }

    /// Goes on by itself, until the connection ends.
    pub(super) fn detach(self) {
        if let Some(connection) = self.connection {
            tokio::spawn(connection);
        }
    }

    fn run(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        if let Poll::Ready(ended) = connection.as_mut().poll(&mut Context::from_waker(&self.waker)) {
            self.connection = None;
            if let Err(error) = ended {
                tracing::debug!(%error, "upstream connection ended");
            }
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("ended", &self.connection.is_none()).finish_non_exhaustive()
    }
}
