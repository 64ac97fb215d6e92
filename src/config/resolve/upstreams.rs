//! Upstreams: their servers, and what is made of servers that fail.

use std::sync::Arc;

use http::StatusCode;

use super::{Resolver, deadline, plain_list, span};
use crate::config::file::{self, OneOrMany, Ordered, UpstreamServer as Server};
use crate::config::scalar::{Deadline, Written};
use crate::config::settings::{
    Balance, Breaker, Dns, Ejection, HashBy, HealthCheck, Maintenance, Retries, RetryOn, RouteRetry, Upstream,
    UpstreamProtocol, UpstreamServer, UpstreamTimeouts,
};
use crate::config::values::Name;

impl Resolver<'_> {
    pub(super) fn upstreams(&mut self, upstreams: Ordered<Name, file::Upstream>) -> Vec<Arc<Upstream>> {
        if upstreams.0.is_empty() && self.surroundings.sound {
            let help = "give `--upstream http://127.0.0.1:3000`, or in the file\n          \
                        [upstreams.app]\n          servers = [\"http://127.0.0.1:3000\"]";
            self.problem("", "no upstream is configured", Some(help.to_owned()));
        }
        upstreams.0.into_iter().map(|(Name(name), written)| Arc::new(self.upstream(name, written))).collect()
    }

    fn upstream(&mut self, name: String, written: file::Upstream) -> Upstream {
        let path = format!("upstreams.{name}");
        let servers = written.servers.into_iter().enumerate();
        let servers = servers.filter_map(|(index, it)| self.server(&format!("{path}.servers[{index}]"), it)).collect();
        let usual = Upstream::usual(name, servers);
        let names_key = written.hash_by.as_ref().is_some_and(|Written(by)| *by != HashBy::Url);
        if names_key && !matches!(written.balance, Some(file::Balance::Hash)) {
            self.problem(format!("{path}.hash_by"), "`hash_by` needs `balance = \"hash\"`", None);
        }
        if written.client_cert.is_some() != written.client_key.is_some() {
            self.problem(&path, "`client_cert` and `client_key` go together", None);
        }
        Upstream {
            balance: match written.balance {
                None | Some(file::Balance::RoundRobin) => Balance::RoundRobin,
                Some(file::Balance::LeastConnections) => Balance::LeastConnections,
                Some(file::Balance::P2c) => Balance::PowerOfTwo,
                Some(file::Balance::Hash) => Balance::Hash,
            },
            hash_by: written.hash_by.map(|Written(by)| by).unwrap_or_default(),
            timeouts: UpstreamTimeouts {
                connect: deadline(written.connect_timeout, usual.timeouts.connect),
                first_byte: deadline(written.first_byte_timeout, usual.timeouts.first_byte),
                idle: deadline(written.idle_timeout, usual.timeouts.idle),
                total: written.total_timeout.map(|Written(Deadline(span))| span),
            },
            max_connections: written.max_connections.unwrap_or(usual.max_connections),
            max_idle: written.max_idle.unwrap_or(usual.max_idle),
            idle_timeout: deadline(written.idle_connection_timeout, usual.idle_timeout),
            max_age: deadline(written.max_connection_age, usual.max_age),
            queue_timeout: deadline(written.queue_timeout, usual.queue_timeout),
            host: written.host.map(|Written(host)| host).unwrap_or_default(),
            protocol: match written.protocol {
                Some(file::Protocol::Http2) => UpstreamProtocol::Http2,
                Some(file::Protocol::Auto) => UpstreamProtocol::Auto,
                Some(file::Protocol::Http1) | None => UpstreamProtocol::Http1,
            },
            ca_file: written.ca_file.map(|path| self.path(path)),
            client_certificate: match (written.client_cert, written.client_key) {
                (Some(cert), Some(key)) => Some((self.path(cert), self.path(key))),
                _ => None,
            },
            sni: written.sni,
            accept_any_certificate: written.danger_accept_any_certificate.unwrap_or_default(),
            tls_timeout: written.tls_timeout.map(|Written(Deadline(span))| span),
            dns: dns(written.dns, usual.dns),
            health: health(written.health, usual.health),
            ejection: ejection(written.ejection, usual.ejection),
            breaker: breaker(&written.breaker, usual.breaker),
            retries: retries(written.retries, usual.retries),
            slow_start: span(written.slow_start.as_ref(), usual.slow_start),
            panic: written.panic.unwrap_or(usual.panic),
            maintenance: written.maintenance.and_then(|page| self.maintenance(&format!("{path}.maintenance"), page)),
            name: usual.name,
            servers: usual.servers,
        }
    }

    fn server(&mut self, path: &str, written: Server) -> Option<UpstreamServer> {
        let table = match written {
            Server::Url(Written(server)) => return Some(server),
            Server::Table(table) => table,
        };
        if table.backup == Some(true) && table.priority == Some(0) {
            self.problem(format!("{path}.priority"), "a backup has a priority of 1 or more", None);
        }
        let usual_priority = u32::from(table.backup == Some(true));
        // A missing URL was reported by the check.
        let Written(server) = table.url?;
        Some(UpstreamServer {
            weight: table.weight.unwrap_or(server.weight),
            priority: table.priority.unwrap_or(usual_priority),
            ..server
        })
    }

    fn maintenance(&mut self, path: &str, written: file::Maintenance) -> Option<Maintenance> {
        if written.file.is_none() && written.body.is_none() {
            self.problem(path, "give `file` or `body`", None);
        }
        let usual = Maintenance::default();
        Some(Maintenance {
            // The check keeps it between 400 and 599.
            status: written.status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(usual.status),
            file: written.file.map(|file| self.path(file)),
            body: written.body,
            content_type: written.content_type.map_or(usual.content_type, |Written(value)| value),
            retry_after: span(written.retry_after.as_ref(), usual.retry_after),
        })
    }
}

fn dns(written: file::Dns, usual: Dns) -> Dns {
    let min_ttl = deadline(written.min_ttl, usual.min_ttl);
    Dns {
        servers: plain_list(written.servers).unwrap_or(usual.servers),
        min_ttl,
        max_ttl: deadline(written.max_ttl, usual.max_ttl).max(min_ttl),
        timeout: deadline(written.timeout, usual.timeout),
    }
}

fn health(written: file::Health, usual: HealthCheck) -> HealthCheck {
    HealthCheck {
        path: written.path.map(|Written(path)| path.0),
        host: written.host.map(|Written(host)| host),
        statuses: written.status.map_or(usual.statuses, |OneOrMany(list)| list),
        body: written.body.map(|Written(body)| body),
        interval: deadline(written.interval, usual.interval),
        timeout: deadline(written.timeout, usual.timeout),
        rise: written.rise.unwrap_or(usual.rise),
        fall: written.fall.unwrap_or(usual.fall),
    }
}

fn ejection(written: file::Ejection, usual: Ejection) -> Ejection {
    let time = deadline(written.time, usual.time);
    Ejection {
        failures: written.failures.unwrap_or(usual.failures),
        statuses: plain_list(written.status).unwrap_or(usual.statuses),
        time,
        max_time: deadline(written.max_time, usual.max_time.max(time)),
        max_share: written.max_share.unwrap_or(usual.max_share),
    }
}

fn breaker(written: &file::Breaker, usual: Breaker) -> Breaker {
    Breaker {
        enabled: written.enabled.unwrap_or(usual.enabled),
        failure_percent: written.failure_percent.unwrap_or(usual.failure_percent),
        min_requests: written.min_requests.unwrap_or(usual.min_requests),
        window: deadline(written.window.clone(), usual.window),
        open: deadline(written.open.clone(), usual.open),
    }
}

fn retries(written: file::Retries, usual: Retries) -> Retries {
    let on = |on: &file::RetryOn| match on {
        file::RetryOn::Reset => RetryOn::Reset,
        file::RetryOn::Timeout => RetryOn::Timeout,
    };
    Retries {
        attempts: written.attempts.unwrap_or(usual.attempts),
        budget: written.budget.unwrap_or(usual.budget),
        on: written.on.map_or(usual.on, |list| list.iter().map(on).collect()),
        statuses: plain_list(written.status).unwrap_or(usual.statuses),
        hedge_after: written.hedge_after.map(|Written(Deadline(span))| span).or(usual.hedge_after),
    }
}

pub(super) fn route_retry(written: Option<file::RouteRetry>) -> RouteRetry {
    match written {
        None => RouteRetry::default(),
        Some(file::RouteRetry::Idempotent) => RouteRetry::Idempotent,
        Some(file::RouteRetry::All) => RouteRetry::All,
        Some(file::RouteRetry::Never) => RouteRetry::Never,
    }
}
