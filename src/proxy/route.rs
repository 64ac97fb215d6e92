//! Step 2: the first route that matches.

use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;

use super::admit::Admitted;
use super::site::{Site, SiteRoute};
use crate::cache::key::cookie;
use crate::config::settings::{HostPattern, PathPattern, RouteMatch, ValuePattern};

/// The first route whose conditions all hold.
pub fn find<'a>(site: &'a Site, admitted: &Admitted, request: &Parts) -> Option<&'a Arc<SiteRoute>> {
    find_by(site, admitted, request, admitted.target.path())
}

/// The same if the path were another one.
pub(super) fn find_by<'a>(
    site: &'a Site,
    admitted: &Admitted,
    request: &Parts,
    path: &str,
) -> Option<&'a Arc<SiteRoute>> {
    site.routes.iter().find(|route| matches(&route.route.matches, admitted, request, path))
}

fn matches(conditions: &RouteMatch, admitted: &Admitted, request: &Parts, path: &str) -> bool {
    let RouteMatch { hosts, paths, methods, headers, query, cookies } = conditions;
    (methods.is_empty() || methods.contains(&request.method))
        && (hosts.is_empty() || hosts.iter().any(|pattern| host_matches(pattern, admitted.host())))
        && (paths.is_empty() || paths.iter().any(|pattern| path_matches(pattern, path)))
        && headers.iter().all(|condition| {
            request
                .headers
                .get_all(&condition.name)
                .iter()
                .any(|value| value_matches(&condition.value, value.to_str().ok()))
        })
        && query.iter().all(|condition| {
            parameters(admitted.target.query().unwrap_or_default(), &condition.name)
                .any(|value| value_matches(&condition.value, Some(value)))
        })
        && has_all_cookies(cookies, &request.headers)
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

fn value_matches(pattern: &ValuePattern, value: Option<&str>) -> bool {
    match (pattern, value) {
        (ValuePattern::Present, _) => true,
        (ValuePattern::Exact(exact), Some(value)) => exact == value,
        (ValuePattern::Regex(regex), Some(value)) => regex.is_match(value),
        (_, None) => false,
    }
}

fn parameters<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    query
        .split('&')
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
        .filter(move |(given, _)| *given == name)
        .map(|(_, value)| value)
}

fn has_all_cookies(names: &[String], headers: &HeaderMap) -> bool {
    names.iter().all(|name| cookie(headers, name).is_some())
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
            assert_eq!(
                matches(&conditions, &admitted, &parts, admitted.target.path()),
                expected,
                "{conditions:?} {url}"
            );
        }
    }
}
