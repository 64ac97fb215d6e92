//! The request path: one flat run of named steps, one file a step.

pub mod body;
pub mod client;
pub mod refusal;

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::clock::Clock;
use crate::telemetry::Telemetry;
use body::Body;
use client::Client;

/// Everything the request path works with. One a process.
#[derive(Debug)]
pub struct Proxy {
    /// Wall time.
    pub clock: Clock,
    /// Metrics and logs.
    pub telemetry: Arc<Telemetry>,
}

impl Proxy {
    /// Answers one request.
    pub async fn handle(self: &Arc<Self>, client: &Arc<Client>, request: Request<Incoming>) -> Response<Body> {
        let _ = (client, request);
        Response::new(Body::empty())
    }
}
