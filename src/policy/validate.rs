//! Validation: what is asked of the upstream, and which stored response a 304 confirms (RFC 9111 §4.3).

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::dates;
use super::entity_tag::EntityTag;

/// Fields of a client's own conditions, which a fetch for the cache leaves out: it wants the whole response, and
/// larder answers the conditions itself.
pub const CLIENT_CONDITIONS: [HeaderName; 3] = [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_RANGE];

/// Turns a request into a validation of stored responses, given as their fields (RFC 9111 §4.3.1): If-None-Match
/// with the tags of all of them, If-Modified-Since from the one that was selected. Nothing is added where there is
/// no validator.
pub fn make_conditional<'a>(
    request: &mut HeaderMap,
    selected: &HeaderMap,
    all_of_key: impl Iterator<Item = &'a HeaderValue>,
) {
    for name in CLIENT_CONDITIONS {
        request.remove(name);
    }
    let mut tags: Vec<u8> = Vec::new();
    for tag in all_of_key.filter(|tag| EntityTag::parse(tag.as_bytes()).is_some()) {
        if !tags.is_empty() {
            tags.extend_from_slice(b", ");
        }
        tags.extend_from_slice(tag.as_bytes());
    }
    if let Some(list) = HeaderValue::from_bytes(&tags).ok().filter(|list| !list.is_empty()) {
        request.insert(header::IF_NONE_MATCH, list);
    }
    if let Some(Some(_)) = dates::field(selected, &header::LAST_MODIFIED) {
        request.insert(header::IF_MODIFIED_SINCE, selected[header::LAST_MODIFIED].clone());
    }
}

/// Whether a 304 confirms the stored response with these fields (RFC 9111 §4.3.4). `selected` says that the request
/// chose it: only that one can be meant by a 304 without a validator or with a weak one.
pub fn confirms(not_modified: &HeaderMap, stored: &HeaderMap, selected: bool) -> bool {
    let tag_of = |headers: &HeaderMap| headers.get(header::ETAG).cloned();
    let (given, kept) = (tag_of(not_modified), tag_of(stored));
    match (given.as_ref().and_then(parse), kept.as_ref().and_then(parse)) {
        (Some(given), Some(kept)) if !given.weak => {
            given.strongly_equals(&kept) || (selected && given.weakly_equals(&kept))
        }
        (Some(given), Some(kept)) => selected && given.weakly_equals(&kept),
        (Some(_), None) => false,
        (None, _) => {
            let modified = |headers| dates::field(headers, &header::LAST_MODIFIED).flatten();
            selected && modified(not_modified).is_none_or(|given| modified(stored) == Some(given))
        }
    }
}

/// Whether a response to HEAD confirms what is stored for GET (RFC 9111 §4.3.5): same validators and same length,
/// where given.
pub fn head_confirms(head: &HeaderMap, stored: &HeaderMap) -> bool {
    [header::ETAG, header::LAST_MODIFIED, header::CONTENT_LENGTH]
        .iter()
        .all(|name| head.get(name).is_none_or(|given| stored.get(name) == Some(given)))
}

fn parse(value: &HeaderValue) -> Option<EntityTag<'_>> {
    EntityTag::parse(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[test]
    fn conditional_request_carries_all_tags_of_the_key_and_none_of_the_client() {
        // RFC 9111 §4.3.1
        let mut request = headers(&[("if-none-match", "\"client\""), ("if-range", "\"client\"")]);
        let selected = headers(&[("etag", "\"a\""), ("last-modified", AT)]);
        let tags: Vec<HeaderValue> = ["\"a\"", "W/\"b\"", "broken"].iter().map(|tag| tag.parse().unwrap()).collect();
        make_conditional(&mut request, &selected, tags.iter());
        assert_eq!(request, headers(&[("if-none-match", "\"a\", W/\"b\""), ("if-modified-since", AT)]));

        let mut request = headers(&[("if-modified-since", AT)]);
        make_conditional(&mut request, &headers(&[("last-modified", "yesterday")]), [].iter());
        assert_eq!(request, HeaderMap::new());
    }

    #[test]
    fn not_modified_confirms_by_the_rules_of_section_4_3_4() {
        for (given, stored, if_selected, otherwise) in [
            (&[("etag", "\"a\"")][..], &[("etag", "\"a\"")][..], true, true),
            (&[("etag", "\"a\"")], &[("etag", "\"b\"")], false, false),
            (&[("etag", "W/\"a\"")], &[("etag", "\"a\"")], true, false),
            (&[("etag", "\"a\"")], &[("etag", "W/\"a\"")], true, false),
            (&[("etag", "\"a\"")], &[], false, false),
            (&[], &[("etag", "\"a\"")], true, false),
            (&[("last-modified", AT)], &[("last-modified", AT)], true, false),
            (&[("last-modified", LATER)], &[("last-modified", AT)], false, false),
            (&[], &[], true, false),
        ] {
            let (given, stored) = (headers(given), headers(stored));
            assert_eq!(confirms(&given, &stored, true), if_selected, "{given:?} {stored:?}");
            assert_eq!(confirms(&given, &stored, false), otherwise, "{given:?} {stored:?}");
        }
    }

    #[test]
    fn head_confirms_when_nothing_given_differs() {
        let stored = headers(&[("etag", "\"a\""), ("content-length", "5")]);
        assert!(head_confirms(&headers(&[("etag", "\"a\"")]), &stored));
        assert!(head_confirms(&headers(&[("content-length", "5")]), &stored));
        assert!(!head_confirms(&headers(&[("content-length", "6")]), &stored));
        assert!(!head_confirms(&headers(&[("etag", "\"b\"")]), &stored));
    }
}
