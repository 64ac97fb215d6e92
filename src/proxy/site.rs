//! What a request is answered by: the settings with everything that they name set up. Swapped whole by a reload.

use std::sync::Arc;

use http::HeaderName;

use super::guard::{Guard, GuardError};
use super::purge_method::PurgeGate;
use super::purge_rules;
use crate::cache::key::{CacheKey, TargetUri};
use crate::cache::purge::BadTarget;
use crate::cache::searches::Searches;
use crate::config::settings::{Route, Settings};
use crate::policy::rules::KeyRules;
use crate::telemetry::Telemetry;
use crate::telemetry::route_metrics::RouteMetrics;
use crate::upstream::{Pool, PoolError};

/// A running set of settings. A request keeps the one it started with.
#[derive(Debug)]
pub struct Site {
    /// The settings.
    pub settings: Arc<Settings>,
    /// The routes, in order.
    pub routes: Vec<Arc<SiteRoute>>,
    /// Figures of requests that match no route or were refused before.
    pub unrouted: Arc<RouteMetrics>,
    /// Fields in which listeners tell the app who their clients are; no client may send them.
    pub subject_fields: Vec<HeaderName>,
    /// Who may purge by the method PURGE; `None`: it is a method like any other.
    pub purge: Option<PurgeGate>,
    /// The different ways in which routes derive keys from URLs; a purge by URL has to try them all.
    key_rules: Vec<KeyRules>,
}

/// A route with its upstream and its figures.
#[derive(Debug)]
pub struct SiteRoute {
    /// The route as configured.
    pub route: Arc<Route>,
    /// The connections to its upstream.
    pub pool: Arc<Pool>,
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// Its figures.
    pub metrics: Arc<RouteMetrics>,
    /// What it asks of clients; `None`: nothing.
    pub guard: Option<Arc<Guard>>,
}

/// Why settings can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// An upstream.
    #[error(transparent)]
    Upstream(#[from] PoolError),
    /// What a route asks of its clients.
    #[error("route `{route}`: {source}")]
    Guard {
        /// Which route.
        route: String,
        /// What is wrong.
        #[source]
        source: GuardError,
    },
    /// What a route's unsafe requests purge.
    #[error("route `{route}`, `invalidate`: {source}")]
    Invalidate {
        /// Which route.
        route: String,
        /// What is wrong.
        #[source]
        source: BadTarget,
    },
}

impl Site {
    /// Sets up everything that the settings name. Upstreams that are the same as in `previous` keep their connections.
    ///
    /// # Errors
    /// An upstream cannot be set up, e.g. its certificate authorities cannot be read.
    pub fn new(settings: Arc<Settings>, previous: Option<&Site>, telemetry: &Telemetry) -> Result<Site, SiteError> {
        let pools = settings
            .upstreams
            .iter()
            .map(|upstream| match previous.and_then(|site| site.pool_of(upstream)) {
                Some(pool) => Ok(pool),
                None => {
                    let pool = Pool::new(upstream.clone())?;
                    previous.and_then(|site| site.former(&upstream.name)).inspect(|former| pool.keep_drained(former));
                    Ok(pool)
                }
            })
            .collect::<Result<Vec<_>, PoolError>>()?;
        let routes: Vec<_> = settings
            .routes
            .iter()
            .map(|route| {
                let pool = pools[route.upstream].clone();
                let upstream: Arc<str> = pool.settings().name.as_str().into();
                let metrics = Arc::new(telemetry.metrics.route(&route.name, &upstream));
                purge_rules::check(route)
                    .map_err(|source| SiteError::Invalidate { route: route.name.clone(), source })?;
                let guard = Guard::of(route, previous.and_then(|site| site.guard_of(&route.name)))
                    .map_err(|source| SiteError::Guard { route: route.name.clone(), source })?;
                Ok(Arc::new(SiteRoute { route: route.clone(), pool, upstream, metrics, guard }))
            })
            .collect::<Result<_, SiteError>>()?;
        let mut key_rules: Vec<KeyRules> = Vec::new();
        for route in &settings.routes {
            if !key_rules.contains(&route.key) {
                key_rules.push(route.key.clone());
            }
        }
        let unrouted = Arc::new(telemetry.metrics.unrouted());
        let subject_fields =
            settings.listeners.iter().filter_map(|listener| listener.subject_field().cloned()).collect();
        let purge = settings.purge_method.as_ref().map(PurgeGate::new);
        Ok(Site { settings, routes, unrouted, subject_fields, purge, key_rules })
    }

    fn guard_of(&self, route: &str) -> Option<&Guard> {
        self.routes.iter().find(|known| known.route.name == route)?.guard.as_deref()
    }

    fn pool_of(&self, upstream: &crate::config::settings::Upstream) -> Option<Arc<Pool>> {
        self.routes.iter().map(|route| &route.pool).find(|pool| pool.settings() == upstream).cloned()
    }

    /// The pool of an upstream of that name.
    pub fn former(&self, upstream: &str) -> Option<&Arc<Pool>> {
        self.routes.iter().map(|route| &route.pool).find(|pool| pool.settings().name == upstream)
    }

    /// The pools of all upstreams that routes use, each once.
    pub fn pools(&self) -> Vec<Arc<Pool>> {
        let mut pools: Vec<Arc<Pool>> = Vec::new();
        for route in &self.routes {
            if !pools.iter().any(|pool| Arc::ptr_eq(pool, &route.pool)) {
                pools.push(route.pool.clone());
            }
        }
        pools
    }

    /// The keys under which responses of a URL may be stored, whatever route it takes and whatever its responses said of
    /// the query: for a purge that begins now.
    pub fn keys_of(&self, target: &TargetUri<'_>, searches: &Searches) -> Vec<CacheKey> {
        let mut keys: Vec<CacheKey> = Vec::new();
        for rules in &self.key_rules {
            let key = CacheKey::of_url(target, rules);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys.into_iter().flat_map(|key| searches.purged(key)).collect()
    }
}
