//! A hit in memory answered at once: from the bytes of a request's head to those of the response, past hyper.
//!
//! [`Proxy::at_once`] takes the steps of [`Proxy::handle`] as long as they are plain, by the same functions, and counts
//! nothing before it is certain that it has the answer. A request that it does not answer goes on from where the look
//! ended ([`Proxy::go_on`]), or from the beginning where a step was not plain.

mod head;
mod http2;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, StatusCode, Uri, Version};

use super::admit::{self, Admitted};
use super::client::Client;
use super::lookup;
use super::met::{Known, Met, Unanswered};
use super::outgoing;
use super::respond::{self, Form};
use super::route;
use super::site::{Site, SiteRoute};
use super::{Asked, Proxy, fields, unbelieved};
use crate::cache::entry::StoredResponse;
use crate::cache::file_copies::{FileCopies, FileCopy};
use crate::policy::cache_status::Verdict;
use crate::policy::reuse::{self, Reuse};

/// The largest body that is written at once, in bytes: the kernel takes no more as a whole.
const LARGEST: usize = 1024 * 1024;

/// A body is copied to where the kernel sends it from with one in so many hits, if at all: copying takes as long as three
/// hits, and where the copies that there may be are all in use, each lasts only until another body is copied.
const HITS_FOR_COPY: u32 = 16;

/// Fields that there is room for.
const FIELDS: usize = 24;

/// What a thread keeps from one request to the next, so that a hit allocates nothing for it.
struct Scratch {
    /// Holds the request's head; its fields are slices of it.
    head: BytesMut,
    /// `None`: a request that was not answered at once has taken them along.
    parts: Option<Arc<Parts>>,
}

impl Scratch {
    fn new() -> Box<Self> {
        Box::new(Scratch { head: BytesMut::new(), parts: None })
    }
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// What came of looking at a request's head.
#[derive(Debug)]
pub enum AtOnce {
    /// The request is answered and recorded: the response's head is written, and this is its body.
    Answered(Content),
    /// It is for [`Proxy::go_on`]: it has no body and asks for nothing of its connection.
    Read(Unanswered),
    /// It has to be read by somebody else.
    Other,
}

/// A body to be sent.
#[derive(Debug, Default)]
pub struct Content {
    /// All of it.
    pub bytes: Bytes,
    /// The same in a file, from where the kernel is to send it.
    pub copy: Option<Arc<FileCopy>>,
}

impl Proxy {
    /// Looks at the request whose whole head these bytes are, and answers it if it is a plain one and memory has a fresh
    /// response for it: the response's head is then put at the end of `out`.
    ///
    /// The head is one that the inspection of HTTP/1 approved, without a body behind it.
    pub fn at_once(self: &Arc<Self>, client: &Arc<Client>, head: &[u8], out: &mut Vec<u8>) -> AtOnce {
        let mut scratch = SCRATCH.take().unwrap_or_else(Scratch::new);
        scratch.head.extend_from_slice(head);
        let head = scratch.head.split().freeze();
        let mut parts = scratch.parts.take().unwrap_or_else(empty);
        // Nobody else has it, so that it is never copied.
        let read = read(&head, Arc::make_mut(&mut parts));
        let (mut parts, looked) = match read {
            Some(Read { is_plain: true }) => self.look(client, parts, out),
            _ => (parts, Err(None)),
        };
        let looked = match looked {
            Err(met) if read.is_some() => AtOnce::Read(Unanswered { parts, met }),
            looked => {
                clear(Arc::make_mut(&mut parts));
                scratch.parts = Some(parts);
                looked.map_or(AtOnce::Other, AtOnce::Answered)
            }
        };
        SCRATCH.set(Some(scratch));
        looked
    }

    /// Answers a request that asks for nothing more than looking, or tells what was found out about it.
    fn look(
        self: &Arc<Self>,
        client: &Arc<Client>,
        mut request: Arc<Parts>,
        out: &mut Vec<u8>,
    ) -> (Arc<Parts>, Result<Content, Option<Box<Met>>>) {
        let started = Instant::now();
        let site = self.site.load();
        let parts = Arc::make_mut(&mut request);
        let Some((admitted, route)) = self.plain(&site, client, parts, has_own_fields) else {
            return (request, Err(None));
        };
        let (known, now) = (Known::of(route, parts), self.clock.at(started));
        let asked = Asked::of(self, &site, route, client, request, admitted, known, now);
        let body = asked.hit().and_then(|stored| asked.write(&stored, out, started));
        let Asked { parts, admitted, known, .. } = asked;
        let met = |(): ()| {
            let (site, route) = (Arc::clone(&site), route.clone());
            Some(Box::new(Met { site, route, admitted, known, started, now }))
        };
        (parts, body.ok_or(()).map_err(met))
    }

    /// Admits and routes a request, if it is a plain one and its route suits whoever asks; see [`Proxy::handle`], whose
    /// steps these are.
    fn plain<'a>(
        &self,
        site: &'a Site,
        client: &Client,
        request: &mut Parts,
        suits: fn(&SiteRoute) -> bool,
    ) -> Option<(Admitted, &'a Arc<SiteRoute>)> {
        if !client.front.is_open() || !site.subject_fields.is_empty() || client.subject.is_some() {
            return None;
        }
        if self.cache.shared.as_ref().is_some_and(|shared| !shared.gate.is_open()) {
            return None;
        }
        let admitted = admit::admit(&site.settings, client, request).ok()?;
        if outgoing::has_been_here(&request.headers, &self.own_name)
            || unbelieved::any(&request.headers, admitted.via_trusted_proxy)
        {
            return None;
        }
        fields::join_cookies(&mut request.headers);
        let route = route::find(site, &admitted, request).ok().filter(|route| is_plain(route) && suits(route))?;
        Some((admitted, route))
    }
}

/// A request without anything, with room for the fields of most, and for those that are added when it is forwarded.
fn empty() -> Arc<Parts> {
    let mut request = Request::new(());
    request.headers_mut().reserve(FIELDS);
    Arc::new(request.into_parts().0)
}

/// Forgets a request: nothing may keep the head's bytes, so that their room can be used again.
fn clear(parts: &mut Parts) {
    parts.headers.clear();
    parts.uri = Uri::default();
}

/// Takes back what a request was read into, if nobody has it any more: its fields' room is 3 KB.
pub(super) fn take_back(mut parts: Arc<Parts>) {
    let Some(last) = Arc::get_mut(&mut parts).filter(|parts| parts.extensions.is_empty()) else { return };
    clear(last);
    let mut scratch = SCRATCH.take().unwrap_or_else(Scratch::new);
    scratch.parts.get_or_insert(parts);
    SCRATCH.set(Some(scratch));
}

/// Whether a route asks for nothing that takes more than looking: waiting, counting, another answer.
fn is_plain(route: &SiteRoute) -> bool {
    route.guard.is_none() && route.route.private.is_none() && route.route.redirect.is_none()
}

/// Whether responses go out as they are written here.
fn has_own_fields(route: &SiteRoute) -> bool {
    route.route.response_headers.is_empty()
}

/// What the lines of a head say of the request.
#[derive(Clone, Copy, Debug)]
struct Read {
    /// Nothing is asked for that takes more than looking.
    is_plain: bool,
}

/// Reads an approved head into `parts`. `None`: it has a body, or wants the connection to be something else after.
fn read(head: &Bytes, parts: &mut Parts) -> Option<Read> {
    let line_end = memchr::memchr(b'\n', head)?;
    let (method, target) = match &head[..line_end] {
        [b'G', b'E', b'T', b' ', ..] => (Method::GET, 4),
        [b'H', b'E', b'A', b'D', b' ', ..] => (Method::HEAD, 5),
        _ => return None,
    };
    let target_end = line_end.checked_sub(b" HTTP/1.1\r".len())?;
    if head.get(target..).is_none_or(|target| !target.starts_with(b"/"))
        || &head[target_end..line_end] != b" HTTP/1.1\r"
    {
        return None;
    }
    parts.method = method;
    parts.version = Version::HTTP_11;
    parts.uri = Uri::from_maybe_shared(head.slice(target..target_end)).ok()?;
    let mut read = Read { is_plain: true };
    let mut at = line_end + 1;
    loop {
        let end = at + memchr::memchr(b'\n', &head[at..])?;
        let line = head[at..end].strip_suffix(b"\r")?;
        if line.is_empty() {
            return Some(read);
        }
        let colon = memchr::memchr(b':', line)?;
        let value = line[colon + 1..].trim_ascii();
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        match name {
            header::CONNECTION if !value.eq_ignore_ascii_case(b"keep-alive") => return None,
            header::CONTENT_LENGTH | header::EXPECT | header::TE | header::TRANSFER_ENCODING | header::UPGRADE => {
                return None;
            }
            header::RANGE => read.is_plain = false,
            // `Connection: keep-alive` nominates it (RFC 9110 §7.6.1), which `meet` sees to.
            _ if name == "keep-alive" => read.is_plain = false,
            _ => {}
        }
        let value = HeaderValue::from_maybe_shared(head.slice_ref(value)).ok()?;
        parts.headers.append(name, value);
        at = end + 1;
    }
}

impl Asked<'_> {
    /// The fresh response that memory has for the request; see [`lookup::plan`].
    fn hit(&self) -> Option<Arc<StoredResponse>> {
        if lookup::reason_to_pass(self).is_some() {
            return None;
        }
        let key = lookup::identify(self);
        let cache = &self.proxy.cache;
        if !self.route.route.key.ignore_no_vary_search && !cache.searches.rules(key).is_empty() {
            return None;
        }
        let facts = lookup::facts(self);
        cache.memory.look(key, |entry| {
            let (stored, missing) = lookup::select(self, entry).ok()?;
            let is_fresh = missing.is_none() && reuse::decide(&facts, &stored.facts, self.now) == Reuse::Fresh;
            is_fresh.then(|| stored.clone())
        })
    }

    /// Writes the response's head, records the request and hands back the body; see [`respond::stored`] and
    /// [`Asked::finish`].
    fn write(&self, stored: &StoredResponse, out: &mut Vec<u8>, started: Instant) -> Option<Content> {
        let form = respond::form(self, stored);
        let content = if form.not_modified { Content::default() } else { self.content(stored, form)? };
        let verdict = Verdict { hit: true, ttl: Some(stored.facts.ttl(self.now)), ..Verdict::default() };
        let status = head::write(self, stored, form, content.bytes.len(), &verdict, out)?;
        stored.count_hit();
        let body = if self.parts.method == Method::HEAD { Content::default() } else { content };

        let mut record = self.record(&verdict, status);
        record.bytes_out = body.bytes.len() as u64;
        record.duration = started.elapsed();
        let told = || self.told(Some(stored.facts.age(self.now).into()));
        self.proxy.telemetry.record(&self.route.metrics, &record, told);
        Some(body)
    }

    /// All of a stored response in a form, if memory has it in one piece that is not too large.
    fn content(&self, stored: &StoredResponse, form: Form) -> Option<Content> {
        let coded = match form.coding {
            Some(coding) => Some(stored.body.coded(coding.coding)?),
            None => None,
        };
        let body = coded.as_ref().unwrap_or(&stored.body);
        let bytes = match body.pieces()? {
            _ if body.trailers().is_some() || stored.parts().is_some() => return None,
            [] => Bytes::new(),
            [whole] if whole.len() <= LARGEST => whole.clone(),
            _ => return None,
        };
        let may_copy = self.client.takes_files && self.parts.method != Method::HEAD;
        let copy = if may_copy { body.file_copy(self.copies_for(stored)) } else { None };
        Some(Content { bytes, copy })
    }

    /// Where a body may be copied to now: one that is often asked for may try, now and then.
    fn copies_for(&self, stored: &StoredResponse) -> Option<&Arc<FileCopies>> {
        let hits = stored.hits.load(Ordering::Relaxed);
        (hits % HITS_FOR_COPY == HITS_FOR_COPY - 1).then_some(&self.proxy.cache.file_copies)
    }
}

/// Statuses whose responses have content like any other (RFC 9110 §6.4.1).
fn has_content(status: StatusCode) -> bool {
    !status.is_informational()
        && !matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT)
        && status != StatusCode::NOT_MODIFIED
}
