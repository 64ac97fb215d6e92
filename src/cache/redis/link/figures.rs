//! How the link is, for the metrics.

use crate::cache::redis::fault::Fault;
use crate::cache::redis::gate::Standing;
use crate::telemetry::figures::redis::PurgeLinkFigures;

/// How the link is, and what it did since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFigures {
    /// What this node is called.
    pub node: String,
    /// How it stands to the shared sequence.
    pub standing: Standing,
    /// Why it is not followed.
    pub fault: Option<Fault>,
    /// Purges of this node that wait to be added.
    pub waiting: u64,
    /// Purges that came by the sequence.
    pub applied: u64,
    /// Times that this node followed it anew.
    pub sessions: u64,
    /// Times that too little was known of what had been purged, so that all that was held went.
    pub lost: u64,
    /// Times that this process was found to have been stopped.
    pub pauses: u64,
    /// Nodes that are alive, this one included.
    pub nodes: u64,
}

impl From<LinkFigures> for PurgeLinkFigures {
    fn from(figures: LinkFigures) -> Self {
        PurgeLinkFigures {
            node: figures.node,
            standing: figures.standing.word(),
            fault: figures.fault.map(Fault::word),
            waiting: figures.waiting,
            applied: figures.applied,
            sessions: figures.sessions,
            lost: figures.lost,
            pauses: figures.pauses,
            nodes: figures.nodes,
        }
    }
}
