//! What the control API asks of a running larder, and the figures that it and the metrics show.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Map, Value};

use super::app::App;
use super::cache_operations;
use crate::cache::purge::Receipt;
use crate::cache::redis::Shared;
use crate::config;
use crate::control::api::UpstreamStatus;
use crate::control::inspect::{CacheStats, Entries, EntriesQuery, Health, UrlView};
use crate::control::purge::{PurgeOrder, PurgeResponse};
use crate::control::{Operations, Stats};
use crate::telemetry::figures::{
    AddressFigures, BalancingFigures, CacheFigures, CertificateFigures, ConnectionFigures, Snapshot, UpstreamFigures,
};
use crate::upstream::{AddressStats, Pool};

/// A running larder as the control API sees it.
pub(super) struct AppOperations(pub(super) Arc<App>);

impl Operations for AppOperations {
    fn purge(&self, order: PurgeOrder) -> PurgeResponse {
        cache_operations::purge(&self.0, order)
    }

    fn receipt(&self, id: &str) -> Option<Receipt> {
        self.0.proxy.cache.receipt(id)
    }

    fn entries(&self, query: &EntriesQuery) -> Result<Entries, String> {
        cache_operations::entries(&self.0, query)
    }

    fn entry(&self, url: &str) -> Result<UrlView, String> {
        cache_operations::entry(&self.0, url)
    }

    fn health(&self) -> Health {
        cache_operations::health(&self.0)
    }

    fn cache_stats(&self) -> CacheStats {
        let requests = self.0.telemetry.metrics.requests_by_outcome();
        let cache = &self.0.proxy.cache;
        let redis: Vec<_> = cache.shared.iter().flat_map(Shared::figures).collect();
        cache_operations::stats(&self.cache(), &cache.lower.figures(), &redis, &requests)
    }

    fn stats(&self) -> Stats {
        Stats {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.0.started.elapsed().as_secs(),
            requests: self.0.telemetry.metrics.requests_by_outcome(),
            figures: self.snapshot(),
        }
    }

    fn upstreams(&self) -> Vec<UpstreamStatus> {
        let servers = self.servers();
        let status = |it: BalancingFigures| UpstreamStatus {
            servers: servers.iter().filter(|server| server.upstream == it.upstream).cloned().collect(),
            name: it.upstream,
            breaker: it.breaker,
            retries_denied: it.retries_denied,
        };
        self.balancing().into_iter().map(status).collect()
    }

    fn set_drained(&self, upstream: &str, server: &str, drained: bool) -> Result<u64, String> {
        let site = self.0.proxy.site();
        let pool = site.former(upstream).ok_or_else(|| format!("there is no upstream {upstream}"))?;
        if !pool.set_drained(server, drained) {
            let known: Vec<String> = pool.stats().servers.into_iter().map(|known| known.server).collect();
            return Err(format!("there is no server {server} in {upstream}; there are {}", known.join(", ")));
        }
        let of_server = pool.stats().servers.into_iter().filter(|known| known.server == server);
        Ok(of_server.map(|known| known.in_flight as u64).sum())
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
            upstreams: self.servers(),
            balancing: self.balancing(),
            connections: self.connections(),
            reload: self.0.reloads.figures(),
        }
    }

    fn cache(&self) -> CacheFigures {
        let cache = &self.0.proxy.cache;
        let (sessions, session_bytes, session_evictions) = cache.sessions.figures();
        CacheFigures {
            bytes: cache.memory.bytes() + cache.memory.filling() + cache.file_copies.held(),
            entries: cache.memory.entries(),
            budget_bytes: cache.memory.size(),
            evictions: cache.memory.evictions(),
            purged: cache.purged(),
            sessions,
            session_bytes,
            session_evictions,
            fills_in_progress: cache.flights.under_way(),
            joined: cache.flights.joined(),
            collapsed: cache.flights.collapsed(),
        }
    }

    fn servers(&self) -> Vec<UpstreamFigures> {
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
                hedges: server.hedges,
                repeats: server.repeats,
                good_checks: server.checks.0,
                bad_checks: server.checks.1,
                addresses: server.addresses.iter().map(address_figures).collect(),
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
            certificates_current: counters.certificates_broken.load(Relaxed) == 0,
            certificates: self.certificates(),
            refused: counters.refused().map(|(refusal, count)| (refusal.word(), count)).collect(),
        }
    }

    fn certificates(&self) -> Vec<CertificateFigures> {
        let certificates = self.0.server.certificates().into_iter();
        let figures = certificates.map(|(listener, validity)| CertificateFigures {
            listener,
            certificate: validity.file.display().to_string(),
            not_after: validity.not_after,
        });
        figures.collect()
    }
}

fn address_figures(address: &AddressStats) -> AddressFigures {
    AddressFigures { address: address.address.to_string(), state: address.state, ejections: address.ejections }
}
