//! Where calls that may block are made: a few threads at a time, and never longer than a deadline as far as anybody
//! waits for them. A disk that hangs keeps those few threads and nothing else.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// Reads at a time.
const READS: usize = 32;
/// Writes at a time.
const WRITES: usize = 8;
/// Longest wait for a read: longer than any disk takes that works.
const READ_DEADLINE: Duration = Duration::from_secs(3);
/// Longest wait for a write, which nobody but the queue waits for.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// Longest wait for a write that somebody waits for: a client reads along while a large body goes to disk.
const ALONG_DEADLINE: Duration = Duration::from_secs(5);

/// Runs what may block.
#[derive(Debug)]
pub(super) struct Io {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

impl Io {
    pub(super) fn new() -> Io {
        Io { reads: Arc::new(Semaphore::new(READS)), writes: Arc::new(Semaphore::new(WRITES)) }
    }

    /// Runs what reads.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        run(&self.reads, READ_DEADLINE, work).await
    }

    /// Runs what writes.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        run(&self.writes, WRITE_DEADLINE, work).await
    }

    /// Runs what writes while a client waits.
    pub(super) async fn write_along<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        run(&self.writes, ALONG_DEADLINE, work).await
    }
}

async fn run<T: Send + 'static>(
    places: &Arc<Semaphore>,
    deadline: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let run = async {
        let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        });
        done.await.map_err(io::Error::other)?
    };
    match tokio::time::timeout(deadline, run).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer")),
    }
}
