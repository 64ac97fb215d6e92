//! What a route asks of its clients before anything else is done: who they are, and how much they may.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::uri::PathAndQuery;
use ipnet::IpNet;

use super::Upstream;

/// How many requests over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// So many ...
    pub count: NonZeroU32,
    /// ... in this time.
    pub per: Duration,
    /// Most that may come at once.
    pub burst: NonZeroU32,
}

/// What has a rate of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateKey {
    /// The client's address, IPv6 by its /64 network.
    Address,
    /// All requests of the route together.
    Route,
    /// The value of a field.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(String),
}

/// Bounds of a route. `None`: no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteLimits {
    /// Requests over time, with what they are counted by.
    pub rate: Option<(RateLimit, RateKey)>,
    /// Requests that the upstream is asked at once.
    pub concurrency: Option<Concurrency>,
    /// Bytes a second of one response.
    pub bandwidth: Option<u64>,
}

/// Bound of what an upstream is asked at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Most at once.
    pub most: usize,
    /// Most that wait beyond.
    pub queue: usize,
    /// Longest wait.
    pub wait: Duration,
}

/// Who may use a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Access {
    /// Networks that may; empty: all.
    pub allow: Vec<IpNet>,
    /// Networks that may not, before `allow`.
    pub deny: Vec<IpNet>,
    /// User and password.
    pub basic: Option<BasicAuth>,
    /// Another program's word.
    pub forward: Option<ForwardAuth>,
}

/// User and password (RFC 7617).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicAuth {
    /// Lines of `user:hash`.
    pub file: PathBuf,
    /// What browsers show.
    pub realm: String,
    /// Whether the app gets the credentials.
    pub pass: bool,
}

/// Another program's word.
#[derive(Clone, Debug, PartialEq)]
pub struct ForwardAuth {
    /// The server to ask, with its deadlines.
    pub server: Arc<Upstream>,
    /// What to ask for.
    pub target: PathAndQuery,
    /// Fields of its answer that the app gets.
    pub headers: Vec<HeaderName>,
    /// How long a 2xx counts; zero: for one request.
    pub cache: Duration,
}

impl Access {
    /// Whether anything is asked at all.
    pub fn is_open(&self) -> bool {
        *self == Access::default()
    }
}
