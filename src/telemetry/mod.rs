//! What larder tells about itself: metrics, access log, diagnostic log.

pub mod access_log;
mod date;
mod exposition;
pub mod figures;
pub mod log;
pub mod metrics;
pub mod record;
pub mod route_metrics;
mod share;
mod sums;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::config::settings;
use access_log::{AccessLog, Line};
use metrics::Metrics;
use record::{RequestRecord, Told};
use route_metrics::RouteMetrics;

/// Metrics and access log of a process.
#[derive(Debug)]
pub struct Telemetry {
    /// Everything that is counted.
    pub metrics: Metrics,
    /// Swapped whole when a reload changes target or format.
    access_log: ArcSwap<AccessLog>,
    /// Whether that writes anything: asked with each request, and cheaper to ask.
    logs: AtomicBool,
}

impl Telemetry {
    /// Telemetry as the settings say. `refusals` are all words a refused request can have, so that each is scraped
    /// as 0 before it first happens.
    ///
    /// # Errors
    /// The access log's file cannot be opened.
    pub fn new(settings: &settings::AccessLog, refusals: &[&'static str]) -> io::Result<Self> {
        let metrics = Metrics::new(refusals);
        let log = AccessLog::open(settings, metrics.access_log_dropped.clone())?;
        let logs = AtomicBool::new(log.is_on());
        Ok(Telemetry { metrics, access_log: ArcSwap::from_pointee(log), logs })
    }

    /// Metrics that start at zero and no access log.
    pub fn for_tests() -> Self {
        let off = settings::AccessLog { target: settings::LogTarget::Off, format: settings::LogFormat::Json };
        Telemetry::new(&off, &[]).expect("an access log that is off opens no file")
    }

    /// Whether there is an access log, for which more must be kept of a request until its end.
    pub fn logs(&self) -> bool {
        self.logs.load(Ordering::Relaxed)
    }

    /// Takes in one finished request; `told` is what the access log tells of it beside, asked for where there is one.
    /// Never blocks: a line the access log has no room for is dropped and counted.
    pub fn record<'a>(&self, route: &RouteMetrics, record: &RequestRecord, told: impl FnOnce() -> Told<'a>) {
        route.count(record);
        if let Some(record::Reason::Refused(word)) = record.reason {
            self.metrics.refused(word);
        }
        if self.logs() {
            let upstream = route.upstream().filter(|_| record.asked_upstream);
            self.access_log.load().write(&Line { route: route.name(), upstream, record, told: told() });
        }
    }

    /// Moves the access log to where new settings say; lines already taken in still go to the old place. Does
    /// nothing when the settings are the same.
    ///
    /// # Errors
    /// The new file cannot be opened; the old log goes on.
    pub fn reconfigure(&self, settings: &settings::AccessLog) -> io::Result<()> {
        if self.access_log.load().settings() == settings {
            return Ok(());
        }
        let log = AccessLog::open(settings, self.metrics.access_log_dropped.clone())?;
        let logs = log.is_on();
        // The old writer ends by itself once the last request that still holds it has written its line.
        drop(self.access_log.swap(Arc::new(log)));
        self.logs.store(logs, Ordering::Relaxed);
        Ok(())
    }

    /// Opens the access log's file again, after a rotation moved it away.
    pub fn reopen_access_log(&self) {
        self.access_log.load().reopen();
    }

    /// Writes out what the access log still holds; lines that come later are dropped and counted. Blocks for at
    /// most `patience`. Returns whether all was written in that time.
    pub fn shutdown(&self, patience: Duration) -> bool {
        self.access_log.load().close(patience)
    }
}

#[cfg(test)]
mod tests {
    use super::record::tests::{sample, told};
    use super::*;
    use crate::config::settings::{LogFormat, LogTarget};
    use crate::policy::reason::Outcome;

    #[test]
    fn record_counts_and_logs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let settings = settings::AccessLog { target: LogTarget::File(path.clone()), format: LogFormat::Json };
        let telemetry = Telemetry::new(&settings, &["bad-host", "no-route"]).unwrap();
        let route = telemetry.metrics.route("app", "web");

        telemetry.record(&route, &sample(), told);
        telemetry.record(
            &telemetry.metrics.unrouted(),
            &RequestRecord { outcome: Outcome::Refused, reason: Some(record::Reason::Refused("bad-host")), ..sample() },
            told,
        );
        assert!(telemetry.shutdown(Duration::from_secs(10)));

        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
        let text = telemetry.metrics.render(&figures::Snapshot::default());
        assert!(text.contains("larder_refused_total{reason=\"bad-host\"} 1\n"), "{text}");
        assert!(text.contains("larder_refused_total{reason=\"no-route\"} 0\n"), "{text}");
        assert!(text.contains("route=\"app\""), "{text}");
    }

    #[test]
    fn reconfigure_moves_the_log_and_keeps_it_when_the_new_file_cannot_be_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| settings::AccessLog {
            target: LogTarget::File(dir.path().join(name)),
            format: LogFormat::Combined,
        };
        let telemetry = Telemetry::new(&at("one.log"), &[]).unwrap();
        let route = telemetry.metrics.route("app", "web");

        assert!(telemetry.reconfigure(&at("no/such/dir.log")).is_err());
        assert_eq!(telemetry.access_log.load().settings(), &at("one.log"));
        telemetry.reconfigure(&at("two.log")).unwrap();
        telemetry.record(&route, &sample(), told);
        assert!(telemetry.shutdown(Duration::from_secs(10)));
        assert_eq!(std::fs::read_to_string(dir.path().join("one.log")).unwrap(), "");
        assert_eq!(std::fs::read_to_string(dir.path().join("two.log")).unwrap().lines().count(), 1);
    }
}
