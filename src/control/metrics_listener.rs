//! The metrics listener: what monitoring and load balancers ask. No token: it tells figures and changes nothing.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::Operations;

/// The media type of Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `/metrics`, `/healthz` (200 while the process lives) and `/readyz` (503 while requests should go elsewhere), by GET
/// and HEAD.
pub fn router(operations: Arc<dyn Operations>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .fallback(async || (StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"))
        .with_state(operations)
}

async fn metrics(State(operations): State<Arc<dyn Operations>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], operations.metrics_text())
}

async fn ready(State(operations): State<Arc<dyn Operations>>) -> impl IntoResponse {
    match operations.ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}
