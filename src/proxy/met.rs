//! A request between the first look at it and its answer.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use http::Method;
use http::request::Parts;

use super::admit::Admitted;
use super::device;
use super::site::{Site, SiteRoute};
use crate::cache::key::CacheKey;
use crate::policy::facts::RequestFacts;
use crate::policy::present::Names;
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

/// What is found out about a request, once: it may be looked up several times, and is not as it came any more.
#[derive(Debug)]
pub(super) struct Known {
    /// The class of device that asks, where it is part of the key.
    pub(super) device: Option<Box<str>>,
    /// What fields the request may have.
    pub(super) names: Names,
    pub(super) key: OnceLock<CacheKey>,
    pub(super) facts: OnceLock<RequestFacts>,
}

impl Known {
    /// Of a request whose route was just found. The class of device is told in one of its fields.
    pub(super) fn of(route: &SiteRoute, request: &mut Parts) -> Self {
        let devices = route.route.devices.as_ref();
        let device = devices.map(|devices| device::classify(devices, &mut request.headers).into());
        Known { device, names: Names::of(&request.headers), key: OnceLock::new(), facts: OnceLock::new() }
    }
}
