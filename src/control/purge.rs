//! `/v1/purge` and `/v1/purges/{id}`: what is asked, and what became of it.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use super::api::{Api, blocking};
use super::guard::Caller;
use super::problem::Problem;
use crate::cache::purge::{Mode, PurgeTarget, Receipt, told};

/// Targets of one purge.
pub const MAX_TARGETS: usize = 10_000;

/// What to purge: a stored response that one of the targets matches. Each kind takes one or a list, and may be written
/// in the plural.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("minProperties" = 1), transform = with_plurals)]
pub struct PurgeRequest {
    /// Absolute URLs, as clients ask for them; all variants of each.
    #[serde(alias = "urls", skip_serializing_if = "OneOrMany::is_empty")]
    pub url: OneOrMany<String>,
    /// Cache keys, as `/v1/cache/entries` shows them.
    #[serde(alias = "keys", skip_serializing_if = "OneOrMany::is_empty")]
    pub key: OneOrMany<String>,
    /// Beginnings: of URLs (`http://host/path`), of host and path (`host/path`), or of paths on any host (`/path`).
    #[serde(alias = "prefixes", skip_serializing_if = "OneOrMany::is_empty")]
    pub prefix: OneOrMany<String>,
    /// Globs of the same three kinds, without the query: `*` stays within a segment, `**` does not.
    #[serde(alias = "globs", skip_serializing_if = "OneOrMany::is_empty")]
    pub glob: OneOrMany<String>,
    /// Regular expressions that are found in `host/path`.
    #[serde(alias = "regexes", skip_serializing_if = "OneOrMany::is_empty")]
    pub regex: OneOrMany<String>,
    /// Tags that the app gave (Surrogate-Key, Cache-Tag, xkey).
    #[serde(alias = "tags", skip_serializing_if = "OneOrMany::is_empty")]
    pub tag: OneOrMany<String>,
    /// Cache groups (RFC 9875).
    #[serde(alias = "groups", skip_serializing_if = "OneOrMany::is_empty")]
    pub group: OneOrMany<Group>,
    /// Media types: `text/html`, or `image/*`.
    #[serde(alias = "content_types", skip_serializing_if = "OneOrMany::is_empty")]
    pub content_type: OneOrMany<String>,
    /// Statuses: 404, or `"5xx"`.
    #[serde(alias = "statuses", skip_serializing_if = "OneOrMany::is_empty")]
    pub status: OneOrMany<StatusText>,
    /// `true`: everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// Whether what matches becomes stale instead of going, so that it can still be served while it is fetched anew.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub soft: bool,
    /// Whether to tell only what would be purged.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// One, or a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Any number of them.
    Many(Vec<T>),
}

/// A cache group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// `scheme://host[:port]`
    pub origin: String,
    /// Its name there.
    pub name: String,
}

/// A status, or a class of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StatusText {
    /// 404
    Number(u16),
    /// `"404"`, or `"5xx"`
    Text(String),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        OneOrMany::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    fn is_empty(&self) -> bool {
        matches!(self, OneOrMany::Many(list) if list.is_empty())
    }

    fn into_vec(self) -> Vec<T> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(list) => list,
        }
    }
}

/// Each kind may be written in the plural: the schema says so too.
fn with_plurals(schema: &mut Schema) {
    let Some(properties) = schema.get_mut("properties").and_then(|properties| properties.as_object_mut()) else {
        return;
    };
    for name in ["url", "key", "prefix", "glob", "regex", "tag", "group", "content_type", "status"] {
        let plural: Cow<'_, str> = match name {
            "prefix" | "regex" | "status" => format!("{name}es").into(),
            _ => format!("{name}s").into(),
        };
        if let Some(kind) = properties.get(name).cloned() {
            properties.insert(plural.into_owned(), kind);
        }
    }
}

/// What a purge did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PurgeResponse {
    /// Stored responses purged from memory, over all targets; of a dry run, those that would be.
    pub total: u64,
    /// What became of each target, in the order of the kinds and as asked within each.
    pub targets: Vec<PurgedTarget>,
    /// What became of it in each tier and on each node; to be had again at `/v1/purges/{id}`. Absent for a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// Some of the URLs that a dry run came upon.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sample: Vec<String>,
    /// Tiers below memory, which a dry run does not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncounted: Vec<String>,
}

/// What became of one target of a purge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PurgedTarget {
    /// As asked; `*` for everything.
    pub target: String,
    /// Stored responses purged from memory for it that were not for another one before it.
    pub purged: u64,
    /// Why it could not be purged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl std::fmt::Display for PurgedTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.target)
    }
}

/// A purge as the running proxy is asked for it. URLs are as clients write them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeOrder {
    /// What is named.
    pub targets: Vec<PurgeTarget>,
    /// Hard or soft.
    pub mode: Mode,
    /// Whether only to count.
    pub dry_run: bool,
}

impl PurgeRequest {
    /// What it asks for.
    fn order(self) -> Result<PurgeOrder, Problem> {
        let invalid = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
        let (mode, dry_run) = (if self.soft { Mode::Soft } else { Mode::Hard }, self.dry_run);
        let mut targets: Vec<PurgeTarget> = Vec::new();
        targets.extend(self.url.into_vec().into_iter().map(PurgeTarget::Url));
        targets.extend(self.key.into_vec().into_iter().map(PurgeTarget::Key));
        targets.extend(self.prefix.into_vec().into_iter().map(PurgeTarget::Prefix));
        targets.extend(self.glob.into_vec().into_iter().map(PurgeTarget::Glob));
        targets.extend(self.regex.into_vec().into_iter().map(PurgeTarget::Regex));
        targets.extend(self.tag.into_vec().into_iter().map(PurgeTarget::Tag));
        let group = |Group { origin, name }| PurgeTarget::Group { origin, name };
        targets.extend(self.group.into_vec().into_iter().map(group));
        targets.extend(self.content_type.into_vec().into_iter().map(PurgeTarget::ContentType));
        for status in self.status.into_vec() {
            let text = match status {
                StatusText::Number(number) => number.to_string(),
                StatusText::Text(text) => text,
            };
            targets.push(PurgeTarget::Status(text.parse().map_err(invalid)?));
        }
        match (self.all, targets.len()) {
            (Some(false), _) => return Err(invalid("`all` can only be true".to_owned())),
            (Some(true), 0) => targets.push(PurgeTarget::All),
            (Some(true), _) => return Err(invalid("beside `all` nothing else can be named".to_owned())),
            (None, 0) => return Err(invalid("nothing is named to be purged; `all` names everything".to_owned())),
            (None, 1..=MAX_TARGETS) => {}
            (None, _) => return Err(invalid(format!("more than {MAX_TARGETS} targets; use several requests"))),
        }
        Ok(PurgeOrder { targets, mode, dry_run })
    }
}

pub(super) async fn purge(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<PurgeRequest>, JsonRejection>,
) -> Result<Json<PurgeResponse>, Problem> {
    let Json(request) = body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let order = request.order()?;
    let (soft, dry_run) = (order.mode == Mode::Soft, order.dry_run);
    // What is done is logged where it is done, which goes on when the client leaves.
    let (done, error) = blocking(&api, move |operations| {
        let done = operations.purge(order);
        let error = done.targets.iter().find_map(|target| target.error.clone());
        if !dry_run {
            tracing::info!(
                target: "audit", peer = %caller.peer, token = caller.holder.name, action = "purge",
                id = done.receipt.as_ref().map(|receipt| receipt.id.as_str()), what = %told(&done.targets), soft,
                targets = done.targets.len(), count = done.total, error = error.as_deref(), "control"
            );
        }
        (done, error)
    })
    .await?;
    match error {
        Some(error) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error).with_done(done.targets, done.receipt)),
        None => Ok(Json(done)),
    }
}

pub(super) async fn receipt(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<Receipt>, Problem> {
    let receipt = api.operations.receipt(&id).map(Json);
    receipt
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no such purge, or none that is still remembered"))
}
