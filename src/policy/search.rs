//! No-Vary-Search: which differences of the query make no difference to the response
//! (draft-ietf-httpbis-no-vary-search).

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};
use sfv::{BareItem, Dictionary, InnerList, ListEntry, Parser};

/// The field.
pub const NO_VARY_SEARCH: HeaderName = HeaderName::from_static("no-vary-search");

/// Which differences of the query make none. Never the default, under which all of them do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoVarySearch {
    any_order: bool,
    params: Params,
}

/// Names of parameters, decoded, sorted, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Params {
    /// All but these count.
    Without(Vec<Vec<u8>>),
    /// Only these count.
    Only(Vec<Vec<u8>>),
}

/// What stays as it is in the normal form of a query.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');

impl NoVarySearch {
    /// Of a response's fields. `None` for the default: without the field, with one that says nothing or that is wrong
    /// in any way. Members of other names are ignored.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(NO_VARY_SEARCH).iter().map(|line| line.as_bytes()).peekable();
        lines.peek()?;
        Self::parse(&lines.collect::<Vec<_>>().join(&b","[..]))
    }

    /// Of the field's value, as [`NoVarySearch::of`].
    pub fn parse(value: &[u8]) -> Option<Self> {
        let members = Parser::new(value).parse::<Dictionary>().ok()?;
        let any_order = match members.get("key-order") {
            None => false,
            Some(entry) => boolean(entry)?,
        };
        let params = match (members.get("params"), members.get("except")) {
            (None, None) => Params::Without(Vec::new()),
            (Some(ListEntry::InnerList(names)), None) => Params::Without(keys(names)?),
            (Some(entry), except) => match (boolean(entry)?, except) {
                (true, None) => Params::Only(Vec::new()),
                (true, Some(ListEntry::InnerList(names))) => Params::Only(keys(names)?),
                (false, None) => Params::Without(Vec::new()),
                _ => return None,
            },
            (None, Some(_)) => return None,
        };
        let is_default = !any_order && params == Params::Without(Vec::new());
        (!is_default).then_some(NoVarySearch { any_order, params })
    }

    /// The query in a form in which queries that make no difference are equal: parsed as
    /// `application/x-www-form-urlencoded`, what does not count left out, sorted where order does not count. Empty where
    /// nothing is left, as it is where there is no query.
    ///
    /// Bytes that are no UTF-8 are kept as they are, where the draft takes all of them for the same.
    pub fn normalised(&self, query: Option<&str>) -> String {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decoded(name.as_bytes()), decoded(value.as_bytes())))
            .filter(|(name, _)| self.counts(name))
            .collect();
        if self.any_order {
            // Stable: the order among parameters of the same name counts.
            pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
        }
        let mut text = String::with_capacity(query.map_or(0, str::len));
        for (name, value) in &pairs {
            if !text.is_empty() {
                text.push('&');
            }
            text.extend(percent_encode(name, ENCODED));
            text.push('=');
            text.extend(percent_encode(value, ENCODED));
        }
        text
    }

    /// What it says, in a form in which equal rules are equal text.
    pub fn text(&self) -> String {
        let (kind, names) = match &self.params {
            Params::Without(names) => ('-', names),
            Params::Only(names) => ('+', names),
        };
        let names = names.iter().map(|name| Cow::from(percent_encode(name, ENCODED)));
        let order = if self.any_order { "~" } else { "" };
        format!("{order}{kind}{}", names.collect::<Vec<_>>().join(","))
    }

    fn counts(&self, name: &[u8]) -> bool {
        let listed = |names: &[Vec<u8>]| names.binary_search_by(|listed| listed.as_slice().cmp(name)).is_ok();
        match &self.params {
            Params::Without(names) => !listed(names),
            Params::Only(names) => listed(names),
        }
    }
}

fn boolean(entry: &ListEntry) -> Option<bool> {
    match entry {
        ListEntry::Item(item) => match item.bare_item {
            BareItem::Boolean(value) => Some(value),
            _ => None,
        },
        ListEntry::InnerList(_) => None,
    }
}

fn keys(names: &InnerList) -> Option<Vec<Vec<u8>>> {
    let name = |item: &sfv::Item| match &item.bare_item {
        BareItem::String(name) => Some(decoded(name.as_str().as_bytes())),
        _ => None,
    };
    let mut keys = names.items.iter().map(name).collect::<Option<Vec<_>>>()?;
    keys.sort();
    keys.dedup();
    Some(keys)
}

/// As the parser of `application/x-www-form-urlencoded` decodes names and values.
fn decoded(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(value: &str) -> Option<NoVarySearch> {
        NoVarySearch::parse(value.as_bytes())
    }

    #[test]
    fn no_vary_search_is_read_strictly() {
        // draft-ietf-httpbis-no-vary-search, "Parsing"
        for (value, expected) in [
            ("params", Some("+")),
            ("params=?1", Some("+")),
            ("params=(\"a\")", Some("-a")),
            ("params=(\"b\" \"a\" \"b\")", Some("-a,b")),
            ("params, except=(\"x\")", Some("+x")),
            ("params, key-order, except=(\"x\")", Some("~+x")),
            ("key-order", Some("~-")),
            ("key-order=?1, params=(\"%C3%A9+%E6%B0%97\")", Some("~-%C3%A9%20%E6%B0%97")),
            ("params, unknown=7", Some("+")),
            ("params;x=1", Some("+")),
            ("params=(), key-order", Some("~-")),
            // Says nothing.
            ("", None),
            ("unknown-key", None),
            ("params=?0", None),
            ("params=()", None),
            ("key-order=?0", None),
            // Wrong in some way.
            ("key-order=\"not a boolean\"", None),
            ("params=\"neither\"", None),
            ("params=(not-a-string)", None),
            ("params=(\"a\" b)", None),
            ("params=(\"a\"), except=(\"x\")", None),
            ("params=(), except=()", None),
            ("params=?0, except=(\"x\")", None),
            ("params, except=(not-a-string)", None),
            ("params, except=\"not a list\"", None),
            ("params, except=?1", None),
            ("except=(\"x\")", None),
            ("except=()", None),
            ("params=(\"a\"", None),
            ("params, key-order=1", None),
            ("Params", None),
        ] {
            assert_eq!(rule(value).map(|rule| rule.text()).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn no_vary_search_of_several_lines_is_one_dictionary() {
        let headers =
            super::super::sample::headers(&[("no-vary-search", "params"), ("no-vary-search", "except=(\"x\")")]);
        assert_eq!(NoVarySearch::of(&headers), rule("params, except=(\"x\")"));
        assert_eq!(NoVarySearch::of(&HeaderMap::new()), None);
    }

    #[test]
    fn no_vary_search_compares_queries() {
        // draft-ietf-httpbis-no-vary-search, "Comparing"
        for (value, one, other, same) in [
            ("params=(\"a\")", Some("a=1&b=2"), Some("b=2&a=3"), true),
            ("params=(\"a\")", Some("a=1"), None, true),
            ("params=(\"a\")", Some("b=1"), Some("b=2"), false),
            ("params=(\"a\")", Some("b=1&c=2"), Some("c=2&b=1"), false),
            ("params=(\"a\")", Some("A=1"), None, false),
            ("params", Some("a=1"), Some("b=2"), true),
            ("params, except=(\"a\")", Some("a=1&b=2"), Some("a=1"), true),
            ("params, except=(\"a\")", Some("a=1"), Some("a=2"), false),
            ("params, except=(\"a\")", Some("a=1"), None, false),
            ("key-order", Some("a=1&b=2"), Some("b=2&a=1"), true),
            ("key-order", Some("a=1&a=2"), Some("a=2&a=1"), false),
            // What the parser of forms takes for the same.
            ("key-order", None, Some(""), true),
            ("key-order", Some("a=x"), Some("%61=%78"), true),
            ("key-order", Some("a=x&&&&"), Some("a=x"), true),
            ("key-order", Some("a="), Some("a"), true),
            ("key-order", Some("a=%20"), Some("a=+"), true),
            ("key-order", Some("a=%2B"), Some("a=+"), false),
            ("key-order", Some("a=1%26b=2"), Some("a=1&b=2"), false),
            ("key-order", Some("a=%f6"), Some("a=%f7"), false),
            ("params=(\"%C3%A9+%E6%B0%97\")", Some("%c3%a9%20%e6%b0%97=1"), None, true),
        ] {
            let rule = rule(value).unwrap();
            assert_eq!(rule.normalised(one) == rule.normalised(other), same, "{value}: {one:?} / {other:?}");
        }
    }

    proptest! {
        #[test]
        fn no_vary_search_never_panics(value in "\\PC{0,40}", query in "\\PC{0,40}") {
            if let Some(rule) = rule(&value) {
                rule.normalised(Some(&query));
            }
        }

        #[test]
        fn no_vary_search_normal_form_is_normal(
            value in prop::sample::select(vec!["params", "key-order", "params=(\"a\" \"%62\")", "params, except=(\"a b\")"]),
            query in "([abc%+=&]|%[0-9a-f]{2}){0,20}",
        ) {
            let rule = rule(value).unwrap();
            let once = rule.normalised(Some(&query));
            prop_assert_eq!(rule.normalised(Some(&once)), once);
        }
    }
}
