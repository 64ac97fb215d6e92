//! Routes: what they match, where they lead, and their cache rules over those of `[cache.rules]`.

use std::collections::HashSet;
use std::sync::Arc;

use http::Method;

use super::{Resolver, defaults, plain_list, span, upstreams};
use crate::config::diagnostics::nearest;
use crate::config::file::{self, CachedMethod, Ordered, Rules};
use crate::config::scalar::{Deadline, Size, Span, Written};
use crate::config::settings::{
    Compression, Devices, HeaderEdit, Route, RouteMatch, Upstream, UpstreamTimeouts, ValueMatch,
};
use crate::config::values::Name;
use crate::policy::rules::{
    CacheRules, CookieRule, KeyRules, QueryRule, RequestDirectivesRule, SetCookieRule, TtlMode,
};

impl Resolver<'_> {
    pub(super) fn routes(
        &mut self,
        written: Vec<file::Route>,
        upstreams: &[Arc<Upstream>],
        common: &Rules,
        (compression, compress): (Compression, bool),
        devices: &Arc<Devices>,
    ) -> Vec<Arc<Route>> {
        self.check_rules(common, "cache.rules");
        let catch_all = written.is_empty();
        let written = if catch_all { vec![file::Route::default()] } else { written };
        let mut names = HashSet::new();
        let mut all_matched_by = None;
        let mut routes = Vec::new();
        for (index, route) in written.into_iter().enumerate() {
            let path = format!("routes[{index}]");
            let name = match &route.name {
                Some(Written(name)) => name.0.clone(),
                None if catch_all => defaults::ROUTE.to_owned(),
                None => format!("route{}", index + 1),
            };
            if !names.insert(name.clone()) {
                self.problem(format!("{path}.name"), format!("there are two routes named `{name}`"), None);
            }
            self.check_rules(&route.cache, &format!("{path}.cache"));
            let private_of = if route.cache.private.is_some() {
                format!("{path}.cache.private")
            } else {
                "cache.rules.private".to_owned()
            };
            let overriding =
                if route.cache.upstream.is_some() { format!("{path}.cache") } else { "cache.rules".to_owned() };
            let rules = over(route.cache, common);
            if matches!(rules.upstream, Some(file::UpstreamSays::Override)) && rules.ttl.is_none() {
                let help = "say how long responses are fresh, e.g. `ttl = \"5m\"`".to_owned();
                self.problem(format!("{overriding}.upstream"), "`override` needs a `ttl`", Some(help));
            }
            let upstream = self.upstream_of(route.upstream.as_ref(), upstreams, &path, catch_all);
            let matches = matches_of(route.matches);
            if let Some(before) = &all_matched_by {
                let help = "the first match wins; move it up".to_owned();
                let message = format!("never reached: the route `{before}` before it matches everything");
                self.problem(path.clone(), message, Some(help));
            } else if matches_everything(&matches) && !self.surroundings.document.mentions(&format!("{path}.match")) {
                all_matched_by = Some(name.clone());
            }
            let usual = upstreams.get(upstream).map(|upstream| upstream.timeouts).unwrap_or_default();
            routes.push(Arc::new(Route {
                name,
                invalidate: self.invalidations(route.invalidate, &matches.paths, &path),
                matches,
                upstream,
                cache_enabled: rules.enabled.unwrap_or(true),
                cache_methods: methods(rules.methods.as_deref()),
                key: key_rules(&rules.key),
                devices: rules.key.device.unwrap_or_default().then(|| devices.clone()),
                private: self.private(rules.private.as_ref(), &private_of),
                cache: cache_rules(rules),
                static_files: route.static_files.unwrap_or(true),
                compression: route.compression.unwrap_or(compress).then(|| compression.clone()),
                request_headers: edits(route.request_headers),
                response_headers: edits(route.response_headers),
                timeouts: timeouts(&route.timeouts, usual),
                limits: self.route_limits(route.limits, &path),
                access: self.access(route.access, &path),
                retry: upstreams::route_retry(route.retry),
                rewrite: self.rewrite(route.rewrite, &format!("{path}.rewrite")),
                redirect: self.redirect(route.redirect, &format!("{path}.redirect")),
                max_request_body: route.max_request_body.map_or(defaults::MAX_REQUEST_BODY, |Written(Size(size))| size),
                buffer_request: route.buffer_request.map_or(defaults::BUFFER_REQUEST, |Written(Size(size))| {
                    usize::try_from(size).unwrap_or(usize::MAX)
                }),
            }));
        }
        routes
    }

    /// The index of the upstream of a route; any when it is reported as missing.
    fn upstream_of(
        &mut self,
        written: Option<&Written<Name>>,
        upstreams: &[Arc<Upstream>],
        path: &str,
        catch_all: bool,
    ) -> usize {
        let Some(Written(Name(name))) = written else {
            // The command line's upstream serves what names none; routes of the file were given its name already.
            if catch_all && self.surroundings.overrides.upstream.is_some() {
                return upstreams.iter().position(|upstream| upstream.name == defaults::UPSTREAM).unwrap_or_default();
            }
            if upstreams.len() > 1 {
                let names: Vec<_> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
                let help = format!("there are {}", names.join(", "));
                let (path, message) = if catch_all {
                    (String::new(), "several upstreams and no `[[routes]]` that says which serves what")
                } else {
                    (path.to_owned(), "this route names no `upstream`")
                };
                self.problem(path, message, Some(help));
            }
            return 0;
        };
        if let Some(index) = upstreams.iter().position(|upstream| upstream.name == *name) {
            return index;
        }
        // Upstreams that are all faulty have been reported; that there are none is said beside it.
        if !upstreams.is_empty() || !self.surroundings.document.mentions("upstreams") {
            let names: Vec<_> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
            let help = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if names.is_empty() => format!("there are none; name it in a table `[upstreams.{name}]`"),
                None => format!("known here: {}", names.join(", ")),
            };
            self.problem(format!("{path}.upstream"), format!("unknown upstream `{name}`"), Some(help));
        }
        0
    }

    /// What a table of rules says wrongly by itself.
    fn check_rules(&mut self, rules: &Rules, path: &str) {
        let names = match &rules.key.query {
            Some(file::Query::Names(names)) => Some(names),
            _ => None,
        };
        let document = self.surroundings.document;
        if names.is_some_and(|names| names.only.is_some() && names.except.is_some())
            || names.is_some_and(|names| names.only.is_none() && names.except.is_none())
                && !document.mentions(&format!("{path}.key.query"))
        {
            self.problem(format!("{path}.key.query"), "give either `only` or `except`", None);
        }
        if let (Some(Written(Span(ttl))), Some(Written(Span(most)))) = (&rules.ttl, &rules.ttl_max)
            && ttl > most
        {
            self.problem(format!("{path}.ttl"), "`ttl` is longer than `ttl_max`", None);
        }
    }
}

/// The rules of a route, with those for all routes where it says nothing.
fn over(own: Rules, common: &Rules) -> Rules {
    let common = common.clone();
    Rules {
        enabled: own.enabled.or(common.enabled),
        ttl: own.ttl.or(common.ttl),
        upstream: own.upstream.or(common.upstream),
        ttl_max: own.ttl_max.or(common.ttl_max),
        status_ttl: own.status_ttl.or(common.status_ttl),
        heuristic_percent: own.heuristic_percent.or(common.heuristic_percent),
        heuristic_max: own.heuristic_max.or(common.heuristic_max),
        cookies: own.cookies.or(common.cookies),
        set_cookie: own.set_cookie.or(common.set_cookie),
        request_directives: own.request_directives.or(common.request_directives),
        stale_while_revalidate: own.stale_while_revalidate.or(common.stale_while_revalidate),
        stale_if_error: own.stale_if_error.or(common.stale_if_error),
        stale_max: own.stale_max.or(common.stale_max),
        max_object: own.max_object.or(common.max_object),
        max_variants: own.max_variants.or(common.max_variants),
        methods: own.methods.or(common.methods),
        private: own.private.or(common.private),
        key: file::Key {
            query: own.key.query.or(common.key.query),
            sort_query: own.key.sort_query.or(common.key.sort_query),
            normalise_escapes: own.key.normalise_escapes.or(common.key.normalise_escapes),
            no_vary_search: own.key.no_vary_search.or(common.key.no_vary_search),
            device: own.key.device.or(common.key.device),
            headers: own.key.headers.or(common.key.headers),
            cookies: own.key.cookies.or(common.key.cookies),
        },
    }
}

fn cache_rules(rules: Rules) -> CacheRules {
    let usual = CacheRules::default();
    CacheRules {
        ttl: rules.ttl.map(|Written(Span(ttl))| ttl),
        ttl_mode: match rules.upstream {
            None => usual.ttl_mode,
            Some(file::UpstreamSays::Honour) => TtlMode::Honour,
            Some(file::UpstreamSays::Override) => TtlMode::Override,
        },
        ttl_max: rules.ttl_max.map(|Written(Span(most))| most),
        status_ttl: rules.status_ttl.map_or(usual.status_ttl, |Ordered(entries)| {
            entries.into_iter().map(|(status, Written(Span(ttl)))| (status, ttl)).collect()
        }),
        heuristic_percent: rules.heuristic_percent.unwrap_or(usual.heuristic_percent),
        heuristic_max: span(rules.heuristic_max.as_ref(), usual.heuristic_max),
        cookies: match rules.cookies {
            None => usual.cookies,
            Some(file::Cookies::Rule(file::CookieRule::Protect)) => CookieRule::Protect,
            Some(file::Cookies::Rule(file::CookieRule::Ignore)) => CookieRule::Ignore,
            Some(file::Cookies::Rule(file::CookieRule::Bypass)) => CookieRule::Bypass,
            Some(file::Cookies::Names(names)) => CookieRule::BypassNames(names),
        },
        set_cookie: match rules.set_cookie {
            None => usual.set_cookie,
            Some(file::SetCookie::Never) => SetCookieRule::Never,
            Some(file::SetCookie::Strip) => SetCookieRule::Strip,
            Some(file::SetCookie::Store) => SetCookieRule::Store,
        },
        request_directives: match rules.request_directives {
            None => usual.request_directives,
            Some(file::RequestDirectives::Trusted) => RequestDirectivesRule::Trusted,
            Some(file::RequestDirectives::Honour) => RequestDirectivesRule::Honour,
            Some(file::RequestDirectives::Ignore) => RequestDirectivesRule::Ignore,
        },
        stale_while_revalidate: span(rules.stale_while_revalidate.as_ref(), usual.stale_while_revalidate),
        stale_if_error: span(rules.stale_if_error.as_ref(), usual.stale_if_error),
        stale_max: span(rules.stale_max.as_ref(), usual.stale_max),
        max_object: rules.max_object.map_or(usual.max_object, |Written(Size(bytes))| bytes),
        max_variants: rules.max_variants.unwrap_or(usual.max_variants),
    }
}

fn key_rules(key: &file::Key) -> KeyRules {
    KeyRules {
        query: match &key.query {
            None | Some(file::Query::Rule(file::QueryRule::All)) => QueryRule::All,
            Some(file::Query::Rule(file::QueryRule::None)) => QueryRule::None,
            Some(file::Query::Rule(file::QueryRule::NoTracking)) => {
                QueryRule::Except(defaults::TRACKING.map(str::to_owned).to_vec())
            }
            Some(file::Query::Names(names)) => match (&names.only, &names.except) {
                (Some(only), _) => QueryRule::Only(only.clone()),
                (None, except) => QueryRule::Except(except.clone().unwrap_or_default()),
            },
        },
        sort_query: key.sort_query.unwrap_or_default(),
        normalise_escapes: key.normalise_escapes.unwrap_or_default(),
        ignore_no_vary_search: !key.no_vary_search.unwrap_or(true),
        device: key.device.unwrap_or_default(),
        headers: plain_list(key.headers.clone()).unwrap_or_default(),
        cookies: key.cookies.clone().unwrap_or_default(),
    }
}

fn methods(written: Option<&[CachedMethod]>) -> Vec<Method> {
    let written = written.unwrap_or(&[CachedMethod::Get, CachedMethod::Head]);
    let method = |method: &CachedMethod| match method {
        CachedMethod::Get => Method::GET,
        CachedMethod::Head => Method::HEAD,
    };
    written.iter().map(method).collect()
}

fn matches_of(written: file::Match) -> RouteMatch {
    let header = |(name, Written(value))| ValueMatch { name, value };
    RouteMatch {
        hosts: written.host.map(|list| list.0).unwrap_or_default(),
        paths: written.path.map(|list| list.0).unwrap_or_default(),
        methods: written.method.map(|list| list.0).unwrap_or_default(),
        headers: written.header.0.into_iter().map(header).collect(),
        query: written.query.0.into_iter().map(|(name, Written(value))| ValueMatch { name: name.0, value }).collect(),
        cookies: written.cookie.map(|list| list.0.into_iter().map(|name| name.0).collect()).unwrap_or_default(),
    }
}

fn matches_everything(matches: &RouteMatch) -> bool {
    let RouteMatch { hosts, paths, methods, headers, query, cookies } = matches;
    hosts.is_empty()
        && paths.is_empty()
        && methods.is_empty()
        && headers.is_empty()
        && query.is_empty()
        && cookies.is_empty()
}

fn edits(written: file::Edits) -> Vec<HeaderEdit> {
    let remove = written.remove.into_iter().map(|Written(name)| HeaderEdit::Remove(name.0));
    let set = written.set.0.into_iter().map(|(name, Written(value))| HeaderEdit::Set(name.0, value));
    let default = written.default.0.into_iter().map(|(name, Written(value))| HeaderEdit::Default(name.0, value));
    let add = written.add.0.into_iter().map(|(name, Written(value))| HeaderEdit::Add(name.0, value));
    remove.chain(set).chain(default).chain(add).collect()
}

/// Deadlines of a route: its own, the upstream's for the others; `None` when it has none of its own.
fn timeouts(written: &file::RouteTimeouts, usual: UpstreamTimeouts) -> Option<UpstreamTimeouts> {
    let of = |own: &Option<Written<Deadline>>, usual| own.as_ref().map_or(usual, |Written(Deadline(span))| *span);
    let own =
        written.connect.is_some() || written.first_byte.is_some() || written.idle.is_some() || written.total.is_some();
    own.then(|| UpstreamTimeouts {
        connect: of(&written.connect, usual.connect),
        first_byte: of(&written.first_byte, usual.first_byte),
        idle: of(&written.idle, usual.idle),
        total: written.total.as_ref().map(|Written(Deadline(span))| *span).or(usual.total),
    })
}
