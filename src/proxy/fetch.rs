//! Steps 7 to 9: forward for the cache, judge the answer, fill. A fetch owns all it needs, so that it goes on when
//! the client that caused it has left.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};

use super::fill::Fill;
use super::lookup::{self, Wanted};
use super::site::{Site, SiteRoute};
use super::{Asked, Proxy, outgoing};
use crate::cache::body::{BodyReader, SharedBody};
use crate::cache::collapse::{FetchFailure, Lead, Progress, Ready};
use crate::cache::entry::StoredResponse;
use crate::cache::fields::StoredFields;
use crate::content::{compressible, static_files};
use crate::policy::reason::NoStoreReason;
use crate::policy::store::{self, Arrival, Storable};
use crate::policy::time::Timestamp;
use crate::policy::vary::Selection;
use crate::policy::{dates, fields, reuse, validate};
use crate::upstream::{Exchange, RequestBody, UpstreamBody, UpstreamError};

/// A request to the upstream whose answer may be stored.
#[derive(Debug)]
pub(super) struct Fetch {
    proxy: Arc<Proxy>,
    site: Arc<Site>,
    route: Arc<SiteRoute>,
    wanted: Wanted,
    /// The client's request, as received: Vary speaks of that.
    received: Parts,
    /// As it goes to the upstream.
    outgoing: Request<()>,
    exchange: Exchange,
}

/// What a fetch brought.
#[derive(Debug)]
pub(super) struct Fetched {
    /// How it ended.
    pub outcome: Outcome,
    /// From sending the request to the head of the answer.
    pub first_byte: Option<Duration>,
}

/// How a fetch ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// With something stored, or being filled, to answer from. The reader keeps the beginning of a body from going
    /// before the client that caused the fetch has begun to read.
    Ready(Ready, Option<BodyReader>),
    /// With a response that is passed on and not stored.
    Passed(Box<Response<UpstreamBody>>, NoStoreReason),
    /// Without a response.
    Failed(UpstreamError),
}

/// A response's head, and when it was asked for and came.
struct Arrived {
    response: Response<UpstreamBody>,
    request_time: Timestamp,
    response_time: Timestamp,
    first_byte: Duration,
}

impl Fetch {
    /// For a request that the cache could not answer.
    pub(super) fn new(asked: &Asked<'_>, wanted: Wanted) -> Self {
        let mut outgoing =
            outgoing::request(&asked.parts, &asked.admitted, asked.client.peer.ip(), &asked.route.route, false);
        // The cache wants the whole response in its plain form: conditions, ranges and codings are its own business.
        if wanted.collapsible || wanted.stored.is_some() || asked.parts.headers.contains_key(header::RANGE) {
            for name in validate::CLIENT_CONDITIONS {
                outgoing.headers_mut().remove(name);
            }
            outgoing.headers_mut().remove(header::RANGE);
        }
        if asked.route.route.compression.is_some() {
            outgoing.headers_mut().remove(header::ACCEPT_ENCODING);
        }
        Fetch {
            proxy: asked.proxy.clone(),
            site: asked.site.clone(),
            route: asked.route.clone(),
            wanted,
            received: asked.parts.clone(),
            outgoing,
            exchange: asked.exchange(),
        }
    }

    /// Asks the upstream and sees the answer through: to the client's hands, and into the cache where it may.
    /// `lead` is held until the body has ended.
    pub(super) async fn run(self, lead: Option<Lead>) -> Fetched {
        let arrived = match self.ask().await {
            Ok(arrived) => arrived,
            Err(error) => {
                publish(&lead, Progress::Failed(FetchFailure { status: error.status(), word: error.word() }));
                return Fetched { outcome: Outcome::Failed(error), first_byte: None };
            }
        };
        let first_byte = Some(arrived.first_byte);
        let outcome = match (&self.wanted.stored, arrived.response.status()) {
            (Some(stored), StatusCode::NOT_MODIFIED) => self.freshen(stored.clone(), arrived, lead),
            _ => self.take(arrived, lead),
        };
        Fetched { outcome, first_byte }
    }

    /// Forwards, as a validation where something is stored. A 304 that confirms nothing we have is asked again
    /// without conditions (RFC 9111 §4.3.4).
    async fn ask(&self) -> Result<Arrived, UpstreamError> {
        let mut headers = self.outgoing.headers().clone();
        if let Some(stored) = &self.wanted.stored {
            make_conditional(&mut headers, stored, &self.wanted);
        }
        let arrived = self.send(headers).await?;
        let unconfirmed = arrived.response.status() == StatusCode::NOT_MODIFIED
            && self.wanted.stored.as_ref().is_some_and(|stored| !self.confirms_any(stored, arrived.response.headers()));
        if unconfirmed { self.send(self.outgoing.headers().clone()).await } else { Ok(arrived) }
    }

    fn confirms_any(&self, selected: &Arc<StoredResponse>, not_modified: &HeaderMap) -> bool {
        let confirms = |stored: &Arc<StoredResponse>| {
            validate::confirms(not_modified, &stored.fields.unpack(0), Arc::ptr_eq(stored, selected))
        };
        self.wanted.entry.variants().iter().any(confirms)
    }

    async fn send(&self, headers: HeaderMap) -> Result<Arrived, UpstreamError> {
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = Method::GET;
        *request.uri_mut() = self.outgoing.uri().clone();
        *request.headers_mut() = headers;
        let (request_time, sent) = (self.proxy.clock.now(), Instant::now());
        let mut response = self.route.pool.send(request, self.exchange.clone()).await?;
        let response_time = self.proxy.clock.now();
        prepare(response.headers_mut(), response_time);
        Ok(Arrived { response, request_time, response_time, first_byte: sent.elapsed() })
    }

    /// A full response: judged, then filled or passed on.
    fn take(&self, mut arrived: Arrived, lead: Option<Lead>) -> Outcome {
        let is_static = apply_static_class(&self.site, &self.route, &self.received, &mut arrived.response);
        let judged = self.judge(&arrived, is_static).and_then(|(storable, selection)| {
            let announced = announced_length(arrived.response.headers());
            let fits = announced.is_none_or(|length| length <= self.route.route.cache.max_object);
            if fits { Ok((storable, selection)) } else { Err(NoStoreReason::TooLarge) }
        });
        match judged {
            Ok((storable, selection)) => self.fill(arrived, storable, selection, lead),
            Err(reason) => self.pass_on(arrived, reason, lead),
        }
    }

    fn judge(&self, arrived: &Arrived, is_static: bool) -> Result<(Storable, Selection), NoStoreReason> {
        let arrival = Arrival {
            method: &Method::GET,
            request: &self.wanted.facts,
            status: arrived.response.status(),
            headers: arrived.response.headers(),
            request_time: arrived.request_time,
            response_time: arrived.response_time,
            is_static,
        };
        let storable = store::judge(&arrival, &self.route.route.cache)?;
        let settled = self.route.route.compression.is_some().then_some(&header::ACCEPT_ENCODING);
        let selection =
            Selection::of(arrived.response.headers(), &self.received.headers, settled).ok_or(NoStoreReason::VaryAny)?;
        Ok((storable, selection))
    }

    fn pass_on(&self, arrived: Arrived, reason: NoStoreReason, lead: Option<Lead>) -> Outcome {
        let status = arrived.response.status();
        let stale_may_do = self.wanted.stored.as_ref().is_some_and(|stored| stored.facts.stale_if_error > 0);
        publish(
            &lead,
            match reuse::is_failure(status) && stale_may_do {
                true => Progress::Failed(FetchFailure { status, word: "upstream-error" }),
                false => Progress::Uncacheable(reason),
            },
        );
        if lead.is_some() {
            let until = self.proxy.clock.now() + self.site.settings.memory.uncacheable_memory;
            self.proxy.cache.flights.remember_uncacheable(&self.wanted.key, until);
        }
        // RFC 9111 §4.3.3: what was to be validated has been replaced by something that may not be kept.
        if let Some(stored) = self.wanted.stored.as_ref().filter(|_| !reuse::is_failure(status)) {
            self.proxy.cache.memory.remove_variant(&self.wanted.key, stored);
        }
        Outcome::Passed(Box::new(arrived.response), reason)
    }

    fn fill(&self, arrived: Arrived, storable: Storable, selection: Selection, lead: Option<Lead>) -> Outcome {
        let (mut head, upstream_body) = arrived.response.into_parts();
        for name in &storable.without {
            head.headers.remove(name);
        }
        let announced = announced_length(&head.headers);
        let compressible = self.route.route.compression.as_ref().is_some_and(|compression| {
            compressible::judge(compression, head.status, &head.headers, announced)
                == compressible::CodingDecision::Code
        });
        let (body, filler) = SharedBody::growing();
        let response = Arc::new(StoredResponse {
            facts: storable.facts,
            selection,
            fields: StoredFields::pack(&head.headers),
            body,
            coded: Arc::default(),
            compressible,
            own_tag: false,
            hits: AtomicU32::new(0),
        });
        let ready = Ready { response: response.clone(), forward_status: head.status };
        publish(&lead, Progress::Ready(ready.clone()));
        self.proxy.cache.flights.forget_uncacheable(&self.wanted.key);
        let fill = Fill {
            proxy: self.proxy.clone(),
            key: self.wanted.key.clone(),
            response,
            filler,
            max_object: self.route.route.cache.max_object,
            max_variants: self.route.route.cache.max_variants,
            uncacheable_memory: self.site.settings.memory.uncacheable_memory,
        };
        let anchor = ready.response.body.reader();
        fill.begin(upstream_body, lead);
        Outcome::Ready(ready, anchor)
    }

    /// A 304: every variant that it confirms is freshened (RFC 9111 §4.3.4), and the selected one answers.
    fn freshen(&self, selected: Arc<StoredResponse>, arrived: Arrived, lead: Option<Lead>) -> Outcome {
        let mut answer = None;
        for stored in self.wanted.entry.variants() {
            let is_selected = Arc::ptr_eq(stored, &selected);
            if !validate::confirms(arrived.response.headers(), &stored.fields.unpack(0), is_selected) {
                continue;
            }
            let fresh = self.freshened(stored, &arrived);
            match fresh {
                Ok(fresh) => {
                    let fresh = Arc::new(fresh);
                    self.replace(stored, &fresh, lead.as_ref());
                    if is_selected || answer.is_none() {
                        answer = Some(fresh);
                    }
                }
                // What it says now forbids keeping it: it may answer this once.
                Err(_) => {
                    self.proxy.cache.memory.remove_variant(&self.wanted.key, stored);
                    answer.get_or_insert_with(|| stored.clone());
                }
            }
        }
        let response = answer.unwrap_or(selected);
        let ready = Ready { response, forward_status: StatusCode::NOT_MODIFIED };
        publish(&lead, Progress::Ready(ready.clone()));
        Outcome::Ready(ready, None)
    }

    fn replace(&self, old: &Arc<StoredResponse>, new: &Arc<StoredResponse>, lead: Option<&Lead>) {
        if lead.is_none_or(|lead| lead.flight().may_store()) {
            self.proxy.cache.memory.replace(&self.wanted.key, old, new.clone());
        }
    }

    fn freshened(&self, stored: &Arc<StoredResponse>, arrived: &Arrived) -> Result<StoredResponse, NoStoreReason> {
        freshened(
            stored,
            arrived.response.headers(),
            (arrived.request_time, arrived.response_time),
            &self.wanted,
            &self.route,
        )
    }
}

/// A stored response with the fields of a 304, or of a HEAD's answer, taken over (RFC 9111 §3.2, §4.3.4, §4.3.5).
pub(super) fn freshened(
    stored: &StoredResponse,
    fresh: &HeaderMap,
    (request_time, response_time): (Timestamp, Timestamp),
    wanted: &Wanted,
    route: &SiteRoute,
) -> Result<StoredResponse, NoStoreReason> {
    let mut headers = stored.fields.unpack(4);
    fields::update(&mut headers, fresh);
    let arrival = Arrival {
        method: &Method::GET,
        request: &wanted.facts,
        status: stored.facts.status,
        headers: &headers,
        request_time,
        response_time,
        is_static: stored.facts.allows_cookies,
    };
    let storable = store::judge(&arrival, &route.route.cache)?;
    for name in &storable.without {
        headers.remove(name);
    }
    Ok(StoredResponse {
        facts: storable.facts,
        selection: stored.selection.clone(),
        fields: StoredFields::pack(&headers),
        body: stored.body.clone(),
        coded: stored.coded.clone(),
        compressible: stored.compressible,
        own_tag: stored.own_tag,
        hits: AtomicU32::new(stored.hits.load(std::sync::atomic::Ordering::Relaxed)),
    })
}

/// What every response from an upstream goes through before anybody looks at it.
pub(super) fn prepare(headers: &mut HeaderMap, response_time: Timestamp) {
    fields::remove_hop_by_hop(headers);
    // RFC 9110 §6.6.1: a recipient with a clock supplies the Date that is missing.
    if !headers.contains_key(header::DATE) {
        headers.insert(header::DATE, dates::format(response_time));
    }
}

/// Adds the Cache-Control of a static-file class where the upstream gave none. Whether the response is a static file
/// that may be shared among requests with cookies.
///
/// Only where nothing personal shows: no Set-Cookie, no Authorization, no word of the upstream against caching.
pub(super) fn apply_static_class<B>(
    site: &Site,
    route: &SiteRoute,
    request: &Parts,
    response: &mut Response<B>,
) -> bool {
    let is_file = matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT);
    if !route.route.static_files || !is_file {
        return false;
    }
    let personal =
        response.headers().contains_key(header::SET_COOKIE) || request.headers.contains_key(header::AUTHORIZATION);
    let cookie = lookup::cookie_matters(&route.route.cache.cookies, &request.headers);
    let (path, query) = (request.uri.path(), request.uri.query());
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let class = static_files::classify(&site.settings.static_classes, path, query, content_type);
    let applies = |class: &static_files::Match<'_>| !personal && (!cookie || class.class.with_cookies);
    let Some(class) = class.filter(applies) else { return false };
    let headers = response.headers_mut();
    let silent =
        ![header::CACHE_CONTROL, header::EXPIRES, header::PRAGMA].iter().any(|name| headers.contains_key(name));
    if silent || class.class.override_upstream {
        let cache_control = class.cache_control();
        headers.insert(header::CACHE_CONTROL, cache_control);
        headers.remove(header::EXPIRES);
        headers.remove(header::PRAGMA);
    }
    class.class.with_cookies
}

fn make_conditional(headers: &mut HeaderMap, stored: &StoredResponse, wanted: &Wanted) {
    let tags: Vec<_> = wanted
        .entry
        .variants()
        .iter()
        .filter(|variant| !variant.own_tag)
        .filter_map(|variant| variant.fields.get(&header::ETAG))
        .collect();
    validate::make_conditional(headers, &stored.fields.unpack(0), tags.iter());
}

/// Content-Length, which the pool has checked.
pub(super) fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn publish(lead: &Option<Lead>, progress: Progress) {
    if let Some(lead) = lead {
        lead.flight().publish(progress);
    }
}
