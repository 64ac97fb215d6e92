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
    let Some(has) = stored_fields(stored, form, hsts.is_some(), out) else {
        out.truncate(start);
        return None;
    };
    // RFC 9111 §5.1
    field(out, b"age: ", itoa::Buffer::new().format(stored.facts.age(asked.now)).as_bytes());
    if stored.compressible && !has.vary_on_accept_encoding {
        field(out, b"vary: ", b"Accept-Encoding");
    }
    if let Some(coding) = form.coding {
        if let Some(tag) = respond::tag_of(stored, Some(coding)) {
            field(out, b"etag: ", tag.as_bytes());
        }
        if !form.not_modified {
            field(out, b"content-encoding: ", coding.coding.token().as_bytes());
        }
    } else if status == StatusCode::OK && !has.accept_ranges {
        field(out, b"accept-ranges: ", b"bytes");
    }
    via(asked, stored, has.via, out);
    if let Some(hsts) = hsts {
        field(out, b"strict-transport-security: ", hsts.as_bytes());
    }
    out.extend_from_slice(b"cache-status: ");
    verdict.render_into(out);
    out.extend_from_slice(b"\r\n");
    if !form.not_modified {
        field(out, b"content-length: ", itoa::Buffer::new().format(length).as_bytes());
    }
    if !has.date {
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

/// What is among the stored fields, learned while they are written.
#[derive(Clone, Copy, Debug, Default)]
struct Has {
    date: bool,
    accept_ranges: bool,
    via: bool,
    vary_on_accept_encoding: bool,
}

/// The fields that stay as they are stored. `None`: there is one that is not for writing here.
fn stored_fields(stored: &StoredResponse, form: Form, has_hsts: bool, out: &mut Vec<u8>) -> Option<Has> {
    let mut has = Has::default();
    for (name, value) in stored.fields.iter() {
        match *name {
            header::DATE => has.date = true,
            header::ACCEPT_RANGES => has.accept_ranges = true,
            header::VARY => has.vary_on_accept_encoding |= digest::varies_on_accept_encoding(value),
            // Written anew.
            header::VIA => {
                has.via = true;
                continue;
            }
            header::AGE | header::CONTENT_LENGTH => continue,
            // They would end here, and hyper has its own mind about them.
            header::CONNECTION | header::TRANSFER_ENCODING | header::TRAILER => return None,
            _ => {}
        }
        match *name {
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
    Some(has)
}

fn leaves_out_of_304(name: &HeaderName) -> bool {
    respond::NOT_IN_304.contains(name) || digest::CONTENT_DIGESTS.contains(name)
}

/// RFC 9110 §7.6.3: one more in the chain.
fn via(asked: &Asked<'_>, stored: &StoredResponse, is_chain: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"via: ");
    for (_, line) in stored.fields.iter().filter(|(name, _)| is_chain && **name == header::VIA) {
        out.extend_from_slice(line);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(outgoing::via(asked.route.pool.settings().protocol).as_bytes());
    out.extend_from_slice(b"\r\n");
}
