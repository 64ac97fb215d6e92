//! Purges of other nodes reach this one's proxy.

use std::sync::Arc;

use crate::cache::purge::receipt::ReceiptState;
use crate::cache::purge::{Purge, PurgeLog, Shared};
use crate::cache::redis::link::Purges;
use crate::policy::reason::PurgeReason;
use crate::proxy::Proxy;

/// The proxy, as the way to other nodes sees it.
pub(super) struct ProxyPurges(pub(super) Arc<Proxy>);

impl Purges for ProxyPurges {
    fn log(&self) -> &Arc<PurgeLog> {
        &self.0.cache.log
    }

    fn apply(&self, purge: Purge, shared: Shared) {
        if let Some(purging) = self.0.cache.purge_shared(purge, shared) {
            self.0.telemetry.metrics.purged(PurgeReason::Node);
            // In force already; what patterns match is removed in its own time.
            purging.finish_in_background();
        }
    }

    fn reached(&self, id: &str, node: &str, has: bool) {
        self.0.cache.receipts.node(id, node, if has { ReceiptState::Done } else { ReceiptState::Pending });
    }
}
