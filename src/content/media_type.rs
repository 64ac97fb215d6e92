//! Media types as the configuration names them and as Content-Type states them (RFC 9110 §8.3.1).

use http::HeaderValue;

use crate::policy::token::is_token;

/// The `type/subtype` of a Content-Type field value, without its parameters; `None`: it is not one.
pub fn essence(content_type: &HeaderValue) -> Option<&str> {
    let text = content_type.to_str().ok()?;
    let essence = text.split(';').next().unwrap_or_default().trim();
    let (kind, subtype) = essence.split_once('/')?;
    (is_token(kind.as_bytes()) && is_token(subtype.as_bytes())).then_some(essence)
}

/// Whether a pattern (`type/subtype`, `type/*` or `*+suffix`) matches an essence, without regard to case.
pub fn matches(pattern: &str, essence: &str) -> bool {
    let (pattern, essence) = (pattern.as_bytes(), essence.as_bytes());
    if let Some(suffix) = pattern.strip_prefix(b"*").filter(|suffix| suffix.starts_with(b"+")) {
        return essence.len() > suffix.len() && essence[essence.len() - suffix.len()..].eq_ignore_ascii_case(suffix);
    }
    match pattern.strip_suffix(b"*").filter(|kind| kind.ends_with(b"/")) {
        Some(kind) => essence.len() > kind.len() && essence[..kind.len()].eq_ignore_ascii_case(kind),
        None => pattern.eq_ignore_ascii_case(essence),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn media_type_essence_rfc9110_8_3_1() {
        let table = [
            ("text/html", Some("text/html")),
            ("text/html; charset=utf-8", Some("text/html")),
            (" text/html ;charset=utf-8", Some("text/html")),
            ("text", None),
            ("", None),
            ("text/", None),
            ("text/html, text/css", None),
            ("text /html", None),
        ];
        for (value, expected) in table {
            assert_eq!(essence(&HeaderValue::from_static(value)), expected, "{value}");
        }
    }

    #[test]
    fn media_type_patterns() {
        let table = [
            ("text/css", "text/css", true),
            ("text/css", "Text/CSS", true),
            ("text/css", "text/csss", false),
            ("text/*", "TEXT/plain", true),
            ("text/*", "texts/plain", false),
            ("text/*", "text/", false),
            ("*+json", "application/problem+json", true),
            ("*+json", "application/problem+JSON", true),
            ("*+json", "application/json", false),
            ("*+json", "+json", false),
            ("*", "text/css", false),
        ];
        for (pattern, essence, expected) in table {
            assert_eq!(matches(pattern, essence), expected, "{pattern} {essence}");
        }
    }

    proptest! {
        #[test]
        fn media_type_never_panics(pattern in ".{0,12}", value in ".{0,24}") {
            matches(&pattern, &value);
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                essence(&value);
            }
        }
    }
}
