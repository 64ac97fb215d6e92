//! The request as the upstream gets it: whose fields are believed, what ends here, what larder adds.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};

use super::Asked;
use super::admit::Admitted;
use crate::config::settings::HeaderEdit;
use crate::content::etag;
use crate::policy::fields;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Makes the outgoing request of a received one. `upgrade` keeps the fields that ask to switch protocols.
pub(super) fn request(asked: &Asked<'_>, upgrade: bool) -> Request<()> {
    let Asked { parts: received, admitted, .. } = asked;
    let mut headers = received.headers.clone();
    let wants_trailers = fields::has_token(&headers, &header::TE, "trailers");
    let protocol = headers.get(header::UPGRADE).cloned().filter(|_| upgrade);
    fields::remove_hop_by_hop(&mut headers);
    // hyper answers 100-continue when the body is first read, that is when the upstream's connection takes it.
    headers.remove(header::EXPECT);
    if wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    set_forwarded(&mut headers, admitted, asked.client.peer.ip());
    append_own_via(&mut headers, received.version, &asked.proxy.own_name);
    strip_coded_tags(&mut headers);
    if let Ok(host) = HeaderValue::from_str(&admitted.authority) {
        headers.insert(header::HOST, host);
    }
    edit(&mut headers, &asked.route.route.request_headers);

    let mut request = Request::new(());
    *request.method_mut() = received.method.clone();
    // RFC 9110 §7.6.2: OPTIONS for the server as a whole stays that.
    *request.uri_mut() = match (&received.method, received.uri.path()) {
        (&Method::OPTIONS, "*") => Uri::from_static("*"),
        _ => Uri::from(admitted.target.clone()),
    };
    *request.headers_mut() = headers;
    request
}

/// RFC 7239 and its older kin. Behind a trusted proxy what it said is continued; what others said is gone already.
pub(super) fn set_forwarded(headers: &mut HeaderMap, admitted: &Admitted, peer: IpAddr) {
    let peer = peer.to_canonical();
    let chain = fields::joined(headers, &FOR).and_then(|chain| chain.to_str().map(str::to_owned).ok());
    let chain = chain.map_or_else(|| peer.to_string(), |chain| format!("{chain}, {peer}"));
    insert(headers, FOR, &chain);
    insert(headers, PROTO, admitted.scheme);
    insert(headers, HOST, &admitted.authority);

    let node = if peer.is_ipv6() { format!("\"[{peer}]\"") } else { peer.to_string() };
    let ours = format!("for={node};host=\"{}\";proto={}", admitted.authority, admitted.scheme);
    let chain = fields::joined(headers, &header::FORWARDED).and_then(|chain| chain.to_str().map(str::to_owned).ok());
    insert(headers, header::FORWARDED, &chain.map_or_else(|| ours.clone(), |chain| format!("{chain}, {ours}")));
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// What Via calls this process: the name with a comment that tells it from other larders on the way, since several
/// in a row are no loop.
pub(super) fn own_name() -> String {
    let mut random = [0; 4];
    match getrandom::fill(&mut random) {
        Ok(()) => format!("larder ({:08x})", u32::from_ne_bytes(random)),
        Err(_) => format!("larder ({:08x})", std::process::id()),
    }
}

/// Whether a request went through this process before (RFC 9110 §7.6.3). Forwarded again it would do so for ever.
pub(super) fn has_been_here(headers: &HeaderMap, own_name: &str) -> bool {
    headers
        .get_all(header::VIA)
        .iter()
        .any(|chain| memchr::memmem::find(chain.as_bytes(), own_name.as_bytes()).is_some())
}

/// Adds what larder calls itself to a response's Via (RFC 9110 §7.6.3), received in that version.
pub(super) fn append_via(headers: &mut HeaderMap, received: http::Version) {
    let ours = match received {
        http::Version::HTTP_2 => "2 larder",
        http::Version::HTTP_10 => "1.0 larder",
        _ => "1.1 larder",
    };
    append_to_via(headers, HeaderValue::from_static(ours));
}

/// The same for a request, by the name that is this process' alone.
fn append_own_via(headers: &mut HeaderMap, received: http::Version, own_name: &str) {
    let version = match received {
        http::Version::HTTP_2 => "2",
        http::Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    if let Ok(ours) = HeaderValue::from_str(&format!("{version} {own_name}")) {
        append_to_via(headers, ours);
    }
}

fn append_to_via(headers: &mut HeaderMap, ours: HeaderValue) {
    let value = match headers.get(header::VIA).and_then(|_| fields::joined(headers, &header::VIA)) {
        Some(chain) => HeaderValue::from_bytes(&[chain.as_bytes(), b", ", ours.as_bytes()].concat()).ok(),
        None => Some(ours),
    };
    if let Some(value) = value {
        headers.insert(header::VIA, value);
    }
}

/// Conditions that name tags of our coded variants mean the upstream's own tags.
fn strip_coded_tags(headers: &mut HeaderMap) {
    for name in [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_RANGE] {
        let values: Vec<HeaderValue> = headers.get_all(&name).iter().cloned().collect();
        if values.iter().any(|value| etag::strip_codings(value).is_some()) {
            headers.remove(&name);
            for value in values {
                headers.append(name.clone(), etag::strip_codings(&value).unwrap_or(value));
            }
        }
    }
}

/// Applies a route's edits in order.
pub(super) fn edit(headers: &mut HeaderMap, edits: &[HeaderEdit]) {
    for edit in edits {
        match edit {
            HeaderEdit::Set(name, value) => {
                headers.insert(name.clone(), value.clone());
            }
            HeaderEdit::Add(name, value) => {
                headers.append(name.clone(), value.clone());
            }
            HeaderEdit::Default(name, value) => {
                headers.entry(name.clone()).or_insert_with(|| value.clone());
            }
            HeaderEdit::Remove(name) => {
                headers.remove(name);
            }
        }
    }
}
