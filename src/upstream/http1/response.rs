//! The head of a response as a server sends it (RFC 9112 §4 and §5), read strictly: what other programs might read in
//! another way is refused.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::ext::ReasonPhrase;
use memchr::memchr;

use super::body::{Body, Decoder};
use crate::upstream::framing::{self, Framing, FramingFields};

/// Most fields of a head, or of a trailer section.
const MAX_FIELDS: usize = 100;

/// Room for the fields of most responses, and for those that larder adds, without a map that grows.
const USUAL_FIELDS: usize = 24;

/// What a request says about how the answer to it is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    head: bool,
    upgrade: bool,
}

impl Asked {
    pub(super) fn by<B>(request: &Request<B>) -> Self {
        Asked { head: request.method() == Method::HEAD, upgrade: framing::asks_upgrade(request) }
    }

    /// What HEAD or GET says that asks for nothing else.
    pub(super) fn of_method(head: bool) -> Self {
        Asked { head, upgrade: false }
    }
}

/// Whether `bytes` can be the beginning of a response.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    bytes.iter().zip(b"HTTP/1.").all(|(byte, expected)| byte == expected)
}

/// Where the head ends, its empty line included; the first `scanned` bytes have been looked at before. A bare LF counts
/// as the end of a line here, so that the head that has it is found, and refused.
pub(super) fn end(bytes: &[u8], scanned: usize) -> Option<usize> {
    let mut from = scanned.saturating_sub(2);
    loop {
        let at = from + memchr(b'\n', &bytes[from..])?;
        match bytes[at + 1..] {
            [b'\n', ..] => return Some(at + 2),
            [b'\r', b'\n', ..] => return Some(at + 3),
            _ => from = at + 1,
        }
    }
}

/// Reads a head, which ends with its empty line.
///
/// # Errors
/// Why it is none.
pub(super) fn parse(head: Bytes) -> Result<(Response<()>, FramingFields), &'static str> {
    let mut response = Response::new(());
    let line_end = memchr(b'\n', &head).ok_or("no status line")?;
    let line = head[..line_end].strip_suffix(b"\r").ok_or("bare LF")?;
    parse_status_line(line, &mut response)?;
    let mut framing = FramingFields::default();
    let headers = response.headers_mut();
    parse_fields(&head, line_end + 1, headers, |name, value| framing.note(name, value))?;
    Ok((response, framing))
}

/// RFC 9112 §4: `HTTP-version SP status-code SP [reason-phrase]`. The second space may be missing, as it is where
/// servers leave the phrase out.
fn parse_status_line(line: &[u8], response: &mut Response<()>) -> Result<(), &'static str> {
    *response.version_mut() = match line.get(..9) {
        Some(b"HTTP/1.1 ") => Version::HTTP_11,
        Some(b"HTTP/1.0 ") => Version::HTTP_10,
        _ => return Err("no status line of HTTP/1"),
    };
    let code = line.get(9..12).and_then(|code| StatusCode::from_bytes(code).ok()).ok_or("no status code")?;
    *response.status_mut() = code;
    let reason = match line.get(12..) {
        None | Some([] | [b' ']) => return Ok(()),
        Some([b' ', reason @ ..]) => reason,
        Some(_) => return Err("no status code"),
    };
    if code.canonical_reason().is_none_or(|canonical| canonical.as_bytes() != reason) {
        let phrase = ReasonPhrase::try_from(reason).map_err(|_| "control character in the reason phrase")?;
        response.extensions_mut().insert(phrase);
    }
    Ok(())
}

/// RFC 9112 §5: field lines from `at` on, up to the empty line. No folded lines, no bare CR or LF, no control
/// characters. White space behind a name is taken away, as §5.1 has it. Values share the bytes of `section`.
pub(super) fn parse_fields(
    section: &Bytes,
    mut at: usize,
    headers: &mut HeaderMap,
    mut seen: impl FnMut(&HeaderName, &HeaderValue) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    headers.reserve(USUAL_FIELDS);
    for count in 0.. {
        let rest = &section[at..];
        let length = memchr(b'\n', rest).ok_or("no end of the fields")?;
        let line = rest[..length].strip_suffix(b"\r").ok_or("bare LF")?;
        if line.is_empty() {
            break;
        }
        if count == MAX_FIELDS {
            return Err("too many fields");
        }
        let colon = memchr(b':', line).ok_or("a field without a colon")?;
        let name = without_trailing_space(&line[..colon]);
        let name = HeaderName::from_bytes(name).map_err(|_| "no field name")?;
        let value = trimmed(line, colon + 1);
        let value = section.slice(at + value.start..at + value.end);
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| "control character in a field")?;
        seen(&name, &value)?;
        headers.append(name, value);
        at += length + 1;
    }
    Ok(())
}

/// Where a line's value lies behind its colon, without the white space around it.
fn trimmed(line: &[u8], from: usize) -> std::ops::Range<usize> {
    let start = from + line[from..].iter().take_while(|byte| is_space(byte)).count();
    start..start + without_trailing_space(&line[start..]).len()
}

fn without_trailing_space(text: &[u8]) -> &[u8] {
    &text[..text.iter().rposition(|byte| !is_space(byte)).map_or(0, |last| last + 1)]
}

/// OWS of RFC 9110 §5.6.3.
fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// How the content behind a head ends (RFC 9112 §6.3), of which `buffered` has come already.
///
/// # Errors
/// The head leaves doubt about it.
pub(super) fn frame(
    mut response: Response<()>,
    fields: &FramingFields,
    asked: Asked,
    buffered: Bytes,
) -> Result<Response<Body>, &'static str> {
    let length = fields.conclude(&mut response, asked.upgrade)?;
    let status = response.status();
    let has_none =
        asked.head || status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let decoder = match length {
        _ if has_none => Decoder::length(0),
        Some(length) => Decoder::length(length),
        None if fields.chunked => Decoder::chunked(),
        None => Decoder::until_close(),
    };
    let close_delimited = !has_none && length.is_none() && !fields.chunked;
    let reusable = response.version() == Version::HTTP_11
        && status != StatusCode::SWITCHING_PROTOCOLS
        && !close_delimited
        && !fields.close;
    Ok(response.map(|()| Body::new(decoder, buffered, Framing { reusable, close_delimited })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Result<(Response<()>, FramingFields), &'static str> {
        assert_eq!(end(head.as_bytes(), 0), Some(head.len()), "{head:?}");
        parse(Bytes::copy_from_slice(head.as_bytes()))
    }

    #[test]
    fn end_of_a_head_is_found_wherever_it_is_cut() {
        let bytes = b"HTTP/1.1 200 OK\r\na: b\r\n\r\nrest\r\n\r\n";
        let length = bytes.len() - 8;
        for cut in 0..=bytes.len() {
            let known = end(&bytes[..cut], 0);
            assert_eq!(known, (cut >= length).then_some(length));
            if known.is_none() {
                assert_eq!(end(bytes, cut), Some(length), "cut at {cut}");
            }
        }
        assert_eq!(end(b"HTTP/1.1 200 OK\na: b\n\nrest", 0), Some(22));
    }

    #[test]
    fn status_lines_are_those_of_rfc_9112_section_4() {
        for (line, expected) in [
            ("HTTP/1.1 200 OK", Some((200, true))),
            ("HTTP/1.0 404 Not Found", Some((404, false))),
            ("HTTP/1.1 204", Some((204, true))),
            ("HTTP/1.1 204 ", Some((204, true))),
            ("HTTP/1.1 599 \tna\u{ef}ve phrase", Some((599, true))),
            ("HTTP/1.1 099 OK", None),
            ("HTTP/1.1 20 OK", None),
            ("HTTP/1.1 2000 OK", None),
            ("HTTP/1.1 200OK", None),
            ("HTTP/1.1  200 OK", None),
            ("HTTP/1.1\t200 OK", None),
            ("HTTP/1.1 +20 OK", None),
            ("HTTP/1.1 200 O\0K", None),
            ("HTTP/1.1 200 O\rK", None),
            ("HTTP/1.2 200 OK", None),
            ("HTTP/2.0 200 OK", None),
            ("http/1.1 200 OK", None),
            (" HTTP/1.1 200 OK", None),
            ("ICY 200 OK", None),
        ] {
            let read = read(&format!("{line}\r\n\r\n")).ok();
            let seen = read.map(|(head, _)| (head.status().as_u16(), head.version() == Version::HTTP_11));
            assert_eq!(seen, expected, "{line:?}");
        }
    }

    #[test]
    fn phrase_that_is_not_the_usual_one_is_kept() {
        for (line, expected) in [("HTTP/1.1 200 OK", None), ("HTTP/1.1 200 Fine", Some("Fine"))] {
            let (head, _) = read(&format!("{line}\r\n\r\n")).unwrap();
            let phrase = head.extensions().get::<ReasonPhrase>().map(ReasonPhrase::as_bytes);
            assert_eq!(phrase, expected.map(str::as_bytes));
        }
    }

    #[test]
    fn field_lines_are_those_of_rfc_9112_section_5() {
        for (lines, expected) in [
            ("a: b\r\n", Some("b")),
            ("A:b\r\n", Some("b")),
            ("a: \t b c\t \r\n", Some("b c")),
            ("a:\r\n", Some("")),
            ("a: \r\n", Some("")),
            ("a: b:c\r\n", Some("b:c")),
            ("a: \u{ef}\r\n", Some("\u{ef}")),
            ("!#$%&'*+-.^_`|~09az: x\r\na: b\r\n", Some("b")),
            ("a : b\r\n", Some("b")),
            ("a \t : b\r\n", Some("b")),
            (" : b\r\n", None),
            ("a\x0c: b\r\n", None),
            (" a: b\r\n", None),
            ("a: b\r\n folded\r\n", None),
            ("a: b\r\n\tfolded\r\n", None),
            ("a b: c\r\n", None),
            ("a\r\n", None),
            (": b\r\n", None),
            ("a: b\n", None),
            ("a: b\nc: d\r\n", None),
            ("a: b\rc\r\n", None),
            ("a: b\r\r\n", None),
            ("a: b\0c\r\n", None),
            ("a: b\x01c\r\n", None),
            ("a: b\x7fc\r\n", None),
            ("a\0: b\r\n", None),
            ("\u{ef}: b\r\n", None),
            ("a\"(): b\r\n", None),
        ] {
            let read = read(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).ok();
            let seen = read.map(|(head, _)| head.headers()["a"].as_bytes().to_vec());
            assert_eq!(seen, expected.map(|value| value.as_bytes().to_vec()), "{lines:?}");
        }
    }

    #[test]
    fn fields_are_at_most_a_hundred() {
        for (count, accepted) in [(100, true), (101, false)] {
            assert_eq!(read(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(count))).is_ok(), accepted);
        }
    }

    #[test]
    fn content_ends_as_rfc_9112_section_6_3_says() {
        let get = Asked { head: false, upgrade: false };
        let head = Asked { head: true, upgrade: false };
        let upgrade = Asked { head: false, upgrade: true };
        for (asked, bytes, expected) in [
            (get, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n", Some((Some(5), true))),
            (get, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n", Some((None, true))),
            (get, "HTTP/1.1 200 OK\r\n", Some((None, false))),
            (get, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n", Some((Some(5), false))),
            (get, "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n", Some((Some(5), false))),
            (get, "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n", None),
            (get, "HTTP/1.1 204 No Content\r\n", Some((Some(0), true))),
            (get, "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n", Some((Some(0), true))),
            (head, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n", Some((Some(0), true))),
            (head, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n", Some((Some(0), true))),
            (head, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n", None),
            (get, "HTTP/1.1 101 Switching Protocols\r\n", None),
            (upgrade, "HTTP/1.1 101 Switching Protocols\r\n", Some((Some(0), false))),
        ] {
            let (response, fields) = read(&format!("{bytes}\r\n")).unwrap();
            let framed = frame(response, &fields, asked, Bytes::new()).ok();
            let seen = framed.map(|response| (response.body().remaining(), response.body().framing().reusable));
            assert_eq!(seen, expected, "{bytes:?}");
        }
    }
}
