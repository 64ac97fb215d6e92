//! Pulled figures as Prometheus metric families.

mod redis;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use tikv_jemalloc_ctl::{epoch, stats};

use super::figures::{
    BalancingFigures, CacheFigures, ConnectionFigures, ReloadFigures, Snapshot, TierFigures, UpstreamFigures,
};

/// Label names and values of one sample.
type Labels<'a> = &'a [(&'static str, &'a str)];

/// All families that are made at the moment of a scrape.
pub(super) fn families(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let mut families = Families(Vec::with_capacity(40));
    cache(&mut families, &snapshot.cache);
    tiers(&mut families, &snapshot.tiers);
    redis::clients(&mut families, &snapshot.redis);
    if let Some(link) = &snapshot.purge_link {
        redis::purge_link(&mut families, link);
    }
    upstreams(&mut families, &snapshot.upstreams);
    servers(&mut families, &snapshot.upstreams);
    balancing(&mut families, &snapshot.balancing);
    connections(&mut families, &snapshot.connections);
    reload(&mut families, &snapshot.reload);
    allocator(&mut families);
    build(&mut families);
    families.0
}

fn cache(families: &mut Families, cache: &CacheFigures) {
    families.gauge(
        "larder_cache_bytes",
        "Bytes held in memory, fills in progress and copies for the kernel included.",
        cache.bytes,
    );
    families.gauge("larder_cache_entries", "Cache keys held in memory, each with its variants.", cache.entries);
    families.gauge("larder_cache_budget_bytes", "Most bytes that may be held in memory.", cache.budget_bytes);
    families.gauge("larder_cache_sessions", "Sessions with a private cache.", cache.sessions);
    families.gauge("larder_cache_session_bytes", "Bytes held by private caches of sessions.", cache.session_bytes);
    families.counter(
        "larder_cache_session_evictions_total",
        "Cache keys of sessions evicted for their bounds.",
        cache.session_evictions,
    );
    families.counter(
        "larder_cache_evictions_total",
        "Cache keys evicted for room, each with its variants.",
        cache.evictions,
    );
    families.counter(
        "larder_cache_purged_total",
        "Stored responses purged by an operator or invalidated by a request.",
        cache.purged,
    );
    families.gauge("larder_cache_fills_in_progress", "Responses being stored now.", cache.fills_in_progress);
    families.counter(
        "larder_collapse_waits_total",
        "Requests that waited for another's fetch, whether or not it could answer them.",
        cache.joined,
    );
    families.counter(
        "larder_collapsed_requests_total",
        "Requests that were answered by another's fetch instead of their own.",
        cache.collapsed,
    );
}

fn tiers(families: &mut Families, tiers: &[TierFigures]) {
    let mut add = |name, help, kind, value: fn(&TierFigures) -> u64| {
        let samples = tiers.iter().map(|tier| sample(kind, &[("tier", tier.tier)], value(tier)));
        families.add(name, help, kind, samples);
    };
    let (gauge, counter) = (MetricType::GAUGE, MetricType::COUNTER);
    add("larder_tier_up", "Whether a tier below memory is in use: 0 while it is switched off.", gauge, |tier| {
        u64::from(tier.state == TierFigures::ON)
    });
    add("larder_tier_bytes", "Bytes held in a tier below memory.", gauge, |tier| tier.bytes);
    add(
        "larder_tier_budget_bytes",
        "Most bytes that may be held in a tier; 0: not for larder to say.",
        gauge,
        |tier| tier.budget_bytes,
    );
    add("larder_tier_entries", "Records held in a tier, as far as it knows.", gauge, |tier| tier.entries);
    add("larder_tier_waiting", "Records waiting to be stored in a tier or removed from it.", gauge, |tier| {
        tier.waiting
    });
    add("larder_tier_hits_total", "Look-ups in a tier that found something to use.", counter, |tier| tier.hits);
    add("larder_tier_misses_total", "Look-ups in a tier that did not.", counter, |tier| tier.misses);
    add("larder_tier_load_microseconds_total", "Time that loading from a tier took.", counter, |tier| tier.load_micros);
    add("larder_tier_stores_total", "Records stored in a tier.", counter, |tier| tier.stores);
    add("larder_tier_removals_total", "Records removed from a tier, replaced or of no use.", counter, |tier| {
        tier.removals
    });
    add("larder_tier_evictions_total", "Records evicted from a tier for room.", counter, |tier| tier.evictions);
    add("larder_tier_damaged_total", "Records of a tier that did not verify.", counter, |tier| tier.damaged);
    add("larder_tier_errors_total", "Operations of a tier that failed.", counter, |tier| tier.errors);
    add("larder_tier_dropped_total", "Records not stored in a tier because too many waited.", counter, |tier| {
        tier.dropped
    });
}

fn upstreams(families: &mut Families, servers: &[UpstreamFigures]) {
    families.add(
        "larder_upstream_connections",
        "Open connections to an upstream's servers.",
        MetricType::GAUGE,
        servers.iter().flat_map(|server| {
            [("active", server.active), ("idle", server.idle)].map(|(state, count)| {
                let labels = [("upstream", &*server.upstream), ("server", &*server.server), ("state", state)];
                sample(MetricType::GAUGE, &labels, count)
            })
        }),
    );
    families.add(
        "larder_upstream_connects_total",
        "Connections opened to an upstream's servers.",
        MetricType::COUNTER,
        servers.iter().map(|server| {
            let labels = [("upstream", &*server.upstream), ("server", &*server.server)];
            sample(MetricType::COUNTER, &labels, server.connects)
        }),
    );
    families.add(
        "larder_upstream_errors_total",
        "Exchanges with an upstream's servers that failed, by kind of fault.",
        MetricType::COUNTER,
        servers.iter().flat_map(|server| {
            server.errors.iter().map(|(kind, count)| {
                let labels = [("upstream", &*server.upstream), ("server", &*server.server), ("kind", *kind)];
                sample(MetricType::COUNTER, &labels, *count)
            })
        }),
    );
}

/// Counters and gauges of each server, all with the same labels.
fn servers(families: &mut Families, servers: &[UpstreamFigures]) {
    type Figure = fn(&UpstreamFigures) -> u64;
    let each: [(&str, &str, MetricType, Figure); 7] = [
        (
            "larder_upstream_requests_total",
            "Exchanges begun with an upstream's servers.",
            MetricType::COUNTER,
            |server| server.requests,
        ),
        (
            "larder_upstream_waiting",
            "Requests that wait for a connection to a server now.",
            MetricType::GAUGE,
            |server| server.waiting,
        ),
        (
            "larder_upstream_up",
            "Whether a server gets requests: 1 when it is up or rising.",
            MetricType::GAUGE,
            |server| u64::from(matches!(server.state, "up" | "rising")),
        ),
        (
            "larder_upstream_ejections_total",
            "Times that a server was left out for a while because requests failed on it.",
            MetricType::COUNTER,
            |server| server.ejections,
        ),
        (
            "larder_upstream_retries_total",
            "Requests that a server failed and that were sent to another one.",
            MetricType::COUNTER,
            |server| server.retries,
        ),
        (
            "larder_upstream_hedges_total",
            "Requests sent to a server as well because another one was slow.",
            MetricType::COUNTER,
            |server| server.hedges,
        ),
        (
            "larder_upstream_repeats_total",
            "Requests sent once more because a server had closed a connection kept open.",
            MetricType::COUNTER,
            |server| server.repeats,
        ),
    ];
    for (name, help, kind, figure) in each {
        let samples = servers.iter().map(|server| {
            sample(kind, &[("upstream", &*server.upstream), ("server", &*server.server)], figure(server))
        });
        families.add(name, help, kind, samples);
    }
    let checks = servers.iter().flat_map(|server| {
        [("good", server.good_checks), ("bad", server.bad_checks)].map(|(result, count)| {
            let labels = [("upstream", &*server.upstream), ("server", &*server.server), ("result", result)];
            sample(MetricType::COUNTER, &labels, count)
        })
    });
    families.add("larder_upstream_checks_total", "Health checks of servers, by result.", MetricType::COUNTER, checks);
}

fn balancing(families: &mut Families, upstreams: &[BalancingFigures]) {
    families.add(
        "larder_upstream_retries_denied_total",
        "Retries and hedges not made because the upstream's budget was used up.",
        MetricType::COUNTER,
        upstreams.iter().map(|it| sample(MetricType::COUNTER, &[("upstream", &*it.upstream)], it.retries_denied)),
    );
    families.add(
        "larder_upstream_breaker_open",
        "Whether an upstream's circuit breaker keeps requests back.",
        MetricType::GAUGE,
        upstreams.iter().filter_map(|it| {
            let open = u64::from(it.breaker? != "closed");
            Some(sample(MetricType::GAUGE, &[("upstream", &*it.upstream)], open))
        }),
    );
}

fn connections(families: &mut Families, connections: &ConnectionFigures) {
    families.gauge("larder_client_connections", "Open connections from clients.", connections.open);
    families.counter("larder_client_connections_total", "Connections accepted from clients.", connections.total);
    families.counter(
        "larder_client_accept_errors_total",
        "Connections that could not be accepted.",
        connections.accept_errors,
    );
    families.counter("larder_client_tls_errors_total", "TLS handshakes that failed.", connections.tls_errors);
    families.counter(
        "larder_client_http2_errors_total",
        "HTTP/2 connections closed for what the client did, floods included.",
        connections.http2_errors,
    );
    families.counter(
        "larder_client_timeouts_total",
        "Connections closed because the client was too slow.",
        connections.timeouts,
    );
    families.gauge(
        "larder_tls_certificates_current",
        "Whether the certificates in force are those of the files, which may have become unusable.",
        u64::from(connections.certificates_current),
    );
    families.add(
        "larder_tls_certificate_not_after_seconds",
        "Until when a certificate in force is valid, in seconds since the Unix epoch.",
        MetricType::GAUGE,
        connections.certificates.iter().map(|it| {
            let labels = [("listener", &*it.listener), ("certificate", &*it.certificate)];
            sample(MetricType::GAUGE, &labels, u64::try_from(it.not_after).unwrap_or_default())
        }),
    );
    families.add(
        "larder_client_connections_refused_total",
        "Connections closed for what the client sent or for a limit.",
        MetricType::COUNTER,
        connections.refused.iter().map(|(word, count)| sample(MetricType::COUNTER, &[("reason", word)], *count)),
    );
}

fn reload(families: &mut Families, reload: &ReloadFigures) {
    families.gauge(
        "larder_config_last_reload_successful",
        "Whether the last attempt to load the configuration succeeded.",
        u64::from(reload.last_successful),
    );
    families.gauge(
        "larder_config_last_reload_success_timestamp_seconds",
        "When a configuration was last taken over, in seconds since the Unix epoch.",
        u64::try_from(reload.last_success_seconds).unwrap_or_default(),
    );
    families.add(
        "larder_config_reloads_total",
        "Reloads of the configuration, by result.",
        MetricType::COUNTER,
        [("success", reload.succeeded), ("failure", reload.failed)]
            .map(|(result, count)| sample(MetricType::COUNTER, &[("result", result)], count)),
    );
}

/// jemalloc's own figures; none where it cannot tell them.
fn allocator(families: &mut Families) {
    // jemalloc serves figures from a snapshot that only this renews.
    if epoch::advance().is_err() {
        return;
    }
    let figures = [
        ("larder_allocator_allocated_bytes", "Bytes the program has allocated.", stats::allocated::read()),
        ("larder_allocator_active_bytes", "Bytes in pages with allocations in them.", stats::active::read()),
        ("larder_allocator_resident_bytes", "Bytes of memory the allocator has resident.", stats::resident::read()),
        ("larder_allocator_mapped_bytes", "Bytes of address space with allocations in them.", stats::mapped::read()),
        ("larder_allocator_retained_bytes", "Bytes of address space kept for later.", stats::retained::read()),
        ("larder_allocator_metadata_bytes", "Bytes the allocator needs for itself.", stats::metadata::read()),
    ];
    for (name, help, figure) in figures {
        if let Ok(bytes) = figure {
            families.gauge(name, help, bytes as u64);
        }
    }
}

fn build(families: &mut Families) {
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("os", std::env::consts::OS),
        ("arch", std::env::consts::ARCH),
        ("profile", if cfg!(debug_assertions) { "debug" } else { "release" }),
    ];
    families.add(
        "larder_build_info",
        "What was built; always 1.",
        MetricType::GAUGE,
        [sample(MetricType::GAUGE, &labels, 1)],
    );
}

struct Families(Vec<MetricFamily>);

impl Families {
    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.add(name, help, MetricType::GAUGE, [sample(MetricType::GAUGE, &[], value)]);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.add(name, help, MetricType::COUNTER, [sample(MetricType::COUNTER, &[], value)]);
    }

    /// A family without samples is left out: the text encoder takes it for an error.
    fn add(&mut self, name: &str, help: &str, kind: MetricType, samples: impl IntoIterator<Item = Metric>) {
        let samples: Vec<Metric> = samples.into_iter().collect();
        if samples.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(samples);
        self.0.push(family);
    }
}

fn sample(kind: MetricType, labels: Labels<'_>, value: u64) -> Metric {
    let mut metric = Metric::from_label(labels.iter().map(|(name, value)| label(name, value)).collect());
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value as f64);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value as f64);
        metric.set_gauge(gauge);
    }
    metric
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}
