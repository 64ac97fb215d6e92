//! What operators and monitoring talk to: the control API and the metrics endpoint. Neither knows how the proxy does
//! what it is asked; both are handed [`Operations`].

pub mod api;
pub mod guard;
pub mod metrics_listener;
mod openapi;
mod problem;
pub mod server;
pub mod token;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::telemetry::figures::Snapshot;

/// What the running proxy can be asked to do. Calls may block on files, not on the network.
pub trait Operations: Send + Sync + 'static {
    /// Purges every variant stored for an absolute URL. Returns how many stored responses went; the error says, in
    /// a line for the operator, what is wrong with the URL.
    fn purge_url(&self, url: &str) -> Result<u64, String>;

    /// Purges everything. Returns how many stored responses went.
    fn purge_all(&self) -> u64;

    /// Figures of the present moment.
    fn stats(&self) -> Stats;

    /// Upstreams with their servers.
    fn upstreams(&self) -> Vec<api::UpstreamStatus>;

    /// Takes a server of an upstream out for as long as an operator wants, or back in. Returns the requests under way
    /// on it; the error says that there is no such server.
    fn set_drained(&self, upstream: &str, server: &str, drained: bool) -> Result<u64, String>;

    /// The settings in force, secrets masked.
    fn config(&self) -> serde_json::Map<String, serde_json::Value>;

    /// Loads the configuration again. Returns a line a change, none when nothing changed; the error is for the
    /// operator, and the old settings are then still in force.
    fn reload(&self) -> Result<Vec<String>, String>;

    /// Metrics in Prometheus' text format.
    fn metrics_text(&self) -> String;

    /// Whether requests should be sent here; the error says in a word or two why not.
    fn ready(&self) -> Result<(), String>;
}

/// Figures of a running proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Stats {
    /// larder's version.
    pub version: String,
    /// Whole seconds since the start.
    pub uptime_seconds: u64,
    /// Requests since the start by cache outcome.
    pub requests: BTreeMap<String, u64>,
    /// Cache, upstreams, connections and reloads.
    #[serde(flatten)]
    pub figures: Snapshot,
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use parking_lot::Mutex;
    use serde_json::{Map, json};
    use tokio::net::TcpListener;
    use tokio_util::sync::{CancellationToken, DropGuard};

    use super::*;
    use crate::telemetry::Telemetry;
    use crate::telemetry::figures::UpstreamFigures;

    /// The token that running test servers ask for.
    pub(crate) const TOKEN: &str = "correct-horse-battery-staple";

    /// Operations that note what they are asked. Purging a URL with `absent` in it finds nothing; one that is not
    /// http(s) is refused.
    #[derive(Default)]
    pub(crate) struct FakeOperations {
        pub(crate) purged: Mutex<Vec<String>>,
        pub(crate) broken_config: AtomicBool,
        pub(crate) draining: AtomicBool,
    }

    impl Operations for FakeOperations {
        fn purge_url(&self, url: &str) -> Result<u64, String> {
            if !url.starts_with("http") {
                return Err(format!("{url}: not an absolute http or https URL"));
            }
            self.purged.lock().push(url.to_owned());
            Ok(if url.contains("absent") { 0 } else { 2 })
        }
        fn purge_all(&self) -> u64 {
            self.purged.lock().push("*".to_owned());
            40
        }
        fn stats(&self) -> Stats {
            let mut stats = Stats { version: "1.2.3".to_owned(), uptime_seconds: 3660, ..Stats::default() };
            stats.requests = BTreeMap::from([("hit".to_owned(), 75), ("miss".to_owned(), 25)]);
            stats.figures.cache.bytes = 3 << 20;
            stats.figures.reload.last_successful = true;
            stats.figures.upstreams = vec![UpstreamFigures {
                upstream: "web".to_owned(),
                server: "127.0.0.1:3000".to_owned(),
                errors: BTreeMap::from([("connect", 4)]),
                ..UpstreamFigures::default()
            }];
            stats
        }
        fn upstreams(&self) -> Vec<api::UpstreamStatus> {
            let mut servers = self.stats().figures.upstreams;
            servers.iter_mut().for_each(|server| server.state = "up");
            let (name, breaker) = ("web".to_owned(), Some("closed"));
            vec![api::UpstreamStatus { name, breaker, retries_denied: 0, servers }]
        }
        fn set_drained(&self, _: &str, server: &str, _: bool) -> Result<u64, String> {
            if server == "absent" { Err("there is no server absent".to_owned()) } else { Ok(2) }
        }
        fn config(&self) -> Map<String, serde_json::Value> {
            Map::from_iter([("control".to_owned(), json!({ "token": "***" }))])
        }
        fn reload(&self) -> Result<Vec<String>, String> {
            if self.broken_config.load(Ordering::Relaxed) {
                return Err("proxy.toml:3:1: unknown key".to_owned());
            }
            Ok(vec!["routes: 1 added".to_owned()])
        }
        fn metrics_text(&self) -> String {
            "larder_cache_entries 3\n".to_owned()
        }
        fn ready(&self) -> Result<(), String> {
            if self.draining.load(Ordering::Relaxed) { Err("draining".to_owned()) } else { Ok(()) }
        }
    }

    /// Both listeners on loopback, until dropped.
    pub(crate) struct Running {
        pub(crate) operations: Arc<FakeOperations>,
        pub(crate) telemetry: Arc<Telemetry>,
        pub(crate) control: String,
        pub(crate) metrics: String,
        _stop: DropGuard,
    }

    pub(crate) async fn start() -> Running {
        let operations = Arc::new(FakeOperations::default());
        let telemetry = Arc::new(Telemetry::for_tests());
        let guard = guard::Guard::new(token::Token::new(TOKEN), vec!["admin.example".to_owned()], &telemetry.metrics)
            .without_penalty();
        let stop = CancellationToken::new();
        let serve = async |router| {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            tokio::spawn(server::serve(listener, router, stop.clone()));
            address
        };
        let control = serve(api::router(operations.clone(), guard)).await;
        let metrics = serve(metrics_listener::router(operations.clone())).await;
        Running { operations, telemetry, control, metrics, _stop: stop.drop_guard() }
    }
}
