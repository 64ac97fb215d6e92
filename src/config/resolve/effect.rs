//! What a file says to no effect: valid, so that it keeps nothing from running, and hardly meant.

use std::net::{IpAddr, SocketAddr};

use super::{Resolver, defaults};
use crate::config::scalar::size_text;
use crate::config::settings::{
    Balance, ListenAddress, Listener, Route, RouteMatch, Settings, Upstream, UpstreamProtocol, UpstreamServer,
};

impl Resolver<'_> {
    /// Warns of it. The settings are sound.
    pub(super) fn warn_of_no_effect(&mut self, settings: &Settings) {
        // Listeners of the command line stand in the place of the file's.
        if self.surroundings.overrides.listen.is_empty() {
            for (index, listener) in settings.listeners.iter().enumerate() {
                self.listener_effects(listener, &format!("listeners[{index}]"));
            }
        }
        for upstream in &settings.upstreams {
            let path = format!("upstreams.{}", upstream.name);
            self.upstream_effects(upstream, &path);
            if self.surroundings.overrides.upstream.is_none() || upstream.name != defaults::UPSTREAM {
                self.server_effects(upstream, &settings.listeners, &path);
            }
        }
        self.cache_effects(settings);
        for (index, route) in settings.routes.iter().enumerate() {
            self.redirect_effects(route, &format!("routes[{index}]"));
        }
        self.warn_of_unreachable(&settings.routes);
    }

    /// Warns of those of the keys of a table that are written.
    fn idle(&mut self, table: &str, keys: &[&str], why: &str) {
        for key in keys {
            let path = format!("{table}.{key}");
            if self.surroundings.document.mentions(&path) {
                self.warning(path, format!("`{key}` has no effect {why}"), None);
            }
        }
    }

    fn listener_effects(&mut self, listener: &Listener, path: &str) {
        match &listener.tls {
            Some(_) => self.idle(path, &["https_redirect"], "on a listener that speaks TLS"),
            None => self.idle(path, &["hsts"], "on a listener without `tls`"),
        }
        if !matches!(listener.address, ListenAddress::Unix(_)) {
            self.idle(path, &["mode"], "on what is no Unix socket of larder's own");
        }
    }

    fn upstream_effects(&mut self, upstream: &Upstream, path: &str) {
        if upstream.servers.iter().all(|server| !server.tls) {
            let why = "where no server is `https://`";
            self.idle(path, &["sni", "ca_file", "client_cert", "client_key", "tls_timeout"], why);
            if upstream.protocol == UpstreamProtocol::Auto {
                self.warning(format!("{path}.protocol"), format!("`auto` has no effect {why}"), None);
            }
        }
        if upstream.balance != Balance::Hash {
            self.idle(path, &["hash_by"], "without `balance = \"hash\"`");
        }
        if upstream.health.path.is_none() {
            let keys = ["host", "status", "body", "interval", "timeout", "rise", "fall"];
            self.idle(&format!("{path}.health"), &keys, "without a `path`: there are no checks");
        }
        let breaker = format!("{path}.breaker");
        // Who writes `false` knows.
        if !upstream.breaker.enabled && !self.surroundings.document.mentions(&format!("{breaker}.enabled")) {
            let keys = ["failure_percent", "min_requests", "window", "open"];
            self.idle(&breaker, &keys, "without `enabled = true`");
        }
    }

    fn server_effects(&mut self, upstream: &Upstream, listeners: &[Listener], path: &str) {
        for (index, server) in upstream.servers.iter().enumerate() {
            let path = format!("{path}.servers[{index}]");
            if upstream.servers[..index].iter().any(|earlier| earlier.url() == server.url()) {
                let help = "one that is to get more requests has a `weight`".to_owned();
                self.warning(path.clone(), format!("the server {} is listed twice", server.url()), Some(help));
            }
            if let Some(own) = listeners.iter().find(|listener| leads_to(server, &listener.address)) {
                let help = "name the address of the app".to_owned();
                let message = format!("larder itself listens on {}: such requests are refused as a loop", own.address);
                self.warning(path, message, Some(help));
            }
        }
    }

    fn cache_effects(&mut self, settings: &Settings) {
        let memory = settings.memory.size;
        if memory == 0 && settings.disk.is_none() && settings.redis.bodies.is_none() {
            let path = if self.surroundings.overrides.memory.is_some() { "" } else { "cache.memory" };
            let help = "where that is meant, say `enabled = false` in `[cache.rules]`".to_owned();
            self.warning(path, "nothing is stored without memory", Some(help));
            return;
        }
        let (most, place) = match &settings.disk {
            Some(disk) => (disk.max_object.max(disk.memory_object), "`max_object` of `[cache.disk]`"),
            // What fills may take (`FILLING_PERCENT` of the memory tier).
            None => (memory / 4, "a quarter of the memory"),
        };
        let document = self.surroundings.document;
        for (index, route) in settings.routes.iter().enumerate() {
            if route.cache.max_object <= most {
                continue;
            }
            let own = format!("routes[{index}].cache.max_object");
            let path = if document.mentions(&own) { own } else { "cache.rules.max_object".to_owned() };
            if document.mentions(&path) {
                let message = format!("no body of more than {} ({place}) is stored", size_text(most));
                self.warning(path, message, None);
            }
        }
    }

    fn redirect_effects(&mut self, route: &Route, path: &str) {
        let Some(redirect) = &route.redirect else { return };
        self.idle(path, &["upstream"], "beside `redirect`");
        let to = redirect.to.strip_prefix("{scheme}://{host}").unwrap_or(&redirect.to);
        if matches!(to, "{path}" | "{path}{query}") && is_by_url_alone(&route.matches) {
            let help = "change the host or the path, or match by something that differs the second time".to_owned();
            self.warning(format!("{path}.redirect.to"), "this redirects to the same URL again and again", Some(help));
        }
    }
}

/// Whether who comes again for the same host and path matches again.
fn is_by_url_alone(RouteMatch { hosts: _, paths: _, methods, headers, query, cookies }: &RouteMatch) -> bool {
    methods.is_empty() && headers.is_empty() && query.is_empty() && cookies.is_empty()
}

fn leads_to(server: &UpstreamServer, address: &ListenAddress) -> bool {
    match address {
        ListenAddress::Unix(path) => server.unix.as_ref() == Some(path),
        ListenAddress::Tcp(address) => server.unix.is_none() && is_at(server, address),
        ListenAddress::Systemd(_) => false,
    }
}

fn is_at(server: &UpstreamServer, address: &SocketAddr) -> bool {
    if server.port != address.port() {
        return false;
    }
    match server.host.parse::<IpAddr>() {
        Ok(ip) => ip == address.ip() || address.ip().is_unspecified() && ip.is_loopback(),
        Err(_) => server.host == "localhost" && (address.ip().is_loopback() || address.ip().is_unspecified()),
    }
}
