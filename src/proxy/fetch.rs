//! Steps 7 to 9: forward for the cache, judge the answer, fill. A fetch owns all it needs, so that it goes on when
//! the client that caused it has left.

use std::ops::Range;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use smallvec::SmallVec;

use super::fill::Fill;
use super::front::Identified;
use super::guard::Place;
use super::lease;
use super::lookup::{self, Own, Wanted};
use super::part::{self, Ask, Brings};
use super::settle::settle;
use super::site::{Site, SiteRoute};
use super::{Asked, Proxy, outgoing, rewrite, search, session};
use crate::cache::body::{BodyReader, SharedBody};
use crate::cache::collapse::{FetchFailure, Lead, Progress, Ready};
use crate::cache::entry::{Entry, Marks, StoredResponse};
use crate::cache::epoch::Epoch;
use crate::cache::fields::StoredFields;
use crate::cache::parts::StoredParts;
use crate::cache::redis::lease::Leases;
use crate::cache::searches::{Moment, PurgedMeanwhile};
use crate::cache::sessions::SessionMoment;
use crate::content::{compressible, static_files};
use crate::policy::directives::ResponseDirectives;
use crate::policy::facts::{Facts, RequestFacts};
use crate::policy::present::Names;
use crate::policy::reason::{ForwardReason, NoStoreReason};
use crate::policy::reuse::{self, Reuse};
use crate::policy::rules::SetCookieRule;
use crate::policy::search::NoVarySearch;
use crate::policy::store::{self, Arrival, Storable};
use crate::policy::tags::{self, TagRules, Tags, TooManyTags};
use crate::policy::time::{Times, Timestamp};
use crate::policy::vary::Selection;
use crate::policy::{dates, fields, freshness, validate};
use crate::upstream::{Exchange, RequestBody, UpstreamBody, UpstreamError};

/// A request to the upstream whose answer may be stored.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) proxy: Arc<Proxy>,
    site: Arc<Site>,
    pub(super) route: Arc<SiteRoute>,
    pub(super) wanted: Box<Wanted>,
    /// The client's request, as received: Vary speaks of that.
    pub(super) received: Parts,
    /// As it goes to the upstream.
    outgoing: Request<()>,
    exchange: Exchange,
    withholds_conditions: bool,
    /// Whether it would be for a session alone, had it been clear for which.
    session_unclear: bool,
    /// Scheme and authority that the client asked, where URLs in the answer are rewritten.
    asked_at: Option<(&'static str, String)>,
    /// The client's place at the upstream: the fetch needs it when the client has left, too.
    place: Option<Place>,
}

/// What a fetch brought.
#[derive(Debug)]
pub(super) struct Fetched {
    /// How it ended.
    pub outcome: Outcome,
    /// From sending the request to the head of the answer.
    pub first_byte: Option<Duration>,
    /// Another node fetched it, and this one waited for that.
    pub by_another: bool,
}

/// How a fetch ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// With something stored, or being filled, to answer from.
    Ready(Box<Brought>),
    /// With a response that is passed on and not stored.
    Passed(Box<Response<UpstreamBody>>, NoStoreReason),
    /// Without a response.
    Failed(UpstreamError),
}

/// Something to answer from, for the client that caused the fetch.
#[derive(Debug)]
pub(super) struct Brought {
    /// What others may be answered from as well.
    pub ready: Ready,
    /// Fields that are for this client alone.
    pub own: HeaderMap,
    /// Why it is not kept, where it is not.
    pub no_store: Option<NoStoreReason>,
    /// Which part of the body it brought, where that is not all of it.
    pub part: Option<Range<u64>>,
    /// Keeps the beginning of the body from going before this client has begun to read.
    _anchor: Option<BodyReader>,
}

/// A response's head, and when it was asked for and came.
pub(super) struct Arrived {
    pub(super) response: Box<Response<UpstreamBody>>,
    pub(super) times: Times,
    pub(super) first_byte: Duration,
    /// The purges that were known when it was asked for.
    pub(super) epoch: Epoch,
    /// The same for purges of what the query does not tell apart.
    pub(super) began: (Moment, SessionMoment),
    /// What purges may find it by.
    pub(super) tags: Result<Tags, TooManyTags>,
}

impl Arrived {
    fn is_found_by_tags(&self) -> Result<(), NoStoreReason> {
        self.tags.as_ref().map(drop).map_err(|_| NoStoreReason::TooManyTags)
    }
}

impl Fetch {
    /// For a request that the cache could not answer.
    pub(super) fn new(asked: &Asked<'_>, wanted: Box<Wanted>) -> Self {
        Fetch { received: asked.parts.clone(), ..Fetch::without_request(asked, wanted) }
    }

    /// The same where whoever asks waits for the end: the request is not copied, but lent until then.
    pub(super) fn borrowing(asked: &mut Asked<'_>, wanted: Box<Wanted>) -> Self {
        let mut fetch = Fetch::without_request(asked, wanted);
        std::mem::swap(&mut fetch.received, &mut asked.parts);
        fetch
    }

    /// Ends a fetch begun by [`Fetch::borrowing`]; what it was for.
    pub(super) fn returning(mut self, asked: &mut Asked<'_>) -> Box<Wanted> {
        std::mem::swap(&mut self.received, &mut asked.parts);
        self.wanted
    }

    fn without_request(asked: &Asked<'_>, wanted: Box<Wanted>) -> Self {
        let mut outgoing = outgoing::request(asked, false);
        // The cache wants the response in its plain form: conditions and codings are its own business.
        let withholds_conditions = wanted.collapsible || wanted.stored.is_some() || asked.fields().has(&header::RANGE);
        let conditions = validate::CLIENT_CONDITIONS.iter().filter(|_| withholds_conditions);
        let parts = [header::RANGE, header::IF_RANGE].into_iter().filter(|_| wanted.ask == Ask::Whole);
        let codings = asked.route.route.compression.is_some().then_some(header::ACCEPT_ENCODING);
        let headers = outgoing.headers_mut();
        let names = Names::of(headers);
        for name in conditions.cloned().chain(parts).chain(codings).filter(|name| names.may_have(name)) {
            headers.remove(name);
        }
        let rewrites = asked.route.route.rewrite.is_some();
        Fetch {
            proxy: asked.proxy.clone(),
            site: asked.site.clone(),
            route: asked.route.clone(),
            wanted,
            received: Request::new(()).into_parts().0,
            outgoing,
            exchange: asked.exchange(),
            withholds_conditions,
            session_unclear: asked.whose.is_unclear(),
            asked_at: rewrites.then(|| (asked.admitted.scheme, asked.admitted.authority.clone())),
            place: asked.place.clone(),
        }
    }

    /// Whether the client's conditions were left out, so that they are due when the answer is there.
    pub(super) fn withholds_conditions(&self) -> bool {
        self.withholds_conditions
    }

    /// For nobody in particular: the client that gave the occasion is answered already, and gets no interim responses.
    pub(super) fn in_background(mut self) -> Self {
        self.exchange.on_interim = None;
        self
    }

    /// Asks the upstream and sees the answer through: to the client's hands, and into the cache where it may.
    /// `lead` is held until the body has ended.
    pub(super) async fn run(&mut self, lead: Lead) -> Fetched {
        if let Some(response) = self.fetched_by_another().await {
            let ready = Ready { key: self.wanted.key.clone(), response, forward_status: StatusCode::OK };
            self.announce(&ready, &lead);
            let anchor = ready.response.body.reader();
            let brought = Brought { ready, own: HeaderMap::new(), no_store: None, part: None, _anchor: anchor };
            return Fetched { outcome: Outcome::Ready(Box::new(brought)), first_byte: None, by_another: true };
        }
        self.leave_purged();
        let fetched = self.run_here(lead).await;
        let is_stored = matches!(&fetched.outcome, Outcome::Ready(brought) if brought.no_store.is_none());
        if let Some(leases) = self.leases().filter(|_| !is_stored) {
            lease::let_go(leases, &self.wanted).await;
        }
        fetched
    }

    fn leases(&self) -> Option<&Leases> {
        self.proxy.cache.shared.as_ref()?.leases.as_deref()
    }

    /// What another node fetches at this moment, where nodes agree on that.
    async fn fetched_by_another(&self) -> Option<Arc<StoredResponse>> {
        self.leases().filter(|_| self.wanted.ask == Ask::Whole)?;
        let (wait, rules) = (self.site.settings.memory.collapse_wait, &self.route.route.cache);
        lease::fetched_by_another(&self.proxy, &self.wanted, &self.received.headers, wait, rules.max_variants).await
    }

    async fn run_here(&mut self, lead: Lead) -> Fetched {
        let (arrived, confirmed) = match self.ask(lead.flight().epoch()).await {
            Ok(answered) => answered,
            Err(error) => {
                let failure = FetchFailure { status: self.wanted.failure_status(&error), word: error.word() };
                lead.flight().publish(Progress::Failed(failure));
                return Fetched { outcome: Outcome::Failed(error), first_byte: None, by_another: false };
            }
        };
        let first_byte = Some(arrived.first_byte);
        let outcome = match confirmed {
            Some(confirmed) => self.freshen(&confirmed, &arrived, lead),
            None => self.take(arrived, lead),
        };
        Fetched { outcome, first_byte, by_another: false }
    }

    /// What was purged since it was looked up, and before this fetch began, is not to be confirmed.
    fn leave_purged(&mut self) {
        if self.wanted.entry.variants().is_empty() {
            return;
        }
        let (cache, key) = (&self.proxy.cache, &self.wanted.key);
        self.wanted.stored = self.wanted.stored.take().filter(|stored| cache.usable(key, stored.clone()).is_some());
        let entry = self.wanted.entry.mapped(|stored| cache.usable(key, stored.clone()).map(|_| stored.clone()));
        self.wanted.entry = entry.unwrap_or_default();
    }

    /// Forwards, as a validation where something is stored; with the answer comes what a 304 confirms. One that confirms
    /// nothing we have is asked again without conditions (RFC 9111 §4.3.4).
    async fn ask(&mut self, epoch: Epoch) -> Result<(Arrived, Option<Arc<StoredResponse>>), UpstreamError> {
        if self.wanted.stored.is_none() {
            // The usual way, and the only one on which it is asked once at most: what it takes with it is not copied.
            let headers = std::mem::take(self.outgoing.headers_mut());
            return Ok((self.send(headers, epoch).await?, None));
        }
        let mut headers = self.outgoing.headers().clone();
        if let Some((gap, stored, _)) = self.wanted.gap() {
            part::ask_for_gap(&mut headers, gap, stored);
            let arrived = self.send(headers, epoch).await?;
            // What would be no answer to the client's own request is put aside, and that asked.
            let arrived = match self.is_of_use(&arrived) {
                true => arrived,
                false => self.send(self.outgoing.headers().clone(), epoch).await?,
            };
            return Ok((arrived, None));
        }
        if let Some(stored) = &self.wanted.stored {
            make_conditional(&mut headers, stored, &self.wanted);
        }
        let arrived = self.send(headers, epoch).await?;
        let confirmed = self.confirmed(&arrived).cloned();
        let is_validation = self.wanted.stored.is_some();
        if is_validation && confirmed.is_none() && arrived.response.status() == StatusCode::NOT_MODIFIED {
            let arrived = self.send(self.outgoing.headers().clone(), epoch).await?;
            let confirmed = self.confirmed(&arrived).cloned();
            return Ok((arrived, confirmed));
        }
        Ok((arrived, confirmed))
    }

    /// Whether the answer to a request for what is missing is either that, or about the representation as a whole.
    fn is_of_use(&self, arrived: &Arrived) -> bool {
        match arrived.response.status() {
            StatusCode::PARTIAL_CONTENT => self.gap_filled(arrived).is_some() && self.judge_part(arrived).is_ok(),
            StatusCode::NOT_MODIFIED | StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PRECONDITION_FAILED => false,
            _ => true,
        }
    }

    /// The stored parts that a 206 is to be combined with, as it brings just what they lack.
    fn gap_filled(&self, arrived: &Arrived) -> Option<(&StoredResponse, &StoredParts)> {
        let (gap, stored, parts) = self.wanted.gap()?;
        let headers = arrived.response.headers();
        let brings = part::brings(arrived.response.status(), headers)?;
        part::fills_gap(&brings, headers, gap, stored).then_some((stored, parts))
    }

    /// The stored response that a 304 confirms (RFC 9111 §4.3.4): the selected one, or another of the key by the
    /// strong tag that they share, which proves that it is byte for byte what this client is to get.
    fn confirmed(&self, arrived: &Arrived) -> Option<&Arc<StoredResponse>> {
        let selected = self.wanted.stored.as_ref().filter(|_| arrived.response.status() == StatusCode::NOT_MODIFIED)?;
        let not_modified = arrived.response.headers();
        let mut named = tags(&self.wanted.entry, selected);
        let first = named.next();
        let alone = named.all(|tag| Some(&tag) == first.as_ref());
        if validate::confirms(not_modified, &selected.fields.unpack(0), alone) {
            return Some(selected);
        }
        if !validate::has_strong_tag(not_modified) {
            return None;
        }
        self.wanted.entry.variants().iter().filter(|stored| stored.parts().is_none()).find(|stored| {
            validate::confirms(not_modified, &stored.fields.unpack(0), false)
                && lookup::is_acceptable(&self.route, stored, &self.received.headers)
                && stored.facts.admits(&self.wanted.facts)
        })
    }

    async fn send(&self, headers: HeaderMap, epoch: Epoch) -> Result<Arrived, UpstreamError> {
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = Method::GET;
        *request.uri_mut() = self.outgoing.uri().clone();
        *request.headers_mut() = headers;
        let cache = &self.proxy.cache;
        let began = (cache.searches.moment(), cache.sessions.moment());
        let (request_time, sent) = (self.proxy.clock.now(), Instant::now());
        let mut response = Box::new(self.route.pool.send(request, self.exchange.clone()).await?);
        let (times, first_byte) = (self.proxy.clock.times_since(request_time), sent.elapsed());
        settle(&self.route, &mut response).await;
        prepare(response.headers_mut(), times.wall);
        if let Some(own) = &self.wanted.own
            && session::ends(response.headers(), &own.rules.cookie)
        {
            cache.end_session(&own.name);
        }
        if let Some((scheme, authority)) = &self.asked_at {
            let origin = rewrite::Origin::new(&self.route.route, self.route.pool.settings(), scheme, authority);
            rewrite::incoming(&origin, response.headers_mut());
        }
        let tags = take_tags(response.headers_mut(), &self.site.settings.tags);
        Ok(Arrived { response, times, first_byte, epoch, began, tags })
    }

    /// A full response: judged, then filled or passed on.
    pub(super) fn take(&self, mut arrived: Arrived, lead: Lead) -> Outcome {
        // RFC 9111 §4.3.3: what is stored answers instead, so that the error must not take its place.
        if reuse::is_failure(arrived.response.status()) && self.may_stand_in() {
            return self.pass_on(arrived, NoStoreReason::ErrorStatus, lead);
        }
        let is_static = apply_static_class(&self.site, &self.route, &self.received, &mut arrived.response);
        if arrived.response.status() == StatusCode::PARTIAL_CONTENT {
            return match self.judge_part(&arrived) {
                Ok(part) => {
                    *arrived.response.headers_mut() = part.headers;
                    self.fill(arrived, part.judged, Some((part.brings, part.onto)), None, lead)
                }
                Err(reason) => self.pass_on(arrived, reason, lead),
            };
        }
        let headers = arrived.response.headers();
        let judged = self.judge(arrived.response.status(), headers, arrived.times, is_static);
        let fits = || self.fits(announced_length(headers)).and(arrived.is_found_by_tags());
        match judged.and_then(|judged| fits().map(|()| judged)) {
            Ok(judged) => self.fill(arrived, judged, None, None, lead),
            Err(reason) => match self.judge_for_session(reason, &arrived) {
                Ok((judged, own)) => self.fill(arrived, judged, None, Some(own), lead),
                Err(reason) => self.pass_on(arrived, reason, lead),
            },
        }
    }

    /// What is not for all may still be stored for the session that asked.
    fn judge_for_session(&self, reason: NoStoreReason, arrived: &Arrived) -> Result<(Judged, &Own), NoStoreReason> {
        let own = self.wanted.own.as_ref().filter(|_| is_personal(reason)).ok_or(reason)?;
        let (status, headers) = (arrived.response.status(), arrived.response.headers());
        let (method, times) = (&Method::GET, arrived.times);
        let arrival = Arrival { method, request: &own.facts, status, headers, times, is_static: false, private: true };
        let storable = store::judge(&arrival, &self.route.route.cache)?;
        let selection = selection(headers, &self.received.headers, &self.route)?;
        let length = announced_length(headers);
        self.fits(length)?;
        arrived.is_found_by_tags()?;
        if length.is_some_and(|length| length > own.rules.max_session_bytes) {
            return Err(NoStoreReason::TooLarge);
        }
        Ok(((storable, selection), own))
    }

    fn judge(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        times: Times,
        is_static: bool,
    ) -> Result<Judged, NoStoreReason> {
        let (method, request) = (&Method::GET, &self.wanted.facts);
        let arrival = Arrival { method, request, status, headers, times, is_static, private: false };
        let storable = store::judge(&arrival, &self.route.route.cache).map_err(|why| self.unmasked(why, &arrival))?;
        let selection = selection(headers, &self.received.headers, &self.route)?;
        Ok((storable, selection))
    }

    /// A 206: what it brings, and the fields and the judgement of the whole that it is a part of (RFC 9111 §3.4).
    fn judge_part(&self, arrived: &Arrived) -> Result<JudgedPart, NoStoreReason> {
        let received = arrived.response.headers();
        // Nobody asked for a part: who knows what it is.
        let expected = self.wanted.gap().is_some() || self.received.headers.contains_key(header::RANGE);
        let brings = part::brings(arrived.response.status(), received).filter(|_| expected);
        let brings = brings.ok_or(NoStoreReason::Partial)?;
        arrived.is_found_by_tags()?;
        self.fits(Some(brings.range.end - brings.range.start))?;
        let mut headers = received.clone();
        let mut onto = None;
        if let Some((stored, parts)) = self.gap_filled(arrived) {
            headers = stored.fields.unpack(4);
            fields::update(&mut headers, received);
            onto = Some(parts.clone());
        }
        headers.remove(header::CONTENT_RANGE);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(brings.complete_length));
        let judged = self.judge(StatusCode::OK, &headers, arrived.times, self.is_static(received))?;
        Ok(JudgedPart { brings, headers, judged, onto })
    }

    fn is_static(&self, headers: &HeaderMap) -> bool {
        let mut head = Response::new(());
        *head.headers_mut() = headers.clone();
        apply_static_class(&self.site, &self.route, &self.received, &mut head)
    }

    fn fits(&self, length: Option<u64>) -> Result<(), NoStoreReason> {
        let fits = length.is_none_or(|length| length <= self.route.route.cache.max_object);
        if fits { Ok(()) } else { Err(NoStoreReason::TooLarge) }
    }

    /// Of what the app says nothing about: whether it only looks like a file.
    fn unmasked(&self, why: NoStoreReason, arrival: &Arrival<'_>) -> NoStoreReason {
        let silent = matches!(why, NoStoreReason::NoFreshness | NoStoreReason::CookieRequest)
            && !arrival.headers.contains_key(header::CACHE_CONTROL);
        let looks_like_a_file = self.route.route.static_files
            && static_files::is_candidate(&self.site.settings.static_classes, self.received.uri.path());
        if silent && looks_like_a_file && !arrival.is_static { NoStoreReason::Disguised } else { why }
    }

    fn may_stand_in(&self) -> bool {
        let now = self.proxy.clock.now();
        self.wanted.stored.as_ref().is_some_and(|stored| reuse::may_stand_in(&self.wanted.facts, &stored.facts, now))
    }

    pub(super) fn pass_on(&self, arrived: Arrived, reason: NoStoreReason, lead: Lead) -> Outcome {
        let status = arrived.response.status();
        if reuse::is_failure(status) && self.may_stand_in() {
            lead.flight().publish(Progress::Failed(FetchFailure { status, word: "upstream-error" }));
        } else {
            self.release_followers(&lead, reason);
        }
        // RFC 9111 §4.3.3: what was to be validated has been replaced by something that may not be kept. An answer that
        // is only this client's says nothing about what others share.
        let is_about_this_request = matches!(
            reason,
            NoStoreReason::CookieRequest | NoStoreReason::Authorization | NoStoreReason::RequestNoStore
        );
        let replaced = !status.is_server_error() && !is_about_this_request;
        if let Some(stored) = self.wanted.stored.as_ref().filter(|_| replaced) {
            self.proxy.cache.remove_variant(&self.wanted.key, stored);
        }
        Outcome::Passed(arrived.response, self.of_whom(reason))
    }

    /// Where the answer is for one session alone, but not clearly for which, that is the reason.
    fn of_whom(&self, reason: NoStoreReason) -> NoStoreReason {
        if self.session_unclear && is_personal(reason) { NoStoreReason::SessionUnclear } else { reason }
    }

    /// The answer is of no use to others: they ask for themselves, at once, and those to come do not wait at all.
    fn release_followers(&self, lead: &Lead, reason: NoStoreReason) {
        lead.flight().publish(Progress::Uncacheable(reason));
        // What is said of a part says nothing about the whole.
        if self.tells_of_others() && self.wanted.ask == Ask::Whole {
            let until = self.proxy.clock.now() + self.site.settings.memory.uncacheable_memory;
            self.proxy.cache.flights.remember_uncacheable(&self.wanted.key, until);
        }
    }

    /// Whether others that ask for the same would be answered likewise. Also where nobody waits for this answer, because
    /// the last one could not be shared either: as long as that is so, it stays known.
    fn tells_of_others(&self) -> bool {
        let facts = &self.wanted.facts;
        let is_anybodys = !facts.directives.no_store && !facts.authorization && !facts.cookie;
        self.wanted.collapsible || (is_anybodys && self.wanted.why != ForwardReason::Method)
    }

    /// Tells followers what there is, if any request but the one that fetched it may have it (RFC 9111 §4): what is
    /// stale on arrival or says `no-cache` is kept for validating alone.
    fn announce(&self, ready: &Ready, lead: &Lead) {
        let ordinary = RequestFacts::default();
        match reuse::decide(&ordinary, &ready.response.facts, self.proxy.clock.now()) {
            Reuse::Fresh | Reuse::Stale(_) => {
                lead.flight().publish(Progress::Ready(ready.clone()));
                if self.wanted.ask == Ask::Whole {
                    self.proxy.cache.flights.forget_uncacheable(&self.wanted.key);
                }
            }
            _ => self.release_followers(lead, NoStoreReason::ZeroTtl),
        }
    }

    fn fill(
        &self,
        arrived: Arrived,
        (storable, selection): Judged,
        part: Option<(Brings, Option<StoredParts>)>,
        private: Option<&Own>,
        lead: Lead,
    ) -> Outcome {
        // A part is stored under the URL's own key, whatever it says of the query.
        let said = NoVarySearch::of(arrived.response.headers()).filter(|_| part.is_none());
        let Ok(key) = self.key_of(said.as_ref(), private, arrived.began, lead.flight()) else {
            return self.pass_on(arrived, NoStoreReason::Purged, lead);
        };
        let (brings, onto) = part.unzip();
        let (mut head, upstream_body) = arrived.response.into_parts();
        let own = take_out(&mut head.headers, &storable);
        let announced = announced_length(&head.headers);
        let compressible = self.route.route.compression.as_ref().is_some_and(|compression| {
            compressible::judge(compression, storable.facts.status, &head.headers, announced)
                == compressible::CodingDecision::Code
        });
        let (filled, filler) = SharedBody::growing();
        let part = brings.as_ref().filter(|it| it.range != (0..it.complete_length));
        let parts = part.map(|Brings { range, complete_length }| {
            let new =
                StoredParts::new(range.clone(), *complete_length, filled.clone(), self.route.route.cache.max_object);
            Box::new(onto.flatten().map_or(new.clone(), |stored| stored.with(&new)))
        });
        let response = Arc::new(StoredResponse {
            facts: storable.facts,
            fields: StoredFields::pack(&head.headers),
            body: if parts.is_some() { SharedBody::absent() } else { filled.clone() },
            marks: Marks::since(arrived.epoch)
                .selected_by(selection)
                .tagged(arrived.tags.unwrap_or_default())
                .in_parts(parts),
            compressible,
            own_tag: false,
            hits: AtomicU32::new(0),
            listing: OnceLock::new(),
        });
        let ready = Ready { key: key.clone(), response: response.clone(), forward_status: head.status };
        match private {
            Some(_) => self.release_followers(&lead, NoStoreReason::Private),
            None => self.announce(&ready, &lead),
        }
        let max_object = self.route.route.cache.max_object;
        let fill = Fill {
            proxy: self.proxy.clone(),
            key,
            response,
            filler,
            range: brings.as_ref().map(|it| it.range.clone()),
            max_object: private.map_or(max_object, |own| max_object.min(own.rules.max_session_bytes)),
            max_variants: self.route.route.cache.max_variants,
            uncacheable_memory: self.site.settings.memory.uncacheable_memory,
            session: private.map(|own| (own.name.clone(), arrived.began.1)),
            metrics: self.route.metrics.clone(),
        };
        let anchor = filled.reader();
        fill.begin(upstream_body, lead, self.place.clone());
        let part = part.map(|it| it.range.clone());
        Outcome::Ready(Box::new(Brought { ready, own, no_store: None, part, _anchor: anchor }))
    }

    /// A 304: what it confirms is freshened and answers.
    fn freshen(&self, confirmed: &Arc<StoredResponse>, arrived: &Arrived, lead: Lead) -> Outcome {
        let is_selected = self.wanted.stored.as_ref().is_some_and(|selected| Arc::ptr_eq(selected, confirmed));
        self.freshen_alike(arrived, is_selected.then_some(confirmed));
        let headers = arrived.response.headers();
        let fresh = freshened(
            confirmed,
            is_selected,
            headers,
            arrived.times,
            &self.wanted,
            &self.received.headers,
            &self.route,
        );
        let own = self.wanted.found_in();
        let tags = arrived.tags.as_ref().map(|tags| fresh.response.tags().updated(tags, headers));
        let unfound = tags.as_ref().err().map(|_| NoStoreReason::TooManyTags);
        let tags = tags.unwrap_or_default();
        let response = Arc::new(fresh.response.marked(arrived.epoch, tags));
        let (cache, key) = (&self.proxy.cache, &self.wanted.key);
        let stored_as = match fresh.no_store {
            None => self.key_of(search::said(&response).as_ref(), own, arrived.began, lead.flight()),
            Some(_) => Ok(key.clone()),
        };
        let no_store = fresh.no_store.or(unfound).or(stored_as.is_err().then_some(NoStoreReason::Purged));
        let stored_as = stored_as.unwrap_or_else(|PurgedMeanwhile| key.clone());
        let ready =
            Ready { key: stored_as.clone(), response: response.clone(), forward_status: StatusCode::NOT_MODIFIED };
        match no_store {
            None => {
                let keeps_key = stored_as == *key;
                if is_selected && keeps_key {
                    cache.replace(key, confirmed, response);
                } else if cache.usable(key, confirmed.clone()).is_some() {
                    cache.insert(&stored_as, response, self.route.route.cache.max_variants);
                }
                // The session ended between the question and the insertion.
                if own.is_some_and(|own| !cache.sessions.goes_on(own.name.as_str(), arrived.began.1)) {
                    cache.memory.remove(&stored_as);
                }
                if !keeps_key {
                    // It says something else of the query now.
                    cache.remove_variant(key, confirmed);
                }
                match own {
                    Some(_) => lead.flight().publish(Progress::Uncacheable(NoStoreReason::Private)),
                    None => self.announce(&ready, &lead),
                }
            }
            // It may answer this request, but no other.
            Some(reason) => {
                self.release_followers(&lead, reason);
                if reason != NoStoreReason::RequestNoStore {
                    cache.remove_variant(key, confirmed);
                }
            }
        }
        Outcome::Ready(Box::new(Brought { ready, own: fresh.own, no_store, part: None, _anchor: None }))
    }
}

/// Whether a response is not stored for all, but may be for the session that asked.
fn is_personal(reason: NoStoreReason) -> bool {
    matches!(reason, NoStoreReason::Private | NoStoreReason::CookieRequest)
}

/// What is to be stored, and which requests select it.
type Judged = (Storable, Selection);

/// A part that is to be stored.
struct JudgedPart {
    brings: Brings,
    /// The fields of the whole that it is a part of.
    headers: HeaderMap,
    judged: Judged,
    /// The stored parts that it is combined with.
    onto: Option<StoredParts>,
}

/// A stored response with the fields of a 304, or of a HEAD's answer, taken over.
pub(super) struct Freshened {
    /// With its new fields, age and lifetime.
    pub response: StoredResponse,
    /// Fields that only the client that asked gets.
    own: HeaderMap,
    /// Why it may not be kept any more, if so.
    pub no_store: Option<NoStoreReason>,
}

/// Takes the fields of a 304, or of a HEAD's answer, over into a stored response (RFC 9111 §3.2, §4.3.4, §4.3.5).
/// `is_selected` says that the request selects it already; else it becomes the variant for requests like this one.
pub(super) fn freshened(
    stored: &StoredResponse,
    is_selected: bool,
    fresh: &HeaderMap,
    times: Times,
    wanted: &Wanted,
    request: &HeaderMap,
    route: &SiteRoute,
) -> Freshened {
    let own_cache = wanted.found_in();
    let facts = own_cache.map_or(&wanted.facts, |own| &own.facts);
    let (mut fresh, mut own) = (fresh.clone(), HeaderMap::new());
    if route.route.cache.set_cookie != SetCookieRule::Store {
        // A cookie that comes along with a confirmation makes nothing personal of what is stored.
        move_field(&header::SET_COOKIE, &mut fresh, &mut own);
    }
    if route.route.cache.set_cookie == SetCookieRule::Strip {
        own.clear();
    }
    let mut headers = stored.fields.unpack(4);
    // What the fields said themselves they have to say again; what larder knew of the file stays true.
    let is_static = stored.facts.allows_cookies && !ResponseDirectives::of(&headers).allows_sharing();
    fields::update(&mut headers, &fresh);
    let arrival = Arrival {
        method: &Method::GET,
        request: facts,
        status: stored.facts.status,
        headers: &headers,
        times,
        is_static,
        private: own_cache.is_some(),
    };
    let judged = store::judge(&arrival, &route.route.cache)
        .and_then(|storable| Ok((storable, selection(&headers, request, route)?)));
    let (facts, selection, no_store) = match judged {
        Ok((storable, selection)) => {
            for (name, value) in &take_out(&mut headers, &storable) {
                own.append(name.clone(), value.clone());
            }
            let keeps = is_selected && selection.names_same_fields(stored.selection());
            (storable.facts, if keeps { stored.selection().clone() } else { selection }, None)
        }
        Err(reason) => {
            let initial_age = freshness::initial_age(&headers, &times);
            let (request_time, response_time) = (times.request, times.response);
            let facts = Facts { request_time, response_time, initial_age, ..stored.facts.clone() };
            (facts, stored.selection().clone(), Some(reason))
        }
    };
    let own_tag = stored.own_tag && !fresh.contains_key(header::ETAG);
    Freshened { response: stored.revised(facts, selection, &headers, own_tag), own, no_store }
}

/// Which requests a response will be selected by.
fn selection(response: &HeaderMap, request: &HeaderMap, route: &SiteRoute) -> Result<Selection, NoStoreReason> {
    let coding = route.route.compression.is_some().then_some(header::ACCEPT_ENCODING);
    let device = route.route.devices.is_some().then_some(header::USER_AGENT);
    let settled: SmallVec<[HeaderName; 2]> = coding.into_iter().chain(device).collect();
    Selection::of(response, request, &settled).ok_or(NoStoreReason::VaryAny)
}

/// Takes out what must not be stored; what of it the client that asked still gets.
fn take_out(headers: &mut HeaderMap, storable: &Storable) -> HeaderMap {
    for name in &storable.stripped {
        headers.remove(name);
    }
    let mut own = HeaderMap::new();
    for name in &storable.without {
        move_field(name, headers, &mut own);
    }
    own
}

fn move_field(name: &HeaderName, from: &mut HeaderMap, to: &mut HeaderMap) {
    for value in from.get_all(name) {
        to.append(name.clone(), value.clone());
    }
    from.remove(name);
}

/// What every response from an upstream goes through before anybody looks at it.
pub(super) fn prepare(headers: &mut HeaderMap, wall: Timestamp) {
    fields::remove_hop_by_hop(headers);
    // RFC 9110 §6.6.1: a recipient with a clock supplies the Date that is missing.
    if !headers.contains_key(header::DATE) {
        headers.insert(header::DATE, dates::format(wall));
    }
}

/// Takes out the fields that carry tags: what they say is between the app and larder.
pub(super) fn take_tags(headers: &mut HeaderMap, rules: &TagRules) -> Result<Tags, TooManyTags> {
    let names = Names::of(headers);
    if !names.may_have(&tags::CACHE_GROUPS) && !rules.fields.iter().any(|name| names.may_have(name)) {
        return Ok(Tags::default());
    }
    let tags = Tags::of(headers, rules);
    for name in &rules.fields {
        headers.remove(name);
    }
    tags
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
    let (path, query) = (request.uri.path(), request.uri.query());
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let class = static_files::classify(&site.settings.static_classes, path, query, content_type);
    let Some(class) = class else { return false };
    let personal = response.headers().contains_key(header::SET_COOKIE)
        || request.headers.contains_key(header::AUTHORIZATION)
        || request.extensions.get::<Identified>().is_some();
    let cookie = lookup::cookie_matters(&route.route.cache.cookies, &request.headers);
    if personal || (cookie && !class.class.with_cookies) {
        return false;
    }
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

fn make_conditional(headers: &mut HeaderMap, stored: &Arc<StoredResponse>, wanted: &Wanted) {
    let tags: Vec<_> = tags(&wanted.entry, stored).collect();
    validate::make_conditional(headers, Some(&stored.fields.unpack(0)), tags.iter());
}

/// The upstream's own tags of all that is stored under a key and could answer once it is confirmed.
fn tags(entry: &Entry, selected: &Arc<StoredResponse>) -> impl Iterator<Item = HeaderValue> {
    let is_of_use = |stored: &&Arc<StoredResponse>| stored.parts().is_none() || Arc::ptr_eq(stored, selected);
    let theirs = entry.variants().iter().filter(|variant| !variant.own_tag).filter(is_of_use);
    theirs.filter_map(|variant| variant.fields.get(&header::ETAG))
}

/// Content-Length, which the pool has checked.
pub(super) fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
