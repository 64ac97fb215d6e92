//! Ranges of what is stored in part, or not at all: what a request needs of it, how the rest is asked for, and what a
//! 206 brought (RFC 9111 §3.3, §3.4, RFC 9110 §14, §15.3.7).

use std::hash::Hasher;
use std::ops::Range;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use xxhash_rust::xxh3::Xxh3;

use super::Asked;
use super::lookup::Wanted;
use super::received::announced_length;
use super::respond;
use crate::cache::entry::StoredResponse;
use crate::cache::parts::StoredParts;
use crate::content::ranges::{self, RangeOutcome};
use crate::policy::validate;

/// How much of a representation a fetch asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Ask {
    /// All of it, whichever part the client wants.
    #[default]
    Whole,
    /// What the client asks for, by its own Range and If-Range.
    AsAsked,
    /// These bytes, which the stored parts lack.
    Gap(Range<u64>),
}

/// What stored parts lack for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// One range, which can be asked for and combined with what is there.
    Gap(Range<u64>),
    /// Something else: there is no strong validator, or no single range would do.
    Other,
}

/// The part of a representation that a 206 brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Brings {
    /// Its bytes; half open, not empty.
    pub range: Range<u64>,
    /// Length of the whole representation.
    pub complete_length: u64,
}

/// What a request needs of a stored response and does not find there; `None` where it can be answered in full.
pub(super) fn missing(asked: &Asked<'_>, stored: &StoredResponse) -> Option<Missing> {
    let parts = stored.parts()?;
    if asked.parts.method != Method::GET {
        return Some(Missing::Other);
    }
    let length = parts.complete_length();
    let wanted = match asked.parts.headers.get(header::RANGE) {
        None => 0..length,
        Some(_) if !respond::applies_range(&asked.parts.headers, &stored.fields.unpack(0), &stored.facts) => {
            return Some(Missing::Other);
        }
        Some(range) => match ranges::evaluate(range, length, asked.site.settings.limits.ranges) {
            RangeOutcome::Ignore => 0..length,
            RangeOutcome::Unsatisfiable => return None,
            RangeOutcome::Single(range) => range,
            RangeOutcome::Multi(ranges) => {
                return ranges.into_iter().any(|range| parts.gap(range).is_some()).then_some(Missing::Other);
            }
        },
    };
    let largest = asked.route.route.cache.max_object;
    let is_whole = wanted == (0..length);
    let gap = parts.gap(wanted)?;
    // A whole that could not be stored is streamed as one.
    let storable = gap.end - gap.start <= largest && !(is_whole && length > largest);
    Some(if has_strong_tag(stored) && storable { Missing::Gap(gap) } else { Missing::Other })
}

impl Ask {
    /// For a request that the cache cannot answer: `stored` is what is to be validated or combined with, if anything.
    pub(super) fn of(
        asked: &Asked<'_>,
        stored: Option<&StoredResponse>,
        missing: Option<Missing>,
        large: bool,
    ) -> Self {
        let range = asked.fields().get(&header::RANGE);
        match (stored, missing, range) {
            (Some(_), Some(Missing::Gap(gap)), _) => Ask::Gap(gap),
            (_, _, None) => Ask::Whole,
            (Some(stored), None, Some(_)) if stored.parts().is_none() => Ask::Whole,
            (Some(_), _, Some(_)) => Ask::AsAsked,
            // From the beginning, the whole is worth having. Elsewhere a client would wait for all that goes before.
            (None, _, Some(range)) if !large && is_from_the_beginning(range) => Ask::Whole,
            (None, _, Some(_)) => Ask::AsAsked,
        }
    }

    /// Tells apart fetches of one key that do not ask for the same: nobody waits for another part than its own.
    pub(super) fn distinction(&self, request: &HeaderMap) -> u64 {
        let mut hasher = Xxh3::new();
        match self {
            Ask::Whole => return 0,
            Ask::AsAsked => {
                for value in [header::RANGE, header::IF_RANGE].iter().flat_map(|name| request.get_all(name)) {
                    hasher.update(value.as_bytes());
                    hasher.update(b"\n");
                }
            }
            Ask::Gap(gap) => {
                hasher.write_u64(gap.start);
                hasher.write_u64(gap.end);
            }
        }
        hasher.digest()
    }
}

/// Whether it can be told by its tag of which representation it is, byte for byte.
pub(super) fn has_strong_tag(stored: &StoredResponse) -> bool {
    let tag = stored.fields.get(&header::ETAG).filter(|_| !stored.own_tag);
    tag.is_some_and(|tag| validate::is_same_representation(tag.clone(), tag))
}

/// The fields that ask for the missing bytes of what is stored, and for all of it where it has changed (RFC 9110
/// §13.1.5).
pub(super) fn ask_for_gap(headers: &mut HeaderMap, gap: &Range<u64>, stored: &StoredResponse) {
    let to_the_end = stored.complete_length() == Some(gap.end);
    let last = if to_the_end { String::new() } else { (gap.end - 1).to_string() };
    let range =
        HeaderValue::try_from(format!("bytes={}-{last}", gap.start)).expect("words and digits are a field value");
    headers.insert(header::RANGE, range);
    if let Some(tag) = stored.fields.get(&header::ETAG) {
        headers.insert(header::IF_RANGE, tag);
    }
}

/// What a 206 brings; `None` where it can't be stored or trusted: several ranges, no length of the whole, a
/// Content-Range that is missing, malformed, or contradicts Content-Length.
pub(super) fn brings(status: StatusCode, headers: &HeaderMap) -> Option<Brings> {
    let mut lines = headers.get_all(header::CONTENT_RANGE).iter();
    let (line, further) = (lines.next()?, lines.next());
    if status != StatusCode::PARTIAL_CONTENT || further.is_some() || is_multipart(headers) {
        return None;
    }
    let ranges::ContentRange { range, len } = ranges::parse_content_range(line)?;
    let consistent = announced_length(headers).is_none_or(|length| length == range.end - range.start);
    consistent.then_some(Brings { range, complete_length: len? })
}

/// Whether a 206 brings just what was missing, of the representation that is stored (RFC 9111 §3.4).
pub(super) fn fills_gap(brings: &Brings, headers: &HeaderMap, gap: &Range<u64>, stored: &StoredResponse) -> bool {
    let tags = stored.fields.get(&header::ETAG).zip(headers.get(header::ETAG).cloned());
    brings.range == *gap
        && Some(brings.complete_length) == stored.complete_length()
        && tags.is_some_and(|(kept, given)| validate::is_same_representation(kept, given))
}

impl Wanted {
    /// The stored parts that a fetch for their gap is to be combined with.
    pub(super) fn gap(&self) -> Option<(&Range<u64>, &StoredResponse, &StoredParts)> {
        let Ask::Gap(gap) = &self.ask else { return None };
        let stored = self.stored.as_deref()?;
        Some((gap, stored, stored.parts()?))
    }
}

fn is_multipart(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    content_type.to_ascii_lowercase().starts_with(b"multipart/byteranges")
}

fn is_from_the_beginning(range: &HeaderValue) -> bool {
    let compact: Vec<u8> = range.as_bytes().iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    compact.to_ascii_lowercase().starts_with(b"bytes=0-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn part_of_a_206_is_believed_only_where_all_agrees() {
        // RFC 9110 §14.4, §15.3.7
        let range = ("content-range", "bytes 5-9/20");
        let partial = StatusCode::PARTIAL_CONTENT;
        for (status, fields, believed) in [
            (partial, &[range][..], true),
            (partial, &[range, ("content-length", "5")], true),
            (partial, &[range, ("content-length", "6")], false),
            (partial, &[range, range], false),
            (partial, &[("content-range", "bytes 5-9/*")], false),
            (partial, &[("content-range", "bytes 5-9/9")], false),
            (partial, &[("content-range", "bytes 9-5/20")], false),
            (partial, &[("content-range", "lines 5-9/20")], false),
            (partial, &[("content-range", "5-9/20")], false),
            (partial, &[range, ("content-type", "Multipart/Byteranges; boundary=x")], false),
            (partial, &[], false),
            (StatusCode::OK, &[range], false),
        ] {
            let expected = believed.then_some(Brings { range: 5..10, complete_length: 20 });
            assert_eq!(brings(status, &headers(fields)), expected, "{status} {fields:?}");
        }
    }

    #[test]
    fn fetches_of_different_parts_are_told_apart() {
        let of = |fields: &[(&'static str, &'static str)]| Ask::AsAsked.distinction(&headers(fields));
        let all = [
            Ask::Whole.distinction(&headers(&[("range", "bytes=1-2")])),
            of(&[("range", "bytes=1-2")]),
            of(&[("range", "bytes=1-3")]),
            of(&[("range", "bytes=1-2"), ("if-range", "\"a\"")]),
            Ask::Gap(1..3).distinction(&HeaderMap::new()),
            Ask::Gap(3..4).distinction(&HeaderMap::new()),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{at}");
        }
        assert_eq!(of(&[("range", "bytes=1-2")]), all[1]);
    }
}
