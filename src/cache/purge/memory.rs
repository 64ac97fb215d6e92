//! A purge in the memory tier: by name through the index, by pattern in slices over all of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::log::{Logged, Verdict};
use super::matcher::Patterns;
use super::target::{PurgeTarget, group_name};
use crate::cache::entry::{Entry, StoredResponse};
use crate::cache::key::CacheKey;
use crate::cache::memory::MemoryTier;
use crate::cache::residents::Change;

/// Entries looked at before others get a turn.
const SLICE: usize = 512;
/// How long they get.
const PAUSE: Duration = Duration::from_micros(100);
/// Most URLs of a sample.
const SAMPLE: usize = 20;

/// What a purge found, or would find.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Stored responses by target, each counted once: for the first target that came upon it.
    pub by_target: Vec<u64>,
    /// Keys looked at.
    pub visited: u64,
    /// Some of their URLs; of a count alone.
    pub sample: Vec<String>,
    /// What a soft purge of several targets has made stale, by address: it stays, and is to be counted once.
    softened: HashSet<usize>,
}

impl Found {
    fn of(targets: usize) -> Self {
        Found { by_target: vec![0; targets], ..Found::default() }
    }

    /// Stored responses over all targets.
    pub fn total(&self) -> u64 {
        self.by_target.iter().sum()
    }

    fn show(&mut self, key: &CacheKey) {
        if self.sample.len() < SAMPLE && self.sample.last().is_none_or(|last| last != key.url()) {
            self.sample.push(key.url().to_owned());
        }
    }
}

impl MemoryTier {
    /// What of an entry was not purged; while there are patterns still to be applied.
    pub(in crate::cache) fn allowed(&self, key: &CacheKey, entry: &Entry) -> Option<Entry> {
        if self.is_retired() {
            return None;
        }
        entry.mapped(|response| match self.log.allows(&response.meta(key), response.epoch()) {
            Verdict::Allowed => Some(response.clone()),
            Verdict::SoftPurged { since } => Some(Arc::new(response.softened(since))),
            Verdict::Purged => None,
        })
    }

    /// Takes out what the targets that are no patterns name.
    pub(super) fn purge_exact(&self, purge: &Logged) -> Found {
        let mut found = Found::of(purge.purge.targets.len());
        for (at, target) in purge.purge.targets.iter().enumerate().filter(|(_, target)| target.is_exact()) {
            for key in self.keys_of(target) {
                found.visited += 1;
                found.by_target[at] +=
                    self.take(&key, purge, &mut found.softened, |response| target.names(&response.meta(&key)));
            }
        }
        found
    }

    /// Takes out what the patterns match. Blocks; pauses between slices.
    pub(super) fn sweep(&self, purge: &Logged, found: &mut Found) {
        self.each(|key, entry| {
            found.visited += 1;
            // A response is counted for the first target that matches it.
            for response in entry.variants() {
                let Some(at) = purge.patterns.find(&response.meta(key)) else { continue };
                found.by_target[at] += self.take(key, purge, &mut found.softened, |other| Arc::ptr_eq(other, response));
            }
        });
    }

    /// What these targets would take out.
    pub(super) fn count(&self, targets: &[PurgeTarget], patterns: &Patterns) -> Found {
        let mut found = Found::of(targets.len());
        let mut seen: HashSet<usize> = HashSet::new();
        for (at, target) in targets.iter().enumerate().filter(|(_, target)| target.is_exact()) {
            for key in self.keys_of(target) {
                found.visited += 1;
                let entry = self.entries.peek(&key).unwrap_or_default();
                for response in entry.variants().iter().filter(|response| target.names(&response.meta(&key))) {
                    if seen.insert(Arc::as_ptr(response) as usize) {
                        found.by_target[at] += 1;
                        found.show(&key);
                    }
                }
            }
        }
        if !patterns.is_empty() {
            self.each(|key, entry| {
                found.visited += 1;
                for response in entry.variants() {
                    if let Some(at) = patterns.find(&response.meta(key))
                        && !seen.contains(&(Arc::as_ptr(response) as usize))
                    {
                        found.by_target[at] += 1;
                        found.show(key);
                    }
                }
            });
        }
        found
    }

    /// Keys under which a target that is no pattern may find something.
    fn keys_of(&self, target: &PurgeTarget) -> Vec<Arc<CacheKey>> {
        let whole = |text: String| {
            let base = text.len();
            CacheKey::from_text(text, base).map(Arc::new)
        };
        let mut keys = match target {
            PurgeTarget::Url(url) => {
                let mut keys = self.index.of_url(url);
                keys.extend(whole(CacheKey::base_of_url(url)));
                keys
            }
            PurgeTarget::Key(text) => match text.split_once('\n') {
                None => whole(text.clone()).into_iter().collect(),
                Some((base, _)) => {
                    let url = base.split_once(' ').map_or(base, |(_, url)| url);
                    self.index.of_url(url).into_iter().filter(|key| key.as_str() == text).collect()
                }
            },
            PurgeTarget::Tag(tag) => self.index.of_tag(tag),
            PurgeTarget::Group { origin, name } => self.index.of_tag(&group_name(origin, name)),
            _ => Vec::new(),
        };
        keys.retain(|key| self.entries.peek(key).is_some());
        keys
    }

    /// Takes the chosen responses of a key out, or makes them stale; not those whose fetch began after the purge. How
    /// many they are.
    fn take(
        &self,
        key: &CacheKey,
        purge: &Logged,
        softened: &mut HashSet<usize>,
        chosen: impl Fn(&Arc<StoredResponse>) -> bool,
    ) -> u64 {
        let mut count = 0;
        self.entries.update(key, |existing| {
            let Some(entry) = existing else { return Change::Keep };
            let kept = entry.mapped(|response| {
                let address = |response: &Arc<StoredResponse>| Arc::as_ptr(response) as usize;
                let was_taken = softened.contains(&address(response));
                if response.epoch().local >= purge.seq || was_taken || !chosen(response) {
                    return Some(response.clone());
                }
                count += 1;
                let stale = Arc::new(response.softened(purge.soft_since()?));
                self.list(key, &stale);
                if purge.purge.targets.len() > 1 {
                    softened.insert(address(&stale));
                }
                Some(stale)
            });
            match kept {
                _ if count == 0 => Change::Keep,
                Some(entry) => Change::Put(entry),
                None => Change::Remove,
            }
        });
        count
    }

    /// Keys under which something of a URL is stored, whatever routes added to it.
    pub fn keys_of_url(&self, url: &str) -> Vec<Arc<CacheKey>> {
        self.keys_of(&PurgeTarget::Url(url.to_owned()))
    }

    /// Every entry, in slices. Blocks; pauses between them.
    pub fn each(&self, mut look: impl FnMut(&CacheKey, &Entry)) {
        for entries in self.entries.by_shard() {
            for slice in entries.chunks(SLICE) {
                slice.iter().for_each(|(key, entry)| look(key, entry));
                std::thread::sleep(PAUSE);
            }
        }
    }
}
