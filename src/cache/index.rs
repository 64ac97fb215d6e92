//! Which keys belong to a URL, for purging by URL where routes add headers or cookies to the key.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::key::CacheKey;

/// Keys with additions, by the URL part that they share. Keys without additions are found directly and not listed.
#[derive(Debug, Default)]
pub struct UrlIndex(Mutex<HashMap<Box<str>, Vec<CacheKey>>>);

impl UrlIndex {
    /// Lists a key.
    pub fn insert(&self, key: &CacheKey) {
        if !key.has_additions() {
            return;
        }
        let mut listed = self.0.lock();
        let keys = listed.entry(key.base().into()).or_default();
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }

    /// Takes a key off the list.
    pub fn remove(&self, key: &CacheKey) {
        if !key.has_additions() {
            return;
        }
        let mut listed = self.0.lock();
        if let Some(keys) = listed.get_mut(key.base()) {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                listed.remove(key.base());
            }
        }
    }

    /// The keys derived from a URL.
    pub fn of_url(&self, base: &str) -> Vec<CacheKey> {
        self.0.lock().get(base).cloned().unwrap_or_default()
    }
}
