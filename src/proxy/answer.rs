//! What a request is answered with: from what is stored, by a fetch for the cache (as its leader, as a follower or
//! alone), in place of a failed upstream, or straight through.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::body::Incoming;

use super::body::Body;
use super::fetch::{Brought, Fetch, Fetched, Outcome};
use super::guard::{NoPlace, Place};
use super::lookup::{self, Plan, Wanted};
use super::outliving::Outliving;
use super::part::{self, Ask};
use super::pass::{self, Passed};
use super::refusal::Refusal;
use super::site::SiteRoute;
use super::{ALLOWED_METHODS, Asked, maintenance, respond, search, session};
use crate::cache::collapse::{FetchFailure, Progress, Ready, Role};
use crate::cache::entry::{Entry, StoredResponse};
use crate::cache::key::CacheKey;
use crate::policy::cache_status::Verdict;
use crate::policy::reason::{ForwardReason, StaleReason};
use crate::policy::reuse::{self, Reuse};
use crate::upstream::{Meter, UpstreamError, UpstreamErrorKind};

/// There is no place at the upstream, and asking once more for each follower would only make the queue longer.
const BUSY: FetchFailure = FetchFailure { status: StatusCode::SERVICE_UNAVAILABLE, word: "route-busy" };

/// A response with all that was decided about it.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    pub(super) verdict: Verdict,
    pub(super) first_byte: Option<Duration>,
    pub(super) asked_upstream: bool,
    /// Counts the bytes of the request's body.
    pub(super) meter: Option<Meter>,
}

impl Asked<'_> {
    /// From a stored response.
    pub(super) fn answer_stored(
        &self,
        key: &CacheKey,
        stored: &Arc<StoredResponse>,
        stale: Option<StaleReason>,
    ) -> Answer {
        let Some(response) = respond::stored(self, key, stored) else {
            // What is stored is complete, so that it can always be read.
            return failed_answer(StatusCode::INTERNAL_SERVER_ERROR, "internal", None);
        };
        stored.count_hit();
        if stale == Some(StaleReason::WhileRevalidate) {
            self.revalidate_in_background(key, stored);
        }
        let ttl = Some(stored.facts.ttl(self.now));
        let verdict = Verdict { hit: true, stale, ttl, private: key.session().is_some(), ..Verdict::default() };
        Answer { response, verdict, first_byte: None, asked_upstream: false, meter: None }
    }

    /// RFC 5861 §3: one validation, however many ask.
    fn revalidate_in_background(&self, key: &CacheKey, stored: &Arc<StoredResponse>) {
        // It carries this client's fields, so what comes back is judged by what this client is.
        let facts = lookup::facts(self);
        if facts.directives.no_store {
            return;
        }
        let entry = self.proxy.cache.memory.get(key).unwrap_or_default();
        let ask = Ask::of(self, Some(stored), None, false);
        let Role::Leader(lead) = self.proxy.cache.flights.join(key, self.distinction(&entry, &ask)) else {
            return;
        };
        let (key, stored) = (key.clone(), Some(stored.clone()));
        let exact = lookup::identify(self).clone();
        let own = session::own(self, &exact);
        let exact = Some(exact).filter(|exact| *exact != key);
        let wanted =
            Wanted { key, exact, own, why: ForwardReason::Stale, facts, entry, stored, ask, collapsible: true };
        let mut fetch = Fetch::new(self, Box::new(wanted)).in_background();
        let metrics = self.route.metrics.clone();
        tokio::spawn(async move {
            // No request is recorded with it.
            fetch.run(lead).await.first_byte.inspect(|span| metrics.answered(*span));
        });
    }

    /// By a fetch for the cache that nobody else may wait for.
    pub(super) async fn fetch_uncollapsed(&mut self, wanted: Box<Wanted>) -> Answer {
        let flights = &self.proxy.cache.flights;
        let passes_by = wanted.facts.directives.no_store
            && flights.is_under_way(&wanted.key, self.distinction(&wanted.entry, &wanted.ask));
        let why = if passes_by { ForwardReason::RequestNoStore } else { wanted.why };
        self.fetch_alone(why, wanted).await
    }

    /// What tells apart fetches of one key that do not bring the same.
    fn distinction(&self, entry: &Entry, ask: &Ask) -> u64 {
        variant(entry, &self.parts.headers) ^ ask.distinction(&self.parts.headers)
    }

    /// By a fetch for the cache that others may wait for (see [`Wanted::collapsible`]): as its leader, as a follower, or
    /// alone where the answer proves to be of no use to others.
    pub(super) async fn fetch(&mut self, wanted: Box<Wanted>) -> Answer {
        match self.proxy.cache.flights.join(&wanted.key, self.distinction(&wanted.entry, &wanted.ask)) {
            Role::Leader(lead) => {
                // Another's fill may have ended since the look-up: then there is nothing to lead.
                if let Plan::Serve { key, stored, stale } = lookup::plan(self)
                    && self.open(&stored).await
                {
                    drop(lead);
                    return self.answer_stored(&key, &stored, stale);
                }
                let mut fetch = Fetch::new(self, wanted);
                // When this client leaves, followers lose nothing, also while a place is waited for.
                let (fetched, wanted, place) = Outliving::new(async move {
                    let fetched = match place(&fetch.route).await {
                        Ok(place) => {
                            fetch.place = place;
                            Ok(fetch.run(lead).await)
                        }
                        Err(NoPlace) => {
                            // For them there is none either.
                            lead.flight().publish(Progress::Failed(BUSY));
                            Err(NoPlace)
                        }
                    };
                    (fetched, fetch.wanted, fetch.place)
                })
                .await;
                self.place = place;
                match fetched {
                    Ok(fetched) => {
                        self.conditions_withheld = true;
                        self.take(&wanted, fetched)
                    }
                    Err(NoPlace) => self.stand_in(&wanted).unwrap_or_else(|| busy(wanted.why)),
                }
            }
            Role::Follower(flight) => {
                let limit = self.site.settings.memory.collapse_wait;
                match flight.wait(limit).await {
                    Some(Progress::Ready(ready)) => match self.may_use(&ready, &wanted) {
                        Ok(()) if !self.open(&ready.response).await => self.fetch_alone(wanted.why, wanted).await,
                        Ok(()) => match self.answer_from(&wanted, &ready, None, true, None) {
                            Some(answer) => {
                                self.proxy.cache.flights.count_collapsed();
                                answer
                            }
                            // It grew too large to be kept, and its beginning is gone.
                            None => self.fetch_alone(ForwardReason::Uncacheable, wanted).await,
                        },
                        Err(why) => self.fetch_alone(why, wanted).await,
                    },
                    Some(Progress::Failed(failure)) => {
                        self.proxy.cache.flights.count_collapsed();
                        self.stand_in(&wanted).unwrap_or_else(|| {
                            let mut answer = match failure {
                                BUSY => busy(wanted.why),
                                FetchFailure { status, word } => maintenance::answer(self, status, word, wanted.why),
                            };
                            answer.verdict.collapsed = true;
                            answer
                        })
                    }
                    Some(Progress::Uncacheable(_) | Progress::Fetching) => {
                        self.fetch_alone(ForwardReason::Uncacheable, wanted).await
                    }
                    None => self.fetch_alone(ForwardReason::CollapseTimeout, wanted).await,
                }
            }
        }
    }

    async fn fetch_alone(&mut self, why: ForwardReason, mut wanted: Box<Wanted>) -> Answer {
        (wanted.why, wanted.collapsible) = (why, false);
        if let Err(busy) = self.take_place(wanted.why).await {
            return self.stand_in(&wanted).unwrap_or(busy);
        }
        let lead = self.proxy.cache.flights.alone(&wanted.key);
        let mut fetch = Fetch::new(self, wanted);
        self.conditions_withheld = fetch.withholds_conditions();
        let fetched = fetch.run(lead).await;
        self.take(&fetch.wanted, fetched)
    }

    /// Gets the request a place at the upstream.
    async fn take_place(&mut self, why: ForwardReason) -> Result<(), Answer> {
        self.place = place(self.route).await.map_err(|NoPlace| busy(why))?;
        Ok(())
    }

    /// Whether what another's fetch brought may answer this request too (RFC 9111 §4), or why not.
    fn may_use(&self, ready: &Ready, wanted: &Wanted) -> Result<(), ForwardReason> {
        let response = &ready.response;
        // The two were taken for one by what an earlier response said of the query.
        if search::key_by(response, wanted.exact(), &self.route.route.key) != ready.key {
            return Err(ForwardReason::UriMiss);
        }
        if !response.is_selected_by(&self.parts.headers) {
            return Err(ForwardReason::VaryMiss);
        }
        if !lookup::is_acceptable(self.route, response, &self.parts.headers) {
            return Err(ForwardReason::CodingMiss);
        }
        if part::missing(self, response).is_some() {
            return Err(ForwardReason::Partial);
        }
        // It comes straight from the upstream: a reload gets what it asks for.
        let mut facts = wanted.facts;
        facts.directives.no_cache = false;
        facts.directives.max_age = facts.directives.max_age.filter(|most| *most > 0);
        match reuse::decide(&facts, &response.facts, self.proxy.clock.now()) {
            Reuse::Fresh | Reuse::Stale(_) => Ok(()),
            Reuse::Validate(why) | Reuse::Forward(why) => Err(why),
            Reuse::OnlyIfCached => Err(wanted.why),
        }
    }

    /// Makes an answer of what a fetch brought.
    fn take(&self, wanted: &Wanted, fetched: Fetched) -> Answer {
        let first_byte = fetched.first_byte;
        match fetched.outcome {
            Outcome::Ready(brought) => self
                .answer_from(wanted, &brought.ready, first_byte, fetched.by_another, brought.part.as_ref())
                .map(|answer| with_own_fields(answer, &brought))
                .unwrap_or_else(|| failed_answer(StatusCode::BAD_GATEWAY, "cut", Some(wanted.why))),
            Outcome::Passed(response, no_store) => {
                if let Some(answer) = self.stand_in_for(response.status(), wanted) {
                    return Answer { first_byte, ..answer };
                }
                let status = response.status();
                let response = respond::passed(self, *response);
                let forward_status = (response.status() != status).then_some(status);
                let (forward, no_store) = (Some(wanted.why), Some(no_store));
                let verdict = Verdict { forward, forward_status, no_store, ..Verdict::default() };
                Answer { response, verdict, first_byte, asked_upstream: true, meter: None }
            }
            Outcome::Failed(error) => {
                self.stand_in(wanted).unwrap_or_else(|| self.failed(&error, wanted.failure_status(&error), wanted.why))
            }
        }
    }

    /// From what a fetch brought, `part` of a body or all of it; `None` when its body can't be joined any more.
    fn answer_from(
        &self,
        wanted: &Wanted,
        ready: &Ready,
        first_byte: Option<Duration>,
        collapsed: bool,
        part: Option<&Range<u64>>,
    ) -> Option<Answer> {
        let facts = &ready.response.facts;
        let validated = ready.forward_status == StatusCode::NOT_MODIFIED;
        let mut response = respond::stored(self, &ready.key, &ready.response)
            .or_else(|| respond::part_as_received(&ready.response, part?))?;
        // RFC 9211 §2.3: where it is not said, the upstream sent what the client gets.
        let differs = response.status() != ready.forward_status;
        let verdict = Verdict {
            forward: Some(wanted.why),
            forward_status: (validated || differs).then_some(ready.forward_status),
            collapsed,
            stored: true,
            ttl: Some(facts.ttl(self.proxy.clock.now())),
            private: ready.key.session().is_some(),
            ..Verdict::default()
        };
        // RFC 9111 §5.1: what has just come for this request has the Age that the upstream gave, if any.
        if !validated && !collapsed {
            match ready.response.fields.get(&header::AGE) {
                Some(age) => response.headers_mut().insert(header::AGE, age),
                None => response.headers_mut().remove(header::AGE),
            };
        }
        Some(Answer { response, verdict, first_byte, asked_upstream: !collapsed, meter: None })
    }

    /// The same in place of an answer with this status, if that tells of a failure.
    fn stand_in_for(&self, status: StatusCode, wanted: &Wanted) -> Option<Answer> {
        if !reuse::is_failure(status) {
            return None;
        }
        let mut answer = self.stand_in(wanted)?;
        // RFC 9211 §2.1: what was forwarded is no hit.
        answer.verdict.hit = false;
        answer.verdict.forward_status = Some(status);
        Some(answer)
    }

    /// RFC 5861 §4: a stored response in place of an upstream that failed.
    fn stand_in(&self, wanted: &Wanted) -> Option<Answer> {
        let stored = wanted.stored.as_ref()?;
        let now = self.proxy.clock.now();
        if !reuse::may_stand_in(&wanted.facts, &stored.facts, now) {
            return None;
        }
        let response = respond::stored(self, &wanted.key, stored)?;
        stored.count_hit();
        let verdict = Verdict {
            hit: true,
            forward: Some(wanted.why),
            stale: Some(StaleReason::IfError),
            ttl: Some(stored.facts.ttl(now)),
            ..Verdict::default()
        };
        Some(Answer { response, verdict, first_byte: None, asked_upstream: true, meter: None })
    }

    /// Straight through.
    pub(super) async fn pass(
        &mut self,
        why: ForwardReason,
        freshens: Option<&Wanted>,
        body: Option<Incoming>,
        client_upgrade: Option<hyper::upgrade::OnUpgrade>,
    ) -> Answer {
        // Before it takes a place of anybody's: a client may be slow in sending.
        let body = match pass::body(self, body, client_upgrade.is_some()).await {
            Ok(body) => body,
            Err(error) => return self.not_brought(&error, why),
        };
        if let Err(busy) = self.take_place(why).await {
            return busy;
        }
        match pass::pass(self, body, client_upgrade, freshens).await {
            Ok(Passed { outcome, stored_as, first_byte, meter }) => {
                let first_byte = Some(first_byte);
                if let Some(wanted) = stored_as {
                    return Answer { meter, ..self.take(&wanted, Fetched { outcome, first_byte, by_another: false }) };
                }
                let Outcome::Passed(response, no_store) = outcome else {
                    return failed_answer(StatusCode::INTERNAL_SERVER_ERROR, "internal", Some(why));
                };
                if let Some(answer) = freshens.and_then(|wanted| self.stand_in_for(response.status(), wanted)) {
                    return Answer { first_byte, ..answer };
                }
                let verdict = Verdict { forward: Some(why), no_store: Some(no_store), ..Verdict::default() };
                let response = match response.status() {
                    StatusCode::SWITCHING_PROTOCOLS => pass::switching(*response),
                    _ => respond::passed(self, *response),
                };
                Answer { response, verdict, first_byte, asked_upstream: true, meter }
            }
            Err(error) => freshens.and_then(|wanted| self.stand_in(wanted)).unwrap_or_else(|| {
                let status = freshens.map_or(error.status(), |wanted| wanted.failure_status(&error));
                self.failed(&error, status, why)
            }),
        }
    }

    /// The client did not bring the body that it announced.
    fn not_brought(&self, error: &UpstreamError, why: ForwardReason) -> Answer {
        tracing::debug!(target = self.admitted.target.as_str(), %error, "no request body");
        let mut answer = failed_answer(error.status(), error.word(), Some(why));
        answer.asked_upstream = false;
        let too_large = (error.kind == UpstreamErrorKind::RequestTooLarge).then_some(Refusal::BodyTooLarge);
        // What the inspection says of the body's bytes is closer than that it could not be read.
        if let Some(refusal) = too_large.or_else(|| self.client.refused.get().copied()) {
            answer.response = respond::own(refusal.status());
            answer.verdict = Verdict { refused: true, error: Some(refusal.word()), ..Verdict::default() };
        }
        answer
    }

    fn failed(&self, error: &UpstreamError, status: StatusCode, why: ForwardReason) -> Answer {
        tracing::warn!(
            upstream = &*self.route.upstream,
            route = self.route.route.name,
            target = self.admitted.target.as_str(),
            %error,
            "upstream failed"
        );
        maintenance::answer(self, status, error.word(), why)
    }
}

/// An answer of larder's own, for nothing that went wrong.
pub(super) fn own_answer(status: StatusCode) -> Answer {
    let mut response = respond::own(status);
    response.headers_mut().insert(header::ALLOW, ALLOWED_METHODS);
    Answer { response, verdict: Verdict::default(), first_byte: None, asked_upstream: false, meter: None }
}

pub(super) fn failed_answer(status: StatusCode, word: &'static str, why: Option<ForwardReason>) -> Answer {
    let verdict = Verdict { forward: why, error: Some(word), ..Verdict::default() };
    Answer { response: respond::own(status), verdict, first_byte: None, asked_upstream: why.is_some(), meter: None }
}

/// A place at the upstream, where the route has a bound on how many there are.
async fn place(route: &SiteRoute) -> Result<Option<Place>, NoPlace> {
    match &route.guard {
        Some(guard) => guard.place().await,
        None => Ok(None),
    }
}

/// The answer where there is no place.
fn busy(why: ForwardReason) -> Answer {
    let mut answer = failed_answer(BUSY.status, BUSY.word, Some(why));
    answer.response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    answer.asked_upstream = false;
    answer
}

/// Adds what is for the client that caused a fetch and for nobody else.
fn with_own_fields(mut answer: Answer, brought: &Brought) -> Answer {
    let headers = answer.response.headers_mut();
    for name in brought.own.keys() {
        headers.remove(name);
    }
    for (name, value) in &brought.own {
        headers.append(name.clone(), value.clone());
    }
    answer.verdict.no_store = brought.no_store;
    answer.verdict.stored = brought.no_store.is_none();
    answer
}

/// Requests that select different variants, as far as the newest one tells, do not wait for each other.
fn variant(entry: &Entry, request: &HeaderMap) -> u64 {
    let newest = entry.variants().first().filter(|newest| !newest.selection().is_empty());
    let Some(newest) = newest else { return 0 };
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for (name, value) in newest.selection().for_request(request).fields() {
        hasher.update(name.as_str().as_bytes());
        hasher.update(value.unwrap_or(b"\0"));
        hasher.update(b"\n");
    }
    hasher.digest()
}
