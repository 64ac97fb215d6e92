//! Upstreams: what their servers do, and taking one out for a while.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Api, blocking};
use crate::config::settings::Scope;
use crate::control::guard::Caller;
use crate::control::openapi::{self, Endpoint, Parameter};
use crate::control::problem::Problem;
use crate::telemetry::figures::UpstreamFigures;

/// All upstreams.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UpstreamsResponse {
    /// One element an upstream that routes use.
    pub upstreams: Vec<UpstreamStatus>,
}

/// One upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// State of its circuit breaker: `closed`, `open` or `trial`; none without a breaker.
    pub breaker: Option<&'static str>,
    /// Retries not made because the budget was used up.
    pub retries_denied: u64,
    /// Its servers.
    pub servers: Vec<UpstreamFigures>,
}

/// What became of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DrainResponse {
    /// Whether it is drained: it gets no further requests, and those under way go on.
    pub drained: bool,
    /// Requests under way on it.
    pub in_flight: u64,
}

const SERVER: &[Parameter] = &[Parameter::in_path("upstream"), Parameter::in_path("server")];

pub(super) fn endpoints() -> [Endpoint; 3] {
    [
        Endpoint {
            method: Method::GET,
            path: "/v1/upstreams",
            id: "upstreams",
            scope: Scope::Read,
            summary: "Upstreams, with the state and figures of each server",
            parameters: &[],
            request: None,
            response: openapi::schema_of::<UpstreamsResponse>,
            handler: || get(upstreams),
        },
        Endpoint {
            method: Method::POST,
            path: "/v1/upstreams/{upstream}/servers/{server}/drain",
            id: "drain",
            scope: Scope::Admin,
            summary: "Sends no further requests to a server; those under way go on",
            parameters: SERVER,
            request: None,
            response: openapi::schema_of::<DrainResponse>,
            handler: || post(async |state, caller, path| set_drained(state, caller, path, true).await),
        },
        Endpoint {
            method: Method::POST,
            path: "/v1/upstreams/{upstream}/servers/{server}/enable",
            id: "enable",
            scope: Scope::Admin,
            summary: "Sends requests to a drained server again",
            parameters: SERVER,
            request: None,
            response: openapi::schema_of::<DrainResponse>,
            handler: || post(async |state, caller, path| set_drained(state, caller, path, false).await),
        },
    ]
}

async fn upstreams(State(api): State<Arc<Api>>) -> Json<UpstreamsResponse> {
    Json(UpstreamsResponse { upstreams: api.operations.upstreams() })
}

async fn set_drained(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path((upstream, server)): Path<(String, String)>,
    drained: bool,
) -> Result<Json<DrainResponse>, Problem> {
    let result = blocking(&api, move |operations| {
        let result = operations.set_drained(&upstream, &server, drained);
        let (action, what) = (if drained { "drain" } else { "enable" }, format!("{upstream} {server}"));
        tracing::info!(
            target: "audit", peer = %caller.peer, token = caller.holder.name, action, what,
            count = u32::from(result.is_ok()), error = result.as_ref().err().map(String::as_str), "control"
        );
        result
    })
    .await?;
    match result {
        Ok(in_flight) => Ok(Json(DrainResponse { drained, in_flight })),
        Err(error) => Err(Problem::new(StatusCode::NOT_FOUND, error)),
    }
}
