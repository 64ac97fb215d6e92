//! Validation: what is asked of the upstream, and which stored response a 304 confirms (RFC 9111 §4.3).

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::dates;
use super::entity_tag::EntityTag;

/// Fields of a client's own conditions, which a fetch for the cache leaves out: it wants the whole response, and
/// larder answers the conditions itself.
pub const CLIENT_CONDITIONS: [HeaderName; 2] = [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE];

/// Turns a request into a validation of stored responses (RFC 9111 §4.3.1): If-None-Match with the tags of all of
/// them, once each, If-Modified-Since from the one that was selected, if any. Nothing is added where there is no validator.
pub fn make_conditional<'a>(
    request: &mut HeaderMap,
    selected: Option<&HeaderMap>,
    all_of_key: impl Iterator<Item = &'a HeaderValue>,
) {
    for name in CLIENT_CONDITIONS {
        request.remove(name);
    }
    let mut tags: Vec<&[u8]> = Vec::new();
    for tag in all_of_key.map(HeaderValue::as_bytes).filter(|tag| EntityTag::parse(tag).is_some()) {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    if let Some(list) = HeaderValue::from_bytes(&tags.join(&b", "[..])).ok().filter(|list| !list.is_empty()) {
        request.insert(header::IF_NONE_MATCH, list);
    }
    let modified = selected.filter(|fields| matches!(dates::field(fields, &header::LAST_MODIFIED), Some(Some(_))));
    if let Some(modified) = modified.and_then(|fields| fields.get(header::LAST_MODIFIED)) {
        request.insert(header::IF_MODIFIED_SINCE, modified.clone());
    }
}

/// Whether a 304 confirms the stored response with these fields (RFC 9111 §4.3.4): by a strong tag only what has the
/// same, by a weak one what matches it, by Last-Modified what has that. `alone` says that the request named no other
/// stored response: only then can a 304 without any validator be understood.
///
/// The section has such a 304 update a lone stored response that lacks a validator too. Here a lone one that has one is
/// taken as confirmed as well: the request named its validator and no other, so that the answer can be about nothing
/// else, and servers that leave the field out of a 304 (against RFC 9110 §15.4.5) are many. To fetch all of it again
/// would bring the same bytes.
pub fn confirms(not_modified: &HeaderMap, stored: &HeaderMap, alone: bool) -> bool {
    let modified = |headers| dates::field(headers, &header::LAST_MODIFIED).flatten();
    match (not_modified.get(header::ETAG).and_then(parse), stored.get(header::ETAG).and_then(parse)) {
        (Some(given), Some(kept)) if given.weak => given.weakly_equals(&kept),
        (Some(given), Some(kept)) => given.strongly_equals(&kept),
        (Some(_), None) => false,
        (None, _) => match modified(not_modified) {
            Some(given) => modified(stored) == Some(given),
            None => alone,
        },
    }
}

/// Whether two entity tags show that parts are of one representation (RFC 9111 §3.4): both strong, and the same.
pub fn is_same_representation(tag: HeaderValue, other: HeaderValue) -> bool {
    matches!((parse(&tag), parse(&other)), (Some(tag), Some(other)) if tag.strongly_equals(&other))
}

/// Whether a 304 names a strong tag, which identifies one representation among all of a resource.
pub fn has_strong_tag(not_modified: &HeaderMap) -> bool {
    not_modified.get(header::ETAG).and_then(parse).is_some_and(|tag| !tag.weak)
}

/// Whether a response to HEAD confirms what is stored for GET (RFC 9111 §4.3.5): same validators and same length,
/// where given. `length` is that of the stored body in bytes.
pub fn head_confirms(head: &HeaderMap, stored: &HeaderMap, length: Option<u64>) -> bool {
    let same = |name| head.get(name).is_none_or(|given| stored.get(name) == Some(given));
    let given_length =
        head.get(header::CONTENT_LENGTH).map(|text| text.to_str().ok().and_then(|text| text.parse().ok()));
    same(&header::ETAG) && same(&header::LAST_MODIFIED) && given_length.is_none_or(|given| given == length)
}

fn parse(value: &HeaderValue) -> Option<EntityTag<'_>> {
    EntityTag::parse(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::sample::headers;
    use super::*;

    const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[test]
    fn conditional_request_carries_all_tags_of_the_key_and_none_of_the_client() {
        // RFC 9111 §4.3.1
        let mut request = headers(&[("if-none-match", "\"client\""), ("if-modified-since", LATER)]);
        let selected = headers(&[("etag", "\"a\""), ("last-modified", AT)]);
        let tags: Vec<HeaderValue> =
            ["\"a\"", "W/\"b\"", "\"a\"", "broken", "\"a\""].iter().map(|tag| tag.parse().unwrap()).collect();
        make_conditional(&mut request, Some(&selected), tags.iter());
        assert_eq!(request, headers(&[("if-none-match", "\"a\", W/\"b\""), ("if-modified-since", AT)]));

        let mut request = headers(&[("if-modified-since", AT)]);
        make_conditional(&mut request, Some(&headers(&[("last-modified", "yesterday")])), [].iter());
        assert_eq!(request, HeaderMap::new());

        make_conditional(&mut request, None, tags.iter());
        assert_eq!(request, headers(&[("if-none-match", "\"a\", W/\"b\"")]));
    }

    #[test]
    fn not_modified_confirms_by_the_rules_of_section_4_3_4() {
        for (given, stored, if_alone, otherwise) in [
            (&[("etag", "\"a\"")][..], &[("etag", "\"a\"")][..], true, true),
            (&[("etag", "\"a\"")], &[("etag", "\"b\"")], false, false),
            (&[("etag", "W/\"a\"")], &[("etag", "\"a\"")], true, true),
            (&[("etag", "W/\"a\"")], &[("etag", "W/\"b\"")], false, false),
            (&[("etag", "\"a\"")], &[("etag", "W/\"a\"")], false, false),
            (&[("etag", "\"a\"")], &[], false, false),
            // No validator: the lone one, though it has a validator (the section speaks of one that has none).
            (&[], &[("etag", "\"a\"")], true, false),
            (&[], &[("etag", "W/\"a\"")], true, false),
            (&[], &[("last-modified", AT)], true, false),
            (&[], &[("etag", "\"a\""), ("last-modified", AT)], true, false),
            // A tag decides, whatever the dates say.
            (&[("etag", "\"b\""), ("last-modified", AT)], &[("etag", "\"a\""), ("last-modified", AT)], false, false),
            (&[("last-modified", AT)], &[("last-modified", AT)], true, true),
            (&[("last-modified", LATER)], &[("last-modified", AT)], false, false),
            (&[], &[], true, false),
        ] {
            let (given, stored) = (headers(given), headers(stored));
            assert_eq!(confirms(&given, &stored, true), if_alone, "{given:?} {stored:?}");
            assert_eq!(confirms(&given, &stored, false), otherwise, "{given:?} {stored:?}");
        }
    }

    #[test]
    fn head_confirms_when_nothing_given_differs() {
        let stored = headers(&[("etag", "\"a\"")]);
        for (head, expected) in [
            (&[("etag", "\"a\"")][..], true),
            (&[("content-length", "5")], true),
            (&[], true),
            (&[("content-length", "6")], false),
            (&[("content-length", "x")], false),
            (&[("etag", "\"b\"")], false),
            (&[("last-modified", AT)], false),
        ] {
            assert_eq!(head_confirms(&headers(head), &stored, Some(5)), expected, "{head:?}");
        }
    }
}
