//! Which queries make no difference, by path: what upstreams said lately in No-Vary-Search, for look-ups and purges.
//!
//! A response that says so is stored under a key that holds the query in its normal form and the rule itself
//! ([`CacheKey::under`]): what is found there was stored by that very rule, so that a rule which changes finds nothing
//! of the old one. A rule is known for at least as long as something is stored under it, so that a purge by URL
//! reaches that.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use super::key::CacheKey;
use crate::policy::search::NoVarySearch;

/// The rules of a path, the latest first.
pub type Rules = SmallVec<[Arc<NoVarySearch>; 1]>;

/// Rules by path.
#[derive(Debug)]
pub struct Searches {
    /// Whether there is any at all, which is all that most look-ups ask.
    any: AtomicBool,
    known: RwLock<Known>,
    /// Counts purges by URL.
    purges: AtomicU64,
    /// The last purge of each path; paths share places, which makes some look purged later than they were.
    purged: Box<[AtomicU64]>,
}

#[derive(Debug, Default)]
struct Known {
    paths: HashMap<Box<str>, Vec<Rule>>,
    sweep_at: usize,
}

#[derive(Debug)]
struct Rule {
    rule: Arc<NoVarySearch>,
    text: Box<str>,
    /// How many purges there had been when it was learnt.
    learnt: u64,
    /// The hashes of the keys that are stored under it.
    stored: HashSet<u64>,
}

/// A moment between purges by URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// Why a response cannot be stored under its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgedMeanwhile;

/// Different rules of one path: more are no use to look-ups, which try them all.
const MOST_RULES: usize = 4;
/// Paths whose rules are remembered although nothing is stored under them.
const MOST_IDLE: usize = 10_000;
const PLACES: usize = 1024;

impl Default for Searches {
    fn default() -> Self {
        Searches {
            any: AtomicBool::new(false),
            known: RwLock::default(),
            purges: AtomicU64::new(0),
            purged: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Searches {
    /// The rules known for the path of a key.
    pub fn rules(&self, exact: &CacheKey) -> Rules {
        if !self.any.load(Ordering::Acquire) {
            return Rules::new();
        }
        let known = self.known.read();
        known.paths.get(exact.path()).into_iter().flatten().map(|rule| rule.rule.clone()).collect()
    }

    /// Now: for a fetch that begins.
    pub fn moment(&self) -> Moment {
        Moment(self.purges.load(Ordering::Acquire))
    }

    /// The key under which a response with this rule is stored, whose URL makes the key `exact` and whose fetch began
    /// at `began`. The path's further responses are looked for there first.
    ///
    /// # Errors
    /// The path was purged while nobody could know that this response is meant as well.
    pub fn learn(&self, exact: &CacheKey, rule: &NoVarySearch, began: Moment) -> Result<CacheKey, PurgedMeanwhile> {
        let (path, text) = (exact.path(), rule.text());
        let mut known = self.known.write();
        if !known.paths.contains_key(path) {
            known.make_room();
        }
        let rules = known.paths.entry(path.into()).or_default();
        // Read under the lock, which a purge takes between counting itself and asking for the rules.
        let now = self.purges.load(Ordering::Acquire);
        let at = rules.iter().position(|rule| *rule.text == *text);
        let learnt = at.map_or(now, |at| rules[at].learnt);
        if learnt > began.0 || at.is_none() {
            let purged = self.purged[place(path)].load(Ordering::Acquire);
            if purged > began.0 {
                return Err(PurgedMeanwhile);
            }
        }
        let found = match at {
            Some(at) => rules.remove(at),
            None => {
                if rules.len() == MOST_RULES {
                    match rules.iter().rposition(|rule| rule.stored.is_empty()) {
                        Some(idle) => drop(rules.remove(idle)),
                        None => return Ok(exact.clone()),
                    }
                }
                Rule { rule: Arc::new(rule.clone()), text: text.into(), learnt, stored: HashSet::new() }
            }
        };
        rules.insert(0, found);
        self.any.store(true, Ordering::Release);
        Ok(exact.under(rule))
    }

    /// All keys under which responses to a URL may be stored, for a purge that begins now. `exact` is the URL's own.
    pub fn purged(&self, exact: CacheKey) -> Vec<CacheKey> {
        let now = self.purges.fetch_add(1, Ordering::AcqRel) + 1;
        self.purged[place(exact.path())].fetch_max(now, Ordering::AcqRel);
        let known = self.known.read();
        let rules = known.paths.get(exact.path()).into_iter().flatten();
        let mut keys: Vec<CacheKey> = rules.map(|rule| exact.under(&rule.rule)).collect();
        keys.push(exact);
        keys
    }

    /// Notes that something is stored under a key.
    pub(super) fn stored(&self, key: &CacheKey) {
        self.of_key(key, |rule| {
            rule.stored.insert(key.hash());
        });
    }

    /// Notes that nothing is any more.
    pub(super) fn gone(&self, key: &CacheKey) {
        self.of_key(key, |rule| {
            rule.stored.remove(&key.hash());
        });
    }

    fn of_key(&self, key: &CacheKey, change: impl FnOnce(&mut Rule)) {
        let Some(text) = key.rule() else { return };
        let mut known = self.known.write();
        let rules = known.paths.get_mut(key.path());
        if let Some(rule) = rules.and_then(|rules| rules.iter_mut().find(|rule| *rule.text == *text)) {
            change(rule);
        }
    }
}

impl Known {
    /// Forgets paths under whose rules nothing is stored, once there are many.
    fn make_room(&mut self) {
        if self.paths.len() < self.sweep_at.max(MOST_IDLE) {
            return;
        }
        self.paths.retain(|_, rules| rules.iter().any(|rule| !rule.stored.is_empty()));
        self.sweep_at = 2 * self.paths.len();
    }
}

fn place(path: &str) -> usize {
    xxh3_64(path.as_bytes()) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::cache::key::TargetUri;
    use crate::policy::rules::KeyRules;

    fn key(path: &str, query: &str) -> CacheKey {
        let target = TargetUri { scheme: "http", authority: "a.test", path, query: Some(query) };
        CacheKey::new(&target, &KeyRules::default(), &HeaderMap::new())
    }

    fn rule(value: &str) -> NoVarySearch {
        NoVarySearch::parse(value.as_bytes()).unwrap()
    }

    #[test]
    fn searches_key_holds_query_in_normal_form_and_rule() {
        let under = |query| key("/p", query).with("device", "tv").under(&rule("params=(\"a\")"));
        assert_eq!(under("a=1&b=2"), under("b=2&a=3"));
        assert_ne!(under("b=2"), under("b=3"));
        assert_eq!(under("b=2").url(), "http://a.test/p?b=2");
        assert_eq!(under("b=2").rule(), Some("-a"));
        assert_ne!(under("b=2"), key("/p", "b=2").under(&rule("params=(\"a\")")));
        assert_eq!(key("/p", "b=2").rule(), None);
        assert!(under("").stays_here() && !key("/p", "").stays_here());
    }

    #[test]
    fn searches_purge_reaches_what_is_stored_under_rules() {
        let searches = Searches::default();
        let (one, other) = (key("/p", "u=1&b=2"), key("/p", "b=2&u=9"));
        assert!(searches.rules(&one).is_empty());
        let under = searches.learn(&one, &rule("params=(\"u\")"), searches.moment()).unwrap();
        assert_eq!(searches.rules(&other).len(), 1);
        assert_eq!(searches.rules(&key("/q", "")).len(), 0);
        assert_eq!(searches.purged(other.clone()), [under, other]);
    }

    #[test]
    fn searches_rule_that_came_with_what_was_purged_meanwhile_keeps_it_out() {
        let searches = Searches::default();
        let began = searches.moment();
        searches.purged(key("/p", "u=2"));
        assert_eq!(searches.learn(&key("/p", "u=1"), &rule("params"), began), Err(PurgedMeanwhile));
        assert!(searches.learn(&key("/other", ""), &rule("params"), began).is_ok());
        let later = searches.moment();
        assert!(searches.learn(&key("/p", "u=1"), &rule("params"), later).is_ok());
        // Once it is known before the fetch, a purge by any spelling finds the key itself.
        let later = searches.moment();
        searches.purged(key("/p", "u=2"));
        assert!(searches.learn(&key("/p", "u=1"), &rule("params"), later).is_ok());
    }

    #[test]
    fn searches_are_bounded_and_remember_what_is_in_use() {
        let searches = Searches::default();
        let kept = searches.learn(&key("/kept", ""), &rule("params"), searches.moment()).unwrap();
        searches.stored(&kept);
        for number in 0..2 * MOST_IDLE {
            searches.learn(&key(&format!("/{number}"), ""), &rule("params"), searches.moment()).unwrap();
        }
        assert!(searches.known.read().paths.len() <= MOST_IDLE + 1);
        assert_eq!(searches.rules(&kept).len(), 1);
        searches.gone(&kept);
        searches.known.write().sweep_at = 0;
        for number in 0..2 * MOST_IDLE {
            searches.learn(&key(&format!("/{number}"), ""), &rule("params"), searches.moment()).unwrap();
        }
        assert!(searches.rules(&kept).is_empty());
    }

    #[test]
    fn searches_of_one_path_are_few() {
        let searches = Searches::default();
        let exact = key("/p", "x=1");
        for number in 0..MOST_RULES {
            let under = searches.learn(&exact, &rule(&format!("params=(\"{number}\")")), searches.moment()).unwrap();
            searches.stored(&under);
        }
        assert_eq!(searches.learn(&exact, &rule("params"), searches.moment()), Ok(exact.clone()));
        assert_eq!(searches.rules(&exact).len(), MOST_RULES);
    }
}
