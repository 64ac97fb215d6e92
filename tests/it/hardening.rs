//! What larder must withstand: bytes that are no request, requests that mean two things, clients that dawdle, and
//! faults around it.

mod corpus;
mod corpus_http2;
mod faults;
mod http1;
mod http2;
mod limits;
mod poisoning;
mod responses;
mod start;

use crate::support::proxy::Proxy;
use crate::support::upstream::Upstream;

/// A proxy in front of an upstream, with further tables of the configuration.
fn before(upstream: &Upstream, tables: &str) -> Proxy {
    before_url(&upstream.url(), tables)
}

/// The same in front of whatever listens there.
fn before_url(url: &str, tables: &str) -> Proxy {
    Proxy::configured(&format!("[upstreams.app]\nservers = [\"{url}\"]\n{tables}\n"))
}
