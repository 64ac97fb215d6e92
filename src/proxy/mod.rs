//! The request path: one flat run of named steps, one file a step.
//!
//! `Proxy::answer` reads top to bottom: `meet` (admit, route), `lookup` (identify, look up, decide), then one of
//! serving what is stored (`respond`), fetching for the cache (`fetch`, `fill`, with collapsing) or passing
//! through (`pass`), and at the end `finish` (record).

pub mod admit;
mod alike;
mod ambiguous;
mod answer;
pub mod at_once;
mod balance_key;
mod basic_auth;
pub mod body;
pub mod client;
mod code;
mod denial;
mod device;
mod exchange;
mod fetch;
mod fill;
pub mod finish;
mod forward_auth;
pub mod front;
pub mod guard;
pub mod interim;
mod invalidation;
mod lease;
mod lookup;
mod maintenance;
mod max_forwards;
pub mod met;
mod outgoing;
mod outliving;
mod pace;
mod part;
mod pass;
mod post;
pub mod purge_method;
pub mod purge_rules;
mod query;
mod rate;
mod received;
mod record;
mod redirect;
pub mod refusal;
mod respond;
mod rewrite;
pub mod route;
mod search;
mod session;
mod settle;
pub mod site;
pub mod token;
mod unbelieved;
mod users;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;

use crate::cache::Cache;
use crate::cache::body::BodyReader;
use crate::cache::disk::DiskTier;
use crate::cache::disk::stored_body::OpenBody;
use crate::cache::entry::StoredResponse;
use crate::cache::key::CacheKey;
use crate::cache::purge::{PurgeLog, Receipt};
use crate::cache::redis::Shared;
use crate::cache::redis::link::PurgeLink;
use crate::cache::tiers::{LowerTier, Tiers};
use crate::clock::Clock;
use crate::config::settings::Settings;
use crate::policy::cache_status::Verdict;
use crate::policy::fields;
use crate::policy::present::Fields;
use crate::policy::reason::Tier;
use crate::policy::time::Timestamp;
use crate::telemetry::Telemetry;
use crate::telemetry::record::{Kept, RequestRecord};
use crate::telemetry::route_metrics::RouteMetrics;
use admit::Admitted;
use answer::{Answer, failed_answer, own_answer};
use body::Body;
use client::Client;
use denial::Denial;
use finish::Finish;
use guard::Place;
use lookup::Plan;
use met::{Known, Met, Unanswered};
use outgoing::OwnName;
use refusal::Refusal;
use session::Whose;
use site::{Site, SiteError, SiteRoute};

/// Everything the request path works with. One a process.
#[derive(Debug)]
pub struct Proxy {
    /// Wall time.
    pub clock: Clock,
    /// Metrics and logs.
    pub telemetry: Arc<Telemetry>,
    /// What is stored, and the fetches under way.
    pub cache: Cache,
    /// The way of purges to other nodes, once there is one.
    pub link: OnceLock<Weak<PurgeLink>>,
    waiting: purge_rules::Waiting,
    site: ArcSwap<Site>,
    boundaries: AtomicU64,
    /// What Via calls this process, so that a request which comes back is known.
    own_name: OwnName,
}

/// A request that was admitted and routed: what every further step works with.
#[derive(Debug)]
struct Asked<'a> {
    proxy: &'a Arc<Proxy>,
    site: &'a Arc<Site>,
    route: &'a Arc<SiteRoute>,
    client: &'a Arc<Client>,
    /// Shared with the fetch that may outlive it.
    parts: Arc<Parts>,
    admitted: Admitted,
    /// Whose session asks, where private answers are kept by session.
    whose: Whose<'a>,
    known: Known,
    now: Timestamp,
    upgrade: bool,
    has_body: bool,
    /// Whether the client's conditions were kept from the upstream and are larder's to decide.
    conditions_withheld: bool,
    /// The tier below memory where what is stored was found.
    found_in: Option<Tier>,
    /// Its place at the upstream, where the route has a bound on how many there are.
    place: Option<Place>,
    /// Keeps open what the answer is read from, where that is on disk alone.
    open: Option<Arc<OpenBody>>,
    /// Keeps the beginning of what is made for this answer alone from going before the client has begun to read.
    anchor: Mutex<Option<Box<BodyReader>>>,
    /// It is not known what other nodes have purged: nothing stored may be used.
    blind: bool,
}

impl<'a> Asked<'a> {
    /// A plain request, without a body or a wish to switch protocols, of which nothing is decided yet.
    #[expect(clippy::too_many_arguments, reason = "what is known of a request by then")]
    fn of(
        proxy: &'a Arc<Proxy>,
        site: &'a Arc<Site>,
        route: &'a Arc<SiteRoute>,
        client: &'a Arc<Client>,
        parts: Arc<Parts>,
        admitted: Admitted,
        known: Known,
        now: Timestamp,
    ) -> Self {
        Asked {
            whose: session::identify(&route.route, &parts.headers, &proxy.cache.sessions),
            known,
            proxy,
            site,
            route,
            client,
            parts,
            admitted,
            now,
            upgrade: false,
            has_body: false,
            conditions_withheld: false,
            found_in: None,
            place: None,
            open: None,
            anchor: Mutex::new(None),
            blind: false,
        }
    }

    /// The request's fields.
    fn fields(&self) -> Fields<'_> {
        Fields::new(&self.parts.headers, self.known.names)
    }
}

impl Proxy {
    /// A proxy with an empty cache.
    ///
    /// # Errors
    /// An upstream cannot be set up.
    pub fn new(settings: Arc<Settings>, clock: Clock, telemetry: Arc<Telemetry>) -> Result<Arc<Proxy>, SiteError> {
        let disk = settings.disk.as_ref().map(|disk| DiskTier::open(disk, clock.clone()));
        let log = disk.as_ref().map_or_else(PurgeLog::in_memory, |disk| disk.purge_log(clock.now()));
        let shared = Shared::start(&settings.redis, &clock, &log);
        let redis = shared.as_ref().and_then(|shared| shared.tier.clone()).map(|tier| tier as Arc<dyn LowerTier>);
        let lower = match (disk, redis) {
            (None, None) => Tiers::default(),
            (disk, redis) => Tiers::start(disk, redis.into_iter().collect()),
        };
        let mut cache = Cache::above(settings.memory.size, lower, log);
        cache.shared = shared;
        let site = ArcSwap::from_pointee(Site::new(settings, None, &telemetry)?);
        let own_name = OwnName::random();
        let (boundaries, waiting) = (AtomicU64::new(0), purge_rules::Waiting::default());
        Ok(Arc::new(Proxy { clock, telemetry, cache, link: OnceLock::new(), waiting, site, boundaries, own_name }))
    }

    /// The settings that new requests start with.
    pub fn site(&self) -> Arc<Site> {
        self.site.load_full()
    }

    /// Sets up what new settings name, without taking them over. Upstreams that did not change are kept.
    ///
    /// # Errors
    /// An upstream cannot be set up.
    pub fn prepare(&self, settings: Arc<Settings>) -> Result<Site, SiteError> {
        Site::new(settings, Some(&self.site.load()), &self.telemetry)
    }

    /// Takes prepared settings over for requests to come. The cache stays.
    pub fn adopt(&self, site: Site) {
        self.site.store(Arc::new(site));
    }

    /// Waits until a purge of this node is where it must be: in the log's file, and with the other nodes, for a while.
    /// Its receipt, in which those stand as pending who have not answered by then.
    pub async fn confirm(&self, id: &str, seq: u64) -> Option<Receipt> {
        let cache = &self.cache;
        if cache.log.is_kept() {
            cache.receipts.durable(id, cache.log.written(seq).await);
        }
        if let Some(link) = self.link.get().and_then(Weak::upgrade) {
            link.share(id, OTHER_NODES).await;
        }
        cache.receipts.get(id)
    }

    /// Answers one request, with the body that comes on its connection.
    pub fn handle(
        self: &Arc<Self>,
        client: &Arc<Client>,
        mut request: Request<Incoming>,
    ) -> impl Future<Output = Response<Body>> + Send {
        let upgrade = exchange::take_upgrade(&mut request);
        let (parts, body) = request.into_parts();
        self.answer(client, Unanswered::new(parts), Some(body), upgrade)
    }

    /// Answers one that [`Proxy::at_once`] has read.
    pub fn go_on(
        self: &Arc<Self>,
        client: &Arc<Client>,
        request: Unanswered,
    ) -> impl Future<Output = Response<Body>> + Send {
        self.answer(client, request, None, None)
    }

    /// Answers a request, and says so where its connection ends with that.
    async fn answer(
        self: &Arc<Self>,
        client: &Arc<Client>,
        request: Unanswered,
        mut body: Option<Incoming>,
        client_upgrade: Option<OnUpgrade>,
    ) -> Response<Body> {
        let is_http1 = request.parts.version < Version::HTTP_2;
        let mut response = self.answer_and_leave(client, request, &mut body, client_upgrade).await;
        // RFC 9112 §9.6: what stands behind a body that nobody has read is not answered any more.
        if is_http1 && has_content(body.as_ref()) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The steps of a request, from the first to the last. The body is left where nobody wants it.
    async fn answer_and_leave(
        self: &Arc<Self>,
        client: &Arc<Client>,
        request: Unanswered,
        body: &mut Option<Incoming>,
        client_upgrade: Option<OnUpgrade>,
    ) -> Response<Body> {
        let Unanswered { mut parts, met } = request;
        let met = match met {
            Some(met) => *met,
            None => match self.meet(client, Arc::make_mut(&mut parts)).await {
                Ok(met) => met,
                Err(response) => return response,
            },
        };
        let Met { site, route, admitted, known, started, now } = met;
        let ends_here = max_forwards::ends_here(&mut parts);
        let mut asked = Asked::of(self, &site, &route, client, parts, admitted, known, now);
        asked.upgrade = client_upgrade.is_some();
        asked.has_body = has_content(body.as_ref());
        if let Some(status) = ends_here {
            return asked.finish(own_answer(status), started);
        }
        if let Some(redirect) = &asked.route.route.redirect {
            return asked.finish(redirect::answer(&asked, redirect), started);
        }
        // What waits for an upstream is boxed: within this future it would be moved with every hit, and kept with
        // every idle connection, in case it were needed (10,000 instructions a hit).
        if let Some(shared) = self.cache.shared.as_ref().filter(|shared| !shared.gate.is_open()) {
            asked.blind = !Box::pin(shared.gate.wait()).await;
        }
        let mut plan = lookup::plan(&asked);
        if let Some(key) = plan.absent().filter(|key| !asked.blind && asked.proxy.cache.may_be_below(key)) {
            asked.found_in = Box::pin(asked.look_below(key)).await;
            if asked.found_in.is_some() {
                plan = lookup::plan(&asked);
            }
        }
        while let Some((key, stored)) = plan.on_disk() {
            if Box::pin(asked.open(stored)).await {
                break;
            }
            // It went for room, or the disk fails: it is not there.
            self.cache.remove_variant(key, stored);
            plan = lookup::plan(&asked);
        }
        let answer = match plan {
            Plan::Serve { key, stored, stale } => asked.answer_stored(&key, &stored, stale),
            Plan::Fetch(wanted) if wanted.collapsible => Box::pin(asked.fetch(wanted)).await,
            Plan::Fetch(wanted) => Box::pin(asked.fetch_uncollapsed(wanted)).await,
            Plan::Pass { why, freshens } => {
                Box::pin(asked.pass(why, freshens.as_deref(), body.take(), client_upgrade)).await
            }
            Plan::OnlyIfCached { .. } => failed_answer(StatusCode::GATEWAY_TIMEOUT, "only-if-cached", None),
        };
        let response = asked.finish(answer, started);
        at_once::take_back(asked.parts);
        response
    }

    /// Steps 1 and 2: admits and routes a request, and checks that its client may make it.
    ///
    /// # Errors
    /// The response that denies it, or to a method that is larder's own.
    async fn meet(self: &Arc<Self>, client: &Arc<Client>, parts: &mut Parts) -> Result<Met, Response<Body>> {
        let started = Instant::now();
        let now = self.clock.at(started);
        let site = self.site.load_full();
        let admitted = match self.admit(&site, client, parts) {
            Ok(admitted) => admitted,
            Err((address, denial)) => {
                return Err(self.deny(&site.unrouted, client, parts, address, denial, started, now));
            }
        };
        if let Some(gate) = site.purge.as_ref().filter(|_| parts.method.as_str() == purge_method::NAME) {
            return Err(match Box::pin(self.purge_by_method(&site, gate, &admitted, parts)).await {
                Ok(response) => {
                    let (metrics, verdict) = (&site.unrouted, Verdict::default());
                    self.answered(metrics, client, parts, admitted.client, response, verdict, started, now)
                }
                Err(denial) => self.deny(&site.unrouted, client, parts, admitted.client, denial, started, now),
            });
        }
        let refused = |refusal| self.refuse(&site, client, parts, refusal, started, now);
        let route = match route::find(&site, &admitted, parts) {
            Ok(route) => route.clone(),
            Err(refusal) => return Err(refused(refusal)),
        };
        if received::announced_length(&parts.headers).is_some_and(|length| length > route.route.max_request_body) {
            return Err(refused(Refusal::BodyTooLarge));
        }
        if let Some(guard) = &route.guard
            && let Err(denial) = Box::pin(guard.check(client, &admitted, parts)).await
        {
            return Err(self.deny(&route.metrics, client, parts, admitted.client, denial, started, now));
        }
        let known = Known::of(&route, parts);
        Ok(Met { site, route, admitted, known, started, now })
    }

    /// Step 1: admits a request to one of the listeners, and frees it of what it may not say.
    ///
    /// # Errors
    /// Why it is denied, and to whom.
    fn admit(&self, site: &Site, client: &Client, parts: &mut Parts) -> Result<Admitted, (IpAddr, Box<Denial>)> {
        let refused = |refusal| (client.peer.ip(), Denial::of(refusal));
        let admitted = admit::admit(&site.settings, client, parts).map_err(refused)?;
        if outgoing::has_been_here(&parts.headers, &self.own_name) {
            return Err(refused(Refusal::Loop));
        }
        if unbelieved::remove(&mut parts.headers, admitted.via_trusted_proxy) {
            self.telemetry.metrics.unbelieved();
        }
        fields::remove_nominated(&mut parts.headers);
        if !site.subject_fields.is_empty() {
            front::forget_claims(&mut parts.headers, &site.subject_fields);
            front::identify(parts, client.subject.iter().map(|(name, subject)| (name, subject)));
        }
        fields::join_cookies(&mut parts.headers);
        client.front.check(&admitted).map_err(|denial| (admitted.client, denial))?;
        Ok(admitted)
    }

    /// A number for the boundary of a multipart body that nobody can foresee.
    fn boundary(&self) -> u128 {
        let mut random = [0; 16];
        let count = self.boundaries.fetch_add(1, Ordering::Relaxed);
        match getrandom::fill(&mut random) {
            Ok(()) => u128::from_ne_bytes(random),
            Err(_) => u128::from(count) << 64 | self.clock.now().as_millis() as u128,
        }
    }

    fn refuse(
        self: &Arc<Self>,
        site: &Site,
        client: &Client,
        parts: &Parts,
        refusal: Refusal,
        started: Instant,
        now: Timestamp,
    ) -> Response<Body> {
        self.deny(&site.unrouted, client, parts, client.peer.ip(), Denial::of(refusal), started, now)
    }

    #[expect(clippy::too_many_arguments, reason = "what is known of a request this early, in no structure yet")]
    fn deny(
        self: &Arc<Self>,
        metrics: &Arc<RouteMetrics>,
        client: &Client,
        parts: &Parts,
        address: IpAddr,
        denial: Box<Denial>,
        started: Instant,
        now: Timestamp,
    ) -> Response<Body> {
        let Denial { refusal, mut response } = *denial;
        let verdict = Verdict { refused: true, error: Some(refusal.word()), ..Verdict::default() };
        let headers = response.headers_mut();
        if refusal.closes() && parts.version < Version::HTTP_2 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if refusal == Refusal::Connect {
            headers.insert(header::ALLOW, ALLOWED_METHODS);
        }
        self.answered(metrics, client, parts, address, response, verdict, started, now)
    }
}

fn has_content(body: Option<&Incoming>) -> bool {
    body.is_some_and(|body| !http_body::Body::is_end_stream(body))
}

/// How long a purge waits for the other nodes to say that they have it.
const OTHER_NODES: Duration = Duration::from_millis(250);

/// What a client may try instead of what larder itself does not do.
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

const CACHE_STATUS: header::HeaderName = header::HeaderName::from_static("cache-status");

impl Asked<'_> {
    /// What the tiers below memory have for this request comes up into memory.
    async fn look_below(&self, key: &CacheKey) -> Option<Tier> {
        self.proxy.cache.fetch_up(key, &self.parts.headers, self.route.route.cache.max_variants).await
    }

    /// Opens the body of a stored response, where it is on disk alone; false: it is not there any more.
    async fn open(&mut self, response: &StoredResponse) -> bool {
        let Some(stored) = response.body.stored() else { return true };
        self.open = stored.open().await;
        self.open.is_some()
    }

    /// What is the same for every answer: Via, the route's edits, Cache-Status, the record.
    fn finish(&mut self, answer: Answer, started: Instant) -> Response<Body> {
        let Answer { mut response, mut verdict, first_byte, asked_upstream, meter } = answer;
        verdict.tier = self.found_in;
        let status = response.status();
        let headers = response.headers_mut();
        if verdict.error.is_none() && status != StatusCode::SWITCHING_PROTOCOLS {
            outgoing::append_via(headers, self.route.pool.settings().protocol);
        }
        if let Some(hsts) = &self.client.front.hsts
            && self.client.tls
        {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        outgoing::edit(headers, &self.route.route.response_headers);
        headers.append(CACHE_STATUS, verdict.render());
        // A request body that went wrong: nobody can tell where the next request would begin.
        if self.parts.version < Version::HTTP_2 && verdict.error.is_some() && status.is_client_error() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let telemetry = &self.proxy.telemetry;
        let told = telemetry.logs().then(|| {
            let age = headers.get(header::AGE).and_then(|age| age.to_str().ok()?.parse().ok());
            Kept::of(&self.told(age))
        });
        let record = RequestRecord { asked_upstream, upstream_first_byte: first_byte, ..self.record(&verdict, status) };
        if let Some(rate) = self.route.guard.as_ref().and_then(|guard| guard.bandwidth()) {
            response = response.map(|body| body.paced(rate));
        }
        let finish = Finish::new(telemetry.clone(), self.route.metrics.clone(), started, record, told);
        self.proxy.recorded(response, finish.counts(meter).keeps(self.place.take()))
    }
}
