//! User and password (RFC 7617), against a file of hashes.
//!
//! Hashes are slow on purpose, so what was verified is remembered for a while, and only so many are computed at once:
//! neither honest nor made-up passwords may keep the threads busy that serve everybody.

use std::collections::HashMap;
use std::sync::Arc;

use argon2::{Argon2, PasswordVerifier};
use aws_lc_rs::{hmac, rand::SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use tokio::sync::Semaphore;

use super::denial::Denial;
use super::guard::GuardError;
use super::refusal::Refusal;
use super::users::{Digest, UserFile, Users};
use crate::config::settings;

/// Hashes computed at once, and requests that may wait for one.
const AT_ONCE: usize = 2;
const QUEUE: usize = 64;

/// The users of a route.
pub(super) struct BasicAuth {
    users: Arc<UserFile>,
    challenge: String,
    pass: bool,
    key: hmac::Key,
    computing: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

impl BasicAuth {
    /// Reads the file.
    pub(super) fn new(settings: &settings::BasicAuth) -> Result<Self, GuardError> {
        let fault = |why: String| GuardError::Users { file: settings.file.clone(), why };
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| fault("the system has no random numbers".to_owned()))?;
        Ok(BasicAuth {
            users: UserFile::open(&settings.file).map_err(fault)?,
            challenge: format!("Basic realm=\"{}\", charset=\"UTF-8\"", settings.realm.replace(['"', '\\'], "'")),
            pass: settings.pass,
            key,
            computing: Arc::new(Semaphore::new(AT_ONCE)),
            queue: Arc::new(Semaphore::new(QUEUE)),
        })
    }

    /// Whether the request's credentials are right. The app does not get them unless it is said so.
    pub(super) async fn check(&self, headers: &mut HeaderMap) -> Result<(), Box<Denial>> {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (given.next(), given.next()) else { return Err(self.challenge()) };
        let digest = self.digest(value.as_bytes());
        let users = self.users.current();
        if users.believed.get(&digest).is_none() {
            self.verify(&users, value.as_bytes(), digest).await?;
        }
        if !self.pass {
            headers.remove(header::AUTHORIZATION);
        }
        Ok(())
    }

    async fn verify(&self, users: &Arc<Users>, value: &[u8], digest: Digest) -> Result<(), Box<Denial>> {
        if users.disbelieved.get(&digest).is_some() {
            return Err(self.challenge());
        }
        let Some((user, password)) = credentials(value) else { return Err(self.challenge()) };
        let busy = || Denial::of(Refusal::AuthUnavailable).retry_after(1);
        let _queued = self.queue.try_acquire().map_err(|_| busy())?;
        let turn = self.computing.clone().acquire_owned().await.map_err(|_| busy())?;
        let known = users.clone();
        // The turn goes along: when this client leaves, the hash is still being computed.
        let computed = tokio::task::spawn_blocking(move || {
            let right = is_right(&known.hashes, &user, &password);
            drop(turn);
            right
        });
        match computed.await {
            Ok(true) => {
                users.believed.insert(digest, ());
                Ok(())
            }
            Ok(false) => {
                users.disbelieved.insert(digest, ());
                Err(self.challenge())
            }
            Err(_) => Err(busy()),
        }
    }

    fn digest(&self, value: &[u8]) -> Digest {
        let mut digest = Digest::default();
        digest.copy_from_slice(hmac::sign(&self.key, value).as_ref());
        digest
    }

    fn challenge(&self) -> Box<Denial> {
        Denial::of(Refusal::Unauthorized).with(header::WWW_AUTHENTICATE, &self.challenge)
    }
}

impl std::fmt::Debug for BasicAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BasicAuth").field("users", &self.users.current().hashes.len()).finish_non_exhaustive()
    }
}

/// RFC 7617 §2.
fn credentials(value: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = memchr::memchr(b':', &decoded)?;
    Some((String::from_utf8(decoded[..colon].to_vec()).ok()?, decoded[colon + 1..].to_vec()))
}

fn is_right(users: &HashMap<String, String>, user: &str, password: &[u8]) -> bool {
    // For an unknown user a hash is computed as well, so that the time does not tell who is known.
    let known = users.get(user);
    let Some(hash) = known.or_else(|| users.values().next()) else { return false };
    let right = if hash.starts_with("$argon2") {
        Argon2::default().verify_password(password, hash.as_str()).is_ok()
    } else {
        bcrypt::verify(password, hash).unwrap_or(false)
    };
    right && known.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read() {
        for (value, expected) in [
            ("Basic YTpi", Some(("a", "b"))),
            ("basic YTpiOmM=", Some(("a", "b:c"))),
            ("Basic YTo=", Some(("a", ""))),
            ("Basic YQ==", None),
            ("Basic !", None),
            ("Bearer YTpi", None),
            ("Basic", None),
            ("", None),
        ] {
            let read = credentials(value.as_bytes());
            let read = read.as_ref().map(|(user, password)| (&**user, std::str::from_utf8(password).unwrap()));
            assert_eq!(read, expected, "{value}");
        }
    }

    #[test]
    fn both_kinds_of_hash_are_verified() {
        let hashed = bcrypt::hash("right", 4).unwrap();
        // `right`, by Argon2id with little memory.
        let users = HashMap::from([("b".to_owned(), hashed)]);
        for (user, password, expected) in [("b", "right", true), ("b", "wrong", false), ("c", "right", false)] {
            assert_eq!(is_right(&users, user, password.as_bytes()), expected, "{user} {password}");
        }
        assert!(!is_right(&HashMap::new(), "a", b"x"));
    }
}
