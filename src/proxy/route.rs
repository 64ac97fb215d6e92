//! Step 2: the first route that matches.

use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;

use super::admit::Admitted;
use super::ambiguous;
use super::query::{self, Holds};
use super::refusal::Refusal;
use super::site::{Site, SiteRoute};
use crate::cache::key::alike_cookies;
use crate::config::settings::{HostPattern, PathPattern, RouteMatch, ValuePattern};

/// The first route whose conditions all hold.
///
/// # Errors
/// There is none, or an app may read the request as one for another route.
pub fn find<'a>(site: &'a Site, admitted: &Admitted, request: &Parts) -> Result<&'a Arc<SiteRoute>, Refusal> {
    let path = admitted.target.path();
    let taken = |path: &str| {
        let mut routes =
            site.routes.iter().map(|route| (route, matches(&route.route.matches, admitted, request, path)));
        routes.find(|(_, matches)| *matches != Holds::No)
    };
    let (found, matches) = taken(path).ok_or(Refusal::NoRoute)?;
    if matches == Holds::Unclear {
        return Err(Refusal::AmbiguousQuery);
    }
    let is_guarded = |route: &Arc<SiteRoute>| route.guard.is_some();
    // Doubled slashes, which careless links have, matter only where it is asked who or how much a client may.
    let is_another = |reading: &str, by_slashes_alone: bool| match taken(reading) {
        Some((other, Holds::Yes)) if Arc::ptr_eq(other, found) => false,
        other => !by_slashes_alone || is_guarded(found) || other.is_some_and(|(other, _)| is_guarded(other)),
    };
    let asks_for_paths = || site.routes.iter().any(|route| !route.route.matches.paths.is_empty());
    if asks_for_paths() && ambiguous::is_ambiguous(path, is_another) {
        return Err(Refusal::AmbiguousPath);
    }
    Ok(found)
}

fn matches(conditions: &RouteMatch, admitted: &Admitted, request: &Parts, path: &str) -> Holds {
    let RouteMatch { hosts, paths, methods, headers, query, cookies } = conditions;
    let others_hold = (methods.is_empty() || methods.contains(&request.method))
        && (hosts.is_empty() || hosts.iter().any(|pattern| host_matches(pattern, admitted.host())))
        && (paths.is_empty() || paths.iter().any(|pattern| path_matches(pattern, path)))
        && headers.iter().all(|condition| {
            request
                .headers
                .get_all(&condition.name)
                .iter()
                .any(|value| value_matches(&condition.value, value.to_str().ok()))
        })
        && has_all_cookies(cookies, &request.headers);
    let mut holds = if others_hold { Holds::Yes } else { Holds::No };
    for condition in query {
        match (holds, query::holds(condition, admitted.target.query().unwrap_or_default())) {
            (Holds::No, _) | (_, Holds::No) => return Holds::No,
            (_, Holds::Unclear) => holds = Holds::Unclear,
            (_, Holds::Yes) => {}
        }
    }
    holds
}

fn host_matches(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Exact(exact) => exact == host,
        HostPattern::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
    }
}

fn path_matches(pattern: &PathPattern, path: &str) -> bool {
    match pattern {
        PathPattern::Exact(exact) => exact == path,
        PathPattern::Prefix(prefix) => path.starts_with(prefix.as_str()),
        PathPattern::Glob(glob) => glob.is_match(path),
        PathPattern::Regex(regex) => regex.is_match(path),
    }
}

/// Whether a value, if it is text, is what is asked for.
pub(super) fn value_matches(pattern: &ValuePattern, value: Option<&str>) -> bool {
    match (pattern, value) {
        (ValuePattern::Present, _) => true,
        (ValuePattern::Exact(exact), Some(value)) => exact == value,
        (ValuePattern::Regex(regex), Some(value)) => regex.is_match(value),
        (_, None) => false,
    }
}

/// Whether all are there, for some app at least: who hides one from larder takes no route by that.
fn has_all_cookies(names: &[String], headers: &HeaderMap) -> bool {
    names.iter().all(|name| alike_cookies(headers, name).next().is_some())
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;
    use crate::config::settings::ValueMatch;

    fn asked(method: &str, url: &str, fields: &[(&str, &str)]) -> (Admitted, Parts) {
        let mut request = http::Request::builder().method(method).uri(url);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let admitted = Admitted {
            scheme: "http",
            authority: parts.uri.authority().unwrap().to_string(),
            target: parts.uri.path_and_query().unwrap().clone(),
            client: [127, 0, 0, 1].into(),
            via_trusted_proxy: false,
            trusted_client: false,
        };
        (admitted, parts)
    }

    #[test]
    fn route_conditions_must_all_hold() {
        let glob = |pattern| {
            let glob = globset::GlobBuilder::new(pattern).literal_separator(true).build().unwrap();
            PathPattern::Glob(glob.compile_matcher())
        };
        let any = RouteMatch::default;
        let value = |name: &str, value| ValueMatch { name: name.to_owned(), value };
        let field = |name: &'static str, value| ValueMatch { name: http::HeaderName::from_static(name), value };
        let is_number = || ValuePattern::Regex(Regex::new("^[0-9]+$").unwrap());
        let get: &[(&str, &str)] = &[("cookie", "a=1; b=2"), ("x-v", "7")];
        for (conditions, url, expected) in [
            (any(), "http://a.test/x", true),
            (RouteMatch { hosts: vec![HostPattern::Exact("a.test".into())], ..any() }, "http://a.test:81/", true),
            (RouteMatch { hosts: vec![HostPattern::Exact("a.test".into())], ..any() }, "http://b.test/", false),
            (RouteMatch { hosts: vec![HostPattern::Suffix(".a.test".into())], ..any() }, "http://x.a.test/", true),
            (RouteMatch { hosts: vec![HostPattern::Suffix(".a.test".into())], ..any() }, "http://a.test/", false),
            (RouteMatch { paths: vec![PathPattern::Exact("/x".into())], ..any() }, "http://a.test/x?q", true),
            (RouteMatch { paths: vec![PathPattern::Exact("/x".into())], ..any() }, "http://a.test/x/", false),
            (RouteMatch { paths: vec![PathPattern::Prefix("/x".into())], ..any() }, "http://a.test/xy", true),
            (RouteMatch { paths: vec![glob("/a/*.html")], ..any() }, "http://a.test/a/b.html", true),
            (RouteMatch { paths: vec![glob("/a/*.html")], ..any() }, "http://a.test/a/c/b.html", false),
            (RouteMatch { paths: vec![glob("/a/**/*.html")], ..any() }, "http://a.test/a/c/b.html", true),
            (RouteMatch { methods: vec![http::Method::POST], ..any() }, "http://a.test/", false),
            (RouteMatch { query: vec![value("q", ValuePattern::Present)], ..any() }, "http://a.test/?p&q", true),
            (RouteMatch { query: vec![value("q", is_number())], ..any() }, "http://a.test/?q=1", true),
            (RouteMatch { query: vec![value("q", is_number())], ..any() }, "http://a.test/?q=x", false),
            (
                RouteMatch { headers: vec![field("x-v", ValuePattern::Exact("7".into()))], ..any() },
                "http://a.test/",
                true,
            ),
            (RouteMatch { headers: vec![field("x-w", ValuePattern::Present)], ..any() }, "http://a.test/", false),
            (RouteMatch { cookies: vec!["a".into(), "b".into()], ..any() }, "http://a.test/", true),
            (RouteMatch { cookies: vec!["a".into(), "c".into()], ..any() }, "http://a.test/", false),
        ] {
            let (admitted, parts) = asked("GET", url, get);
            let expected = if expected { Holds::Yes } else { Holds::No };
            assert_eq!(
                matches(&conditions, &admitted, &parts, admitted.target.path()),
                expected,
                "{conditions:?} {url}"
            );
        }
    }
}
