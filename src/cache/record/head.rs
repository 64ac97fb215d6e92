//! The head of a record: everything but the bodies.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use xxhash_rust::xxh3::Xxh3;

use super::blocks::sealed_len;
use super::wire::{Put, Take};
use super::{Damaged, MAGIC, MAX_HEAD, PRELUDE, Record, VERSION, new_id};
use crate::cache::body::SharedBody;
use crate::cache::entry::{Marks, StoredResponse};
use crate::cache::epoch::Epoch;
use crate::cache::fields::StoredFields;
use crate::cache::key::CacheKey;
use crate::cache::purge::Meta;
use crate::clock::Clock;
use crate::config::settings::Coding;
use crate::policy::facts::{Facts, LifetimeSource};
use crate::policy::tags::Tags;
use crate::policy::time::Timestamp;
use crate::policy::vary::Selection;

/// The head of a record.
#[derive(Debug)]
pub struct Head {
    /// The record's number: what its blocks are sealed with.
    pub id: u64,
    /// The key it was stored under.
    pub key: CacheKey,
    /// Where its bodies begin: after the head and the room that was left.
    pub bodies_start: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Response(Box<ResponseHead>),
    Vary(Arc<[HeaderName]>),
}

/// The head of a stored response's record.
#[derive(Debug)]
pub struct ResponseHead {
    /// What the policy remembers, by this process' clock.
    pub facts: Facts,
    /// Which requests select it.
    pub selection: Selection,
    /// Its fields.
    pub fields: StoredFields,
    /// Its purge tags.
    pub tags: Tags,
    /// Which purges its fetch knew of.
    pub epoch: Epoch,
    /// Whether larder may code it.
    pub compressible: bool,
    /// Whether its entity tag is larder's own.
    pub own_tag: bool,
    /// How often it had answered.
    pub hits: u32,
    /// Length of its body in bytes.
    pub body_len: u64,
    trailers: Option<HeaderMap>,
    /// Codings whose bodies follow, with their lengths.
    coded: Vec<(Coding, u64)>,
}

/// Where a body lies in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyPlace {
    /// 0: as received; then those in codings.
    pub section: u8,
    /// Its length, without checksums.
    pub len: u64,
    /// Where its first block begins.
    pub start: u64,
}

impl BodyPlace {
    /// The bytes of the record that it takes, where they can be addressed.
    pub fn range(&self) -> Option<Range<usize>> {
        let end = self.start.checked_add(sealed_len(self.len))?;
        Some(usize::try_from(self.start).ok()?..usize::try_from(end).ok()?)
    }
}

/// In the place of a time since which it is stale.
const NOT_STALE: i64 = i64::MIN;

const RESPONSE: u16 = 1;
const VARY: u16 = 2;

impl Head {
    /// Of a record to be written. `None`: its body is not complete.
    pub fn of(record: &Record, clock: &Clock) -> Option<Head> {
        let content = match record {
            Record::Response(_, response) => {
                let coded = response.body.all_coded();
                let coded = coded.iter().filter_map(|(coding, body)| Some((*coding, body.len()?))).collect();
                let trailers = response.body.trailers().cloned();
                Content::Response(Box::new(ResponseHead::of(response, clock, response.body.len()?, trailers, coded)))
            }
            Record::Vary(_, names) => Content::Vary(names.clone()),
        };
        Some(Head { id: new_id(), key: record.key().clone(), bodies_start: 0, content })
    }

    /// Of a record whose body is known to have so many bytes, and is stored by itself.
    pub fn of_body(
        key: &CacheKey,
        response: &StoredResponse,
        clock: &Clock,
        body_len: u64,
        trailers: Option<HeaderMap>,
    ) -> Head {
        let content = ResponseHead::of(response, clock, body_len, trailers, Vec::new());
        Head { id: new_id(), key: key.clone(), bodies_start: 0, content: Content::Response(Box::new(content)) }
    }

    /// As bytes, up to where the bodies begin: the first time with room for `room` more, from then on in that place.
    /// `None`: too large.
    pub fn encode(&mut self, room: usize) -> Option<Vec<u8>> {
        let mut put = Put(vec![0; PRELUDE]);
        put.bytes(self.key.as_str().as_bytes());
        put.u32(self.key.base().len() as u32);
        let kind = match &self.content {
            Content::Response(response) => {
                response.encode(&mut put);
                RESPONSE
            }
            Content::Vary(names) => {
                put.count(names.len());
                names.iter().for_each(|name| put.bytes(name.as_str().as_bytes()));
                VARY
            }
        };
        let mut bytes = put.0;
        if bytes.len() > MAX_HEAD {
            return None;
        }
        let len = bytes.len();
        let start = if self.bodies_start > 0 { usize::try_from(self.bodies_start).ok()? } else { len + room };
        if start < len || start > 2 * MAX_HEAD {
            return None;
        }
        let mut prelude = Put(Vec::with_capacity(PRELUDE));
        prelude.0.extend_from_slice(&MAGIC);
        prelude.u16(VERSION);
        prelude.u16(kind);
        prelude.u16(0);
        prelude.u32((len - PRELUDE) as u32);
        prelude.u64(start as u64);
        prelude.u64(self.id);
        let checksum = checksum(&prelude.0, &bytes[PRELUDE..]);
        prelude.u64(checksum);
        self.bodies_start = start as u64;
        bytes[..PRELUDE].copy_from_slice(&prelude.0);
        bytes.resize(start, 0);
        Some(bytes)
    }

    /// How many bytes a head takes, by its first ones.
    ///
    /// # Errors
    /// They are no record's.
    pub fn len(bytes: &[u8]) -> Result<usize, Damaged> {
        let (_, _, len) = prelude(bytes)?;
        Ok(PRELUDE + len)
    }

    /// From a record's bytes, or as many of them as [`Head::len`] says.
    ///
    /// # Errors
    /// They do not verify.
    pub fn decode(bytes: &[u8], clock: &Clock) -> Result<Head, Damaged> {
        let (mut fixed, kind, len) = prelude(bytes)?;
        let (bodies_start, id, sum) = (fixed.u64()?, fixed.u64()?, fixed.u64()?);
        let payload = bytes.get(PRELUDE..PRELUDE + len).ok_or(Damaged)?;
        if sum != checksum(&bytes[..PRELUDE - 8], payload) || bodies_start < (PRELUDE + len) as u64 {
            return Err(Damaged);
        }
        let mut take = Take(payload);
        let text = take.text()?.to_owned();
        let key = CacheKey::from_text(text, take.u32()? as usize).ok_or(Damaged)?;
        let content = match kind {
            RESPONSE => Content::Response(Box::new(ResponseHead::decode(&mut take, clock)?)),
            VARY => Content::Vary(take.list(name)?.into()),
            _ => return Err(Damaged),
        };
        take.end()?;
        Ok(Head { id, key, bodies_start, content })
    }

    /// The stored response's head, where it is one's.
    pub fn response(&self) -> Option<&ResponseHead> {
        match &self.content {
            Content::Response(response) => Some(response),
            Content::Vary(_) => None,
        }
    }

    /// What a purge looks at of a stored response, and which purges its fetch knew of.
    pub fn meta(&self) -> Option<(Meta<'_>, Epoch)> {
        let response = self.response()?;
        let (status, content_type) = (response.facts.status.as_u16(), response.fields.get_bytes(&CONTENT_TYPE));
        Some((Meta { key: self.key.as_str(), tags: &response.tags, status, content_type }, response.epoch))
    }

    /// The bytes that stand in its place when the stored response is stale since then; as long as they were. `None`: it
    /// is already.
    pub fn softened(self, since: Timestamp, clock: &Clock) -> Option<Vec<u8>> {
        let Content::Response(mut response) = self.content else { return None };
        if response.facts.stale_since.is_some_and(|before| before <= since) {
            return None;
        }
        response.facts.stale_since = Some(since);
        response.facts = shifted(&response.facts, wall_ahead(clock));
        Head { content: Content::Response(response), ..self }.encode(0)
    }

    /// Where its bodies lie.
    pub fn places(&self) -> impl Iterator<Item = BodyPlace> {
        let lengths = self.response().into_iter().flat_map(|response| {
            std::iter::once(response.body_len).chain(response.coded.iter().map(|(_, length)| *length))
        });
        let mut next = self.bodies_start;
        lengths.zip(0..).map(move |(len, section)| {
            let start = next;
            next = next.saturating_add(sealed_len(len));
            BodyPlace { section, len, start }
        })
    }

    /// Bytes of the whole record. `None`: more than there can be.
    pub fn total_len(&self) -> Option<u64> {
        self.places().try_fold(self.bodies_start, |total, place| total.checked_add(sealed_len(place.len)))
    }

    /// Codings whose bodies follow the one as received, in order.
    pub fn codings(&self) -> Vec<Coding> {
        self.response().map_or_else(Vec::new, |response| response.coded.iter().map(|(coding, _)| *coding).collect())
    }

    /// Trailers of a body: only the one as received has any.
    pub fn trailers(&self, section: u8) -> Option<HeaderMap> {
        self.response()?.trailers.clone().filter(|_| section == 0)
    }

    /// The record, with its body. `None` where it is no stored response's.
    pub fn into_response(self, body: SharedBody) -> Option<Record> {
        let Content::Response(head) = self.content else { return None };
        let response = StoredResponse {
            facts: head.facts,
            fields: head.fields,
            body,
            marks: Marks::since(head.epoch).selected_by(head.selection).tagged(head.tags),
            compressible: head.compressible,
            own_tag: head.own_tag,
            hits: AtomicU32::new(head.hits),
            listing: Default::default(),
        };
        Some(Record::Response(self.key, Arc::new(response)))
    }

    /// The record of what a key's responses vary by. `None` where it is no such one.
    pub fn into_vary(self) -> Option<Record> {
        match self.content {
            Content::Vary(names) => Some(Record::Vary(self.key, names)),
            Content::Response(_) => None,
        }
    }
}

impl ResponseHead {
    fn of(
        response: &StoredResponse,
        clock: &Clock,
        body_len: u64,
        trailers: Option<HeaderMap>,
        coded: Vec<(Coding, u64)>,
    ) -> ResponseHead {
        ResponseHead {
            facts: shifted(&response.facts, wall_ahead(clock)),
            selection: response.selection().clone(),
            fields: response.fields.clone(),
            tags: response.tags().clone(),
            epoch: response.epoch(),
            compressible: response.compressible,
            own_tag: response.own_tag,
            hits: response.hits.load(Ordering::Relaxed),
            body_len,
            trailers,
            coded,
        }
    }

    /// The bodies that its lengths speak of. `None`: one has gone meanwhile.
    pub(super) fn bodies_of(&self, response: &StoredResponse) -> Option<Vec<SharedBody>> {
        let coded = self.coded.iter().map(|(coding, _)| response.body.coded(*coding));
        std::iter::once(Some(response.body.clone())).chain(coded).collect()
    }

    fn encode(&self, put: &mut Put) {
        put_facts(put, &self.facts);
        put.count(self.selection.fields().count());
        for (name, value) in self.selection.fields() {
            put.bytes(name.as_str().as_bytes());
            put.option(value, |put, value| put.bytes(value));
        }
        put_fields(put, self.fields.iter());
        put.bytes(self.tags.packed().as_bytes());
        put.u64(self.epoch.local);
        put.u64(self.epoch.shared.0);
        put.u64(self.epoch.shared.1);
        put.u8(u8::from(self.compressible));
        put.u8(u8::from(self.own_tag));
        put.u32(self.hits);
        put.u64(self.body_len);
        put.option(self.trailers.as_ref(), |put, trailers| {
            let fields: Vec<_> = trailers.iter().map(|(name, value)| (name, value.as_bytes())).collect();
            put_fields(put, fields.into_iter());
        });
        put.count(self.coded.len());
        for (coding, length) in &self.coded {
            put.u8(coding_number(*coding));
            put.u64(*length);
        }
    }

    fn decode(take: &mut Take<'_>, clock: &Clock) -> Result<ResponseHead, Damaged> {
        let mut facts = shifted(&take_facts(take)?, wall_ahead(clock).saturating_neg());
        // By a clock that was ahead it came in the future: it counts as new, not as ever younger.
        facts.response_time = facts.response_time.min(clock.now());
        let selecting = |take: &mut Take<'_>| Ok((name(take)?, take.option(|take| Ok(take.bytes()?.into()))?));
        Ok(ResponseHead {
            facts,
            selection: Selection::from_fields(take.list(selecting)?),
            fields: StoredFields::pack(&take_fields(take)?),
            tags: Tags::from_packed(take.text()?),
            epoch: Epoch { local: take.u64()?, shared: (take.u64()?, take.u64()?) },
            compressible: take.bool()?,
            own_tag: take.bool()?,
            hits: take.u32()?,
            body_len: take.u64()?,
            trailers: take.option(take_fields)?,
            coded: take.list(|take| Ok((coding(take.u8()?)?, take.u64()?)))?,
        })
    }
}

/// The prelude's fixed part after the lengths, the kind, and the payload's length.
fn prelude(bytes: &[u8]) -> Result<(Take<'_>, u16, usize), Damaged> {
    let bytes = bytes.get(..PRELUDE).ok_or(Damaged)?;
    let mut take = Take(bytes.strip_prefix(&MAGIC).ok_or(Damaged)?);
    let (version, kind, zero) = (take.u16()?, take.u16()?, take.u16()?);
    let len = take.u32()? as usize;
    if version == VERSION && zero == 0 && len <= MAX_HEAD - PRELUDE { Ok((take, kind, len)) } else { Err(Damaged) }
}

fn checksum(prelude: &[u8], payload: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(prelude);
    hasher.update(payload);
    hasher.digest()
}

/// How far the wall clock is ahead of the one that stored responses age by.
fn wall_ahead(clock: &Clock) -> i64 {
    clock.wall().as_millis().saturating_sub(clock.now().as_millis())
}

/// Facts by a clock that is so many milliseconds ahead. Outside the process times are the wall clock's.
fn shifted(facts: &Facts, by: i64) -> Facts {
    let shift = |time: Timestamp| Timestamp::from_millis(time.as_millis().saturating_add(by));
    Facts { response_time: shift(facts.response_time), stale_since: facts.stale_since.map(shift), ..facts.clone() }
}

/// Named one by one: a new fact must find its place here, and in [`VERSION`].
fn put_facts(put: &mut Put, facts: &Facts) {
    let Facts {
        status,
        response_time,
        initial_age,
        lifetime,
        lifetime_source,
        stale_while_revalidate,
        stale_if_error,
        forbids_stale,
        immutable,
        no_cache,
        allows_authorization,
        allows_cookies,
        stale_since,
        date,
    } = facts;
    put.u16(status.as_u16());
    put.i64(response_time.as_millis());
    put.u32(*initial_age);
    put.u32(*lifetime);
    put.u8(source_number(*lifetime_source));
    put.u32(*stale_while_revalidate);
    put.u32(*stale_if_error);
    for flag in [forbids_stale, immutable, no_cache, allows_authorization, allows_cookies] {
        put.u8(u8::from(*flag));
    }
    // Of one length, so that a soft purge can be written in its place.
    put.i64(stale_since.map_or(NOT_STALE, Timestamp::as_millis));
    put.i64(date.as_millis());
}

fn take_facts(take: &mut Take<'_>) -> Result<Facts, Damaged> {
    let time = |take: &mut Take<'_>| take.i64().map(Timestamp::from_millis);
    Ok(Facts {
        status: StatusCode::from_u16(take.u16()?).map_err(|_| Damaged)?,
        response_time: time(take)?,
        initial_age: take.u32()?,
        lifetime: take.u32()?,
        lifetime_source: source(take.u8()?)?,
        stale_while_revalidate: take.u32()?,
        stale_if_error: take.u32()?,
        forbids_stale: take.bool()?,
        immutable: take.bool()?,
        no_cache: take.bool()?,
        allows_authorization: take.bool()?,
        allows_cookies: take.bool()?,
        stale_since: Some(take.i64()?).filter(|since| *since != NOT_STALE).map(Timestamp::from_millis),
        date: time(take)?,
    })
}

fn put_fields<'a>(put: &mut Put, fields: impl ExactSizeIterator<Item = (&'a HeaderName, &'a [u8])>) {
    put.count(fields.len());
    for (name, value) in fields {
        put.bytes(name.as_str().as_bytes());
        put.bytes(value);
    }
}

fn take_fields(take: &mut Take<'_>) -> Result<HeaderMap, Damaged> {
    let mut fields = HeaderMap::new();
    for _ in 0..take.u32()? {
        let value = |take: &mut Take<'_>| HeaderValue::from_bytes(take.bytes()?).map_err(|_| Damaged);
        fields.try_append(name(take)?, value(take)?).map_err(|_| Damaged)?;
    }
    Ok(fields)
}

fn name(take: &mut Take<'_>) -> Result<HeaderName, Damaged> {
    HeaderName::from_bytes(take.bytes()?).map_err(|_| Damaged)
}

const CODINGS: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

fn coding_number(coding: Coding) -> u8 {
    match coding {
        Coding::Gzip => 0,
        Coding::Brotli => 1,
        Coding::Zstd => 2,
    }
}

fn coding(number: u8) -> Result<Coding, Damaged> {
    CODINGS.get(usize::from(number)).copied().ok_or(Damaged)
}

const SOURCES: [LifetimeSource; 7] = [
    LifetimeSource::SMaxage,
    LifetimeSource::MaxAge,
    LifetimeSource::Expires,
    LifetimeSource::Heuristic,
    LifetimeSource::Route,
    LifetimeSource::Status,
    LifetimeSource::None,
];

fn source_number(source: LifetimeSource) -> u8 {
    match source {
        LifetimeSource::SMaxage => 0,
        LifetimeSource::MaxAge => 1,
        LifetimeSource::Expires => 2,
        LifetimeSource::Heuristic => 3,
        LifetimeSource::Route => 4,
        LifetimeSource::Status => 5,
        LifetimeSource::None => 6,
    }
}

fn source(number: u8) -> Result<LifetimeSource, Damaged> {
    SOURCES.get(usize::from(number)).copied().ok_or(Damaged)
}
