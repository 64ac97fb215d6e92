//! Purging and looking into the cache of a running larder.

use std::collections::BTreeMap;

use bytesize::ByteSize;
use http::{HeaderMap, Method, Request, Uri};
use ipnet::IpNet;

use super::app::App;
use crate::cache::entry::{Entry, StoredResponse};
use crate::cache::key::{CacheKey, TargetUri};
use crate::cache::purge::{BadTarget, Patterns, Purge, PurgeTarget};
use crate::cache::redis::fault::Fault;
use crate::cache::redis::gate::Standing;
use crate::config::settings::{Access, RateKey, Route, RouteLimits};
use crate::control::inspect::{
    CacheStats, Entries, EntriesQuery, EntryView, Health, LinkHealth, PAGE, TierHealth, TierStats, UrlView, VariantView,
};
use crate::control::purge::{PurgeOrder, PurgeResponse, PurgedTarget};
use crate::policy::facts::RequestFacts;
use crate::policy::reason::{ForwardReason, Outcome, PurgeReason, Tier};
use crate::policy::reuse::{self, Reuse};
use crate::policy::time::Timestamp;
use crate::proxy::admit::{Admitted, normalised_authority};
use crate::proxy::refusal::Refusal;
use crate::proxy::route;
use crate::telemetry::figures::redis::RedisFigures;
use crate::telemetry::figures::{CacheFigures, TierFigures};

/// A URL of an operator, taken apart.
struct Asked {
    scheme: &'static str,
    authority: String,
    uri: Uri,
}

impl Asked {
    fn parse(url: &str) -> Result<Asked, String> {
        if url.trim().is_empty() {
            return Err("an empty URL names nothing".to_owned());
        }
        if !url.contains("://") {
            let advice = "as clients ask for it, with `http://` or `https://` before the host";
            return Err(format!("{url}: the scheme is missing; write the URL {advice}"));
        }
        let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let scheme = match uri.scheme_str() {
            Some("http") => "http",
            Some("https") => "https",
            _ => return Err(format!("{url}: an absolute http or https URL is needed, as clients ask for it")),
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let authority =
            normalised_authority(authority, scheme).ok_or_else(|| format!("{url}: {authority:?} is no host"))?;
        Ok(Asked { scheme, authority, uri })
    }

    fn target(&self) -> TargetUri<'_> {
        TargetUri { scheme: self.scheme, authority: &self.authority, path: self.uri.path(), query: self.uri.query() }
    }
}

/// Purges what an operator orders. Targets that are none are left out, and told.
pub(super) fn purge(app: &App, order: PurgeOrder) -> PurgeResponse {
    let mut told: Vec<PurgedTarget> = Vec::with_capacity(order.targets.len());
    let (mut targets, mut asked_as) = (Vec::new(), Vec::new());
    for (at, target) in order.targets.iter().enumerate() {
        let resolved = resolve(app, target);
        let error = resolved.as_ref().err().cloned();
        for target in resolved.unwrap_or_default() {
            targets.push(target);
            asked_as.push(at);
        }
        told.push(PurgedTarget { target: target.to_string(), purged: 0, error });
    }
    // One by one they are patterns; all together they may be too large.
    if let Err(BadTarget { message, .. }) = Patterns::new(&targets) {
        told.iter_mut().filter(|target| target.error.is_none()).for_each(|it| it.error = Some(message.clone()));
        return PurgeResponse { targets: told, ..PurgeResponse::default() };
    }
    let cache = &app.proxy.cache;
    if order.dry_run || targets.is_empty() {
        let found = cache.would_purge(&targets).unwrap_or_default();
        count(&mut told, &asked_as, &found.by_target);
        let uncounted = cache.lower.names().map(str::to_owned).collect();
        return PurgeResponse { total: found.total(), targets: told, sample: found.sample, uncounted, receipt: None };
    }
    let Ok(purging) = cache.purge(Purge::new(targets, order.mode, app.proxy.clock.wall())) else {
        return PurgeResponse { targets: told, ..PurgeResponse::default() };
    };
    let (id, seq) = (purging.logged().purge.id.clone(), purging.logged().seq);
    let found = purging.finish();
    app.telemetry.metrics.purged(PurgeReason::Control);
    let receipt = tokio::runtime::Handle::current().block_on(app.proxy.confirm(&id, seq));
    count(&mut told, &asked_as, &found.by_target);
    PurgeResponse { total: found.total(), targets: told, receipt, ..PurgeResponse::default() }
}

fn count(told: &mut [PurgedTarget], asked_as: &[usize], by_target: &[u64]) {
    for (at, matched) in asked_as.iter().zip(by_target) {
        told[*at].purged += matched;
    }
}

/// Why a target is none.
fn empty(kind: &str) -> String {
    format!("an empty {kind} names nothing; `all` names everything")
}

/// What a target means here: a URL has a key for each way in which routes make one.
fn resolve(app: &App, target: &PurgeTarget) -> Result<Vec<PurgeTarget>, String> {
    match target {
        PurgeTarget::Url(url) => {
            let asked = Asked::parse(url)?;
            let keys = app.proxy.site().keys_of(&asked.target(), &app.proxy.cache.searches);
            Ok(keys.iter().map(|key| PurgeTarget::Url(key.url().to_owned())).collect())
        }
        PurgeTarget::Group { origin, name } => {
            if name.is_empty() {
                return Err(empty("group"));
            }
            let asked = Asked::parse(origin)?;
            Ok(vec![PurgeTarget::Group {
                origin: format!("{}://{}", asked.scheme, asked.authority),
                name: name.clone(),
            }])
        }
        PurgeTarget::Tag(tag) if tag.trim().is_empty() => Err(empty("tag")),
        PurgeTarget::Key(key) if key.trim().is_empty() => Err(empty("key")),
        PurgeTarget::ContentType(kind) if kind.trim().is_empty() => Err(empty("content type")),
        other => {
            Patterns::new(std::slice::from_ref(other)).map_err(|error| error.message)?;
            Ok(vec![other.clone()])
        }
    }
}

/// A page of what is in memory, in the order of the keys.
pub(super) fn entries(app: &App, query: &EntriesQuery) -> Result<Entries, String> {
    let filters = filters(query)?;
    let limit = query.limit.unwrap_or(PAGE);
    let now = app.proxy.clock.now();
    // The smallest keys behind `after`, one more than fit: then there is a next page.
    let mut page: BTreeMap<String, EntryView> = BTreeMap::new();
    let mut total = 0;
    app.proxy.cache.memory.each_usable(|key, entry| {
        if !entry.variants().iter().any(|stored| matches(&filters, key, stored)) {
            return;
        }
        total += 1;
        let text = key.as_str();
        let is_behind = query.after.as_deref().is_none_or(|after| text > after);
        let is_before = page.len() <= limit || page.last_key_value().is_some_and(|(last, _)| text < last.as_str());
        if is_behind && is_before {
            page.insert(text.to_owned(), view(key, entry, now));
            if page.len() > limit + 1 {
                page.pop_last();
            }
        }
    });
    let more = page.len() > limit;
    if more {
        page.pop_last();
    }
    let next = page.last_key_value().map(|(key, _)| key.clone()).filter(|_| more);
    Ok(Entries { entries: page.into_values().collect(), total, next })
}

/// A filter: names and tags by themselves, everything else as patterns.
type Filter = (PurgeTarget, Patterns);

fn filters(query: &EntriesQuery) -> Result<Vec<Filter>, String> {
    let mut targets = Vec::new();
    targets.extend(query.prefix.clone().map(PurgeTarget::Prefix));
    targets.extend(query.glob.clone().map(PurgeTarget::Glob));
    targets.extend(query.regex.clone().map(PurgeTarget::Regex));
    targets.extend(query.tag.clone().map(PurgeTarget::Tag));
    targets.extend(query.content_type.clone().map(PurgeTarget::ContentType));
    targets.extend(query.status.as_deref().map(str::parse).transpose()?.map(PurgeTarget::Status));
    let compile = |target: PurgeTarget| Ok((target.clone(), Patterns::new(&[target])?));
    let compiled: Result<Vec<_>, BadTarget> = targets.into_iter().map(compile).collect();
    compiled.map_err(|error| error.message)
}

fn matches(filters: &[Filter], key: &CacheKey, stored: &StoredResponse) -> bool {
    let meta = stored.meta(key);
    filters.iter().all(|(target, patterns)| target.names(&meta) || patterns.find(&meta).is_some())
}

fn view(key: &CacheKey, entry: &Entry, now: Timestamp) -> EntryView {
    EntryView {
        key: key.as_str().to_owned(),
        url: key.url().to_owned(),
        tier: "memory",
        bytes: entry.cost(key),
        variants: entry.variants().iter().map(|stored| variant(stored, now)).collect(),
    }
}

fn variant(stored: &StoredResponse, now: Timestamp) -> VariantView {
    let facts = &stored.facts;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    VariantView {
        status: facts.status.as_u16(),
        content_type: stored.fields.get_bytes(&http::header::CONTENT_TYPE).map(text),
        selects: stored.selection().fields().map(|(name, value)| (name.to_string(), value.map(text))).collect(),
        age: facts.age(now),
        ttl: facts.ttl(now),
        lifetime: facts.lifetime,
        lifetime_source: facts.lifetime_source.word(),
        stale_while_revalidate: facts.stale_while_revalidate,
        stale_if_error: facts.stale_if_error,
        soft_purged: facts.stale_since.is_some(),
        length: stored.complete_length(),
        body_on_disk: stored.body.stored().is_some(),
        hits: stored.hits.load(std::sync::atomic::Ordering::Relaxed),
        tags: stored.tags().named().map(str::to_owned).collect(),
        groups: stored.tags().groups().map(str::to_owned).collect(),
        not_reused: match decide(stored, now) {
            (_, Some(reason)) => Some(reason),
            _ => None,
        },
    }
}

/// What a stored response is good for, for a plain request: the outcome, and why it is not reused.
fn decide(stored: &StoredResponse, now: Timestamp) -> (&'static str, Option<&'static str>) {
    if stored.parts().is_some() {
        return ("miss", Some(ForwardReason::Partial.word()));
    }
    match reuse::decide(&RequestFacts::default(), &stored.facts, now) {
        Reuse::Fresh => ("hit", None),
        Reuse::Stale(_) => ("stale", None),
        Reuse::Validate(why) | Reuse::Forward(why) => ("miss", Some(why.word())),
        Reuse::OnlyIfCached => ("miss", None),
    }
}

/// What would become of a plain GET of a URL, and all that is stored of it.
pub(super) fn entry(app: &App, url: &str) -> Result<UrlView, String> {
    let asked = Asked::parse(url)?;
    let (cache, site, now) = (&app.proxy.cache, app.proxy.site(), app.proxy.clock.now());
    let stored_under = |key: &CacheKey| Some(view(key, &cache.memory.peek(key)?, now));
    let mut keys = Vec::new();
    for key in site.keys_of(&asked.target(), &cache.searches) {
        keys.extend(cache.memory.keys_of_url(key.url()));
    }
    let mut told = UrlView {
        url: url.to_owned(),
        entries: keys.iter().filter_map(|key| stored_under(key)).collect(),
        ..UrlView::default()
    };
    let request = Request::builder().method(Method::GET).uri(&asked.uri).body(()).map_err(|error| error.to_string())?;
    let (parts, ()) = request.into_parts();
    let admitted = Admitted {
        scheme: asked.scheme,
        authority: asked.authority.clone(),
        target: asked.uri.path_and_query().cloned().unwrap_or_else(|| http::uri::PathAndQuery::from_static("/")),
        client: std::net::Ipv4Addr::LOCALHOST.into(),
        via_trusted_proxy: false,
        trusted_client: false,
    };
    let route = match route::find(&site, &admitted, &parts) {
        Ok(route) => route,
        Err(refusal) => {
            (told.outcome, told.reason) = ("refused", Some(refusal.word()));
            let why = match refusal {
                Refusal::NoRoute => "No route matches",
                Refusal::AmbiguousQuery => "An app may read the query as one that another route takes",
                _ => "An app may read the path as one that another route takes",
            };
            told.explanation = format!("{why}: {}.", refusal.status().as_u16());
            return Ok(told);
        }
    };
    told.route = Some(route.route.name.clone());
    told.upstream = Some(route.upstream.to_string());
    told.asks = demands(&route.route);
    if route.route.redirect.is_some() {
        told.outcome = Outcome::Own.word();
        told.explanation = "The route answers by a redirect.".to_owned();
        return Ok(told);
    }
    if site.settings.debug.bypass_all {
        (told.outcome, told.reason) = ("bypass", Some(ForwardReason::Debug.word()));
        told.explanation = "`[debug] bypass_all` turns the cache off.".to_owned();
        return Ok(told);
    }
    if !route.route.cache_enabled || !route.route.cache_methods.contains(&Method::GET) {
        let why = if route.route.cache_enabled { ForwardReason::Method } else { ForwardReason::CacheOff };
        (told.outcome, told.reason) = ("bypass", Some(why.word()));
        told.explanation = "The route does not cache it.".to_owned();
        return Ok(told);
    }
    let key = CacheKey::new(&asked.target(), &route.route.key, &HeaderMap::new());
    told.below = cache.may_be_in(&key).map(Tier::word).collect();
    told.may_be_below = !told.below.is_empty();
    told.remembered_as_uncacheable = cache.flights.is_uncacheable(&key, now);
    let entry = cache.memory.peek(&key).unwrap_or_default();
    let selected = entry.select(&HeaderMap::new());
    (told.outcome, told.reason) = match selected {
        Some(stored) => match decide(stored, now) {
            ("stale", _) => ("stale", Some("stale-while-revalidate")),
            decided => decided,
        },
        None if entry.variants().is_empty() => ("miss", Some(ForwardReason::UriMiss.word())),
        None => ("miss", Some(ForwardReason::VaryMiss.word())),
    };
    told.explanation = explanation(&told, selected.map(|stored| stored.facts.ttl(now)));
    told.key = Some(key.as_str().to_owned());
    Ok(told)
}

/// What a route asks of a request before anything is looked up, and of one that is forwarded.
fn demands(route: &Route) -> Vec<String> {
    let Access { allow, deny, basic, forward } = &route.access;
    let listed = |networks: &[IpNet]| networks.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ");
    let RouteLimits { rate, concurrency, bandwidth } = &route.limits;
    let demands = [
        (!allow.is_empty()).then(|| format!("a client in {}", listed(allow))),
        (!deny.is_empty()).then(|| format!("no client in {}", listed(deny))),
        rate.as_ref().map(|(rate, key)| {
            let per = humantime::format_duration(rate.per);
            format!("at most {} requests in {per}, {} at once, {}", rate.count, rate.burst, counted_by(key))
        }),
        basic.as_ref().map(|basic| format!("a user of {}", basic.file.display())),
        forward.as_ref().map(|forward| format!("the word of another program, asked at {}", forward.target)),
        concurrency.map(|places| format!("a place among {} at the upstream, if forwarded", places.most)),
        bandwidth.map(|bytes| format!("no more than {} a second", ByteSize(bytes))),
    ];
    demands.into_iter().flatten().collect()
}

fn counted_by(key: &RateKey) -> String {
    match key {
        RateKey::Address => "from an address".to_owned(),
        RateKey::Route => "of all clients together".to_owned(),
        RateKey::Header(name) => format!("with one value of {name}"),
        RateKey::Cookie(name) => format!("with one value of the cookie {name}"),
    }
}

fn explanation(told: &UrlView, ttl: Option<i64>) -> String {
    let text = match (told.outcome, told.reason, ttl) {
        ("hit", _, Some(ttl)) => format!("It is answered from memory, where it is fresh for {ttl} s more."),
        ("stale", _, _) => "It is answered from memory although it is stale, and fetched anew meanwhile.".to_owned(),
        (_, Some("uri-miss"), _) => "Nothing is stored in memory under its key.".to_owned(),
        (_, Some("vary-miss"), _) => "What is stored is for other values of the fields that Vary names.".to_owned(),
        (_, Some("partial"), _) => "Only a part of it is stored.".to_owned(),
        (_, Some("response-no-cache"), _) => "It is stored, but to be validated before each use.".to_owned(),
        (_, Some("stale"), Some(ttl)) => format!(
            "What is stored has been stale for {} s: it is validated, or fetched anew where it has no validator.",
            -ttl
        ),
        (_, Some(word), _) => format!("It is forwarded; docs/CACHING.md explains `{word}`."),
        _ => "It is forwarded.".to_owned(),
    };
    match (told.outcome, told.may_be_below, told.remembered_as_uncacheable) {
        ("miss", true, _) => format!("{text} It may still be found below memory: {}.", told.below.join(", ")),
        ("miss", _, true) => {
            format!("{text} Its last answer could not be stored for all, so requests for it are not collapsed.")
        }
        _ => text,
    }
}

/// How the tiers are.
pub(super) fn health(app: &App) -> Health {
    let cache = &app.proxy.cache;
    let below = cache.lower.figures();
    let purge_link = app.link.as_ref().map(|link| {
        let figures = link.figures();
        let fault = figures.fault.filter(|_| figures.standing != Standing::InStep);
        LinkHealth { standing: figures.standing.word(), fault: fault.map(Fault::word) }
    });
    let is_followed = purge_link.as_ref().is_none_or(|link| link.standing == Standing::InStep.word());
    let is_ok = is_followed && below.iter().all(|tier| tier.state == TierFigures::ON);
    let memory = TierHealth { tier: "memory", state: TierFigures::ON };
    let below = below.iter().map(|tier| TierHealth { tier: tier.tier, state: tier.state });
    Health {
        status: if is_ok { "ok" } else { "degraded" },
        tiers: std::iter::once(memory).chain(below).collect(),
        purge_link,
        outstanding_purges: cache.outstanding_purges(),
    }
}

/// Figures of every tier.
pub(super) fn stats(
    memory: &CacheFigures,
    below: &[TierFigures],
    redis: &[RedisFigures],
    requests: &BTreeMap<String, u64>,
) -> CacheStats {
    let asked = |words: &[&str]| words.iter().filter_map(|word| requests.get(*word)).sum();
    let (hits, misses): (u64, u64) = (asked(&["hit", "stale"]), asked(&["miss", "revalidated", "collapsed"]));
    // What was found below was a hit there and not in memory.
    let from_below: u64 = below.iter().map(|tier| tier.hits).sum();
    let (hits, misses) = (hits.saturating_sub(from_below), misses + from_below.min(hits));
    let memory = TierStats {
        tier: "memory",
        state: TierFigures::ON,
        hits,
        misses,
        ratio: ratio(hits, misses),
        bytes: Some(memory.bytes),
        budget_bytes: memory.budget_bytes,
        entries: Some(memory.entries),
        evictions: Some(memory.evictions),
        latency_micros: 0.0,
        breaker: None,
    };
    let breaker = redis.iter().find(|client| client.purpose == "bodies").map(|client| client.state);
    // What Redis holds and evicts is its own business.
    let counted = |tier: &TierFigures, count: u64| Some(count).filter(|_| tier.tier != Tier::Redis.word());
    let tier = |tier: &TierFigures| TierStats {
        tier: tier.tier,
        state: tier.state,
        hits: tier.hits,
        misses: tier.misses,
        ratio: ratio(tier.hits, tier.misses),
        bytes: counted(tier, tier.bytes),
        budget_bytes: tier.budget_bytes,
        entries: counted(tier, tier.entries),
        evictions: counted(tier, tier.evictions),
        latency_micros: tier.load_micros as f64 / (tier.hits + tier.misses).max(1) as f64,
        breaker: breaker.filter(|_| tier.tier == Tier::Redis.word()),
    };
    CacheStats { tiers: std::iter::once(memory).chain(below.iter().map(tier)).collect() }
}

fn ratio(hits: u64, misses: u64) -> f64 {
    hits as f64 / (hits + misses).max(1) as f64
}
