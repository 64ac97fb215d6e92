//! The counters of one route, resolved when its settings are loaded: counting a request hashes nothing, allocates
//! nothing and formats nothing.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus::{Histogram, IntCounter};

use super::metrics::{Metrics, RequestFamilies};
use super::record::{Reason, RequestRecord};
use super::share::{self, SHARES};
use crate::policy::reason::{NoStoreReason, Outcome};

/// Methods with a label value of their own, in the order of [`method_class`]; any other is `other`, so that clients
/// cannot make label values up.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];
const STATUSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];
const OUTCOMES: usize = Outcome::ALL.len();
/// Room for a handle a reason; a reason past it would be looked up by name: slower, never lost.
const REASONS: usize = 32;

/// What is counted of one route.
#[derive(Debug)]
pub struct RouteMetrics {
    name: Arc<str>,
    upstream: Option<Arc<str>>,
    metrics: Metrics,
    /// One for each share of the threads, from its first request on.
    handles: [OnceLock<Box<Handles>>; SHARES],
}

/// Handles into [`RequestFamilies`] for one route. A handle is looked up at its first use and kept, so that
/// combinations that never happen are neither held nor scraped.
#[derive(Debug)]
struct Handles {
    route: Arc<str>,
    families: RequestFamilies,
    /// By method, class of status and outcome.
    requests: Box<[OnceLock<IntCounter>]>,
    durations: [OnceLock<Histogram>; OUTCOMES],
    forward: Decisions,
    stale: Decisions,
    no_store: Decisions,
    request_bytes: IntCounter,
    response_bytes: IntCounter,
    cut_responses: IntCounter,
    first_byte: Option<Histogram>,
}

impl RouteMetrics {
    pub(super) fn new(metrics: &Metrics, name: Arc<str>, upstream: Option<&str>) -> Self {
        let new = RouteMetrics {
            name,
            upstream: upstream.map(Arc::from),
            metrics: metrics.clone(),
            handles: Default::default(),
        };
        // What a route always counts is scraped as 0 before its first request.
        new.handles();
        new
    }

    /// The route's name, as labels and log lines have it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The name of its upstream, if it has one.
    pub fn upstream(&self) -> Option<&str> {
        self.upstream.as_deref()
    }

    /// Counts one finished request.
    pub(super) fn count(&self, record: &RequestRecord) {
        self.handles().count(record);
    }

    /// Counts how long the upstream took to begin an answer.
    pub fn answered(&self, span: Duration) {
        self.handles().answered(span);
    }

    /// Counts a response that in the end was not stored, although its head had promised so.
    pub fn not_stored(&self, reason: NoStoreReason) {
        let handles = self.handles();
        handles.decided(&handles.no_store, reason as usize, reason.word());
    }

    fn handles(&self) -> &Handles {
        let share = share::mine();
        self.handles[share].get_or_init(|| {
            Box::new(Handles::new(self.metrics.of_share(share).clone(), self.name.clone(), self.upstream.as_deref()))
        })
    }
}

impl Handles {
    fn new(families: RequestFamilies, route: Arc<str>, upstream: Option<&str>) -> Self {
        let labels = [&*route];
        Handles {
            requests: (0..METHODS.len() * STATUSES.len() * OUTCOMES).map(|_| OnceLock::new()).collect(),
            durations: Default::default(),
            forward: Decisions::new("forward"),
            stale: Decisions::new("stale"),
            no_store: Decisions::new("no-store"),
            request_bytes: families.request_bytes.with_label_values(&labels),
            response_bytes: families.response_bytes.with_label_values(&labels),
            cut_responses: families.cut_responses.with_label_values(&labels),
            first_byte: upstream.map(|upstream| families.first_byte.with_label_values(&[upstream])),
            families,
            route,
        }
    }

    fn count(&self, record: &RequestRecord) {
        self.requests(&record.method, record.status, record.outcome).inc();
        self.duration(record.outcome).observe(record.duration.as_secs_f64());
        if record.bytes_in > 0 {
            self.request_bytes.inc_by(record.bytes_in);
        }
        self.response_bytes.inc_by(record.bytes_out);
        if record.cut {
            self.cut_responses.inc();
        }
        match record.reason {
            Some(Reason::Forward(reason)) => self.decided(&self.forward, reason as usize, reason.word()),
            Some(Reason::Stale(reason)) => self.decided(&self.stale, reason as usize, reason.word()),
            Some(Reason::Found(_) | Reason::Refused(_) | Reason::Failed(_)) | None => {}
        }
        if let Some(reason) = record.no_store {
            self.decided(&self.no_store, reason as usize, reason.word());
        }
        if let Some(span) = record.upstream_first_byte {
            self.answered(span);
        }
    }

    fn answered(&self, span: Duration) {
        if let Some(histogram) = &self.first_byte {
            histogram.observe(span.as_secs_f64());
        }
    }

    fn requests(&self, method: &Method, status: StatusCode, outcome: Outcome) -> &IntCounter {
        let (method, status) = (method_class(method), status_class(status));
        self.requests[(method * STATUSES.len() + status) * OUTCOMES + outcome as usize].get_or_init(|| {
            let labels = [&*self.route, METHODS[method], STATUSES[status], outcome.word()];
            self.families.requests.with_label_values(&labels)
        })
    }

    fn duration(&self, outcome: Outcome) -> &Histogram {
        self.durations[outcome as usize]
            .get_or_init(|| self.families.request_duration.with_label_values(&[&*self.route, outcome.word()]))
    }

    fn decided(&self, decisions: &Decisions, index: usize, word: &'static str) {
        let resolve = || self.families.decisions.with_label_values(&[&*self.route, decisions.word, word]);
        match decisions.by_reason.get(index) {
            Some(slot) => slot.get_or_init(resolve).inc(),
            None => resolve().inc(),
        }
    }
}

/// Handles of one kind of decision, by the reason's discriminant.
#[derive(Debug)]
struct Decisions {
    word: &'static str,
    by_reason: [OnceLock<IntCounter>; REASONS],
}

impl Decisions {
    fn new(word: &'static str) -> Self {
        Decisions { word, by_reason: Default::default() }
    }
}

/// Index into [`METHODS`].
fn method_class(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PUT => 3,
        Method::PATCH => 4,
        Method::DELETE => 5,
        Method::OPTIONS => 6,
        _ => 7,
    }
}

/// Index into [`STATUSES`].
fn status_class(status: StatusCode) -> usize {
    usize::from(status.as_u16() / 100 - 1).min(STATUSES.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::super::figures::Snapshot;
    use super::super::record::tests::sample;
    use super::*;
    use crate::policy::reason::{ForwardReason, NoStoreReason, StaleReason};

    fn count(records: &[RequestRecord]) -> Vec<String> {
        let metrics = Metrics::new(&[]);
        let route = metrics.route("app", "web");
        for record in records {
            route.count(record);
        }
        metrics.render(&Snapshot::default()).lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn assert_has(lines: &[String], expected: &[&str]) {
        for line in expected {
            assert!(lines.iter().any(|found| found == line), "no {line}");
        }
    }

    #[test]
    fn one_record_counts_in_every_family() {
        let lines = count(&[RequestRecord { cut: true, ..sample() }]);
        assert_has(
            &lines,
            &[
                "larder_requests_total{cache=\"miss\",method=\"GET\",route=\"app\",status=\"2xx\"} 1",
                "larder_request_duration_seconds_count{cache=\"miss\",route=\"app\"} 1",
                "larder_request_duration_seconds_sum{cache=\"miss\",route=\"app\"} 0.0125",
                "larder_request_duration_seconds_bucket{cache=\"miss\",route=\"app\",le=\"0.01\"} 0",
                "larder_request_duration_seconds_bucket{cache=\"miss\",route=\"app\",le=\"0.025\"} 1",
                "larder_upstream_first_byte_seconds_sum{upstream=\"web\"} 0.01",
                "larder_request_bytes_total{route=\"app\"} 3",
                "larder_response_bytes_total{route=\"app\"} 2048",
                "larder_cut_responses_total{route=\"app\"} 1",
                "larder_cache_decisions_total{decision=\"forward\",reason=\"uri-miss\",route=\"app\"} 1",
                "larder_cache_decisions_total{decision=\"no-store\",reason=\"set-cookie\",route=\"app\"} 1",
            ],
        );
    }

    #[test]
    fn what_several_threads_count_is_one_sum() {
        let metrics = Metrics::new(&[]);
        let route = metrics.route("app", "web");
        std::thread::scope(|scope| {
            for _ in 0..SHARES + 1 {
                scope.spawn(|| route.count(&sample()));
            }
        });
        assert!(route.handles.iter().filter(|handles| handles.get().is_some()).count() > 1);
        let text = metrics.render(&Snapshot::default());
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        assert_has(
            &lines,
            &[
                "larder_requests_total{cache=\"miss\",method=\"GET\",route=\"app\",status=\"2xx\"} 17",
                "larder_request_duration_seconds_count{cache=\"miss\",route=\"app\"} 17",
                "larder_request_duration_seconds_bucket{cache=\"miss\",route=\"app\",le=\"0.025\"} 17",
                "larder_response_bytes_total{route=\"app\"} 34816",
            ],
        );
        assert_eq!(metrics.requests_by_outcome().values().sum::<u64>(), 17);
    }

    #[test]
    fn a_word_of_two_decisions_is_counted_under_each() {
        let lines = count(&[
            RequestRecord {
                reason: Some(Reason::Forward(ForwardReason::CookieRequest)),
                no_store: Some(NoStoreReason::CookieRequest),
                ..sample()
            },
            RequestRecord {
                reason: Some(Reason::Stale(StaleReason::IfError)),
                outcome: Outcome::Stale,
                no_store: None,
                ..sample()
            },
        ]);
        assert_has(
            &lines,
            &[
                "larder_cache_decisions_total{decision=\"forward\",reason=\"cookie-request\",route=\"app\"} 1",
                "larder_cache_decisions_total{decision=\"no-store\",reason=\"cookie-request\",route=\"app\"} 1",
                "larder_cache_decisions_total{decision=\"stale\",reason=\"stale-if-error\",route=\"app\"} 1",
            ],
        );
    }

    #[test]
    fn methods_and_statuses_fall_into_bounded_classes() {
        let table = [
            ("GET", 200, "GET", "2xx"),
            ("HEAD", 304, "HEAD", "3xx"),
            ("POST", 101, "POST", "1xx"),
            ("PUT", 404, "PUT", "4xx"),
            ("PATCH", 599, "PATCH", "5xx"),
            ("DELETE", 204, "DELETE", "2xx"),
            ("OPTIONS", 600, "OPTIONS", "other"),
            ("TRACE", 999, "other", "other"),
            ("get", 200, "other", "2xx"),
            ("X-INVENTED", 200, "other", "2xx"),
        ];
        for (method, status, method_label, status_label) in table {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(METHODS[method_class(&method)], method_label);
            assert_eq!(STATUSES[status_class(StatusCode::from_u16(status).unwrap())], status_label);
        }
    }

    #[test]
    fn every_outcome_has_its_own_handle() {
        let records = Outcome::ALL.map(|outcome| RequestRecord { outcome, ..sample() });
        let lines = count(&records);
        for outcome in Outcome::ALL {
            let word = outcome.word();
            assert_has(
                &lines,
                &[
                    &format!("larder_requests_total{{cache=\"{word}\",method=\"GET\",route=\"app\",status=\"2xx\"}} 1"),
                    &format!("larder_request_duration_seconds_count{{cache=\"{word}\",route=\"app\"}} 1"),
                ],
            );
        }
    }

    #[test]
    fn nothing_is_scraped_that_never_happened() {
        let lines = count(&[]);
        assert!(!lines.iter().any(|line| line.starts_with("larder_requests_total")));
    }
}
