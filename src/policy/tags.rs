//! Names by which stored responses are purged together: the tags that an app gives in fields such as Surrogate-Key,
//! and its cache groups (RFC 9875).

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use sfv::{BareItem, List, ListEntry, Parser};

use super::invalidate;
use super::present::Fields;

/// `Cache-Groups` (RFC 9875 §2): the groups that a response belongs to, among those of its origin.
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// `Cache-Group-Invalidation` (RFC 9875 §3): the groups that the answer to an unsafe request invalidates.
pub const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// What of tags is read, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRules {
    /// Fields that carry tags; no client sees them.
    pub fields: Vec<HeaderName>,
    /// Most tags and groups of a response.
    pub most: usize,
    /// Longest tag, in bytes.
    pub longest: usize,
}

impl Default for TagRules {
    fn default() -> Self {
        let fields = ["surrogate-key", "cache-tag", "xkey"].map(HeaderName::from_static).to_vec();
        TagRules { fields, most: 1000, longest: 1024 }
    }
}

/// A response has more tags than may be kept, or longer ones. It must not be stored: a purge by the tags left out
/// would not find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyTags;

/// The tags and groups of a response. Cheap to clone; one block of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Option<Arc<str>>);

/// A tag or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tag<'a> {
    /// A tag: the same wherever it stands.
    Named(&'a str),
    /// A group: the same within an origin only (RFC 9875 §2.1).
    Group(&'a str),
}

/// The first byte of a line of the packed form.
const NAMED: char = 't';
const GROUP: char = 'g';

impl Tags {
    /// None at all.
    pub const NONE: Tags = Tags(None);

    /// What a response's fields say. Those of `rules` are separated by spaces, by commas, or both; in Cache-Tag and the
    /// like by commas alone, in Surrogate-Key by spaces alone.
    ///
    /// # Errors
    /// There are too many of them, or one is too long.
    pub fn of<'a>(fields: impl Into<Fields<'a>>, rules: &TagRules) -> Result<Self, TooManyTags> {
        let fields = fields.into();
        if !fields.has(&CACHE_GROUPS) && !rules.fields.iter().any(|name| fields.has(name)) {
            return Ok(Tags::default());
        }
        let headers = fields.map();
        let mut named = Vec::new();
        for name in &rules.fields {
            for line in headers.get_all(name) {
                named.extend(split(name, line));
            }
        }
        let groups = groups(headers, &CACHE_GROUPS);
        let tags = named.iter().map(|tag| Tag::Named(tag)).chain(groups.iter().map(|group| Tag::Group(group)));
        let tags: Vec<Tag<'_>> = tags.collect();
        if tags.len() > rules.most || tags.iter().any(|tag| tag.name().len() > rules.longest) {
            return Err(TooManyTags);
        }
        Ok(Tags::new(tags))
    }

    /// Of these. What cannot stand in a field is left out.
    pub fn new<'a>(tags: impl IntoIterator<Item = Tag<'a>>) -> Self {
        let mut tags: Vec<Tag<'_>> = tags.into_iter().filter(|tag| !tag.name().contains('\n')).collect();
        tags.sort_unstable();
        tags.dedup();
        let mut packed = String::new();
        for tag in tags {
            if !packed.is_empty() {
                packed.push('\n');
            }
            packed.push(if matches!(tag, Tag::Named(_)) { NAMED } else { GROUP });
            packed.push_str(tag.name());
        }
        Tags::from_packed(&packed)
    }

    /// After a validation, whose answer had tags of its own and these fields: what it did not speak of stays.
    pub fn updated(&self, fresh: &Tags, headers: &HeaderMap) -> Tags {
        let tags = if fresh.named().next().is_some() { fresh } else { self };
        let groups = if headers.contains_key(CACHE_GROUPS) { fresh } else { self };
        Tags::new(tags.named().map(Tag::Named).chain(groups.groups().map(Tag::Group)))
    }

    /// From the form that [`Tags::packed`] gives.
    pub fn from_packed(packed: &str) -> Self {
        Tags((!packed.is_empty()).then(|| packed.into()))
    }

    /// One text for all: what is kept outside the process.
    pub fn packed(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Tag<'_>> {
        self.packed().split('\n').filter_map(|line| match line.chars().next()? {
            NAMED => Some(Tag::Named(&line[1..])),
            GROUP => Some(Tag::Group(&line[1..])),
            _ => None,
        })
    }

    /// The tags among them.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        self.iter().filter_map(|tag| if let Tag::Named(name) = tag { Some(name) } else { None })
    }

    /// The groups among them.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.iter().filter_map(|tag| if let Tag::Group(name) = tag { Some(name) } else { None })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }
}

impl<'a> Tag<'a> {
    /// As the app wrote it.
    pub fn name(self) -> &'a str {
        let (Tag::Named(name) | Tag::Group(name)) = self;
        name
    }
}

/// The groups that an unsafe request's answer invalidates, of its own origin; none for safe methods and errors
/// (RFC 9875 §3, RFC 9111 §4.4).
pub fn invalidated_groups(method: &Method, status: StatusCode, headers: &HeaderMap) -> Vec<String> {
    if !invalidate::applies(method, status) {
        return Vec::new();
    }
    groups(headers, &CACHE_GROUP_INVALIDATION)
}

fn split(field: &HeaderName, line: &HeaderValue) -> Vec<String> {
    let text = String::from_utf8_lossy(line.as_bytes());
    let commas = !field.as_str().contains("surrogate-key");
    let spaces = !field.as_str().contains("cache-tag");
    let separates = |c: char| (commas && c == ',') || (spaces && c.is_ascii_whitespace());
    text.split(separates).map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

/// A List of Strings; parameters are ignored, and a field that is none is ignored whole (RFC 9875 §2, RFC 9651 §4.2).
fn groups(headers: &HeaderMap, field: &HeaderName) -> Vec<String> {
    let mut lines = headers.get_all(field).iter().map(HeaderValue::as_bytes).peekable();
    if lines.peek().is_none() {
        return Vec::new();
    }
    let joined = lines.collect::<Vec<_>>().join(&b", "[..]);
    let Ok(list) = Parser::new(&joined).parse::<List>() else { return Vec::new() };
    let names: Option<Vec<String>> = list
        .into_iter()
        .map(|entry| match entry {
            ListEntry::Item(item) => match item.bare_item {
                BareItem::String(name) => Some(name.as_str().to_owned()),
                _ => None,
            },
            ListEntry::InnerList(_) => None,
        })
        .collect();
    names.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn tags(fields: &[(&'static str, &str)]) -> Result<Vec<String>, TooManyTags> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        let rules = TagRules { most: 4, longest: 8, ..TagRules::default() };
        let told = |tag: Tag<'_>| match tag {
            Tag::Named(name) => name.to_owned(),
            Tag::Group(name) => format!("group {name}"),
        };
        Tags::of(&map, &rules).map(|tags| tags.iter().map(told).collect())
    }

    #[test]
    fn tags_of_fields() {
        for (fields, expected) in [
            (&[][..], &[][..]),
            (&[("surrogate-key", "b a  c")], &["a", "b", "c"]),
            (&[("surrogate-key", "a,b c")], &["a,b", "c"]),
            (&[("surrogate-key", "a"), ("surrogate-key", "b"), ("xkey", "a c")], &["a", "b", "c"]),
            (&[("cache-tag", "a, b c ,,d")], &["a", "b c", "d"]),
            (&[("xkey", "a, b\tc")], &["a", "b", "c"]),
            (&[("surrogate-key", "  ")], &[]),
            (&[("surrogate-control", "a")], &[]),
            // RFC 9875 §2: a List of Strings, case counts, parameters do not
            (&[("cache-groups", "\"a\", \"A b\";x=1")], &["group A b", "group a"]),
            (&[("cache-groups", "\"a\""), ("cache-groups", "\"b\"")], &["group a", "group b"]),
            (&[("cache-groups", "a, b")], &[]),
            (&[("cache-groups", "\"a\", (\"b\")")], &[]),
            (&[("cache-groups", "\"a")], &[]),
            (&[("cache-groups", "\"a\""), ("xkey", "a")], &["a", "group a"]),
        ] {
            assert_eq!(tags(fields).unwrap(), expected, "{fields:?}");
        }
        assert_eq!(tags(&[("xkey", "1 2 3 4 5")]), Err(TooManyTags));
        assert_eq!(tags(&[("xkey", "1 2 3"), ("cache-groups", "\"4\", \"5\"")]), Err(TooManyTags));
        assert_eq!(tags(&[("xkey", "123456789")]), Err(TooManyTags));
    }

    #[test]
    fn tags_come_back_from_their_packed_form() {
        let tags = Tags::new([Tag::Group("a b"), Tag::Named("a b"), Tag::Named("a b"), Tag::Named("x\ny")]);
        assert_eq!((tags.len(), Tags::from_packed(tags.packed())), (2, tags.clone()));
        assert!(Tags::from_packed("").is_empty() && Tags::new([]).is_empty());
        assert_eq!(Tags::from_packed("?\n\nzz").iter().count(), 0, "what is no packed form has none");
    }

    #[test]
    fn validation_changes_what_it_speaks_of() {
        let stored = Tags::new([Tag::Named("a"), Tag::Group("g")]);
        let none = HeaderMap::new();
        let groups = headers(&[("cache-groups", "")]);
        assert_eq!(stored.updated(&Tags::default(), &none), stored);
        assert_eq!(stored.updated(&Tags::new([Tag::Named("b")]), &none), Tags::new([Tag::Named("b"), Tag::Group("g")]));
        assert_eq!(stored.updated(&Tags::default(), &groups), Tags::new([Tag::Named("a")]));
    }

    #[test]
    fn only_unsafe_methods_that_succeed_invalidate_groups() {
        // RFC 9875 §3
        let fields = headers(&[("cache-group-invalidation", "\"a\", \"b\";q")]);
        let of = |method: Method, status| invalidated_groups(&method, StatusCode::from_u16(status).unwrap(), &fields);
        assert_eq!(of(Method::POST, 204), ["a", "b"]);
        assert!(of(Method::GET, 200).is_empty() && of(Method::POST, 403).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn tags_of_any_fields_come_back(
            field in proptest::sample::select(vec!["surrogate-key", "cache-tag", "xkey", "cache-groups"]),
            value in proptest::collection::vec(0x20u8..=0xff, 0..48),
        ) {
            let mut map = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                map.insert(field, value);
            }
            let tags = Tags::of(&map, &TagRules::default()).unwrap();
            assert_eq!(Tags::from_packed(tags.packed()), tags);
            assert_eq!(Tags::new(tags.iter()), tags);
        }

        #[test]
        fn groups_are_read_as_they_are_written(names in proptest::collection::btree_set("[\\x20-\\x7e]{0,12}", 0..6)) {
            let quoted = names.iter().map(|name| format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")));
            let fields = headers(&[("cache-groups", &quoted.collect::<Vec<_>>().join(", "))]);
            let read = Tags::of(&fields, &TagRules::default()).unwrap();
            assert_eq!(read.groups().collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
        }
    }
}
