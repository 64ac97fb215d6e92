//! Which fields may stand behind a body (RFC 9110 §6.5).

use http::HeaderMap;

use super::fields;

/// What has to be known before the content, or is larder's own to say: framing, routing,
/// authentication, request modifiers, response control, the format of the content (RFC 9110 §6.5.1). Who joins trailers
/// to the fields in front, as some programs do, would take them for those.
const NEVER: [&str; 38] = [
    "age",
    "authorization",
    "cache-control",
    "cdn-cache-control",
    "clear-site-data",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "range",
    "refresh",
    "retry-after",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "surrogate-control",
    "trailer",
    "vary",
    "via",
    "warning",
    "www-authenticate",
];

/// Removes what may not stand behind a body: that, and what ends at this hop. Programs that write `_` for `-` read both
/// as one.
pub fn keep_allowed(trailers: &mut HeaderMap) {
    fields::remove_where(trailers, |name| {
        let name = name.as_str();
        let dashed = if name.contains('_') { &*name.replace('_', "-") } else { name };
        NEVER.binary_search(&dashed).is_ok() || fields::ends_here(dashed)
    });
}

#[cfg(test)]
mod tests {
    use super::super::sample::headers;
    use super::*;

    #[test]
    fn trailers_say_nothing_that_belongs_in_front() {
        assert!(NEVER.is_sorted());
        let mut trailers = headers(&[
            ("grpc-status", "0"),
            ("server-timing", "db"),
            ("etag", "\"1\""),
            ("digest", "x"),
            ("set-cookie", "a=b"),
            ("content-length", "3"),
            ("content_length", "3"),
            ("connection", "close"),
            ("host", "evil.test"),
            ("authorization", "x"),
        ]);
        keep_allowed(&mut trailers);
        let kept: Vec<_> = trailers.keys().map(http::HeaderName::as_str).collect();
        assert_eq!(kept, ["grpc-status", "server-timing", "etag", "digest"]);
    }
}
