//! The metric families that larder records itself, and the text a scrape gets. No global registry: a process may
//! hold several of these, as tests do.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder};

use super::exposition;
use super::figures::Snapshot;
use super::route_metrics::RouteMetrics;
use super::share::SHARES;
use super::sums;
use crate::policy::reason::PurgeReason;

/// The `route` label of requests that were refused before a route was chosen.
pub const UNROUTED: &str = "-";

/// From a hit in memory (tens of microseconds) to the longest deadline that is usual, in seconds.
const DURATION_BUCKETS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// Families of counters and histograms. What a request counts in is reached through [`RouteMetrics`].
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// One for each share of the threads; a scrape adds them up.
    requests: Arc<[RequestFamilies]>,
    pub(super) access_log_dropped: IntCounter,
    refused: IntCounterVec,
    unbelieved: IntCounter,
    control_denied: IntCounterVec,
    purges: [IntCounter; PurgeReason::ALL.len()],
}

/// The families that each request counts in.
#[derive(Clone, Debug)]
pub(super) struct RequestFamilies {
    registry: Registry,
    pub(super) requests: IntCounterVec,
    pub(super) request_duration: HistogramVec,
    pub(super) first_byte: HistogramVec,
    pub(super) request_bytes: IntCounterVec,
    pub(super) response_bytes: IntCounterVec,
    pub(super) cut_responses: IntCounterVec,
    pub(super) decisions: IntCounterVec,
}

impl RequestFamilies {
    fn new() -> Self {
        let registry = Registry::new();
        RequestFamilies {
            requests: counters(
                &registry,
                "larder_requests_total",
                "Requests answered, by route, method, class of status and cache outcome.",
                &["route", "method", "status", "cache"],
            ),
            request_duration: durations(
                &registry,
                "larder_request_duration_seconds",
                "From the end of a request's head to the end of its response's body.",
                &["route", "cache"],
            ),
            first_byte: durations(
                &registry,
                "larder_upstream_first_byte_seconds",
                "From asking an upstream to the first byte of its response.",
                &["upstream"],
            ),
            request_bytes: counters(
                &registry,
                "larder_request_bytes_total",
                "Bytes of request bodies received from clients.",
                &["route"],
            ),
            response_bytes: counters(
                &registry,
                "larder_response_bytes_total",
                "Bytes of response bodies sent to clients.",
                &["route"],
            ),
            cut_responses: counters(
                &registry,
                "larder_cut_responses_total",
                "Responses that ended before their body did, on either side's fault.",
                &["route"],
            ),
            decisions: counters(
                &registry,
                "larder_cache_decisions_total",
                "Decisions to forward, to serve stale and not to store, by reason.",
                &["route", "decision", "reason"],
            ),
            registry,
        }
    }
}

impl Metrics {
    /// Families at zero; `refusals` are all words of `larder_refused_total`.
    pub fn new(refusals: &[&'static str]) -> Self {
        let registry = Registry::new();
        let purges = counters(
            &registry,
            "larder_purges_total",
            "Purges that this node has put in force, by what caused them.",
            &["reason"],
        );
        let new = Metrics {
            purges: PurgeReason::ALL.map(|reason| purges.with_label_values(&[reason.word()])),
            requests: std::iter::repeat_with(RequestFamilies::new).take(SHARES).collect(),
            access_log_dropped: register(
                &registry,
                IntCounter::new(
                    "larder_access_log_dropped_total",
                    "Access log lines lost because the log's target was too slow or failed.",
                ),
            ),
            refused: counters(
                &registry,
                "larder_refused_total",
                "Requests refused by a rule or limit of larder's own.",
                &["reason"],
            ),
            unbelieved: register(
                &registry,
                IntCounter::new(
                    "larder_unbelieved_requests_total",
                    "Requests with fields that only trusted proxies may send, which were removed.",
                ),
            ),
            control_denied: counters(
                &registry,
                "larder_control_denied_total",
                "Requests to the control API that were denied, by what was wrong with them.",
                &["reason"],
            ),
            registry,
        };
        for word in refusals {
            new.refused.with_label_values(&[*word]);
        }
        new.register_process();
        new
    }

    /// Handles for one route, to be resolved when its settings are loaded. A route of the same name goes on counting
    /// where the former one stopped.
    pub fn route(&self, route: &str, upstream: &str) -> RouteMetrics {
        RouteMetrics::new(self, Arc::from(route), Some(upstream))
    }

    /// Handles for requests that were refused before a route was chosen.
    pub fn unrouted(&self) -> RouteMetrics {
        RouteMetrics::new(self, Arc::from(UNROUTED), None)
    }

    /// What requests count in that threads of a share answer.
    pub(super) fn of_share(&self, share: usize) -> &RequestFamilies {
        &self.requests[share]
    }

    /// Counts a request that was refused.
    pub fn refused(&self, word: &'static str) {
        self.refused.with_label_values(&[word]).inc();
    }

    /// Counts a request from which fields were removed that only trusted proxies may send.
    pub fn unbelieved(&self) {
        self.unbelieved.inc();
    }

    /// The count of requests that the control API denied for the reason `word`; 0 is scraped from then on.
    pub fn control_denied(&self, word: &'static str) -> IntCounter {
        self.control_denied.with_label_values(&[word])
    }

    /// Takes note that something was purged.
    pub fn purged(&self, reason: PurgeReason) {
        self.purges[reason as usize].inc();
    }

    /// Requests since the start by cache outcome, over all routes.
    pub fn requests_by_outcome(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for family in self.requests.iter().flat_map(|share| share.requests.collect()) {
            for metric in family.get_metric() {
                let Some(outcome) = metric.get_label().iter().find(|label| label.name() == "cache") else { continue };
                *sums.entry(outcome.value().to_owned()).or_default() += metric.get_counter().get_value() as u64;
            }
        }
        sums
    }

    /// Everything in Prometheus' text format 0.0.4.
    pub fn render(&self, snapshot: &Snapshot) -> String {
        let mut families = self.registry.gather();
        families.extend(sums::of(self.requests.iter().map(|share| share.registry.gather())));
        families.extend(exposition::families(snapshot));
        let mut text = String::with_capacity(16 * 1024);
        if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut text) {
            tracing::error!(%error, "metrics could not be written as text");
        }
        text
    }

    /// CPU, memory, file descriptors and start time as `process_*`, where the system tells them.
    fn register_process(&self) {
        #[cfg(target_os = "linux")]
        {
            let process = prometheus::process_collector::ProcessCollector::for_self();
            self.registry.register(Box::new(process)).expect("process_* is registered once");
        }
    }
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn durations(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let opts = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
    register(registry, HistogramVec::new(opts, labels))
}

/// Registers a family whose name is written in this file.
fn register<C: Collector + Clone + 'static>(registry: &Registry, family: prometheus::Result<C>) -> C {
    let family = family.expect("names and labels are valid: they are written in this file");
    registry.register(Box::new(family.clone())).expect("each name is registered once");
    family
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::figures::{BalancingFigures, ConnectionFigures, UpstreamFigures};
    use super::super::record::tests::sample;
    use super::*;

    fn full_snapshot() -> Snapshot {
        Snapshot {
            upstreams: vec![UpstreamFigures {
                upstream: "web".to_owned(),
                server: "127.0.0.1:3000".to_owned(),
                active: 2,
                idle: 5,
                connects: 7,
                errors: BTreeMap::from([("connect", 1)]),
                ..Default::default()
            }],
            balancing: vec![BalancingFigures {
                upstream: "web".to_owned(),
                breaker: Some("closed"),
                ..Default::default()
            }],
            connections: ConnectionFigures {
                open: 3,
                refused: BTreeMap::from([("head-timeout", 4)]),
                ..Default::default()
            },
            ..Default::default()
        }
    }

    fn all_text() -> String {
        let metrics = Metrics::new(&["bad-host"]);
        metrics.route("app", "web").count(&sample());
        metrics.control_denied("token");
        metrics.render(&full_snapshot())
    }

    #[test]
    fn names_follow_the_conventions() {
        let text = all_text();
        let mut names = BTreeSet::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            assert!(names.insert(name), "{name} appears twice");
            assert!(name.starts_with("larder_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
            if kind == "histogram" {
                assert!(name.ends_with("_seconds"), "{name}");
            }
            assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
            for bad in ["milli", "_ms", "_kb", "minutes", "percent"] {
                assert!(!name.contains(bad), "{name}");
            }
        }
        let expected = [
            "larder_requests_total",
            "larder_request_duration_seconds",
            "larder_upstream_first_byte_seconds",
            "larder_response_bytes_total",
            "larder_request_bytes_total",
            "larder_cache_decisions_total",
            "larder_refused_total",
            "larder_cache_bytes",
            "larder_cache_entries",
            "larder_cache_budget_bytes",
            "larder_cache_evictions_total",
            "larder_cache_purged_total",
            "larder_cache_fills_in_progress",
            "larder_collapse_waits_total",
            "larder_collapsed_requests_total",
            "larder_upstream_connections",
            "larder_upstream_connects_total",
            "larder_upstream_errors_total",
            "larder_client_connections",
            "larder_client_connections_total",
            "larder_client_connections_refused_total",
            "larder_config_last_reload_successful",
            "larder_config_last_reload_success_timestamp_seconds",
            "larder_config_reloads_total",
            "larder_access_log_dropped_total",
            "larder_allocator_allocated_bytes",
            "larder_allocator_resident_bytes",
            "larder_build_info",
            "process_start_time_seconds",
            "process_resident_memory_bytes",
        ];
        for name in expected {
            assert!(names.contains(name), "{name} is missing from {names:?}");
        }
    }

    #[test]
    fn pulled_figures_carry_their_labels() {
        let text = all_text();
        for line in [
            "larder_upstream_connections{upstream=\"web\",server=\"127.0.0.1:3000\",state=\"active\"} 2",
            "larder_upstream_connections{upstream=\"web\",server=\"127.0.0.1:3000\",state=\"idle\"} 5",
            "larder_upstream_errors_total{upstream=\"web\",server=\"127.0.0.1:3000\",kind=\"connect\"} 1",
            "larder_client_connections 3",
            "larder_client_connections_refused_total{reason=\"head-timeout\"} 4",
            "larder_config_reloads_total{result=\"failure\"} 0",
            "larder_config_last_reload_successful 0",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in {text}");
        }
    }

    #[test]
    fn hostile_names_are_escaped() {
        let metrics = Metrics::new(&[]);
        metrics.route("a\"b\\c\nd", "w\"eb").count(&sample());
        let text = metrics.render(&Snapshot::default());
        assert!(text.contains(r#"route="a\"b\\c\nd""#), "{text}");
        assert!(text.contains(r#"upstream="w\"eb""#), "{text}");
    }

    #[test]
    fn a_route_loaded_again_goes_on_counting() {
        let metrics = Metrics::new(&[]);
        metrics.route("app", "web").count(&sample());
        metrics.route("app", "web").count(&sample());
        metrics.route("other", "web").count(&sample());
        assert_eq!(metrics.requests_by_outcome(), BTreeMap::from([("miss".to_owned(), 3)]));
        let line = "larder_requests_total{cache=\"miss\",method=\"GET\",route=\"app\",status=\"2xx\"} 2\n";
        assert!(metrics.render(&Snapshot::default()).contains(line));
    }
}
