//! Purges of other nodes reach this one's proxy.

use std::sync::Arc;

use crate::cache::purge::log::Shared;
use crate::cache::purge::{Purge, PurgeLog};
use crate::cache::redis::link::Purges;
use crate::proxy::Proxy;

/// The proxy, as the way to other nodes sees it.
pub(super) struct ProxyPurges(pub(super) Arc<Proxy>);

impl Purges for ProxyPurges {
    fn log(&self) -> &Arc<PurgeLog> {
        &self.0.cache.log
    }

    fn apply(&self, purge: Purge, shared: Shared) {
        self.0.cache.purge_shared(purge, shared);
    }

    fn reached(&self, id: &str, node: &str, has: bool) {
        tracing::debug!(purge = id, node, has, "a purge on its way");
    }
}
