//! The head of a response that is answered at once, written as bytes: what [`respond::stored`](super::respond::stored),
//! [`Asked::finish`] and hyper make of the same stored response.

use http::StatusCode;
use http::header::{self, HeaderName};

use super::{has_content, outgoing};
use crate::cache::entry::StoredResponse;
use crate::content::digest;
use crate::policy::cache_status::Verdict;
use crate::proxy::Asked;
use crate::proxy::respond::{self, Form};

/// Puts the head at the end of `out`, for content of so many bytes. `None`, and nothing is written: it is none of those
/// that are written here.
pub(super) fn write(
    asked: &Asked<'_>,
    stored: &StoredResponse,
    form: Form,
    length: usize,
    verdict: &Verdict,
    out: &mut Vec<u8>,
) -> Option<StatusCode> {
    let status = if form.not_modified { StatusCode::NOT_MODIFIED } else { stored.facts.status };
    if !form.not_modified && !has_content(status) {
        return None;
    }
    let start = out.len();
    status_line(out, status);
    let hsts = asked.client.front.hsts.as_ref().filter(|_| asked.client.tls);
    if !stored_fields(stored, form, hsts.is_some(), out) {
        out.truncate(start);
        return None;
    }
    let has = |name: &HeaderName| stored.fields.get_bytes(name).is_some();
    // RFC 9111 §5.1
    field(out, b"age: ", itoa::Buffer::new().format(stored.facts.age(asked.now)).as_bytes());
    if stored.compressible && !stored.fields.iter().any(says_accept_encoding) {
        field(out, b"vary: ", b"Accept-Encoding");
    }
    if let Some(coding) = form.coding {
        if let Some(tag) = respond::tag_of(stored, Some(coding)) {
            field(out, b"etag: ", tag.as_bytes());
        }
        if !form.not_modified {
            field(out, b"content-encoding: ", coding.coding.token().as_bytes());
        }
    } else if status == StatusCode::OK && !has(&header::ACCEPT_RANGES) {
        field(out, b"accept-ranges: ", b"bytes");
    }
    via(asked, stored, out);
    if let Some(hsts) = hsts {
        field(out, b"strict-transport-security: ", hsts.as_bytes());
    }
    out.extend_from_slice(b"cache-status: ");
    verdict.render_into(out);
    out.extend_from_slice(b"\r\n");
    if !form.not_modified {
        field(out, b"content-length: ", itoa::Buffer::new().format(length).as_bytes());
    }
    if !has(&header::DATE) {
        field(out, b"date: ", &asked.proxy.clock.http_date());
    }
    out.extend_from_slice(b"\r\n");
    Some(status)
}

fn status_line(out: &mut Vec<u8>, status: StatusCode) {
    if status == StatusCode::OK {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    let reason = status.canonical_reason().unwrap_or("<none>");
    for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// The fields that stay as they are stored. False: there is one that is not for writing here.
fn stored_fields(stored: &StoredResponse, form: Form, has_hsts: bool, out: &mut Vec<u8>) -> bool {
    for (name, value) in stored.fields.iter() {
        match *name {
            // Written anew.
            header::AGE | header::VIA | header::CONTENT_LENGTH => continue,
            // They would end here, and hyper has its own mind about them.
            header::CONNECTION | header::TRANSFER_ENCODING | header::TRAILER => return false,
            header::STRICT_TRANSPORT_SECURITY if has_hsts => continue,
            _ if form.not_modified && leaves_out_of_304(name) => continue,
            header::ETAG | header::CONTENT_ENCODING | header::ACCEPT_RANGES if form.coding.is_some() => continue,
            _ if form.coding.is_some() && digest::DIGEST_FIELDS.contains(name) => continue,
            _ => {}
        }
        for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    true
}

fn leaves_out_of_304(name: &HeaderName) -> bool {
    respond::NOT_IN_304.contains(name) || digest::CONTENT_DIGESTS.contains(name)
}

fn says_accept_encoding((name, value): (&HeaderName, &[u8])) -> bool {
    *name == header::VARY && digest::varies_on_accept_encoding(value)
}

/// RFC 9110 §7.6.3: one more in the chain.
fn via(asked: &Asked<'_>, stored: &StoredResponse, out: &mut Vec<u8>) {
    out.extend_from_slice(b"via: ");
    for (_, line) in stored.fields.iter().filter(|(name, _)| **name == header::VIA) {
        out.extend_from_slice(line);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(outgoing::via(asked.route.pool.settings().protocol).as_bytes());
    out.extend_from_slice(b"\r\n");
}
