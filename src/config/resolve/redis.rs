//! `[cache.redis]` resolved.

use super::Resolver;
use crate::config::file;
use crate::config::scalar::{Deadline, Size, Written};
use crate::config::settings::redis::{Redis, RedisServer};
use crate::config::values::redis::{RedisPrefix, RedisUrl};

impl Resolver<'_> {
    pub(super) fn redis(&self, written: file::Redis) -> Redis {
        let sentinel_password = written.sentinel_password.map(|Written(secret)| secret.0).filter(|it| !it.is_empty());
        let ca_file = written.ca_file.map(|path| self.path(path));
        let complete = |Written(RedisUrl(server)): Written<RedisUrl>| RedisServer {
            ca_file: ca_file.clone(),
            sentinel_password: sentinel_password.clone(),
            ..server
        };
        let bodies = written.url.map(complete);
        let purging = written.purge_url.map(complete).or_else(|| bodies.clone());
        let usual = Redis::default();
        Redis {
            bodies,
            purging,
            node: written.node.map(|Written(name)| name.0),
            prefix: written.prefix.map_or(usual.prefix, |Written(RedisPrefix(prefix))| prefix),
            timeout: written.timeout.map_or(usual.timeout, |Written(Deadline(span))| span),
            connections: written.connections.unwrap_or(usual.connections),
            max_object: written.max_object.map_or(usual.max_object, |Written(Size(bytes))| bytes),
            collapse: written.collapse.unwrap_or(usual.collapse),
            strict: written.strict.unwrap_or(usual.strict),
            purge_history: written.purge_history.unwrap_or(usual.purge_history),
        }
    }
}
