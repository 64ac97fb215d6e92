//! Values of upstreams: statuses, paths, what is hashed, what a body must have in it.

use http::HeaderName;
use http::uri::PathAndQuery;

use super::regex;
use crate::config::scalar::{Invalid, Scalar};
use crate::config::settings::{BodyPattern, HashBy, StatusRange};

/// A path of a URL, with its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct UrlPath(pub(in crate::config) String);

impl Scalar for UrlPath {
    const FORMAT: &'static str = "url-path";
    const WHAT: &'static str = "a path";
    const PATTERN: Option<&'static str> = Some("^/");

    fn parse(text: &str) -> Result<Self, Invalid> {
        match text.parse::<PathAndQuery>() {
            Ok(path) if text.starts_with('/') => Ok(UrlPath(path.as_str().to_owned())),
            _ => Err(Invalid::new(format!("`{text}` is no path")).help("write e.g. `/healthz`")),
        }
    }
}

impl Scalar for StatusRange {
    const FORMAT: &'static str = "statuses";
    const WHAT: &'static str = "a status, or a range of such";
    const PATTERN: Option<&'static str> = Some("^[1-5]([0-9][0-9](-[1-5][0-9][0-9])?|xx)$");

    fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(format!("`{text}` is no status")).help("write `200`, `2xx` or `200-399`");
        let status = |text: &str| text.parse().ok().filter(|status| (100..600).contains(status)).ok_or_else(invalid);
        if let Some(class) = text.strip_suffix("xx") {
            let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class)).ok_or_else(invalid)?;
            return Ok(StatusRange(class * 100, class * 100 + 99));
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (status(first)?, status(last)?);
        if first > last { Err(invalid()) } else { Ok(StatusRange(first, last)) }
    }
}

impl Scalar for BodyPattern {
    const FORMAT: &'static str = "body-pattern";
    const WHAT: &'static str = "a text or `~ regex`";

    fn parse(text: &str) -> Result<Self, Invalid> {
        match text.strip_prefix('~') {
            Some(expression) => regex(expression.trim_start()).map(BodyPattern::Matches),
            None => Ok(BodyPattern::Contains(text.to_owned())),
        }
    }
}

impl Scalar for HashBy {
    const FORMAT: &'static str = "hash-by";
    const WHAT: &'static str = "`url`, `client`, `header NAME` or `cookie NAME`";

    fn parse(text: &str) -> Result<Self, Invalid> {
        match text.split_once(' ').map(|(kind, name)| (kind, name.trim())) {
            None if text == "url" => Ok(HashBy::Url),
            None if text == "client" => Ok(HashBy::Client),
            Some(("header", name)) => HeaderName::parse(name).map(HashBy::Header),
            Some(("cookie", name)) if !name.is_empty() => Ok(HashBy::Cookie(name.to_owned())),
            _ => Err(Invalid::new(format!("`{text}` names nothing to hash"))
                .help("write `url`, `client`, `header NAME` or `cookie NAME`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read() {
        for (text, first, last) in [("200", 200, 200), ("2xx", 200, 299), ("200-399", 200, 399), ("5xx", 500, 599)] {
            assert_eq!(StatusRange::parse(text), Ok(StatusRange(first, last)), "{text}");
        }
        for text in ["", "20", "6xx", "xx", "399-200", "200-", "-200", "2000"] {
            assert!(StatusRange::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_hashed_is_read() {
        assert_eq!(HashBy::parse("url"), Ok(HashBy::Url));
        assert_eq!(HashBy::parse("header X-User"), Ok(HashBy::Header(HeaderName::from_static("x-user"))));
        assert_eq!(HashBy::parse("cookie sid"), Ok(HashBy::Cookie("sid".to_owned())));
        for text in ["", "header", "cookie ", "header a b", "path"] {
            assert!(HashBy::parse(text).is_err(), "{text}");
        }
    }
}
