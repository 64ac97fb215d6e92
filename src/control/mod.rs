//! What operators and monitoring talk to: the control API and the metrics endpoint. Neither knows how the proxy does
//! what it is asked; both are handed [`Operations`].

pub mod api;
pub mod guard;
pub mod inspect;
pub mod metrics_listener;
mod openapi;
mod problem;
pub mod purge;
pub mod server;
pub mod token;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::cache::purge::Receipt;
use crate::telemetry::figures::Snapshot;
use inspect::{CacheStats, Entries, EntriesQuery, Health, UrlView};
use purge::{PurgeOrder, PurgeResponse};

/// What the running proxy can be asked to do. Calls may block on files, not on the network.
pub trait Operations: Send + Sync + 'static {
    /// Purges, or counts what a purge would take. Of targets that cannot be purged it says so, in a line for the
    /// operator; the others are.
    fn purge(&self, order: PurgeOrder) -> PurgeResponse;

    /// What became of a purge; `None`: there was none, or it is not remembered any more.
    fn receipt(&self, id: &str) -> Option<Receipt>;

    /// What is stored in memory. The error says what is wrong with the filter.
    fn entries(&self, query: &EntriesQuery) -> Result<Entries, String>;

    /// What is stored of a URL, and what would become of a request for it. The error says what is wrong with the URL.
    fn entry(&self, url: &str) -> Result<UrlView, String>;

    /// How the cache is.
    fn health(&self) -> Health;

    /// Figures of every tier.
    fn cache_stats(&self) -> CacheStats;

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

    use arc_swap::ArcSwap;
    use parking_lot::Mutex;
    use serde_json::{Map, json};
    use tokio::net::TcpListener;
    use tokio_util::sync::{CancellationToken, DropGuard};

    use super::inspect::{EntryView, LinkHealth, TierHealth, TierStats, VariantView};
    use super::purge::PurgedTarget;
    use super::*;
    use crate::cache::purge::receipt::{ReceiptState, TierReceipt};
    use crate::cache::purge::{Mode, PurgeTarget};
    use crate::config::settings::{Scope, ScopedToken};
    use crate::proxy::token::{Token, Tokens};
    use crate::telemetry::Telemetry;
    use crate::telemetry::figures::UpstreamFigures;

    /// The token that running test servers ask for.
    pub(crate) const TOKEN: &str = "correct-horse-battery-staple";

    /// What holders of scoped tokens present to running test servers, each named by its only scope.
    pub(crate) fn scoped(scope: Scope) -> String {
        format!("token-to-{}", scope.word())
    }

    fn tokens() -> Tokens {
        let scoped = Scope::ALL.map(|scope| ScopedToken {
            name: scope.word().to_owned(),
            token: scoped(scope),
            scopes: vec![scope],
        });
        Tokens::new(Some(Token::new(TOKEN)), &scoped)
    }

    /// Operations that note what they are asked. Purging a URL with `absent` in it finds nothing; one that is not
    /// http(s) is refused.
    #[derive(Default)]
    pub(crate) struct FakeOperations {
        pub(crate) purged: Mutex<Vec<String>>,
        pub(crate) broken_config: AtomicBool,
        pub(crate) draining: AtomicBool,
    }

    impl Operations for FakeOperations {
        fn purge(&self, order: PurgeOrder) -> PurgeResponse {
            let of = |target: &PurgeTarget| {
                let name = target.to_string();
                let error = matches!(target, PurgeTarget::Url(url) if !url.starts_with("http"));
                let error = error.then(|| format!("{name}: not an absolute http or https URL"));
                if error.is_none() && !order.dry_run {
                    self.purged.lock().push(format!("{name}{}", if order.mode == Mode::Soft { " softly" } else { "" }));
                }
                let purged = match target {
                    _ if error.is_some() || name.contains("absent") => 0,
                    PurgeTarget::All => 40,
                    _ => 2,
                };
                PurgedTarget { target: name, purged, error }
            };
            let targets: Vec<_> = order.targets.iter().map(of).collect();
            let total = targets.iter().map(|target| target.purged).sum();
            let sample = if order.dry_run { vec!["http://a/x".to_owned()] } else { Vec::new() };
            let uncounted = if order.dry_run { vec!["disk".to_owned()] } else { Vec::new() };
            PurgeResponse { total, targets, sample, uncounted, receipt: (!order.dry_run).then(receipt) }
        }
        fn receipt(&self, id: &str) -> Option<Receipt> {
            (id == "known").then(receipt)
        }
        fn entries(&self, query: &EntriesQuery) -> Result<Entries, String> {
            match query.glob.as_deref() {
                Some("[") => Err("unclosed character class".to_owned()),
                _ => Ok(Entries { entries: vec![entry()], total: 1, next: query.limit.map(|limit| limit.to_string()) }),
            }
        }
        fn entry(&self, url: &str) -> Result<UrlView, String> {
            if !url.starts_with("http") {
                return Err(format!("{url}: not an absolute http or https URL"));
            }
            Ok(UrlView {
                url: url.to_owned(),
                route: Some("default".to_owned()),
                upstream: Some("app".to_owned()),
                asks: vec!["a client in 10.0.0.0/8".to_owned()],
                outcome: "miss",
                reason: Some("stale"),
                explanation: "What is stored is stale.".to_owned(),
                key: Some(format!("GET {url}")),
                entries: vec![entry()],
                ..UrlView::default()
            })
        }
        fn health(&self) -> Health {
            Health {
                status: "degraded",
                tiers: vec![TierHealth { tier: "memory", state: "on" }],
                purge_link: Some(LinkHealth { standing: "alone", fault: Some("unreachable") }),
                ..Health::default()
            }
        }
        fn cache_stats(&self) -> CacheStats {
            let tier = |tier, count| TierStats {
                tier,
                state: "on",
                hits: 3,
                misses: 1,
                ratio: 0.75,
                bytes: count,
                entries: count,
                evictions: count,
                ..TierStats::default()
            };
            CacheStats { tiers: vec![tier("memory", Some(0)), tier("redis", None)] }
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

    fn receipt() -> Receipt {
        Receipt {
            id: "known".to_owned(),
            state: ReceiptState::Done,
            at: 0,
            soft: false,
            targets: 1,
            tiers: vec![TierReceipt { tier: "memory".to_owned(), matched: Some(2), state: ReceiptState::Done }],
            nodes: Vec::new(),
            durable: None,
        }
    }

    fn entry() -> EntryView {
        let variant = VariantView {
            status: 200,
            ttl: -5,
            length: Some(3 << 20),
            body_on_disk: true,
            tags: vec!["news".to_owned()],
            not_reused: Some("stale"),
            ..VariantView::default()
        };
        EntryView {
            key: "GET http://a/x".to_owned(),
            url: "http://a/x".to_owned(),
            tier: "memory",
            bytes: 2048,
            variants: vec![variant],
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
        let guard = guard::Guard::new(tokens(), vec!["admin.example".to_owned()], &telemetry.metrics).without_penalty();
        let stop = CancellationToken::new();
        let serve = async |router| {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            tokio::spawn(server::serve(listener, Arc::new(ArcSwap::from_pointee(router)), stop.clone()));
            address
        };
        let control = serve(api::router(operations.clone(), guard)).await;
        let metrics = serve(metrics_listener::router(operations.clone())).await;
        Running { operations, telemetry, control, metrics, _stop: stop.drop_guard() }
    }
}
