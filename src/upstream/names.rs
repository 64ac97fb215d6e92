//! What a server's name stands for: looked up again when their time to live is over and when a connection fails,
//! all of them used in turn. A lookup that fails leaves the addresses known before in use.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::address::Addresses;
use super::error::{UpstreamError, UpstreamErrorKind};
use super::health::Peers;
use super::server::Server;
use crate::config::settings::{Dns, Upstream, UpstreamServer};

/// An address that refused a connection, or said nothing, is passed over for this long, while there are others.
const AVOIDED: Duration = Duration::from_secs(5);

/// A server's name and what it stands for.
#[derive(Debug)]
pub(super) struct Names {
    settings: Upstream,
    host: String,
    port: u16,
    dns: Dns,
    list: ArcSwap<Addresses>,
    peers: Arc<Peers>,
    /// Addresses that refused a connection or said nothing, and when.
    refused: Mutex<Vec<(SocketAddr, Instant)>>,
    turn: AtomicUsize,
    /// Somebody needs a lookup before its time.
    renew: Notify,
    /// One at a time.
    looking_up: tokio::sync::Mutex<()>,
}

impl Names {
    /// For a server with a name; `None`: its address is known.
    pub(super) fn of(settings: &Upstream, server: &UpstreamServer) -> Option<Self> {
        if server.unix.is_some() || server.host.parse::<IpAddr>().is_ok() {
            return None;
        }
        Some(Names {
            settings: settings.clone(),
            host: server.host.clone(),
            port: server.port,
            dns: settings.dns.clone(),
            list: ArcSwap::default(),
            peers: Peers::of(settings),
            refused: Mutex::default(),
            turn: AtomicUsize::new(0),
            renew: Notify::new(),
            looking_up: tokio::sync::Mutex::new(()),
        })
    }

    /// Whether the name still stands for an address.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.list.load().find(address).is_some()
    }

    /// The addresses known now.
    pub(super) fn known(&self) -> Arc<Addresses> {
        self.list.load_full()
    }

    /// The address whose turn it is; `None` where none or only one is known.
    pub(super) fn next(&self) -> Option<SocketAddr> {
        let list = self.list.load();
        if list.len() < 2 {
            return None;
        }
        let turn = self.turn.fetch_add(1, Relaxed);
        let mut refused = self.refused.lock();
        if !refused.is_empty() {
            let now = Instant::now();
            refused.retain(|(_, since)| now.duration_since(*since) < AVOIDED);
        }
        list.in_turn(turn, |address| refused.iter().any(|(known, _)| *known == address))
    }

    /// An address refused a connection, or said nothing.
    pub(super) fn refused(&self, address: SocketAddr) {
        let mut refused = self.refused.lock();
        refused.retain(|(known, _)| *known != address);
        refused.push((address, Instant::now()));
        drop(refused);
        self.renew.notify_one();
    }

    /// The addresses, in the order to try them: beginning with `first`. Looks the name up where none is known yet.
    pub(super) async fn addresses(
        &self,
        first: Option<SocketAddr>,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, UpstreamError> {
        if self.list.load().len() == 0 {
            let look_up = async {
                let _turn = self.looking_up.lock().await;
                if self.list.load().len() == 0 { self.look_up().await.map(drop) } else { Ok(()) }
            };
            match timeout_at(deadline, look_up).await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => return Err(UpstreamError::because(UpstreamErrorKind::Resolve, why)),
                Err(_) => return Err(UpstreamError::because(UpstreamErrorKind::Resolve, "no answer in time")),
            }
        }
        let mut addresses = self.list.load().sockets();
        let start = first.and_then(|first| addresses.iter().position(|known| *known == first)).unwrap_or_default();
        addresses.rotate_left(start);
        Ok(addresses)
    }

    /// Looks the name up, and returns for how long that holds.
    async fn look_up(&self) -> Result<Duration, String> {
        let resolver = resolver(&self.dns).map_err(|error| error.to_string())?;
        let found = resolver.lookup_ip(self.host.as_str()).await.map_err(|error| error.to_string())?;
        let valid = found.valid_until().saturating_duration_since(std::time::Instant::now());
        let addresses = interleaved(found.iter(), self.port);
        if addresses.is_empty() {
            return Err("the name has no address".to_owned());
        }
        let known = self.list.load();
        if known.sockets() != addresses {
            tracing::info!(upstream = self.settings.name, host = self.host, ?addresses, "name resolved");
            self.list.store(Arc::new(known.renewed(&addresses, &self.settings, &self.peers)));
        }
        Ok(valid.clamp(self.dns.min_ttl, self.dns.max_ttl))
    }
}

/// Looks a server's name up for as long as there is the server.
pub(super) fn keep_current(server: &Arc<Server>) {
    let weak = Arc::downgrade(server);
    tokio::spawn(async move {
        let mut failing = false;
        loop {
            let Some(server) = weak.upgrade() else { return };
            let Some(names) = server.names().cloned() else { return };
            let wait = {
                let _turn = names.looking_up.lock().await;
                match names.look_up().await {
                    Ok(valid) => {
                        failing = false;
                        valid
                    }
                    Err(why) => {
                        if !failing {
                            tracing::warn!(
                                upstream = names.settings.name,
                                host = names.host,
                                why,
                                "name can't be resolved"
                            );
                        }
                        failing = true;
                        names.dns.min_ttl
                    }
                }
            };
            server.forget_vanished();
            let earliest = names.dns.min_ttl.min(wait);
            drop(server);
            // A refused connection hurries the next lookup, though not more than `min_ttl` allows.
            sleep(earliest).await;
            let _ = tokio::time::timeout(wait.saturating_sub(earliest), names.renew.notified()).await;
        }
    });
}

/// A resolver as things stand now: /etc/hosts and resolv.conf are read anew, so that their changes count.
fn resolver(dns: &Dns) -> Result<TokioResolver, hickory_resolver::net::NetError> {
    let mut builder = if dns.servers.is_empty() {
        match TokioResolver::builder_tokio() {
            Ok(builder) => builder,
            // Without a resolv.conf there is still /etc/hosts.
            Err(_) => TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default()),
        }
    } else {
        let server = |address: &SocketAddr| {
            let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            connections.iter_mut().for_each(|connection| connection.port = address.port());
            NameServerConfig::new(address.ip(), true, connections.to_vec())
        };
        let config = ResolverConfig::from_name_servers(dns.servers.iter().map(server).collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Always;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.timeout = dns.timeout;
    builder.build()
}

/// Both families in turn, IPv6 first (RFC 8305 §4), each address once.
fn interleaved(found: impl Iterator<Item = IpAddr>, port: u16) -> Vec<SocketAddr> {
    let mut addresses: Vec<IpAddr> = found.collect();
    addresses.sort_unstable();
    addresses.dedup();
    let (mut v6, mut v4): (Vec<_>, Vec<_>) = addresses.into_iter().rev().partition(IpAddr::is_ipv6);
    let mut ordered = Vec::new();
    while let (true, family) = (!(v6.is_empty() && v4.is_empty()), ordered.len() % 2) {
        let next = if family == 0 { v6.pop().or_else(|| v4.pop()) } else { v4.pop().or_else(|| v6.pop()) };
        ordered.extend(next.map(|address| SocketAddr::new(address, port)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let found = ["10.0.0.2", "fd00::1", "10.0.0.1", "10.0.0.1"].map(|text| text.parse().unwrap());
        let ordered: Vec<String> = interleaved(found.into_iter(), 80).iter().map(ToString::to_string).collect();
        assert_eq!(ordered, ["[fd00::1]:80", "10.0.0.1:80", "10.0.0.2:80"]);
    }
}
