//! Certificates that change while larder runs: their files are looked at again and again, because every tool that
//! renews them writes them in its own way. Without TLS nothing looks, so that an idle process sleeps.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;

use super::counters::ServerCounters;
use super::listeners::Listeners;

/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(1500);
/// After a change they are looked at again this soon: it is taken over when it is the same then.
const SECOND_LOOK: Duration = Duration::from_millis(500);

/// What tells files from those they were: time, place and size of each; `None`: it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(Vec<Option<(i64, i64, u64, u64)>>);

impl Fingerprint {
    /// Of the files as they are now.
    pub fn of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        Fingerprint(files.into_iter().map(of_file).collect())
    }
}

fn of_file(file: &Path) -> Option<(i64, i64, u64, u64)> {
    // Links are followed: a renewed certificate may be another target of the same link.
    let found = std::fs::metadata(file).ok()?;
    // The time of its last change in any way: who may read it is one.
    Some((found.ctime(), found.ctime_nsec(), found.ino(), found.size()))
}

/// Renews certificates while a listener speaks TLS, until `stop`, or until the listeners are gone.
pub(super) fn watch(
    listeners: &Arc<Mutex<Listeners>>,
    mut speak_tls: Receiver<bool>,
    counters: Arc<ServerCounters>,
    stop: CancellationToken,
) {
    let listeners: Weak<Mutex<Listeners>> = Arc::downgrade(listeners);
    let looking = async move {
        let mut pause = LOOK;
        while speak_tls.wait_for(|speak_tls| *speak_tls).await.is_ok() {
            tokio::time::sleep(pause).await;
            let Some(listeners) = listeners.upgrade() else { return };
            let counters = counters.clone();
            // Reads files, so not on a thread that serves. A panic in there would be a fault of ours; go on without.
            let renewing = tokio::task::spawn_blocking(move || listeners.lock().renew_certificates(&counters));
            let is_changing = renewing.await.unwrap_or(false);
            pause = if is_changing { SECOND_LOOK } else { LOOK };
        }
    };
    tokio::spawn(async move { stop.run_until_cancelled(looking).await });
}
