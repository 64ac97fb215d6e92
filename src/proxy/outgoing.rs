//! The request as the upstream gets it: whose fields are believed, what ends here, what larder adds.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};

use super::Asked;
use super::admit::Admitted;
use super::client::{Client, Forwarded};
use super::rewrite;
use crate::config::settings::{HeaderEdit, UpstreamProtocol};
use crate::content::etag;
use crate::policy::fields;
use crate::policy::present::Fields;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Fields that larder adds to most requests.
const ADDED: usize = 6;

/// Makes the outgoing request of a received one. `upgrade` keeps the fields that ask to switch protocols.
pub(super) fn request(asked: &Asked<'_>, upgrade: bool) -> Request<()> {
    let Asked { parts: received, admitted, .. } = asked;
    let given = asked.fields();
    // With room for what is added below: a clone would have to grow twice.
    let mut headers = HeaderMap::with_capacity(received.headers.len() + ADDED);
    headers.extend(received.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    let wants_trailers = given.has(&header::TE) && fields::has_token(&headers, &header::TE, "trailers");
    let protocol = given.get(&header::UPGRADE).cloned().filter(|_| upgrade);
    fields::remove_hop_by_hop(&mut headers, asked.known.names);
    if given.has(&header::EXPECT) {
        // hyper answers 100-continue when the body is first read, that is when the upstream's connection takes it.
        headers.remove(header::EXPECT);
    }
    if wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    let host = host(asked);
    set_forwarded(&mut headers, given, admitted, asked.client, host.as_ref());
    continue_list(
        &mut headers,
        header::VIA,
        fields::joined(given, &header::VIA),
        asked.proxy.own_name.via(received.version),
    );
    if [header::IF_RANGE, header::IF_MATCH, header::IF_NONE_MATCH].iter().any(|name| given.has(name)) {
        strip_coded_tags(&mut headers);
    }
    if let Some(host) = host {
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
    if let Some(rewrite) = &asked.route.route.rewrite {
        rewrite::outgoing(rewrite, request.uri_mut(), &mut headers);
    }
    *request.headers_mut() = headers;
    request
}

/// The host asked for, sharing the request's bytes where it came as it is kept.
fn host(asked: &Asked<'_>) -> Option<HeaderValue> {
    let authority = asked.admitted.authority.as_str();
    let given = asked.fields().get(&header::HOST).filter(|given| *given == authority);
    given.cloned().or_else(|| HeaderValue::from_str(authority).ok())
}

/// RFC 7239 and its older kin. Behind a trusted proxy what it said (in the fields `given`) is continued; what others
/// said is gone already.
pub(super) fn set_forwarded(
    headers: &mut HeaderMap,
    given: Fields<'_>,
    admitted: &Admitted,
    client: &Client,
    host: Option<&HeaderValue>,
) {
    let scheme = HeaderValue::from_static(admitted.scheme);
    let chain = readable(given, &FOR);
    continue_list(headers, FOR, chain, &client.address);
    headers.insert(PROTO, scheme.clone());
    let Some(host) = host else { return };
    headers.insert(HOST, host.clone());

    if let Some(ours) = forwarded(client, host, admitted.scheme) {
        let chain = readable(given, &header::FORWARDED);
        continue_list(headers, header::FORWARDED, chain, &ours);
    }
}

/// An element of Forwarded. Most requests of a connection are for the same host: then it is that of the one before.
fn forwarded(client: &Client, host: &HeaderValue, scheme: &'static str) -> Option<HeaderValue> {
    let mut last = client.forwarded.lock();
    if let Some(last) = last.as_ref().filter(|last| last.host == *host && last.scheme == scheme) {
        return Some(last.element.clone());
    }
    let is_ipv6 = client.address.as_bytes().contains(&b':');
    let (opening, closing) = if is_ipv6 { ("for=\"[", "]\"") } else { ("for=", "") };
    let element = concatenated(&[
        opening.as_bytes(),
        client.address.as_bytes(),
        closing.as_bytes(),
        b";host=\"",
        host.as_bytes(),
        b"\";proto=",
        scheme.as_bytes(),
    ])?;
    // Copied, since a connection must not keep a whole head for it.
    let host = HeaderValue::from_bytes(host.as_bytes()).ok()?;
    *last = Some(Box::new(Forwarded { host, scheme, element: element.clone() }));
    Some(element)
}

/// What a list field says already, where everybody can read it.
fn readable(given: Fields<'_>, name: &HeaderName) -> Option<HeaderValue> {
    fields::joined(given, name).filter(|chain| chain.to_str().is_ok())
}

/// Appends to what a list field says already.
fn continue_list(headers: &mut HeaderMap, name: HeaderName, chain: Option<HeaderValue>, ours: &HeaderValue) {
    let value = match chain {
        Some(chain) => concatenated(&[chain.as_bytes(), b", ", ours.as_bytes()]),
        None => Some(ours.clone()),
    };
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

/// One value of several pieces, without the formatter: that took a tenth of what a passed-through request costs.
fn concatenated(pieces: &[&[u8]]) -> Option<HeaderValue> {
    let mut text = BytesMut::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
    pieces.iter().for_each(|piece| text.put_slice(piece));
    HeaderValue::from_maybe_shared(text.freeze()).ok()
}

/// What Via calls this process: the name with a comment that tells it from other larders on the way, since several
/// in a row are no loop.
#[derive(Debug)]
pub(super) struct OwnName {
    name: String,
    /// For requests received by HTTP/1.0, HTTP/1.1 and HTTP/2.
    via: [HeaderValue; 3],
}

impl OwnName {
    /// Another one in each process.
    pub(super) fn random() -> Self {
        let mut random = [0; 4];
        let name = match getrandom::fill(&mut random) {
            Ok(()) => format!("larder ({:08x})", u32::from_ne_bytes(random)),
            Err(_) => format!("larder ({:08x})", std::process::id()),
        };
        let value = |version| HeaderValue::try_from(format!("{version} {name}")).expect("all of it is visible ASCII");
        OwnName { via: ["1.0", "1.1", "2"].map(value), name }
    }

    /// What a request's Via says of its way here.
    fn via(&self, received: http::Version) -> &HeaderValue {
        match received {
            http::Version::HTTP_10 => &self.via[0],
            http::Version::HTTP_2 => &self.via[2],
            _ => &self.via[1],
        }
    }
}

/// Whether a request went through this process before (RFC 9110 §7.6.3). Forwarded again it would do so for ever.
pub(super) fn has_been_here(headers: &HeaderMap, own: &OwnName) -> bool {
    let names_us = |chain: &HeaderValue| memchr::memmem::find(chain.as_bytes(), own.name.as_bytes()).is_some();
    headers.get_all(header::VIA).iter().any(names_us)
}

/// Adds what larder calls itself to a response's Via (RFC 9110 §7.6.3).
pub(super) fn append_via(headers: &mut HeaderMap, spoken: UpstreamProtocol) {
    let chain = fields::joined(&*headers, &header::VIA);
    continue_list(headers, header::VIA, chain, &HeaderValue::from_static(via(spoken)));
}

/// What larder calls itself in a response's Via, by what the upstream speaks.
pub(super) fn via(spoken: UpstreamProtocol) -> &'static str {
    match spoken {
        UpstreamProtocol::Http1 | UpstreamProtocol::Auto => "1.1 larder",
        UpstreamProtocol::Http2 => "2 larder",
    }
}

/// Conditions that name tags of our coded variants mean the upstream's own tags. The rest of a coded variant is not to
/// be had from the upstream, whose parts are of the plain form: such a client gets the whole.
fn strip_coded_tags(headers: &mut HeaderMap) {
    if headers.get(header::IF_RANGE).is_some_and(|tag| etag::strip_codings(tag).is_some()) {
        headers.remove(header::RANGE);
        headers.remove(header::IF_RANGE);
    }
    for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
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
