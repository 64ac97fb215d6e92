//! What stands before the request path: listeners of every kind, who may come in, and how much they may.

mod access;
mod bandwidth;
mod certificates;
mod concurrency;
mod crowds;
mod forward_auth;
mod rates;
mod slowness;
mod sockets;
mod take_over;

use crate::support::proxy::Proxy;
use crate::support::upstream::Upstream;

/// A proxy whose only route has these keys, e.g. `limits = { rate = "1/m" }`.
fn guarded(upstream: &Upstream, route: &str) -> Proxy {
    Proxy::configured(&format!(
        "[upstreams.app]\nservers = [\"{}\"]\n[[routes]]\nname = \"r\"\n{route}\n",
        upstream.url()
    ))
}
