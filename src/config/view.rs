//! Settings as JSON in the words of the file, secrets masked; and what differs between two of them.

mod control;
mod front;
mod rewrite;
mod upstreams;

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};
use serde_json::{Map, Value, json};

use super::scalar::{duration_text, size_text};
use super::settings::redis::{Redis, RedisServer};
use super::settings::{
    AccessLog, ClientTimeouts, Compression, Debug, DeviceClass, Devices, DiskTier, HeaderEdit, HostPattern, Limits,
    LogFormat, LogTarget, MemoryTier, PathPattern, PrivateCache, Route, RouteMatch, Settings, StaticClass, Upstream,
    ValueMatch, ValuePattern,
};
use crate::policy::rules::{
    CacheRules, CookieRule, KeyRules, QueryRule, RequestDirectivesRule, SetCookieRule, TtlMode,
};
use crate::policy::tags::TagRules;

/// The settings in force, in the words of the file: defaults filled in, the control token and the values of header
/// fields that carry credentials as `***`.
pub fn masked(settings: &Settings) -> Value {
    View { secrets: false }.settings(settings)
}

fn disk_tier(DiskTier { path, size, max_object, memory_object }: &DiskTier) -> Value {
    json!({
        "path": path.display().to_string(),
        "size": size_text(*size),
        "max_object": size_text(*max_object),
        "memory_object": size_text(*memory_object),
    })
}

/// What is different in `new`, a line each, e.g. ``routes: `api` changed``. Empty: nothing.
pub fn changes(old: &Settings, new: &Settings) -> Vec<String> {
    let view = View { secrets: true };
    let (old, new) = (view.settings(old), view.settings(new));
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return Vec::new() };
    let mut lines = Vec::new();
    for (table, after) in &new {
        let before = old.get(table).unwrap_or(&Value::Null);
        if before == after {
            continue;
        }
        match (before, after) {
            (Value::Array(before), Value::Array(after)) => changed_items(table, before, after, &mut lines),
            (Value::Object(before), Value::Object(after)) => changed_keys(table, before, after, &mut lines),
            _ => lines.push(format!("{table} changed")),
        }
    }
    lines
}

/// A list of named things, whose order counts.
fn changed_items(table: &str, before: &[Value], after: &[Value], lines: &mut Vec<String>) {
    let named = |items: &[Value]| -> Vec<(String, Value)> {
        items.iter().map(|item| (shown_name(item), item.clone())).collect()
    };
    let (before, after) = (named(before), named(after));
    let count = lines.len();
    let find = |items: &[(String, Value)], name: &str| {
        items.iter().find(|(known, _)| known == name).map(|(_, item)| item.clone())
    };
    for (name, _) in before.iter().filter(|(name, _)| find(&after, name).is_none()) {
        lines.push(format!("{table}: {name} removed"));
    }
    for (name, item) in &after {
        match find(&before, name) {
            None => lines.push(format!("{table}: {name} added")),
            Some(known) if known != *item => lines.push(format!("{table}: {name} changed")),
            Some(_) => {}
        }
    }
    if lines.len() == count {
        lines.push(format!("{table}: order changed"));
    }
}

/// A table of settings. Only keys are named: a value may be a secret.
fn changed_keys(table: &str, before: &Map<String, Value>, after: &Map<String, Value>, lines: &mut Vec<String>) {
    let keys: Vec<_> = after
        .keys()
        .chain(before.keys().filter(|key| !after.contains_key(*key)))
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| format!("`{key}`"))
        .collect();
    lines.push(format!("{table}: {} changed", keys.join(", ")));
}

fn shown_name(item: &Value) -> String {
    match (item["name"].as_str(), item["address"].as_str()) {
        (Some(name), _) => format!("`{name}`"),
        (_, Some(address)) => address.to_owned(),
        _ => item.to_string(),
    }
}

/// Fields that carry credentials.
fn is_secret(name: &HeaderName) -> bool {
    let name = name.as_str();
    ["authorization", "cookie", "token", "secret", "api-key", "apikey", "password", "auth"]
        .iter()
        .any(|part| name.contains(part))
}

/// Every settings type is taken apart by all its fields, so that a new one can't be forgotten here.
struct View {
    secrets: bool,
}

impl View {
    fn settings(&self, settings: &Settings) -> Value {
        let Settings {
            listeners,
            metrics,
            metrics_assumed: _,
            control,
            purge_method,
            upstreams,
            routes,
            devices,
            static_classes,
            redis,
            memory: MemoryTier { size, collapse_wait, uncacheable_memory },
            disk,
            tags: TagRules { fields: tag_fields, most, longest },
            limits: Limits { head, field, fields, uri, connections, http2_streams, ranges },
            client_timeouts: ClientTimeouts { header, idle, keep_alive },
            trusted_proxies,
            trusted_clients,
            debug: Debug { bypass_all, bypass_header },
            access_log: AccessLog { target, format },
            log_level,
            shutdown_grace,
            workers,
            warnings: _,
        } = settings;
        json!({
            "listeners": listeners.iter().map(front::listener).collect::<Vec<_>>(),
            "metrics": { "address": endpoint(*metrics) },
            "control": self.control(control.as_ref(), purge_method.as_ref()),
            "upstreams": upstreams.iter().map(|it| upstreams::upstream(it)).collect::<Vec<_>>(),
            "routes": routes.iter().map(|route| self.route(route, upstreams)).collect::<Vec<_>>(),
            "devices": device_classes(devices),
            "static_files": static_classes.iter().map(|it| static_class(it)).collect::<Vec<_>>(),
            "cache": {
                "memory": size_text(*size),
                "collapse_wait": duration_text(*collapse_wait),
                "uncacheable_memory": duration_text(*uncacheable_memory),
                "disk": disk.as_ref().map(disk_tier),
                "redis": self.redis(redis),
                "tags": {
                    "fields": tag_fields.iter().map(HeaderName::as_str).collect::<Vec<_>>(),
                    "most": most,
                    "longest": size_text(*longest as u64),
                },
            },
            "limits": {
                "head": size_text(*head as u64),
                "field": size_text(*field as u64),
                "fields": fields,
                "uri": size_text(*uri as u64),
                "connections": connections,
                "http2_streams": http2_streams,
                "ranges": ranges,
            },
            "timeouts": {
                "header": duration_text(*header),
                "idle": duration_text(*idle),
                "keep_alive": duration_text(*keep_alive),
            },
            "server": {
                "trusted_proxies": strings(trusted_proxies),
                "trusted_clients": strings(trusted_clients),
                "workers": workers,
                "shutdown_grace": duration_text(*shutdown_grace),
            },
            "debug": {
                "bypass_all": bypass_all,
                "bypass_header": bypass_header.as_ref().map(HeaderName::as_str),
            },
            "access_log": {
                "target": match target {
                    LogTarget::Off => "off".to_owned(),
                    LogTarget::Stdout => "stdout".to_owned(),
                    LogTarget::File(path) => path.display().to_string(),
                },
                "format": match format {
                    LogFormat::Json => "json",
                    LogFormat::Combined => "combined",
                },
            },
            "log": { "level": log_level },
        })
    }

    fn redis(&self, redis: &Redis) -> Value {
        let Redis { bodies, purging, node, prefix, timeout, connections, max_object, collapse, strict, purge_history } =
            redis;
        let server = |server: &RedisServer| {
            let RedisServer { address: _, tls: _, ca_file, username, password, sentinel_password, database: _ } =
                server;
            let secret = |text: &Option<String>| {
                text.as_ref().map(|text| if self.secrets { text.clone() } else { "***".to_owned() })
            };
            json!({
                "url": server.to_string(),
                "username": username,
                "password": secret(password),
                "sentinel_password": secret(sentinel_password),
                "ca_file": ca_file.as_ref().map(|path| path.display().to_string()),
            })
        };
        json!({
            "bodies": bodies.as_ref().map(server),
            "purging": purging.as_ref().map(server),
            "node": node,
            "prefix": prefix,
            "timeout": duration_text(*timeout),
            "connections": connections,
            "max_object": size_text(*max_object),
            "collapse": collapse,
            "strict": strict,
            "purge_history": purge_history,
        })
    }

    fn route(&self, route: &Route, upstreams: &[Arc<Upstream>]) -> Value {
        let Route {
            name,
            matches,
            upstream,
            cache_enabled,
            cache,
            private,
            cache_methods,
            key,
            // The settings show them.
            devices: _,
            static_files,
            compression,
            request_headers,
            response_headers,
            timeouts,
            retry,
            rewrite: rewrites,
            redirect,
            max_request_body,
            buffer_request,
            limits,
            access,
            invalidate,
        } = route;
        json!({
            "name": name,
            "match": route_match(matches),
            "upstream": upstreams.get(*upstream).map(|upstream| &upstream.name),
            "cache": cache_rules(cache, *cache_enabled, cache_methods, key, private.as_deref()),
            "static_files": static_files,
            "compression": compression.as_ref().map_or(Value::Bool(false), compression_view),
            "request_headers": self.edits(request_headers),
            "response_headers": self.edits(response_headers),
            "timeouts": timeouts.map(upstreams::upstream_timeouts),
            "retry": upstreams::route_retry(*retry),
            "rewrite": rewrite::rewrite(rewrites.as_ref()),
            "redirect": rewrite::redirect(redirect.as_ref()),
            "max_request_body": size_text(*max_request_body),
            "buffer_request": size_text(*buffer_request as u64),
            "limits": front::route_limits(limits),
            "access": front::access(access),
            "invalidate": invalidate.iter().map(control::invalidation).collect::<Vec<_>>(),
        })
    }

    fn edits(&self, edits: &[HeaderEdit]) -> Vec<String> {
        let shown = |name: &HeaderName, value: &HeaderValue| {
            let hidden = !self.secrets && is_secret(name);
            if hidden { "***".to_owned() } else { String::from_utf8_lossy(value.as_bytes()).into_owned() }
        };
        let line = |edit: &HeaderEdit| match edit {
            HeaderEdit::Set(name, value) => format!("set {name}: {}", shown(name, value)),
            HeaderEdit::Add(name, value) => format!("add {name}: {}", shown(name, value)),
            HeaderEdit::Default(name, value) => format!("default {name}: {}", shown(name, value)),
            HeaderEdit::Remove(name) => format!("remove {name}"),
        };
        edits.iter().map(line).collect()
    }
}

fn endpoint(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "off".to_owned(), |address| address.to_string())
}

fn route_match(matches: &RouteMatch) -> Value {
    let RouteMatch { hosts, paths, methods, headers, query, cookies } = matches;
    let host = |host: &HostPattern| match host {
        HostPattern::Exact(host) => host.clone(),
        HostPattern::Suffix(suffix) => format!("*{suffix}"),
    };
    let path = |path: &PathPattern| match path {
        PathPattern::Exact(path) => format!("= {path}"),
        PathPattern::Prefix(path) => path.clone(),
        PathPattern::Glob(glob) => glob.glob().glob().to_owned(),
        PathPattern::Regex(regex) => format!("~ {}", regex.as_str()),
    };
    json!({
        "host": hosts.iter().map(host).collect::<Vec<_>>(),
        "path": paths.iter().map(path).collect::<Vec<_>>(),
        "method": strings(methods),
        "header": values(headers),
        "query": values(query),
        "cookie": cookies,
    })
}

fn values<N: ToString>(matches: &[ValueMatch<N>]) -> Map<String, Value> {
    let value = |pattern: &ValuePattern| match pattern {
        ValuePattern::Present => "*".to_owned(),
        ValuePattern::Exact(value) => value.clone(),
        ValuePattern::Regex(regex) => format!("~ {}", regex.as_str()),
    };
    matches.iter().map(|it| (it.name.to_string(), value(&it.value).into())).collect()
}

fn cache_rules(
    rules: &CacheRules,
    enabled: bool,
    methods: &[Method],
    key: &KeyRules,
    private: Option<&PrivateCache>,
) -> Value {
    let CacheRules {
        ttl,
        ttl_mode,
        ttl_max,
        status_ttl,
        heuristic_percent,
        heuristic_max,
        cookies,
        set_cookie,
        request_directives,
        stale_while_revalidate,
        stale_if_error,
        stale_max,
        max_object,
        max_variants,
    } = rules;
    let KeyRules { query, sort_query, normalise_escapes, ignore_no_vary_search, device, headers, cookies: key_cookies } =
        key;
    let status_ttl: Map<_, _> =
        status_ttl.iter().map(|(status, ttl)| (status.as_str().to_owned(), duration_text(*ttl).into())).collect();
    json!({
        "enabled": enabled,
        "ttl": ttl.map(duration_text),
        "upstream": match ttl_mode {
            TtlMode::Honour => "honour",
            TtlMode::Override => "override",
        },
        "ttl_max": ttl_max.map(duration_text),
        "status_ttl": status_ttl,
        "heuristic_percent": heuristic_percent,
        "heuristic_max": duration_text(*heuristic_max),
        "cookies": match cookies {
            CookieRule::Protect => json!("protect"),
            CookieRule::Ignore => json!("ignore"),
            CookieRule::Bypass => json!("bypass"),
            CookieRule::BypassNames(names) => json!(names),
        },
        "set_cookie": match set_cookie {
            SetCookieRule::Never => "never",
            SetCookieRule::Strip => "strip",
            SetCookieRule::Store => "store",
        },
        "request_directives": match request_directives {
            RequestDirectivesRule::Trusted => "trusted",
            RequestDirectivesRule::Honour => "honour",
            RequestDirectivesRule::Ignore => "ignore",
        },
        "stale_while_revalidate": duration_text(*stale_while_revalidate),
        "stale_if_error": duration_text(*stale_if_error),
        "stale_max": duration_text(*stale_max),
        "max_object": size_text(*max_object),
        "max_variants": max_variants,
        "methods": strings(methods),
        "private": private.map(private_cache),
        "key": {
            "query": match query {
                QueryRule::All => json!("all"),
                QueryRule::None => json!("none"),
                QueryRule::Only(names) => json!({ "only": names }),
                QueryRule::Except(names) => json!({ "except": names }),
            },
            "sort_query": sort_query,
            "normalise_escapes": normalise_escapes,
            "no_vary_search": !ignore_no_vary_search,
            "device": device,
            "headers": strings(headers),
            "cookies": key_cookies,
        },
    })
}

fn compression_view(compression: &Compression) -> Value {
    let Compression { codings, min_size, types } = compression;
    let coding = |it: &super::settings::CompressionCoding| json!({ "coding": it.coding.token(), "level": it.level });
    json!({
        "codings": codings.iter().map(coding).collect::<Vec<_>>(),
        "min_size": size_text(*min_size),
        "types": types,
    })
}

fn private_cache(private: &PrivateCache) -> Value {
    let PrivateCache { cookie, max_sessions, max_bytes, max_session_bytes } = private;
    json!({
        "cookie": cookie,
        "max_sessions": max_sessions,
        "max_bytes": size_text(*max_bytes),
        "max_session_bytes": size_text(*max_session_bytes),
    })
}

fn device_classes(devices: &Devices) -> Value {
    let Devices { classes, default, field, send, set: _, class_of: _ } = devices;
    let class = |class: &DeviceClass| json!({ "name": class.name, "user_agent": class.user_agent });
    json!({
        "classes": classes.iter().map(class).collect::<Vec<_>>(),
        "default": default,
        "field": field.as_str(),
        "send": send,
    })
}

fn static_class(class: &StaticClass) -> Value {
    let StaticClass { name, extensions, types, max_age, versioned_max_age, override_upstream, with_cookies } = class;
    json!({
        "name": name,
        "extensions": extensions,
        "types": types,
        "max_age": duration_text(*max_age),
        "versioned_max_age": versioned_max_age.map_or_else(|| "0".to_owned(), duration_text),
        "override": override_upstream,
        "with_cookies": with_cookies,
    })
}

fn strings<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}
