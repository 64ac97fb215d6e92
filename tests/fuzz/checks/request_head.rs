//! The inspection of HTTP/1 requests: what passes leaves no doubt about where a request ends, however it arrives.

use larder::config::settings::Limits;
use larder::server::approval::approve;

const LIMITS: Limits =
    Limits { head: 1024, field: 256, fields: 16, uri: 256, connections: 1, http2_streams: 1, ranges: 1 };

/// A client's bytes.
pub fn check(data: &[u8]) {
    let whole = approve(data, &LIMITS, usize::MAX);
    for piece in [1, 2, 7] {
        assert_eq!(approve(data, &LIMITS, piece), whole, "in pieces of {piece}");
    }
    let (mut rest, mut heads) = (whole.passed.as_slice(), 0);
    while let Some((head, after)) = first_head(rest) {
        heads += 1;
        match body_of(head) {
            Body::Length(length) => rest = after.get(length..).unwrap_or_default(),
            // Where chunks end is another question; at least this request was counted.
            Body::Chunked => return assert!(whole.heads >= heads),
        }
    }
    assert_eq!(whole.heads, heads, "heads that this reading finds");
    assert!(rest.is_empty(), "bytes that belong to no request were handed on");
}

enum Body {
    Length(usize),
    Chunked,
}

/// A head with its empty line, and what follows.
fn first_head(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    Some(bytes.split_at(end))
}

/// How the body of a head ends, by a reading of its own that takes nothing doubtful.
fn body_of(head: &[u8]) -> Body {
    assert!(head.len() <= LIMITS.head);
    let text = head[..head.len() - 4].to_vec();
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').map(|line| line.trim_suffix_cr()).collect();
    assert!(lines.iter().all(|line| line.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control())));
    assert!(lines.len() <= LIMITS.fields + 1);
    let request: Vec<&[u8]> = lines[0].split(|byte| *byte == b' ').collect();
    let [method, target, version] = request[..] else { panic!("a request line of other than three words") };
    assert!(!method.is_empty() && method != b"CONNECT" && !target.is_empty() && target.len() <= LIMITS.uri);
    assert!(matches!(version, b"HTTP/1.0" | b"HTTP/1.1"));
    let values = |wanted: &str| -> Vec<&[u8]> {
        let fields = lines[1..].iter().map(|line| {
            let colon = line.iter().position(|byte| *byte == b':').expect("a field has a colon");
            (&line[..colon], line[colon + 1..].trim_ascii())
        });
        fields.filter(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes())).map(|(_, value)| value).collect()
    };
    let hosts = values("host").len();
    assert!(hosts == 1 || (hosts == 0 && version == b"HTTP/1.0"));
    match (&values("content-length")[..], &values("transfer-encoding")[..]) {
        ([], []) => Body::Length(0),
        ([length], []) => {
            assert!(length.iter().all(u8::is_ascii_digit));
            Body::Length(std::str::from_utf8(length).ok().and_then(|digits| digits.parse().ok()).expect("a length"))
        }
        ([], [coding]) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked") && version == b"HTTP/1.1");
            Body::Chunked
        }
        _ => panic!("two lengths, or two codings"),
    }
}

trait TrimSuffix {
    fn trim_suffix_cr(&self) -> &Self;
}

impl TrimSuffix for [u8] {
    fn trim_suffix_cr(&self) -> &Self {
        self.strip_suffix(b"\r").unwrap_or(self)
    }
}
