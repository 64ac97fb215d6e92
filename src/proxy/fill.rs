//! Step 9: a body streams into the cache while clients read it.

use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body::{Body as _, Frame};

use super::guard::Place;
use super::lease::Lease;
use super::{Proxy, part};
use crate::cache::Cache;
use crate::cache::body::Filler;
use crate::cache::collapse::Lead;
use crate::cache::disk::spill::Spill;
use crate::cache::entry::StoredResponse;
use crate::cache::key::CacheKey;
use crate::cache::parts::StoredParts;
use crate::cache::sessions::{SessionMoment, SessionName};
use crate::content::etag;
use crate::policy::reason::NoStoreReason;
use crate::telemetry::route_metrics::RouteMetrics;
use crate::upstream::{UpstreamBody, UpstreamError};

/// A fill under way.
#[derive(Debug)]
pub(super) struct Fill {
    /// Where it is stored.
    pub proxy: Arc<Proxy>,
    /// Under which key.
    pub key: CacheKey,
    /// What is filled.
    pub response: Arc<StoredResponse>,
    /// The hand that fills its body, or the newest of its parts.
    pub filler: Filler,
    /// Which bytes of the whole a 206 brings; another number of them than that is not what it says.
    pub range: Option<Range<u64>>,
    /// Beyond this many bytes it is passed on and not stored.
    pub max_object: u64,
    /// Most variants kept for the key.
    pub max_variants: usize,
    /// For how long a key that proved too large is not collapsed.
    pub uncacheable_memory: Duration,
    /// The session that it is for alone, and when its fetch began.
    pub session: Option<(SessionName, SessionMoment)>,
    /// Where it is counted when in the end it is not stored.
    pub metrics: Arc<RouteMetrics>,
    /// What keeps other nodes from fetching it as well.
    pub _lease: Option<Arc<Lease>>,
}

/// Bytes of the budget taken at a time.
const STEP: u64 = 64 * 1024;
/// What a body takes of memory while it goes to disk.
const SPILLED: u64 = 2 << 20;

/// Largest body that is kept in memory, where the disk does not take it.
const MEMORY_OBJECT: u64 = 64 << 20;

/// A share of the memory budget, given back when the fill is over.
struct Reservation<'a> {
    proxy: &'a Proxy,
    bytes: u64,
}

impl Reservation<'_> {
    /// Whether there is room for a body of `length` bytes.
    fn covers(&mut self, length: u64) -> bool {
        while self.bytes < length {
            if !self.proxy.cache.memory.reserve(STEP) {
                return false;
            }
            self.bytes += STEP;
        }
        true
    }

    fn shrink_to(&mut self, bytes: u64) {
        self.proxy.cache.memory.release(self.bytes.saturating_sub(bytes));
        self.bytes = self.bytes.min(bytes);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.proxy.cache.memory.release(self.bytes);
    }
}

impl Fill {
    /// Goes on by itself: whoever asked may leave. `place` is held until the body has ended.
    pub(super) fn begin(self, mut body: UpstreamBody, lead: Lead, place: Option<Place>) {
        if body.is_end_stream() && self.range.is_none() {
            // Nothing to wait for: stored before the answer is sent.
            return self.store(None, None, etag::Hasher::new().digest(), lead);
        }
        let mut run = Box::pin(async move {
            self.run(&mut body, lead).await;
            drop(place);
        });
        // A small body has mostly come with its head: then it is stored at once, and needs no task.
        if run.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::spawn(run);
        }
    }

    async fn run(mut self, body: &mut UpstreamBody, lead: Lead) {
        let proxy = self.proxy.clone();
        let mut reservation = Reservation { proxy: &proxy, bytes: 0 };
        let mut hasher = etag::Hasher::new();
        let (mut last, mut trailers) = (None, None);
        let mut length = 0;
        let mut keeping = true;
        let mut spill: Option<Spill> = None;
        loop {
            if !poll_fn(|cx| self.filler.poll_room(cx)).await {
                return; // nobody reads, nothing is kept
            }
            match next(body).await {
                None => break,
                Some(Err(error)) => {
                    tracing::debug!(key = self.key.as_str(), %error, "fill cut short");
                    self.metrics.not_stored(NoStoreReason::Incomplete);
                    if keeping && spill.is_none() {
                        self.keep_part(lead);
                    }
                    return; // dropping the filler tells every reader
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        length += data.len() as u64;
                        if self.expects(|expected| length > expected) {
                            return self.metrics.not_stored(NoStoreReason::Incomplete);
                        }
                        if keeping && spill.is_none() {
                            spill = self.spill_if_due(length, &mut reservation).await;
                        }
                        if keeping && let Err(reason) = self.fits(length, spill.is_some(), &mut reservation) {
                            keeping = false;
                            self.give_up_storing(reason, &lead);
                        }
                        if keeping {
                            hasher.update(&data);
                        }
                        let ends = keeping && body.is_end_stream();
                        if !ends {
                            self.filler.push(data.clone());
                        }
                        if keeping && let Some(spilling) = &mut spill {
                            match spilling.write(&data).await {
                                Ok(there) => self.filler.spilled(there),
                                Err(_) => {
                                    keeping = false;
                                    spill = None;
                                    self.give_up_storing(NoStoreReason::NoRoom, &lead);
                                }
                            }
                        }
                        if ends {
                            last = Some(data);
                            break;
                        }
                    }
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
        }
        if self.expects(|expected| length != expected) {
            return self.metrics.not_stored(NoStoreReason::Incomplete);
        }
        match spill {
            Some(spill) if keeping => self.store_on_disk(spill, last, trailers, hasher.digest(), lead).await,
            _ if keeping => self.store(last, trailers, hasher.digest(), lead),
            _ => {
                // Where the disk failed at the very end.
                last.into_iter().for_each(|last| self.filler.push(last));
                self.filler.finish(trailers);
            }
        }
    }

    /// Has the body written to disk from now on, where it has grown too large for memory and may leave this process.
    /// What came so far goes first.
    async fn spill_if_due(&mut self, length: u64, reservation: &mut Reservation<'_>) -> Option<Spill> {
        let disk = self.proxy.cache.lower.disk()?.clone();
        let is_bound = self.key.stays_here() || self.range.is_some();
        if is_bound || (length <= disk.memory_object() && reservation.covers(length)) {
            return None;
        }
        if length > self.max_object.min(disk.max_object()) {
            return None;
        }
        let mut spill = disk.spill(&self.key, &self.response).await?;
        let mut there = 0;
        for piece in self.filler.pieces() {
            there = spill.write(&piece).await.ok()?;
        }
        self.filler.spill(spill.file());
        self.filler.spilled(there);
        reservation.shrink_to(SPILLED);
        Some(spill)
    }

    /// Whether a body of so many bytes can still be stored.
    fn fits(&self, length: u64, spilled: bool, reservation: &mut Reservation<'_>) -> Result<(), NoStoreReason> {
        let most = match self.proxy.cache.lower.disk() {
            None => self.max_object,
            Some(disk) if spilled => self.max_object.min(disk.max_object()),
            // The bound is the disk's, which is off.
            Some(_) => self.max_object.min(MEMORY_OBJECT),
        };
        match length {
            _ if length > most => Err(NoStoreReason::TooLarge),
            _ if !spilled && !reservation.covers(length) => Err(NoStoreReason::NoRoom),
            _ => Ok(()),
        }
    }

    /// RFC 9111 §3.3: what has come of a body that breaks off is kept as a part, where a strong validator will tell
    /// whether the rest is of the same.
    fn keep_part(self, lead: Lead) {
        let (response, received) = (&self.response, self.filler.received());
        let announced = || response.fields.get_bytes(&header::CONTENT_LENGTH).map(str::from_utf8)?.ok()?.parse().ok();
        let complete_length = response.complete_length().or_else(announced);
        let start = self.range.as_ref().map_or(0, |range| range.start);
        let end = start + received.len().unwrap_or(0);
        let Some(complete_length) = complete_length.filter(|length| (start + 1..*length).contains(&end)) else {
            return;
        };
        let gives_ranges = response.fields.get_bytes(&header::ACCEPT_RANGES) != Some(b"none");
        let is_page = response.facts.status == StatusCode::OK && part::has_strong_tag(response);
        let cache = &self.proxy.cache;
        let stored = cache.memory.get(&self.key).unwrap_or_default();
        // It must not push out a whole, stale or not.
        let others = stored.variants().iter().any(|it| it.selection() == response.selection() && it.parts().is_none());
        if gives_ranges && is_page && !others {
            let part = response.in_part(StoredParts::new(start..end, complete_length, received, self.parts_object()));
            cache.insert(&self.key, Arc::new(part), self.max_variants);
        }
        drop(lead); // before the filler: who sees the cut and asks again does not join this
    }

    /// Most bytes kept of a representation in part: parts are in memory alone.
    fn parts_object(&self) -> u64 {
        match self.proxy.cache.lower.disk() {
            None => self.max_object,
            Some(_) => self.max_object.min(MEMORY_OBJECT),
        }
    }

    fn expects(&self, otherwise: impl FnOnce(u64) -> bool) -> bool {
        self.range.as_ref().is_some_and(|range| otherwise(range.end - range.start))
    }

    /// It has grown too large: those who read it get it, others fetch for themselves, at once.
    fn give_up_storing(&mut self, reason: NoStoreReason, lead: &Lead) {
        self.metrics.not_stored(reason);
        self.filler.stop_keeping();
        lead.let_go();
        let until = self.proxy.clock.now() + self.uncacheable_memory;
        self.proxy.cache.flights.remember_uncacheable(&self.key, until);
    }

    /// As [`Fill::store`], where the body lies on disk.
    async fn store_on_disk(
        mut self,
        spill: Spill,
        last: Option<Bytes>,
        trailers: Option<HeaderMap>,
        digest: u128,
        lead: Lead,
    ) {
        let response = with_validator(self.response.clone(), digest);
        let Some(stored) = spill.finish(&self.key, &response, trailers.clone()).await else {
            self.metrics.not_stored(NoStoreReason::NoRoom);
            self.filler.stop_keeping();
            last.into_iter().for_each(|last| self.filler.push(last));
            return self.filler.finish(trailers);
        };
        let cache = &self.proxy.cache;
        let held = cache.hold(&self.key, response.clone(), self.max_variants);
        self.filler.finish_on_disk(stored, trailers);
        if !keeps(cache, &self.key, held, self.session) {
            cache.lower.remove(&self.key, &response);
            self.metrics.not_stored(NoStoreReason::Purged);
        }
        drop(lead);
    }

    /// Stored first, then handed to the readers: whoever has the whole response and asks again gets a hit.
    fn store(mut self, last: Option<Bytes>, trailers: Option<HeaderMap>, digest: u128, lead: Lead) {
        let most = self.parts_object();
        let mut response = with_validator(self.response, digest);
        if let Some((parts, range)) = response.parts().zip(self.range) {
            // What it was combined with to answer from is stored already, or has gone since.
            let new = StoredParts::new(range, parts.complete_length(), self.filler.body(), most);
            response = Arc::new(response.in_part(new));
        }
        let cache = &self.proxy.cache;
        let held = cache.hold(&self.key, response, self.max_variants);
        if let Some(last) = last {
            self.filler.push(last);
        }
        self.filler.finish(trailers);
        if !keeps(cache, &self.key, held, self.session) {
            self.metrics.not_stored(NoStoreReason::Purged);
        }
        drop(lead);
    }
}

/// Keeps what memory holds now that its body is complete, unless it was purged or its session ended meanwhile. Whether
/// it does.
fn keeps(
    cache: &Cache,
    key: &CacheKey,
    held: Option<Arc<StoredResponse>>,
    session: Option<(SessionName, SessionMoment)>,
) -> bool {
    // Asked after the insertion: a session that ends later finds what is stored for it.
    let goes_on = session.is_none_or(|(name, began)| cache.sessions.goes_on(name.as_str(), began));
    if !goes_on {
        cache.memory.remove(key);
    }
    goes_on && held.is_some_and(|held| cache.keep(key, held))
}

/// Gives a response without any validator an entity tag of its content, so that clients can validate it with us.
fn with_validator(response: Arc<StoredResponse>, digest: u128) -> Arc<StoredResponse> {
    let validated = [header::ETAG, header::LAST_MODIFIED].iter().any(|name| response.fields.get_bytes(name).is_some());
    if validated || response.parts().is_some() || response.facts.status != StatusCode::OK {
        return response;
    }
    let mut headers = response.fields.unpack(1);
    headers.insert(header::ETAG, etag::generated(digest));
    Arc::new(response.revised(response.facts.clone(), response.selection().clone(), &headers, true))
}

async fn next(body: &mut UpstreamBody) -> Option<Result<Frame<Bytes>, UpstreamError>> {
    poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}
