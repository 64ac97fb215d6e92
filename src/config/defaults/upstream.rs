//! What holds for upstreams where the file says nothing.

use std::time::Duration;

use http::{HeaderValue, StatusCode};

use crate::config::settings::{
    Balance, Breaker, Dns, Ejection, HashBy, HealthCheck, Maintenance, Retries, RetryOn, StatusRange, Upstream,
    UpstreamHost, UpstreamProtocol, UpstreamServer, UpstreamTimeouts,
};

impl Upstream {
    /// An upstream of which nothing but its servers is said.
    pub fn usual(name: impl Into<String>, servers: Vec<UpstreamServer>) -> Self {
        Upstream {
            name: name.into(),
            servers,
            balance: Balance::default(),
            hash_by: HashBy::default(),
            timeouts: UpstreamTimeouts::default(),
            // More than a legacy app serves at once, fewer than would exhaust it.
            max_connections: 256,
            max_idle: 64,
            // Below the 5 s after which Node and Apache close an idle connection, so that they don't do so just as a
            // request that can't be repeated is sent on it.
            idle_timeout: Duration::from_secs(4),
            // Load balancers between larder and its servers see a fresh connection now and then.
            max_age: Duration::from_secs(600),
            queue_timeout: Duration::from_secs(5),
            host: UpstreamHost::default(),
            protocol: UpstreamProtocol::default(),
            ca_file: None,
            client_certificate: None,
            sni: None,
            accept_any_certificate: false,
            tls_timeout: None,
            dns: Dns::default(),
            health: HealthCheck::default(),
            ejection: Ejection::default(),
            breaker: Breaker::default(),
            retries: Retries::default(),
            slow_start: Duration::ZERO,
            // A check that asks for the wrong path must not take a site down.
            panic: true,
            maintenance: None,
        }
    }
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        UpstreamTimeouts {
            connect: Duration::from_secs(3),
            first_byte: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            total: None,
        }
    }
}

impl Default for Dns {
    fn default() -> Self {
        Dns {
            servers: Vec::new(),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(60),
            timeout: Duration::from_secs(2),
        }
    }
}

impl Default for HealthCheck {
    fn default() -> Self {
        HealthCheck {
            path: None,
            host: None,
            statuses: vec![StatusRange(200, 399)],
            body: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
        }
    }
}

impl Default for Ejection {
    /// A 500 is often one page's fault; those of a gateway are the server's.
    fn default() -> Self {
        Ejection {
            failures: 5,
            statuses: vec![StatusRange(502, 504)],
            time: Duration::from_secs(10),
            max_time: Duration::from_secs(300),
            max_share: 50,
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker {
            enabled: false,
            failure_percent: 50,
            min_requests: 20,
            window: Duration::from_secs(10),
            open: Duration::from_secs(5),
        }
    }
}

impl Default for Retries {
    /// Not after a time-out: the client has waited long enough, and the next server has the same page to make.
    fn default() -> Self {
        Retries { attempts: 1, budget: 20, on: vec![RetryOn::Reset], statuses: Vec::new(), hedge_after: None }
    }
}

impl Default for Maintenance {
    fn default() -> Self {
        Maintenance {
            status: StatusCode::SERVICE_UNAVAILABLE,
            file: None,
            body: None,
            content_type: HeaderValue::from_static("text/html; charset=utf-8"),
            retry_after: Duration::from_secs(30),
        }
    }
}
