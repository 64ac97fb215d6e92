//! How much of what was purged a fetch could know of: the moment it began, counted in purges.

/// The purges that had been applied when a fetch began. A response may be used only if no purge that came later
/// matches it.
///
/// The two counters are independent of each other, so that epochs as a whole have no order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// This node's own purges: the number of the last one; 0: none yet.
    pub local: u64,
    /// Those that nodes share: the id in Redis' stream of the last one that this node had applied; (0, 0): none yet.
    pub shared: (u64, u64),
}
