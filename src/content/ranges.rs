//! Byte ranges (RFC 9110 §14): what a Range field asks of stored content, and the fields and parts of the answer.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderValue;
use smallvec::SmallVec;

/// What becomes of a Range field. Ranges are half open, not empty and within the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeOutcome {
    /// Answer as if there were none: another unit, malformed, or too many ranges.
    Ignore,
    /// 416 with [`unsatisfied_range`] (RFC 9110 §15.5.17).
    Unsatisfiable,
    /// 206 with [`content_range`].
    Single(Range<u64>),
    /// 206 as [`Multipart`]: two or more ranges that neither overlap nor touch.
    Multi(Vec<Range<u64>>),
}

/// Reads a Range field for content of `len` bytes. More than `max_ranges` ranges: ignored, as RFC 9110 §14.2 allows.
pub fn evaluate(header: &HeaderValue, len: u64, max_ranges: usize) -> RangeOutcome {
    let Some(specs) = parse(header.as_bytes(), max_ranges) else { return RangeOutcome::Ignore };
    // RFC 9110 §14.1.2: a suffix of empty content is satisfiable, but no 206 can express it.
    if len == 0 && specs.iter().any(|spec| matches!(spec, Spec::Suffix(1..))) {
        return RangeOutcome::Ignore;
    }
    let mut ranges: Vec<_> = specs.iter().filter_map(|spec| spec.within(len)).collect();
    coalesce(&mut ranges);
    match ranges.len() {
        0 => RangeOutcome::Unsatisfiable,
        1 => RangeOutcome::Single(ranges.swap_remove(0)),
        _ => RangeOutcome::Multi(ranges),
    }
}

/// One range as asked for (RFC 9110 §14.1.1). Positions beyond `u64` are beyond any content, and read as its maximum.
#[derive(Clone, Copy, Debug)]
enum Spec {
    /// `first-last`, last included; `first-` has the maximum.
    FromTo(u64, u64),
    /// `-length`: so many last bytes.
    Suffix(u64),
}

impl Spec {
    /// The bytes it selects; `None`: none.
    fn within(self, len: u64) -> Option<Range<u64>> {
        let range = match self {
            Spec::FromTo(first, last) => first..last.saturating_add(1).min(len),
            Spec::Suffix(length) => len.saturating_sub(length)..len,
        };
        (range.start < range.end).then_some(range)
    }
}

/// The ranges of a Range field; `None`: not of bytes, malformed, none at all or more than `max`.
fn parse(value: &[u8], max: usize) -> Option<SmallVec<[Spec; 4]>> {
    let unit_end = value.iter().position(|&byte| byte == b'=')?;
    let (unit, list) = (&value[..unit_end], &value[unit_end + 1..]);
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut specs = SmallVec::new();
    for element in list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
        // RFC 9110 §5.6.1.2: empty elements of a list do not count.
        if element.is_empty() {
            continue;
        }
        if specs.len() == max {
            return None;
        }
        specs.push(parse_spec(element)?);
    }
    (!specs.is_empty()).then_some(specs)
}

fn parse_spec(element: &[u8]) -> Option<Spec> {
    let dash = element.iter().position(|&byte| byte == b'-')?;
    match (&element[..dash], &element[dash + 1..]) {
        (b"", length) => Some(Spec::Suffix(number(length)?)),
        (first, b"") => Some(Spec::FromTo(number(first)?, u64::MAX)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::FromTo(first, last))
        }
    }
}

/// A run of digits, too large ones as the maximum.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

/// Sorts and merges ranges of which some overlap or touch (RFC 9110 §14.2), so that no byte is ever sent twice.
/// Others keep the order that the client asked for (RFC 9110 §15.3.7.2).
fn coalesce(ranges: &mut Vec<Range<u64>>) {
    let mut sorted = ranges.clone();
    sorted.sort_unstable_by_key(|range| range.start);
    sorted.dedup_by(|next, kept| {
        let joined = next.start <= kept.end;
        if joined {
            kept.end = kept.end.max(next.end);
        }
        joined
    });
    if sorted.len() < ranges.len() {
        *ranges = sorted;
    }
}

/// The Content-Range of a 206 (RFC 9110 §14.4): `bytes first-last/len`. The range must not be empty.
pub fn content_range(range: &Range<u64>, len: u64) -> HeaderValue {
    HeaderValue::try_from(content_range_text(range, len)).expect("words and digits are a field value")
}

/// The Content-Range of a 416 (RFC 9110 §14.4): `bytes */len`.
pub fn unsatisfied_range(len: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes */{len}")).expect("words and digits are a field value")
}

fn content_range_text(range: &Range<u64>, len: u64) -> String {
    debug_assert!(range.start < range.end, "an empty range has no Content-Range");
    format!("bytes {}-{}/{len}", range.start, range.end - 1)
}

/// What an upstream's 206 says it contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The bytes it contains, half open, not empty.
    pub range: Range<u64>,
    /// Length of the whole representation, where it is known.
    pub len: Option<u64>,
}

/// Reads the Content-Range of a 206 (RFC 9110 §14.4); `None`: malformed, of another unit or contradicting itself.
pub fn parse_content_range(value: &HeaderValue) -> Option<ContentRange> {
    let text = value.to_str().ok()?;
    let (unit, rest) = text.split_once(' ')?;
    let (positions, len) = rest.split_once('/')?;
    let (first, last) = positions.split_once('-')?;
    let (first, last) = (exact_number(first)?, exact_number(last)?);
    let range = first..last.checked_add(1)?;
    let len = if len == "*" { None } else { Some(exact_number(len)?) };
    let consistent = range.start < range.end && len.is_none_or(|len| range.end <= len);
    (unit.eq_ignore_ascii_case("bytes") && consistent).then_some(ContentRange { range, len })
}

/// A run of digits that fits: unlike in a request, a position that is no number of ours means a broken response.
fn exact_number(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The frame of a multipart/byteranges response (RFC 9110 §14.6); the content goes between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipart {
    /// What divides the parts.
    pub boundary: String,
    /// For each part, in order, what precedes it, and which bytes of the content it has.
    pub parts: Vec<(Bytes, Range<u64>)>,
    /// What follows the last part.
    pub tail: Bytes,
}

impl Multipart {
    /// For these ranges of content with `len` bytes and that Content-Type. `boundary` should be unforeseeable, lest
    /// content contain it by design.
    pub fn new(ranges: &[Range<u64>], len: u64, content_type: Option<&HeaderValue>, boundary: u128) -> Self {
        let boundary = format!("{boundary:032x}");
        let part = |(index, range): (usize, &Range<u64>)| {
            let mut head = Vec::with_capacity(192);
            head.extend_from_slice(if index == 0 { b"--" } else { b"\r\n--" });
            head.extend_from_slice(boundary.as_bytes());
            if let Some(content_type) = content_type {
                head.extend_from_slice(b"\r\nContent-Type: ");
                head.extend_from_slice(content_type.as_bytes());
            }
            head.extend_from_slice(b"\r\nContent-Range: ");
            head.extend_from_slice(content_range_text(range, len).as_bytes());
            head.extend_from_slice(b"\r\n\r\n");
            (Bytes::from(head), range.clone())
        };
        let parts = ranges.iter().enumerate().map(part).collect();
        let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
        Multipart { boundary, parts, tail }
    }

    /// The Content-Type of the whole response.
    pub fn content_type(&self) -> HeaderValue {
        HeaderValue::try_from(format!("multipart/byteranges; boundary={}", self.boundary))
            .expect("hexadecimal digits are a field value")
    }

    /// The Content-Length of the whole response, in bytes.
    pub fn content_length(&self) -> u64 {
        let parts = self.parts.iter().map(|(head, range)| head.len() as u64 + (range.end - range.start));
        parts.sum::<u64>() + self.tail.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use RangeOutcome::{Ignore, Multi, Single, Unsatisfiable};

    fn outcome(value: &'static str, len: u64) -> RangeOutcome {
        evaluate(&HeaderValue::from_static(value), len, 4)
    }

    #[test]
    fn ranges_single_rfc9110_14_1_2() {
        let table = [
            ("bytes=0-499", 0..500),
            ("bytes=500-999", 500..1000),
            ("bytes=-500", 9500..10000),
            ("bytes=9500-", 9500..10000),
            ("bytes=0-0", 0..1),
            ("bytes=-1", 9999..10000),
            ("bytes=0-", 0..10000),
            ("bytes=9999-20000", 9999..10000),
            ("bytes=-20000", 0..10000),
            ("Bytes=1-2", 1..3),
            ("bytes= 1-2 , ", 1..3),
            ("bytes=,1-2", 1..3),
            ("bytes=1-99999999999999999999999", 1..10000),
            ("bytes=1-2, 20000-", 1..3),
            ("bytes=-0, 1-2", 1..3),
        ];
        for (value, range) in table {
            assert_eq!(outcome(value, 10000), Single(range), "{value}");
        }
    }

    #[test]
    fn ranges_malformed_or_foreign_are_ignored_rfc9110_14_2() {
        let values = [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=2-1",
            "bytes=1-2-3",
            "bytes=--1",
            "bytes=+1-2",
            "bytes=1 -2",
            "bytes=0x1-2",
            "bytes 1-2",
            "bytes =1-2",
            "items=1-2",
            "bytes=1-2,x",
            "bytes=1-2;3-4",
            "bytes=0-0,2-2,4-4,6-6,8-8",
        ];
        for value in values {
            assert_eq!(outcome(value, 10000), Ignore, "{value}");
        }
    }

    #[test]
    fn ranges_unsatisfiable_rfc9110_15_5_17() {
        for value in
            ["bytes=10000-", "bytes=10000-10001", "bytes=-0", "bytes=99999999999999999999999-", "bytes=-0,10000-"]
        {
            assert_eq!(outcome(value, 10000), Unsatisfiable, "{value}");
        }
        assert_eq!(outcome("bytes=0-", 0), Unsatisfiable);
        assert_eq!(outcome("bytes=-5", 0), Ignore);
        assert_eq!(unsatisfied_range(10000), "bytes */10000");
    }

    #[test]
    fn ranges_several_are_coalesced_rfc9110_14_2() {
        let table = [
            ("bytes=0-1, 4-5", Multi(vec![0..2, 4..6])),
            ("bytes=4-5, 0-1", Multi(vec![4..6, 0..2])),
            ("bytes=0-5, 3-9", Single(0..10)),
            ("bytes=0-4, 5-9", Single(0..10)),
            ("bytes=0-9, 2-3", Single(0..10)),
            ("bytes=0-, 0-, -10, 0-", Single(0..10000)),
            ("bytes=50-59, 0-1, 55-70", Multi(vec![0..2, 50..71])),
        ];
        for (value, expected) in table {
            assert_eq!(outcome(value, 10000), expected, "{value}");
        }
    }

    #[test]
    fn ranges_at_the_end_of_numbers() {
        let last = u64::MAX - 1;
        assert_eq!(outcome("bytes=18446744073709551614-", u64::MAX), Single(last..u64::MAX));
        assert_eq!(outcome("bytes=0-18446744073709551615", u64::MAX), Single(0..u64::MAX));
        assert_eq!(outcome("bytes=18446744073709551615-", u64::MAX), Unsatisfiable);
    }

    #[test]
    fn ranges_content_range_rfc9110_14_4() {
        assert_eq!(content_range(&(42..1234), 1234), "bytes 42-1233/1234");
        let table = [
            ("bytes 42-1233/1234", Some((42..1234, Some(1234)))),
            ("bytes 42-1233/*", Some((42..1234, None))),
            ("BYTES 0-0/1", Some((0..1, Some(1)))),
            ("bytes */1234", None),
            ("bytes 5-4/10", None),
            ("bytes 0-10/10", None),
            ("bytes 0-18446744073709551615/*", None),
            ("bytes 0-99999999999999999999/*", None),
            ("bytes +1-2/3", None),
            ("bytes -2/3", None),
            ("bytes 1-2", None),
            ("bytes 1-2/", None),
            ("bytes=1-2/3", None),
            ("items 1-2/3", None),
            ("", None),
        ];
        for (value, expected) in table {
            let parsed = parse_content_range(&HeaderValue::from_static(value));
            assert_eq!(parsed, expected.map(|(range, len)| ContentRange { range, len }), "{value}");
        }
    }

    #[test]
    fn ranges_multipart_rfc9110_14_6() {
        let content = b"0123456789";
        let multipart = Multipart::new(&[0..2, 7..10], 10, Some(&HeaderValue::from_static("text/plain")), 0xb);
        let mut whole = Vec::new();
        for (head, range) in &multipart.parts {
            whole.extend_from_slice(head);
            whole.extend_from_slice(&content[range.start as usize..range.end as usize]);
        }
        whole.extend_from_slice(&multipart.tail);
        let b = "0000000000000000000000000000000b";
        let expected = format!(
            "--{b}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\
             \r\n--{b}\r\nContent-Type: text/plain\r\nContent-Range: bytes 7-9/10\r\n\r\n789\r\n--{b}--\r\n"
        );
        assert_eq!(String::from_utf8_lossy(&whole), expected);
        assert_eq!(multipart.content_length(), expected.len() as u64);
        assert_eq!(multipart.content_type(), format!("multipart/byteranges; boundary={b}"));
    }

    #[test]
    fn ranges_multipart_without_a_type() {
        let multipart = Multipart::new(&[0..1, 2..3], 4, None, 1);
        assert!(!multipart.parts[0].0.windows(12).any(|window| window == b"Content-Type"));
    }

    proptest! {
        #[test]
        fn ranges_are_always_within_and_apart(value in "bytes=[0-9, -]{0,40}", len in 0u64..200) {
            let ranges = match evaluate(&HeaderValue::try_from(value).expect("test value"), len, 8) {
                Ignore | Unsatisfiable => vec![],
                Single(range) => vec![range],
                Multi(ranges) => {
                    prop_assert!((2..=8).contains(&ranges.len()));
                    ranges
                }
            };
            for (index, range) in ranges.iter().enumerate() {
                prop_assert!(range.start < range.end && range.end <= len);
                prop_assert!(ranges[..index].iter().all(|other| other.end < range.start || range.end < other.start));
            }
        }

        #[test]
        fn ranges_never_panic(value in prop::collection::vec(0x20u8..=0xff, 0..40), len: u64) {
            for value in [value.clone(), [b"bytes=".as_slice(), &value].concat()] {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    evaluate(&value, len, 8);
                    parse_content_range(&value);
                }
            }
        }

        #[test]
        fn ranges_content_range_reads_back(start in 0u64..u64::MAX / 4, length in 1u64..u64::MAX / 4, more in 0u64..u64::MAX / 4) {
            let (range, len) = (start..start + length, start + length + more);
            let parsed = parse_content_range(&content_range(&range, len));
            prop_assert_eq!(parsed, Some(ContentRange { range, len: Some(len) }));
        }
    }
}
