//! Step 10: a response from a stored one, or from the upstream's: conditions, ranges, HEAD, coding.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header};
use http_body::Body as _;

use super::Asked;
use super::body::{Body, Multipart, Part, Source};
use super::code;
use super::received::announced_length;
use crate::cache::body::{BodyReader, SharedBody};
use crate::cache::entry::StoredResponse;
use crate::cache::key::CacheKey;
use crate::cache::parts::StoredParts;
use crate::config::settings::{Coding, CompressionCoding};
use crate::content::coded_body::CodedBody;
use crate::content::ranges::{self, RangeOutcome};
use crate::content::{accept, compressible, digest, etag};
use crate::policy::dates;
use crate::policy::entity_tag::{EntityTag, TagList};
use crate::policy::facts::Facts;
use crate::policy::fields;
use crate::policy::preconditions::{self, Precondition, Validators};
use crate::policy::present::Fields;
use crate::upstream::UpstreamBody;

/// Fields that a 304 leaves out (RFC 9110 §15.4.5): they describe content that it does not have.
pub(super) const NOT_IN_304: [header::HeaderName; 5] = [
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_RANGE,
];

/// What a response is answered from.
#[derive(Clone, Debug)]
enum Content<'a> {
    Whole(SharedBody),
    Parts(&'a StoredParts),
}

impl Content<'_> {
    /// Its length in bytes, once that is known.
    fn len(&self) -> Option<u64> {
        match self {
            Content::Whole(body) => body.len(),
            Content::Parts(parts) => Some(parts.complete_length()),
        }
    }

    /// All of it; `None` when it can't be joined any more, or some is missing.
    fn all(&self, length: Option<u64>) -> Option<Source> {
        match self {
            Content::Whole(body) => Some(Source::Stored(body.reader()?, length)),
            Content::Parts(parts) => self.range(0..parts.complete_length()),
        }
    }

    /// Some of it.
    fn range(&self, range: Range<u64>) -> Option<Source> {
        let left = range.end - range.start;
        match self {
            Content::Whole(body) => Some(Source::Stored(body.range_reader(range)?, Some(left))),
            Content::Parts(parts) => {
                let parts = parts.readers(range)?.into_iter().map(Part::Content).collect();
                Some(Source::Multipart(Multipart { parts, left }))
            }
        }
    }

    /// The same as readers, one after another.
    fn readers(&self, range: Range<u64>) -> Option<Vec<BodyReader>> {
        match self {
            Content::Whole(body) => Some(vec![body.range_reader(range)?]),
            Content::Parts(parts) => parts.readers(range),
        }
    }
}

/// In which form a stored response answers a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// The coding that larder applies.
    pub coding: Option<CompressionCoding>,
    /// A part of it is asked for.
    wants_part: bool,
    /// The client has it already: 304.
    pub not_modified: bool,
}

/// Decides in which form.
pub(super) fn form(asked: &Asked<'_>, response: &StoredResponse) -> Form {
    let request = asked.fields();
    let is_ok = response.facts.status == StatusCode::OK;
    let wants_part = is_ok && request.has(&header::RANGE);
    let coding = coding_for(asked, response).filter(|_| !wants_part && response.parts().is_none());
    let not_modified = is_ok && is_not_modified(&asked.parts.method, request, response, coding);
    Form { coding, wants_part, not_modified }
}

/// Answers from a stored response. `None`: its body can't be joined any more, or a part of it lacks what is asked for.
pub(super) fn stored(asked: &Asked<'_>, key: &CacheKey, response: &Arc<StoredResponse>) -> Option<Response<Body>> {
    let request = &asked.parts.headers;
    let mut headers = response.fields.unpack(6);
    // RFC 9111 §5.1: on every response that the cache did not just receive.
    headers.insert(header::AGE, number(response.facts.age(asked.now)));
    let Form { coding, wants_part, not_modified: is_not_modified } = form(asked, response);
    if response.compressible {
        digest::vary_on_accept_encoding(&mut headers);
    }
    if let Some(coding) = coding {
        digest::apply_coding(&mut headers, coding.coding);
    }
    if is_not_modified {
        return Some(not_modified(headers));
    }
    let body = match (coding, response.parts()) {
        (Some(coding), _) => Content::Whole(code::coded_body(asked, key, response, coding)?),
        (None, Some(parts)) => Content::Parts(parts),
        (None, None) => Content::Whole(response.body.clone()),
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
        _ => body.all(length)?,
    };
    Some(with_head(response.facts.status, headers, source))
}

/// The 206 that an upstream gave, which may be another part than was asked for: it is for the client to look at what it
/// gets (RFC 9110 §15.3.7). `None`: it can't be joined any more.
pub(super) fn part_as_received(response: &StoredResponse, range: &Range<u64>) -> Option<Response<Body>> {
    let parts = response.parts()?;
    single_part(&Content::Parts(parts), range.clone(), parts.complete_length(), response.fields.unpack(3))
}

/// Passes on what the upstream sent, coded where that helps.
pub(super) fn passed(asked: &Asked<'_>, response: Response<UpstreamBody>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    // RFC 9110 §2.5: a version speaks for one hop; hyper would answer HTTP/1.0 for an upstream that does.
    head.version = Version::HTTP_11;
    let compression = asked.route.route.compression.as_ref();
    let size = compression.and_then(|_| announced_length(&head.headers));
    let may_code = compression.filter(|compression| {
        compressible::judge(compression, head.status, &head.headers, size) == compressible::CodingDecision::Code
    });
    let coding = may_code.and_then(|compression| {
        digest::vary_on_accept_encoding(&mut head.headers);
        accept::choose(asked.fields(), &compression.codings).filter(|_| !forbids_coding(asked.fields()))
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
    if matches!(head.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) && evaluate_here(asked, &head.headers) {
        return not_modified(head.headers);
    }
    if coding.is_none()
        && let Some(length) = beginning(asked, &mut head)
    {
        head.status = StatusCode::PARTIAL_CONTENT;
        digest::remove_content_digests(&mut head.headers);
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        return Response::from_parts(head, Body::new(Source::Beginning(Box::new(body), length)));
    }
    let source = match coding {
        _ if is_head => Source::Empty,
        Some(coding) => Source::Coded(Box::new(CodedBody::new(body, coding))),
        None => Source::Upstream(Box::new(body)),
    };
    Response::from_parts(head, Body::new(source))
}

/// Makes the head of a whole, which was asked for in place of its beginning and proved not to be for storing, that of
/// the beginning. How many bytes that is; `None`: the client wants something else, or all.
fn beginning(asked: &Asked<'_>, head: &mut http::response::Parts) -> Option<u64> {
    let range = asked.parts.headers.get(header::RANGE)?;
    let withheld = asked.conditions_withheld && asked.parts.method == Method::GET && head.status == StatusCode::OK;
    let length = announced_length(&head.headers).filter(|_| withheld)?;
    let RangeOutcome::Single(range) = ranges::evaluate(range, length, asked.site.settings.limits.ranges) else {
        return None;
    };
    let date = |name| dates::field(&head.headers, name).flatten();
    let etag = head.headers.get(header::ETAG).and_then(|tag| EntityTag::parse(tag.as_bytes()));
    let validators = Validators { etag, last_modified: date(&header::LAST_MODIFIED) };
    let applies = preconditions::range_applies(&asked.parts.headers, &validators, date(&header::DATE)?);
    if range.start > 0 || !applies {
        return None;
    }
    head.headers.insert(header::CONTENT_RANGE, ranges::content_range(&range, length));
    Some(range.end)
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
    page(status, text.into(), HeaderValue::from_static("text/plain; charset=utf-8"))
}

/// A response with content of larder's own.
pub(super) fn page(status: StatusCode, content: Bytes, content_type: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::new(Source::Text(content)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to a HEAD, made of one with content: that stays here, and its length is told (RFC 9110 §9.3.2, §8.6).
pub(super) fn without_content(response: Response<Body>) -> Response<Body> {
    if response.body().is_end_stream() {
        return response;
    }
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    Response::from_parts(head, Body::empty())
}

/// The coding that the client gets a stored response in.
fn coding_for(asked: &Asked<'_>, response: &StoredResponse) -> Option<CompressionCoding> {
    let compression = asked.route.route.compression.as_ref().filter(|_| response.compressible)?;
    if forbids_coding(asked.fields()) {
        return None;
    }
    // A body that was not announced may have turned out too small to be worth it.
    if response.body.len().is_some_and(|length| length < compression.min_size) {
        return None;
    }
    accept::choose(asked.fields(), &compression.codings)
}

/// RFC 9111 §5.2.1.6: the client asks for content as it is.
fn forbids_coding(request: Fields<'_>) -> bool {
    request.has(&header::CACHE_CONTROL) && fields::has_token(request.map(), &header::CACHE_CONTROL, "no-transform")
}

fn is_not_modified(
    method: &Method,
    request: Fields<'_>,
    response: &StoredResponse,
    coding: Option<CompressionCoding>,
) -> bool {
    if !request.has(&header::IF_NONE_MATCH) && !request.has(&header::IF_MODIFIED_SINCE) {
        return false;
    }
    // RFC 9111 §4.3.2: where there is no Last-Modified, the Date stands in for it.
    let last_modified = Some(response.last_modified().unwrap_or(response.facts.date));
    let tag = tag_of(response, coding);
    let etag = tag.as_ref().and_then(|tag| EntityTag::parse(tag.as_bytes()));
    let validators = Validators { etag, last_modified };
    preconditions::evaluate(method, request.map(), &validators) == Precondition::NotModified
}

/// The entity tag of a stored response in a coding of ours, or as it is.
pub(super) fn tag_of(response: &StoredResponse, coding: Option<CompressionCoding>) -> Option<HeaderValue> {
    let tag = response.fields.get(&header::ETAG)?;
    Some(match coding {
        Some(coding) => etag::for_coding(&tag, coding.coding),
        None => tag,
    })
}

/// Conditions that were left out of a fetch for the cache and are due now. Where they were forwarded, the upstream
/// has decided them.
fn evaluate_here(asked: &Asked<'_>, headers: &HeaderMap) -> bool {
    if !asked.conditions_withheld {
        return false;
    }
    let etag = headers.get(header::ETAG).and_then(|tag| EntityTag::parse(tag.as_bytes()));
    let validators = Validators { etag, last_modified: dates::field(headers, &header::LAST_MODIFIED).flatten() };
    preconditions::evaluate(&asked.parts.method, &asked.parts.headers, &validators) == Precondition::NotModified
}

/// Whether Range counts for what would be sent (RFC 9110 §13.1.5).
pub(super) fn applies_range(request: &HeaderMap, headers: &HeaderMap, facts: &Facts) -> bool {
    let etag = headers.get(header::ETAG).and_then(|tag| EntityTag::parse(tag.as_bytes()));
    let validators = Validators { etag, last_modified: dates::field(headers, &header::LAST_MODIFIED).flatten() };
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
fn part(asked: &Asked<'_>, body: &Content<'_>, length: u64, headers: &HeaderMap) -> Option<Option<Response<Body>>> {
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

fn single_part(body: &Content<'_>, range: Range<u64>, length: u64, mut headers: HeaderMap) -> Option<Response<Body>> {
    digest::remove_content_digests(&mut headers);
    headers.insert(header::CONTENT_RANGE, ranges::content_range(&range, length));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    Some(with_head(StatusCode::PARTIAL_CONTENT, headers, body.range(range)?))
}

fn multipart(
    asked: &Asked<'_>,
    body: &Content<'_>,
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
        parts.extend(body.readers(range)?.into_iter().map(Part::Content));
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
