//! What the rules of a route purge when an unsafe request succeeds on it (`[[routes.invalidate]]`).
//!
//! The purge is in force before the client has its answer. What it matches is taken out off the request's path, by one
//! task for all rules: a route that is written to often does not sweep memory as often.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use parking_lot::Mutex;
use regex::Captures;

use super::{Asked, Proxy};
use crate::cache::purge::{BadTarget, Mode, Ordered, Patterns, Purge, PurgeTarget, told};
use crate::config::settings::{Invalidation, PathPattern, Piece, Route, Template};
use crate::policy::reason::PurgeReason;

/// Longest prefix of a purge, in bytes; what a request makes longer is cut, so that it purges more rather than less.
const MAX_PREFIX: usize = 4096;

/// Purges of rules that are in force and have still to be carried out.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    orders: Vec<Order>,
    is_worked_on: bool,
}

/// A purge with what the audit log says of it.
#[derive(Debug)]
struct Order {
    ordered: Ordered,
    client: IpAddr,
    method: Method,
    route: Arc<Route>,
}

/// Whether the patterns of a route's rules can be compiled, all together.
///
/// # Errors
/// They can't; a purge of theirs would come to mean everything.
pub fn check(route: &Route) -> Result<(), BadTarget> {
    Patterns::new(&route.invalidate.iter().flat_map(patterns).collect::<Vec<_>>()).map(drop)
}

/// Those of a rule that no request changes.
fn patterns(rule: &Invalidation) -> impl Iterator<Item = PurgeTarget> {
    let globs = rule.globs.iter().cloned().map(PurgeTarget::Glob);
    globs.chain(rule.regexes.iter().cloned().map(PurgeTarget::Regex))
}

/// Puts in force what the route's rules name, after a request that invalidates.
pub(super) fn apply(asked: &Asked<'_>) {
    let (proxy, route) = (asked.proxy, &asked.route.route);
    for mode in [Mode::Hard, Mode::Soft] {
        let rules = route.invalidate.iter().filter(|rule| rule.soft == (mode == Mode::Soft));
        let targets: Vec<_> = rules.flat_map(|rule| targets(asked, rule)).collect();
        if targets.is_empty() {
            continue;
        }
        let ordered = proxy.cache.order(Purge::new(targets, mode, proxy.clock.wall()));
        proxy.telemetry.metrics.purged(PurgeReason::Rule);
        let (client, method) = (asked.admitted.client, asked.parts.method.clone());
        proxy.waiting.add(proxy, Order { ordered, client, method, route: route.clone() });
    }
}

fn targets(asked: &Asked<'_>, rule: &Invalidation) -> Vec<PurgeTarget> {
    let path = asked.admitted.target.path();
    let groups = asked.route.route.matches.paths.iter().find_map(|pattern| match pattern {
        PathPattern::Regex(regex) => regex.captures(path),
        _ => None,
    });
    let fill = |template: &Template, host: &str| fill(template, host, path, groups.as_ref());
    let tags = rule.tags.iter().filter_map(|tag| fill(tag, asked.admitted.host())).map(PurgeTarget::Tag);
    // Keys begin with the host and its port, unless that is the scheme's default.
    let prefixes = rule.prefixes.iter().filter_map(|prefix| fill(prefix, &asked.admitted.authority));
    let prefixes = prefixes.map(|prefix| PurgeTarget::Prefix(cut(prefix)));
    tags.chain(prefixes).chain(patterns(rule)).collect()
}

/// The text with its places filled in; `None` where one of them has nothing to fill in.
fn fill(template: &Template, host: &str, path: &str, groups: Option<&Captures<'_>>) -> Option<String> {
    let mut text = String::new();
    for piece in &template.0 {
        text.push_str(match piece {
            Piece::Text(text) => text,
            Piece::Host => host,
            Piece::Path => path,
            Piece::Group(name) => groups?.name(name)?.as_str(),
        });
    }
    Some(text).filter(|text| !text.is_empty())
}

fn cut(mut prefix: String) -> String {
    let mut end = prefix.len().min(MAX_PREFIX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    prefix.truncate(end);
    prefix
}

impl Waiting {
    fn add(&self, proxy: &Arc<Proxy>, order: Order) {
        let mut queue = self.0.lock();
        queue.orders.push(order);
        if !std::mem::replace(&mut queue.is_worked_on, true) {
            let proxy = proxy.clone();
            tokio::task::spawn_blocking(move || while proxy.waiting.work(&proxy) {});
        }
    }

    /// Carries out what waits; false: nothing did. Of purges of the same, the last finds what all would.
    fn work(&self, proxy: &Proxy) -> bool {
        let orders = {
            let mut queue = self.0.lock();
            queue.is_worked_on = !queue.orders.is_empty();
            std::mem::take(&mut queue.orders)
        };
        let same = |order: &Order| {
            let purge = &order.ordered.logged().purge;
            (purge.targets.clone(), purge.mode == Mode::Soft)
        };
        let last: HashMap<_, _> = orders.iter().enumerate().map(|(at, order)| (same(order), at)).collect();
        let any = !orders.is_empty();
        for (at, order) in orders.into_iter().enumerate() {
            let is_last = last.get(&same(&order)) == Some(&at);
            let Order { ordered, client, method, route } = order;
            let logged = ordered.logged().clone();
            let purging = proxy.cache.carry_out(ordered);
            let found = if is_last { purging.finish() } else { purging.leave_to_later() };
            let purge = &logged.purge;
            tracing::info!(
                target: "audit", peer = %client, route = route.name, %method, action = "purge",
                reason = PurgeReason::Rule.word(), id = purge.id, what = %told(&purge.targets),
                soft = purge.mode == Mode::Soft, targets = purge.targets.len(), count = found.total(), "rule"
            );
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn places_are_filled_in_once_and_from_the_request() {
        let group = |name: &str| Piece::Group(name.to_owned());
        let text = |text: &str| Piece::Text(text.to_owned());
        let regex = Regex::new("^/(?<kind>[a-z]*)/(?<id>[^/]+)(?<rest>/.*)?$").unwrap();
        for (pieces, path, filled) in [
            (vec![text("report-"), group("id")], "/a/7", Some("report-7")),
            (vec![text("report-"), group("id")], "/a/{host}", Some("report-{host}")),
            (vec![Piece::Host, Piece::Path], "/a/7", Some("app.test/a/7")),
            (vec![text("x"), group("rest")], "/a/7", None),
            (vec![group("kind")], "//7", None),
            (vec![group("kind")], "elsewhere", None),
        ] {
            let groups = regex.captures(path);
            let text = fill(&Template(pieces), "app.test", path, groups.as_ref());
            assert_eq!(text.as_deref(), filled, "{path}");
        }
        assert_eq!(cut(format!("{}é", "x".repeat(MAX_PREFIX - 1))).len(), MAX_PREFIX - 1);
    }
}
