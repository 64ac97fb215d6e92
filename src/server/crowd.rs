//! A listener's bounds on open connections: at all, and of one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::settings::ListenerLimits;
use crate::proxy::front::network_of;

/// Who is connected.
#[derive(Debug, Default)]
pub(super) struct Crowd(Mutex<Present>);

#[derive(Debug, Default)]
struct Present {
    all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// One that is connected; leaves when dropped.
#[derive(Debug)]
pub(super) struct Presence {
    crowd: Arc<Crowd>,
    network: IpAddr,
}

impl Crowd {
    /// Lets a client in unless it is one too many.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, limits: &ListenerLimits) -> Option<Presence> {
        let network = network_of(address);
        let mut present = self.0.lock();
        let of_network = present.by_network.get(&network).copied().unwrap_or_default();
        let fits = limits.connections.is_none_or(|most| present.all < most)
            && limits.connections_per_address.is_none_or(|most| of_network < most);
        if !fits {
            return None;
        }
        present.all += 1;
        present.by_network.insert(network, of_network + 1);
        Some(Presence { crowd: self.clone(), network })
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut present = self.crowd.0.lock();
        present.all -= 1;
        if let Some(of_network) = present.by_network.get_mut(&self.network) {
            *of_network -= 1;
            if *of_network == 0 {
                present.by_network.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crowd_is_bounded_at_all_and_by_network() {
        let crowd = Arc::new(Crowd::default());
        let limits = ListenerLimits { connections: Some(4), connections_per_address: Some(2), rate: None };
        let enter = |address: &str| crowd.enter(address.parse().unwrap(), &limits);
        let mut inside = vec![enter("192.0.2.1").unwrap(), enter("::ffff:192.0.2.1").unwrap()];
        assert!(enter("192.0.2.1").is_none(), "two of one address");
        inside.push(enter("2001:db8::1").unwrap());
        inside.push(enter("2001:db8::2").unwrap());
        assert!(enter("2001:db8::3").is_none() && enter("192.0.2.2").is_none(), "four at all");
        inside.remove(0);
        inside.push(enter("192.0.2.1").unwrap());
        drop(inside);
        assert!(crowd.0.lock().by_network.is_empty() && crowd.0.lock().all == 0, "nothing is kept");
        assert!(crowd.enter("192.0.2.1".parse().unwrap(), &ListenerLimits::default()).is_some());
    }
}
