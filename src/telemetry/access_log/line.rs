//! One record as one line of the access log, whatever bytes the client sent.

use std::borrow::Cow;
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use http::Version;

use super::super::date::LastSecond;
use super::super::record::{Reason, RequestRecord, Told};

/// One finished request as the log tells it.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The route's name.
    pub route: &'a str,
    /// The upstream's name, when it was asked.
    pub upstream: Option<&'a str>,
    /// What metrics are told as well.
    pub record: &'a RequestRecord,
    /// What only the log is told.
    pub told: Told<'a>,
}

/// Puts one JSON object and a newline; absent fields are left out. Bytes that are no UTF-8 appear as `\xNN`, spelled out.
pub(super) fn json(to: &mut Vec<u8>, clock: &mut LastSecond, line: &Line<'_>) {
    let Line { route, upstream, record, told } = line;
    to.extend_from_slice(b"{\"time\":\"");
    to.extend_from_slice(clock.rfc3339(record.started));
    to.extend_from_slice(b"\",\"client\":\"");
    address(to, record.client);
    // Of a method's letters (RFC 9110 §5.6.2) and of our own words none is to be escaped.
    to.extend_from_slice(b"\",\"method\":\"");
    to.extend_from_slice(record.method.as_str().as_bytes());
    to.extend_from_slice(b"\",\"scheme\":\"");
    to.extend_from_slice(record.scheme.as_bytes());
    to.extend_from_slice(b"\"");
    text_field(to, b",\"host\":\"", told.host);
    text_field(to, b",\"target\":\"", told.target);
    to.extend_from_slice(b",\"version\":\"");
    to.extend_from_slice(protocol(record.version).as_bytes());
    to.extend_from_slice(b"\",\"status\":");
    to.extend_from_slice(record.status.as_str().as_bytes());
    word_field(to, b",\"outcome\":\"", Some(record.outcome.word()));
    word_field(to, b",\"reason\":\"", record.reason.map(Reason::word));
    word_field(to, b",\"no_store\":\"", record.no_store.map(|reason| reason.word()));
    number_field(to, b",\"ttl\":", record.ttl);
    number_field(to, b",\"age\":", told.age);
    text_field(to, b",\"route\":\"", Some(route.as_bytes()));
    text_field(to, b",\"upstream\":\"", upstream.map(str::as_bytes));
    seconds_field(to, b",\"upstream_first_byte_seconds\":", record.upstream_first_byte);
    seconds_field(to, b",\"duration_seconds\":", Some(record.duration));
    number_field(to, b",\"bytes_in\":", Some(record.bytes_in));
    number_field(to, b",\"bytes_out\":", Some(record.bytes_out));
    to.extend_from_slice(if record.cut { b",\"cut\":true" } else { b",\"cut\":false" });
    text_field(to, b",\"referer\":\"", told.referer);
    text_field(to, b",\"user_agent\":\"", told.user_agent);
    text_field(to, b",\"request_id\":\"", told.request_id);
    to.extend_from_slice(b"}\n");
}

/// Puts the combined format, followed by the cache outcome, its reason, and the seconds to the upstream's first byte; `-`
/// where there is none.
pub(super) fn combined(to: &mut Vec<u8>, clock: &mut LastSecond, line: &Line<'_>) {
    let Line { record, told, .. } = line;
    address(to, record.client);
    to.extend_from_slice(b" - - [");
    to.extend_from_slice(clock.clf(record.started));
    to.extend_from_slice(b"] \"");
    match told.target {
        Some(target) => {
            escape(to, record.method.as_str().as_bytes());
            to.extend_from_slice(b" ");
            escape(to, target);
            to.extend_from_slice(b" ");
            to.extend_from_slice(protocol(record.version).as_bytes());
        }
        None => to.extend_from_slice(b"-"),
    }
    to.extend_from_slice(b"\" ");
    to.extend_from_slice(record.status.as_str().as_bytes());
    to.extend_from_slice(b" ");
    number(to, record.bytes_out);
    for field in [told.referer, told.user_agent] {
        to.extend_from_slice(b" \"");
        escape(to, field.unwrap_or(b"-"));
        to.extend_from_slice(b"\"");
    }
    for word in [record.outcome.word(), record.reason.map_or("-", Reason::word)] {
        to.extend_from_slice(b" ");
        to.extend_from_slice(word.as_bytes());
    }
    match record.upstream_first_byte {
        Some(span) => written(writeln!(to, " {:.6}", span.as_secs_f64())),
        None => to.extend_from_slice(b" -\n"),
    }
}

/// A field of free text. Names of text and words come with their comma, colon and quotes, the value's first among them.
fn text_field(to: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    let Some(value) = value else { return };
    if is_plain(value) {
        to.extend_from_slice(name);
        to.extend_from_slice(value);
        to.extend_from_slice(b"\"");
    } else {
        to.extend_from_slice(name.strip_suffix(b"\"").unwrap_or(name));
        written(serde_json::to_writer(to, &text(value)).map_err(io::Error::from));
    }
}

fn word_field(to: &mut Vec<u8>, name: &[u8], value: Option<&str>) {
    let Some(value) = value else { return };
    to.extend_from_slice(name);
    to.extend_from_slice(value.as_bytes());
    to.extend_from_slice(b"\"");
}

fn number_field(to: &mut Vec<u8>, name: &[u8], value: Option<impl itoa::Integer>) {
    let Some(value) = value else { return };
    to.extend_from_slice(name);
    number(to, value);
}

fn seconds_field(to: &mut Vec<u8>, name: &[u8], value: Option<Duration>) {
    let Some(value) = value else { return };
    to.extend_from_slice(name);
    seconds(to, value);
}

fn number(to: &mut Vec<u8>, number: impl itoa::Integer) {
    to.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// As `serde_json` writes the seconds as `f64`. Below one second these are the nanoseconds without further rounding,
/// which need no search for the shortest digits.
fn seconds(to: &mut Vec<u8>, span: Duration) {
    let nanos = match span.as_secs() {
        0 if !span.is_zero() => span.subsec_nanos(),
        _ => return written(serde_json::to_writer(to, &span.as_secs_f64()).map_err(io::Error::from)),
    };
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(nanos);
    let significant = digits.trim_end_matches('0').as_bytes();
    if nanos >= 10_000 {
        to.extend_from_slice(&b"0.0000"[..2 + 9 - digits.len()]);
        to.extend_from_slice(significant);
    } else {
        to.extend_from_slice(&significant[..1]);
        if significant.len() > 1 {
            to.extend_from_slice(b".");
            to.extend_from_slice(&significant[1..]);
        }
        to.extend_from_slice(&[b'e', b'-', b'0' + 10 - digits.len() as u8]);
    }
}

fn address(to: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets();
            number(to, first);
            for octet in rest {
                to.extend_from_slice(b".");
                number(to, octet);
            }
        }
        IpAddr::V6(address) => written(write!(to, "{address}")),
    }
}

fn written(result: io::Result<()>) {
    result.expect("writing to memory cannot fail, and text and numbers have a JSON form");
}

const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// Whether these bytes are text that no format escapes. Looks at eight at a time, at the last ones once more.
fn is_plain(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
    };
    bytes.as_chunks().0.iter().fold(escaped(last), |found, eight| found | escaped(eight)) == 0
}

/// Zero where none of eight bytes is to be escaped. Adding to each and taking from each may reach the next byte only from
/// one that is.
fn escaped(eight: &[u8; 8]) -> u64 {
    const EACH: u64 = u64::MAX / 255;
    let word = u64::from_ne_bytes(*eight);
    let any_less = |word: u64, bound: u8| word.wrapping_sub(EACH * u64::from(bound)) & !word;
    let any = |byte: u8| any_less(word ^ (EACH * u64::from(byte)), 1);
    let any_beyond_tilde = word.wrapping_add(EACH) | word;
    (any_less(word, b' ') | any(b'"') | any(b'\\') | any_beyond_tilde) & (EACH << 7)
}

/// Bytes as text; those that are no UTF-8 spelled `\xNN`.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02X}"));
        }
    }
    Cow::Owned(out)
}

/// Quotes and backslashes get a backslash, control and non-ASCII bytes become `\xNN`, as Apache does it.
fn escape(to: &mut Vec<u8>, bytes: &[u8]) {
    if is_plain(bytes) {
        return to.extend_from_slice(bytes);
    }
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => to.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => to.extend_from_slice(&[byte]),
            _ => written(write!(to, "\\x{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::uri::PathAndQuery;
    use http::{HeaderValue, Method};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::super::record::tests::{sample, told};
    use super::*;
    use crate::policy::reason::Outcome;

    fn json_line(record: &RequestRecord, told: Told<'_>) -> String {
        let mut out = Vec::new();
        let line = Line { route: "app", upstream: Some("web"), record, told };
        super::json(&mut out, &mut LastSecond::default(), &line);
        String::from_utf8(out).unwrap()
    }

    fn combined_line(record: &RequestRecord, told: Told<'_>) -> String {
        let mut out = Vec::new();
        let line = Line { route: "app", upstream: Some("web"), record, told };
        combined(&mut out, &mut LastSecond::default(), &line);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_tells_the_whole_record() {
        let value: Value = serde_json::from_str(&json_line(&sample(), told())).unwrap();
        let expected = json!({
            "time": "2026-11-21T02:58:53.042Z", "client": "192.0.2.7", "method": "GET", "scheme": "https",
            "host": "app.example", "target": "/list?page=2", "version": "HTTP/1.1", "status": 200,
            "outcome": "miss", "reason": "uri-miss", "no_store": "set-cookie", "route": "app", "upstream": "web",
            "upstream_first_byte_seconds": 0.01, "duration_seconds": 0.0125, "bytes_in": 3, "bytes_out": 2048,
            "cut": false, "user_agent": "curl/8.14",
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn combined_appends_outcome_reason_and_upstream_time() {
        let first = "192.0.2.7 - - [21/Nov/2026:02:58:53 +0000] \"GET /list?page=2 HTTP/1.1\" 200 2048 \"-\" ";
        assert_eq!(combined_line(&sample(), told()), format!("{first}\"curl/8.14\" miss uri-miss 0.010000\n"));
        let hit = RequestRecord { outcome: Outcome::Hit, reason: None, upstream_first_byte: None, ..sample() };
        let line = combined_line(&hit, Told { referer: Some(b"a\"b\\c\td\xFF"), ..told() });
        assert!(line.contains(r#" "a\"b\\c\x09d\xFF" "#), "{line}");
        assert!(line.ends_with("\"curl/8.14\" hit - -\n"), "{line}");
    }

    #[test]
    fn a_request_refused_before_it_had_a_target_is_logged() {
        let told = Told { target: None, host: None, ..told() };
        assert!(combined_line(&sample(), told).contains(" \"-\" 200 "));
        let value: Value = serde_json::from_str(&json_line(&sample(), told)).unwrap();
        assert_eq!((value.get("target"), value.get("host")), (None, None));
    }

    #[test]
    fn bytes_that_are_no_text_are_spelled_out() {
        let table: [(&[u8], &str); 4] = [
            (b"plain", "plain"),
            ("gr\u{fc}n".as_bytes(), "grün"),
            (b"gr\xFCn", "gr\\xFCn"),
            (b"\xE2\x82", "\\xE2\\x82"),
        ];
        for (bytes, expected) in table {
            assert_eq!(text(bytes), expected);
        }
    }

    #[test]
    fn no_letter_of_a_method_is_escaped() {
        for byte in 0..=u8::MAX {
            assert!(Method::from_bytes(&[byte]).is_err() || is_plain(&[byte]), "{byte:#x}");
        }
    }

    #[test]
    fn what_is_escaped_is_found_wherever_it_stands() {
        for (byte, length) in (0..=u8::MAX).flat_map(|byte| (1..=24).map(move |length| (byte, length))) {
            let is_escaped = !(b' '..=b'~').contains(&byte) || byte == b'"' || byte == b'\\';
            for other in [b' ', b'!', b'#', b'[', b']', b'~'] {
                let mut bytes = vec![other; length];
                for at in 0..length {
                    bytes[at] = byte;
                    assert_eq!(is_plain(&bytes), !is_escaped, "{byte:#x} at {at} of {length} beside {other:#x}");
                    bytes[at] = other;
                }
            }
        }
    }

    fn seconds_as_text(span: Duration) -> String {
        let mut out = Vec::new();
        seconds(&mut out, span);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn seconds_are_written_as_floats_are() {
        let edges = (0..10).map(|power| 10_u64.pow(power)).flat_map(|power| [power - 1, power, power + 1, 12 * power]);
        for span in edges.map(Duration::from_nanos).chain([Duration::MAX]) {
            assert_eq!(seconds_as_text(span), serde_json::to_string(&span.as_secs_f64()).unwrap());
        }
    }

    fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
        let nasty = prop::sample::select(b"\"\\{}\t\r\n\0\x1b\x7f\x80\xff\xe2\x82</:%".to_vec());
        prop::collection::vec(prop_oneof![nasty, any::<u8>()], 0..64)
    }

    proptest! {
        #[test]
        fn any_bytes_make_one_line(path in hostile_bytes(), agent in hostile_bytes(), method in "[!#$%&'*+.^_`|~A-Za-z0-9-]{1,20}") {
            // What the types refuse can never reach a record; what they let through must come out as one line.
            let target = PathAndQuery::try_from([b"/".as_slice(), &path].concat()).ok();
            let field = |bytes| HeaderValue::from_bytes(bytes).ok();
            let (agent, referer) = (field(&agent), field(&path));
            let record = RequestRecord { method: Method::from_bytes(method.as_bytes()).unwrap(), ..sample() };
            let told = Told {
                target: target.as_ref().map(|target| target.as_str().as_bytes()),
                user_agent: agent.as_ref().map(HeaderValue::as_bytes),
                referer: referer.as_ref().map(HeaderValue::as_bytes),
                host: agent.as_ref().map(HeaderValue::as_bytes),
                ..told()
            };
            let line = json_line(&record, told);
            prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
            let value: Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(value["method"].as_str(), Some(&*method));
            if let Some(target) = &target {
                prop_assert_eq!(value["target"].as_str(), Some(target.as_str()));
            }
            let line = combined_line(&record, told);
            prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
            prop_assert!(line.trim_end().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let quotes = line.replace("\\\\", "").replace("\\\"", "").matches('"').count();
            prop_assert_eq!(quotes, 6, "{}", line);
        }

        #[test]
        fn any_span_is_written_as_a_float_is(nanos in prop_oneof![0..100_000_u64, 0..4_000_000_000_u64]) {
            let span = Duration::from_nanos(nanos);
            prop_assert_eq!(seconds_as_text(span), serde_json::to_string(&span.as_secs_f64()).unwrap());
        }

        #[test]
        fn any_bytes_make_the_field_that_serde_makes(bytes in hostile_bytes()) {
            let mut field = Vec::new();
            text_field(&mut field, b":\"", Some(&bytes));
            let expected = [b":".as_slice(), &serde_json::to_vec(&text(&bytes)).unwrap()].concat();
            prop_assert_eq!(field, expected);
        }

        #[test]
        fn any_bytes_become_text_and_one_json_string(bytes in hostile_bytes()) {
            let quoted = serde_json::to_string(&text(&bytes)).unwrap();
            prop_assert!(!quoted.bytes().any(|byte| byte < b' '));
            prop_assert!(serde_json::from_str::<String>(&quoted).is_ok());
        }
    }
}
