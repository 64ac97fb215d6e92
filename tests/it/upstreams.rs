//! Stories of upstreams with several servers: who is asked, what is made of servers that fail.

mod balancing;
mod failing;
mod faults;
mod health;
mod hedging;

use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

/// A server that answers by its name and stores nothing.
async fn named(name: &'static str) -> Upstream {
    Upstream::start(move |_| Reply::ok().header("cache-control", "no-store").body(name)).await
}

/// A proxy before servers, with further keys of the upstream and tables.
fn before(servers: &[&Upstream], keys: &str) -> Proxy {
    let urls: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.url())).collect();
    Proxy::configured(&format!("[upstreams.app]\nservers = [{}]\n{keys}\n", urls.join(", ")))
}
