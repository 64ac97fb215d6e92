//! Whether a URL names one version of a file for ever: by a content hash in its name, or a version in its query.
//!
//! A wrong yes keeps an outdated file in browsers for a year; a wrong no costs a download a week. So only what can
//! hardly be anything else counts as a hash:
//!
//! | name | judged | because |
//! |---|---|---|
//! | `app.3f9a1c2b.js`, `app-3f9a1c2b7d.css`, `main.3f9a1c2b.chunk.js` | hash | hexadecimal, of a length that tools write |
//! | `main-BxY7aQ2k.js`, `index-D_x-9aQ2.css` | hash | vite's eight base64url characters, well mixed |
//! | `report-20240101.pdf`, `IMG-20240101.jpg`, `x.1700000000.js` | no | digits only: dates, serial numbers, times |
//! | `doc-20240101ab.pdf` | no | begins with a date |
//! | `photo-deadbeef.jpg`, `new-facade.css` | no | letters only: words |
//! | `jquery-1.12.4.min.js` | no | a release number names no content; patched files keep it |
//! | `bootstrap.bundle.min.js` | no | only what builds append |
//! | `user-Settings.js`, `app-DataGrid.js`, `part-Section1.pdf` | no | words and a number: too few changes of kind |
//! | `app-5KXJ2YQZ.js` | no | esbuild's upper-case hashes look like part numbers |

/// Lengths of hexadecimal hashes that build tools write: 8 to 128 bits of them in names, and whole MD5, SHA-1,
/// SHA-224, SHA-256.
const HEX_LENGTHS: [usize; 9] = [8, 10, 12, 16, 20, 32, 40, 56, 64];

/// Length of vite's and rollup's hashes.
const BASE64_LENGTH: usize = 8;

/// What builds put between a hash and the extension.
const BUILD_SUFFIXES: [&str; 5] = [".min", ".chunk", ".bundle", ".module", ".async"];

/// Query parameters that state a version.
const PARAMETERS: [&str; 4] = ["v", "ver", "version", "hash"];

/// Whether a file's name, without its extension, ends in a content hash.
pub fn has_content_hash(stem: &str) -> bool {
    let mut stem = stem;
    while let Some(shorter) = BUILD_SUFFIXES.iter().find_map(|suffix| stem.strip_suffix(suffix)) {
        stem = shorter;
    }
    let last = stem.rfind(['.', '-', '_']).map(|separator| &stem[separator + 1..]);
    last.is_some_and(is_hexadecimal_hash) || after_separator(stem, BASE64_LENGTH).is_some_and(is_base64_hash)
}

/// Whether a query has a version parameter with a value.
pub fn has_version_parameter(query: &str) -> bool {
    query
        .split('&')
        .any(|pair| pair.split_once('=').is_some_and(|(name, value)| PARAMETERS.contains(&name) && !value.is_empty()))
}

/// The last `length` bytes, when a dot or hyphen stands before them: base64url hashes may contain hyphens themselves.
fn after_separator(stem: &str, length: usize) -> Option<&str> {
    let start = stem.len().checked_sub(length)?;
    let (name, hash) = stem.split_at_checked(start)?;
    name.ends_with(['.', '-']).then_some(hash)
}

fn is_hexadecimal_hash(text: &str) -> bool {
    let bytes = text.as_bytes();
    HEX_LENGTHS.contains(&bytes.len())
        && bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && bytes.iter().any(u8::is_ascii_digit)
        && !bytes[..8].iter().all(u8::is_ascii_digit)
        && bytes.iter().any(u8::is_ascii_alphabetic)
}

/// Upper case, lower case and digits, changing at least four times: three out of five hashes, but hardly a name.
fn is_base64_hash(text: &str) -> bool {
    #[derive(Clone, Copy, PartialEq)]
    enum Kind {
        Upper,
        Lower,
        Digit,
        Symbol,
    }
    let kinds = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' => Some(Kind::Upper),
        b'a'..=b'z' => Some(Kind::Lower),
        b'0'..=b'9' => Some(Kind::Digit),
        b'-' | b'_' => Some(Kind::Symbol),
        _ => None,
    });
    let Some(kinds) = kinds.collect::<Option<smallvec::SmallVec<[Kind; BASE64_LENGTH]>>>() else { return false };
    [Kind::Upper, Kind::Lower, Kind::Digit].iter().all(|kind| kinds.contains(kind))
        && kinds.windows(2).filter(|pair| pair[0] != pair[1]).count() >= 4
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versioned_names_with_a_hash() {
        let names = [
            "app.3f9a1c2b",
            "app-3f9a1c2b7d",
            "app_3f9a1c2b",
            "app.55e7cbb9ba48",
            "main.3f9a1c2b.chunk",
            "app.3f9a1c2b.min",
            "app.3f9a1c2b.bundle.min",
            "application-d41d8cd98f00b204e9800998ecf8427e",
            "main-BxY7aQ2k",
            "main.BxY7aQ2k",
            "index-D_x-9aQ2",
        ];
        for name in names {
            assert!(has_content_hash(name), "{name}");
        }
    }

    #[test]
    fn versioned_names_without_a_hash() {
        let names = [
            "",
            "app",
            "3f9a1c2b",
            "BxY7aQ2k",
            "jquery-1.12.4.min",
            "bootstrap.bundle.min",
            "report-20240101",
            "IMG-20240101",
            "doc-20240101ab",
            "x.1700000000",
            "photo-deadbeef",
            "new-facade",
            "app-3f9a1c2",
            "app-3f9a1c2b7",
            "app-3F9A1C2B",
            "user-Settings",
            "user-settings",
            "app-DataGrid",
            "part-Section1",
            "chapter-release2",
            "app-5KXJ2YQZ",
            "app_BxY7aQ2k",
            "app-Bx%7aQ2k",
            "name-äöüß",
            "x-aäöüß",
        ];
        for name in names {
            assert!(!has_content_hash(name), "{name}");
        }
    }

    #[test]
    fn versioned_query_parameters() {
        let table = [
            ("v=1", true),
            ("a=b&ver=6.4.2", true),
            ("version=x", true),
            ("hash=abc&b", true),
            ("", false),
            ("v", false),
            ("v=", false),
            ("video=1", false),
            ("V=1", false),
            ("a=v=1", false),
        ];
        for (query, expected) in table {
            assert_eq!(has_version_parameter(query), expected, "{query}");
        }
    }

    proptest! {
        #[test]
        fn versioned_never_panics(text in "(.|[a-zA-Z0-9._-]){0,24}") {
            has_content_hash(&text);
            has_version_parameter(&text);
        }
    }
}
