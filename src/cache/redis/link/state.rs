//! What this node knows of its purges on their way: which the stream has, and which nodes have not said that they have
//! them.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::FORGOTTEN;
use crate::cache::purge::{Purge, Shared};
use crate::cache::redis::fault::Fault;

/// A node that this process has seen itself is waited for so long.
pub(super) const WAITED_FOR: Duration = Duration::from_millis(FORGOTTEN as u64);
/// This node's purges kept for a stream that loses them.
const MOST_MINE: usize = 1_000;

/// What is known of purges on their way, and of the nodes that they go to.
#[derive(Default)]
pub(super) struct State {
    pub(super) fault: Option<Fault>,
    /// Purges of this node that are in the stream, by their numbers, but have not come back by it.
    pub(super) sent: HashMap<String, Shared>,
    /// Purges of this node that the stream has, for when it loses them.
    pub(super) mine: VecDeque<(Purge, Shared)>,
    /// Of these it is not known yet whether all nodes have them.
    pub(super) unacknowledged: VecDeque<(String, Shared, Instant)>,
    /// Nodes that were alive when the sequence lost what it knew of them, and since when they have not come back.
    pub(super) absent: HashMap<String, Instant>,
    pub(super) sessions: u64,
    pub(super) applied: u64,
    pub(super) lost: u64,
}

impl State {
    /// Whether the stream has a purge of this node's.
    pub(super) fn has_sent(&self, id: &str) -> bool {
        self.mine.iter().any(|(purge, _)| purge.id == id)
    }

    /// Whether the stream has a purge, and all nodes.
    pub(super) fn is_acknowledged(&self, id: &str) -> bool {
        self.has_sent(id) && !self.unacknowledged.iter().any(|(open, ..)| open == id)
    }

    /// The stream has a purge of this node's.
    pub(super) fn remember(&mut self, purge: Purge, shared: Shared) {
        if self.mine.len() >= MOST_MINE {
            self.mine.pop_front();
        }
        if self.unacknowledged.len() >= MOST_MINE {
            self.unacknowledged.pop_front();
        }
        self.sent.insert(purge.id.clone(), shared);
        self.unacknowledged.push_back((purge.id.clone(), shared, Instant::now()));
        self.mine.push_back((purge, shared));
    }

    /// Nodes that are to come back: where `own` is missing among `nodes` the sequence was lost with its Redis, and
    /// who was alive (`known`) has yet to say again how far it is.
    pub(super) fn absent(&mut self, nodes: &[(String, Shared, i64)], own: &str, known: &[String]) -> Vec<String> {
        let is_there = |name: &str| nodes.iter().any(|(node, ..)| node == name);
        if !is_there(own) {
            for node in known.iter().filter(|node| *node != own) {
                self.absent.entry(node.clone()).or_insert_with(Instant::now);
            }
        }
        self.absent.retain(|node, since| !is_there(node) && since.elapsed() < WAITED_FOR);
        self.absent.keys().cloned().collect()
    }
}
