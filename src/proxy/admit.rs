//! Step 1: what must be refused before anything else looks at a request, and who asks for what.
//!
//! HTTP/1 heads were inspected byte by byte by the connection layer; what is checked here holds for every version.

use std::net::IpAddr;

use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Version, header};
use ipnet::IpNet;

use super::client::Client;
use super::refusal::Refusal;
use crate::cache::key::TargetUri;
use crate::config::settings::Settings;

/// A request that may go on, as its client means it.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// `http` or `https`, as the client sees it.
    pub scheme: &'static str,
    /// The host asked for, lower case, with its port unless that is the scheme's default. The same value routes,
    /// keys and is forwarded.
    pub authority: String,
    /// Path and query as received.
    pub target: PathAndQuery,
    /// The client's address; behind trusted proxies the one that they name.
    pub client: IpAddr,
    /// Whether the request came through a trusted proxy, so that its X-Forwarded-* fields are kept.
    pub via_trusted_proxy: bool,
    /// Whether the client may use what forces a forward.
    pub trusted_client: bool,
}

impl Admitted {
    /// What the cache key is made from.
    pub fn uri(&self) -> TargetUri<'_> {
        TargetUri {
            scheme: self.scheme,
            authority: &self.authority,
            path: self.target.path(),
            query: self.target.query(),
        }
    }

    /// The host without its port.
    pub fn host(&self) -> &str {
        host_of(&self.authority)
    }
}

/// Checks a request, and resolves who asks for what.
///
/// # Errors
/// The first reason to refuse it.
pub fn admit(settings: &Settings, client: &Client, request: &Parts) -> Result<Admitted, Refusal> {
    if let Some(refusal) = client.refused.get().filter(|_| request.method.as_str() == Client::REFUSED_METHOD) {
        return Err(*refusal);
    }
    if request.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    let target = request.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    check_target(request, &target)?;
    check_limits(settings, &target, &request.headers)?;
    if request.version >= Version::HTTP_2 {
        check_bytes(&target, &request.headers)?;
    }
    check_expect(&request.headers)?;

    let via_trusted_proxy = contains(&settings.trusted_proxies, client.peer.ip());
    let scheme = scheme(client, &request.headers, via_trusted_proxy);
    // RFC 9110 §7.4: what is to be had securely alone is not given out in cleartext. On HTTP/2 proxies pass on the
    // scheme that their own clients used.
    let is_secret = request.version < Version::HTTP_2 && request.uri.scheme() == Some(&Scheme::HTTPS);
    if is_secret && scheme == "http" && !via_trusted_proxy {
        return Err(Refusal::HostMismatch);
    }
    let authority = authority(client, request, scheme, via_trusted_proxy)?;
    let address = match via_trusted_proxy {
        true => forwarded_client(&request.headers, &settings.trusted_proxies).unwrap_or(client.peer.ip()),
        false => client.peer.ip(),
    };
    Ok(Admitted {
        scheme,
        authority,
        target,
        client: address.to_canonical(),
        via_trusted_proxy,
        trusted_client: contains(&settings.trusted_clients, address),
    })
}

/// Bytes of the longest method; the longest registered one (`UPDATEREDIRECTREF`) has 17.
pub const MAX_METHOD: usize = 32;

/// What HTTP/2 lets by, and HTTP/1 does not get through inspection with.
fn check_target(request: &Parts, target: &PathAndQuery) -> Result<(), Refusal> {
    if request.method.as_str().len() > MAX_METHOD {
        return Err(Refusal::BadRequestLine);
    }
    // RFC 9113 §8.3.1: `:path` begins with a slash, whereas an absolute target of HTTP/1 may lack the path.
    if request.version >= Version::HTTP_2 && target.as_str().starts_with('?') {
        return Err(Refusal::BadTarget);
    }
    // RFC 9110 §7.1: the server as a whole is a target of OPTIONS alone.
    let is_whole_server = target.as_str() == "*" && request.method == Method::OPTIONS;
    let is_http = |scheme: &Scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS;
    let has_scheme = request.uri.authority().is_none() || request.uri.scheme().is_some_and(is_http);
    if has_scheme && (is_whole_server || target.path().starts_with('/')) { Ok(()) } else { Err(Refusal::BadTarget) }
}

fn check_limits(settings: &Settings, target: &PathAndQuery, headers: &HeaderMap) -> Result<(), Refusal> {
    let limits = &settings.limits;
    if target.as_str().len() > limits.uri {
        return Err(Refusal::TargetTooLong);
    }
    if headers.len() > limits.fields {
        return Err(Refusal::TooManyFields);
    }
    let (mut total, mut cookies) = (target.as_str().len(), 0);
    for (name, value) in headers {
        let size = name.as_str().len() + value.len() + 4;
        total += size;
        if *name == header::COOKIE {
            // Its lines are forwarded as one.
            cookies += value.len() + 2;
        }
        if size.max(cookies) > limits.field || total > limits.head {
            return Err(Refusal::HeadTooLarge);
        }
    }
    Ok(())
}

/// Bytes of a target. Beyond RFC 3986 those that old clients leave unencoded and `http::Uri` takes; never `#`: a
/// fragment is no part of a target.
pub fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'#' | b'<' | b'>')
}

/// What would mean something else to whoever reads it next: in HTTP/1 heads the inspection refuses it, or takes it away;
/// HTTP/2 lets it by. Lengths that are no single number (RFC 9110 §8.6), control bytes (§5.5), white space around a
/// value (RFC 9113 §8.2.1), what no target has.
fn check_bytes(target: &PathAndQuery, headers: &HeaderMap) -> Result<(), Refusal> {
    if !target.as_str().bytes().all(is_target_byte) {
        return Err(Refusal::BadTarget);
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter().map(HeaderValue::as_bytes);
    let is_number = |length: &[u8]| !length.is_empty() && length.iter().all(u8::is_ascii_digit);
    if lengths.next().is_some_and(|length| !is_number(length)) || lengths.next().is_some() {
        return Err(Refusal::BadContentLength);
    }
    let is_control = |byte: &u8| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f;
    for value in headers.values().map(HeaderValue::as_bytes) {
        if value.iter().any(is_control) {
            return Err(Refusal::ControlByte);
        }
        if value.trim_ascii().len() < value.len() {
            return Err(Refusal::BadField);
        }
    }
    Ok(())
}

/// RFC 9110 §10.1.1: the only expectation there is.
fn check_expect(headers: &HeaderMap) -> Result<(), Refusal> {
    let unknown = |value: &http::HeaderValue| !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(header::EXPECT).iter().any(unknown) { Err(Refusal::BadExpect) } else { Ok(()) }
}

fn scheme(client: &Client, headers: &HeaderMap, via_trusted_proxy: bool) -> &'static str {
    let told = if via_trusted_proxy { headers.get("x-forwarded-proto") } else { None };
    match told.map(HeaderValue::as_bytes) {
        Some(b"https") => "https",
        Some(b"http") => "http",
        _ if client.tls => "https",
        _ => "http",
    }
}

fn authority(client: &Client, request: &Parts, scheme: &str, via_trusted_proxy: bool) -> Result<String, Refusal> {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::BadHost);
    }
    let host = host.map(|value| value.to_str().map_err(|_| Refusal::BadHost)).transpose()?;
    let in_target = request.uri.authority().map(|authority| authority.as_str());
    let given = match (in_target, host) {
        (Some(target), Some(host)) if !same_host(target, host, scheme) => return Err(Refusal::HostMismatch),
        (Some(target), _) => target,
        (None, Some(host)) => host,
        // RFC 9112 §3.3: HTTP/1.0 may leave it out; then it is the address that was connected to.
        (None, None) if request.version <= Version::HTTP_10 => return Ok(client.local.to_string()),
        (None, None) => return Err(Refusal::BadHost),
    };
    let forwarded = if via_trusted_proxy { request.headers.get("x-forwarded-host") } else { None };
    let given = forwarded.and_then(|value| value.to_str().ok()).map_or(given, str::trim);
    normalised_authority(given, scheme).ok_or(Refusal::BadHost)
}

fn same_host(one: &str, other: &str, scheme: &str) -> bool {
    normalised_authority(one, scheme) == normalised_authority(other, scheme)
}

/// `host[:port]` in lower case, without the scheme's default port and without a trailing dot. `None` when it is none
/// (RFC 9110 §4.2, RFC 3986 §3.2.2); user information is refused as well.
pub fn normalised_authority(given: &str, scheme: &str) -> Option<String> {
    let host = host_of(given);
    let port = given[host.len()..].strip_prefix(':').unwrap_or("");
    if !given[host.len()..].is_empty() && !given[host.len()..].starts_with(':') {
        return None;
    }
    let is_ip_literal = host.starts_with('[');
    let valid = match host.strip_prefix('[') {
        Some(literal) => literal.strip_suffix(']').is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            has_whole_labels(host.as_bytes()) && host.bytes().all(is_byte)
        }
    };
    if !valid || port.len() > 5 || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let host = if is_ip_literal { host } else { host.strip_suffix('.').unwrap_or(host) };
    let default = if scheme == "https" { 443 } else { 80 };
    let mut authority = host.to_ascii_lowercase();
    if authority.is_empty() {
        return None;
    }
    if !port.is_empty() {
        let number: u16 = port.parse().ok()?;
        if number != default {
            authority.push(':');
            authority.push_str(&number.to_string());
        }
    }
    Some(authority)
}

/// Whether no label of a name is empty but the root behind the last dot (RFC 1035 §3.1): of `a.test..` programs take
/// away one dot, both or none.
pub fn has_whole_labels(name: &[u8]) -> bool {
    name.strip_suffix(b".").unwrap_or(name).split(|byte| *byte == b'.').all(|label| !label.is_empty())
}

/// The host of `host[:port]`.
pub(super) fn host_of(authority: &str) -> &str {
    if authority.starts_with('[') {
        return authority.find(']').map_or(authority, |end| &authority[..=end]);
    }
    authority.split(':').next().unwrap_or_default()
}

/// The nearest address of X-Forwarded-For that is no trusted proxy: further ones could be made up.
fn forwarded_client(headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let mut nearest = None;
    // Element by element: a client may have put any bytes before what its proxy appended.
    for element in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
        let Some(address) = std::str::from_utf8(element.trim_ascii()).ok().and_then(address_of) else { break };
        nearest = Some(address);
        if !contains(trusted, address) {
            break;
        }
    }
    nearest
}

/// An address, perhaps with a port, as proxies write it.
fn address_of(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').split(']').next().unwrap_or_default();
    bare.parse().or_else(|_| text.parse::<std::net::SocketAddr>().map(|address| address.ip())).ok()
}

/// Whether an address is in one of the networks; an IPv4 address that arrived on an IPv6 socket counts as IPv4.
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authority_is_normalised_or_refused() {
        for (given, scheme, expected) in [
            ("A.test", "http", Some("a.test")),
            ("a.test:80", "http", Some("a.test")),
            ("a.test:443", "https", Some("a.test")),
            ("a.test:443", "http", Some("a.test:443")),
            ("a.test:", "http", Some("a.test")),
            ("a.test.", "http", Some("a.test")),
            ("a.test:0080", "http", Some("a.test")),
            ("a.test:08080", "http", Some("a.test:8080")),
            ("127.0.0.1:8080", "http", Some("127.0.0.1:8080")),
            ("[::1]:8080", "http", Some("[::1]:8080")),
            ("[::1]", "http", Some("[::1]")),
            ("a_b.test", "http", Some("a_b.test")),
            ("", "http", None),
            (".", "http", None),
            ("a.test..", "http", None),
            ("a.test..:80", "http", None),
            ("a..test", "http", None),
            (".a.test", "http", None),
            ("..", "http", None),
            (":80", "http", None),
            ("a.test:http", "http", None),
            ("a.test:65536", "http", None),
            ("u@a.test", "http", None),
            ("a.test/x", "http", None),
            ("a b", "http", None),
            ("[::1", "http", None),
            ("[zz]", "http", None),
            ("[::1]x", "http", None),
            ("a.test, b.test", "http", None),
        ] {
            assert_eq!(normalised_authority(given, scheme).as_deref(), expected, "{given}");
        }
    }

    #[test]
    fn forwarded_client_is_the_nearest_that_is_not_trusted() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        for (lines, expected) in [
            (&["1.1.1.1"][..], Some("1.1.1.1")),
            (&["6.6.6.6, 1.1.1.1"], Some("1.1.1.1")),
            (&["6.6.6.6, 1.1.1.1, 10.0.0.2"], Some("1.1.1.1")),
            (&["6.6.6.6", "1.1.1.1"], Some("1.1.1.1")),
            (&["10.0.0.2"], Some("10.0.0.2")),
            (&["1.1.1.1, junk"], None),
            (&["1.1.1.1, \u{e9}"], None),
            // What a client made up takes nothing away from what its proxy appended.
            (&["\u{e9}, 1.1.1.1"], Some("1.1.1.1")),
            (&["6.6.6.6", "\u{e9}, 1.1.1.1"], Some("1.1.1.1")),
            (&["[2001:db8::1]:5000"], Some("2001:db8::1")),
            (&["1.1.1.1:5000"], Some("1.1.1.1")),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", header::HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            let found = forwarded_client(&headers, &trusted);
            assert_eq!(found, expected.map(|address| address.parse().unwrap()), "{lines:?}");
        }
    }
}
