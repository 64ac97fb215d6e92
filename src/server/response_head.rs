//! The head of a response that is sent past hyper, and how its body is framed (RFC 9112 §6).

use http::{HeaderMap, Method, StatusCode, header};
use http_body::SizeHint;
use hyper::ext::ReasonPhrase;

/// How the end of a response's content is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// By its length in bytes.
    Length(u64),
    /// By its last chunk (RFC 9112 §7.1).
    Chunked,
}

/// Writes a head behind what `out` has, for an HTTP/1.1 client. `body`: how long it is, as far as that is known.
/// `reason`: the phrase that the app gave, where it is not the usual one.
pub(super) fn write(
    method: &Method,
    status: StatusCode,
    reason: Option<&ReasonPhrase>,
    headers: &HeaderMap,
    body: &SizeHint,
    out: &mut Vec<u8>,
) -> Framing {
    status_line(status, reason, out);
    for (name, value) in headers {
        // How it is framed is decided here.
        if *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING {
            field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    let told = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let length = body.exact().or(told);
    let framing = match length {
        // RFC 9112 §6.3: these have none, whatever their fields say.
        _ if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => Framing::None,
        // RFC 9110 §9.3.2: the fields say what a GET would get, where that is known.
        _ if *method == Method::HEAD => {
            if let Some(length) = told.or(length.filter(|length| *length > 0)) {
                content_length(out, length);
            }
            Framing::None
        }
        Some(length) => {
            content_length(out, length);
            Framing::Length(length)
        }
        None => {
            field(out, b"transfer-encoding", b"chunked");
            Framing::Chunked
        }
    };
    out.extend_from_slice(b"\r\n");
    framing
}

fn status_line(status: StatusCode, reason: Option<&ReasonPhrase>, out: &mut Vec<u8>) {
    if status == StatusCode::OK && reason.is_none() {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    // RFC 9112 §4: the space stands there without a reason, too.
    let usual = status.canonical_reason().unwrap_or("<none>").as_bytes();
    let reason = reason.map_or(usual, ReasonPhrase::as_bytes);
    for part in [b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

fn content_length(out: &mut Vec<u8>, length: u64) {
    field(out, b"content-length", itoa::Buffer::new().format(length).as_bytes());
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn framing_follows_method_status_and_length() {
        let known = SizeHint::with_exact;
        let unknown = SizeHint::default;
        for (method, status, told, body, framing, line) in [
            // RFC 9112 §6.2: a length where it is known, from the body or from the field.
            ("GET", 200, None, known(5), Framing::Length(5), "content-length: 5\r\n"),
            ("GET", 200, Some("5"), known(5), Framing::Length(5), "content-length: 5\r\n"),
            ("GET", 200, Some("5"), unknown(), Framing::Length(5), "content-length: 5\r\n"),
            ("GET", 200, None, known(0), Framing::Length(0), "content-length: 0\r\n"),
            ("GET", 404, None, known(0), Framing::Length(0), "content-length: 0\r\n"),
            ("GET", 205, None, known(0), Framing::Length(0), "content-length: 0\r\n"),
            // §7.1: chunks where it is not.
            ("GET", 200, None, unknown(), Framing::Chunked, "transfer-encoding: chunked\r\n"),
            ("GET", 200, Some("none"), unknown(), Framing::Chunked, "transfer-encoding: chunked\r\n"),
            // §6.3: no content, whatever is said.
            ("GET", 204, Some("5"), known(0), Framing::None, ""),
            ("GET", 204, None, unknown(), Framing::None, ""),
            ("GET", 304, Some("5"), known(0), Framing::None, ""),
            ("HEAD", 304, Some("5"), known(0), Framing::None, ""),
            ("HEAD", 200, Some("5"), known(0), Framing::None, "content-length: 5\r\n"),
            ("HEAD", 200, Some("0"), known(0), Framing::None, "content-length: 0\r\n"),
            ("HEAD", 200, None, known(5), Framing::None, "content-length: 5\r\n"),
            ("HEAD", 200, None, known(0), Framing::None, ""),
            ("HEAD", 200, None, unknown(), Framing::None, ""),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("a", HeaderValue::from_static("1"));
            headers.append("a", HeaderValue::from_static("2"));
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("gzip"));
            if let Some(told) = told {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static(told));
            }
            let status = StatusCode::from_u16(status).unwrap();
            let mut out = b"before".to_vec();
            let found = write(&method.parse().unwrap(), status, None, &headers, &body, &mut out);
            assert_eq!(found, framing, "{method} {status} {told:?} {body:?}");
            let reason = status.canonical_reason().unwrap();
            let expected = format!("beforeHTTP/1.1 {} {reason}\r\na: 1\r\na: 2\r\n{line}\r\n", status.as_u16());
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{method} {status} {told:?} {body:?}");
        }
    }
}
