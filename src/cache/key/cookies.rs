//! The cookies of a request, as they stand there and as apps find them.

use http::{HeaderMap, HeaderValue, header};

use super::alike::is_alike;
use super::push_bytes;

/// The value of a cookie in the request's Cookie fields (RFC 6265 §4.2.1).
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    cookies(headers).find(|(given, _)| *given == name.as_bytes()).map(|(_, value)| value)
}

/// All cookies of a request as name and value: bytes, since browsers send whatever was set.
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines(headers).flat_map(|line| line.split(|byte| *byte == b';')).filter_map(|pair| {
        let end = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        let (name, value) = (pair[..end].trim_ascii(), pair.get(end + 1..).unwrap_or_default());
        (!name.is_empty()).then_some((name, value.trim_ascii()))
    })
}

/// What stands between semicolons and holds a cookie of this name for some app: one of [`cookies`] that is alike, or what
/// stands before any other `=`. To Python's `SimpleCookie` a cookie also ends with white space, to RFC 2965 with a comma,
/// to others with its quotes.
pub fn alike_cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let is_name = |given: &[u8]| given.trim_ascii() == name.as_bytes() || is_alike(last_word(given), name);
    lines(headers).flat_map(|line| line.split(|byte| *byte == b';')).filter(move |pair| {
        let names = memchr::memrchr(b'=', pair).map_or(*pair, |end| &pair[..end]);
        names.split(|byte| *byte == b'=').any(is_name)
    })
}

/// The values of all cookies of that name, as part of a key: of several, apps take the first, the last or all. What only
/// some app takes for one stands there whole, behind a `;`, which no value holds.
pub(super) fn cookie_value(headers: &HeaderMap, name: &str) -> String {
    let mut text = String::new();
    for (at, pair) in alike_cookies(headers, name).enumerate() {
        if at > 0 {
            text.push('\n');
        }
        let end = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        if pair[..end].trim_ascii() == name.as_bytes() {
            push_bytes(&mut text, pair.get(end + 1..).unwrap_or_default().trim_ascii());
        } else {
            text.push(';');
            push_bytes(&mut text, pair.trim_ascii());
        }
    }
    text
}

fn last_word(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(u8::is_ascii_graphic).map_or(0, |last| last + 1);
    let is_border = |byte: &u8| !byte.is_ascii_graphic() || matches!(byte, b',' | b'"');
    text[..end].rsplit(is_border).next().unwrap_or_default()
}

fn lines(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_read_by_name() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", "a=1; session=x=y;flag".parse().unwrap());
        headers.append("cookie", "b=2".parse().unwrap());
        headers.append("cookie", http::HeaderValue::from_bytes(b"n=caf\xe9; id=3").unwrap());
        let expected: [(&[u8], &[u8]); 6] =
            [(b"a", b"1"), (b"session", b"x=y"), (b"flag", b""), (b"b", b"2"), (b"n", b"caf\xe9"), (b"id", b"3")];
        assert_eq!(cookies(&headers).collect::<Vec<_>>(), expected);
        assert_eq!(cookie(&headers, "session"), Some(&b"x=y"[..]));
        assert_eq!(cookie(&headers, "id"), Some(&b"3"[..]));
        assert_eq!(cookie(&headers, "none"), None);
    }

    #[test]
    fn cookies_are_there_where_some_app_finds_them() {
        for (line, expected) in [
            ("sid=1", true),
            ("a=1; sid=1", true),
            ("a=1;sid = 1", true),
            ("sid", true),
            ("a=1 sid=v", true),
            ("a=1\tsid=v", true),
            ("a=1, sid=v", true),
            ("a=1,sid=v", true),
            ("a=\"x\" sid=v", true),
            ("a=\"x\"sid=v", true),
            ("a=1 sid =v", true),
            ("a=x=y sid=v", true),
            ("a=1;\u{a0}sid=v", true),
            ("a=1\u{a0}sid\u{a0}=v", true),
            ("SID=v", true),
            ("s%69d=v", true),
            ("sid[a]=v", true),
            ("a=sid", false),
            ("a=1 sid", false),
            ("my_sid=1", false),
            ("_sid=1", false),
            ("sids=1; si=d", false),
            ("a=/?sid=1", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap())]);
            assert_eq!(alike_cookies(&headers, "sid").next().is_some(), expected, "{line}");
        }
    }
}
