//! Rewrites of a route: the path that the upstream is asked for, its Host, and on the way back the URLs and cookies
//! that name what only the upstream knows. The cache key stays the URL as the client sees it.

use http::header::{CONTENT_LOCATION, HOST, HeaderName, LOCATION, REFRESH, SET_COOKIE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Uri};

use super::Asked;
use crate::config::settings::{Rewrite, Route, Upstream, UpstreamHost};

/// Changes a request on its way to the upstream.
pub(super) fn outgoing(rewrite: &Rewrite, uri: &mut Uri, headers: &mut HeaderMap) {
    if let Some(host) = &rewrite.host {
        headers.insert(HOST, host.clone());
    }
    let Some(target) = uri.path_and_query() else { return };
    // `*` names no path.
    if !target.as_str().starts_with('/') {
        return;
    }
    let Some(path) = upstream_path(rewrite, target.path()) else { return };
    let text = match target.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    if let Ok(target) = PathAndQuery::try_from(text) {
        *uri = Uri::from(target);
    }
}

/// The path that the upstream is asked for; `None`: as it is.
fn upstream_path(rewrite: &Rewrite, path: &str) -> Option<String> {
    let Rewrite { strip_prefix, add_prefix, replace, .. } = rewrite;
    if strip_prefix.is_none() && add_prefix.is_none() && replace.is_none() {
        return None;
    }
    let mut rewritten = path.to_owned();
    if let Some(rest) = strip_prefix.as_deref().and_then(|prefix| without_prefix(path, prefix)) {
        rewritten = rest;
    }
    if let Some((regex, with)) = replace {
        rewritten = regex.replace(&rewritten, with.as_str()).into_owned();
    }
    if let Some(prefix) = add_prefix {
        rewritten = format!("{}{rewritten}", prefix.trim_end_matches('/'));
    }
    // What a pattern makes of a path must stay a path: `//host` would be another authority for those behind.
    let slashes = rewritten.len() - rewritten.trim_start_matches('/').len();
    let kept = path.len() - path.trim_start_matches('/').len();
    if slashes == 0 || slashes > kept.max(1) {
        rewritten = format!("/{}", rewritten.trim_start_matches('/'));
    }
    Some(rewritten)
}

/// The path without a prefix of whole segments.
fn without_prefix(path: &str, prefix: &str) -> Option<String> {
    let prefix = prefix.trim_end_matches('/');
    let rest = path.strip_prefix(prefix)?;
    match rest.as_bytes().first() {
        None => Some("/".to_owned()),
        Some(b'/') => Some(rest.to_owned()),
        Some(_) => None,
    }
}

/// Changes a response on its way to the client.
pub(super) fn incoming(asked: &Origin<'_>, headers: &mut HeaderMap) {
    let Some(rewrite) = &asked.route.rewrite else { return };
    for name in [LOCATION, CONTENT_LOCATION, REFRESH] {
        rewrite_urls(asked, rewrite, &name, headers);
    }
    let rewritten: Vec<HeaderValue> = headers
        .get_all(SET_COOKIE)
        .iter()
        .map(|value| cookie(rewrite, value).unwrap_or_else(|| value.clone()))
        .collect();
    if !rewritten.is_empty() {
        headers.remove(SET_COOKIE);
        for value in rewritten {
            headers.append(SET_COOKIE, value);
        }
    }
}

/// What a client asked, as far as URLs in the answer are concerned.
pub(super) struct Origin<'a> {
    route: &'a Route,
    scheme: &'a str,
    authority: &'a str,
    /// Authorities by which the upstream may call itself.
    names: Vec<String>,
}

impl<'a> Origin<'a> {
    /// Of a request.
    pub(super) fn of(asked: &'a Asked<'_>) -> Self {
        Origin::new(&asked.route.route, asked.route.pool.settings(), asked.admitted.scheme, &asked.admitted.authority)
    }

    /// Of a request to that scheme and authority.
    pub(super) fn new(route: &'a Route, upstream: &Upstream, scheme: &'a str, authority: &'a str) -> Self {
        let mut names: Vec<String> = Vec::new();
        if let Some(rewrite) = &route.rewrite {
            names.extend(upstream.servers.iter().map(|server| server.authority()));
            let fixed = match &upstream.host {
                UpstreamHost::Fixed(host) => Some(host),
                _ => None,
            };
            names.extend(rewrite.host.iter().chain(fixed).filter_map(|host| Some(host.to_str().ok()?.to_owned())));
        }
        Origin { route, scheme, authority, names }
    }
}

fn rewrite_urls(asked: &Origin<'_>, rewrite: &Rewrite, name: &HeaderName, headers: &mut HeaderMap) {
    let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) else { return };
    let rewritten = match (*name == REFRESH).then(|| value.to_ascii_lowercase().find("url=")).flatten() {
        Some(at) => {
            let (before, url) = value.split_at(at + 4);
            client_url(asked, rewrite, url.trim_matches(['"', '\''])).map(|url| format!("{before}{url}"))
        }
        None if *name == REFRESH => None,
        None => client_url(asked, rewrite, value),
    };
    if let Some(value) = rewritten.and_then(|text| HeaderValue::from_str(&text).ok()) {
        headers.insert(name.clone(), value);
    }
}

/// The URL by which a client reaches what the upstream names; `None`: it is somebody else's, or needs no change.
fn client_url(asked: &Origin<'_>, rewrite: &Rewrite, url: &str) -> Option<String> {
    if url.starts_with('/') && !url.starts_with("//") {
        return client_path(rewrite, url);
    }
    let (scheme, rest) = url.split_once("://")?;
    if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let own = authority.eq_ignore_ascii_case(asked.authority);
    if !own && !asked.names.iter().any(|name| name.eq_ignore_ascii_case(authority)) {
        return None;
    }
    let path = client_path(rewrite, path).unwrap_or_else(|| path.to_owned());
    let scheme = if own { scheme } else { asked.scheme };
    Some(format!("{scheme}://{}{path}", asked.authority))
}

/// What was added is taken away, what was taken away is added. A pattern has no way back.
fn client_path(rewrite: &Rewrite, path: &str) -> Option<String> {
    let added = rewrite.add_prefix.as_deref();
    let inner = match added {
        Some(prefix) => {
            let end = path.find(['?', '#']).unwrap_or(path.len());
            // A path outside of what was added belongs to something that clients do not see here.
            without_prefix(&path[..end], prefix)? + &path[end..]
        }
        None => path.to_owned(),
    };
    let stripped = rewrite.strip_prefix.as_deref().map(|prefix| prefix.trim_end_matches('/'));
    match (stripped, added) {
        (None, None) => None,
        (None, Some(_)) => Some(inner),
        (Some(prefix), _) => Some(format!("{prefix}{inner}")),
    }
}

/// A cookie whose Domain and Path are those that clients know; `None`: no change.
fn cookie(rewrite: &Rewrite, value: &HeaderValue) -> Option<HeaderValue> {
    let text = value.to_str().ok()?;
    let mut changed = false;
    let attributes: Vec<String> = text
        .split(';')
        .enumerate()
        .filter_map(|(index, attribute)| {
            let (name, value) = attribute.split_once('=').map(|(name, value)| (name.trim(), value.trim())).unzip();
            let new = match (name, value) {
                _ if index == 0 => None,
                (Some(name), Some(path)) if name.eq_ignore_ascii_case("path") => {
                    client_path(rewrite, path).map(|path| Some(format!(" {name}={path}")))
                }
                (Some(name), Some(domain)) if name.eq_ignore_ascii_case("domain") => {
                    let bare = domain.trim_start_matches('.');
                    let found = rewrite.cookie_domains.iter().find(|(from, _)| from.eq_ignore_ascii_case(bare));
                    // An empty one: for the host that was asked alone.
                    found.map(|(_, to)| (!to.is_empty()).then(|| format!(" {name}={to}")))
                }
                _ => None,
            };
            changed |= new.is_some();
            new.unwrap_or_else(|| Some(attribute.to_owned()))
        })
        .collect();
    changed.then(|| HeaderValue::from_str(&attributes.join(";")).ok()).flatten()
}
