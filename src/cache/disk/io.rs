//! Where calls that may block are made: a few threads at a time, and never longer than a deadline as far as anybody
//! waits for them. A disk that hangs keeps those few threads and nothing else.
//!
//! The deadline begins when a call's turn has come: that many want something at once says nothing against the disk.

use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

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
/// Longest wait for the turn of a read without which an answer that has begun breaks off. Where the disk hangs, the turn
/// never comes.
const BODY_TURN: Duration = Duration::from_secs(60);

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
    pub(super) async fn read<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        run(&self.reads, READ_DEADLINE, READ_DEADLINE, work).await
    }

    /// Runs what reads on in a body of which a part has been sent.
    pub(super) async fn read_on<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        run(&self.reads, BODY_TURN, READ_DEADLINE, work).await
    }

    /// Runs what writes.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        run(&self.writes, WRITE_DEADLINE, WRITE_DEADLINE, work).await
    }

    /// Runs what writes while a client waits.
    pub(super) async fn write_along<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        run(&self.writes, ALONG_DEADLINE, ALONG_DEADLINE, work).await
    }
}

/// `turn`: the longest wait before it is begun.
async fn run<T: Send + 'static>(
    places: &Arc<Semaphore>,
    turn: Duration,
    deadline: Duration,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let place = match timeout(turn, places.clone().acquire_owned()).await {
        Ok(place) => place.map_err(Error::other)?,
        Err(_) => return Err(Error::new(ErrorKind::ResourceBusy, "too much is wanted of the disk at once")),
    };
    let done = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(place);
        done
    });
    match timeout(deadline, done).await {
        Ok(done) => done.map_err(Error::other)?,
        Err(_) => Err(Error::new(ErrorKind::TimedOut, "the disk does not answer")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::task::JoinSet;
    use tokio::time::advance;

    use super::*;
    use crate::cache::disk::trouble::State;

    const LITTLE: Duration = Duration::from_millis(1);

    /// Has as many read as may at a time, until the result is dropped.
    async fn crowd(io: &Arc<Io>, reading: &mut JoinSet<Result<()>>) -> Vec<mpsc::Sender<()>> {
        let mut held = Vec::new();
        for _ in 0..READS {
            let (hold, until) = mpsc::channel::<()>();
            let io = io.clone();
            reading.spawn(async move {
                let work = move || {
                    let _ = until.recv();
                    Ok(())
                };
                io.read(work).await
            });
            held.push(hold);
        }
        while io.reads.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        held
    }

    fn says(outcome: Result<()>) -> Option<State> {
        State::after(&outcome.unwrap_err())
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_turn_says_nothing_against_the_disk() {
        let (io, mut reading) = (Arc::new(Io::new()), JoinSet::new());
        let held = crowd(&io, &mut reading).await;
        let (asked, going_on) = (io.clone(), io.clone());
        let asked = tokio::spawn(async move { asked.read(|| Ok(())).await });
        let going_on = tokio::spawn(async move { going_on.read_on(|| Ok(())).await });
        tokio::task::yield_now().await;
        advance(READ_DEADLINE + LITTLE).await;
        assert_eq!(says(asked.await.unwrap()), None);
        assert_eq!(says(reading.join_next().await.unwrap().unwrap()), Some(State::Failing), "it does not answer");
        drop(held);
        going_on.await.unwrap().expect("its turn came in the end");
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_begins_with_the_turn() {
        let (io, mut reading) = (Arc::new(Io::new()), JoinSet::new());
        let held = crowd(&io, &mut reading).await;
        let (hold, until) = mpsc::channel::<()>();
        let (begin, begun) = tokio::sync::oneshot::channel();
        let asked = io.clone();
        let asked = tokio::spawn(async move {
            let work = move || {
                let _ = begin.send(());
                let _ = until.recv();
                Ok(())
            };
            asked.read(work).await
        });
        tokio::task::yield_now().await;
        advance(READ_DEADLINE - LITTLE).await;
        drop(held);
        begun.await.unwrap();
        advance(READ_DEADLINE - LITTLE).await;
        drop(hold);
        asked.await.unwrap().expect("it took less than the deadline by itself");
    }

    #[tokio::test(start_paused = true)]
    async fn turn_that_never_comes_is_not_waited_for_without_end() {
        let (io, mut reading) = (Arc::new(Io::new()), JoinSet::new());
        let _held = crowd(&io, &mut reading).await;
        let going_on = io.clone();
        let going_on = tokio::spawn(async move { going_on.read_on(|| Ok(())).await });
        tokio::task::yield_now().await;
        advance(BODY_TURN + LITTLE).await;
        assert_eq!(says(going_on.await.unwrap()), None);
    }
}
