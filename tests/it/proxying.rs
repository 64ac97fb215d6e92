//! Stories of proxying: what reaches the upstream and what reaches the client, byte by byte.

mod bodies;
mod failures;
mod fields;
mod http2;
mod interim;
mod methods;
mod plain;
mod rewrites;
mod routes;
mod upgrade;
mod versions;

use crate::support::proxy::Proxy;
use crate::support::upstream::Upstream;

/// A proxy in front of an upstream, with further tables of the configuration.
fn before(upstream: &Upstream, tables: &str) -> Proxy {
    Proxy::configured(&format!("[upstreams.app]\nservers = [\"{}\"]\n{tables}\n", upstream.url()))
}

/// The same with further keys of the upstream.
fn before_with(upstream: &Upstream, keys: &str) -> Proxy {
    before(upstream, keys)
}
