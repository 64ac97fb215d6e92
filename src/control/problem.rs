//! Errors of the control API, as RFC 9457 has them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::purge::PurgedTarget;

/// A problem's details.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Problem {
    /// Always `about:blank`: the status says what kind it is.
    r#type: &'static str,
    /// The status' phrase.
    title: &'static str,
    /// The status.
    status: u16,
    /// What is wrong, for the operator.
    detail: String,
    /// The scope that a token lacks, when that is what is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
    /// What became of each target, when a purge of several failed for some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    targets: Vec<PurgedTarget>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            scope: None,
            targets: Vec::new(),
        }
    }

    pub(super) fn needing(self, scope: &'static str) -> Self {
        Problem { scope: Some(scope), ..self }
    }

    pub(super) fn with_targets(self, targets: Vec<PurgedTarget>) -> Self {
        Problem { targets, ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
