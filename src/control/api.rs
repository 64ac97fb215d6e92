//! The control API: REST under `/v1`, for holders of the token.

mod upstreams;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json, Router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::guard::{Ends, Guard, admit};
use super::openapi::{self, Endpoint};
use super::problem::Problem;
use super::{Operations, Stats};

pub use upstreams::{DrainResponse, UpstreamStatus, UpstreamsResponse};

/// Bytes of a request body.
const MAX_BODY: usize = 256 * 1024;
/// URLs of one purge.
const MAX_URLS: usize = 1000;
/// From a request's head to its response's.
const DEADLINE: Duration = Duration::from_secs(30);

/// What to purge: exactly one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct PurgeRequest {
    /// One absolute URL, as clients ask for it; all its variants go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Several of them, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urls: Option<Vec<String>>,
    /// `true`: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
}

/// What a purge did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PurgeResponse {
    /// Stored responses purged, over all targets.
    pub total: u64,
    /// What became of each target, in the order asked.
    pub targets: Vec<PurgedTarget>,
}

/// What became of one target of a purge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PurgedTarget {
    /// The URL; `*` for everything.
    pub target: String,
    /// Stored responses purged.
    pub purged: u64,
    /// Why it could not be purged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReloadResponse {
    /// A line a change; none when nothing changed.
    pub changes: Vec<String>,
}

/// What handlers work with.
pub(super) struct Api {
    operations: Arc<dyn Operations>,
    /// Names the token in audit lines.
    token_id: String,
}

/// Every endpoint: the router and the OpenAPI document are both made from this.
pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut endpoints = Vec::from(own_endpoints());
    endpoints.extend(upstreams::endpoints());
    endpoints
}

fn own_endpoints() -> [Endpoint; 5] {
    [
        Endpoint {
            method: Method::POST,
            path: "/v1/purge",
            id: "purge",
            summary: "Purges stored responses by URL, or all of them",
            request: Some(openapi::schema_of::<PurgeRequest>),
            response: openapi::schema_of::<PurgeResponse>,
            handler: || post(purge),
        },
        Endpoint {
            method: Method::GET,
            path: "/v1/stats",
            id: "stats",
            summary: "Figures of the present moment",
            request: None,
            response: openapi::schema_of::<Stats>,
            handler: || get(stats),
        },
        Endpoint {
            method: Method::GET,
            path: "/v1/config",
            id: "config",
            summary: "The settings in force, secrets masked",
            request: None,
            response: openapi::schema_of::<Map<String, Value>>,
            handler: || get(config),
        },
        Endpoint {
            method: Method::POST,
            path: "/v1/reload",
            id: "reload",
            summary: "Loads the configuration file again",
            request: None,
            response: openapi::schema_of::<ReloadResponse>,
            handler: || post(reload),
        },
        Endpoint {
            method: Method::GET,
            path: "/v1/openapi.json",
            id: "openapi",
            summary: "This document",
            request: None,
            response: openapi::schema_of::<Map<String, Value>>,
            handler: || get(async || Json(openapi::document())),
        },
    ]
}

/// All endpoints behind the guard.
pub fn router(operations: Arc<dyn Operations>, guard: Guard) -> Router {
    let api = Arc::new(Api { operations, token_id: guard.token_id() });
    endpoints()
        .into_iter()
        .fold(Router::new(), |router, endpoint| {
            let handler: MethodRouter<Arc<Api>> = (endpoint.handler)();
            router.route(endpoint.path, handler)
        })
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is no such path; see /v1/openapi.json"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the path has no such method; see /v1/openapi.json")
        })
        .with_state(api)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::new(guard), admit))
        .layer(middleware::from_fn(within_deadline))
}

async fn within_deadline(request: Request, next: Next) -> Response {
    match tokio::time::timeout(DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response(),
    }
}

async fn purge(
    State(api): State<Arc<Api>>,
    Extension(ends): Extension<Ends>,
    body: Result<Json<PurgeRequest>, JsonRejection>,
) -> Result<Json<PurgeResponse>, Problem> {
    let Json(request) = body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let urls = wanted(request)?;
    let targets = blocking(&api, move |operations| match urls {
        Some(urls) => urls.into_iter().map(|url| purge_one(operations, url)).collect(),
        None => vec![PurgedTarget { target: "*".to_owned(), purged: operations.purge_all(), error: None }],
    })
    .await?;
    for PurgedTarget { target, purged, error } in &targets {
        tracing::info!(
            target: "audit", peer = %ends.peer, token = api.token_id, action = "purge", what = ?target, count = purged,
            error = ?error, "control"
        );
    }
    match targets.iter().find_map(|target| target.error.clone()) {
        Some(error) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error).with_targets(targets)),
        None => Ok(Json(PurgeResponse { total: targets.iter().map(|target| target.purged).sum(), targets })),
    }
}

/// The URLs asked for; `None`: everything.
fn wanted(request: PurgeRequest) -> Result<Option<Vec<String>>, Problem> {
    let invalid = |detail: &str| Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    match request {
        PurgeRequest { url: Some(url), urls: None, all: None } => Ok(Some(vec![url])),
        PurgeRequest { url: None, urls: Some(urls), all: None } => match urls.len() {
            0 => invalid("`urls` is empty"),
            1..=MAX_URLS => Ok(Some(urls)),
            _ => invalid("`urls` has more than 1000 elements"),
        },
        PurgeRequest { url: None, urls: None, all: Some(true) } => Ok(None),
        PurgeRequest { url: None, urls: None, all: Some(false) } => invalid("`all` can only be true"),
        _ => invalid("exactly one of `url`, `urls` and `all` is needed"),
    }
}

fn purge_one(operations: &dyn Operations, url: String) -> PurgedTarget {
    match operations.purge_url(&url) {
        Ok(purged) => PurgedTarget { target: url, purged, error: None },
        Err(error) => PurgedTarget { target: url, purged: 0, error: Some(error) },
    }
}

async fn stats(State(api): State<Arc<Api>>) -> Json<Stats> {
    Json(api.operations.stats())
}

async fn config(State(api): State<Arc<Api>>) -> Json<Map<String, Value>> {
    Json(api.operations.config())
}

async fn reload(
    State(api): State<Arc<Api>>,
    Extension(ends): Extension<Ends>,
) -> Result<Json<ReloadResponse>, Problem> {
    let result = blocking(&api, |operations| operations.reload()).await?;
    let count = result.as_ref().map_or(0, Vec::len);
    tracing::info!(
        target: "audit", peer = %ends.peer, token = api.token_id, action = "reload", count,
        error = ?result.as_ref().err(), "control"
    );
    match result {
        Ok(changes) => Ok(Json(ReloadResponse { changes })),
        Err(error) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error)),
    }
}

/// Runs what may block where it holds no request up. It goes on when the client leaves.
async fn blocking<T: Send + 'static>(
    api: &Arc<Api>,
    work: impl FnOnce(&dyn Operations) -> T + Send + 'static,
) -> Result<T, Problem> {
    let api = api.clone();
    tokio::task::spawn_blocking(move || work(&*api.operations)).await.map_err(|error| {
        tracing::error!(%error, "an operation of the control API failed");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the operation failed; the log says more")
    })
}

#[cfg(test)]
mod tests;
