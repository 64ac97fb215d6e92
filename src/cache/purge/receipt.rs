//! What became of purges: how many stored responses each matched in which tier, and which nodes know of it.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::target::{Mode, Purge};

/// Receipts that are kept; the oldest goes first.
const MOST_RECEIPTS: usize = 10_000;

/// What became of a purge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// Its number.
    pub id: String,
    /// `done`: in force on every node, and all that can be counted is counted. `pending`: not yet.
    pub state: ReceiptState,
    /// When it was asked for, in milliseconds since the Unix epoch.
    pub at: i64,
    /// Whether what it matches became stale instead of going.
    pub soft: bool,
    /// How many targets it named.
    pub targets: u64,
    /// What it matched in each tier of this node.
    pub tiers: Vec<TierReceipt>,
    /// Nodes that have to apply it; none where this one shares nothing with others.
    pub nodes: Vec<NodeReceipt>,
    /// Whether it would be in force after a restart too; absent where nothing stored survives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable: Option<bool>,
}

/// Whether there is something still to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptState {
    /// Nothing.
    Done,
    /// Something.
    Pending,
}

/// The same of one tier or node.
pub type TierState = ReceiptState;

/// What a purge matched in a tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TierReceipt {
    /// `memory`, `disk` or `redis`.
    pub tier: String,
    /// Stored responses that matched, so far; `null`: the tier cannot tell. What it holds is not used any more all the
    /// same, and goes when it is come upon.
    pub matched: Option<u64>,
    /// Whether the count is final.
    pub state: TierState,
}

/// Whether a node has applied a purge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeReceipt {
    /// The node's name.
    pub node: String,
    /// Whether it has.
    pub state: TierState,
}

/// Receipts of late.
#[derive(Debug, Default)]
pub struct Receipts(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    receipts: HashMap<String, Receipt>,
    order: VecDeque<String>,
}

impl Receipts {
    /// Writes one, which says nothing of any tier yet.
    pub(super) fn open(&self, purge: &Purge) {
        let receipt = Receipt {
            id: purge.id.clone(),
            state: ReceiptState::Pending,
            at: purge.at,
            soft: purge.mode == Mode::Soft,
            targets: purge.targets.len() as u64,
            tiers: Vec::new(),
            nodes: Vec::new(),
            durable: None,
        };
        let mut kept = self.0.lock();
        if kept.receipts.insert(purge.id.clone(), receipt).is_none() {
            kept.order.push_back(purge.id.clone());
        }
        if kept.order.len() > MOST_RECEIPTS
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.receipts.remove(&oldest);
        }
    }

    /// What a tier says of a purge.
    pub fn tier(&self, id: &str, tier: &str, matched: Option<u64>, state: TierState) {
        self.change(id, |receipt| match receipt.tiers.iter_mut().find(|known| known.tier == tier) {
            Some(known) => (known.matched, known.state) = (matched, state),
            None => receipt.tiers.push(TierReceipt { tier: tier.to_owned(), matched, state }),
        });
    }

    /// What is known of a node: that it has to apply a purge, or that it has.
    pub fn node(&self, id: &str, node: &str, state: TierState) {
        self.change(id, |receipt| match receipt.nodes.iter_mut().find(|known| known.node == node) {
            Some(known) => known.state = state,
            None => receipt.nodes.push(NodeReceipt { node: node.to_owned(), state }),
        });
    }

    /// Whether a purge is on this machine's disk.
    pub fn durable(&self, id: &str, durable: bool) {
        self.change(id, |receipt| receipt.durable = Some(durable));
    }

    /// The receipt of a purge.
    pub fn get(&self, id: &str) -> Option<Receipt> {
        self.0.lock().receipts.get(id).cloned()
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Receipt)) {
        let mut kept = self.0.lock();
        let Some(receipt) = kept.receipts.get_mut(id) else { return };
        change(receipt);
        let states = receipt.tiers.iter().map(|tier| tier.state).chain(receipt.nodes.iter().map(|node| node.state));
        let is_done = states.into_iter().all(|state| state == TierState::Done);
        receipt.state = if is_done { ReceiptState::Done } else { ReceiptState::Pending };
    }
}

#[cfg(test)]
mod tests {
    use super::super::PurgeTarget;
    use super::*;
    use crate::policy::time::Timestamp;

    fn purge() -> Purge {
        Purge::new(vec![PurgeTarget::All], Mode::Soft, Timestamp::from_secs(5))
    }

    #[test]
    fn receipt_is_done_when_every_tier_and_node_is() {
        let (receipts, purge) = (Receipts::default(), purge());
        receipts.open(&purge);
        receipts.tier(&purge.id, "memory", Some(1), TierState::Pending);
        receipts.tier(&purge.id, "disk", None, TierState::Done);
        receipts.node(&purge.id, "b", TierState::Pending);
        let state = || receipts.get(&purge.id).unwrap().state;
        assert_eq!(state(), ReceiptState::Pending);
        receipts.tier(&purge.id, "memory", Some(7), TierState::Done);
        assert_eq!(state(), ReceiptState::Pending, "a node has not");
        receipts.node(&purge.id, "b", TierState::Done);
        receipts.durable(&purge.id, true);
        let receipt = receipts.get(&purge.id).unwrap();
        assert_eq!((receipt.state, receipt.soft, receipt.durable), (ReceiptState::Done, true, Some(true)));
        let tiers: Vec<_> = receipt.tiers.iter().map(|tier| (tier.tier.as_str(), tier.matched)).collect();
        assert_eq!(tiers, [("memory", Some(7)), ("disk", None)]);
        receipts.tier("unknown", "memory", None, TierState::Done);
        assert_eq!(receipts.get("unknown"), None);
    }

    #[test]
    fn oldest_receipts_go() {
        let receipts = Receipts::default();
        let first = purge();
        receipts.open(&first);
        for _ in 0..MOST_RECEIPTS {
            receipts.open(&purge());
        }
        assert_eq!(receipts.get(&first.id), None);
        assert_eq!(receipts.0.lock().receipts.len(), MOST_RECEIPTS);
    }
}
