//! Cache-Control and Pragma as parsed directives (RFC 9111 §5.2, §5.4) and targeted cache control (RFC 9213).

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, header};
use sfv::{BareItem, Dictionary, ListEntry, Parser};
use smallvec::SmallVec;

use super::list::{Elements, pieces};
use super::present::Fields;
use super::token::is_token;

/// The largest delta-seconds that is told apart; anything beyond means "for ever" (RFC 9111 §1.2.2).
pub const MAX_DELTA: u32 = 1 << 31;

/// The targeted fields that larder obeys, most specific first (RFC 9213 §2.2).
pub static TARGETED: [HeaderName; 2] =
    [HeaderName::from_static("larder-cache-control"), HeaderName::from_static("cdn-cache-control")];

/// Directives of a response (RFC 9111 §5.2.2, RFC 5861, RFC 8246).
///
/// Durations are in seconds, clamped to [`MAX_DELTA`]; one that is present but malformed is 0, so that what carries
/// it counts as stale (§4.2.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// `no-store`
    pub no_store: bool,
    /// `no-cache` without field names
    pub no_cache: bool,
    /// Field names of `no-cache="…"`: not to be reused without validation
    pub no_cache_fields: Vec<HeaderName>,
    /// `private` without field names
    pub private: bool,
    /// Field names of `private="…"`: not to be stored by a shared cache
    pub private_fields: Vec<HeaderName>,
    /// `public`
    pub public: bool,
    /// `must-revalidate`
    pub must_revalidate: bool,
    /// `proxy-revalidate`
    pub proxy_revalidate: bool,
    /// `must-understand`
    pub must_understand: bool,
    /// `no-transform`
    pub no_transform: bool,
    /// `immutable`
    pub immutable: bool,
    /// `max-age`
    pub max_age: Option<u32>,
    /// `s-maxage`
    pub s_maxage: Option<u32>,
    /// `stale-while-revalidate`
    pub stale_while_revalidate: Option<u32>,
    /// `stale-if-error`
    pub stale_if_error: Option<u32>,
    /// Whether they come from a targeted field, which also overrules Expires (RFC 9213 §2.1)
    pub targeted: bool,
}

/// Directives of a request (RFC 9111 §5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// `no-cache`, or `Pragma: no-cache` without any Cache-Control (§5.4)
    pub no_cache: bool,
    /// `no-store`
    pub no_store: bool,
    /// `only-if-cached`
    pub only_if_cached: bool,
    /// `max-age`
    pub max_age: Option<u32>,
    /// `max-stale`: `Some(MAX_DELTA)` when without value
    pub max_stale: Option<u32>,
    /// `min-fresh`
    pub min_fresh: Option<u32>,
    /// `stale-if-error` (RFC 5861 §4)
    pub stale_if_error: Option<u32>,
}

impl ResponseDirectives {
    /// Those that a shared cache such as larder obeys: the first valid, non-empty targeted field, else Cache-Control.
    pub fn of<'a>(fields: impl Into<Fields<'a>>) -> Self {
        let fields = fields.into();
        TARGETED
            .iter()
            .find_map(|name| Self::of_targeted(fields, name))
            .unwrap_or_else(|| Self::of_cache_control(fields))
    }

    /// Those of Cache-Control alone.
    pub fn of_cache_control<'a>(fields: impl Into<Fields<'a>>) -> Self {
        let mut found = Self::default();
        for_each_directive(fields.into().all(&header::CACHE_CONTROL), |name, value| found.add(name, value));
        found
    }

    /// RFC 9213 §2.1: a targeted field is a Dictionary; one that is empty or does not parse is as good as absent.
    fn of_targeted(fields: Fields<'_>, name: &HeaderName) -> Option<Self> {
        let mut lines = fields.all(name).peekable();
        lines.peek()?;
        let mut text = Vec::new();
        for line in lines {
            if !text.is_empty() {
                text.extend_from_slice(b", ");
            }
            text.extend_from_slice(line.as_bytes());
        }
        let members = Parser::new(&text).parse::<Dictionary>().ok().filter(|members| !members.is_empty())?;
        let mut found = ResponseDirectives { targeted: true, ..Self::default() };
        for (key, entry) in &members {
            let ListEntry::Item(item) = entry else {
                found.add_wrong_type(key.as_str());
                continue;
            };
            match &item.bare_item {
                BareItem::Boolean(true) => found.add(key.as_str(), None),
                BareItem::Boolean(false) => {}
                BareItem::Integer(number) => found.add(key.as_str(), Some(number.to_string().as_bytes())),
                BareItem::String(text) => found.add_fields(key.as_str(), text.as_str().as_bytes()),
                BareItem::Token(text) => found.add_fields(key.as_str(), text.as_str().as_bytes()),
                _ => found.add_wrong_type(key.as_str()),
            }
        }
        Some(found)
    }

    /// In a Dictionary only the directives that name fields take text.
    fn add_fields(&mut self, name: &str, value: &[u8]) {
        match name {
            "no-cache" | "private" => self.add(name, Some(value)),
            _ => self.add_wrong_type(name),
        }
    }

    /// A lifetime that is no number can't be read, which makes the response stale (RFC 9111 §4.2.1); other directives
    /// of a wrong type are ignored.
    fn add_wrong_type(&mut self, name: &str) {
        if matches!(name, "max-age" | "s-maxage") {
            self.add(name, Some(b""));
        }
    }

    fn add(&mut self, name: &str, value: Option<&[u8]>) {
        match name {
            "no-store" => self.no_store = true,
            "no-cache" => add_qualified(value, &mut self.no_cache, &mut self.no_cache_fields),
            "private" => add_qualified(value, &mut self.private, &mut self.private_fields),
            // What only loosens counts as it is defined: without a value.
            "public" => self.public |= value.is_none(),
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "must-understand" => self.must_understand |= value.is_none(),
            "no-transform" => self.no_transform = true,
            "immutable" => self.immutable |= value.is_none(),
            "max-age" => keep_first(&mut self.max_age, value),
            "s-maxage" => keep_first(&mut self.s_maxage, value),
            "stale-while-revalidate" => keep_first(&mut self.stale_while_revalidate, value),
            "stale-if-error" => keep_first(&mut self.stale_if_error, value),
            _ => {}
        }
    }

    /// Whether the response must not be served stale by a shared cache (RFC 9111 §5.2.2.2, §5.2.2.8, §5.2.2.10).
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some() || self.no_cache
    }

    /// Whether it is meant for everybody, whoever asked for it.
    pub fn allows_sharing(&self) -> bool {
        self.public || self.s_maxage.is_some()
    }

    /// Whether a shared cache may answer requests that carry Authorization (RFC 9111 §3.5).
    pub fn allows_authorization(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some()
    }
}

impl RequestDirectives {
    /// Those of a request's fields.
    pub fn of<'a>(fields: impl Into<Fields<'a>>) -> Self {
        let fields = fields.into();
        let mut found = Self::default();
        if !fields.has(&header::CACHE_CONTROL) {
            // RFC 9111 §5.4: Pragma counts only where Cache-Control is absent.
            for_each_directive(fields.all(&header::PRAGMA), |name, _| {
                found.no_cache |= name == "no-cache";
            });
            return found;
        }
        for_each_directive(fields.all(&header::CACHE_CONTROL), |name, value| match name {
            "no-cache" => found.no_cache = true,
            "no-store" => found.no_store = true,
            "only-if-cached" => found.only_if_cached = true,
            "max-age" => keep_first(&mut found.max_age, value),
            "max-stale" if value.is_none() => found.max_stale = found.max_stale.or(Some(MAX_DELTA)),
            "max-stale" => keep_first(&mut found.max_stale, value),
            "min-fresh" => keep_first(&mut found.min_fresh, value),
            "stale-if-error" => keep_first(&mut found.stale_if_error, value),
            _ => {}
        });
        found
    }
}

/// RFC 9111 §4.2.1: of several values the first counts; RFC 9111 §5.2.2: one that is no number makes it stale.
fn keep_first(slot: &mut Option<u32>, value: Option<&[u8]>) {
    if slot.is_none() {
        *slot = Some(value.and_then(delta_seconds).unwrap_or(0));
    }
}

/// The unqualified form wins over the qualified one: it restricts more. So does a list that can't be read to its end.
fn add_qualified(value: Option<&[u8]>, whole: &mut bool, fields: &mut Vec<HeaderName>) {
    let elements = value.unwrap_or_default().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let names: Result<Vec<_>, _> = elements.filter(|name| !name.is_empty()).map(HeaderName::from_bytes).collect();
    match names {
        Ok(names) if !names.is_empty() => fields.extend(names),
        _ => *whole = true,
    }
}

/// RFC 9111 §1.2.2: digits only; too large a number is the largest.
pub(super) fn delta_seconds(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = text.iter().fold(0u64, |sum, digit| (sum * 10 + u64::from(digit - b'0')).min(u64::from(MAX_DELTA)));
    Some(value as u32)
}

/// Calls `each` with every directive's lower-case name and its value, quotes taken off. Of an element that is no
/// directive (RFC 9111 §5.2: token, or token `=` token or quoted-string, no space) every word counts as one, with an
/// empty value, which means the most restrictive: `private; max-age=60` is meant, though `;` is no separator.
fn for_each_directive<'a>(lines: impl Iterator<Item = &'a HeaderValue>, mut each: impl FnMut(&str, Option<&[u8]>)) {
    // On the stack: longer ones than this are none that is known.
    let mut lower = SmallVec::<[u8; 32]>::new();
    let mut each = |name: &[u8], value: Option<&[u8]>| {
        lower.clear();
        lower.extend_from_slice(name);
        lower.make_ascii_lowercase();
        // What is no text is no name that is known either.
        each(std::str::from_utf8(&lower).unwrap_or_default(), value);
    };
    for element in lines.flat_map(|line| Elements(line.as_bytes())) {
        let (name, value) = name_and_value(element);
        match value.map(text_of) {
            None if is_token(name) => each(name, None),
            Some(Some(text)) if is_token(name) => each(name, Some(&text)),
            _ => words(element).for_each(|word| each(name_and_value(word).0, Some(b""))),
        }
    }
}

fn name_and_value(element: &[u8]) -> (&[u8], Option<&[u8]>) {
    match element.iter().position(|byte| *byte == b'=') {
        Some(at) => (&element[..at], Some(&element[at + 1..])),
        None => (element, None),
    }
}

/// What a token or a quoted-string says; `None`: it is neither.
fn text_of(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    if is_token(value) { Some(Cow::Borrowed(value)) } else { unquote(value).map(Cow::Owned) }
}

/// What `;` and white space part outside quotes.
fn words(element: &[u8]) -> impl Iterator<Item = &[u8]> {
    pieces(element, |byte| matches!(byte, b';' | b' ' | b'\t'))
}

/// The content of a quoted-string, escapes undone. `None`: it is none, or there is something after it.
fn unquote(quoted: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.strip_prefix(b"\"")?.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return bytes.as_slice().is_empty().then_some(text),
            b'\\' => text.extend(bytes.next()),
            _ => text.push(*byte),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn response(lines: &[&str]) -> ResponseDirectives {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
        }
        ResponseDirectives::of(&headers)
    }

    #[test]
    fn max_age_in_every_spelling() {
        // RFC 9111 §5.2: names without regard to case, values as token or quoted-string; §1.2.2 delta-seconds.
        for (lines, expected) in [
            (&["max-age=60"][..], Some(60)),
            (&["MAX-AGE=60"], Some(60)),
            (&["max-age=\"60\""], Some(60)),
            (&["  max-age=60  ,,"], Some(60)),
            (&["foo, max-age=60"], Some(60)),
            (&["foo=\"a, max-age=1\", max-age=60"], Some(60)),
            (&["public", "max-age=60"], Some(60)),
            (&["max-age=60, max-age=10"], Some(60)),
            (&["max-age=007"], Some(7)),
            (&["max-age=99999999999999999999"], Some(MAX_DELTA)),
            (&["max-age=-1"], Some(0)),
            (&["max-age=1.5"], Some(0)),
            (&["max-age=60s"], Some(0)),
            (&["max-age="], Some(0)),
            (&["max-age"], Some(0)),
            (&["max-age='60'"], Some(0)),
            (&["max-age=\"60"], Some(0)),
            (&["max-age=\"60\"1"], Some(0)),
            (&["max-age=\"6\\0\""], Some(60)),
            (&["max-age=60;foo"], Some(0)),
            (&["max-age =60"], Some(0)),
            (&["max-age= 60"], Some(0)),
            (&["max-age=+60"], Some(0)),
            (&["max-age=0x3c"], Some(0)),
            (&["max-age=6 0"], Some(0)),
            (&["max-age=2147483648"], Some(MAX_DELTA)),
            (&["max-age=10", "max-age=60"], Some(10)),
            (&["foo=\"bar", "max-age=60"], Some(60)),
            (&["foo=\"bar, max-age=60"], Some(60)),
            (&["x-max-age=60"], None),
            (&[""], None),
        ] {
            assert_eq!(response(lines).max_age, expected, "{lines:?}");
        }
    }

    #[test]
    fn qualified_forms_name_fields() {
        let found = response(&["no-cache=\"Set-Cookie, x-a\", private=x-b"]);
        assert!(!found.no_cache && !found.private);
        assert_eq!(found.no_cache_fields, ["set-cookie", "x-a"].map(HeaderName::from_static));
        assert_eq!(found.private_fields, [HeaderName::from_static("x-b")]);
        assert!(response(&["private=\"\""]).private, "no name at all is the unqualified form");
        assert!(response(&["no-cache=\"a\", no-cache"]).no_cache, "the wider form wins");
        for unreadable in ["private=\"x-a, @@\"", "private=\"x-a", "private=\"x-a\"y", "private =\"x-a\"", "private="] {
            assert!(response(&[unreadable]).private, "{unreadable}: the wider form");
        }
    }

    #[test]
    fn what_cannot_be_read_never_loosens() {
        for line in ["foo=\"bar, no-store", "no-store=0", "no-store=\"", "NO-STORE ; x, no-store"] {
            assert!(response(&[line]).no_store, "{line}");
        }
        for line in ["public=1, must-understand=\"x\", immutable=1", "public; must-understand; immutable"] {
            let found = response(&[line]);
            assert!(!found.public && !found.must_understand && !found.immutable, "{line}");
        }
    }

    #[test]
    fn words_of_what_is_no_directive_restrict() {
        for (line, expected) in [
            ("private; max-age=60", "private max-age=0"),
            ("max-age=60; private", "private max-age=0"),
            ("private;", "private"),
            ("private;max-age=60;public", "private max-age=0"),
            ("public; private", "private"),
            ("private=x-a; public", "private"),
            ("private=\"x-a\"; public", "private"),
            ("max-age=60, no-store;", "no-store max-age=60"),
            ("no-store; no-cache", "no-store no-cache"),
            ("No-Store\tNO-CACHE", "no-store no-cache"),
            ("no-store;max-age=0", "no-store max-age=0"),
            ("Cache-Control: no-store", "no-store"),
            ("foo=\"bar no-store", "no-store"),
            ("foo=\"a\\\"; b\"; no-store=\"", "no-store"),
            ("foo=\"a\" no-store, public", "no-store public"),
            ("s-maxage=60; must-revalidate", "must-revalidate s-maxage=0"),
            ("x; proxy-revalidate; no-transform", "proxy-revalidate no-transform"),
            ("max-age=60; x, max-age=60", "max-age=0"),
            ("max-age=60, x; max-age=5", "max-age=60"),
            // In quotes there is text alone, and other tokens are other directives.
            ("foo=\"private; no-store\"", ""),
            ("foo=\"private; no-store\"; x", ""),
            ("foo=\"\\\"; no-store; \\\"\"", ""),
            ("x-private; no-storey", ""),
            ("private.x", ""),
        ] {
            let found = response(&[line]);
            let words = [
                (found.private, "private"),
                (found.no_store, "no-store"),
                (found.no_cache, "no-cache"),
                (found.must_revalidate, "must-revalidate"),
                (found.proxy_revalidate, "proxy-revalidate"),
                (found.no_transform, "no-transform"),
                (found.public, "public"),
            ];
            let words = words.into_iter().filter(|(is_there, _)| *is_there).map(|(_, word)| word.to_owned());
            let max_age = found.max_age.map(|age| format!("max-age={age}"));
            let s_maxage = found.s_maxage.map(|age| format!("s-maxage={age}"));
            assert_eq!(Vec::from_iter(words.chain(max_age).chain(s_maxage)).join(" "), expected, "{line}");
        }
    }

    #[test]
    fn targeted_field_replaces_cache_control() {
        // RFC 9213 §2
        let of = |fields: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_str(value).unwrap());
            }
            ResponseDirectives::of(&headers)
        };
        let cc = ("cache-control", "no-store, max-age=1");
        assert_eq!(of(&[cc, ("cdn-cache-control", "max-age=60")]).max_age, Some(60));
        assert!(!of(&[cc, ("cdn-cache-control", "max-age=60")]).no_store);
        assert_eq!(of(&[("larder-cache-control", "max-age=5"), ("cdn-cache-control", "max-age=60")]).max_age, Some(5));
        for ignored in ["", "max-age=", "max-age=60,", "MAX-AGE=60", "max-age=\"unclosed"] {
            assert_eq!(of(&[cc, ("cdn-cache-control", ignored)]).max_age, Some(1), "{ignored:?}");
        }
        for wrong_type in ["max-age=\"60\", public", "max-age=sixty", "max-age=6.5", "max-age=(60)", "max-age=:aa==:"] {
            assert_eq!(of(&[cc, ("cdn-cache-control", wrong_type)]).max_age, Some(0), "{wrong_type}");
        }
        assert!(!of(&[("cdn-cache-control", "public=\"x\"")]).public);
        assert_eq!(of(&[cc, ("cdn-cache-control", "max-age=60;x=1")]).max_age, Some(60), "parameters are ignored");
        assert!(!of(&[("cdn-cache-control", "no-store=?0, max-age=1")]).no_store);
    }

    #[test]
    fn request_directives_and_pragma() {
        let of = |fields: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_str(value).unwrap());
            }
            RequestDirectives::of(&headers)
        };
        assert!(of(&[("pragma", "no-cache")]).no_cache);
        assert!(!of(&[("pragma", "no-cache"), ("cache-control", "max-stale")]).no_cache);
        assert_eq!(of(&[("cache-control", "max-stale")]).max_stale, Some(MAX_DELTA));
        assert_eq!(of(&[("cache-control", "max-stale=9, min-fresh=3")]).min_fresh, Some(3));
        assert_eq!(of(&[("cache-control", "max-stale=1, max-stale")]).max_stale, Some(1), "the first");
        assert_eq!(of(&[("cache-control", "max-stale, max-stale=1")]).max_stale, Some(MAX_DELTA), "the first");
        let found = of(&[("cache-control", "no-cache; no-store; max-stale")]);
        assert!(found.no_cache && found.no_store);
        assert_eq!(found.max_stale, Some(0), "what is malformed never loosens");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_parse_without_panic(bytes: Vec<u8>) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                headers.append(header::CACHE_CONTROL, value.clone());
                headers.append(TARGETED[0].clone(), value);
            }
            let _ = ResponseDirectives::of(&headers);
            let _ = RequestDirectives::of(&headers);
        }
    }
}
