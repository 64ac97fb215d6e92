//! What is stored for single sessions: a partition of the cache each, bounded in number and in bytes.
//!
//! A partition is part of the key of what it holds ([`CacheKey::of_session`]), so that no look-up but that session's
//! finds it. Here is kept which keys belong to whom, for the bounds. A session is named by a keyed digest of its
//! cookie's value, whose key is made anew with each process: neither logs nor metrics ever see the value, and nobody
//! can make up a value of the same name.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::hmac;
use parking_lot::Mutex;

use super::key::CacheKey;
use crate::config::settings::PrivateCache;

/// All partitions.
#[derive(Debug)]
pub struct Sessions {
    secret: hmac::Key,
    /// By cookie name: what has its bounds together.
    groups: Mutex<HashMap<Box<str>, Group>>,
    evicted: AtomicU64,
    /// Counts sessions that ended.
    ends: AtomicU64,
    /// When the last session of each place ended.
    ended: Box<[AtomicU64]>,
}

/// A session, as keys name it: `cookie=digest`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionName(Box<str>);

/// A moment between the ends of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionMoment(u64);

#[derive(Debug)]
struct Group {
    bounds: PrivateCache,
    sessions: HashMap<Box<str>, Partition>,
    /// The sessions by when they were last used, the longest ago first.
    by_use: BTreeMap<u64, Box<str>>,
    bytes: u64,
    /// Counts uses and insertions.
    now: u64,
}

#[derive(Debug, Default)]
struct Partition {
    used: u64,
    bytes: u64,
    keys: HashMap<CacheKey, Held>,
    /// The keys by when they were stored, the oldest first.
    by_age: BTreeMap<u64, CacheKey>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    bytes: u64,
    stored: u64,
}

const PLACES: usize = 1024;

impl Default for Sessions {
    fn default() -> Self {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).expect("the system has random numbers: TLS could not do without either");
        Sessions {
            secret: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            groups: Mutex::default(),
            evicted: AtomicU64::new(0),
            ends: AtomicU64::new(0),
            ended: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl SessionName {
    /// As keys hold it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Sessions {
    /// The session that a cookie names.
    pub fn name(&self, cookie: &str, value: &str) -> SessionName {
        let mut signing = hmac::Context::with_key(&self.secret);
        signing.update(&(cookie.len() as u64).to_le_bytes());
        signing.update(cookie.as_bytes());
        signing.update(value.as_bytes());
        let digest = signing.sign();
        let mut name = String::with_capacity(cookie.len() + 1 + 32);
        name.push_str(cookie);
        name.push('=');
        // 128 bits: nobody can find two values of one name without the key.
        for byte in &digest.as_ref()[..16] {
            let _ = write!(name, "{byte:02x}");
        }
        SessionName(name.into_boxed_str())
    }

    /// A session asks: it is the last to go now. The bounds are those of its route.
    pub fn used(&self, session: &SessionName, bounds: &PrivateCache) {
        let mut groups = self.groups.lock();
        let group = group_of(&mut groups, session.as_str(), Some(bounds));
        if let Some(group) = group
            && group.sessions.contains_key(session.as_str())
        {
            group.touch(session.as_str());
        }
    }

    /// How many sessions there are, what they hold in bytes, and how many keys were evicted for the bounds so far.
    pub fn figures(&self) -> (u64, u64, u64) {
        let groups = self.groups.lock();
        let sessions = groups.values().map(|group| group.sessions.len() as u64).sum();
        (sessions, groups.values().map(|group| group.bytes).sum(), self.evicted.load(Ordering::Relaxed))
    }

    /// Now: for a fetch that begins.
    pub fn moment(&self) -> SessionMoment {
        SessionMoment(self.ends.load(Ordering::Acquire))
    }

    /// Whether a fetch that began then may still store for a session: it has not ended since.
    pub fn goes_on(&self, session: &str, began: SessionMoment) -> bool {
        self.ended[place(session)].load(Ordering::Acquire) <= began.0
    }

    /// A session ends, or its cookie gets another meaning: what was fetched for it up to now is not to be stored any
    /// more. What is stored, for the caller to remove.
    pub fn end(&self, session: &SessionName) -> Vec<CacheKey> {
        let now = self.ends.fetch_add(1, Ordering::AcqRel) + 1;
        self.ended[place(session.as_str())].fetch_max(now, Ordering::AcqRel);
        let mut groups = self.groups.lock();
        let Some(group) = group_of(&mut groups, session.as_str(), None) else { return Vec::new() };
        group.remove(session.as_str())
    }

    /// Notes that a key holds so many bytes now. What has to go for that, for the caller to remove.
    pub(super) fn holds(&self, key: &CacheKey, bytes: u64) -> Vec<CacheKey> {
        let Some(session) = key.session() else { return Vec::new() };
        let mut groups = self.groups.lock();
        let Some(group) = group_of(&mut groups, session, None) else { return vec![key.clone()] };
        let over = group.hold(session, key, bytes);
        self.evicted.fetch_add(over.len() as u64, Ordering::Relaxed);
        over
    }

    /// Notes that a key holds nothing any more.
    pub(super) fn gone(&self, key: &CacheKey) {
        let Some(session) = key.session() else { return };
        let mut groups = self.groups.lock();
        if let Some(group) = group_of(&mut groups, session, None) {
            group.forget(session, key);
        }
    }
}

fn group_of<'a>(
    groups: &'a mut HashMap<Box<str>, Group>,
    session: &str,
    bounds: Option<&PrivateCache>,
) -> Option<&'a mut Group> {
    let cookie = session.rsplit_once('=').map_or(session, |(cookie, _)| cookie);
    if let Some(bounds) = bounds {
        match groups.get_mut(cookie) {
            Some(group) if group.bounds == *bounds => {}
            Some(group) => group.bounds = bounds.clone(),
            None => drop(groups.insert(cookie.into(), Group::new(bounds.clone()))),
        }
    }
    groups.get_mut(cookie)
}

impl Group {
    fn new(bounds: PrivateCache) -> Self {
        Group { bounds, sessions: HashMap::new(), by_use: BTreeMap::new(), bytes: 0, now: 0 }
    }

    fn touch(&mut self, session: &str) {
        self.now += 1;
        let partition = self.sessions.entry(session.into()).or_default();
        self.by_use.remove(&partition.used);
        partition.used = self.now;
        self.by_use.insert(self.now, session.into());
    }

    /// What has to go.
    fn hold(&mut self, session: &str, key: &CacheKey, bytes: u64) -> Vec<CacheKey> {
        self.touch(session);
        let (now, most) = (self.now, self.bounds.max_session_bytes);
        let Some(partition) = self.sessions.get_mut(session) else { return Vec::new() };
        let before = partition.keys.insert(key.clone(), Held { bytes, stored: now });
        if let Some(before) = before {
            partition.by_age.remove(&before.stored);
        }
        partition.by_age.insert(now, key.clone());
        let before = before.map_or(0, |before| before.bytes);
        partition.bytes = partition.bytes - before + bytes;
        self.bytes = self.bytes - before + bytes;
        // The session's own oldest first, then whole sessions that have not asked for the longest time.
        let mut over = Vec::new();
        while let Some(oldest) = self.sessions.get(session).filter(|it| it.bytes > most).and_then(Partition::oldest) {
            self.forget(session, &oldest);
            over.push(oldest);
        }
        while self.sessions.len() > self.bounds.max_sessions || self.bytes > self.bounds.max_bytes {
            let Some(longest_ago) = self.by_use.values().next().cloned() else { break };
            over.extend(self.remove(&longest_ago));
        }
        over
    }

    fn forget(&mut self, session: &str, key: &CacheKey) {
        let Some(partition) = self.sessions.get_mut(session) else { return };
        let Some(held) = partition.keys.remove(key) else { return };
        partition.by_age.remove(&held.stored);
        partition.bytes -= held.bytes;
        self.bytes -= held.bytes;
        if partition.keys.is_empty() {
            self.remove(session);
        }
    }

    fn remove(&mut self, session: &str) -> Vec<CacheKey> {
        let Some(partition) = self.sessions.remove(session) else { return Vec::new() };
        self.by_use.remove(&partition.used);
        self.bytes -= partition.bytes;
        partition.by_age.into_values().collect()
    }
}

impl Partition {
    fn oldest(&self) -> Option<CacheKey> {
        self.by_age.values().next().cloned()
    }
}

fn place(session: &str) -> usize {
    xxhash_rust::xxh3::xxh3_64(session.as_bytes()) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::cache::key::TargetUri;
    use crate::policy::rules::KeyRules;

    const BOUNDS: PrivateCache =
        PrivateCache { cookie: String::new(), max_sessions: 3, max_bytes: 1000, max_session_bytes: 500 };

    fn url(path: &str) -> CacheKey {
        let target = TargetUri { scheme: "http", authority: "a.test", path, query: None };
        CacheKey::new(&target, &KeyRules::default(), &HeaderMap::new())
    }

    fn names(sessions: &Sessions, values: &[&str]) -> Vec<SessionName> {
        let names: Vec<_> = values.iter().map(|value| sessions.name("sid", value)).collect();
        names.iter().for_each(|name| sessions.used(name, &BOUNDS));
        names
    }

    #[test]
    fn sessions_are_named_without_telling_their_cookie() {
        let sessions = Sessions::default();
        let name = sessions.name("sid", "secret-value");
        assert!(name.as_str().starts_with("sid=") && name.as_str().len() == 4 + 32);
        assert!(!name.as_str().contains("secret"));
        assert_eq!(name, sessions.name("sid", "secret-value"));
        for (cookie, value) in [("sid", "other"), ("si", "dsecret-value"), ("other", "secret-value")] {
            assert_ne!(name.as_str().rsplit('=').next(), sessions.name(cookie, value).as_str().rsplit('=').next());
        }
        assert_ne!(name, Sessions::default().name("sid", "secret-value"), "the key is the process' own");
        let key = url("/").of_session(&name);
        assert_eq!(key.session(), Some(name.as_str()));
        assert!(key.stays_here() && key != url("/") && url("/").session().is_none());
    }

    #[test]
    fn sessions_beyond_the_bounds_go_the_least_recently_used_first() {
        let sessions = Sessions::default();
        let names = names(&sessions, &["a", "b", "c", "d"]);
        let key = |at: usize, path| url(path).of_session(&names[at]);
        for at in 0..3 {
            assert!(sessions.holds(&key(at, "/1"), 100).is_empty());
        }
        sessions.used(&names[0], &BOUNDS);
        assert_eq!(sessions.holds(&key(3, "/1"), 100), [key(1, "/1")], "the fourth session");
        assert_eq!(sessions.figures(), (3, 300, 1));
        // Bytes of one session: its own oldest goes.
        assert!(sessions.holds(&key(3, "/2"), 350).is_empty());
        assert_eq!(sessions.holds(&key(3, "/3"), 100), [key(3, "/1")]);
        // Growing counts.
        assert_eq!(sessions.holds(&key(3, "/3"), 200), [key(3, "/2")]);
        // Bytes of all: whole sessions go.
        assert!(sessions.holds(&key(0, "/2"), 400).is_empty());
        assert_eq!(sessions.figures().1, 100 + 200 + 500);
        assert_eq!(sessions.holds(&key(2, "/2"), 350), [key(3, "/3")]);
        // What is too large for a session by itself does not stay.
        assert_eq!(sessions.holds(&key(0, "/huge"), 501).last(), Some(&key(0, "/huge")));
    }

    #[test]
    fn sessions_give_back_what_is_gone() {
        let sessions = Sessions::default();
        let names = names(&sessions, &["a", "b"]);
        let keys = ["/1", "/2"].map(|path| url(path).of_session(&names[0]));
        for key in &keys {
            sessions.holds(key, 100);
        }
        sessions.holds(&url("/1").of_session(&names[1]), 100);
        sessions.gone(&keys[0]);
        sessions.gone(&keys[0]);
        assert_eq!(sessions.figures(), (2, 200, 0));
        let began = sessions.moment();
        assert_eq!(sessions.end(&names[0]), [keys[1].clone()]);
        assert_eq!(sessions.figures(), (1, 100, 0));
        assert!(!sessions.goes_on(names[0].as_str(), began), "what was under way is not stored");
        assert!(sessions.goes_on(names[0].as_str(), sessions.moment()));
    }
}
