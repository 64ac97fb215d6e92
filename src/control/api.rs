//! The control API: REST under `/v1`, for holders of a token.

mod upstreams;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json, Router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::guard::{Caller, Guard, admit, allow};
use super::inspect::{self, CacheStats, Entries, Health, UrlView};
use super::openapi::{self, Endpoint, Parameter};
use super::problem::Problem;
use super::purge::{self, PurgeRequest, PurgeResponse};
use super::{Operations, Stats};
use crate::cache::purge::Receipt;
use crate::config::settings::Scope;

pub use upstreams::{DrainResponse, UpstreamStatus, UpstreamsResponse};

/// Bytes of a request body: 10,000 targets of a purge have room.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// From a request's head to its response's.
const DEADLINE: Duration = Duration::from_secs(30);

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReloadResponse {
    /// A line a change; none when nothing changed.
    pub changes: Vec<String>,
}

/// What handlers work with.
pub(super) struct Api {
    pub(super) operations: Arc<dyn Operations>,
}

const BY_ID: &[Parameter] = &[Parameter::in_path("id")];
const BY_URL: &[Parameter] = &[Parameter::required("url")];
const FILTERS: &[Parameter] = &[
    Parameter::optional("prefix"),
    Parameter::optional("glob"),
    Parameter::optional("regex"),
    Parameter::optional("tag"),
    Parameter::optional("content_type"),
    Parameter::optional("status"),
    Parameter::optional("after"),
    Parameter::optional("limit"),
];

/// Every endpoint with the scope that it asks for: the router and the OpenAPI document are both made from this.
pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut endpoints = Vec::from(own_endpoints());
    endpoints.extend(upstreams::endpoints());
    endpoints
}

fn own_endpoints() -> [Endpoint; 10] {
    [
        Endpoint {
            method: Method::POST,
            path: "/v1/purge",
            id: "purge",
            scope: Scope::Purge,
            summary: "Purges stored responses, hard or soft, or tells which it would",
            parameters: &[],
            request: Some(openapi::schema_of::<PurgeRequest>),
            response: openapi::schema_of::<PurgeResponse>,
            handler: || post(purge::purge),
        },
        Endpoint {
            method: Method::GET,
            path: "/v1/purges/{id}",
            id: "purge_receipt",
            scope: Scope::Purge,
            summary: "What became of a purge, in each tier and on each node",
            parameters: BY_ID,
            request: None,
            response: openapi::schema_of::<Receipt>,
            handler: || get(purge::receipt),
        },
        Endpoint {
            method: Method::GET,
            path: "/v1/cache/entries",
            id: "cache_entries",
            scope: Scope::Read,
            summary: "What is stored in memory, filtered and in pages",
            parameters: FILTERS,
            request: None,
            response: openapi::schema_of::<Entries>,
            handler: || get(inspect::entries),
        },
        Endpoint {
            method: Method::GET,
            path: "/v1/cache/entry",
            id: "cache_entry",
            scope: Scope::Read,
            summary: "What is stored of a URL, and what would become of a GET of it now, and why",
            parameters: BY_URL,
            request: None,
            response: openapi::schema_of::<UrlView>,
            handler: || get(inspect::entry),
        },
        Endpoint {
            method: Method::GET,
            path: "/v1/cache/health",
            id: "cache_health",
            scope: Scope::Read,
            summary: "Whether every tier is in use",
            parameters: &[],
            request: None,
            response: openapi::schema_of::<Health>,
            handler: || get(inspect::health),
        },
        Endpoint {
            method: Method::GET,
            path: "/v1/cache/stats",
            id: "cache_stats",
            scope: Scope::Read,
            summary: "Figures of every tier",
            parameters: &[],
            request: None,
            response: openapi::schema_of::<CacheStats>,
            handler: || get(inspect::stats),
        },
        Endpoint {
            method: Method::GET,
            path: "/v1/stats",
            id: "stats",
            scope: Scope::Read,
            summary: "Figures of the present moment",
            parameters: &[],
            request: None,
            response: openapi::schema_of::<Stats>,
            handler: || get(stats),
        },
        Endpoint {
            method: Method::GET,
            path: "/v1/config",
            id: "config",
            scope: Scope::Read,
            summary: "The settings in force, secrets masked",
            parameters: &[],
            request: None,
            response: openapi::schema_of::<Map<String, Value>>,
            handler: || get(config),
        },
        Endpoint {
            method: Method::POST,
            path: "/v1/reload",
            id: "reload",
            scope: Scope::Admin,
            summary: "Loads the configuration file again",
            parameters: &[],
            request: None,
            response: openapi::schema_of::<ReloadResponse>,
            handler: || post(reload),
        },
        Endpoint {
            method: Method::GET,
            path: "/v1/openapi.json",
            id: "openapi",
            scope: Scope::Read,
            summary: "This document",
            parameters: &[],
            request: None,
            response: openapi::schema_of::<Map<String, Value>>,
            handler: || get(async || Json(openapi::document())),
        },
    ]
}

/// All endpoints behind the guard.
pub fn router(operations: Arc<dyn Operations>, guard: Guard) -> Router {
    let (api, guard) = (Arc::new(Api { operations }), Arc::new(guard));
    endpoints()
        .into_iter()
        .fold(Router::new(), |router, endpoint| {
            let handler: MethodRouter<Arc<Api>> = (endpoint.handler)();
            let asks = (guard.clone(), endpoint.scope);
            router.route(endpoint.path, handler.route_layer(middleware::from_fn_with_state(asks, allow)))
        })
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is no such path; see /v1/openapi.json"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the path has no such method; see /v1/openapi.json")
        })
        .with_state(api)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(guard, admit))
        .layer(middleware::from_fn(within_deadline))
}

async fn within_deadline(request: Request, next: Next) -> Response {
    let told = match request.method() {
        &Method::GET => "the request took too long",
        _ => "the request took too long; what it asked for may still be done",
    };
    match tokio::time::timeout(DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(StatusCode::REQUEST_TIMEOUT, told).into_response(),
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
    Extension(caller): Extension<Caller>,
) -> Result<Json<ReloadResponse>, Problem> {
    let result = blocking(&api, move |operations| {
        let result = operations.reload();
        let count = result.as_ref().map_or(0, Vec::len);
        tracing::info!(
            target: "audit", peer = %caller.peer, token = caller.holder.name, action = "reload", count,
            error = result.as_ref().err().map(String::as_str), "control"
        );
        result
    })
    .await?;
    match result {
        Ok(changes) => Ok(Json(ReloadResponse { changes })),
        Err(error) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error)),
    }
}

/// Runs what may block where it holds no request up. It goes on when the client leaves.
pub(super) async fn blocking<T: Send + 'static>(
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
