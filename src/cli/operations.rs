//! What the control API asks of a running larder, and the figures that it and the metrics show.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::Uri;
use serde_json::{Map, Value};

use super::app::App;
use crate::cache::key::TargetUri;
use crate::cache::purge::PurgeTarget;
use crate::cache::redis::Shared;
use crate::config;
use crate::control::{Operations, Stats};
use crate::proxy::admit::normalised_authority;
use crate::telemetry::figures::{
    BalancingFigures, CacheFigures, ConnectionFigures, ReloadFigures, Snapshot, UpstreamFigures,
};
use crate::upstream::Pool;

/// A running larder as the control API sees it.
pub(super) struct AppOperations(pub(super) Arc<App>);

impl Operations for AppOperations {
    fn purge_url(&self, url: &str) -> Result<u64, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let Some(scheme @ ("http" | "https")) = uri.scheme_str() else {
            return Err(format!("{url}: an absolute http or https URL is needed, as clients ask for it"));
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let authority =
            normalised_authority(authority, scheme).ok_or_else(|| format!("{url}: {authority:?} is no host"))?;
        let target = TargetUri { scheme, authority: &authority, path: uri.path(), query: uri.query() };
        let keys = self.0.proxy.site().keys_of(&target, &self.0.proxy.cache.searches);
        let targets = keys.iter().map(|key| PurgeTarget::Url(key.url().to_owned())).collect();
        Ok(self.0.proxy.cache.invalidate(targets, self.0.proxy.clock.now()).finish().total())
    }

    fn purge_all(&self) -> u64 {
        self.0.proxy.cache.invalidate(vec![PurgeTarget::All], self.0.proxy.clock.now()).finish().total()
    }

    fn stats(&self) -> Stats {
        Stats {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.0.started.elapsed().as_secs(),
            requests: self.0.telemetry.metrics.requests_by_outcome(),
            figures: self.snapshot(),
        }
    }

    fn config(&self) -> Map<String, Value> {
        match config::masked(&self.0.settings.load()) {
            Value::Object(settings) => settings,
            other => Map::from_iter([("settings".to_owned(), other)]),
        }
    }

    fn reload(&self) -> Result<Vec<String>, String> {
        self.0.reload()
    }

    fn metrics_text(&self) -> String {
        self.0.telemetry.metrics.render(&self.snapshot())
    }

    fn ready(&self) -> Result<(), String> {
        if self.0.draining.load(Relaxed) { Err("draining".to_owned()) } else { Ok(()) }
    }
}

impl AppOperations {
    fn snapshot(&self) -> Snapshot {
        Snapshot {
            cache: self.cache(),
            tiers: self.0.proxy.cache.lower.figures(),
            redis: self.0.proxy.cache.shared.iter().flat_map(Shared::figures).collect(),
            purge_link: self.0.link.as_ref().map(|link| link.figures().into()),
            upstreams: self.upstreams(),
            balancing: self.balancing(),
            connections: self.connections(),
            reload: self.reloads(),
        }
    }

    fn cache(&self) -> CacheFigures {
        let cache = &self.0.proxy.cache;
        CacheFigures {
            bytes: cache.memory.bytes() + cache.memory.filling(),
            entries: cache.memory.entries(),
            budget_bytes: cache.memory.size(),
            evictions: cache.memory.evictions(),
            purged: cache.purged(),
            fills_in_progress: cache.flights.under_way(),
            collapsed: cache.flights.collapsed(),
        }
    }

    fn upstreams(&self) -> Vec<UpstreamFigures> {
        let pools = self.0.proxy.site().pools();
        let figures = pools.iter().flat_map(|pool| {
            let name = pool.settings().name.clone();
            pool.stats().servers.into_iter().map(move |server| UpstreamFigures {
                upstream: name.clone(),
                active: server.open.saturating_sub(server.idle) as u64,
                idle: server.idle as u64,
                connects: server.connects,
                requests: server.connects + server.reuses,
                waiting: server.waiting as u64,
                state: server.state,
                ejections: server.ejections,
                retries: server.retries,
                repeats: server.repeats,
                good_checks: server.checks.0,
                bad_checks: server.checks.1,
                errors: server.errors.iter().map(|(kind, count)| (kind.word(), *count)).collect(),
                server: server.server,
            })
        });
        figures.collect()
    }

    fn balancing(&self) -> Vec<BalancingFigures> {
        let pools = self.0.proxy.site().pools();
        let figures = |pool: &Arc<Pool>| {
            let stats = pool.stats();
            let (breaker, retries_denied) = (stats.breaker, stats.retries_denied);
            BalancingFigures { upstream: pool.settings().name.clone(), breaker, retries_denied }
        };
        pools.iter().map(figures).collect()
    }

    fn connections(&self) -> ConnectionFigures {
        let counters = self.0.server.counters();
        ConnectionFigures {
            open: counters.open.load(Relaxed),
            total: counters.connections.load(Relaxed),
            accept_errors: counters.accept_errors.load(Relaxed),
            tls_errors: counters.tls_errors.load(Relaxed),
            http2_errors: counters.http2_errors.load(Relaxed),
            timeouts: [&counters.header_timeouts, &counters.body_timeouts, &counters.send_timeouts]
                .iter()
                .map(|count| count.load(Relaxed))
                .sum(),
            refused: counters.refused().map(|(refusal, count)| (refusal.word(), count)).collect(),
        }
    }

    fn reloads(&self) -> ReloadFigures {
        let reloads = &self.0.reloads;
        ReloadFigures {
            last_successful: !reloads.last_failed.load(Relaxed),
            last_success_seconds: reloads.last_success_seconds.load(Relaxed),
            succeeded: reloads.succeeded.load(Relaxed),
            failed: reloads.failed.load(Relaxed),
        }
    }
}
