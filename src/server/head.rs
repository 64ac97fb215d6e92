//! The pure check of an HTTP/1 request head, line by line: RFC 9112 to the letter where hyper is lenient.

use crate::policy::token::is_token_byte;
use crate::proxy::admit::{MAX_METHOD, has_whole_labels, is_target_byte};
use crate::proxy::refusal::Refusal;

/// Largest target that `http::Uri` can hold, in bytes.
const MAX_TARGET: usize = 65_534;

/// Bounds of one head.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    /// Bytes of the whole head, its empty line included.
    pub(super) head: usize,
    /// Bytes of one field line without its CRLF.
    pub(super) field: usize,
    /// Number of field lines.
    pub(super) fields: usize,
    /// Bytes of the request target.
    pub(super) target: usize,
}

impl HeadLimits {
    /// A target longer than the head or than `http::Uri` holds can't be allowed.
    pub(super) fn new(head: usize, field: usize, fields: usize, target: usize) -> Self {
        HeadLimits { head, field, fields, target: target.min(head).min(MAX_TARGET) }
    }
}

/// How a request's body ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFraming {
    /// After this many bytes; 0: there is none.
    Length(u64),
    /// By the last chunk and the trailer section.
    Chunked,
}

/// What a complete and acceptable head means for the bytes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its length in bytes, empty line included.
    pub(super) len: usize,
    /// Its body.
    pub(super) body: BodyFraming,
    /// It asks to switch protocols: what follows its body may not be HTTP.
    pub(super) upgrade: bool,
}

/// A range of bytes counted from the head's start.
type Span = std::ops::Range<usize>;

/// A head on its way in: what the lines so far have said. Offsets count from the head's first byte, so the head may
/// move in memory between two calls.
#[derive(Clone, Debug, Default)]
pub(super) struct HeadScan {
    /// Start of the line that is not yet complete.
    line: usize,
    /// Up to where that line was searched for its end.
    searched: usize,
    fields: usize,
    http10: bool,
    /// Authority of an absolute-form target, and its scheme's default port.
    authority: Option<(Span, &'static [u8])>,
    host: Option<Span>,
    content_length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

impl HeadScan {
    /// Continues with `bytes`, which begin at the head's first byte and hold at least what earlier calls saw.
    /// `None`: the head is not complete yet. The result depends on the bytes alone, never on how they were split.
    pub(super) fn advance(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<Head>, Refusal> {
        // Bytes past the limit are treated as not there, so that a head refused for its size is refused with the
        // same word whether it came in one piece or in many.
        let window = &bytes[..bytes.len().min(limits.head)];
        loop {
            let end = memchr::memchr(b'\n', &window[self.searched..]).map(|at| self.searched + at);
            let line = &window[self.line..end.unwrap_or(window.len())];
            if self.line == 0 {
                begins_like_a_request(line, limits)?;
            } else if line.len() > limits.field + 1 {
                // One byte more than the limit may be the line's CR.
                return Err(Refusal::HeadTooLarge);
            }
            let Some(end) = end else {
                self.searched = window.len();
                return if bytes.len() > limits.head { Err(Refusal::HeadTooLarge) } else { Ok(None) };
            };
            // RFC 9112 §2.2 lets a recipient take a bare LF as the end of a line; others then disagree about it.
            let line = line.strip_suffix(b"\r").ok_or(Refusal::BadLineEnding)?;
            let start = self.line;
            (self.line, self.searched) = (end + 1, end + 1);
            if start == 0 {
                self.request_line(line)?;
            } else if line.is_empty() {
                return self.finish(bytes).map(Some);
            } else {
                self.fields += 1;
                if self.fields > limits.fields {
                    return Err(Refusal::TooManyFields);
                }
                self.field_line(start, line)?;
            }
        }
    }

    /// RFC 9112 §3: `method SP request-target SP HTTP-version`.
    fn request_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(refuse_control(line).unwrap_or(Refusal::BadRequestLine));
        };
        if let Some(refusal) = refuse_control(line) {
            return Err(refusal);
        }
        match version {
            b"HTTP/1.1" => {}
            b"HTTP/1.0" => self.http10 = true,
            _ if version.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"HTTP/")) => {
                return Err(Refusal::BadVersion);
            }
            _ => return Err(Refusal::BadRequestLine),
        }
        if method == b"CONNECT" {
            return Err(Refusal::Connect);
        }
        self.target(method.len() + 1, method, target)
    }

    /// RFC 9112 §3.2: origin-form, absolute-form, and asterisk-form for OPTIONS alone.
    fn target(&mut self, offset: usize, method: &[u8], target: &[u8]) -> Result<(), Refusal> {
        if target == b"*" && method == b"OPTIONS" {
            return Ok(());
        }
        if !target.iter().fold(true, |all, byte| all & is_target_byte(*byte)) {
            return Err(Refusal::BadTarget);
        }
        // Browsers encode it in paths and leave it in queries; `http::Uri` takes just that.
        if memchr::memchr(b'`', target).is_some_and(|at| !target[..at].contains(&b'?')) {
            return Err(Refusal::BadTarget);
        }
        if target.first() == Some(&b'/') {
            return Ok(());
        }
        let (scheme, default_port) = [(&b"http://"[..], &b":80"[..]), (b"https://", b":443")]
            .into_iter()
            .find(|(scheme, _)| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
            .ok_or(Refusal::BadTarget)?;
        let authority = &target[scheme.len()..];
        let authority =
            &authority[..authority.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(authority.len())];
        if !is_host(authority) {
            return Err(Refusal::BadTarget);
        }
        let start = offset + scheme.len();
        self.authority = Some((start..start + authority.len(), default_port));
        Ok(())
    }

    /// RFC 9112 §5: `field-name ":" OWS field-value OWS`.
    fn field_line(&mut self, start: usize, line: &[u8]) -> Result<(), Refusal> {
        if matches!(line[0], b' ' | b'\t') {
            return Err(Refusal::ObsoleteFold);
        }
        let name_len = line.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(line.len());
        if name_len == 0 || line.get(name_len) != Some(&b':') {
            return Err(refuse_control(line).unwrap_or(Refusal::BadField));
        }
        if let Some(refusal) = refuse_control(&line[name_len..]) {
            return Err(refusal);
        }
        let (name, raw) = (&line[..name_len], &line[name_len + 1..]);
        // The lengths of the five names that matter here tell nearly all others apart.
        match name_len {
            4 if name.eq_ignore_ascii_case(b"host") => {
                let value = raw.trim_ascii();
                if self.host.is_some() || !is_host(value) {
                    return Err(Refusal::BadHost);
                }
                let leading = raw.len() - raw.trim_ascii_start().len();
                let at = start + name_len + 1 + leading;
                self.host = Some(at..at + value.len());
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.content_length.is_some() {
                    return Err(Refusal::BadContentLength);
                }
                self.content_length = Some(content_length(raw.trim_ascii()).ok_or(Refusal::BadContentLength)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                // RFC 9112 §6.1: HTTP/1.0 knows no transfer codings, and the only one we could undo is chunked.
                if self.http10 || self.chunked || !raw.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::BadTransferEncoding);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// What can only be said at the empty line.
    fn finish(&self, bytes: &[u8]) -> Result<Head, Refusal> {
        if self.host.is_none() && !self.http10 {
            return Err(Refusal::BadHost);
        }
        // RFC 9110 §4.2.3: a default port is the same as none; so is the root behind a name.
        if let (Some((authority, port)), Some(host)) = (&self.authority, &self.host)
            && let [authority, host] = [authority, host].map(|span| &bytes[span.clone()])
            && let [authority, host] = [authority, host].map(|host| host.strip_suffix(*port).unwrap_or(host))
            && let [authority, host] = [authority, host].map(|host| host.strip_suffix(b".").unwrap_or(host))
            && !authority.eq_ignore_ascii_case(host)
        {
            return Err(Refusal::HostMismatch);
        }
        let body = match (self.content_length, self.chunked) {
            // RFC 9112 §6.1: ought to be handled as an attempt at request smuggling.
            (Some(_), true) => return Err(Refusal::AmbiguousLength),
            (_, true) => BodyFraming::Chunked,
            (length, false) => BodyFraming::Length(length.unwrap_or(0)),
        };
        Ok(Head { len: self.line, body, upgrade: self.upgrade && !self.http10 })
    }
}

/// What can be said of a request line before it is complete: no garbage is collected up to the head's limit.
fn begins_like_a_request(line: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
    let method_len = line.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(line.len());
    if method_len > MAX_METHOD {
        return Err(Refusal::BadRequestLine);
    }
    match line.get(method_len) {
        None | Some(b'\r') => Ok(()),
        Some(b' ') if method_len > 0 => {
            let target = &line[method_len + 1..];
            let target_len = memchr::memchr(b' ', target).unwrap_or(target.len());
            // One byte more may be the CR of a line that has no version.
            if target_len > limits.target + 1 || (target_len > limits.target && target_len < target.len()) {
                return Err(Refusal::TargetTooLong);
            }
            Ok(())
        }
        Some(byte) if byte.is_ascii_control() => Err(Refusal::ControlByte),
        Some(_) => Err(Refusal::BadRequestLine),
    }
}

/// The refusal for the first byte that may stand in no line of a head (RFC 9110 §5.5), if there is one.
fn refuse_control(line: &[u8]) -> Option<Refusal> {
    let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    // Nearly every line has none. Without an early end the compiler looks at many bytes at once.
    if !line.iter().fold(false, |any, byte| any | is_control(byte)) {
        return None;
    }
    let byte = line.iter().find(|byte| is_control(byte))?;
    Some(if *byte == b'\r' { Refusal::BadLineEnding } else { Refusal::ControlByte })
}

/// RFC 9110 §8.6: digits alone, and a number that fits.
fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0u64, |length, byte| byte.is_ascii_digit().then(|| length * 10 + u64::from(byte - b'0')))
}

/// `host [":" port]` with a name of letters, digits, `-`, `.` and `_`, an IPv4 address or a bracketed IPv6 address.
/// RFC 3986 also allows percent-encoding and sub-delimiters, which no host in use has and which caches, routers and
/// apps read differently.
fn is_host(value: &[u8]) -> bool {
    let (host, rest) = if value.first() == Some(&b'[') {
        let Some(close) = memchr::memchr(b']', value) else { return false };
        let address = std::str::from_utf8(&value[1..close]).ok().and_then(|a| a.parse::<std::net::Ipv6Addr>().ok());
        if address.is_none() {
            return false;
        }
        value.split_at(close + 1)
    } else {
        let len = memchr::memchr(b':', value).unwrap_or(value.len());
        let name = &value[..len];
        let is_byte = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if !has_whole_labels(name) || !name.iter().all(is_byte) {
            return false;
        }
        value.split_at(len)
    };
    let port_is_valid = match rest {
        [] => true,
        [b':', digits @ ..] => {
            matches!(digits.len(), 1..=5)
                && digits.iter().all(u8::is_ascii_digit)
                && content_length(digits).is_some_and(|port| port <= u64::from(u16::MAX))
        }
        _ => false,
    };
    !host.is_empty() && host.len() <= 255 && port_is_valid
}
