//! The method PURGE on the listeners of clients, as apps and plug-ins for Varnish and Fastly send it. Off unless the
//! settings name who may; then it never goes further than here.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use ipnet::IpNet;
use serde::Serialize;

use super::admit::{Admitted, contains};
use super::body::Body;
use super::denial::Denial;
use super::refusal::Refusal;
use super::site::Site;
use super::token::{self, Holder, Tokens};
use super::{Proxy, respond};
use crate::cache::purge::{Mode, Purge, PurgeTarget, Receipt, told};
use crate::config::settings::{PurgeMethod, Scope};
use crate::policy::reason::PurgeReason;
use crate::policy::tags::{TagRules, Tags};

/// The method.
pub(super) const NAME: &str = "PURGE";
/// Most tags of one request.
const MOST_TAGS: usize = 10_000;
/// Says that what matches becomes stale instead of going, as Fastly has it.
const SOFT: HeaderName = HeaderName::from_static("fastly-soft-purge");
/// Fields that name tags, as configurations for Varnish's xkey have them, beside those that responses carry tags in.
const HARD_TAGS: HeaderName = HeaderName::from_static("xkey-purge");
const SOFT_TAGS: HeaderName = HeaderName::from_static("xkey-softpurge");

/// Who may purge by it.
#[derive(Debug)]
pub struct PurgeGate {
    allow: Vec<IpNet>,
    tokens: Option<Tokens>,
}

/// What a request that is denied lacks. The client is told no more than the denial says.
struct Lacking<'a> {
    what: &'static str,
    /// Whose token it presented.
    holder: Option<&'a Arc<Holder>>,
    denial: Box<Denial>,
}

/// What such a request is answered with.
#[derive(Debug, Serialize)]
struct Purged {
    /// Stored responses that matched in memory.
    matched: u64,
    #[serde(flatten)]
    receipt: Option<Receipt>,
}

impl PurgeGate {
    /// As the settings want it.
    pub fn new(settings: &PurgeMethod) -> Self {
        let tokens = settings.tokens.as_ref().map(|tokens| Tokens::new(None, tokens));
        PurgeGate { allow: settings.allow.clone(), tokens }
    }

    /// Whose request it is, where a token says so.
    fn check(&self, admitted: &Admitted, headers: &HeaderMap) -> Result<Option<&Arc<Holder>>, Lacking<'_>> {
        if !contains(&self.allow, admitted.client) {
            return Err(Lacking { what: "an allowed address", holder: None, denial: Denial::of(Refusal::Denied) });
        }
        let Some(tokens) = &self.tokens else { return Ok(None) };
        let lacking = |what, holder, refusal, error: &str| {
            let challenge = format!("Bearer realm=\"larder purge\"{error}");
            Lacking { what, holder, denial: Denial::of(refusal).with(header::WWW_AUTHENTICATE, &challenge) }
        };
        let Some(presented) = token::presented(headers) else {
            return Err(lacking("a token", None, Refusal::Unauthorized, ""));
        };
        let Some(holder) = tokens.holder(presented) else {
            return Err(lacking("a known token", None, Refusal::Unauthorized, ", error=\"invalid_token\""));
        };
        if holder.may(Scope::Purge) {
            return Ok(Some(holder));
        }
        let error = ", error=\"insufficient_scope\", scope=\"purge\"";
        Err(lacking("the scope purge", Some(holder), Refusal::Denied, error))
    }
}

impl Proxy {
    /// Purges what a PURGE names, and answers with its receipt; or says why not.
    pub(super) async fn purge_by_method(
        self: &Arc<Self>,
        site: &Site,
        gate: &PurgeGate,
        admitted: &Admitted,
        parts: &Parts,
    ) -> Result<Response<Body>, Box<Denial>> {
        let peer = admitted.client;
        let holder = gate.check(admitted, &parts.headers).map_err(|Lacking { what, holder, denial }| {
            let (token, reason) = (holder.map(|holder| holder.name.as_str()), denial.refusal.word());
            tracing::warn!(target: "audit", %peer, token, reason, lacks = what, method = NAME, "denied");
            denial
        })?;
        let (targets, soft) = self.named(site, admitted, &parts.headers)?;
        let mode = if soft { Mode::Soft } else { Mode::Hard };
        let what = told(&targets);
        let (count, purge) = (targets.len(), Purge::new(targets, mode, self.clock.wall()));
        let proxy = self.clone();
        // A tag may match a great deal.
        let purged = tokio::task::spawn_blocking(move || {
            let purging = proxy.cache.purge(purge)?;
            let logged = purging.logged().clone();
            Ok::<_, crate::cache::purge::BadTarget>((logged, purging.finish().total()))
        });
        let Ok(Ok((logged, matched))) = purged.await else {
            return Ok(respond::own(StatusCode::INTERNAL_SERVER_ERROR));
        };
        self.telemetry.metrics.purged(PurgeReason::Method);
        tracing::info!(
            target: "audit", %peer, token = holder.map(|holder| holder.name.as_str()), action = "purge",
            reason = PurgeReason::Method.word(), id = logged.purge.id, %what, soft, targets = count, count = matched,
            "method"
        );
        let receipt = self.confirm(&logged.purge.id, logged.seq).await;
        let json = serde_json::to_vec(&Purged { matched, receipt }).unwrap_or_default();
        Ok(respond::page(StatusCode::OK, Bytes::from(json), HeaderValue::from_static("application/json")))
    }

    /// What is to be purged, and whether softly: the tags that the request names, else its URL.
    fn named(
        &self,
        site: &Site,
        admitted: &Admitted,
        headers: &HeaderMap,
    ) -> Result<(Vec<PurgeTarget>, bool), Box<Denial>> {
        let soft = headers.get(&SOFT).is_some_and(|value| value.as_bytes().trim_ascii() == b"1");
        let soft = soft || headers.contains_key(&SOFT_TAGS);
        let rules = &site.settings.tags;
        let mut fields = vec![HARD_TAGS, SOFT_TAGS];
        fields.extend(rules.fields.iter().cloned());
        if !fields.iter().any(|name| headers.contains_key(name)) {
            let keys = site.keys_of(&admitted.uri(), &self.cache.searches);
            return Ok((keys.iter().map(|key| PurgeTarget::Url(key.url().to_owned())).collect(), soft));
        }
        let rules = TagRules { fields, most: MOST_TAGS, longest: rules.longest };
        let tags = Tags::of(headers, &rules).unwrap_or_default();
        let targets: Vec<_> = tags.named().map(|tag| PurgeTarget::Tag(tag.to_owned())).collect();
        // Not its URL: who names tags does not mean that.
        if targets.is_empty() { Err(Denial::of(Refusal::BadField)) } else { Ok((targets, soft)) }
    }
}
