//! What a route asks of a request before anything is looked up for it: an allowed network, a rate, a user, another
//! program's word. And the places at its upstream, which only what is forwarded needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::admit::{Admitted, contains};
use super::basic_auth::BasicAuth;
use super::client::Client;
use super::denial::Denial;
use super::forward_auth::ForwardAuth;
use super::rate::{Key, RateLimiter, address_key, common_key, value_key};
use super::refusal::Refusal;
use crate::cache::key::cookie;
use crate::config::settings::{Access, Concurrency, RateKey, Route, RouteLimits};
use crate::upstream::PoolError;

/// A place at the upstream, kept until nobody holds it: the request whose it is, and a fetch that goes on without that.
pub(super) type Place = Arc<OwnedSemaphorePermit>;

/// A route's demands.
#[derive(Debug)]
pub struct Guard {
    access: Access,
    basic: Option<BasicAuth>,
    forward: Option<ForwardAuth>,
    counted: Arc<Counted>,
}

/// What goes on counting when the settings are loaded anew, as long as the bounds are the same.
#[derive(Debug)]
struct Counted {
    limits: RouteLimits,
    rate: Option<RateLimiter>,
    places: Option<Places>,
}

/// Why a route's demands can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The file of users can't be read.
    #[error("{}: {why}", file.display())]
    Users {
        /// Which.
        file: std::path::PathBuf,
        /// Why.
        why: String,
    },
    /// The server to ask can't be set up.
    #[error(transparent)]
    Forward(#[from] PoolError),
}

impl Guard {
    /// Of a route, with what `before` has counted; `None`: it asks for nothing.
    ///
    /// # Errors
    /// A file or server that it names can't be used.
    pub fn of(route: &Route, before: Option<&Guard>) -> Result<Option<Arc<Guard>>, GuardError> {
        if route.access.is_open() && route.limits == RouteLimits::default() {
            return Ok(None);
        }
        let kept = before.map(|before| before.counted.clone()).filter(|kept| kept.limits == route.limits);
        let counted = kept.unwrap_or_else(|| {
            Arc::new(Counted {
                limits: route.limits.clone(),
                rate: route.limits.rate.as_ref().map(|(limit, _)| RateLimiter::new(*limit)),
                places: route.limits.concurrency.map(Places::new),
            })
        });
        Ok(Some(Arc::new(Guard {
            basic: route.access.basic.as_ref().map(BasicAuth::new).transpose()?,
            forward: route.access.forward.as_ref().map(ForwardAuth::new).transpose()?,
            access: route.access.clone(),
            counted,
        })))
    }

    /// Whether a request may go on; adds to it what was learned of its client. The cheap questions come first.
    pub(super) async fn check(
        &self,
        client: &Client,
        admitted: &Admitted,
        request: &mut Parts,
    ) -> Result<(), Box<Denial>> {
        let Access { allow, deny, .. } = &self.access;
        if contains(deny, admitted.client) || (!allow.is_empty() && !contains(allow, admitted.client)) {
            return Err(Denial::of(Refusal::Denied));
        }
        if let (Some(rate), Some((_, key))) = (&self.counted.rate, &self.counted.limits.rate) {
            rate.check(rate_key(key, admitted, request))?;
        }
        if let Some(basic) = &self.basic {
            basic.check(&mut request.headers).await?;
        }
        match &self.forward {
            Some(forward) => forward.check(client, admitted, request).await,
            None => Ok(()),
        }
    }

    /// A place at the upstream. `Err`: too many wait already, or it took too long.
    pub(super) async fn place(&self) -> Result<Option<Place>, NoPlace> {
        match &self.counted.places {
            Some(places) => places.take().await.map(Arc::new).map(Some),
            None => Ok(None),
        }
    }

    /// Bytes a second of a response.
    pub(super) fn bandwidth(&self) -> Option<u64> {
        self.counted.limits.bandwidth
    }
}

fn rate_key(key: &RateKey, admitted: &Admitted, request: &Parts) -> Key {
    let by_address = || address_key(admitted.client);
    match key {
        RateKey::Address => by_address(),
        RateKey::Route => common_key(),
        RateKey::Header(name) => request.headers.get(name).map_or_else(by_address, |value| value_key(value.as_bytes())),
        RateKey::Cookie(name) => cookie(&request.headers, name).map_or_else(by_address, value_key),
    }
}

/// There is no place at the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoPlace;

/// Places at an upstream, and a queue for them.
#[derive(Debug)]
struct Places {
    settings: Concurrency,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Places {
    fn new(settings: Concurrency) -> Self {
        let most = settings.most.min(Semaphore::MAX_PERMITS);
        Places { settings, free: Arc::new(Semaphore::new(most)), waiting: AtomicUsize::new(0) }
    }

    async fn take(&self) -> Result<OwnedSemaphorePermit, NoPlace> {
        if let Ok(place) = self.free.clone().try_acquire_owned() {
            return Ok(place);
        }
        let _waiting = Waiting::begin(&self.waiting, self.settings.queue)?;
        match tokio::time::timeout(self.settings.wait, self.free.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(NoPlace),
        }
    }
}

/// A request in the queue; it leaves when dropped, whatever becomes of it.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize, most: usize) -> Result<Self, NoPlace> {
        let one = Waiting(waiting);
        if waiting.fetch_add(1, Ordering::AcqRel) < most { Ok(one) } else { Err(NoPlace) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
