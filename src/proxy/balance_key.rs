//! What a request is told apart by, where its server is chosen by hash.

use xxhash_rust::xxh3::Xxh3;

use super::Asked;
use crate::cache::key::cookie;
use crate::config::settings::{Balance, HashBy};

/// The hash of a request's key; `None` where servers are chosen otherwise.
pub(super) fn of(asked: &Asked<'_>) -> Option<u64> {
    let settings = asked.route.pool.settings();
    if settings.balance != Balance::Hash {
        return None;
    }
    let headers = &asked.parts.headers;
    let mut hash = Xxh3::new();
    let named = match &settings.hash_by {
        HashBy::Url => {
            hash.update(asked.admitted.authority.as_bytes());
            hash.update(asked.admitted.target.as_str().as_bytes());
            true
        }
        HashBy::Client => false,
        HashBy::Header(name) => headers.get(name).inspect(|value| hash.update(value.as_bytes())).is_some(),
        HashBy::Cookie(name) => cookie(headers, name).inspect(|value| hash.update(value)).is_some(),
    };
    if !named {
        // A visitor who has no session yet stays where it begins.
        hash.update(asked.admitted.client.to_string().as_bytes());
    }
    Some(hash.digest())
}
