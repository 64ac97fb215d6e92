//! Settings of rewrites and redirects of a route.

use http::{HeaderValue, StatusCode};
use regex::Regex;

/// What a route changes between the URL of the client and that of the upstream.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// Taken from the path's beginning, in whole segments.
    pub strip_prefix: Option<String>,
    /// What a pattern matches in the path, and what comes in its place.
    pub replace: Option<(Regex, String)>,
    /// Put before the path.
    pub add_prefix: Option<String>,
    /// Sent as Host where the upstream's settings keep the client's.
    pub host: Option<HeaderValue>,
    /// Domains of cookies (without leading dot), and what comes in their place; empty: none.
    pub cookie_domains: Vec<(String, String)>,
}

/// Requests of a route are answered by a redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Where to; `{scheme}`, `{host}`, `{path}` and `{query}` (with its `?`) stand for those of the request.
    pub to: String,
    /// A status from 301 to 308.
    pub status: StatusCode,
}

impl Redirect {
    /// What is filled in.
    pub const PLACES: [&str; 4] = ["{scheme}", "{host}", "{path}", "{query}"];
}
