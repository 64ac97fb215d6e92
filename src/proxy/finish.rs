//! Step 11: metrics and log, when the body has ended.

use std::sync::Arc;
use std::time::Instant;

use http::Method;

use super::guard::Place;
use crate::telemetry::Telemetry;
use crate::telemetry::record::{Kept, RequestRecord};
use crate::telemetry::route_metrics::RouteMetrics;
use crate::upstream::Meter;

/// Holds what is known of a request until its response has ended, then records it: on drop, whatever happened.
#[derive(Debug)]
pub struct Finish {
    telemetry: Arc<Telemetry>,
    metrics: Arc<RouteMetrics>,
    started: Instant,
    record: RequestRecord,
    /// Where there is an access log.
    told: Option<Kept>,
    /// Of the request's body, which may end after the response has begun.
    meter: Option<Meter>,
    completed: bool,
    /// The request's place at the upstream, which the next one gets after it.
    place: Option<Place>,
}

impl Finish {
    /// For a request whose response is about to be sent. `record` lacks what only the end tells.
    pub fn new(
        telemetry: Arc<Telemetry>,
        metrics: Arc<RouteMetrics>,
        started: Instant,
        record: RequestRecord,
        told: Option<Kept>,
    ) -> Self {
        Finish { telemetry, metrics, started, record, told, meter: None, completed: false, place: None }
    }

    /// Whether the request is a HEAD.
    pub(super) fn answers_head(&self) -> bool {
        self.record.method == Method::HEAD
    }

    /// Takes the bytes of the request's body from here at the end.
    pub(super) fn counts(mut self, meter: Option<Meter>) -> Self {
        self.meter = meter;
        self
    }

    /// Keeps a place at the upstream until the end.
    pub(super) fn keeps(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// Bytes were handed to the connection.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.record.bytes_out += bytes as u64;
    }

    /// The body failed.
    pub(super) fn failed(&mut self) {
        self.completed = false;
    }

    /// All was handed over.
    pub(super) fn completed(&mut self) {
        self.completed = true;
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.record.duration = self.started.elapsed();
        self.record.bytes_in = self.meter.as_ref().map_or(0, Meter::bytes);
        self.record.cut = !self.completed;
        let told = || self.told.as_ref().map(Kept::told).unwrap_or_default();
        self.telemetry.record(&self.metrics, &self.record, told);
    }
}
