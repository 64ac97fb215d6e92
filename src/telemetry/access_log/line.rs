//! One record as one line of the access log, whatever bytes the client sent.

use std::borrow::Cow;
use std::io::{self, Write};
use std::net::IpAddr;

use http::{HeaderValue, Version};
use serde::Serialize;

use super::super::date;
use super::super::record::{Reason, RequestRecord};

/// Appends the record as one JSON object and a newline. Bytes that are no UTF-8 appear as `\xNN`, spelled out.
pub(super) fn json(to: &mut Vec<u8>, record: &RequestRecord) {
    let mut time = Vec::with_capacity(24);
    written(date::write_rfc3339(&mut time, record.started));
    let line = JsonLine {
        time: text(&time),
        client: record.client,
        method: record.method.as_str(),
        scheme: record.scheme,
        host: record.host.as_ref().map(field_text),
        target: record.target.as_ref().map(|target| text(target.as_str().as_bytes())),
        version: protocol(record.version),
        status: record.status.as_u16(),
        outcome: record.outcome.word(),
        reason: record.reason.map(Reason::word),
        no_store: record.no_store.map(|reason| reason.word()),
        ttl: record.ttl,
        age: record.age,
        route: &record.route,
        upstream: record.upstream.as_deref(),
        upstream_first_byte_seconds: record.upstream_first_byte.map(|span| span.as_secs_f64()),
        duration_seconds: record.duration.as_secs_f64(),
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        cut: record.cut,
        referer: record.referer.as_ref().map(field_text),
        user_agent: record.user_agent.as_ref().map(field_text),
        request_id: record.request_id.as_ref().map(field_text),
    };
    written(serde_json::to_writer(&mut *to, &line).map_err(io::Error::from));
    to.push(b'\n');
}

/// Appends the record in the combined format, followed by the cache outcome, its reason, and the seconds to the
/// upstream's first byte; `-` where there is none.
pub(super) fn combined(to: &mut Vec<u8>, record: &RequestRecord) {
    written(write!(to, "{} - - [", record.client));
    written(date::write_clf(to, record.started));
    to.extend_from_slice(b"] \"");
    match &record.target {
        Some(target) => {
            escape(to, record.method.as_str().as_bytes());
            to.push(b' ');
            escape(to, target.as_str().as_bytes());
            written(write!(to, " {}", protocol(record.version)));
        }
        None => to.push(b'-'),
    }
    written(write!(to, "\" {} {} ", record.status.as_u16(), record.bytes_out));
    quoted(to, record.referer.as_ref());
    to.push(b' ');
    quoted(to, record.user_agent.as_ref());
    written(write!(to, " {} {} ", record.outcome.word(), record.reason.map_or("-", Reason::word)));
    match record.upstream_first_byte {
        Some(span) => written(writeln!(to, "{:.6}", span.as_secs_f64())),
        None => to.extend_from_slice(b"-\n"),
    }
}

/// Absent fields are left out.
#[derive(Serialize)]
struct JsonLine<'a> {
    time: Cow<'a, str>,
    client: IpAddr,
    method: &'a str,
    scheme: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Cow<'a, str>>,
    version: &'static str,
    status: u16,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_store: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<u64>,
    route: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_first_byte_seconds: Option<f64>,
    duration_seconds: f64,
    bytes_in: u64,
    bytes_out: u64,
    cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    referer: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<Cow<'a, str>>,
}

fn written(result: io::Result<()>) {
    result.expect("writing to a Vec cannot fail, and text and numbers have a JSON form");
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

fn field_text(value: &HeaderValue) -> Cow<'_, str> {
    text(value.as_bytes())
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

fn quoted(to: &mut Vec<u8>, value: Option<&HeaderValue>) {
    to.push(b'"');
    match value {
        Some(value) => escape(to, value.as_bytes()),
        None => to.push(b'-'),
    }
    to.push(b'"');
}

/// Quotes and backslashes get a backslash, control and non-ASCII bytes become `\xNN`, as Apache does it.
fn escape(to: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => to.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => to.push(byte),
            _ => written(write!(to, "\\x{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use http::uri::PathAndQuery;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::super::record::tests::sample;
    use super::*;
    use crate::policy::reason::Outcome;

    fn json_line(record: &RequestRecord) -> String {
        let mut line = Vec::new();
        super::json(&mut line, record);
        String::from_utf8(line).unwrap()
    }

    fn combined_line(record: &RequestRecord) -> String {
        let mut line = Vec::new();
        combined(&mut line, record);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn json_tells_the_whole_record() {
        let value: Value = serde_json::from_str(&json_line(&sample())).unwrap();
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
        assert_eq!(combined_line(&sample()), format!("{first}\"curl/8.14\" miss uri-miss 0.010000\n"));
        let hit = RequestRecord {
            outcome: Outcome::Hit,
            reason: None,
            upstream_first_byte: None,
            referer: Some(HeaderValue::from_bytes(b"a\"b\\c\td\xFF").unwrap()),
            ..sample()
        };
        let line = combined_line(&hit);
        assert!(line.contains(r#" "a\"b\\c\x09d\xFF" "#), "{line}");
        assert!(line.ends_with("\"curl/8.14\" hit - -\n"), "{line}");
    }

    #[test]
    fn a_request_refused_before_it_had_a_target_is_logged() {
        let record = RequestRecord { target: None, host: None, ..sample() };
        assert!(combined_line(&record).contains(" \"-\" 200 "));
        let value: Value = serde_json::from_str(&json_line(&record)).unwrap();
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

    fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
        let nasty = prop::sample::select(b"\"\\{}\t\r\n\0\x1b\x7f\x80\xff\xe2\x82</:%".to_vec());
        prop::collection::vec(prop_oneof![nasty, any::<u8>()], 0..64)
    }

    proptest! {
        #[test]
        fn any_bytes_make_one_line(path in hostile_bytes(), agent in hostile_bytes(), method in "[!#$%&'*+.^_`|~A-Za-z0-9-]{1,20}") {
            // What the types refuse can never reach a record; what they let through must come out as one line.
            let record = RequestRecord {
                target: PathAndQuery::try_from([b"/".as_slice(), &path].concat()).ok(),
                user_agent: HeaderValue::from_bytes(&agent).ok(),
                referer: HeaderValue::from_bytes(&path).ok(),
                host: HeaderValue::from_bytes(&agent).ok(),
                method: Method::from_bytes(method.as_bytes()).unwrap(),
                ..sample()
            };
            let line = json_line(&record);
            prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
            let value: Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(value["method"].as_str(), Some(&*method));
            if let Some(target) = &record.target {
                prop_assert_eq!(value["target"].as_str(), Some(target.as_str()));
            }
            let line = combined_line(&record);
            prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
            prop_assert!(line.trim_end().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let quotes = line.replace("\\\\", "").replace("\\\"", "").matches('"').count();
            prop_assert_eq!(quotes, 6, "{}", line);
        }

        #[test]
        fn any_bytes_become_text_and_one_json_string(bytes in hostile_bytes()) {
            let quoted = serde_json::to_string(&text(&bytes)).unwrap();
            prop_assert!(!quoted.bytes().any(|byte| byte < b' '));
            prop_assert!(serde_json::from_str::<String>(&quoted).is_ok());
        }
    }
}
