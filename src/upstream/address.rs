//! The addresses behind a server's name, each with a health of its own: one sick machine behind a name leaves the
//! requests to the others.

use std::net::SocketAddr;
use std::sync::Arc;

use super::health::{Health, Peers, Standing};
use super::stats::AddressStats;
use crate::config::settings::Upstream;

/// One of the addresses.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) socket: SocketAddr,
    pub(super) health: Health,
}

/// All of them, in the order of their turns.
#[derive(Debug, Default)]
pub(super) struct Addresses(Vec<Arc<Address>>);

impl Addresses {
    /// These, as healthy as those that were known before.
    pub(super) fn renewed(&self, sockets: &[SocketAddr], settings: &Upstream, peers: &Arc<Peers>) -> Self {
        peers.resize(sockets.len(), &settings.ejection);
        let new = |socket: &SocketAddr| {
            let health = Health::new(settings, socket.to_string(), peers.clone());
            Arc::new(Address { socket: *socket, health })
        };
        Addresses(sockets.iter().map(|socket| self.find(*socket).cloned().unwrap_or_else(|| new(socket))).collect())
    }

    pub(super) fn sockets(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|address| address.socket).collect()
    }

    pub(super) fn find(&self, socket: SocketAddr) -> Option<&Arc<Address>> {
        self.0.iter().find(|address| address.socket == socket)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// From the one whose turn it is on: those that take requests, and that are not `avoided`, before others.
    pub(super) fn in_turn(&self, turn: usize, avoided: impl Fn(SocketAddr) -> bool) -> Option<SocketAddr> {
        let in_turn = || (0..self.len()).map(|step| &self.0[(turn + step) % self.len()]);
        let well = || in_turn().filter(|address| address.takes_requests());
        let first = well().find(|address| !avoided(address.socket)).or_else(|| well().next());
        first.or_else(|| in_turn().next()).map(|address| address.socket)
    }

    /// Whether requests can go elsewhere when this one is out.
    pub(super) fn has_others_than(&self, socket: SocketAddr) -> bool {
        self.0.iter().any(|address| address.socket != socket && address.takes_requests())
    }

    /// Their figures.
    pub(super) fn stats(&self) -> Vec<AddressStats> {
        let stats = |address: &Arc<Address>| AddressStats {
            address: address.socket,
            state: address.health.word(),
            ejections: address.health.ejections(),
        };
        self.0.iter().map(stats).collect()
    }
}

impl Address {
    fn takes_requests(&self) -> bool {
        self.health.is_plain() || matches!(self.health.standing(), Standing::Full | Standing::Rising(_))
    }
}
