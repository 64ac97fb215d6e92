//! Step 11 as far as it is known when an answer begins: what metrics and log will be told of a request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};

use super::body::Body;
use super::client::Client;
use super::finish::Finish;
use super::guard::Place;
use super::{Asked, CACHE_STATUS, Proxy};
use crate::policy::cache_status::Verdict;
use crate::policy::time::Timestamp;
use crate::telemetry::record::{Reason, RequestRecord};
use crate::telemetry::route_metrics::RouteMetrics;
use crate::upstream::Meter;

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
        let record = RequestRecord {
            client: address.to_canonical(),
            scheme: if client.tls { "https" } else { "http" },
            host: parts.headers.get(header::HOST).cloned().filter(|_| !stand_in),
            target: parts.uri.path_and_query().cloned().filter(|_| !stand_in),
            ..record(parts, &verdict, response.status(), now, metrics.name(), self.telemetry.logs())
        };
        self.recorded(response, metrics.clone(), started, record, None, None)
    }

    pub(super) fn recorded(
        &self,
        mut response: Response<Body>,
        metrics: Arc<RouteMetrics>,
        started: Instant,
        record: RequestRecord,
        meter: Option<Meter>,
        place: Option<Place>,
    ) -> Response<Body> {
        // RFC 9110 §6.6.1: what came from elsewhere has one.
        response.headers_mut().entry(header::DATE).or_insert_with(|| {
            HeaderValue::from_bytes(&self.clock.http_date()).expect("an HTTP-date is visible ASCII")
        });
        let finish = Box::new(Finish::new(self.telemetry.clone(), metrics, started, record, meter).keeps(place));
        response.map(|body| body.recorded(finish))
    }
}

impl Asked<'_> {
    /// What is known of the request when its answer begins.
    pub(super) fn record(&self, verdict: &Verdict, status: StatusCode, logged: bool) -> RequestRecord {
        RequestRecord {
            client: self.admitted.client,
            scheme: self.admitted.scheme,
            host: logged.then(|| self.host_field()).flatten(),
            target: logged.then(|| self.admitted.target.clone()),
            ..record(&self.parts, verdict, status, self.now, self.route.metrics.name(), logged)
        }
    }

    /// The host asked for, sharing the request's bytes where it came as it is kept.
    fn host_field(&self) -> Option<HeaderValue> {
        let authority = self.admitted.authority.as_str();
        let given = self.parts.headers.get(header::HOST).filter(|given| *given == authority);
        given.cloned().or_else(|| HeaderValue::from_str(authority).ok())
    }
}

/// The part of a record that the request and the verdict tell; what only the access log tells, only where it is
/// `logged`.
fn record(
    parts: &Parts,
    verdict: &Verdict,
    status: StatusCode,
    now: Timestamp,
    route: &Arc<str>,
    logged: bool,
) -> RequestRecord {
    let field = |name: header::HeaderName| if logged { parts.headers.get(name).cloned() } else { None };
    RequestRecord {
        started: now,
        duration: Duration::ZERO,
        client: IpAddr::from([0, 0, 0, 0]),
        method: parts.method.clone(),
        scheme: "http",
        host: None,
        target: None,
        version: parts.version,
        status,
        outcome: verdict.outcome(),
        reason: reason(verdict),
        no_store: verdict.no_store,
        ttl: verdict.ttl.filter(|_| verdict.hit),
        age: None,
        route: route.clone(),
        upstream: None,
        upstream_first_byte: None,
        bytes_in: 0,
        bytes_out: 0,
        cut: false,
        referer: field(header::REFERER),
        user_agent: field(header::USER_AGENT),
        request_id: field(header::HeaderName::from_static("x-request-id")),
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
