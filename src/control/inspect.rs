//! `/v1/cache/…`: what is stored, what would be decided for a URL, and how the tiers are.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::{Api, blocking};
use super::problem::Problem;

/// Keys of a page, unless asked for otherwise.
pub const PAGE: usize = 100;
/// Most keys of a page.
pub const MAX_PAGE: usize = 1000;

/// Which stored responses to list; all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EntriesQuery {
    /// See [`super::purge::PurgeRequest`].
    pub prefix: Option<String>,
    /// As above.
    pub glob: Option<String>,
    /// As above.
    pub regex: Option<String>,
    /// As above.
    pub tag: Option<String>,
    /// As above.
    pub content_type: Option<String>,
    /// As above.
    pub status: Option<String>,
    /// Keys behind this one: what the page before said in `next`.
    pub after: Option<String>,
    /// Most keys.
    pub limit: Option<usize>,
}

/// A page of what is stored in memory, in the order of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Entries {
    /// The keys of this page with what is stored under each.
    pub entries: Vec<EntryView>,
    /// Keys that match, on all pages.
    pub total: u64,
    /// What to give as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A cache key with what is stored under it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EntryView {
    /// The cache key.
    pub key: String,
    /// The URL as clients ask for it.
    pub url: String,
    /// Where it is: `memory`.
    pub tier: &'static str,
    /// Bytes that it takes there, its overhead included; bodies that are on disk alone do not count.
    pub bytes: u64,
    /// One element a stored response, the newest first.
    pub variants: Vec<VariantView>,
}

/// A stored response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VariantView {
    /// Its status.
    pub status: u16,
    /// Its Content-Type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The request fields that select it (Vary), with the values that do; `null`: the field is not there.
    pub selects: BTreeMap<String, Option<String>>,
    /// Its age in seconds.
    pub age: u32,
    /// Seconds for which it is still fresh; negative once stale.
    pub ttl: i64,
    /// Its freshness lifetime in seconds.
    pub lifetime: u32,
    /// Where the lifetime comes from.
    pub lifetime_source: &'static str,
    /// Seconds for which it may be served stale while it is fetched anew.
    pub stale_while_revalidate: u32,
    /// Seconds for which it may stand in for an error.
    pub stale_if_error: u32,
    /// Whether it was purged softly.
    pub soft_purged: bool,
    /// Length of its body in bytes, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Whether its body is on disk alone.
    pub body_on_disk: bool,
    /// How often it answered.
    pub hits: u32,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its cache groups.
    pub groups: Vec<String>,
    /// Why it may not answer a plain request now, in a word; absent: it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_reused: Option<&'static str>,
}

/// Which URL.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryQuery {
    /// Absolute, as clients ask for it.
    pub url: String,
}

/// What would become of a plain GET of a URL now, and what is stored of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UrlView {
    /// The URL.
    pub url: String,
    /// The route that it takes; absent where none matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The upstream that it would be forwarded to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// What the route asks of a request first (networks, rates, who it is), an element a demand. What would become of
    /// it is said for a request that meets them.
    pub asks: Vec<String>,
    /// What would become of it: `hit`, `stale`, `miss`, `bypass`, `own` (a redirect) or `refused`.
    pub outcome: &'static str,
    /// Why, in a word of the log and of Cache-Status; absent for a fresh hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What the word means.
    pub explanation: String,
    /// The key that the request would be looked up by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether a tier below memory may have it.
    pub may_be_below: bool,
    /// Which of them: the disk knows what it has, Redis is not asked.
    pub below: Vec<&'static str>,
    /// Whether its last answer could not be shared, so that requests for it are not collapsed for a while.
    pub remembered_as_uncacheable: bool,
    /// All that is in memory of the URL, under whatever key.
    pub entries: Vec<EntryView>,
}

/// How the cache is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Health {
    /// `ok`; `degraded` where a tier is switched off, or the purges of other nodes are not followed.
    pub status: &'static str,
    /// Each tier with its state, the nearest first.
    pub tiers: Vec<TierHealth>,
    /// The way of purges to and from other nodes, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purge_link: Option<LinkHealth>,
    /// Purges that some tier has still to apply to all it holds. They are in force all the same.
    pub outstanding_purges: u64,
}

/// How a tier is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TierHealth {
    /// `memory`, `disk` or `redis`.
    pub tier: &'static str,
    /// `on`, or why not.
    pub state: &'static str,
}

/// How the way of purges between nodes is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LinkHealth {
    /// `in-step`; `catching-up`; `alone`: what is held is served though others may have purged it; `shut`: it is not.
    pub standing: &'static str,
    /// Why it is not in step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<&'static str>,
}

/// Figures of every tier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct CacheStats {
    /// The nearest first.
    pub tiers: Vec<TierStats>,
}

/// Figures of a tier since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct TierStats {
    /// `memory`, `disk` or `redis`.
    pub tier: &'static str,
    /// `on`, or why not.
    pub state: &'static str,
    /// Look-ups that found something to use.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Hits among all look-ups, 0 to 1.
    pub ratio: f64,
    /// Bytes held; absent for Redis, which does not say what is larder's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Most bytes it may hold; 0: it does not decide.
    pub budget_bytes: u64,
    /// Keys (in memory) or records (below) held; absent for Redis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// What went for room; absent for Redis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evictions: Option<u64>,
    /// Microseconds that a look-up took on average; 0 for memory, which takes none worth counting.
    pub latency_micros: f64,
    /// State of the circuit breaker before Redis: `closed`, `half-open` or `open`; absent for other tiers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<&'static str>,
}

pub(super) async fn entries(
    State(api): State<Arc<Api>>,
    query: Result<Query<EntriesQuery>, QueryRejection>,
) -> Result<Json<Entries>, Problem> {
    let Query(query) = query.map_err(wrong_query)?;
    if query.limit.is_some_and(|limit| !(1..=MAX_PAGE).contains(&limit)) {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("`limit` is 1 to {MAX_PAGE}")));
    }
    blocking(&api, move |operations| operations.entries(&query)).await?.map(Json).map_err(unprocessable)
}

pub(super) async fn entry(
    State(api): State<Arc<Api>>,
    query: Result<Query<EntryQuery>, QueryRejection>,
) -> Result<Json<UrlView>, Problem> {
    let Query(EntryQuery { url }) = query.map_err(wrong_query)?;
    api.operations.entry(&url).map(Json).map_err(unprocessable)
}

pub(super) async fn health(State(api): State<Arc<Api>>) -> Json<Health> {
    Json(api.operations.health())
}

pub(super) async fn stats(State(api): State<Arc<Api>>) -> Json<CacheStats> {
    Json(api.operations.cache_stats())
}

fn wrong_query(rejection: QueryRejection) -> Problem {
    unprocessable(rejection.body_text())
}

fn unprocessable(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}
