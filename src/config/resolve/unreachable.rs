//! Routes that are never reached, because one before them matches all that they do.

use std::sync::Arc;

use super::Resolver;
use crate::config::settings::{HostPattern, PathPattern, Route, RouteMatch, ValueMatch, ValuePattern};

impl Resolver<'_> {
    /// Warns of each; of those behind a route that matches everything, the routes themselves tell.
    pub(super) fn warn_of_unreachable(&mut self, routes: &[Arc<Route>]) {
        for (index, route) in routes.iter().enumerate() {
            let Some(before) = routes[..index].iter().find(|before| covers(&before.matches, &route.matches)) else {
                continue;
            };
            let message = format!("never reached: the route `{}` before it matches all that this does", before.name);
            let help = "the first match wins; move it up".to_owned();
            self.warning(format!("routes[{index}].match"), message, Some(help));
        }
    }
}

/// Whether what meets the conditions of `narrow` surely meets those of `wide`.
fn covers(wide: &RouteMatch, narrow: &RouteMatch) -> bool {
    let RouteMatch { hosts, paths, methods, headers, query, cookies } = wide;
    any_of(hosts, &narrow.hosts, covers_host)
        && any_of(paths, &narrow.paths, covers_path)
        && any_of(methods, &narrow.methods, |wide, narrow| wide == narrow)
        && all_of(headers, &narrow.headers, covers_value)
        && all_of(query, &narrow.query, covers_value)
        && all_of(cookies, &narrow.cookies, |wide, narrow| wide == narrow)
}

/// One of the conditions is to hold; none at all is no condition.
fn any_of<T>(wide: &[T], narrow: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    wide.is_empty() || !narrow.is_empty() && narrow.iter().all(|narrow| wide.iter().any(|wide| covers(wide, narrow)))
}

/// All of them are to hold.
fn all_of<T>(wide: &[T], narrow: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    wide.iter().all(|wide| narrow.iter().any(|narrow| covers(wide, narrow)))
}

fn covers_host(wide: &HostPattern, narrow: &HostPattern) -> bool {
    match (wide, narrow) {
        (HostPattern::Suffix(wide), HostPattern::Exact(narrow) | HostPattern::Suffix(narrow)) => {
            narrow.ends_with(wide.as_str())
        }
        (HostPattern::Exact(wide), HostPattern::Exact(narrow)) => wide == narrow,
        (HostPattern::Exact(_), HostPattern::Suffix(_)) => false,
    }
}

fn covers_path(wide: &PathPattern, narrow: &PathPattern) -> bool {
    match (wide, narrow) {
        (PathPattern::Prefix(wide), PathPattern::Exact(narrow) | PathPattern::Prefix(narrow)) => {
            narrow.starts_with(wide.as_str())
        }
        (PathPattern::Prefix(wide), PathPattern::Glob(narrow)) => {
            let literal = narrow.glob().glob().split(['*', '?', '[', '{', '\\']).next().unwrap_or_default();
            literal.starts_with(wide.as_str())
        }
        (PathPattern::Exact(wide), PathPattern::Exact(narrow)) => wide == narrow,
        (PathPattern::Glob(wide), PathPattern::Glob(narrow)) => wide.glob() == narrow.glob(),
        (PathPattern::Regex(wide), PathPattern::Regex(narrow)) => wide.as_str() == narrow.as_str(),
        _ => false,
    }
}

fn covers_value<N: PartialEq>(wide: &ValueMatch<N>, narrow: &ValueMatch<N>) -> bool {
    wide.name == narrow.name
        && match (&wide.value, &narrow.value) {
            (ValuePattern::Present, _) => true,
            (ValuePattern::Exact(wide), ValuePattern::Exact(narrow)) => wide == narrow,
            (ValuePattern::Regex(wide), ValuePattern::Regex(narrow)) => wide.as_str() == narrow.as_str(),
            _ => false,
        }
}
