//! Step 11 as far as it is known when an answer begins: what metrics and log will be told of a request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};

use super::body::Body;
use super::client::Client;
use super::finish::Finish;
use super::{Asked, CACHE_STATUS, Proxy, respond};
use crate::policy::cache_status::Verdict;
use crate::policy::present::Fields;
use crate::policy::time::Timestamp;
use crate::telemetry::record::{Kept, Reason, RequestRecord, Told};
use crate::telemetry::route_metrics::RouteMetrics;

impl Proxy {
    /// An answer of larder's own before there is a route.
    #[expect(clippy::too_many_arguments, reason = "what is known of a request this early, in no structure yet")]
    pub(super) fn answered(
        &self,
        metrics: &Arc<RouteMetrics>,
        client: &Client,
        parts: &Parts,
        address: IpAddr,
        mut response: Response<Body>,
        verdict: Verdict,
        started: Instant,
        now: Timestamp,
    ) -> Response<Body> {
        let headers = response.headers_mut();
        headers.append(CACHE_STATUS, verdict.render());
        if let Some(hsts) = &client.front.hsts
            && client.tls
        {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        let stand_in = parts.method.as_str() == Client::REFUSED_METHOD;
        let mut record = RequestRecord {
            client: address.to_canonical(),
            scheme: if client.tls { "https" } else { "http" },
            ..record(parts, &verdict, response.status(), now)
        };
        if stand_in {
            // What was refused had none that could be read for certain.
            record.method = Method::from_bytes(b"-").unwrap_or_default();
        }
        let told = self.telemetry.logs().then(|| {
            let host = parts.headers.get(header::HOST).map(HeaderValue::as_bytes).filter(|_| !stand_in);
            let target = parts.uri.path_and_query().map(|target| target.as_str().as_bytes()).filter(|_| !stand_in);
            Kept::of(&Told { host, target, ..told((&parts.headers).into()) })
        });
        self.recorded(response, Finish::new(self.telemetry.clone(), metrics.clone(), started, record, told))
    }

    /// Has the request recorded when its response has ended.
    pub(super) fn recorded(&self, mut response: Response<Body>, finish: Finish) -> Response<Body> {
        // RFC 9110 §6.6.1: what came from elsewhere has one.
        response.headers_mut().entry(header::DATE).or_insert_with(|| {
            HeaderValue::from_bytes(&self.clock.http_date()).expect("an HTTP-date is visible ASCII")
        });
        if finish.answers_head() {
            response = respond::without_content(response);
        }
        response.map(|body| body.recorded(Box::new(finish)))
    }
}

impl Asked<'_> {
    /// What is known of the request when its answer begins.
    pub(super) fn record(&self, verdict: &Verdict, status: StatusCode) -> RequestRecord {
        RequestRecord {
            client: self.admitted.client,
            scheme: self.admitted.scheme,
            ..record(&self.parts, verdict, status, self.now)
        }
    }

    /// What the access log tells of it beside; the answer is as old as `age`, in seconds.
    pub(super) fn told(&self, age: Option<u64>) -> Told<'_> {
        let (host, target) = (self.admitted.authority.as_bytes(), self.admitted.target.as_str().as_bytes());
        Told { host: Some(host), target: Some(target), age, ..told(self.fields()) }
    }
}

/// What the access log tells of a request's fields.
fn told(fields: Fields<'_>) -> Told<'_> {
    const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    let field = |name| fields.get(name).map(HeaderValue::as_bytes);
    Told {
        referer: field(&header::REFERER),
        user_agent: field(&header::USER_AGENT),
        request_id: field(&X_REQUEST_ID),
        ..Told::default()
    }
}

/// The part of a record that the request and the verdict tell.
fn record(parts: &Parts, verdict: &Verdict, status: StatusCode, now: Timestamp) -> RequestRecord {
    RequestRecord {
        started: now,
        duration: Duration::ZERO,
        client: IpAddr::from([0, 0, 0, 0]),
        method: parts.method.clone(),
        scheme: "http",
        version: parts.version,
        status,
        outcome: verdict.outcome(),
        reason: reason(verdict),
        no_store: verdict.no_store,
        ttl: verdict.ttl.filter(|_| verdict.hit || verdict.stale.is_some()),
        asked_upstream: false,
        upstream_first_byte: None,
        bytes_in: 0,
        bytes_out: 0,
        cut: false,
    }
}

fn reason(verdict: &Verdict) -> Option<Reason> {
    match verdict {
        Verdict { refused: true, error: Some(word), .. } => Some(Reason::Refused(word)),
        Verdict { error: Some(word), .. } => Some(Reason::Failed(word)),
        Verdict { stale: Some(why), .. } => Some(Reason::Stale(*why)),
        Verdict { forward: Some(why), .. } => Some(Reason::Forward(*why)),
        Verdict { hit: true, tier: Some(tier), .. } => Some(Reason::Found(*tier)),
        _ => None,
    }
}
