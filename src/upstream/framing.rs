//! The fields of which the pool alone is in charge: where a request goes, and how long messages are.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;

use super::error::{UpstreamError, UpstreamErrorKind};
use super::request_body::RequestBody;
use crate::config::settings::{UpstreamHost, UpstreamProtocol, UpstreamServer};

/// Addresses a request to a server: Host, or on HTTP/2 `:authority` and `:scheme`.
pub(super) fn address(
    request: &mut Request<RequestBody>,
    host: &UpstreamHost,
    server: &UpstreamServer,
    protocol: UpstreamProtocol,
) {
    // Mostly it has its one Host already, which then stays where it is.
    let mut hosts = request.headers().get_all(HOST).iter();
    let is_addressed = matches!(host, UpstreamHost::Client) && hosts.next().is_some() && hosts.next().is_none();
    if is_addressed && protocol != UpstreamProtocol::Http2 {
        *request.version_mut() = Version::HTTP_11;
        return;
    }
    let given = match host {
        // After a first attempt over HTTP/2 it stands in the URI.
        UpstreamHost::Client => request
            .headers_mut()
            .remove(HOST)
            .or_else(|| request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok())),
        UpstreamHost::Server => None,
        UpstreamHost::Fixed(value) => Some(value.clone()),
    };
    let authority = given.or_else(|| HeaderValue::from_str(&server.authority()).ok());
    request.headers_mut().remove(HOST);
    match protocol {
        UpstreamProtocol::Http1 | UpstreamProtocol::Auto => {
            *request.version_mut() = Version::HTTP_11;
            if let Some(authority) = authority {
                request.headers_mut().insert(HOST, authority);
            }
        }
        UpstreamProtocol::Http2 => {
            *request.version_mut() = Version::HTTP_2;
            let mut parts = std::mem::take(request.uri_mut()).into_parts();
            parts.authority = authority.and_then(|value| Authority::try_from(value.as_bytes()).ok());
            parts.scheme = Some(if server.tls { Scheme::HTTPS } else { Scheme::HTTP });
            parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
            *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        }
    }
}

/// Frames a request by the body that it really has, whatever its fields said.
pub(super) fn frame(request: &mut Request<RequestBody>, protocol: UpstreamProtocol) {
    request.headers_mut().remove(CONTENT_LENGTH);
    request.headers_mut().remove(TRANSFER_ENCODING);
    if request.body().is_end_stream() {
        // RFC 9110 §8.6: a method that expects content says so when there is none.
        if matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
    } else if let Some(length) = request.body().size_hint().exact() {
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    } else if protocol != UpstreamProtocol::Http2 {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// RFC 9110 §10.1.4: who sends TE nominates it, so that it does not travel further than it means. HTTP/2 knows no
/// Connection.
pub(super) fn nominate_te(request: &mut Request<RequestBody>, protocol: UpstreamProtocol) {
    if protocol != UpstreamProtocol::Http2 && request.headers().contains_key(TE) {
        request.headers_mut().append(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Frames a request anew for the protocol that the server has decided for, whatever another one spoke before.
pub(super) fn reframe(request: &mut Request<RequestBody>, protocol: UpstreamProtocol) {
    match protocol {
        UpstreamProtocol::Http2 => {
            request.headers_mut().remove(TRANSFER_ENCODING);
            request.headers_mut().remove(CONNECTION);
        }
        UpstreamProtocol::Http1 | UpstreamProtocol::Auto => {
            frame(request, protocol);
            if !request.headers().contains_key(CONNECTION) {
                nominate_te(request, protocol);
            }
        }
    }
}

/// What a response's framing allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Framing {
    /// The connection may serve another exchange after this response.
    pub(super) reusable: bool,
    /// Only the end of the connection ends the body (RFC 9112 §6.3), so that a cut can't be seen.
    pub(super) close_delimited: bool,
}

/// What the fields of a response say about its end and its connection. Each is shown to it as it is read.
#[derive(Debug, Default)]
pub(super) struct FramingFields {
    length: Option<u64>,
    /// Content-Length is not written as the one number that it is.
    untidy: bool,
    pub(super) chunked: bool,
    pub(super) close: bool,
}

impl FramingFields {
    /// Takes a field into account.
    ///
    /// # Errors
    /// It contradicts another one, or itself.
    pub(super) fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), &'static str> {
        // Most names are told apart by their length.
        match name.as_str().len() {
            10 | 14 | 17 => {}
            _ => return Ok(()),
        }
        match *name {
            CONTENT_LENGTH => return self.note_length(value).ok_or("Content-Length is no single number"),
            TRANSFER_ENCODING => {
                // Only the chunked coding is undone, so that any other would be taken for content.
                if self.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    return Err("Transfer-Encoding is not chunked alone");
                }
                self.chunked = true;
            }
            CONNECTION => {
                let mut members = value.as_bytes().split(|byte| *byte == b',');
                self.close |= members.any(|member| member.trim_ascii().eq_ignore_ascii_case(b"close"));
            }
            _ => {}
        }
        Ok(())
    }

    /// The one number that all members of all fields agree on.
    fn note_length(&mut self, value: &HeaderValue) -> Option<()> {
        for member in value.to_str().ok()?.split(',').map(str::trim) {
            if !member.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let number: u64 = member.parse().ok()?;
            self.untidy |= self.length.is_some() || (member.starts_with('0') && member != "0");
            if *self.length.get_or_insert(number) != number {
                return None;
            }
        }
        self.untidy |= value.as_bytes().contains(&b',');
        Some(())
    }

    /// What all of them together say: the length of the content, if it is announced.
    ///
    /// # Errors
    /// They contradict each other, or the status is one that nobody asked for.
    pub(super) fn conclude<B>(
        &self,
        response: &mut Response<B>,
        upgrade_asked: bool,
    ) -> Result<Option<u64>, &'static str> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS && !upgrade_asked {
            return Err("101 without a request to upgrade");
        }
        // RFC 9112 §6.3: both lengths are an attempt at response splitting, or the work of two programs that disagree.
        if self.chunked && self.length.is_some() {
            return Err("both Transfer-Encoding and Content-Length");
        }
        // RFC 9112 §6.1: what is older than the coding cannot have meant it.
        if self.chunked && response.version() == Version::HTTP_10 {
            return Err("Transfer-Encoding in HTTP/1.0");
        }
        if let Some(length) = self.length.filter(|_| self.untidy) {
            // RFC 9110 §8.6: "5, 5" may be replaced by "5"; nobody downstream should have to.
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(self.length)
    }
}

/// Checks the fields of a response over HTTP/2, where frames end the content. White space around a value makes it
/// malformed (RFC 9113 §8.2.1), and what is malformed is not passed on (§8.1.1).
pub(super) fn check_http2<B>(response: &mut Response<B>, upgrade_asked: bool) -> Result<Framing, UpstreamError> {
    let malformed = |why: &'static str| UpstreamError::because(UpstreamErrorKind::Protocol, why);
    let mut fields = FramingFields::default();
    response.headers().iter().try_for_each(|(name, value)| fields.note(name, value)).map_err(malformed)?;
    if response.headers().values().any(|value| value.as_bytes().trim_ascii().len() < value.len()) {
        return Err(malformed("white space around a value"));
    }
    fields.conclude(response, upgrade_asked).map_err(malformed)?;
    Ok(Framing { reusable: true, close_delimited: false })
}

/// Whether a request asks to switch protocols.
pub(super) fn asks_upgrade<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(UPGRADE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&'static str, &'static str)]) -> Response<()> {
        let mut response = Response::new(());
        for (name, value) in fields {
            response.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        response
    }

    /// What its fields say together.
    fn read(response: &mut Response<()>) -> Result<FramingFields, &'static str> {
        let mut fields = FramingFields::default();
        response.headers().iter().try_for_each(|(name, value)| fields.note(name, value))?;
        fields.conclude(response, false)?;
        Ok(fields)
    }

    #[test]
    fn lengths_of_a_response_must_be_unambiguous() {
        let table: [(&[(&str, &str)], bool); 12] = [
            (&[], true),
            (&[("content-length", "5")], true),
            (&[("content-length", "5"), ("content-length", "5")], true),
            (&[("content-length", "5, 6")], false),
            (&[("content-length", "+5")], false),
            (&[("content-length", "")], false),
            (&[("content-length", "5,")], false),
            (&[("content-length", "18446744073709551616")], false),
            (&[("transfer-encoding", "Chunked")], true),
            (&[("transfer-encoding", "gzip, chunked")], false),
            (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], false),
            (&[("transfer-encoding", "chunked"), ("content-length", "5")], false),
        ];
        for (fields, accepted) in table {
            assert_eq!(read(&mut head(fields)).is_ok(), accepted, "{fields:?}");
        }
    }

    #[test]
    fn http2_knows_no_white_space_around_values() {
        for (value, accepted) in [("a b", true), ("", true), (" a", false), ("a ", false), ("\ta", false), (" ", false)]
        {
            assert_eq!(check_http2(&mut head(&[("x", value)]), false).is_ok(), accepted, "{value:?}");
        }
    }

    #[test]
    fn repeated_length_becomes_one_field() {
        for fields in [&[("content-length", "5, 5"), ("content-length", "5")][..], &[("content-length", "05")]] {
            let mut response = head(fields);
            read(&mut response).unwrap();
            let lengths: Vec<_> = response.headers().get_all(CONTENT_LENGTH).iter().collect();
            assert_eq!(lengths, ["5"]);
        }
    }

    #[test]
    fn close_is_found_in_any_connection_field() {
        for (fields, close) in [
            (&[("connection", "keep-alive")][..], false),
            (&[("connection", "x-close, closed")][..], false),
            (&[("connection", "upgrade"), ("connection", "x, CLOSE ")][..], true),
        ] {
            assert_eq!(read(&mut head(fields)).unwrap().close, close, "{fields:?}");
        }
    }

    #[test]
    fn host_is_the_clients_the_servers_or_fixed() {
        let server = UpstreamServer::new(true, "app.internal", 8443);
        let fixed = UpstreamHost::Fixed(HeaderValue::from_static("fixed.example"));
        for (host, expected) in [
            (UpstreamHost::Client, "shop.example"),
            (UpstreamHost::Server, "app.internal:8443"),
            (fixed, "fixed.example"),
        ] {
            let request = || Request::get("/a?b=c").header(HOST, "shop.example").body(RequestBody::Empty).unwrap();

            let mut http1 = request();
            address(&mut http1, &host, &server, UpstreamProtocol::Http1);
            assert_eq!(http1.headers()[HOST], expected);
            assert_eq!(http1.uri(), "/a?b=c");

            let mut http2 = request();
            // Twice, as for a second attempt.
            address(&mut http2, &host, &server, UpstreamProtocol::Http2);
            address(&mut http2, &host, &server, UpstreamProtocol::Http2);
            assert_eq!(http2.uri().to_string(), format!("https://{expected}/a?b=c"));
            assert!(!http2.headers().contains_key(HOST));
        }
    }

    #[test]
    fn request_fields_never_contradict_the_body() {
        for (method, expected) in [(Method::GET, None), (Method::POST, Some("0"))] {
            let mut request = Request::builder()
                .method(method)
                .header(CONTENT_LENGTH, "7")
                .header(TRANSFER_ENCODING, "chunked")
                .body(RequestBody::Empty)
                .unwrap();
            frame(&mut request, UpstreamProtocol::Http1);
            assert_eq!(request.headers().get(CONTENT_LENGTH).map(|value| value.to_str().unwrap()), expected);
            assert!(!request.headers().contains_key(TRANSFER_ENCODING));
        }
    }
}
