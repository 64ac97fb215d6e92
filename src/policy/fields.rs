//! Which header fields travel on, and which end here (RFC 9110 §7.6.1, RFC 9111 §3.1).

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::list::Elements;
use super::present::{Fields, Names};

/// Fields that concern one connection only, named by Connection or not.
static HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields between a client and its proxy, which are not for the origin and not for storing (RFC 9111 §3.1).
static PROXY: [HeaderName; 3] =
    [header::PROXY_AUTHENTICATE, HeaderName::from_static("proxy-authentication-info"), header::PROXY_AUTHORIZATION];

/// Fields that a Connection field cannot make us drop: they frame or route the message, are ours to set, or say who may
/// have it and for how long, which nothing malformed may loosen.
static NEVER_NOMINATED: [HeaderName; 20] = [
    header::CONTENT_LENGTH,
    header::HOST,
    header::CACHE_CONTROL,
    header::AUTHORIZATION,
    header::COOKIE,
    header::SET_COOKIE,
    header::VIA,
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    header::DATE,
    header::AGE,
    header::EXPIRES,
    header::VARY,
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("larder-cache-control"),
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
];

/// Removes what ends at this hop: the fields of the connection, those that Connection nominates, and those between a
/// client and its proxy. `names` are those of `headers`, or of what it was before fields were removed.
pub fn remove_hop_by_hop(headers: &mut HeaderMap, names: Names) {
    if names.may_have(&header::CONNECTION) {
        remove_nominated(headers);
    }
    for name in HOP_BY_HOP.iter().chain(&PROXY).filter(|name| names.may_have(name)) {
        headers.remove(name);
    }
}

/// Removes the end-to-end fields that Connection nominates. What the next hop does not see must not select a stored
/// response either: an answer in the default language would be stored as the one for a nominated Accept-Language.
pub fn remove_nominated(headers: &mut HeaderMap) {
    if !headers.contains_key(header::CONNECTION) {
        return;
    }
    let nominated: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter(|line| !is_about_the_connection(line))
        .flat_map(|line| Elements(line.as_bytes()))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| !NEVER_NOMINATED.contains(name) && !HOP_BY_HOP.contains(name))
        .collect();
    for name in nominated {
        headers.remove(name);
    }
}

/// Whether a line of Connection says what most do, which nominates nothing: 700 instructions less for each response.
fn is_about_the_connection(line: &HeaderValue) -> bool {
    ["keep-alive", "close"].iter().any(|usual| line.as_bytes().eq_ignore_ascii_case(usual.as_bytes()))
}

/// Whether a field of this name, in lower case, ends at this hop.
pub fn ends_here(name: &str) -> bool {
    HOP_BY_HOP.iter().chain(&PROXY).any(|known| known == name)
}

/// Removes the fields whose names meet a condition; whether there were any.
pub fn remove_where(headers: &mut HeaderMap, condition: impl Fn(&HeaderName) -> bool) -> bool {
    let met: Vec<HeaderName> = headers.keys().filter(|name| condition(name)).cloned().collect();
    for name in &met {
        headers.remove(name);
    }
    !met.is_empty()
}

/// Joins several Cookie lines into one, as RFC 9113 §8.2.3 asks for: HTTP/2 clients split them for compression, and
/// apps would join them with a comma, which belongs to the last cookie's value then.
pub fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let lines: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Whether a list field such as Connection or TE has this token, without regard to case.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|line| lists(line.as_bytes(), token))
}

/// The same of one of its lines.
pub fn lists(line: &[u8], token: &str) -> bool {
    Elements(line).any(|element| {
        let word = element.split(|byte| *byte == b';').next().unwrap_or_default();
        word.trim_ascii().eq_ignore_ascii_case(token.as_bytes())
    })
}

/// Copies every field of a 304 into the stored response's, replacing those of the same name (RFC 9111 §3.2), except
/// those that describe a body which the 304 does not have.
pub fn update(stored: &mut HeaderMap, fresh: &HeaderMap) {
    for name in fresh.keys() {
        if is_bound_to_stored_body(name) {
            continue;
        }
        let mut values = fresh.get_all(name).iter();
        if let Some(first) = values.next() {
            stored.insert(name.clone(), first.clone());
            for further in values {
                stored.append(name.clone(), further.clone());
            }
        }
    }
    // §5.1: the age of the stored response starts anew; a 304 without Age means zero.
    if !fresh.contains_key(header::AGE) {
        stored.remove(header::AGE);
    }
}

fn is_bound_to_stored_body(name: &HeaderName) -> bool {
    *name == header::CONTENT_LENGTH || *name == header::CONTENT_ENCODING || *name == header::CONTENT_RANGE
}

/// Joins all lines of a field into one value, comma-separated; `None` when it is absent.
pub fn joined<'a>(fields: impl Into<Fields<'a>>, name: &HeaderName) -> Option<HeaderValue> {
    let mut lines = fields.into().all(name);
    let first = lines.next()?;
    let mut text: Vec<u8> = Vec::new();
    for further in lines {
        if text.is_empty() {
            text.extend_from_slice(first.as_bytes());
        }
        text.extend_from_slice(b", ");
        text.extend_from_slice(further.as_bytes());
    }
    if text.is_empty() { Some(first.clone()) } else { HeaderValue::from_bytes(&text).ok() }
}

#[cfg(test)]
mod tests {
    use super::super::sample::headers;
    use super::*;

    #[test]
    fn hop_by_hop_fields_and_nominated_ones_end_here() {
        let mut fields = headers(&[
            ("connection", "close, X-Private"),
            ("connection", "keep-alive"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authentication-info", "x"),
            ("proxy-authorization", "x"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("x-private", "1"),
            ("x-public", "1"),
        ]);
        let names = Names::of(&fields);
        remove_hop_by_hop(&mut fields, names);
        assert_eq!(fields.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-public"]);
    }

    #[test]
    fn connection_cannot_drop_what_frames_or_protects() {
        let mut fields = headers(&[
            ("connection", "Content-Length, Authorization, X-Forwarded-For, Host, Cookie"),
            ("content-length", "3"),
            ("authorization", "x"),
            ("x-forwarded-for", "1.2.3.4"),
            ("host", "a"),
            ("cookie", "a=b"),
        ]);
        let names = Names::of(&fields);
        remove_hop_by_hop(&mut fields, names);
        assert_eq!(fields.len(), 5);
    }

    #[test]
    fn nominated_fields_go_and_those_of_the_connection_wait_for_the_hop() {
        let mut fields = headers(&[
            ("connection", "TE, Upgrade, Accept-Language"),
            ("te", "trailers"),
            ("upgrade", "x"),
            ("accept-language", "de"),
        ]);
        remove_nominated(&mut fields);
        assert_eq!(fields.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["connection", "te", "upgrade"]);
    }

    #[test]
    fn cookie_lines_become_one() {
        for (lines, expected) in
            [(&[][..], None), (&["a=1"], Some("a=1")), (&["a=1", "b=2; c=3"], Some("a=1; b=2; c=3"))]
        {
            let mut fields = headers(&lines.iter().map(|line| ("cookie", *line)).collect::<Vec<_>>());
            join_cookies(&mut fields);
            let joined: Vec<_> = fields.get_all("cookie").iter().map(|line| line.to_str().unwrap()).collect();
            assert_eq!(joined, Vec::from_iter(expected), "{lines:?}");
        }
    }

    #[test]
    fn update_replaces_all_but_what_describes_the_body() {
        // RFC 9111 §3.2
        let mut stored = headers(&[("x", "1"), ("x", "2"), ("content-length", "9"), ("age", "7"), ("etag", "\"a\"")]);
        update(&mut stored, &headers(&[("x", "3"), ("content-length", "0"), ("y", "1"), ("content-encoding", "gzip")]));
        assert_eq!(stored, headers(&[("x", "3"), ("content-length", "9"), ("etag", "\"a\""), ("y", "1")]));
    }
}
