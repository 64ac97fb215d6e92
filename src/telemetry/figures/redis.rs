//! Figures of Redis.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// A client of a Redis, and what it did since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RedisFigures {
    /// What for: `bodies`.
    pub purpose: &'static str,
    /// Its breaker: `closed`, `half-open` or `open`.
    pub state: &'static str,
    /// Why that is not closed.
    pub fault: Option<&'static str>,
    /// Why writes are refused, if they are.
    pub write_fault: Option<&'static str>,
    /// Times that the breaker opened.
    pub openings: u64,
    /// Operations that Redis was asked for.
    pub operations: u64,
    /// Operations left out while the breaker was not closed.
    pub skipped: u64,
    /// Connections opened.
    pub connects: u64,
    /// Operations and connections that failed, by fault.
    pub faults: BTreeMap<&'static str, u64>,
}

/// The way of purges to and from other nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PurgeLinkFigures {
    /// What this node is called.
    pub node: String,
    /// How it stands to the sequence of purges: `in-step`, `catching-up`, `alone` or `shut`.
    pub standing: &'static str,
    /// Why it is not followed.
    pub fault: Option<&'static str>,
    /// Purges of this node that wait to be added.
    pub waiting: u64,
    /// Purges that came by the sequence.
    pub applied: u64,
    /// Times that the sequence was taken up.
    pub sessions: u64,
    /// Times that all that was held was dropped, because missed purges could not be known.
    pub lost: u64,
    /// Times that this process was found to have been stopped.
    pub pauses: u64,
    /// Nodes that are alive, this one included.
    pub nodes: u64,
}
