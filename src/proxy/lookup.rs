//! Steps 3 to 5: identify what is asked for, look it up, decide what to do.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};

use super::front::Identified;
use super::part::{self, Ask, Missing};
use super::site::SiteRoute;
use super::{Asked, search, session};
use crate::cache::entry::{Entry, StoredResponse};
use crate::cache::key::{CacheKey, alike_cookies};
use crate::cache::sessions::SessionName;
use crate::config::settings::PrivateCache;
use crate::content::{accept, static_files};
use crate::policy::facts::RequestFacts;
use crate::policy::fields;
use crate::policy::preconditions;
use crate::policy::present::Fields;
use crate::policy::reason::{ForwardReason, StaleReason};
use crate::policy::reuse::{self, Reuse};
use crate::policy::rules::CookieRule;
use crate::upstream::UpstreamError;

/// What to do with a request.
#[derive(Debug)]
pub(super) enum Plan {
    /// Answer with a stored response; stale ones on purpose.
    Serve { key: CacheKey, stored: Arc<StoredResponse>, stale: Option<StaleReason> },
    /// Ask the upstream for something that may be stored, or whether `stored` is still good.
    Fetch(Box<Wanted>),
    /// Pass the request on as it is; what comes back is not stored.
    /// `freshens` is given where it may confirm what is stored.
    Pass { why: ForwardReason, freshens: Option<Box<Wanted>> },
    /// Nothing usable is stored, and the client wants nothing else (RFC 9111 §5.2.1.7).
    /// `key` is where it might be, if anywhere.
    OnlyIfCached { key: Option<CacheKey> },
}

impl Plan {
    /// The key under which memory has nothing for this request: where to look below it.
    pub(super) fn absent(&self) -> Option<&CacheKey> {
        match self {
            Plan::Fetch(wanted) | Plan::Pass { freshens: Some(wanted), .. } => {
                wanted.stored.is_none().then(|| wanted.exact())
            }
            Plan::OnlyIfCached { key } => key.as_ref(),
            Plan::Serve { .. } | Plan::Pass { freshens: None, .. } => None,
        }
    }

    /// What it may answer with, where the body of that is on disk alone.
    pub(super) fn on_disk(&self) -> Option<(&CacheKey, &Arc<StoredResponse>)> {
        let (key, stored) = match self {
            Plan::Serve { key, stored, .. } => (key, stored),
            Plan::Fetch(wanted) => (&wanted.key, wanted.stored.as_ref()?),
            Plan::Pass { .. } | Plan::OnlyIfCached { .. } => return None,
        };
        stored.body.stored().is_some().then_some((key, stored))
    }
}

/// What a fetch is for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Under which key what is stored was looked for; fetches of the same are one.
    pub key: CacheKey,
    /// The key that the URL makes by itself, where that is another.
    pub exact: Option<CacheKey>,
    /// The private cache of the session that asks.
    pub own: Option<Own>,
    /// Why the cache could not answer.
    pub why: ForwardReason,
    /// What the request says about caching.
    pub facts: RequestFacts,
    /// What is stored under the key, in all variants.
    pub entry: Entry,
    /// The variant to validate, or to combine with what is fetched.
    pub stored: Option<Arc<StoredResponse>>,
    /// How much of it is fetched.
    pub ask: Ask,
    /// Whether other requests may wait for the answer.
    pub collapsible: bool,
}

/// What a session's private cache may store.
#[derive(Clone, Debug)]
pub(super) struct Own {
    /// The key that the URL makes for the session.
    pub key: CacheKey,
    /// The session.
    pub name: SessionName,
    /// What the request says to a private cache.
    pub facts: RequestFacts,
    /// The session's cookie, and the bounds.
    pub rules: PrivateCache,
}

impl Wanted {
    /// The private cache, if what was found is stored there.
    pub(super) fn found_in(&self) -> Option<&Own> {
        self.own.as_ref().filter(|_| self.key.session().is_some())
    }

    /// What is answered when the upstream fails and nothing stands in.
    pub(super) fn failure_status(&self, error: &UpstreamError) -> StatusCode {
        match &self.stored {
            Some(stored) if stored.facts.forbids_stale => error.status_for_validation(),
            _ => error.status(),
        }
    }

    /// The key that the URL makes by itself; what the response says of the query may make another of it.
    pub(super) fn exact(&self) -> &CacheKey {
        self.exact.as_ref().unwrap_or(&self.key)
    }
}

/// Decides what to do with a request.
pub(super) fn plan(asked: &Asked<'_>) -> Plan {
    if let Some(why) = reason_to_pass(asked) {
        // Other methods wish for no stored response, whatever a client adds to all of its requests.
        let only_if_cached = || is_looked_up(&asked.parts.method) && facts(asked).directives.only_if_cached;
        return match why {
            // The cache has nothing for these, whatever is stored.
            ForwardReason::Method
            | ForwardReason::RequestBody
            | ForwardReason::Precondition
            | ForwardReason::CookieRequest
            | ForwardReason::SessionUnclear
                if only_if_cached() =>
            {
                Plan::OnlyIfCached { key: None }
            }
            _ => Plan::Pass { why, freshens: None },
        };
    }
    let exact = identify(asked).clone();
    let own = session::own(asked, &exact);
    let of_session = own.as_ref().filter(|_| !asked.blind).and_then(|own| session::plan(asked, own, &exact));
    if let Some(plan @ Plan::Serve { .. }) = of_session {
        return plan;
    }
    match (of_session, plan_for_all(asked, exact, own)) {
        // What the session has can be validated, unless what is for all answers as it is.
        (Some(validates), Plan::Fetch(_) | Plan::Pass { .. }) => validates,
        (_, plan) => plan,
    }
}

fn plan_for_all(asked: &Asked<'_>, exact: CacheKey, own: Option<Own>) -> Plan {
    let facts = facts(asked);
    let (other, entry) = if asked.blind { (None, Entry::default()) } else { search::look_up(asked, &exact) };
    let (stored, missing) = match select(asked, &entry) {
        Ok(selected) => selected,
        Err(why) => {
            return match reuse::decide_without(&facts, why) {
                Reuse::OnlyIfCached => Plan::OnlyIfCached { key: Some(exact) },
                _ => fetch(asked, (other, exact, own), why, facts, entry, None),
            };
        }
    };
    let stored = stored.clone();
    match (reuse::decide(&facts, &stored.facts, asked.now), missing) {
        (Reuse::Forward(why), _) => fetch(asked, (other, exact, own), of_whom(asked, why), facts, entry, None),
        (Reuse::OnlyIfCached, _) => Plan::OnlyIfCached { key: None },
        (_, Some(_)) if facts.directives.only_if_cached => Plan::OnlyIfCached { key: Some(exact) },
        (_, Some(missing)) => {
            fetch(asked, (other, exact, own), ForwardReason::Partial, facts, entry, Some((stored, Some(missing))))
        }
        (Reuse::Fresh, None) => Plan::Serve { key: other.unwrap_or(exact), stored, stale: None },
        (Reuse::Stale(why), None) => Plan::Serve { key: other.unwrap_or(exact), stored, stale: Some(why) },
        (Reuse::Validate(why), None) => fetch(asked, (other, exact, own), why, facts, entry, Some((stored, None))),
    }
}

/// The cache key: from the URL as the client sees it, and what the route adds.
pub(super) fn identify<'a>(asked: &'a Asked<'_>) -> &'a CacheKey {
    asked.known.key.get_or_init(|| {
        let key = CacheKey::new(&asked.admitted.uri(), &asked.route.route.key, &asked.parts.headers);
        match asked.known.device.as_deref() {
            Some(class) => key.with("device", class),
            None => key,
        }
    })
}

/// What the request says about caching.
pub(super) fn facts(asked: &Asked<'_>) -> RequestFacts {
    *asked.known.facts.get_or_init(|| {
        let (rules, fields) = (&asked.route.route.cache, asked.fields());
        let cookie = cookie_matters(&rules.cookies, fields);
        let mut facts = RequestFacts::of(fields, cookie, asked.admitted.trusted_client, rules.request_directives);
        // RFC 9111 §3.5 speaks of Authorization; what larder itself found out and told the app is no different.
        facts.authorization |= asked.parts.extensions.get::<Identified>().is_some();
        facts
    })
}

/// The stored response for a request and what it lacks, or why there is none. Of several the most recent by Date
/// (RFC 9111 §4), those that lack nothing first; but one that says nothing of Vary only where no fresh one that does is
/// stored (§4.1).
pub(super) fn select<'a>(
    asked: &Asked<'_>,
    entry: &'a Entry,
) -> Result<(&'a Arc<StoredResponse>, Option<Missing>), ForwardReason> {
    let request = &asked.parts.headers;
    let mut why = match entry.variants() {
        [] if asked.blind => ForwardReason::PurgesUnknown,
        [] => ForwardReason::UriMiss,
        _ => ForwardReason::VaryMiss,
    };
    let mut best: Option<(&Arc<StoredResponse>, Option<Missing>)> = None;
    let mut best_chosen: Option<&Arc<StoredResponse>> = None;
    for stored in entry.variants().iter().filter(|stored| stored.is_selected_by(request)) {
        if !is_acceptable(asked.route, stored, request) {
            why = ForwardReason::CodingMiss;
            continue;
        }
        let missing = part::missing(asked, stored);
        let rank = |stored: &StoredResponse, missing: &Option<Missing>| (missing.is_none(), stored.facts.date);
        let is_chosen = !stored.selection().is_empty() && missing.is_none() && stored.facts.is_fresh(asked.now);
        if is_chosen && best_chosen.is_none_or(|best| stored.facts.date > best.facts.date) {
            best_chosen = Some(stored);
        }
        if best.as_ref().is_none_or(|(best, lacks)| rank(stored, &missing) > rank(best, lacks)) {
            best = Some((stored, missing));
        }
    }
    match (best, best_chosen) {
        (Some((default, _)), Some(chosen)) if default.selection().is_empty() => Ok((chosen, None)),
        (best, _) => best.ok_or(why),
    }
}

/// Whether the client takes the coding that a stored response came in: an upstream that codes without saying so in
/// Vary must not break other clients. Where the response was selected by what they take, nobody would get another form;
/// nor, where apps are asked for the plain one, unless Vary says that they go by it (RFC 9111 §4.1).
pub(super) fn is_acceptable(route: &SiteRoute, stored: &StoredResponse, request: &HeaderMap) -> bool {
    let Some(coding) = stored.fields.get_bytes(&header::CONTENT_ENCODING) else { return true };
    let is_everybodys = || !request.contains_key(header::ACCEPT_ENCODING) || !varies_by_coding(stored);
    (route.route.compression.is_some() && is_everybodys())
        || stored.selection().fields().any(|(name, _)| *name == header::ACCEPT_ENCODING)
        || std::str::from_utf8(coding).is_ok_and(|coding| accept::accepts(request, coding))
}

fn varies_by_coding(stored: &StoredResponse) -> bool {
    let coding = header::ACCEPT_ENCODING;
    stored.fields.iter().any(|(name, line)| *name == header::VARY && fields::lists(line, coding.as_str()))
}

/// Why a request is not the cache's business at all.
pub(super) fn reason_to_pass(asked: &Asked<'_>) -> Option<ForwardReason> {
    let (route, request) = (&asked.route.route, &asked.parts);
    if asked.upgrade {
        return Some(ForwardReason::Upgrade);
    }
    if !is_looked_up(&request.method) || !route.cache_methods.contains(&request.method) {
        return Some(ForwardReason::Method);
    }
    if !route.cache_enabled {
        return Some(ForwardReason::CacheOff);
    }
    if is_debugged(asked) {
        return Some(ForwardReason::Debug);
    }
    if asked.has_body {
        return Some(ForwardReason::RequestBody);
    }
    if preconditions::only_for_origin(asked.fields()) {
        return Some(ForwardReason::Precondition);
    }
    let bypasses = matches!(route.cache.cookies, CookieRule::Bypass | CookieRule::BypassNames(_));
    (bypasses && asked.whose.session().is_none() && cookie_matters(&route.cache.cookies, asked.fields()))
        .then(|| of_whom(asked, ForwardReason::CookieRequest))
}

fn is_looked_up(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// A cookie is no obstacle where it names a session: what is one then is that it does not clearly.
fn of_whom(asked: &Asked<'_>, why: ForwardReason) -> ForwardReason {
    match why {
        ForwardReason::CookieRequest if asked.whose.is_unclear() => ForwardReason::SessionUnclear,
        _ => why,
    }
}

/// Whether the cache is switched off for all requests, or for this one by its field.
pub(super) fn is_debugged(asked: &Asked<'_>) -> bool {
    let debug = &asked.site.settings.debug;
    let by_field = debug.bypass_header.as_ref().is_some_and(|name| asked.fields().has(name));
    debug.bypass_all || (by_field && asked.admitted.trusted_client)
}

/// Whether a request carries a cookie that matters on this route.
pub(super) fn cookie_matters<'a>(rule: &CookieRule, fields: impl Into<Fields<'a>>) -> bool {
    let fields = fields.into();
    match rule {
        CookieRule::Ignore => false,
        CookieRule::Protect | CookieRule::Bypass => fields.has(&header::COOKIE),
        CookieRule::BypassNames(names) => {
            // Whoever hides a cookie from larder would have the page it brings him published.
            fields.has(&header::COOKIE) && names.iter().any(|name| alike_cookies(fields.map(), name).next().is_some())
        }
    }
}

/// `selected` is what is to be validated, or what lacks something.
fn fetch(
    asked: &Asked<'_>,
    (other, exact, own): (Option<CacheKey>, CacheKey, Option<Own>),
    why: ForwardReason,
    facts: RequestFacts,
    entry: Entry,
    selected: Option<(Arc<StoredResponse>, Option<Missing>)>,
) -> Plan {
    let (key, exact) = match other {
        Some(other) => (other, Some(exact)),
        None => (exact, None),
    };
    let (stored, missing) = selected.unzip();
    let missing = missing.flatten();
    let large = asked.proxy.cache.flights.is_uncacheable(&key, asked.now);
    let ask = Ask::of(asked, stored.as_deref(), missing.clone(), large);
    // Only a GET brings a body to store; HEAD freshens what is stored, if there is all of it or not.
    let passes = asked.parts.method != Method::GET;
    let stored = stored.filter(|_| passes || missing != Some(Missing::Other));
    let collapsible = !asked.blind && !passes && may_collapse(asked, &key, &facts, stored.as_deref());
    let wanted = Box::new(Wanted { key, exact, own, why, facts, entry, stored, ask, collapsible });
    if passes { Plan::Pass { why, freshens: Some(wanted) } } else { Plan::Fetch(wanted) }
}

/// Whether other requests may wait for this one's answer. Where it is likely to be for this client only, waiting
/// would only cost the others time.
fn may_collapse(asked: &Asked<'_>, key: &CacheKey, facts: &RequestFacts, stored: Option<&StoredResponse>) -> bool {
    let shareable = || {
        stored.is_some_and(|stored| stored.facts.allows_cookies)
            || (asked.route.route.static_files
                && static_files::is_candidate(&asked.site.settings.static_classes, asked.admitted.target.path()))
    };
    !facts.directives.no_store
        && !facts.authorization
        && (!facts.cookie || shareable())
        && !asked.proxy.cache.flights.is_uncacheable(key, asked.now)
}
