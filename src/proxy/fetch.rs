//! Steps 7 to 9: forward for the cache, judge the answer, fill. A fetch owns all it needs, so that it goes on when
//! the client that caused it has left.

pub(super) mod freshen;
mod judge;
mod keep;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

use super::exchange::{self, Answered};
use super::guard::Place;
use super::lease::{self, Agreed, Lease};
use super::lookup::{self, Wanted};
use super::part::{self, Ask};
use super::received::{prepare, take_tags};
use super::settle::settle;
use super::site::{Site, SiteRoute};
use super::{Asked, Proxy, outgoing, rewrite, session};
use crate::cache::body::BodyReader;
use crate::cache::collapse::{FetchFailure, Lead, Progress, Ready};
use crate::cache::disk::stored_body::OpenBody;
use crate::cache::entry::{Entry, StoredResponse};
use crate::cache::epoch::Epoch;
use crate::cache::searches::Moment;
use crate::cache::sessions::SessionMoment;
use crate::policy::present::Names;
use crate::policy::reason::NoStoreReason;
use crate::policy::tags::{Tags, TooManyTags};
use crate::policy::time::Times;
use crate::policy::validate;
use crate::upstream::{Exchange, RequestBody, UpstreamBody, UpstreamError};

/// A request to the upstream whose answer may be stored.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) proxy: Arc<Proxy>,
    site: Arc<Site>,
    pub(super) route: Arc<SiteRoute>,
    pub(super) wanted: Box<Wanted>,
    /// The client's request, as received: Vary speaks of that.
    pub(super) received: Arc<Parts>,
    /// As it goes to the upstream.
    outgoing: Request<()>,
    exchange: Exchange,
    withholds_conditions: bool,
    /// Whether it would be for a session alone, had it been clear for which.
    session_unclear: bool,
    /// Scheme and authority that the client asked, where URLs in the answer are rewritten.
    asked_at: Option<(&'static str, String)>,
    /// The client's place at the upstream: the fetch needs it when the client has left, too.
    pub(super) place: Option<Place>,
    /// What keeps other nodes from fetching it as well.
    lease: Option<Arc<Lease>>,
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
    /// What names of fields there may be in it.
    pub(super) names: Names,
    pub(super) times: Times,
    pub(super) first_byte: Duration,
    /// The purges that were known when it was asked for.
    pub(super) epoch: Epoch,
    /// The same for purges of what the query does not tell apart.
    pub(super) began: (Moment, SessionMoment),
    /// What purges may find it by.
    pub(super) tags: Result<Tags, TooManyTags>,
}

/// A stored response that a 304 confirms.
struct Confirmed {
    response: Arc<StoredResponse>,
    /// Its body, where that is on disk alone.
    _open: Option<Arc<OpenBody>>,
}

impl Arrived {
    fn is_found_by_tags(&self) -> Result<(), NoStoreReason> {
        self.tags.as_ref().map(drop).map_err(|_| NoStoreReason::TooManyTags)
    }
}

impl Fetch {
    /// For a request that the cache could not answer.
    pub(super) fn new(asked: &Asked<'_>, wanted: Box<Wanted>) -> Self {
        let mut outgoing = outgoing::request(asked, false);
        // The cache wants the response in its plain form: conditions and codings are its own business.
        let withholds_conditions = wanted.collapsible || wanted.stored.is_some() || asked.fields().has(&header::RANGE);
        let conditions = validate::CLIENT_CONDITIONS.iter().filter(|_| withholds_conditions);
        let parts = [header::RANGE, header::IF_RANGE].into_iter().filter(|_| wanted.ask == Ask::Whole);
        // Not by the request's names: the route may have added some of these fields.
        let names = Names::of(outgoing.headers());
        for name in conditions.cloned().chain(parts).filter(|name| names.may_have(name)) {
            outgoing.headers_mut().remove(name);
        }
        if asked.route.route.compression.is_some() && names.may_have(&header::ACCEPT_ENCODING) {
            // Not taken out: RFC 9110 §12.5.3 lets an app send any coding to who says nothing.
            outgoing.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let rewrites = asked.route.route.rewrite.is_some();
        Fetch {
            proxy: asked.proxy.clone(),
            site: asked.site.clone(),
            route: asked.route.clone(),
            wanted,
            received: asked.parts.clone(),
            outgoing,
            exchange: asked.exchange(),
            withholds_conditions,
            session_unclear: asked.whose.is_unclear(),
            asked_at: rewrites.then(|| (asked.admitted.scheme, asked.admitted.authority.clone())),
            place: asked.place.clone(),
            lease: None,
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
        let (wait, rules) = (self.site.settings.memory.collapse_wait, &self.route.route.cache);
        let headers = &self.received.headers;
        match lease::agree(&self.proxy, &self.wanted, headers, wait, rules.max_variants).await {
            Agreed::Fetched(response) => return self.fetched_by_another(response, &lead),
            Agreed::Fetch(lease) => self.lease = lease,
        }
        self.leave_purged();
        let fetched = self.run_here(lead).await;
        // A fill holds it as well, until it is over.
        let lease = self.lease.take();
        if let (Some(lease), Outcome::Ready(brought)) = (&lease, &fetched.outcome) {
            lease.brought(&brought.ready);
        }
        fetched
    }

    fn fetched_by_another(&self, response: Arc<StoredResponse>, lead: &Lead) -> Fetched {
        let forward_status = response.facts.status;
        let ready = Ready { key: self.wanted.key.clone(), response, forward_status };
        self.announce(&ready, lead);
        let anchor = ready.response.body.reader();
        let brought = Brought { ready, own: HeaderMap::new(), no_store: None, part: None, _anchor: anchor };
        Fetched { outcome: Outcome::Ready(Box::new(brought)), first_byte: None, by_another: true }
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
            Some(confirmed) => self.freshen(&confirmed.response, &arrived, lead),
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
    async fn ask(&mut self, epoch: Epoch) -> Result<(Arrived, Option<Confirmed>), UpstreamError> {
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
        let confirmed = self.confirmed(&arrived).await;
        let is_validation = self.wanted.stored.is_some();
        if is_validation && confirmed.is_none() && arrived.response.status() == StatusCode::NOT_MODIFIED {
            let arrived = self.send(self.outgoing.headers().clone(), epoch).await?;
            let confirmed = self.confirmed(&arrived).await;
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

    /// The stored response that a 304 confirms, if it can be read: on disk it may have gone for room.
    async fn confirmed(&self, arrived: &Arrived) -> Option<Confirmed> {
        let response = self.named(arrived)?.clone();
        let open = match response.body.stored() {
            Some(stored) => Some(stored.open().await?),
            None => None,
        };
        Some(Confirmed { response, _open: open })
    }

    /// The stored response that a 304 names (RFC 9111 §4.3.4): the selected one, or another of the key by the
    /// strong tag that they share, which proves that it is byte for byte what this client is to get.
    fn named(&self, arrived: &Arrived) -> Option<&Arc<StoredResponse>> {
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
        let answered = exchange::ask(&self.proxy.clock, &self.route, &mut request, &self.exchange).await?;
        let Answered { mut response, times, first_byte } = answered;
        settle(&self.route, &mut response).await;
        let names = prepare(response.headers_mut(), times.wall);
        if let Some(own) = &self.wanted.own
            && session::ends(response.headers(), &own.rules.cookie)
        {
            cache.end_session(&own.name);
        }
        if let Some((scheme, authority)) = &self.asked_at {
            let origin = rewrite::Origin::new(&self.route.route, self.route.pool.settings(), scheme, authority);
            rewrite::incoming(&origin, response.headers_mut());
        }
        let tags = take_tags(response.headers_mut(), names, &self.site.settings.tags);
        Ok(Arrived { response, names, times, first_byte, epoch, began, tags })
    }
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
