//! Whether larder applies a content coding to a response at all, and if not, why.

use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::media_type;
use crate::config::settings::Compression;
use crate::policy::directives::ResponseDirectives;

/// Whether a response is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodingDecision {
    /// It may be coded, in what the client accepts.
    Code,
    /// It stays as it is.
    Leave(LeaveReason),
}

/// Why a response is not coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaveReason {
    /// Its status has no content: 1xx, 204, 205, 304 (RFC 9110 §6.4.1).
    Status,
    /// It is a part: 206 or with Content-Range (RFC 9110 §14.4), whose positions count uncoded bytes.
    Partial,
    /// `Cache-Control: no-transform` (RFC 9111 §5.2.2.6).
    NoTransform,
    /// The upstream coded it (RFC 9110 §8.4).
    Coded,
    /// It states no usable Content-Type.
    NoType,
    /// `text/event-stream`: events would wait in the encoder, and such a body never ends.
    EventStream,
    /// Its type is not among those configured.
    Type,
    /// It is smaller than configured.
    Small,
}

impl LeaveReason {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            LeaveReason::Status => "status",
            LeaveReason::Partial => "partial",
            LeaveReason::NoTransform => "no-transform",
            LeaveReason::Coded => "coded",
            LeaveReason::NoType => "no-type",
            LeaveReason::EventStream => "event-stream",
            LeaveReason::Type => "type",
            LeaveReason::Small => "small",
        }
    }
}

/// Decides about a response with a body of `size` bytes, or `None` where the size is not known beforehand.
pub fn judge(compression: &Compression, status: StatusCode, headers: &HeaderMap, size: Option<u64>) -> CodingDecision {
    match reason_to_leave(compression, status, headers, size) {
        Some(reason) => CodingDecision::Leave(reason),
        None => CodingDecision::Code,
    }
}

fn reason_to_leave(
    compression: &Compression,
    status: StatusCode,
    headers: &HeaderMap,
    size: Option<u64>,
) -> Option<LeaveReason> {
    if status.is_informational() || matches!(status.as_u16(), 204 | 205 | 304) {
        return Some(LeaveReason::Status);
    }
    if status == StatusCode::PARTIAL_CONTENT || headers.contains_key(CONTENT_RANGE) {
        return Some(LeaveReason::Partial);
    }
    if forbids_transformation(headers) {
        return Some(LeaveReason::NoTransform);
    }
    if is_coded(headers) {
        return Some(LeaveReason::Coded);
    }
    let Some(essence) = headers.get(CONTENT_TYPE).and_then(media_type::essence) else {
        return Some(LeaveReason::NoType);
    };
    if essence.eq_ignore_ascii_case("text/event-stream") {
        return Some(LeaveReason::EventStream);
    }
    if !compression.types.iter().any(|pattern| media_type::matches(pattern, essence)) {
        return Some(LeaveReason::Type);
    }
    size.is_some_and(|size| size < compression.min_size).then_some(LeaveReason::Small)
}

/// Whether the content has a coding other than `identity`; a value that cannot be read counts as one.
fn is_coded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|value| {
        let mut codings = value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
    })
}

fn forbids_transformation(headers: &HeaderMap) -> bool {
    let long_enough = |value: &HeaderValue| value.len() >= "no-transform".len();
    headers.get_all(CACHE_CONTROL).iter().any(long_enough) && ResponseDirectives::of_cache_control(headers).no_transform
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn compression() -> Compression {
        Compression {
            codings: Vec::new(),
            min_size: 1024,
            types: ["text/*", "application/json", "*+xml"].map(String::from).to_vec(),
        }
    }

    type Fields = &'static [(&'static str, &'static str)];

    fn decide(status: u16, fields: Fields, size: Option<u64>) -> CodingDecision {
        let headers = fields
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        judge(&compression(), StatusCode::from_u16(status).expect("test status"), &headers, size)
    }

    #[test]
    fn compressible_responses_are_coded() {
        const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");
        let table: &[(u16, Fields, Option<u64>)] = &[
            (200, &[HTML], Some(1024)),
            (200, &[HTML], None),
            (404, &[HTML], None),
            (200, &[("content-type", "application/json")], None),
            (200, &[("content-type", "image/svg+xml")], None),
            (200, &[HTML, ("content-encoding", "identity")], None),
            (200, &[HTML, ("cache-control", "max-age=5, public")], None),
            (200, &[HTML, ("cache-control", "ext=\"a, no-transform\"")], None),
            (200, &[HTML, ("cache-control", "ext=\"\\\", no-transform, \"")], None),
        ];
        for &(status, fields, size) in table {
            assert_eq!(decide(status, fields, size), CodingDecision::Code, "{status} {fields:?}");
        }
    }

    #[test]
    fn compressible_each_reason_to_leave() {
        use LeaveReason::*;
        const HTML: (&str, &str) = ("content-type", "text/html");
        let table: &[(u16, Fields, Option<u64>, LeaveReason)] = &[
            (101, &[HTML], None, Status),
            (204, &[HTML], None, Status),
            (205, &[HTML], None, Status),
            (304, &[HTML], None, Status),
            (206, &[HTML], None, Partial),
            (200, &[HTML, ("content-range", "bytes 0-1/2")], None, Partial),
            (416, &[HTML, ("content-range", "bytes */2")], None, Partial),
            (200, &[HTML, ("cache-control", "no-transform")], None, NoTransform),
            (200, &[HTML, ("cache-control", "max-age=1,No-Transform")], None, NoTransform),
            (200, &[HTML, ("cache-control", "public"), ("cache-control", "no-transform")], None, NoTransform),
            (200, &[HTML, ("cache-control", "max-age=1; no-transform")], None, NoTransform),
            (200, &[HTML, ("content-encoding", "gzip")], None, Coded),
            (200, &[HTML, ("content-encoding", "identity, br")], None, Coded),
            (200, &[], None, NoType),
            (200, &[("content-type", "html")], None, NoType),
            (200, &[("content-type", "text/event-stream")], None, EventStream),
            (200, &[("content-type", "image/png")], None, Type),
            (200, &[HTML], Some(1023), Small),
        ];
        for &(status, fields, size, reason) in table {
            assert_eq!(decide(status, fields, size), CodingDecision::Leave(reason), "{status} {fields:?}");
        }
    }

    proptest! {
        #[test]
        fn compressible_never_panics(value in proptest::collection::vec(0x20u8..=0xff, 0..48)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let headers = [CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE].map(|name| (name, value.clone()));
                judge(&compression(), StatusCode::OK, &headers.into_iter().collect(), None);
            }
        }
    }
}
