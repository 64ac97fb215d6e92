//! The tables `rewrite` and `redirect` of a route.

use http::HeaderValue;
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Ordered;
use crate::config::scalar::Written;
use crate::config::values::{ParameterName, UrlPath};

/// What changes between the URL of the client and that of the upstream.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Rewrite {
    /// Taken from the path's beginning, in whole segments. Default: nothing.
    pub(in crate::config) strip_prefix: Option<Written<UrlPath>>,
    /// What is replaced in the path: a regular expression. Default: nothing.
    pub(in crate::config) pattern: Option<Written<Regex>>,
    /// What comes in its place; `$1` or `${name}` stand for groups. Default: nothing.
    pub(in crate::config) replacement: Option<String>,
    /// Put before the path. Default: nothing.
    pub(in crate::config) add_prefix: Option<Written<UrlPath>>,
    /// Sent as Host instead of the client's, where the upstream has `host = "client"`. Default: none.
    pub(in crate::config) host: Option<Written<HeaderValue>>,
    /// Domains of cookies that the upstream sets, and what comes in their place; empty: none. Default: none.
    pub(in crate::config) cookie_domains: Ordered<ParameterName, String>,
}

/// Requests are answered by a redirect.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["to"]))]
pub(in crate::config) struct Redirect {
    /// Where to; `{scheme}`, `{host}`, `{path}` and `{query}` (with its `?`) stand for those of the request.
    pub(in crate::config) to: Option<Written<HeaderValue>>,
    /// 301, 302, 303, 307 or 308. Default: 308.
    #[schemars(range(min = 301, max = 308))]
    pub(in crate::config) status: Option<u16>,
}
