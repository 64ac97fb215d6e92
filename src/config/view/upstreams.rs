//! Upstreams in the words of the file.

use serde_json::{Value, json};

use crate::config::scalar::duration_text;
use crate::config::settings::{
    Balance, BodyPattern, Breaker, Dns, Ejection, HashBy, HealthCheck, Maintenance, Retries, RetryOn, RouteRetry,
    StatusRange, Upstream, UpstreamHost, UpstreamProtocol, UpstreamServer, UpstreamTimeouts,
};

pub(super) fn upstream(upstream: &Upstream) -> Value {
    let Upstream {
        name,
        servers,
        balance,
        hash_by,
        timeouts,
        max_connections,
        max_idle,
        idle_timeout,
        max_age,
        queue_timeout,
        host,
        protocol,
        ca_file,
        client_certificate,
        sni,
        accept_any_certificate,
        tls_timeout,
        dns: Dns { servers: name_servers, min_ttl, max_ttl, timeout },
        health: health_check,
        ejection: Ejection { failures, statuses, time, max_time, max_share },
        breaker: Breaker { enabled, failure_percent, min_requests, window, open },
        retries: retry,
        slow_start,
        panic,
        maintenance: page,
    } = upstream;
    let UpstreamTimeouts { connect, first_byte, idle, total } = timeouts;
    let (cert, key) = client_certificate.as_ref().map(|(cert, key)| (cert.display(), key.display())).unzip();
    json!({
        "name": name,
        "servers": servers.iter().map(server).collect::<Vec<_>>(),
        "balance": match balance {
            Balance::RoundRobin => "round_robin",
            Balance::LeastConnections => "least_connections",
            Balance::PowerOfTwo => "p2c",
            Balance::Hash => "hash",
        },
        "hash_by": match hash_by {
            HashBy::Url => "url".to_owned(),
            HashBy::Client => "client".to_owned(),
            HashBy::Header(name) => format!("header {name}"),
            HashBy::Cookie(name) => format!("cookie {name}"),
        },
        "host": match host {
            UpstreamHost::Client => "client".to_owned(),
            UpstreamHost::Server => "server".to_owned(),
            UpstreamHost::Fixed(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        },
        "protocol": match protocol {
            UpstreamProtocol::Http1 => "http1",
            UpstreamProtocol::Http2 => "http2",
            UpstreamProtocol::Auto => "auto",
        },
        "connect_timeout": duration_text(*connect),
        "first_byte_timeout": duration_text(*first_byte),
        "idle_timeout": duration_text(*idle),
        "tls_timeout": tls_timeout.map(duration_text),
        "total_timeout": total.map(duration_text),
        "max_connections": max_connections,
        "max_idle": max_idle,
        "idle_connection_timeout": duration_text(*idle_timeout),
        "max_connection_age": duration_text(*max_age),
        "queue_timeout": duration_text(*queue_timeout),
        "ca_file": ca_file.as_ref().map(|path| path.display().to_string()),
        "client_cert": cert.map(|path| path.to_string()),
        "client_key": key.map(|path| path.to_string()),
        "sni": sni,
        "danger_accept_any_certificate": accept_any_certificate,
        "dns": {
            "servers": name_servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "min_ttl": duration_text(*min_ttl),
            "max_ttl": duration_text(*max_ttl),
            "timeout": duration_text(*timeout),
        },
        "slow_start": duration_text(*slow_start),
        "panic": panic,
        "health": health(health_check),
        "ejection": {
            "failures": failures,
            "status": ranges(statuses),
            "time": duration_text(*time),
            "max_time": duration_text(*max_time),
            "max_share": max_share,
        },
        "breaker": {
            "enabled": enabled,
            "failure_percent": failure_percent,
            "min_requests": min_requests,
            "window": duration_text(*window),
            "open": duration_text(*open),
        },
        "retries": retries(retry),
        "maintenance": page.as_ref().map(maintenance),
    })
}

fn server(server: &UpstreamServer) -> Value {
    let UpstreamServer { tls: _, host: _, port: _, unix: _, weight, priority } = server;
    match (weight, priority) {
        (1, 0) => json!(server.url()),
        _ => json!({ "url": server.url(), "weight": weight, "priority": priority }),
    }
}

fn health(health: &HealthCheck) -> Value {
    let HealthCheck { path, host, statuses, body, interval, timeout, rise, fall } = health;
    let body = body.as_ref().map(|body| match body {
        BodyPattern::Contains(text) => text.clone(),
        BodyPattern::Matches(regex) => format!("~ {}", regex.as_str()),
    });
    json!({
        "path": path,
        "host": host.as_ref().map(|host| String::from_utf8_lossy(host.as_bytes())),
        "status": ranges(statuses),
        "body": body,
        "interval": duration_text(*interval),
        "timeout": duration_text(*timeout),
        "rise": rise,
        "fall": fall,
    })
}

fn retries(retries: &Retries) -> Value {
    let Retries { attempts, budget, on, statuses, hedge_after } = retries;
    let on = on.iter().map(|on| match on {
        RetryOn::Reset => "reset",
        RetryOn::Timeout => "timeout",
    });
    json!({
        "attempts": attempts,
        "budget": budget,
        "on": on.collect::<Vec<_>>(),
        "status": ranges(statuses),
        "hedge_after": hedge_after.map(duration_text),
    })
}

fn maintenance(page: &Maintenance) -> Value {
    let Maintenance { status, file, body, content_type, retry_after } = page;
    json!({
        "status": status.as_u16(),
        "file": file.as_ref().map(|file| file.display().to_string()),
        "body": body,
        "content_type": String::from_utf8_lossy(content_type.as_bytes()),
        "retry_after": duration_text(*retry_after),
    })
}

fn ranges(ranges: &[StatusRange]) -> Vec<String> {
    let text = |StatusRange(first, last): &StatusRange| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(text).collect()
}

pub(super) fn upstream_timeouts(timeouts: UpstreamTimeouts) -> Value {
    let UpstreamTimeouts { connect, first_byte, idle, total } = timeouts;
    json!({
        "total": total.map(duration_text),
        "connect": duration_text(connect),
        "first_byte": duration_text(first_byte),
        "idle": duration_text(idle),
    })
}

pub(super) fn route_retry(retry: RouteRetry) -> &'static str {
    match retry {
        RouteRetry::Idempotent => "idempotent",
        RouteRetry::All => "all",
        RouteRetry::Never => "never",
    }
}
