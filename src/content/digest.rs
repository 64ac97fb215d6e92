//! What changes in a response's fields when larder codes its content.

use http::header::{ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderName, VARY};
use http::{HeaderMap, HeaderValue};

use super::etag;
use crate::config::settings::Coding;

/// Fields that state a digest of the bytes sent: RFC 9530 §2 and §3, RFC 3230 §4.3.2, RFC 1864.
pub const DIGEST_FIELDS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Those of them that state a digest of the message's content.
pub const CONTENT_DIGESTS: [HeaderName; 2] =
    [HeaderName::from_static("content-digest"), HeaderName::from_static("content-md5")];

/// Makes the fields of an uncoded response those of its coded variant (RFC 9110 §8.4, §12.5.5).
pub fn apply_coding(headers: &mut HeaderMap, coding: Coding) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
    headers.remove(CONTENT_LENGTH);
    // Coded bytes are made as they stream: until they are stored nobody can seek in them.
    headers.remove(ACCEPT_RANGES);
    if let Some(tag) = headers.get(ETAG) {
        let coded = etag::for_coding(tag, coding);
        headers.insert(ETAG, coded);
    }
    remove_digests(headers);
    vary_on_accept_encoding(headers);
}

/// Removes the digests of bytes that a coding replaces; also for trailers. Repr-Digest goes with them: it covers the
/// representation with its coding (RFC 9530 §3).
pub fn remove_digests(fields: &mut HeaderMap) {
    for name in &DIGEST_FIELDS {
        fields.remove(name);
    }
}

/// Removes the digests of a message's content (RFC 9530 §2, RFC 1864), for a message that has other content than the
/// one they came with: a part, or none. Those of the representation stay true.
pub fn remove_content_digests(fields: &mut HeaderMap) {
    for name in &CONTENT_DIGESTS {
        fields.remove(name);
    }
}

/// Says that the response depends on Accept-Encoding, unless it says so already. Belongs on the uncoded variant of a
/// response that may be coded as well (RFC 9110 §12.5.5).
pub fn vary_on_accept_encoding(headers: &mut HeaderMap) {
    if !headers.get_all(VARY).iter().any(|value| varies_on_accept_encoding(value.as_bytes())) {
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// Whether a line of Vary says so.
pub fn varies_on_accept_encoding(vary: &[u8]) -> bool {
    let mut names = vary.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    names.any(|name| name == b"*" || name.eq_ignore_ascii_case(ACCEPT_ENCODING.as_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = fields.iter().map(|&(name, value)| (name, HeaderValue::from_static(value)));
        pairs.map(|(name, value)| (HeaderName::from_static(name), value)).collect()
    }

    #[test]
    fn digest_apply_coding_rewrites_the_fields() {
        let mut coded = headers(&[
            ("content-type", "text/css"),
            ("content-encoding", "identity"),
            ("content-length", "5000"),
            ("accept-ranges", "bytes"),
            ("etag", "\"x\""),
            ("content-digest", "sha-256=:AA==:"),
            ("repr-digest", "sha-256=:AA==:"),
            ("digest", "sha-256=AA=="),
            ("content-md5", "AA=="),
        ]);
        apply_coding(&mut coded, Coding::Brotli);
        let expected = headers(&[
            ("content-type", "text/css"),
            ("content-encoding", "br"),
            ("etag", "W/\"x~br\""),
            ("vary", "Accept-Encoding"),
        ]);
        assert_eq!(coded, expected);
    }

    #[test]
    fn digest_apply_coding_keeps_weak_tags() {
        let mut coded = headers(&[("etag", "W/\"x\"")]);
        apply_coding(&mut coded, Coding::Gzip);
        assert_eq!(coded["etag"], "W/\"x\"");
    }

    #[test]
    fn digest_vary_rfc9110_12_5_5() {
        let table: &[(&[&'static str], &[&str])] = &[
            (&[], &["Accept-Encoding"]),
            (&["Cookie"], &["Cookie", "Accept-Encoding"]),
            (&["Cookie, accept-encoding"], &["Cookie, accept-encoding"]),
            (&["Cookie", "Accept-Encoding"], &["Cookie", "Accept-Encoding"]),
            (&["*"], &["*"]),
            (&["X-Accept-Encoding"], &["X-Accept-Encoding", "Accept-Encoding"]),
        ];
        for (before, after) in table {
            let mut headers: HeaderMap = before.iter().map(|value| (VARY, HeaderValue::from_static(value))).collect();
            vary_on_accept_encoding(&mut headers);
            let values: Vec<_> = headers.get_all(VARY).iter().collect();
            assert_eq!(values, *after, "{before:?}");
        }
    }
}
