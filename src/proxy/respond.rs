//! Step 10: a response from a stored one, or from the upstream's: conditions, ranges, HEAD, coding.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header};

use super::Asked;
use super::body::{Body, Multipart, Part, Source};
use super::code;
use super::fetch::announced_length;
use crate::cache::body::SharedBody;
use crate::cache::entry::StoredResponse;
use crate::cache::key::CacheKey;
use crate::config::settings::{Coding, CompressionCoding};
use crate::content::coded_body::CodedBody;
use crate::content::ranges::{self, RangeOutcome};
use crate::content::{accept, compressible, digest, etag};
use crate::policy::entity_tag::{EntityTag, TagList};
use crate::policy::facts::Facts;
use crate::policy::fields;
use crate::policy::preconditions::{self, Precondition, Validators};
use crate::upstream::UpstreamBody;

/// Fields that a 304 leaves out (RFC 9110 §15.4.5): they describe content that it does not have.
const NOT_IN_304: [header::HeaderName; 5] = [
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_RANGE,
];

/// Answers from a stored response. `None`: its body can't be joined any more.
pub(super) fn stored(asked: &Asked<'_>, key: &CacheKey, response: &Arc<StoredResponse>) -> Option<Response<Body>> {
    let request = &asked.parts.headers;
    let mut headers = response.fields.unpack(6);
    // RFC 9111 §5.1: on every response that the cache did not just receive.
    headers.insert(header::AGE, number(response.facts.age(asked.now)));
    let wants_part = request.contains_key(header::RANGE) && response.facts.status == StatusCode::OK;
    let coding = coding_for(asked, response).filter(|_| !wants_part);
    if response.compressible {
        digest::vary_on_accept_encoding(&mut headers);
    }
    if let Some(coding) = coding {
        digest::apply_coding(&mut headers, coding.coding);
    }
    if response.facts.status == StatusCode::OK
        && is_not_modified(&asked.parts.method, request, &headers, &response.facts)
    {
        return Some(not_modified(headers));
    }
    let body = match coding {
        Some(coding) => code::coded_body(asked, key, response, coding)?,
        None => response.body.clone(),
    };
    let length = body.len().or_else(|| announced_length(&headers));
    if coding.is_none() && response.facts.status == StatusCode::OK {
        headers.entry(header::ACCEPT_RANGES).or_insert(HeaderValue::from_static("bytes"));
    }
    if wants_part
        && asked.parts.method == Method::GET
        && let Some(length) = length
        && applies_range(request, &headers, &response.facts)
        && let Some(part) = part(asked, &body, length, &headers)
    {
        return part;
    }
    let source = match asked.parts.method {
        Method::HEAD => {
            if let Some(length) = length {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
            Source::Empty
        }
        _ => Source::Stored(body.reader()?, length),
    };
    Some(with_head(response.facts.status, headers, source))
}

/// Passes on what the upstream sent, coded where that helps.
pub(super) fn passed(asked: &Asked<'_>, response: Response<UpstreamBody>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    // RFC 9110 §2.5: a version speaks for one hop; hyper would answer HTTP/1.0 for an upstream that does.
    head.version = Version::HTTP_11;
    let compression = asked.route.route.compression.as_ref();
    let size = announced_length(&head.headers);
    let may_code = compression.filter(|compression| {
        compressible::judge(compression, head.status, &head.headers, size) == compressible::CodingDecision::Code
    });
    let coding = may_code.and_then(|compression| {
        digest::vary_on_accept_encoding(&mut head.headers);
        accept::choose(&asked.parts.headers, &compression.codings).filter(|_| !forbids_coding(&asked.parts.headers))
    });
    if let Some(coding) = coding {
        digest::apply_coding(&mut head.headers, coding.coding);
    }
    if head.status == StatusCode::NOT_MODIFIED
        && let Some(tag) = compression.and_then(|_| tag_as_asked(&asked.parts.headers, &head.headers))
    {
        head.headers.insert(header::ETAG, tag);
    }
    let is_head = asked.parts.method == Method::HEAD;
    if head.status == StatusCode::OK && evaluate_here(asked, &head.headers) {
        return not_modified(head.headers);
    }
    let source = match coding {
        _ if is_head => Source::Empty,
        Some(coding) => Source::Coded(Box::new(CodedBody::new(body, coding))),
        None => Source::Upstream(Box::new(body)),
    };
    Response::from_parts(head, Body::new(source))
}

/// Where the client asked about a coded variant of ours, the upstream's 304 is about that: the tag as it stands in the
/// client's condition (RFC 9110 §15.4.5).
fn tag_as_asked(request: &HeaderMap, not_modified: &HeaderMap) -> Option<HeaderValue> {
    let tag = not_modified.get(header::ETAG)?;
    let Some(TagList::Tags(asked)) = TagList::of(request, &header::IF_NONE_MATCH) else { return None };
    let given = |tag: &HeaderValue| {
        let tag = EntityTag::parse(tag.as_bytes());
        tag.is_some_and(|tag| asked.iter().any(|asked| asked.weakly_equals(&tag)))
    };
    let coded = [Coding::Gzip, Coding::Brotli, Coding::Zstd].map(|coding| etag::for_coding(tag, coding));
    coded.into_iter().find(|coded| !given(tag) && given(coded))
}

/// A response without content, or with a short text, that larder makes itself.
pub(super) fn own(status: StatusCode) -> Response<Body> {
    let text = format!("{} {}\n", status.as_u16(), status.canonical_reason().unwrap_or("Error"));
    let mut response = Response::new(Body::new(Source::Text(text.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The coding that the client gets a stored response in.
fn coding_for(asked: &Asked<'_>, response: &StoredResponse) -> Option<CompressionCoding> {
    if forbids_coding(&asked.parts.headers) {
        return None;
    }
    let compression = asked.route.route.compression.as_ref().filter(|_| response.compressible)?;
    // A body that was not announced may have turned out too small to be worth it.
    if response.body.len().is_some_and(|length| length < compression.min_size) {
        return None;
    }
    accept::choose(&asked.parts.headers, &compression.codings)
}

/// RFC 9111 §5.2.1.6: the client asks for content as it is.
fn forbids_coding(request: &HeaderMap) -> bool {
    fields::has_token(request, &header::CACHE_CONTROL, "no-transform")
}

fn is_not_modified(method: &Method, request: &HeaderMap, headers: &HeaderMap, facts: &Facts) -> bool {
    // RFC 9111 §4.3.2: where there is no Last-Modified, the Date stands in for it.
    let last_modified = Some(facts.last_modified.unwrap_or(facts.date));
    let etag = headers.get(header::ETAG).and_then(|tag| EntityTag::parse(tag.as_bytes()));
    let validators = Validators { etag, last_modified };
    preconditions::evaluate(method, request, &validators) == Precondition::NotModified
}

/// Conditions that were left out of a fetch for the cache and are due now. Where they were forwarded, the upstream
/// has decided them.
fn evaluate_here(asked: &Asked<'_>, headers: &HeaderMap) -> bool {
    let etag = headers.get(header::ETAG).and_then(|tag| EntityTag::parse(tag.as_bytes()));
    let last_modified =
        headers.get(header::LAST_MODIFIED).and_then(|value| crate::policy::dates::parse(value.to_str().ok()?));
    let validators = Validators { etag, last_modified };
    asked.conditions_withheld
        && preconditions::evaluate(&asked.parts.method, &asked.parts.headers, &validators) == Precondition::NotModified
}

fn applies_range(request: &HeaderMap, headers: &HeaderMap, facts: &Facts) -> bool {
    let etag = headers.get(header::ETAG).and_then(|tag| EntityTag::parse(tag.as_bytes()));
    let validators = Validators { etag, last_modified: facts.last_modified };
    preconditions::range_applies(request, &validators, facts.date)
}

fn not_modified(mut headers: HeaderMap) -> Response<Body> {
    for name in &NOT_IN_304 {
        headers.remove(name);
    }
    digest::remove_content_digests(&mut headers);
    with_head(StatusCode::NOT_MODIFIED, headers, Source::Empty)
}

/// The part of a body that Range asks for. `None`: Range does not apply. `Some(None)`: the body can't be joined.
fn part(asked: &Asked<'_>, body: &SharedBody, length: u64, headers: &HeaderMap) -> Option<Option<Response<Body>>> {
    let range = asked.parts.headers.get(header::RANGE)?;
    match ranges::evaluate(range, length, asked.site.settings.limits.ranges) {
        RangeOutcome::Ignore => None,
        RangeOutcome::Unsatisfiable => {
            let mut response = own(StatusCode::RANGE_NOT_SATISFIABLE);
            response.headers_mut().insert(header::CONTENT_RANGE, ranges::unsatisfied_range(length));
            Some(Some(response))
        }
        RangeOutcome::Single(range) => Some(single_part(body, range, length, headers.clone())),
        RangeOutcome::Multi(ranges) => Some(multipart(asked, body, &ranges, length, headers.clone())),
    }
}

fn single_part(body: &SharedBody, range: Range<u64>, length: u64, mut headers: HeaderMap) -> Option<Response<Body>> {
    digest::remove_content_digests(&mut headers);
    headers.insert(header::CONTENT_RANGE, ranges::content_range(&range, length));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    let known = Some(range.end - range.start);
    Some(with_head(StatusCode::PARTIAL_CONTENT, headers, Source::Stored(body.range_reader(range)?, known)))
}

fn multipart(
    asked: &Asked<'_>,
    body: &SharedBody,
    wanted: &[Range<u64>],
    length: u64,
    mut headers: HeaderMap,
) -> Option<Response<Body>> {
    let frame = ranges::Multipart::new(wanted, length, headers.get(header::CONTENT_TYPE), asked.proxy.boundary());
    digest::remove_content_digests(&mut headers);
    headers.insert(header::CONTENT_TYPE, frame.content_type());
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(frame.content_length()));
    let left = frame.content_length();
    let mut parts = VecDeque::with_capacity(frame.parts.len() * 2 + 1);
    for (text, range) in frame.parts {
        parts.push_back(Part::Text(text));
        parts.push_back(Part::Content(body.range_reader(range)?));
    }
    parts.push_back(Part::Text(frame.tail));
    Some(with_head(StatusCode::PARTIAL_CONTENT, headers, Source::Multipart(Multipart { parts, left })))
}

/// A number as a field's value, in one allocation where `HeaderValue::from` takes two.
fn number(value: u32) -> HeaderValue {
    HeaderValue::from_str(itoa::Buffer::new().format(value)).expect("digits are a field value")
}

fn with_head(status: StatusCode, headers: HeaderMap, source: Source) -> Response<Body> {
    let mut response = Response::new(Body::new(source));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
