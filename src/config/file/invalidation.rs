//! What a route's unsafe requests purge, and the method PURGE.

use ipnet::IpNet;
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::OneOrMany;
use crate::config::scalar::Written;
use crate::config::settings::Template;
use crate::config::values::PurgeGlob;

/// What is purged when an unsafe request succeeds.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("minProperties" = 1))]
pub(in crate::config) struct Invalidation {
    /// Tags. `{host}`, `{path}`, and `{name}` for a group of the route's regular expression stand for the request's.
    pub(in crate::config) tag: Option<OneOrMany<Template>>,
    /// Beginnings of `http://host/path`, of `host/path`, or of a path on any host; places as in `tag`.
    pub(in crate::config) prefix: Option<OneOrMany<Template>>,
    /// Globs of the same three kinds.
    pub(in crate::config) glob: Option<OneOrMany<PurgeGlob>>,
    /// Regular expressions that are found in `host/path`.
    pub(in crate::config) regex: Option<OneOrMany<Regex>>,
    /// Whether what matches becomes stale instead of going. Default: false.
    pub(in crate::config) soft: Option<bool>,
}

/// The method PURGE on the listeners of clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["allow"]))]
pub(in crate::config) struct PurgeMethod {
    /// Addresses and networks of clients that may. Without the table, PURGE is forwarded like any unknown method.
    #[schemars(length(min = 1))]
    pub(in crate::config) allow: Option<Vec<Written<IpNet>>>,
    /// Whether a token of the control API with the scope `purge` is asked for too. Default: true.
    pub(in crate::config) token: Option<bool>,
}
