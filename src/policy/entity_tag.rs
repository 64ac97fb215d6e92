//! Entity tags (RFC 9110 §8.8.3): parsing, lists of them, weak and strong comparison.

use http::{HeaderMap, HeaderName};

/// An entity tag as it stands in a field; borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    /// Whether it is marked `W/`.
    pub weak: bool,
    /// The opaque tag without its quotes.
    pub opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Parses one tag; `None` when it is none.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (tag, rest) = Self::split(text.trim_ascii())?;
        rest.is_empty().then_some(tag)
    }

    /// Strong comparison (RFC 9110 §8.8.3.2): both strong, and the same.
    pub fn strongly_equals(&self, other: &EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Weak comparison: the same, whatever their marks.
    pub fn weakly_equals(&self, other: &EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }

    fn split(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (weak, quoted) = match text.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, text),
        };
        let inner = quoted.strip_prefix(b"\"")?;
        let end = inner.iter().position(|byte| *byte == b'"')?;
        Some((EntityTag { weak, opaque: &inner[..end] }, &inner[end + 1..]))
    }
}

/// The value of If-Match or If-None-Match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagList<'a> {
    /// `*`
    Any,
    /// The tags that could be read; what is malformed matches nothing.
    Tags(Vec<EntityTag<'a>>),
}

impl<'a> TagList<'a> {
    /// All lines of a field; `None` when it is absent.
    pub fn of(headers: &'a HeaderMap, name: &HeaderName) -> Option<Self> {
        let mut lines = headers.get_all(name).iter().peekable();
        lines.peek()?;
        let mut tags = Vec::new();
        for line in lines {
            let mut rest = line.as_bytes().trim_ascii();
            if rest == b"*" {
                return Some(TagList::Any);
            }
            while !rest.is_empty() {
                match EntityTag::split(rest) {
                    Some((tag, after)) => {
                        tags.push(tag);
                        rest = after;
                    }
                    // Skips to the next comma: an unquoted tag, as some clients send, matches nothing.
                    None => rest = rest.iter().position(|byte| *byte == b',').map_or(&[], |at| &rest[at..]),
                }
                rest = rest.trim_ascii_start();
                rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
            }
        }
        Some(TagList::Tags(tags))
    }

    /// Whether `tag` (that of the current representation, if any) is in the list by weak comparison.
    pub fn matches_weakly(&self, tag: Option<&EntityTag<'_>>) -> bool {
        match self {
            TagList::Any => true,
            TagList::Tags(tags) => tag.is_some_and(|tag| tags.iter().any(|listed| listed.weakly_equals(tag))),
        }
    }

    /// The same by strong comparison.
    pub fn matches_strongly(&self, tag: Option<&EntityTag<'_>>) -> bool {
        match self {
            TagList::Any => true,
            TagList::Tags(tags) => tag.is_some_and(|tag| tags.iter().any(|listed| listed.strongly_equals(tag))),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::IF_NONE_MATCH;

    use super::*;

    #[test]
    fn comparison_table_of_rfc_9110_section_8_8_3_2() {
        for (a, b, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            let (x, y) = (EntityTag::parse(a.as_bytes()).unwrap(), EntityTag::parse(b.as_bytes()).unwrap());
            assert_eq!((x.strongly_equals(&y), x.weakly_equals(&y)), (strong, weak), "{a} {b}");
        }
    }

    #[test]
    fn lists_are_read_whatever_their_spelling() {
        let tag = EntityTag { weak: false, opaque: b"a,b" };
        for (value, expected) in [
            ("\"a,b\"", true),
            ("\"x\", \"a,b\"", true),
            ("\"x\",W/\"a,b\" , \"y\"", true),
            ("x, \"a,b\"", true),
            (",, \"a,b\"", true),
            ("*", true),
            ("\"a\", \"b\"", false),
            ("a,b", false),
            ("\"a,b", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(IF_NONE_MATCH, value.parse().unwrap());
            assert_eq!(TagList::of(&headers, &IF_NONE_MATCH).unwrap().matches_weakly(Some(&tag)), expected, "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_list_ends_without_panic(value in "[\\x20-\\x7e]{0,40}") {
            let mut headers = HeaderMap::new();
            headers.append(IF_NONE_MATCH, value.parse().unwrap());
            let _ = TagList::of(&headers, &IF_NONE_MATCH);
        }
    }
}
