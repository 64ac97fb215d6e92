//! Leases: of all nodes, one fetches.
//!
//! A node that wants to fetch a URL takes a lease of it, a key in Redis that ends by itself. The others wait, within a
//! bound, for what the holder stores. A lease is given back when that is stored, or turns out not to be for storing:
//! then the others fetch at once. Where Redis is away, everybody fetches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::cmd;
use tokio::time::Instant;

use super::client::Client;
use crate::cache::tiers::slot::Slot;

/// The leases of this node.
#[derive(Debug)]
pub struct Leases {
    client: Client,
    held: Mutex<HashMap<Slot, Held>>,
}

/// A lease that this node holds.
#[derive(Debug)]
struct Held {
    token: Arc<str>,
    /// When it ends by itself.
    until: Instant,
}

/// What came of asking for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// This node is to fetch, and has taken the lease.
    Ours,
    /// This node is to fetch: it held the lease already, or nobody can tell.
    Anybodys,
    /// Another node fetches.
    Theirs,
}

/// Beyond so many, those that ended by themselves are forgotten.
const MANY: usize = 1000;

/// Gives a lease back, if it is still the same one.
const GIVE_BACK: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('UNLINK', KEYS[1]) end return 0";

impl Leases {
    /// Leases by way of a client.
    pub fn new(client: Client) -> Self {
        Leases { client, held: Mutex::default() }
    }

    fn key(&self, slot: Slot) -> Vec<u8> {
        self.client.key(&format!("l:{slot}"))
    }

    /// Asks for the lease of a URL's slot, which ends after `span` by itself.
    pub async fn take(&self, slot: Slot, span: Duration) -> Turn {
        if self.holds(slot) {
            return Turn::Anybodys; // another request of this node has it: they are collapsed here
        }
        if !self.client.takes_writes() {
            return Turn::Anybodys;
        }
        let token: Arc<str> = crate::cache::record::new_id().to_string().into();
        let until = Instant::now() + span;
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut set = cmd("SET");
        set.arg(self.key(slot)).arg(&*token).arg("NX").arg("PX").arg(span);
        match self.client.write::<Option<String>>(&set).await {
            Ok(Some(_)) => {
                let mut held = self.held.lock();
                if held.len() > MANY {
                    held.retain(|_, lease| lease.until > Instant::now());
                }
                held.insert(slot, Held { token, until });
                Turn::Ours
            }
            Ok(None) => Turn::Theirs,
            Err(_) => Turn::Anybodys,
        }
    }

    /// Whether somebody holds the lease; no where that cannot be known.
    pub async fn is_taken(&self, slot: Slot) -> bool {
        self.client.read::<u64>(cmd("EXISTS").arg(self.key(slot))).await.is_ok_and(|count| count > 0)
    }

    /// Gives a lease back, if this node holds it.
    pub async fn give_back(&self, slot: Slot) {
        let Some(Held { token, .. }) = self.held.lock().remove(&slot) else { return };
        // It ends by itself where this fails.
        let mut give = cmd("EVAL");
        give.arg(GIVE_BACK).arg(1).arg(self.key(slot)).arg(&*token);
        let _ = self.client.write::<u64>(&give).await;
    }

    /// Whether this node holds the lease.
    pub fn holds(&self, slot: Slot) -> bool {
        self.held.lock().get(&slot).is_some_and(|held| held.until > Instant::now())
    }
}
