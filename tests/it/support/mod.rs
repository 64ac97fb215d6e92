//! What the tests stand on: a scripted upstream, raw clients, and real processes.

pub mod client;
pub mod exchange;
pub mod frames;
pub mod http2;
pub mod larder;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod reply;
pub mod tap;
pub mod upstream;
pub mod wire;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

/// Longest wait for anything that is expected to happen. Generous: it only ends tests that have failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Held by tests that measure time or load the machine, so that they do not disturb each other.
static MACHINE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Keeps other tests that measure time or load the machine waiting for as long as it is held.
pub async fn machine() -> tokio::sync::MutexGuard<'static, ()> {
    MACHINE.lock().await
}

/// Waits for what is expected to happen; fails the test with `what` when it does not.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain: {what}"),
    }
}

/// A path within the repository.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The Python with the packages of `tests/requirements.txt`, which `tests/run` installs.
pub fn python() -> PathBuf {
    repository("tests/.cache/venv/bin/python")
}

/// Whether the longer variants of tests were asked for (`tests/run --long`).
pub fn long() -> bool {
    std::env::var_os("LARDER_TEST_LONG").is_some()
}
