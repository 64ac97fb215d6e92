//! A file of users and their hashed passwords, read again when it changes.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use moka::sync::Cache;

/// How long a verified password is believed, and how long a wrong one is not tried again.
const BELIEVED: Duration = Duration::from_secs(300);
const DISBELIEVED: Duration = Duration::from_secs(10);
/// Credentials remembered, of each kind.
const REMEMBERED: u64 = 10_000;
/// How often the file is looked at. A change is taken over when it is the same at the next look.
const LOOK: Duration = Duration::from_millis(500);

/// A keyed digest of credentials: they themselves are not kept.
pub(super) type Digest = [u8; 32];

/// The users of a file, as it is now.
#[derive(Debug)]
pub(super) struct UserFile {
    path: PathBuf,
    current: ArcSwap<Users>,
}

/// Users with their hashes, and what was verified against these.
#[derive(Debug)]
pub(super) struct Users {
    pub(super) hashes: HashMap<String, String>,
    pub(super) believed: Cache<Digest, ()>,
    pub(super) disbelieved: Cache<Digest, ()>,
}

/// What tells a file from what it was; `None`: it is not there.
type Fingerprint = Option<(i64, i64, u64, u64)>;

impl UserFile {
    /// Reads the file, and again when it changes, for as long as it is used and where there is a runtime.
    ///
    /// # Errors
    /// It can't be read, or a line of it is wrong: in words, without the file's name.
    pub(super) fn open(path: &Path) -> Result<Arc<Self>, String> {
        let seen = fingerprint(path);
        let file = Arc::new(UserFile { path: path.to_owned(), current: ArcSwap::from_pointee(Users::read(path)?) });
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(watch(Arc::downgrade(&file), seen));
        }
        Ok(file)
    }

    /// The users now.
    pub(super) fn current(&self) -> Arc<Users> {
        self.current.load_full()
    }

    fn read_again(&self) {
        let file = self.path.display();
        match Users::read(&self.path) {
            Ok(users) => {
                tracing::info!(users = users.hashes.len(), "{file}: users read again");
                self.current.store(Arc::new(users));
            }
            Err(why) => tracing::error!("{file}: {why}; the old users stay in force"),
        }
    }
}

async fn watch(file: Weak<UserFile>, mut seen: Fingerprint) {
    let mut changed = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(file) = file.upgrade() else { return };
        let now = fingerprint(&file.path);
        if now == seen {
            changed = None;
        } else if changed != Some(now) {
            changed = Some(now);
        } else {
            // Said once: what is broken is not read again before it changes.
            seen = now;
            changed = None;
            // On a thread that may wait for a disk. A panic in there would be a fault of ours; the old users stay.
            let _ = tokio::task::spawn_blocking(move || file.read_again()).await;
        }
    }
}

fn fingerprint(path: &Path) -> Fingerprint {
    // Links are followed: new content may be another target of the same link.
    let found = std::fs::metadata(path).ok()?;
    Some((found.mtime(), found.mtime_nsec(), found.ino(), found.size()))
}

impl Users {
    fn read(path: &Path) -> Result<Self, String> {
        let remembered = |span| Cache::builder().max_capacity(REMEMBERED).time_to_live(span).build();
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        Ok(Users { hashes: hashes(&text)?, believed: remembered(BELIEVED), disbelieved: remembered(DISBELIEVED) })
    }
}

/// Lines of `user:hash`; empty ones and comments aside.
fn hashes(text: &str) -> Result<HashMap<String, String>, String> {
    let mut users = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((user, hash)) = line.split_once(':') else {
            return Err(format!("line {}: not `user:hash`", number + 1));
        };
        if !(hash.starts_with("$2") || hash.starts_with("$argon2")) {
            return Err(format!("line {}: neither bcrypt nor Argon2; `htpasswd -B` makes bcrypt", number + 1));
        }
        users.insert(user.to_owned(), hash.to_owned());
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_users_are_read_or_refused() {
        for (text, expected) in [
            ("# people\n\na:$2y$04$x\nb:$argon2id$x\n", Ok(2)),
            ("a\n", Err("line 1")),
            ("a:$2y$x\nb:plain\n", Err("line 2")),
            ("a:{SHA}x\n", Err("neither")),
        ] {
            match (hashes(text), expected) {
                (Ok(users), Ok(count)) => assert_eq!(users.len(), count),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
        assert!(UserFile::open(Path::new("/nowhere/users")).is_err());
    }
}
