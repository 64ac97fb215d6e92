//! What a purge names, and in what words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::policy::tags::{Tag, Tags};
use crate::policy::time::Timestamp;

/// Targets that a line of the log names.
const TOLD: usize = 20;

/// A purge: what it names, and whether what it matches goes or becomes stale. Sent as it is to other nodes and kept as
/// it is in the journal, so that it can only ever grow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// Its receipt's number; unique among all nodes, and in the order of time.
    pub id: String,
    /// What it names. A stored response that one of them matches is purged.
    pub targets: Vec<PurgeTarget>,
    /// Whether it goes or stays as stale.
    pub mode: Mode,
    /// When it was asked for, in milliseconds since the Unix epoch: since when a soft one's responses are stale.
    pub at: i64,
}

/// What becomes of what a purge matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It goes.
    #[default]
    Hard,
    /// It becomes stale, so that `stale-while-revalidate`, `stale-if-error` and validation can use it.
    Soft,
}

/// One thing that a purge names. URLs are compared in the form in which they are part of a cache key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurgeTarget {
    /// A URL, in all its variants, and whatever routes added to its key.
    Url(String),
    /// A cache key, whole.
    Key(String),
    /// What begins so: URLs (`http://host/path`), hosts and paths (`host/path`) or paths on any host (`/path`).
    Prefix(String),
    /// A glob of the same three kinds, without the query; `*` stays within a segment, `**` does not.
    Glob(String),
    /// A regular expression that is found in `host/path`.
    Regex(String),
    /// A tag of the app's.
    Tag(String),
    /// A cache group (RFC 9875) of an origin (`scheme://host[:port]`).
    Group {
        /// The origin.
        origin: String,
        /// The group.
        name: String,
    },
    /// A media type, `type/subtype` or `type/*`; parameters do not count.
    ContentType(String),
    /// Statuses.
    Status(StatusRange),
    /// Everything.
    All,
}

/// Statuses from one to another, e.g. 404 alone or all of 500 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StatusRange {
    /// The first.
    pub from: u16,
    /// The last.
    pub to: u16,
}

/// What a purge looks at of a stored response.
#[derive(Clone, Copy, Debug)]
pub struct Meta<'a> {
    /// Its cache key's text.
    pub key: &'a str,
    /// Its tags and groups.
    pub tags: &'a Tags,
    /// Its status.
    pub status: u16,
    /// Its Content-Type, if it has one.
    pub content_type: Option<&'a [u8]>,
}

impl<'a> Meta<'a> {
    /// `scheme://host[:port]/path[?query]`.
    pub fn url(&self) -> &'a str {
        let base = self.key.split('\n').next().unwrap_or_default();
        base.split_once(' ').map_or(base, |(_, url)| url)
    }

    /// `scheme://host[:port]`.
    pub fn origin(&self) -> &'a str {
        let url = self.url();
        &url[..url.len() - path_and_query(url).len()]
    }

    /// What a tag is found by in an index of all: groups are those of an origin.
    pub fn tag_names(&self) -> impl Iterator<Item = std::borrow::Cow<'a, str>> + use<'a> {
        let origin = self.origin();
        self.tags.iter().map(move |tag| match tag {
            Tag::Named(name) => name.into(),
            Tag::Group(name) => group_name(origin, name).into(),
        })
    }
}

/// What a group of an origin is found by among tags. A space stands in the origin's place in no tag.
pub(super) fn group_name(origin: &str, group: &str) -> String {
    format!("\n{origin} {group}")
}

/// Of a URL, what follows the authority.
pub(super) fn path_and_query(url: &str) -> &str {
    let rest = without_scheme(url);
    rest.find(['/', '?']).map_or("", |at| &rest[at..])
}

/// Of a URL, what follows `scheme://`.
pub(super) fn without_scheme(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

/// Without the query.
pub(super) fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

impl Purge {
    /// Of targets, asked for at `at`. Its number is new.
    pub fn new(targets: Vec<PurgeTarget>, mode: Mode, at: Timestamp) -> Self {
        Purge { id: new_id(at), targets, mode, at: at.as_millis() }
    }

    /// When it was asked for.
    pub fn time(&self) -> Timestamp {
        Timestamp::from_millis(self.at)
    }
}

/// Sorts by time, and no two nodes come upon the same.
fn new_id(at: Timestamp) -> String {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let mut random = [0; 8];
    let random = match getrandom::fill(&mut random) {
        Ok(()) => u64::from_ne_bytes(random),
        // Then it is at least this process' own.
        Err(_) => u64::from(std::process::id()) << 32 | COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
    };
    format!("{:012x}{random:016x}", at.as_millis().max(0))
}

impl PurgeTarget {
    /// Whether one that [`PurgeTarget::is_exact`] names a stored response; a pattern never does here.
    pub fn names(&self, meta: &Meta<'_>) -> bool {
        match self {
            PurgeTarget::Url(url) => url == meta.url(),
            PurgeTarget::Key(key) => key == meta.key,
            PurgeTarget::Tag(tag) => meta.tags.named().any(|name| name == tag),
            PurgeTarget::Group { origin, name } => {
                meta.tags.groups().any(|group| group == name) && origin == meta.origin()
            }
            _ => false,
        }
    }

    /// Whether it is found by a look-up, whatever the cache's size; the others have to look at every stored response.
    pub fn is_exact(&self) -> bool {
        use PurgeTarget::{Group, Key, Tag, Url};
        matches!(self, Url(_) | Key(_) | Tag(_) | Group { .. })
    }
}

impl fmt::Display for PurgeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PurgeTarget::Url(url) => f.write_str(url),
            PurgeTarget::Key(key) => write!(f, "key {key}"),
            PurgeTarget::Prefix(prefix) => write!(f, "prefix {prefix}"),
            PurgeTarget::Glob(glob) => write!(f, "glob {glob}"),
            PurgeTarget::Regex(regex) => write!(f, "regex {regex}"),
            PurgeTarget::Tag(tag) => write!(f, "tag {tag}"),
            PurgeTarget::Group { origin, name } => write!(f, "group {name} of {origin}"),
            PurgeTarget::ContentType(media_type) => write!(f, "content type {media_type}"),
            PurgeTarget::Status(range) => write!(f, "status {range}"),
            PurgeTarget::All => f.write_str("*"),
        }
    }
}

/// Some targets for a line of the log: the first ones, and how many more there are.
pub fn told<T: fmt::Display>(targets: &[T]) -> String {
    let shown: Vec<String> = targets.iter().take(TOLD).map(|target| format!("{:?}", target.to_string())).collect();
    let more = targets.len().saturating_sub(TOLD);
    if more == 0 { shown.join(", ") } else { format!("{}, and {more} more", shown.join(", ")) }
}

impl StatusRange {
    /// Whether a status is within.
    pub fn contains(self, status: u16) -> bool {
        (self.from..=self.to).contains(&status)
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to { write!(f, "{}", self.from) } else { write!(f, "{}xx", self.from / 100) }
    }
}

impl FromStr for StatusRange {
    type Err = String;

    /// `404`, or `5xx` for all of a class.
    fn from_str(text: &str) -> Result<Self, String> {
        let whole = |class: &str| class.parse::<u16>().ok().map(|class| (class * 100, class * 100 + 99));
        let range = match text.strip_suffix("xx").or_else(|| text.strip_suffix("XX")) {
            Some(class) if class.len() == 1 => whole(class),
            _ => text.parse().ok().map(|status| (status, status)),
        };
        let range = range.map(|(from, to)| StatusRange { from, to }).filter(|range| (100..=599).contains(&range.from));
        range.ok_or_else(|| format!("{text:?} is no status; 404 is one, and 5xx stands for a class"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_of_a_key() {
        let tags = Tags::new([Tag::Named("a"), Tag::Group("b")]);
        let of = |key| Meta { key, tags: &tags, status: 200, content_type: None };
        let meta = of("GET https://a.test:81/x?y\nx-a:1:2");
        assert_eq!((meta.url(), meta.origin()), ("https://a.test:81/x?y", "https://a.test:81"));
        assert_eq!(meta.tag_names().collect::<Vec<_>>(), ["a", "\nhttps://a.test:81 b"]);
        assert_eq!(of("garbage").url(), "garbage");
    }

    #[test]
    fn status_is_one_or_a_class() {
        let of = |text: &str| text.parse::<StatusRange>();
        assert_eq!(of("404").unwrap(), StatusRange { from: 404, to: 404 });
        assert_eq!(of("5xx").unwrap(), StatusRange { from: 500, to: 599 });
        assert_eq!((of("404").unwrap().to_string(), of("5xx").unwrap().to_string()), ("404".into(), "5xx".into()));
        for wrong in ["", "x", "xx", "9xx", "0xx", "99", "600", "-1", "50xx", "404xx", "é"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn purge_comes_back_from_its_json() {
        let targets = vec![
            PurgeTarget::Url("http://a/".into()),
            PurgeTarget::Group { origin: "http://a".into(), name: "b".into() },
            PurgeTarget::Status(StatusRange { from: 400, to: 499 }),
            PurgeTarget::All,
        ];
        let purge = Purge::new(targets, Mode::Soft, Timestamp::from_secs(5));
        let json = serde_json::to_string(&purge).unwrap();
        assert_eq!(serde_json::from_str::<Purge>(&json).unwrap(), purge, "{json}");
        assert!(Purge::new(vec![], Mode::Hard, Timestamp::from_secs(6)).id > purge.id);
    }
}
