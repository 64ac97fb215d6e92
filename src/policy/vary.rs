//! Which stored response a request selects (RFC 9111 §4.1).

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, header};

use super::list::{Elements, all_elements};

/// The selecting fields of a stored response, with the values that the request which fetched it had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection(Vec<Selecting>);

/// A field's name, and the value that the request had; `None`: it had none.
type Selecting = (HeaderName, Option<Box<[u8]>>);

impl Selection {
    /// Of a response that does not vary.
    pub const ANY: Selection = Selection(Vec::new());

    /// Of a response's Vary and its request. `None` for `Vary: *`, a Vary that names no field, or one that names a field
    /// which larder fills in for each client: such a response never matches again. `settled` names fields that do not
    /// count because the cache itself sees to them: Accept-Encoding, where larder does the coding; User-Agent, where its
    /// class of device is part of the key.
    pub fn of(response: &HeaderMap, request: &HeaderMap, settled: &[HeaderName]) -> Option<Self> {
        let mut names: Vec<HeaderName> = Vec::new();
        for line in response.get_all(header::VARY) {
            for element in Elements(line.as_bytes()) {
                names.push(HeaderName::from_bytes(element).ok().filter(may_select)?);
            }
        }
        names.retain(|name| !settled.contains(name));
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        let fields = names.into_iter().map(|name| {
            let value = normalised(request, &name).map(|value| value.into_owned().into_boxed_slice());
            (name, value)
        });
        Some(Selection(fields.collect()))
    }

    /// Of a list of fields that a response varies by, for a request with these fields.
    pub fn of_names(names: &[HeaderName], request: &HeaderMap) -> Self {
        let value = |name| normalised(request, name).map(|value| value.into_owned().into_boxed_slice());
        Selection(names.iter().map(|name| (name.clone(), value(name))).collect())
    }

    /// As [`Selection::fields`] told it.
    pub fn from_fields(fields: Vec<(HeaderName, Option<Box<[u8]>>)>) -> Self {
        Selection(fields)
    }

    /// Whether a request with these fields selects the response. `content_language` is the stored response's.
    pub fn matches(&self, request: &HeaderMap, content_language: Option<&[u8]>) -> bool {
        self.0.iter().all(|(name, stored)| {
            let given = normalised(request, name);
            if given.as_deref() == stored.as_deref() {
                return true;
            }
            // The language that a client prefers above all others is served whatever else it would have taken.
            *name == header::ACCEPT_LANGUAGE
                && given.is_some_and(|given| {
                    most_preferred(&given)
                        .is_some_and(|top| content_language.is_some_and(|language| language.eq_ignore_ascii_case(top)))
                })
        })
    }

    /// What the selection of a response would be that names the same fields and was fetched by this request.
    pub fn for_request(&self, request: &HeaderMap) -> Selection {
        let fields = self.0.iter().map(|(name, _)| {
            let value = normalised(request, name).map(|value| value.into_owned().into_boxed_slice());
            (name.clone(), value)
        });
        Selection(fields.collect())
    }

    /// Whether the two name the same fields.
    pub fn names_same_fields(&self, other: &Selection) -> bool {
        self.0.iter().map(|(name, _)| name).eq(other.0.iter().map(|(name, _)| name))
    }

    /// Whether it does not depend on the request at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values, for listings.
    pub fn fields(&self) -> impl Iterator<Item = (&HeaderName, Option<&[u8]>)> {
        self.0.iter().map(|(name, value)| (name, value.as_deref()))
    }

    /// Bytes it occupies beside its own size.
    pub fn cost(&self) -> usize {
        self.0.iter().map(|(_, value)| 64 + value.as_ref().map_or(0, |value| value.len())).sum()
    }
}

/// Whether a field tells requests apart as the upstream sees them. Who the client is stands in fields that clients do not
/// send: by theirs, all of them would be the same.
fn may_select(name: &HeaderName) -> bool {
    !matches!(name.as_str(), "*" | "forwarded" | "x-forwarded-for")
}

/// The value of a field in a form in which equal meaning is equal bytes: lines joined, white space around commas
/// gone, and for the fields whose grammar we know, case, order and empty elements as well. `None`: absent, which is not
/// the same as empty.
fn normalised<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?.as_bytes();
    let second = lines.next();
    let weighted = *name == header::ACCEPT_LANGUAGE || *name == header::ACCEPT_ENCODING;
    if second.is_none() && !weighted && !first.contains(&b',') {
        return Some(Cow::Borrowed(first.trim_ascii()));
    }
    let mut elements: Vec<&[u8]> = Vec::new();
    for line in headers.get_all(name) {
        // An empty element means nothing only where it is known that this is a list.
        if weighted {
            elements.extend(Elements(line.as_bytes()));
        } else {
            elements.extend(all_elements(line.as_bytes()));
        }
    }
    // One that is malformed may mean anything: then all of them count as they came.
    let weights: Option<Vec<_>> =
        if weighted { elements.iter().map(|element| weighted_element(element)).collect() } else { None };
    let Some(mut weights) = weights else { return Some(Cow::Owned(elements.join(&b','))) };
    weights.sort_by(|(a_q, a), (b_q, b)| b_q.cmp(a_q).then_with(|| a.cmp(b)));
    weights.dedup();
    let told = |(weight, range): (u16, Vec<u8>)| match weight {
        1000 => range,
        _ => [&range[..], format!(";q={weight}").as_bytes()].concat(),
    };
    Some(Cow::Owned(weights.into_iter().map(told).collect::<Vec<_>>().join(&b',')))
}

/// `range;q=0.5` as its weight in thousandths and the lower-case range (RFC 9110 §12.4.2). `None`: it is malformed.
fn weighted_element(element: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let range = parts.next().filter(|range| !range.is_empty())?.to_ascii_lowercase();
    let weight = match parts.next() {
        None => 1000,
        Some(weight) => weight_in_thousandths(weight.strip_prefix(b"q=").or_else(|| weight.strip_prefix(b"Q="))?)?,
    };
    parts.next().is_none().then_some((weight, range))
}

fn weight_in_thousandths(text: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1") || fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    let weight = if whole == "1" { 1000 + thousandths } else { thousandths };
    (weight <= 1000).then_some(weight)
}

/// The language of a normalised Accept-Language that outweighs all others, if there is exactly one.
fn most_preferred(normalised: &[u8]) -> Option<&[u8]> {
    let mut elements = normalised.split(|byte| *byte == b',');
    let first = elements.next()?;
    let second = elements.next();
    let is_top = |element: &[u8]| !element.contains(&b';');
    (is_top(first) && first != b"*" && !second.is_some_and(is_top)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::super::sample::headers;
    use super::*;

    #[test]
    fn selection_matches_when_all_named_fields_mean_the_same() {
        // RFC 9111 §4.1
        for (vary, fetched, asked, expected) in [
            ("foo", &[("foo", "1")][..], &[("foo", "1")][..], true),
            ("foo", &[("foo", "1")], &[("foo", "2")], false),
            ("FOO", &[("foo", "1")], &[("foo", "1")], true),
            ("foo", &[("foo", "1")], &[], false),
            ("foo", &[], &[("foo", "")], false),
            ("foo", &[], &[], true),
            ("foo, bar", &[("foo", "1"), ("bar", "2")], &[("bar", "2"), ("foo", "1")], true),
            ("foo, bar", &[("foo", "1"), ("bar", "2")], &[("bar", "2")], false),
            ("foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")], true),
            ("foo", &[("foo", "1, 2")], &[("foo", "1,2")], true),
            ("foo", &[("foo", "1, 2")], &[("foo", "2, 1")], false),
            ("foo", &[("foo", "A")], &[("foo", "a")], false),
            ("foo", &[("foo", ",5")], &[("foo", "5")], false),
            ("foo", &[("foo", ",5")], &[("foo", "5,")], false),
            ("foo", &[("foo", "1,,3")], &[("foo", "1,3")], false),
            ("foo", &[("foo", "\"a, b\"")], &[("foo", "\"a,b\"")], false),
            ("foo", &[("foo", "1"), ("foo", "")], &[("foo", "1")], false),
            ("accept-language", &[("accept-language", "en, de")], &[("accept-language", "de,EN")], true),
            ("accept-language", &[("accept-language", "en;q=0.5, de")], &[("accept-language", "de, en;q=0.50")], true),
            ("accept-language", &[("accept-language", "en;q=0.5, de")], &[("accept-language", "en, de;q=0.5")], false),
            ("accept-language", &[("accept-language", "de,, en")], &[("accept-language", "en, de,")], true),
            // §4.1: what is malformed has no meaning that is known to be the same.
            ("accept-language", &[("accept-language", "de;q=.8")], &[("accept-language", "fr;q=.8")], false),
            ("accept-language", &[("accept-language", "de;q=.8")], &[("accept-language", "")], false),
            ("accept-language", &[("accept-language", "de;q=.8")], &[("accept-language", "de;q=.8")], true),
            (
                "accept-language",
                &[("accept-language", "de, en;q=0.33333")],
                &[("accept-language", "de, fr;q=0.33333")],
                false,
            ),
            ("accept-encoding", &[("accept-encoding", "gzip;q=.5")], &[("accept-encoding", "br;q=.9")], false),
            ("accept-encoding", &[("accept-encoding", "gzip;level=9")], &[("accept-encoding", "gzip")], false),
            ("accept-encoding", &[("accept-encoding", "gzip;q=1;q=0")], &[("accept-encoding", "gzip")], false),
        ] {
            let selection = Selection::of(&headers(&[("vary", vary)]), &headers(fetched), &[]).unwrap();
            assert_eq!(selection.matches(&headers(asked), None), expected, "{vary}: {fetched:?} / {asked:?}");
        }
    }

    #[test]
    fn selection_of_any_never_exists() {
        for vary in ["*", "foo, *", "*, foo", "bad name", "X-Forwarded-For", "foo, Forwarded"] {
            assert_eq!(Selection::of(&headers(&[("vary", vary)]), &HeaderMap::new(), &[]), None, "{vary}");
        }
    }

    #[test]
    fn selection_leaves_out_what_the_cache_settles_itself() {
        let vary = headers(&[("vary", "accept-encoding, foo")]);
        let selection = Selection::of(&vary, &headers(&[("foo", "1")]), &[header::ACCEPT_ENCODING]).unwrap();
        assert!(selection.matches(&headers(&[("foo", "1"), ("accept-encoding", "gzip")]), None));
        assert!(!selection.matches(&headers(&[("foo", "2"), ("accept-encoding", "gzip")]), None));
    }

    #[test]
    fn selection_takes_the_language_that_the_client_prefers() {
        let selection = Selection::of(
            &headers(&[("vary", "accept-language")]),
            &headers(&[("accept-language", "de, en;q=0.5")]),
            &[],
        )
        .unwrap();
        let asks = |value| selection.matches(&headers(&[("accept-language", value)]), Some(b"de"));
        assert!(asks("de"));
        assert!(asks("DE, fr;q=0.9"));
        assert!(!asks("de, fr"));
        assert!(!asks("fr, de;q=0.9"));
        assert!(!asks("de;q=0.5"));
    }

    proptest::proptest! {
        #[test]
        fn selection_is_of_its_own_request_whatever_that_says(
            vary in "[a-cA-C ,*-]{0,16}|accept-language|accept-encoding, a",
            a in proptest::collection::vec(0x20u8..=0xff, 0..24),
            weighted in "[a-z,; =q.0-9*-]{0,32}",
        ) {
            let mut request = headers(&[("accept-language", &weighted), ("accept-encoding", &weighted)]);
            if let Ok(value) = http::HeaderValue::from_bytes(&a) {
                request.append("a", value);
            }
            let Some(selection) = Selection::of(&headers(&[("vary", &vary)]), &request, &[]) else { return Ok(()) };
            assert!(selection.matches(&request, None));
            assert_eq!(selection.for_request(&request), selection);
            let told = selection.fields().map(|(name, value)| (name.clone(), value.map(Box::from))).collect();
            assert_eq!(Selection::from_fields(told), selection);
        }
    }
}
