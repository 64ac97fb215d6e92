//! Range and Content-Range (RFC 9110 §14): what is answered lies within the content, apart, and is not too much.

use http::HeaderValue;
use larder::content::ranges::{ContentRange, Multipart, RangeOutcome, content_range, evaluate, parse_content_range};

const MOST: usize = 8;

/// A length of 8 bytes, then a field's value.
pub fn check(data: &[u8]) {
    let (len, value) = super::fields::number(data);
    let Ok(value) = HeaderValue::from_bytes(value) else { return };
    for len in [len, len % 64] {
        let ranges = match evaluate(&value, len, MOST) {
            RangeOutcome::Ignore | RangeOutcome::Unsatisfiable => continue,
            RangeOutcome::Single(range) => vec![range],
            RangeOutcome::Multi(ranges) => {
                assert!((2..=MOST).contains(&ranges.len()));
                ranges
            }
        };
        for (at, range) in ranges.iter().enumerate() {
            assert!(range.start < range.end && range.end <= len, "{range:?} of {len}");
            assert!(ranges[..at].iter().all(|other| other.end < range.start || range.end < other.start));
            let told = parse_content_range(&content_range(range, len));
            assert_eq!(told, Some(ContentRange { range: range.clone(), len: Some(len) }));
        }
        if ranges.iter().map(|range| range.end - range.start).sum::<u64>() < 1 << 60 {
            let multipart = Multipart::new(&ranges, len, Some(&value), 7);
            assert_eq!(multipart.parts.len(), ranges.len());
            assert!(multipart.content_length() > ranges.iter().map(|range| range.end - range.start).sum());
        }
    }
    if let Some(told) = parse_content_range(&value) {
        assert!(told.range.start < told.range.end && told.len.is_none_or(|len| told.range.end <= len));
    }
}
