//! A client's preconditions, decided for a stored response (RFC 9110 §13.1, §13.2.2).

use http::{HeaderMap, Method, header};

use super::dates;
use super::entity_tag::{EntityTag, TagList};
use super::present::Fields;
use super::time::Timestamp;

/// The validators of what would be sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Validators<'a> {
    /// Its entity tag.
    pub etag: Option<EntityTag<'a>>,
    /// Its Last-Modified, or its Date where it has none (RFC 9111 §4.3.2).
    pub last_modified: Option<Timestamp>,
}

/// What becomes of a conditional GET or HEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Send the response.
    Pass,
    /// Answer 304 (Not Modified).
    NotModified,
}

/// Whether a request has preconditions of which a cache must let the origin decide (RFC 9110 §13.1.1, §13.1.4).
pub fn only_for_origin(fields: Fields<'_>) -> bool {
    fields.has(&header::IF_MATCH) || fields.has(&header::IF_UNMODIFIED_SINCE)
}

/// Decides If-None-Match and If-Modified-Since in the order of RFC 9110 §13.2.2.
pub fn evaluate(method: &Method, request: &HeaderMap, validators: &Validators<'_>) -> Precondition {
    if *method != Method::GET && *method != Method::HEAD {
        return Precondition::Pass;
    }
    // §13.1.3: If-Modified-Since counts only without If-None-Match.
    let unchanged = match TagList::of(request, &header::IF_NONE_MATCH) {
        Some(list) => list.matches_weakly(validators.etag.as_ref()),
        None => match (dates::field(request, &header::IF_MODIFIED_SINCE), validators.last_modified) {
            (Some(Some(since)), Some(modified)) => modified.as_secs() <= since.as_secs(),
            _ => false,
        },
    };
    if unchanged { Precondition::NotModified } else { Precondition::Pass }
}

/// Whether If-Range lets a Range be applied to what would be sent (RFC 9110 §13.1.5). True without If-Range.
///
/// A date counts only as a strong validator: Last-Modified at least a second before Date (§8.8.2.2).
pub fn range_applies(request: &HeaderMap, validators: &Validators<'_>, date: Timestamp) -> bool {
    let Some(value) = request.get(header::IF_RANGE) else { return true };
    if let Some(wanted) = EntityTag::parse(value.as_bytes()) {
        return validators.etag.is_some_and(|tag| tag.strongly_equals(&wanted));
    }
    let since = value.to_str().ok().and_then(dates::parse);
    since.is_some_and(|since| {
        validators.last_modified.is_some_and(|modified| modified == since && modified.as_secs() < date.as_secs())
    })
}

#[cfg(test)]
mod tests {
    use super::super::sample::headers;
    use super::*;

    const MODIFIED: Timestamp = Timestamp::from_secs(784_111_777);
    const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[test]
    fn preconditions_in_the_order_of_rfc_9110_section_13_2_2() {
        let validators =
            Validators { etag: Some(EntityTag { weak: false, opaque: b"v1" }), last_modified: Some(MODIFIED) };
        for (fields, unchanged) in [
            (&[("if-none-match", "\"v1\"")][..], true),
            (&[("if-none-match", "W/\"v1\"")], true),
            (&[("if-none-match", "\"v0\", \"v1\"")], true),
            (&[("if-none-match", "\"v0\""), ("if-none-match", "\"v1\"")], true),
            (&[("if-none-match", "*")], true),
            (&[("if-none-match", "\"v0\"")], false),
            (&[("if-none-match", "\"v0\""), ("if-modified-since", AT)], false),
            (&[("if-none-match", "\"v1\""), ("if-modified-since", BEFORE)], true),
            (&[("if-modified-since", AT)], true),
            (&[("if-modified-since", AFTER)], true),
            (&[("if-modified-since", BEFORE)], false),
            (&[("if-modified-since", "yesterday")], false),
            (&[], false),
        ] {
            let expected = if unchanged { Precondition::NotModified } else { Precondition::Pass };
            assert_eq!(evaluate(&Method::GET, &headers(fields), &validators), expected, "{fields:?}");
            assert_eq!(evaluate(&Method::HEAD, &headers(fields), &validators), expected, "{fields:?}");
            assert_eq!(evaluate(&Method::POST, &headers(fields), &validators), Precondition::Pass, "{fields:?}");
        }
    }

    #[test]
    fn if_range_needs_a_strong_validator() {
        // RFC 9110 §13.1.5
        let strong = Validators { etag: Some(EntityTag { weak: false, opaque: b"v1" }), last_modified: Some(MODIFIED) };
        let weak = Validators { etag: Some(EntityTag { weak: true, opaque: b"v1" }), ..strong };
        let later = Timestamp::from_secs(784_111_790);
        for (value, validators, date, expected) in [
            ("\"v1\"", &strong, later, true),
            ("W/\"v1\"", &strong, later, false),
            ("W/\"v1\"", &weak, later, false),
            ("\"v1\"", &weak, later, false),
            ("\"v2\"", &strong, later, false),
            (AT, &strong, later, true),
            (AT, &strong, MODIFIED, false),
            (AFTER, &strong, later, false),
            ("nonsense", &strong, later, false),
        ] {
            assert_eq!(range_applies(&headers(&[("if-range", value)]), validators, date), expected, "{value}");
        }
        assert!(range_applies(&HeaderMap::new(), &weak, later));
    }

    proptest::proptest! {
        #[test]
        fn any_conditions_are_decided(value in proptest::collection::vec(0x20u8..=0xff, 0..40), tag in "(W/)?\"[a-c,]{0,3}\"") {
            let mut request = HeaderMap::new();
            if let Ok(value) = http::HeaderValue::from_bytes(&value) {
                for name in [header::IF_MODIFIED_SINCE, header::IF_RANGE, header::IF_NONE_MATCH] {
                    request.insert(name, value.clone());
                }
            }
            let validators = Validators { etag: EntityTag::parse(tag.as_bytes()), last_modified: Some(MODIFIED) };
            let _ = range_applies(&request, &validators, MODIFIED);
            let _ = evaluate(&Method::GET, &request, &validators);
            request.insert(header::IF_NONE_MATCH, tag.parse().unwrap());
            assert_eq!(evaluate(&Method::GET, &request, &validators), Precondition::NotModified, "its own tag");
        }
    }
}
