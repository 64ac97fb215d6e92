//! Entity tags (RFC 9110 §8.8.3): those larder generates, and those of the codings it applies.

use std::fmt;

use http::HeaderValue;
use xxhash_rust::xxh3::Xxh3;

use crate::config::settings::Coding;

/// A strong entity tag for content with this hash.
pub fn generated(hash: u128) -> HeaderValue {
    HeaderValue::try_from(format!("\"{hash:032x}\"")).expect("hexadecimal digits in quotes are a field value")
}

/// Hashes content for [`generated`] as it streams by (XXH3, 128 bits: not for telling enemies apart).
#[derive(Clone, Default)]
pub struct Hasher(Xxh3);

impl Hasher {
    /// Of no content yet.
    pub fn new() -> Self {
        Hasher(Xxh3::new())
    }

    /// Takes the next piece of content.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The hash of all pieces so far, however the content was cut into them.
    pub fn digest(&self) -> u128 {
        self.0.digest128()
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").finish_non_exhaustive()
    }
}

/// The entity tag of a representation that larder codes, made from the uncoded one's.
///
/// Strong tags promise equal bytes (RFC 9110 §8.8.1), and an encoder's differ with the pieces that it gets and with when
/// it is flushed. So `"x"` becomes `W/"x~gzip"`. Weak tags promise only equivalence, which a coding keeps, and stay; so
/// does what is no entity tag.
pub fn for_coding(tag: &HeaderValue, coding: Coding) -> HeaderValue {
    let bytes = tag.as_bytes();
    let opaque = match bytes {
        [b'"', opaque @ .., b'"'] if !opaque.contains(&b'"') => opaque,
        _ => return tag.clone(),
    };
    let coded = [b"W/\"", opaque, b"~", coding.token().as_bytes(), b"\""].concat();
    HeaderValue::from_bytes(&coded).expect("a field value with a token added is one")
}

/// The value of an If-Match, If-None-Match or If-Range to send upstream: each `W/"x~gzip"` becomes `"x"`, the tag the
/// upstream knows, which was strong before larder coded its representation: so editing by If-Match works on coded ones.
/// `None`: nothing to change, as with `*`, dates and malformed lists, which are the upstream's to judge.
///
/// So does `"x~gzip"`: clients may have taken the mark off. An upstream whose own tags end so merely sees no match: a
/// full answer or a 412, never a wrong 304.
pub fn strip_codings(value: &HeaderValue) -> Option<HeaderValue> {
    let bytes = value.as_bytes();
    let mut stripped = Vec::new();
    let mut copied = 0;
    let mut rest = 0;
    while rest < bytes.len() {
        let tag = next_tag(bytes, rest)?;
        let opaque = &bytes[tag.opaque_start..tag.opaque_end];
        if let Some(length) = uncoded_length(opaque) {
            stripped.extend_from_slice(&bytes[copied..tag.start]);
            stripped.extend_from_slice(&bytes[tag.opaque_start - 1..tag.opaque_start + length]);
            copied = tag.opaque_end;
        }
        rest = tag.rest;
    }
    if copied == 0 {
        return None;
    }
    stripped.extend_from_slice(&bytes[copied..]);
    HeaderValue::from_bytes(&stripped).ok()
}

/// Where an entity tag of a list stands: its mark or quote, its opaque part (between the quotes) and what follows its
/// comma.
struct TagPosition {
    start: usize,
    opaque_start: usize,
    opaque_end: usize,
    rest: usize,
}

/// The next entity tag at or after `from`, which must be followed by a comma or the end; `None`: malformed. The
/// opaque part ends at the next quote: entity tags know no escapes (RFC 9110 §8.8.3).
fn next_tag(bytes: &[u8], from: usize) -> Option<TagPosition> {
    let skip = |from: usize, skipped: &[u8]| {
        bytes[from..].iter().position(|byte| !skipped.contains(byte)).map_or(bytes.len(), |offset| from + offset)
    };
    let start = skip(from, b" \t,");
    let quote = if bytes[start..].starts_with(b"W/") { start + 2 } else { start };
    let opaque_start = if bytes.get(quote) == Some(&b'"') { quote + 1 } else { return None };
    let opaque_end = opaque_start + bytes[opaque_start..].iter().position(|&byte| byte == b'"')?;
    let after = skip(opaque_end + 1, b" \t");
    let rest = match bytes.get(after) {
        None => after,
        Some(b',') => skip(after, b" \t,"),
        Some(_) => return None,
    };
    Some(TagPosition { start, opaque_start, opaque_end, rest })
}

/// Length of an opaque part without the suffix of a coding; `None`: it has none.
fn uncoded_length(opaque: &[u8]) -> Option<usize> {
    let tilde = opaque.iter().rposition(|&byte| byte == b'~')?;
    let codings = [Coding::Gzip, Coding::Brotli, Coding::Zstd];
    codings.iter().any(|coding| coding.token().as_bytes() == &opaque[tilde + 1..]).then_some(tilde)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn etag_generated_depends_on_content_not_on_pieces() {
        let tag = |pieces: &[&str]| {
            let mut hasher = Hasher::new();
            pieces.iter().for_each(|piece| hasher.update(piece.as_bytes()));
            generated(hasher.digest())
        };
        assert_eq!(tag(&["abc"]), tag(&["a", "", "bc"]));
        assert_ne!(tag(&["abc"]), tag(&["abd"]));
        assert_eq!(generated(0xab), "\"000000000000000000000000000000ab\"");
    }

    #[test]
    fn etag_for_coding_is_weak_rfc9110_8_8_1() {
        let table = [
            ("\"x\"", Coding::Gzip, "W/\"x~gzip\""),
            ("\"a,b\"", Coding::Brotli, "W/\"a,b~br\""),
            ("\"\"", Coding::Zstd, "W/\"~zstd\""),
            ("W/\"x\"", Coding::Gzip, "W/\"x\""),
            ("x", Coding::Gzip, "x"),
            ("\"", Coding::Gzip, "\""),
            ("\"x\"y\"", Coding::Gzip, "\"x\"y\""),
        ];
        for (tag, coding, expected) in table {
            assert_eq!(for_coding(&HeaderValue::from_static(tag), coding), expected, "{tag}");
        }
    }

    #[test]
    fn etag_strip_codings_rfc9110_13_1() {
        let table = [
            ("\"x~gzip\"", Some("\"x\"")),
            ("\"x~br\"", Some("\"x\"")),
            ("\"x~zstd\"", Some("\"x\"")),
            ("W/\"x~gzip\"", Some("\"x\"")),
            ("W/\"a\", \"x~gzip\" ,W/\"y~br\",W/\"z\"", Some("W/\"a\", \"x\" ,\"y\",W/\"z\"")),
            ("\"a,b~gzip\", \"c\"", Some("\"a,b\", \"c\"")),
            (", \"x~gzip\",,", Some(", \"x\",,")),
            ("\"x~gzip~br\"", Some("\"x~gzip\"")),
            ("\"~gzip\"", Some("\"\"")),
            ("\"x\"", None),
            ("\"x~deflate\"", None),
            ("\"gzip\"", None),
            ("*", None),
            ("", None),
            (",", None),
            ("x~gzip", None),
            ("\"x~gzip", None),
            ("\"x~gzip\" \"y\"", None),
            ("\"x~gzip\", y", None),
            ("w/\"x~gzip\"", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT", None),
        ];
        for (value, expected) in table {
            let stripped = strip_codings(&HeaderValue::from_static(value));
            assert_eq!(stripped.as_ref().map(HeaderValue::as_bytes), expected.map(str::as_bytes), "{value}");
        }
    }

    proptest! {
        #[test]
        fn etag_strip_undoes_coding(opaque in "[!#-}]{0,20}", coding in prop::sample::select(vec![Coding::Gzip, Coding::Brotli, Coding::Zstd])) {
            let tag = HeaderValue::try_from(format!("\"{opaque}\"")).expect("test value");
            prop_assert_eq!(strip_codings(&for_coding(&tag, coding)), Some(tag));
        }

        #[test]
        fn etag_never_panics(value in "[W/\"~gzipbr, \tx*]{0,40}", raw in proptest::collection::vec(0x20u8..=0xff, 0..40)) {
            for bytes in [value.as_bytes(), &raw] {
                if let Ok(value) = HeaderValue::from_bytes(bytes) {
                    strip_codings(&value);
                    for_coding(&value, Coding::Gzip);
                }
            }
        }
    }
}
