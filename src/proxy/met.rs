//! A request between the first look at it and its answer.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use http::Method;
use http::request::Parts;

use super::admit::Admitted;
use super::site::{Site, SiteRoute};
use crate::cache::key::CacheKey;
use crate::policy::facts::RequestFacts;
use crate::policy::time::Timestamp;

/// A request that is read and not answered yet.
#[derive(Debug)]
pub struct Unanswered {
    pub(super) parts: Arc<Parts>,
    /// `None`: nobody has met it yet. Boxed: it is handed on several times.
    pub(super) met: Option<Box<Met>>,
}

impl Unanswered {
    /// As it was read.
    pub fn new(parts: Parts) -> Self {
        Unanswered { parts: Arc::new(parts), met: None }
    }

    /// Its method.
    pub fn method(&self) -> &Method {
        &self.parts.method
    }

    /// Its head.
    pub fn into_parts(self) -> Parts {
        Arc::unwrap_or_clone(self.parts)
    }
}

/// What is known of a request that was admitted and routed, and may be answered.
#[derive(Debug)]
pub(super) struct Met {
    pub(super) site: Arc<Site>,
    pub(super) route: Arc<SiteRoute>,
    pub(super) admitted: Admitted,
    pub(super) known: Known,
    /// When its head had arrived.
    pub(super) started: Instant,
    pub(super) now: Timestamp,
}

/// What is found out about a request when that is first asked for: it may be looked up several times.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) key: OnceLock<CacheKey>,
    pub(super) facts: OnceLock<RequestFacts>,
}
