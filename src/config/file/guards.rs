//! The tables `limits` and `access` of a route.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::scalar::{Deadline, Size, Span, Written};
use crate::config::settings::RateKey;
use crate::config::values::{AuthUrl, EditedField, Rate};

/// Bounds of a route.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RouteLimits {
    /// Requests over time, e.g. `10/s` or `100/m`. Default: no bound.
    pub(in crate::config) rate: Option<Written<Rate>>,
    /// Requests of the rate that may come at once. Default: a second's worth.
    #[schemars(range(min = 1))]
    pub(in crate::config) burst: Option<u32>,
    /// What has a rate of its own: `address`, `route` (all requests together), `header:NAME` or `cookie:NAME`.
    /// Requests without the field or cookie count by their address. Default: address.
    pub(in crate::config) rate_by: Option<Written<RateKey>>,
    /// Most requests that the upstream is asked at once; hits do not count. Default: no bound.
    #[schemars(range(min = 1))]
    pub(in crate::config) concurrency: Option<usize>,
    /// Most requests that wait beyond `concurrency`; further ones get 503. Default: 0.
    pub(in crate::config) queue: Option<usize>,
    /// Longest wait in that queue. Default: 5s.
    pub(in crate::config) queue_timeout: Option<Written<Deadline>>,
    /// Bytes a second of one response. Default: no bound.
    pub(in crate::config) bandwidth: Option<Written<Size>>,
}

/// Who may use a route.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Access {
    /// Addresses and networks that may; others get 403. Default: all.
    #[schemars(length(min = 1))]
    pub(in crate::config) allow: Option<Vec<Written<IpNet>>>,
    /// Addresses and networks that may not; goes before `allow`. Default: none.
    pub(in crate::config) deny: Option<Vec<Written<IpNet>>>,
    /// User and password (RFC 7617). Default: not asked for.
    pub(in crate::config) basic: Option<Basic>,
    /// Another program decides. Default: not asked.
    pub(in crate::config) forward: Option<Forward>,
}

/// User and password.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["file"]))]
pub(in crate::config) struct Basic {
    /// File of lines `user:hash`, as `htpasswd -B` writes them: bcrypt or Argon2.
    pub(in crate::config) file: Option<String>,
    /// What browsers show when they ask. Default: larder.
    pub(in crate::config) realm: Option<String>,
    /// Whether the app gets the Authorization field; its answers are then stored only where they say so. Default: false.
    pub(in crate::config) pass: Option<bool>,
}

/// Another program decides who may.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["url"]))]
pub(in crate::config) struct Forward {
    /// Asked by GET before every request; 2xx lets it through, any other answer goes to the client.
    pub(in crate::config) url: Option<Written<AuthUrl>>,
    /// Fields of its answer that the app gets, in place of the client's own. Default: none.
    pub(in crate::config) headers: Option<Vec<Written<EditedField>>>,
    /// Longest wait for its answer; then the request is refused. Default: 5s.
    pub(in crate::config) timeout: Option<Written<Deadline>>,
    /// How long a 2xx counts for the same credentials, method and URL. Default: 0, every request is asked for.
    pub(in crate::config) cache: Option<Written<Span>>,
}
