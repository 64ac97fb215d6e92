//! Redis as Prometheus metric families.

use prometheus::proto::MetricType;

use super::{Families, sample};
use crate::telemetry::figures::redis::{PurgeLinkFigures, RedisFigures};

/// What is told of each connection to a Redis.
pub(super) fn clients(families: &mut Families, clients: &[RedisFigures]) {
    let mut add = |name, help, kind, value: fn(&RedisFigures) -> u64| {
        let samples = clients.iter().map(|client| sample(kind, &[("purpose", client.purpose)], value(client)));
        families.add(name, help, kind, samples);
    };
    let (gauge, counter) = (MetricType::GAUGE, MetricType::COUNTER);
    add("larder_redis_up", "Whether Redis is asked: 0 while its breaker is not closed.", gauge, |client| {
        u64::from(client.state == "closed")
    });
    add("larder_redis_takes_writes", "Whether Redis takes writes.", gauge, |client| {
        u64::from(client.state == "closed" && client.write_fault.is_none())
    });
    add("larder_redis_breaker_openings_total", "Times that the breaker before Redis opened.", counter, |client| {
        client.openings
    });
    add("larder_redis_operations_total", "Operations that Redis was asked for.", counter, |client| client.operations);
    add("larder_redis_skipped_total", "Operations left out while the breaker was not closed.", counter, |client| {
        client.skipped
    });
    add("larder_redis_connects_total", "Connections opened to Redis.", counter, |client| client.connects);
    families.add(
        "larder_redis_faults_total",
        "Operations and connections to Redis that failed, by fault.",
        counter,
        clients.iter().flat_map(|client| {
            client
                .faults
                .iter()
                .map(|(fault, count)| sample(counter, &[("purpose", client.purpose), ("fault", *fault)], *count))
        }),
    );
}

/// What is told of the way of purges to other nodes.
pub(super) fn purge_link(families: &mut Families, link: &PurgeLinkFigures) {
    families.gauge(
        "larder_purge_link_up",
        "Whether the purges of other nodes are followed.",
        u64::from(link.standing == "in-step"),
    );
    families.gauge(
        "larder_purge_link_waiting",
        "Purges of this node that other nodes cannot know of yet.",
        link.waiting,
    );
    families.gauge("larder_purge_link_nodes", "Nodes that are alive, this one included.", link.nodes);
    families.counter("larder_purge_link_received_total", "Purges that came by the shared sequence.", link.applied);
    families.counter("larder_purge_link_sessions_total", "Times that the shared sequence was taken up.", link.sessions);
    families.counter(
        "larder_purge_link_lost_total",
        "Times that all that was held was dropped, because missed purges could not be known.",
        link.lost,
    );
    families.counter(
        "larder_process_pauses_total",
        "Times that this process was found to have been stopped.",
        link.pauses,
    );
}
