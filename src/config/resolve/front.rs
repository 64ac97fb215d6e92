//! Listeners, and what a route asks of its clients.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::{Resolver, deadline, defaults, plain_list, span};
use crate::config::file;
use crate::config::scalar::{Size, Written};
use crate::config::settings::{
    Access, BasicAuth, CertificateFiles, ClientCertificates, Concurrency, ForwardAuth, ListenAddress, Listener,
    ListenerLimits, ListenerTls, RateKey, RateLimit, RouteLimits, Upstream, UpstreamHost, UpstreamTimeouts,
};
use crate::config::values::{AuthUrl, Mode, Rate};

impl Resolver<'_> {
    pub(super) fn listeners(&mut self, listeners: Vec<file::Listener>) -> Vec<Listener> {
        if listeners.is_empty() {
            return vec![Listener::from(defaults::LISTEN)];
        }
        let mut resolved = Vec::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            // Missing keys were reported by the check.
            let Some(Written(address)) = listener.address else { continue };
            let address = match address {
                ListenAddress::Unix(path) => ListenAddress::Unix(self.path(path)),
                other => other,
            };
            let path = format!("listeners[{index}]");
            resolved.push(Listener {
                address,
                mode: listener.mode.map_or(Listener::DEFAULT_MODE, |Written(Mode(mode))| mode),
                tls: listener.tls.map(|tls| self.listener_tls(tls, &path)),
                proxy_protocol: plain_list(listener.proxy_protocol).unwrap_or_default(),
                https_redirect: listener.https_redirect,
                hsts: listener.hsts.and_then(|hsts| self.hsts(&hsts, &path)),
                limits: ListenerLimits {
                    connections: listener.limits.connections,
                    connections_per_address: listener.limits.connections_per_address,
                    rate: rate(listener.limits.rate, listener.limits.burst),
                },
            });
        }
        resolved
    }

    fn listener_tls(&mut self, tls: file::Tls, path: &str) -> ListenerTls {
        if tls.client_ca.is_none() && (tls.client_certificate.is_some() || tls.subject_field.is_some()) {
            let help = "name the authorities whose certificates are accepted".to_owned();
            self.problem(format!("{path}.tls"), "client certificates need a `client_ca`", Some(help));
        }
        ListenerTls {
            certificates: tls
                .certificates
                .into_iter()
                .filter_map(|files| Some(CertificateFiles { cert: self.path(files.cert?), key: self.path(files.key?) }))
                .collect(),
            http2: tls.http2.unwrap_or(true),
            client: tls.client_ca.map(|ca| ClientCertificates {
                ca: self.path(ca),
                required: !matches!(tls.client_certificate, Some(file::ClientCertificate::Optional)),
                subject_field: tls.subject_field.map(|Written(field)| field.0),
            }),
        }
    }

    /// RFC 6797 §6.1.
    fn hsts(&mut self, hsts: &file::Hsts, path: &str) -> Option<HeaderValue> {
        let max_age = span(hsts.max_age.as_ref(), Duration::ZERO).as_secs();
        let subdomains = hsts.subdomains.unwrap_or_default();
        let preload = hsts.preload.unwrap_or_default();
        if preload && !subdomains {
            self.problem(format!("{path}.hsts"), "`preload` needs `subdomains = true`", None);
        }
        let subdomains = if subdomains { "; includeSubDomains" } else { "" };
        let preload = if preload { "; preload" } else { "" };
        HeaderValue::try_from(format!("max-age={max_age}{subdomains}{preload}")).ok()
    }

    pub(super) fn route_limits(&mut self, limits: file::RouteLimits, path: &str) -> RouteLimits {
        if limits.concurrency.is_none() && (limits.queue.is_some() || limits.queue_timeout.is_some()) {
            self.problem(format!("{path}.limits"), "a `queue` needs a `concurrency`", None);
        }
        if limits.rate.is_none() && (limits.burst.is_some() || limits.rate_by.is_some()) {
            self.problem(format!("{path}.limits"), "`burst` and `rate_by` need a `rate`", None);
        }
        if matches!(limits.bandwidth, Some(Written(Size(0..1024)))) {
            self.problem(format!("{path}.limits.bandwidth"), "less than 1KiB a second would serve nobody", None);
        }
        let key = limits.rate_by.map_or(RateKey::Address, |Written(key)| key);
        RouteLimits {
            rate: rate(limits.rate, limits.burst).map(|rate| (rate, key)),
            concurrency: limits.concurrency.map(|most| Concurrency {
                most,
                queue: limits.queue.unwrap_or_default(),
                wait: deadline(limits.queue_timeout, defaults::PLACE_TIMEOUT),
            }),
            bandwidth: limits.bandwidth.map(|Written(Size(bytes))| bytes),
        }
    }

    pub(super) fn access(&mut self, access: file::Access, route: &str) -> Access {
        Access {
            allow: plain_list(access.allow).unwrap_or_default(),
            deny: plain_list(access.deny).unwrap_or_default(),
            basic: access.basic.and_then(|basic| {
                Some(BasicAuth {
                    file: self.path(basic.file?),
                    realm: basic.realm.unwrap_or_else(|| "larder".to_owned()),
                    pass: basic.pass.unwrap_or_default(),
                })
            }),
            forward: access.forward.and_then(|forward| {
                let Written(AuthUrl { server, target }) = forward.url?;
                let wait = deadline(forward.timeout, defaults::AUTH_TIMEOUT);
                Some(ForwardAuth {
                    server: Arc::new(Upstream {
                        host: UpstreamHost::Server,
                        timeouts: UpstreamTimeouts { connect: wait, first_byte: wait, idle: wait, total: Some(wait) },
                        queue_timeout: wait,
                        ..Upstream::usual(format!("auth-{route}"), vec![server])
                    }),
                    target,
                    headers: plain_list(forward.headers).unwrap_or_default().into_iter().map(|field| field.0).collect(),
                    cache: span(forward.cache.as_ref(), Duration::ZERO),
                })
            }),
        }
    }
}

fn rate(rate: Option<Written<Rate>>, burst: Option<u32>) -> Option<RateLimit> {
    let Written(Rate { count, per }) = rate?;
    let a_second = u64::from(count.get()).div_ceil(per.as_secs().max(1));
    let burst = burst.and_then(NonZeroU32::new).or_else(|| NonZeroU32::new(a_second as u32)).unwrap_or(NonZeroU32::MIN);
    Some(RateLimit { count, per, burst })
}
