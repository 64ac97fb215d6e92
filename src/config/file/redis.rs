//! `[cache.redis]` as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::scalar::{Deadline, Size, Written};
use crate::config::values::redis::{RedisPrefix, RedisUrl};
use crate::config::values::{Name, Secret};

/// Redis, which several larders share: a tier for stored responses, and the way purges travel between them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Redis {
    /// Where stored responses are kept: `redis://user:password@host:6379/0`, `rediss://` for TLS, `unix:///path`,
    /// `redis+sentinel://host,host/master`, `redis+cluster://host,host`. Default: none.
    pub(in crate::config) url: Option<Written<RedisUrl>>,
    /// Where purges travel; alone, Redis carries purges and no responses. Default: as `url`.
    pub(in crate::config) purge_url: Option<Written<RedisUrl>>,
    /// PEM file of the certificate authorities trusted in the place of the system's. Default: none.
    pub(in crate::config) ca_file: Option<String>,
    /// Password of the sentinels, which is another than that of the servers they name. Default: none.
    pub(in crate::config) sentinel_password: Option<Written<Secret>>,
    /// What this node is called in receipts of purges. Default: host name and a random part.
    pub(in crate::config) node: Option<Written<Name>>,
    /// What every key in Redis begins with; larders with the same prefix share what they store. Default: larder.
    pub(in crate::config) prefix: Option<Written<RedisPrefix>>,
    /// Longest time that an operation may take. Default: 20ms.
    pub(in crate::config) timeout: Option<Written<Deadline>>,
    /// Connections for stored responses. Default: 2.
    #[schemars(range(min = 1, max = 64))]
    pub(in crate::config) connections: Option<usize>,
    /// Larger responses are not kept in Redis. Default: 1MiB.
    pub(in crate::config) max_object: Option<Written<Size>>,
    /// Whether all nodes together fetch a URL once. Default: false.
    pub(in crate::config) collapse: Option<bool>,
    /// Whether a node that cannot know what was purged forwards instead of serving what it holds. Default: false.
    pub(in crate::config) strict: Option<bool>,
    /// Purges kept for nodes that are away; a node that missed more drops what it holds. Default: 10000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) purge_history: Option<usize>,
}
