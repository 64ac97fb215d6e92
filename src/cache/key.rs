//! Cache keys: from the client-facing URI, before any rewriting, and what the route adds.

mod alike;
mod cookies;
mod escapes;
mod parameter;

use std::fmt::{self, Write};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use http::{HeaderMap, HeaderName};
use xxhash_rust::xxh3::xxh3_64;

pub use self::alike::is_alike;
use self::cookies::cookie_value;
pub use self::cookies::{alike_cookies, cookie, cookies};
use super::sessions::SessionName;
use crate::policy::rules::{KeyRules, QueryRule};
use crate::policy::search::NoVarySearch;

/// What a request is for, as a client sees it.
#[derive(Clone, Copy, Debug)]
pub struct TargetUri<'a> {
    /// `http` or `https`
    pub scheme: &'a str,
    /// Host and, unless it is the scheme's default, port; lower case.
    pub authority: &'a str,
    /// Path as received.
    pub path: &'a str,
    /// Query as received, without `?`.
    pub query: Option<&'a str>,
}

/// A cache key: `GET scheme://host[:port]/path[?query]`, then a line for each thing that the route adds. GET and
/// HEAD share the method class GET. Compared by its bytes, hashed once.
#[derive(Clone, PartialEq, Eq)]
pub struct CacheKey {
    hash: u64,
    /// Where what the route adds begins.
    base_len: u32,
    stays_here: bool,
    has_rule: bool,
    has_session: bool,
    text: Box<str>,
}

const METHOD_CLASS: &str = "GET ";
/// What begins the session that [`CacheKey::of_session`] adds.
const SESSION: &str = "\n session:";
/// What begins the rule that [`CacheKey::under`] adds. No field's value holds a line that begins with a space.
const RULE: &str = "\n no-vary-search:";

impl CacheKey {
    /// Of a target, by the route's rules; `headers` are the request's.
    pub fn new(target: &TargetUri<'_>, rules: &KeyRules, headers: &HeaderMap) -> Self {
        let mut text = base(target, rules);
        let base_len = text.len() as u32;
        for name in &rules.headers {
            push_addition(&mut text, name.as_str(), &header_value(headers, name));
        }
        for name in &rules.cookies {
            push_addition(&mut text, name, &cookie_value(headers, name));
        }
        CacheKey::made(text, base_len, false)
    }

    fn made(text: String, base_len: u32, stays_here: bool) -> Self {
        let hash = xxh3_64(text.as_bytes());
        CacheKey { hash, base_len, stays_here, has_rule: false, has_session: false, text: text.into_boxed_str() }
    }

    /// With a further addition of larder's own. A space stands before its name, so that no field's and no cookie's is
    /// like it.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut text = String::with_capacity(self.text.len() + name.len() + value.len() + 8);
        text.push_str(&self.text);
        push_addition(&mut text, &format!(" {name}"), value);
        CacheKey::made(text, self.base_len, self.stays_here)
    }

    /// As the key of what is stored for one session alone. Like all that is of a session, it stays in this process.
    #[must_use]
    pub fn of_session(&self, session: &SessionName) -> Self {
        let mut key = self.with(&SESSION[2..SESSION.len() - 1], session.as_str());
        key.stays_here = true;
        key.has_session = true;
        key
    }

    /// The session that it is of.
    pub fn session(&self) -> Option<&str> {
        if self.has_session { self.added(SESSION) } else { None }
    }

    /// As the key of a response whose rule says that some differences of the query make none: with the query in its
    /// normal form, and the rule. Such a key stays in this process, which knows the rules that a purge has to try.
    #[must_use]
    pub fn under(&self, rule: &NoVarySearch) -> Self {
        let (path, query) = (self.path(), &self.base()[self.path().len()..]);
        let query = rule.normalised(query.strip_prefix('?'));
        let mut text = String::with_capacity(self.text.len() + query.len() + 64);
        text.push_str(path);
        if !query.is_empty() {
            text.push('?');
            text.push_str(&query);
        }
        let base_len = text.len() as u32;
        text.push_str(&self.text[self.base().len()..]);
        push_addition(&mut text, &RULE[1..RULE.len() - 1], &rule.text());
        CacheKey { has_session: self.has_session, has_rule: true, ..CacheKey::made(text, base_len, true) }
    }

    /// The rule that [`CacheKey::under`] added, as its text.
    pub fn rule(&self) -> Option<&str> {
        if self.has_rule { self.added(RULE) } else { None }
    }

    /// The value of the last addition that begins so.
    fn added(&self, beginning: &str) -> Option<&str> {
        let (_, added) = self.text[self.base().len()..].rsplit_once(beginning)?;
        let (length, value) = added.split_once(':')?;
        value.get(..length.parse().ok()?)
    }

    /// Whether what is stored under it must not leave this process.
    pub fn stays_here(&self) -> bool {
        self.stays_here
    }

    /// The URL's part of the key without the query.
    pub fn path(&self) -> &str {
        self.base().split('?').next().unwrap_or_default()
    }

    /// Of a target alone, as a purge by URL names it.
    pub fn of_url(target: &TargetUri<'_>, rules: &KeyRules) -> Self {
        let text = base(target, rules);
        let base_len = text.len() as u32;
        CacheKey::made(text, base_len, false)
    }

    /// As [`CacheKey::as_str`] and the length of [`CacheKey::base`] told it, elsewhere. `None`: that is no key.
    pub fn from_text(text: String, base_len: usize) -> Option<Self> {
        let is_key = text.starts_with(METHOD_CLASS) && base_len > METHOD_CLASS.len() && text.is_char_boundary(base_len);
        let base_len = u32::try_from(base_len).ok()?;
        is_key.then(|| CacheKey::made(text, base_len, false))
    }

    /// The part of a URL's keys that the URI alone decides; the URL as [`CacheKey::url`] gives it.
    pub fn base_of_url(url: &str) -> String {
        format!("{METHOD_CLASS}{url}")
    }

    /// The part that the URI alone decides.
    pub fn base(&self) -> &str {
        &self.text[..self.base_len as usize]
    }

    /// Whether the route added anything.
    pub fn has_additions(&self) -> bool {
        self.text.len() > self.base_len as usize
    }

    /// The client-facing URL.
    pub fn url(&self) -> &str {
        &self.base()[METHOD_CLASS.len()..]
    }

    /// The whole key.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its hash.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A hasher for keys that carry their hash: passes it through.
#[derive(Default)]
pub struct PassHash(u64);

/// Builds [`PassHash`].
pub type BuildPassHash = BuildHasherDefault<PassHash>;

impl Hasher for PassHash {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

fn base(target: &TargetUri<'_>, rules: &KeyRules) -> String {
    let query_len = target.query.map_or(0, |query| query.len() + 1);
    let mut text = String::with_capacity(
        METHOD_CLASS.len() + target.scheme.len() + 3 + target.authority.len() + target.path.len() + query_len,
    );
    text.push_str(METHOD_CLASS);
    text.push_str(target.scheme);
    text.push_str("://");
    text.push_str(target.authority);
    if !rules.normalise_escapes {
        text.push_str(target.path);
        target.query.inspect(|query| push_query(&mut text, query, rules));
        return text;
    }
    text.push_str(&escapes::normalised_path(target.path));
    if let Some(query) = target.query {
        push_query(&mut text, &escapes::normalised_query(query), rules);
    }
    text
}

fn push_query(text: &mut String, query: &str, rules: &KeyRules) {
    if rules.query == QueryRule::All && !rules.sort_query {
        text.push('?');
        text.push_str(query);
        return;
    }
    let mut parameters: Vec<&str> = query.split('&').filter(|given| parameter::counts(given, &rules.query)).collect();
    // Where apps may read other names than stand there, the order of all may matter.
    if rules.sort_query && parameters.iter().all(|given| parameter::is_plain(given)) {
        // Stable by name: the order among parameters of the same name may matter to the app.
        parameters.sort_by_cached_key(|given| parameter::name(given).to_ascii_lowercase());
    }
    for (at, parameter) in parameters.iter().enumerate() {
        text.push(if at == 0 { '?' } else { '&' });
        text.push_str(parameter);
    }
}

/// Lengths stand before values, so that no value can pretend to be another addition.
fn push_addition(text: &mut String, name: &str, value: &str) {
    let _ = write!(text, "\n{name}:{}:{value}", value.len());
}

fn header_value(headers: &HeaderMap, name: &HeaderName) -> String {
    let mut value = String::new();
    for line in headers.get_all(name) {
        push_bytes(&mut value, line.as_bytes());
        value.push('\n');
    }
    value
}

/// Field values may hold any bytes; those that are no UTF-8 become numbers behind a CR, which no value holds.
fn push_bytes(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\r{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(url: (&str, Option<&str>), rules: &KeyRules, headers: &[(&'static str, &str)]) -> CacheKey {
        let target = TargetUri { scheme: "http", authority: "a.test", path: url.0, query: url.1 };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        CacheKey::new(&target, rules, &map)
    }

    #[test]
    fn key_of_url_and_query_rules() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let sorted = KeyRules { sort_query: true, ..KeyRules::default() };
        let only = KeyRules { query: QueryRule::Only(names(&["id"])), ..KeyRules::default() };
        let except = KeyRules { query: QueryRule::Except(names(&["utm_*", "fbclid"])), ..KeyRules::default() };
        let none = KeyRules { query: QueryRule::None, ..KeyRules::default() };
        for (query, rules, expected) in [
            (None, &KeyRules::default(), "GET http://a.test/p"),
            (Some(""), &KeyRules::default(), "GET http://a.test/p?"),
            (Some("b=1&a=2"), &KeyRules::default(), "GET http://a.test/p?b=1&a=2"),
            (Some("b=1&a=2&b=0"), &sorted, "GET http://a.test/p?a=2&b=1&b=0"),
            (Some("b=1&B=2&a=3"), &sorted, "GET http://a.test/p?a=3&b=1&B=2"),
            // Which of these an app takes for `b` it may decide by their order.
            (Some("b=1&%62=2&a=3"), &sorted, "GET http://a.test/p?b=1&%62=2&a=3"),
            (Some("x=1&id=2"), &only, "GET http://a.test/p?id=2"),
            (Some("utm_source=1&id=2&fbclid=3"), &except, "GET http://a.test/p?id=2"),
            (Some("utm_source=1"), &except, "GET http://a.test/p"),
            (Some("a=1"), &none, "GET http://a.test/p"),
        ] {
            assert_eq!(key(("/p", query), rules, &[]).as_str(), expected, "{query:?}");
        }
    }

    #[test]
    fn key_escapes_have_one_form_where_asked_for() {
        let rules = KeyRules {
            normalise_escapes: true,
            query: QueryRule::Except(vec!["utm_*".to_owned()]),
            ..KeyRules::default()
        };
        let one = key(("/%7ea%2fb", Some("q=%c3%a9&%75tm_x=1")), &rules, &[]);
        assert_eq!(one.as_str(), "GET http://a.test/~a%2Fb?q=%C3%A9");
        assert_eq!(key(("/p", Some("")), &rules, &[]).as_str(), "GET http://a.test/p?");
        assert_ne!(key(("/%7ea", None), &KeyRules::default(), &[]), key(("/~a", None), &KeyRules::default(), &[]));
    }

    #[test]
    fn key_additions_cannot_be_confused() {
        let rules = KeyRules {
            headers: vec![HeaderName::from_static("x-a")],
            cookies: vec!["c".to_owned()],
            ..KeyRules::default()
        };
        let plain = key(("/", None), &rules, &[]);
        let one = key(("/", None), &rules, &[("x-a", "1\tc:1:2")]);
        let other = key(("/", None), &rules, &[("x-a", "1"), ("cookie", "b=0; c=2")]);
        assert!(plain != one && one != other && plain != other);
        assert!(other.has_additions());
        assert_eq!(other.url(), "http://a.test/");
        assert_eq!(other.base(), plain.base());
        let [device, header] = [plain.with("x-a", "1\n"), key(("/", None), &rules, &[("x-a", "1")])];
        assert!(device != header && device != plain && device.has_additions());
    }

    #[test]
    fn key_additions_of_any_bytes_are_told_apart() {
        let rules = KeyRules {
            headers: vec![HeaderName::from_static("x-a")],
            cookies: vec!["c".to_owned()],
            ..KeyRules::default()
        };
        let target = TargetUri { scheme: "http", authority: "a.test", path: "/", query: None };
        let key = |name: &'static str, value: &[u8]| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value.try_into().unwrap())]);
            CacheKey::new(&target, &rules, &headers)
        };
        let mut lines = HeaderMap::new();
        lines.append("x-a", "caf".parse().unwrap());
        lines.append("x-a", "e9".parse().unwrap());
        let keys = [
            CacheKey::new(&target, &rules, &lines),
            key("x-a", b"caf\xe8"),
            key("x-a", b"caf\xe9"),
            key("x-a", b"cafe9"),
            key("x-a", "caf\u{fffd}".as_bytes()),
            key("cookie", b"c=caf\xe9"),
            key("cookie", b"c=1"),
            key("cookie", b"c=2; d=\xe9"),
            key("cookie", b"c=1; c=2"),
            key("cookie", b"c=2; c=1"),
            key("cookie", b"a=1 c=2"),
            key("cookie", b"a=1 c=3"),
            key("cookie", b"C=2"),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{key:?}");
        }
    }
}
