//! Percent-encoding in one form, where a route asks for it (RFC 3986 §6.2.2.1, §6.2.2.2).

use std::borrow::Cow;
use std::fmt::Write;

/// A path with the hexadecimal digits of escapes in upper case and the escapes of unreserved characters decoded. Escapes
/// of reserved characters stay: `%2F` is no `/`. What holds a `%` that begins no escape is no URL, and nobody can tell
/// what it is equivalent to: it stays as it is.
///
/// Dot segments stay, and an escape never becomes part of one: the upstream sees the path as received, and what it
/// makes of `/a/%2E%2E/b` is its own affair.
pub(super) fn normalised_path(path: &str) -> Cow<'_, str> {
    normalised(path, |out| {
        for (at, segment) in path.split('/').enumerate() {
            if at > 0 {
                out.push('/');
            }
            push(out, segment, is_dot_segment(segment));
        }
    })
}

/// The same of a query, which has no segments.
pub(super) fn normalised_query(query: &str) -> Cow<'_, str> {
    normalised(query, |out| push(out, query, false))
}

fn normalised(text: &str, write: impl FnOnce(&mut String)) -> Cow<'_, str> {
    if !text.contains('%') || !is_well_formed(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    write(&mut out);
    Cow::Owned(out)
}

/// Adds text with its escapes in one form; those of dots stay where they are to be kept.
fn push(out: &mut String, text: &str, keeps_dots: bool) {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let Some(byte) = escape(after.as_bytes()) else { break };
        match byte {
            b'.' if keeps_dots => out.push_str("%2E"),
            byte if is_unreserved(byte) => out.push(char::from(byte)),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
        rest = &after[2..];
    }
    out.push_str(rest);
}

fn is_well_formed(text: &str) -> bool {
    text.split('%').skip(1).all(|after| escape(after.as_bytes()).is_some())
}

/// The byte that the two digits after a `%` stand for.
fn escape(after: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
    Some((digit(0)? * 16 + digit(1)?) as u8)
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// `.` or `..`, each dot perhaps escaped.
fn is_dot_segment(segment: &str) -> bool {
    let mut dots = 0;
    let mut rest = segment;
    while !rest.is_empty() {
        let next = rest.strip_prefix('.').or_else(|| rest.strip_prefix("%2E")).or_else(|| rest.strip_prefix("%2e"));
        let Some(next) = next else { return false };
        rest = next;
        dots += 1;
    }
    matches!(dots, 1 | 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_have_one_form_and_keep_their_meaning() {
        // RFC 3986 §6.2.2.1, §6.2.2.2
        for (given, expected) in [
            ("/a/b", "/a/b"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/%61%2d%2E%5f%7Eb", "/a-._~b"),
            ("/a%2fb%3f%23%26%3D", "/a%2Fb%3F%23%26%3D"),
            ("/%2541", "/%2541"),
            ("/%00%20%25", "/%00%20%25"),
            // Dot segments stay, and none comes into being.
            ("/a/../b/./c", "/a/../b/./c"),
            ("/a/%2e%2e/b", "/a/%2E%2E/b"),
            ("/a/.%2e/%2E", "/a/.%2E/%2E"),
            ("/a/%2e%2e%2e/%2ehidden", "/a/.../.hidden"),
            // No URL: nothing is known of it.
            ("/%", "/%"),
            ("/%6", "/%6"),
            ("/%zz%61", "/%zz%61"),
            ("/%%36%31", "/%%36%31"),
        ] {
            assert_eq!(normalised_path(given), expected, "{given}");
        }
        // A query has neither segments nor dots that mean something.
        for (given, expected) in
            [("a=%31&b=%2B", "a=1&b=%2B"), ("a=/%2e", "a=/."), ("a=/%2e%2E/&b=%zz", "a=/%2e%2E/&b=%zz")]
        {
            assert_eq!(normalised_query(given), expected, "{given}");
        }
    }

    proptest! {
        #[test]
        fn escapes_normalised_are_normal_and_mean_the_same(text in "[a-z./%&=]{0,8}(%[0-9a-fA-F]{2}|[a-c./%]){0,8}") {
            for normalised in [normalised_path, normalised_query] {
                let once = normalised(&text).into_owned();
                prop_assert_eq!(normalised(&once), once.as_str());
                let decoded = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<_>>();
                prop_assert_eq!(decoded(&once), decoded(&text));
                let reserved = |text: &str| text.bytes().filter(|byte| b"/&=".contains(byte)).count();
                prop_assert_eq!(reserved(&once), reserved(&text));
            }
        }
    }
}
