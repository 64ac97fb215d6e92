//! Redis: a tier that several machines share, and the way purges travel between them.
//!
//! [`client`] asks within a deadline and never connects on a request's path, [`breaker`] says when not to ask at all,
//! [`fault`] names what can be wrong with a Redis. [`tier`] keeps stored responses, [`lease`] lets one node of all
//! fetch. [`link`] carries purges by a stream, and [`gate`] keeps a node that may have missed some from serving.

pub mod breaker;
pub mod client;
mod connect;
pub mod fault;
pub mod gate;
pub mod lease;
pub mod link;
mod stream;
pub mod tier;

use std::sync::Arc;

use client::{Client, Options};
use gate::Gate;
use lease::Leases;
use tier::RedisTier;

use super::purge::PurgeLog;
use crate::clock::Clock;
use crate::config::settings::redis::Redis;
use crate::telemetry::figures::redis::RedisFigures;

/// What a cache shares with those of other nodes.
#[derive(Debug)]
pub struct Shared {
    /// Keeps what is stored from being used while it is not known what was purged.
    pub gate: Arc<Gate>,
    /// Stored responses.
    pub tier: Option<Arc<RedisTier>>,
    /// Which node fetches, where they are to agree on that.
    pub leases: Option<Arc<Leases>>,
    client: Option<Client>,
}

impl Shared {
    /// As the settings say; `None`: nothing is shared. Must be called within a tokio runtime.
    pub fn start(settings: &Redis, clock: &Clock, log: &Arc<PurgeLog>) -> Option<Shared> {
        settings.purging.as_ref()?;
        let gate = Arc::new(Gate::new(settings.strict));
        let client = settings.bodies.as_ref().map(|server| {
            let options = Options {
                purpose: "bodies",
                prefix: settings.prefix.clone(),
                deadline: settings.timeout,
                connections: settings.connections,
            };
            Client::start(server, options)
        });
        let leases = client.as_ref().filter(|_| settings.collapse).map(|client| Arc::new(Leases::new(client.clone())));
        let tier = client.as_ref().map(|client| {
            let (client, clock, log, gate) = (client.clone(), clock.clone(), log.clone(), gate.clone());
            Arc::new(RedisTier::new(client, clock, settings.max_object, log, gate, leases.clone()))
        });
        Some(Shared { gate, tier, leases, client })
    }

    /// How the way to Redis is.
    pub fn figures(&self) -> Vec<RedisFigures> {
        self.client.iter().map(|client| client.figures().into()).collect()
    }
}
