//! Tells when the configuration file has changed, however that is done: written in place, renamed over by an editor,
//! or swapped by a symbolic link as Kubernetes does with a ConfigMap.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::timeout;
use xxhash_rust::xxh3::xxh3_64;

/// Changes come in bursts (truncate, write, rename); a burst is over after this long without a further one.
const QUIET: Duration = Duration::from_millis(200);
/// A directory in which something always happens must not keep a change from being seen.
const MOST_EVENTS_OF_A_BURST: usize = 1000;

/// Watches `path` until the receiver is dropped. Each message says: the content is another than before, or the file
/// is gone. Touching the file or rewriting the same content says nothing. Watch before loading: a change in between
/// is then not missed.
///
/// # Errors
/// When the directory of the file can't be watched.
pub fn watch(path: &Path) -> notify::Result<mpsc::Receiver<()>> {
    let path = std::path::absolute(path)?;
    // One waiting event is enough: whoever takes it looks at the file itself.
    let (wake, events) = mpsc::channel(1);
    let file = path.file_name().map(OsStr::to_owned);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.map_or(true, |event| matters(&event, file.as_deref())) {
            // Full: a wake-up is waiting already.
            let _ = wake.try_send(());
        }
    })?;
    // The directory, not the file: a renamed-over file is another one, and its watch would follow the old.
    watcher.watch(directory_of(&path), RecursiveMode::NonRecursive)?;
    let mut watched = Watched { watcher, target: None, seen: content(&path), path };
    watched.follow_links();
    let (changed, receiver) = mpsc::channel(1);
    tokio::spawn(watched.run(events, changed));
    Ok(receiver)
}

struct Watched {
    path: PathBuf,
    watcher: RecommendedWatcher,
    /// Directory of the file that the path leads to by symbolic links, where that is another.
    target: Option<PathBuf>,
    /// Hash of the content last seen; `None`: not readable.
    seen: Option<u64>,
}

impl Watched {
    async fn run(mut self, mut events: mpsc::Receiver<()>, changed: mpsc::Sender<()>) {
        loop {
            tokio::select! {
                event = events.recv() => if event.is_none() { return },
                () = changed.closed() => return,
            }
            for _ in 0..MOST_EVENTS_OF_A_BURST {
                if timeout(QUIET, events.recv()).await.is_err() {
                    break;
                }
            }
            self.follow_links();
            let content = content(&self.path);
            if content == self.seen {
                continue;
            }
            self.seen = content;
            if changed.send(()).await.is_err() {
                return;
            }
        }
    }

    /// Watches the directory that symbolic links lead to as well, so that writing the file there is seen.
    fn follow_links(&mut self) {
        let Ok(file) = self.path.canonicalize() else { return };
        let target = Some(directory_of(&file).to_owned())
            .filter(|target| directory_of(&self.path).canonicalize().ok().as_ref() != Some(target));
        if target == self.target {
            return;
        }
        if let Some(old) = self.target.take() {
            // It may be gone with its directory.
            let _ = self.watcher.unwatch(&old);
        }
        if let Some(new) = target {
            match self.watcher.watch(&new, RecursiveMode::NonRecursive) {
                Ok(()) => self.target = Some(new),
                Err(error) => tracing::warn!(directory = %new.display(), %error, "cannot watch the configuration"),
            }
        }
    }
}

/// Reading the file is an event as well; our own must not wake us. An access log in the same directory is written all the
/// time, and closed once: what another file is written matters when it is closed, should the path lead there.
fn matters(event: &Event, file: Option<&OsStr>) -> bool {
    match event.kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(ModifyKind::Data(_)) => event.paths.iter().any(|path| path.file_name() == file),
        _ => true,
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// A digest of a file; `None`: it cannot be read.
pub fn content(path: &Path) -> Option<u64> {
    std::fs::read(path).ok().map(|bytes| xxh3_64(&bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;

    const GENEROUS: Duration = Duration::from_secs(20);

    async fn told(changes: &mut mpsc::Receiver<()>) {
        timeout(GENEROUS, changes.recv()).await.expect("a change is told").expect("the watch runs");
    }

    #[tokio::test]
    async fn watch_sees_a_file_renamed_over_and_written_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxy.toml");
        fs::write(&path, "a").unwrap();
        let mut changes = watch(&path).unwrap();
        for content in ["b", "c"] {
            let new = directory.path().join(".proxy.toml.swp");
            fs::write(&new, content).unwrap();
            fs::rename(&new, &path).unwrap();
            told(&mut changes).await;
        }
        fs::write(&path, "d").unwrap();
        told(&mut changes).await;
        fs::remove_file(&path).unwrap();
        told(&mut changes).await;
        fs::write(&path, "e").unwrap();
        told(&mut changes).await;
    }

    #[tokio::test]
    async fn watch_sees_a_config_map_swapped() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let version = |name: &str, content: &str| {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("proxy.toml"), content).unwrap();
        };
        version("..1", "a");
        symlink("..1", at("..data")).unwrap();
        symlink("..data/proxy.toml", at("proxy.toml")).unwrap();
        let mut changes = watch(&at("proxy.toml")).unwrap();
        for (old, new, content) in [("..1", "..2", "b"), ("..2", "..3", "c")] {
            version(new, content);
            symlink(new, at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
            fs::remove_dir_all(at(old)).unwrap();
            told(&mut changes).await;
        }
        // What the link leads to now is watched as well.
        fs::write(at("..3/proxy.toml"), "d").unwrap();
        told(&mut changes).await;
    }

    #[tokio::test]
    async fn watch_says_nothing_of_other_files_and_equal_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxy.toml");
        fs::write(&path, "a").unwrap();
        let mut changes = watch(&path).unwrap();
        fs::write(directory.path().join("other"), "x").unwrap();
        fs::write(&path, "a").unwrap();
        assert!(timeout(QUIET * 4, changes.recv()).await.is_err(), "nothing has changed");
        // It was awake all the while.
        fs::write(&path, "b").unwrap();
        told(&mut changes).await;
    }

    #[tokio::test]
    async fn watch_is_not_woken_by_a_file_that_is_written_and_stays_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxy.toml");
        fs::write(&path, "a").unwrap();
        let (sent, mut events) = mpsc::unbounded_channel();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let _ = sent.send(event.unwrap());
        })
        .unwrap();
        watcher.watch(directory.path(), RecursiveMode::NonRecursive).unwrap();
        let mut log = fs::File::create(directory.path().join("access.log")).unwrap();
        log.write_all(b"a line").unwrap();
        fs::remove_file(&path).unwrap();
        let mut mattered = Vec::new();
        loop {
            let event = timeout(GENEROUS, events.recv()).await.expect("an event comes").expect("the watch runs");
            if matters(&event, path.file_name()) {
                mattered.push(event.kind);
            }
            if event.kind.is_remove() {
                break;
            }
        }
        assert!(matches!(mattered[..], [EventKind::Create(_), EventKind::Remove(_)]), "{mattered:?}");
    }

    #[tokio::test]
    async fn watch_fails_on_a_directory_that_is_not_there() {
        assert!(watch(Path::new("/nonexistent/proxy.toml")).is_err());
    }
}
