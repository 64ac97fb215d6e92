//! Whose session asks, on routes that keep private answers apart by it: a private cache within the shared one, for
//! that session alone.

use http::{HeaderMap, Method, header};

use super::Asked;
use super::lookup::{self, Own, Plan, Wanted};
use super::part::Ask;
use super::search;
use crate::cache::key::{CacheKey, alike_cookies, cookies};
use crate::cache::sessions::{SessionName, Sessions};
use crate::config::settings::{PrivateCache, Route};
use crate::policy::facts::RequestFacts;
use crate::policy::reuse::{self, Reuse};
use crate::policy::rules::RequestDirectivesRule;

/// A session that asks.
#[derive(Debug)]
pub(super) struct Session<'a> {
    /// Its name in keys.
    pub name: SessionName,
    /// The rules of its partition.
    pub rules: &'a PrivateCache,
}

/// Whose session a request belongs to.
#[derive(Debug)]
pub(super) enum Whose<'a> {
    /// Nobody's: it has no such cookie, or the route keeps nothing apart.
    Nobodys,
    /// The app might see it as another's: with further credentials, an empty value, or a second cookie that some app
    /// could take for the same.
    Unclear,
    /// This one's.
    Of(Session<'a>),
}

impl<'a> Whose<'a> {
    /// The session, if it is clear.
    pub(super) fn session(&self) -> Option<&Session<'a>> {
        match self {
            Whose::Of(session) => Some(session),
            Whose::Nobodys | Whose::Unclear => None,
        }
    }

    /// Whether there is one, but not clearly which.
    pub(super) fn is_unclear(&self) -> bool {
        matches!(self, Whose::Unclear)
    }
}

/// The session that a request belongs to, by the route's cookie.
pub(super) fn identify<'a>(route: &'a Route, headers: &HeaderMap, sessions: &Sessions) -> Whose<'a> {
    let Some(rules) = route.private.as_deref() else { return Whose::Nobodys };
    // A line that is no text is not read here, but may be by the app.
    if headers.get_all(header::COOKIE).iter().any(|line| line.to_str().is_err()) {
        return Whose::Unclear;
    }
    let mut alike = cookies(headers).filter(|(name, _)| looks_like(name, &rules.cookie));
    let mut places = alike_cookies(headers, &rules.cookie);
    let Some((name, value)) = alike.next() else {
        return if places.next().is_some() { Whose::Unclear } else { Whose::Nobodys };
    };
    let is_clear = alike.next().is_none()
        && places.nth(1).is_none()
        && name == rules.cookie.as_bytes()
        && !value.is_empty()
        && !headers.contains_key(header::AUTHORIZATION);
    match std::str::from_utf8(value) {
        Ok(value) if is_clear => {
            let name = sessions.name(&rules.cookie, value);
            sessions.used(&name, rules);
            Whose::Of(Session { name, rules })
        }
        _ => Whose::Unclear,
    }
}

/// Whether some app might take one cookie name for another: apps differ in case, in escapes, in what they make of
/// punctuation (PHP: `a.b` is `a_b`, `a[b]` is a part of `a`), and in where a quoted value ends.
fn looks_like(name: &[u8], cookie: &str) -> bool {
    let plain = |name: &[u8]| -> String {
        let decoded: Vec<u8> = percent_encoding::percent_decode(name).collect();
        let text = String::from_utf8_lossy(&decoded);
        let text = text.split('[').next().unwrap_or_default();
        text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
    };
    plain(name) == plain(cookie.as_bytes())
}

/// What a session's private cache would store for a URL, and by which rules.
pub(super) fn own(asked: &Asked<'_>, exact: &CacheKey) -> Option<Own> {
    let session = asked.whose.session()?;
    let rules = session.rules.clone();
    Some(Own { key: exact.of_session(&session.name), name: session.name.clone(), facts: facts(asked), rules })
}

/// What to do with a request of a session, if what is stored for it alone decides that.
pub(super) fn plan(asked: &Asked<'_>, own: &Own, exact: &CacheKey) -> Option<Plan> {
    let (other, entry) = search::look_up(asked, &own.key);
    let key = other.unwrap_or_else(|| own.key.clone());
    let (stored, missing) = lookup::select(asked, &entry).ok()?;
    if missing.is_some() {
        return None;
    }
    let stored = stored.clone();
    let why = match reuse::decide(&own.facts, &stored.facts, asked.now) {
        Reuse::Fresh => return Some(Plan::Serve { key, stored, stale: None }),
        Reuse::Stale(why) => return Some(Plan::Serve { key, stored, stale: Some(why) }),
        Reuse::Validate(why) => why,
        Reuse::Forward(_) | Reuse::OnlyIfCached => return None,
    };
    let wanted = Box::new(Wanted {
        key,
        exact: Some(exact.clone()),
        own: Some(own.clone()),
        why,
        facts: lookup::facts(asked),
        entry,
        ask: Ask::of(asked, Some(&stored), None, false),
        stored: Some(stored),
        collapsible: false,
    });
    match asked.parts.method == Method::GET {
        true => Some(Plan::Fetch(wanted)),
        false => Some(Plan::Pass { why, freshens: Some(wanted) }),
    }
}

/// What the request says to a cache of its own: whoever reloads reaches the app, since nobody else pays for it.
fn facts(asked: &Asked<'_>) -> RequestFacts {
    let rule = match asked.route.route.cache.request_directives {
        RequestDirectivesRule::Ignore => RequestDirectivesRule::Ignore,
        _ => RequestDirectivesRule::Honour,
    };
    RequestFacts::of(asked.fields(), false, true, rule)
}

impl Asked<'_> {
    /// Sees whether a response ends the session: what was stored for it goes, and what is under way is not stored.
    pub(super) fn end_session(&self, response: &HeaderMap) {
        if let Some(session) = self.whose.session().filter(|session| ends(response, &session.rules.cookie)) {
            self.proxy.cache.end_session(&session.name);
        }
    }
}

/// Whether a response gives the session's cookie another value, takes it away, or wants the client's cache cleared.
pub(super) fn ends(response: &HeaderMap, cookie: &str) -> bool {
    let sets = |line: &[u8]| {
        let name = line.split(|byte| matches!(byte, b'=' | b';')).next().unwrap_or_default();
        looks_like(name, cookie)
    };
    let clears =
        |line: &[u8]| [&b"cache"[..], b"cookies", b"*"].iter().any(|what| memchr::memmem::find(line, what).is_some());
    response.get_all(header::SET_COOKIE).iter().any(|line| sets(line.as_bytes()))
        || response.get_all("clear-site-data").iter().any(|line| clears(line.as_bytes()))
}
