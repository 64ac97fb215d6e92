//! After an unsafe request that succeeded: what of what is stored it made outdated (RFC 9111 §4.4, RFC 9875 §3).

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Response;

use super::{Asked, purge_rules};
use crate::cache::key::{CacheKey, TargetUri};
use crate::cache::purge::{Logged, PurgeTarget};
use crate::policy::reason::PurgeReason;
use crate::policy::{invalidate, tags};

/// Invalidates what the answer to a request that is passed on says is outdated. The purge by which it did, if any.
pub(super) fn after<B>(asked: &Asked<'_>, response: &Response<B>) -> Option<Arc<Logged>> {
    if !invalidate::applies(&asked.parts.method, response.status()) {
        return None;
    }
    let keys = keys_named(asked, response);
    let uri = asked.admitted.uri();
    let group = |name| PurgeTarget::Group { origin: format!("{}://{}", uri.scheme, uri.authority), name };
    let invalidated = tags::invalidated_groups(&asked.parts.method, response.status(), response.headers());
    let mut groups: BTreeSet<String> = invalidated.into_iter().collect();
    // RFC 9875 §2.2.1: those that share a group with what is invalidated; not in turn those that share one with them.
    for entry in keys.iter().filter_map(|key| asked.proxy.cache.memory.get(key)) {
        groups.extend(entry.variants().iter().flat_map(|stored| stored.tags().groups()).map(str::to_owned));
    }
    let mut targets: Vec<_> = keys.iter().map(|key| PurgeTarget::Url(key.url().to_owned())).collect();
    targets.extend(groups.into_iter().map(group));
    asked.proxy.telemetry.metrics.purged(PurgeReason::Unsafe);
    let purging = asked.proxy.cache.invalidate(targets, asked.proxy.clock.now());
    let logged = purging.logged().clone();
    purging.finish_in_background();
    purge_rules::apply(asked);
    Some(logged)
}

/// Keys of the target itself, and of what Location and Content-Location name of the same origin.
fn keys_named<B>(asked: &Asked<'_>, response: &Response<B>) -> Vec<CacheKey> {
    let uri = asked.admitted.uri();
    let own = asked.admitted.target.as_str();
    let named = invalidate::named_targets(uri.scheme, uri.authority, own, response.headers());
    let mut keys = Vec::new();
    for target in std::iter::once(own.to_owned()).chain(named) {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&*target, None),
        };
        keys.extend(asked.site.keys_of(&TargetUri { path, query, ..uri }, &asked.proxy.cache.searches));
    }
    keys
}
