//! Static-file classes: responses that deserve long freshness, recognised by extension AND Content-Type.
//!
//! The extension alone proves nothing: `/account/x.css` may well show the account page. Paths whose last segment means
//! one thing to larder and may mean another to the upstream never match at all.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::{media_type, versioned};
use crate::config::settings::StaticClass;

/// The class of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match<'a> {
    /// Its class.
    pub class: &'a StaticClass,
    /// Its URL names one version for ever, and the class has a lifetime for such URLs.
    pub versioned: bool,
}

impl Match<'_> {
    /// Freshness lifetime given to browsers and to the cache.
    pub fn max_age(&self) -> Duration {
        self.class.versioned_max_age.filter(|_| self.versioned).unwrap_or(self.class.max_age)
    }

    /// The Cache-Control to send: `public, max-age=…`, with `immutable` (RFC 8246) for versioned URLs. Not `public`
    /// where cookies may make the answer one person's.
    pub fn cache_control(&self) -> HeaderValue {
        let public = if self.class.with_cookies { "public, " } else { "" };
        let immutable = if self.versioned { ", immutable" } else { "" };
        HeaderValue::try_from(format!("{public}max-age={}{immutable}", self.max_age().as_secs()))
            .expect("words and digits are a field value")
    }
}

/// The first class whose extension and Content-Type both match; `path` and `query` as received.
pub fn classify<'a>(
    classes: &'a [Arc<StaticClass>],
    path: &str,
    query: Option<&str>,
    content_type: Option<&HeaderValue>,
) -> Option<Match<'a>> {
    let file = FileName::of(path)?;
    let mut candidates = classes.iter().filter(|class| file.has_extension_of(class)).peekable();
    // The cheap question first: most responses are no files, as their extension shows.
    candidates.peek().filter(|_| is_unambiguous(path))?;
    let essence = media_type::essence(content_type?)?;
    let class = candidates.find(|class| class.types.iter().any(|pattern| media_type::matches(pattern, essence)))?;
    let versioned = class.versioned_max_age.is_some()
        && (versioned::has_content_hash(file.stem) || query.is_some_and(versioned::has_version_parameter));
    Some(Match { class, versioned })
}

/// Whether a response may turn out to be of a class, judged by the path alone, before there is one.
pub fn is_candidate(classes: &[Arc<StaticClass>], path: &str) -> bool {
    FileName::of(path).is_some_and(|file| classes.iter().any(|class| file.has_extension_of(class)))
        && is_unambiguous(path)
}

/// The last segment of a path, without `;parameters`.
#[derive(Debug)]
struct FileName<'a> {
    stem: &'a str,
    extension: &'a str,
}

impl<'a> FileName<'a> {
    /// `None`: there is none. Upstreams may disagree with us about it where the path is not
    /// [unambiguous](is_unambiguous).
    fn of(path: &'a str) -> Option<Self> {
        let segment = path.rsplit('/').next()?;
        // `/account;x.css` is `/account` to upstreams that know path parameters (RFC 3986 §3.3).
        let name = segment.split(';').next()?;
        let (stem, extension) = name.rsplit_once('.')?;
        (!stem.is_empty()).then_some(FileName { stem, extension })
    }

    fn has_extension_of(&self, class: &StaticClass) -> bool {
        class.extensions.iter().any(|extension| extension.eq_ignore_ascii_case(self.extension))
    }
}

/// Whether every upstream reads the same segments out of a path: no dot segments, no backslash, and no encoded byte
/// that would cut the path or a name once it is decoded (or decoded twice).
fn is_unambiguous(path: &str) -> bool {
    let bytes = path.as_bytes();
    let clear = bytes.iter().enumerate().all(|(at, &byte)| match byte {
        b'%' => encoded_byte(bytes, at).is_some_and(|byte| !cuts(byte)),
        b'\\' => false,
        _ => !byte.is_ascii_control(),
    });
    clear && path.split('/').all(|segment| !matches!(segment.split(';').next(), Some("." | "..")))
}

/// Whether a byte, when it appears by decoding, ends or changes a name for some upstream.
fn cuts(byte: u8) -> bool {
    byte.is_ascii_control() || b"/\\.;?#%".contains(&byte)
}

/// The byte that the percent-encoding at `at` stands for; `None`: it is malformed.
fn encoded_byte(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |offset: usize| char::from(*bytes.get(at + offset)?).to_digit(16);
    u8::try_from(digit(1)? * 16 + digit(2)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn classes() -> Vec<Arc<StaticClass>> {
        let class = |name: &str, extensions: &[&str], types: &[&str], days: u64, versioned: Option<u64>| {
            Arc::new(StaticClass {
                name: name.into(),
                extensions: extensions.iter().map(|&extension| extension.into()).collect(),
                types: types.iter().map(|&media_type| media_type.into()).collect(),
                max_age: Duration::from_secs(days * 86400),
                versioned_max_age: versioned.map(|days| Duration::from_secs(days * 86400)),
                override_upstream: false,
                with_cookies: true,
            })
        };
        vec![
            class("images", &["png", "svg"], &["image/*"], 30, Some(365)),
            class("code", &["css", "js"], &["text/css", "text/javascript"], 7, Some(365)),
            class("documents", &["pdf"], &["application/pdf"], 1, None),
        ]
    }

    fn class_of(path: &str, content_type: Option<&'static str>) -> Option<String> {
        let content_type = content_type.map(HeaderValue::from_static);
        classify(&classes(), path, None, content_type.as_ref()).map(|found| found.class.name.clone())
    }

    #[test]
    fn static_files_need_extension_and_type() {
        let table = [
            ("/a/app.css", Some("text/css"), Some("code")),
            ("/app.CSS", Some("Text/CSS; charset=utf-8"), Some("code")),
            ("/logo.png", Some("image/webp"), Some("images")),
            ("/app.css;jsessionid=1", Some("text/css"), Some("code")),
            ("/a%20b/my%20file.css", Some("text/css"), Some("code")),
            ("/ünïcode.css", Some("text/css"), Some("code")),
            ("/app.css", Some("text/html"), None),
            ("/app.css", Some("image/png"), None),
            ("/app.css", None, None),
            ("/app.css", Some("css"), None),
            ("/app", Some("text/css"), None),
            ("/app.css/", Some("text/css"), None),
            ("/.css", Some("text/css"), None),
            ("/app.css.php", Some("text/css"), None),
            ("/app.", Some("text/css"), None),
            ("", Some("text/css"), None),
        ];
        for (path, content_type, expected) in table {
            assert_eq!(class_of(path, content_type).as_deref(), expected, "{path} {content_type:?}");
        }
    }

    #[test]
    fn static_files_never_match_ambiguous_paths() {
        let paths = [
            "/account;x.css",
            "/account%2fx.css",
            "/account%2F..%2Fx.css",
            "/account%5cx.css",
            "/account\\x.css",
            "/account%00.css",
            "/account%0a.css",
            "/account%3b.css",
            "/account%3fx.css",
            "/account%23x.css",
            "/account%252fx.css",
            "/account%2ecss",
            "/static/..%2faccount/x.css",
            "/static/../account/x.css",
            "/static/..;/account/x.css",
            "/static/./x.css",
            "/%2e%2e/x.css",
            "/x%.css",
            "/x%2.css",
            "/x%zz.css",
        ];
        for path in paths {
            assert_eq!(class_of(path, Some("text/css")), None, "{path}");
            assert!(!is_candidate(&classes(), path), "{path}");
        }
    }

    #[test]
    fn static_files_candidates_by_extension_alone() {
        let table = [("/a/x.css", true), ("/x.PNG", true), ("/x.html", false), ("/", false), ("/css", false)];
        for (path, expected) in table {
            assert_eq!(is_candidate(&classes(), path), expected, "{path}");
        }
    }

    #[test]
    fn static_files_cache_control_of_versioned_urls() {
        let (week, year) = ("public, max-age=604800", "public, max-age=31536000, immutable");
        let table = [
            ("/app.css", None, "text/css", week),
            ("/app.3f9a1c2b.css", None, "text/css", year),
            ("/app.css", Some("v=3"), "text/css", year),
            ("/app.css", Some("page=3"), "text/css", week),
            ("/app.css;v=3", None, "text/css", week),
            ("/r.3f9a1c2b.pdf", Some("v=3"), "application/pdf", "public, max-age=86400"),
        ];
        for (path, query, content_type, expected) in table {
            let classes = classes();
            let found = classify(&classes, path, query, Some(&HeaderValue::from_static(content_type)));
            assert_eq!(found.map(|found| found.cache_control()), Some(HeaderValue::from_static(expected)), "{path}");
        }
    }

    proptest! {
        #[test]
        fn static_files_never_panic(path in "(.|[a-z%./;0-9]){0,32}", query in ".{0,16}") {
            let css = HeaderValue::from_static("text/css");
            classify(&classes(), &path, Some(&query), Some(&css));
        }

        #[test]
        fn static_files_classified_are_candidates(path in "/[a-z.%2f;/]{0,16}\\.(css|js|html)") {
            let css = HeaderValue::from_static("text/css");
            if classify(&classes(), &path, None, Some(&css)).is_some() {
                prop_assert!(is_candidate(&classes(), &path));
            }
        }
    }
}
