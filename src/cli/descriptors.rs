//! How many files may be open, and whether that is enough for the connections which the settings allow.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::settings::Settings;

/// What listeners, logs, the runtime and the tiers below memory need, roughly.
const OTHERS: usize = 64;

/// Shells and service managers give 1,024 descriptors for the sake of programs that use `select`; we may have as many
/// as the hard limit says.
pub(super) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => tracing::debug!(from = limit.current, to = limit.maximum, "raised the limit of open files"),
        Err(error) => tracing::warn!(%error, staying_at = limit.current, "can't raise the limit of open files"),
    }
}

/// Says so when clients alone can take what connections to upstreams would need: requests then fail that could wait.
pub(super) fn warn_of_too_few(settings: &Settings) {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return };
    let needed = needed(settings);
    if limit < needed as u64 {
        tracing::warn!(
            "at most {limit} files may be open, but limits.connections ({}) and the max_connections of all upstreams need \
             {needed}: when clients have taken them all, upstreams can't be reached; raise the limit (ulimit -n, \
             LimitNOFILE) or lower limits.connections",
            settings.limits.connections
        );
    }
}

fn needed(settings: &Settings) -> usize {
    let to_servers =
        settings.upstreams.iter().map(|upstream| upstream.max_connections.saturating_mul(upstream.servers.len()));
    to_servers.fold(settings.limits.connections.saturating_add(OTHERS), usize::saturating_add)
}
