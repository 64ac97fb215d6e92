//! Reading the configuration again: when that is tried, and what is counted and said of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tokio::sync::watch;

use crate::clock::Clock;
use crate::server::Fingerprint;
use crate::telemetry::figures::ReloadFigures;

/// What became of reloads.
#[derive(Debug)]
pub(super) struct Reloads {
    failing: watch::Sender<bool>,
    last_success_seconds: AtomicI64,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

/// The last attempt. Who holds it has the turn: there is one attempt at a time.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// Of the file as it was then; `None`: there was no attempt.
    content: Option<Content>,
    fault: Option<String>,
    /// What it may have failed for.
    files: Option<Files>,
}

/// A digest of the configuration file; `None`: it could not be read.
pub(super) type Content = Option<u64>;

/// Why an attempt failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: String,
    /// Files that the configuration names, where it could be read.
    pub(super) files: Option<Files>,
}

/// Files as they were when they were last of no use.
#[derive(Debug)]
pub(super) struct Files {
    paths: Vec<PathBuf>,
    then: Fingerprint,
    seen: Fingerprint,
}

impl Files {
    /// As they are now.
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        let now = fingerprint(&paths);
        Files { paths, then: now.clone(), seen: now }
    }

    /// Whether they are others than they were, and have stopped changing since they were last looked at.
    fn have_changed(&mut self) -> bool {
        let now = fingerprint(&self.paths);
        let settled = now == self.seen;
        self.seen = now;
        settled && self.seen != self.then
    }
}

fn fingerprint(paths: &[PathBuf]) -> Fingerprint {
    Fingerprint::of(paths.iter().map(PathBuf::as_path))
}

impl Attempt {
    /// Whether the file holds what this attempt has found in it.
    pub(super) fn was_of(&self, content: Content) -> bool {
        self.content == Some(content)
    }

    /// Whether it has failed, and may succeed now: not the configuration has changed, but files that it names.
    pub(super) fn is_worth_repeating(&mut self) -> bool {
        self.files.as_mut().is_some_and(Files::have_changed)
    }
}

impl Reloads {
    /// None so far.
    pub(super) fn new(clock: &Clock) -> Self {
        Reloads {
            failing: watch::Sender::new(false),
            last_success_seconds: AtomicI64::new(clock.now().as_secs()),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Tells when the last one has failed.
    pub(super) fn failing(&self) -> watch::Receiver<bool> {
        self.failing.subscribe()
    }

    /// Tries once more. What is wrong is said in full once, however often it is tried.
    pub(super) fn attempt(
        &self,
        last: &mut Attempt,
        content: Content,
        clock: &Clock,
        take_over: impl FnOnce() -> Result<Vec<String>, Failure>,
    ) -> Result<Vec<String>, String> {
        // A fault of ours must not pass for a reload that was never asked for.
        let outcome = catch_unwind(AssertUnwindSafe(take_over)).unwrap_or_else(|_| {
            Err(Failure { why: "it ended unexpectedly, by a fault in larder".to_owned(), files: None })
        });
        let before = std::mem::replace(last, Attempt { content: Some(content), ..Attempt::default() });
        match outcome {
            Ok(changes) => {
                self.last_success_seconds.store(clock.now().as_secs(), Ordering::Relaxed);
                self.succeeded.fetch_add(1, Ordering::Relaxed);
                self.failing.send_replace(false);
                tracing::info!(changes = changes.len(), "configuration reloaded");
                changes.iter().for_each(|change| tracing::info!("{change}"));
                Ok(changes)
            }
            Err(Failure { why, files }) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.failing.send_replace(true);
                match before.fault.as_ref() == Some(&why) {
                    true => tracing::error!("configuration not reloaded, for the same reason as before"),
                    false => {
                        tracing::error!("configuration not reloaded, the old one stays in force:\n{}", why.trim_end());
                    }
                }
                *last = Attempt { fault: Some(why.clone()), files, ..std::mem::take(last) };
                Err(why)
            }
        }
    }

    /// For metrics and the control API.
    pub(super) fn figures(&self) -> ReloadFigures {
        ReloadFigures {
            last_successful: !*self.failing.borrow(),
            last_success_seconds: self.last_success_seconds.load(Ordering::Relaxed),
            succeeded: self.succeeded.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(why: &str) -> Failure {
        Failure { why: why.to_owned(), files: None }
    }

    #[test]
    fn a_reload_that_ends_unexpectedly_has_failed() {
        let (clock, mut last) = (Clock::system(), Attempt::default());
        let reloads = Reloads::new(&clock);
        let outcome = reloads.attempt(&mut last, None, &clock, || panic!("a fault"));
        assert!(outcome.unwrap_err().contains("ended unexpectedly"));
        assert_eq!((reloads.figures().last_successful, reloads.figures().failed), (false, 1));
        assert!(reloads.attempt(&mut last, None, &clock, || Ok(Vec::new())).is_ok());
        assert_eq!((reloads.figures().last_successful, reloads.figures().succeeded), (true, 1));
    }

    #[test]
    fn an_attempt_remembers_what_it_was_of() {
        let (clock, mut last) = (Clock::system(), Attempt::default());
        let reloads = Reloads::new(&clock);
        assert!(!last.was_of(None) && !last.was_of(Some(1)), "nothing was tried");
        for (content, fails) in [(Some(1), true), (Some(2), false), (None, true)] {
            let outcome = reloads.attempt(&mut last, content, &clock, || match fails {
                true => Err(failure("broken")),
                false => Ok(Vec::new()),
            });
            assert_eq!(outcome.is_err(), fails);
            assert!(last.was_of(content) && !last.was_of(Some(3)), "{content:?}");
            assert_eq!(last.fault.is_some(), fails);
        }
    }

    #[test]
    fn an_attempt_is_worth_repeating_once_files_have_changed_and_settled() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cert.pem");
        let (clock, mut last) = (Clock::system(), Attempt::default());
        let files = Files::new(vec![file.clone()]);
        let failed = Failure { files: Some(files), ..failure("missing") };
        let _ = Reloads::new(&clock).attempt(&mut last, None, &clock, || Err(failed));
        assert!(!last.is_worth_repeating(), "nothing has changed");
        std::fs::write(&file, "half").unwrap();
        assert!(!last.is_worth_repeating(), "it has only just changed");
        std::fs::write(&file, "the whole").unwrap();
        assert!(!last.is_worth_repeating(), "it is still changing");
        assert!(last.is_worth_repeating());
    }
}
