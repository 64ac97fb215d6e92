//! Invalidation rules of routes, and the method PURGE.

use super::{Resolver, plain_list};
use crate::config::file;
use crate::config::settings::{Control, Invalidation, PathPattern, Piece, PurgeMethod, Scope, ScopedToken, Template};
use crate::config::values::{MAX_PATTERN, PurgeGlob};

impl Resolver<'_> {
    /// `paths` are those that the route matches.
    pub(super) fn invalidations(
        &mut self,
        written: Vec<file::Invalidation>,
        paths: &[PathPattern],
        route: &str,
    ) -> Vec<Invalidation> {
        let mut rules = Vec::new();
        for (index, written) in written.into_iter().enumerate() {
            let path = format!("{route}.invalidate[{index}]");
            let regexes = written.regex.map_or_else(Vec::new, |list| list.0);
            let rule = Invalidation {
                tags: written.tag.map_or_else(Vec::new, |list| list.0),
                prefixes: written.prefix.map_or_else(Vec::new, |list| list.0),
                globs: written.glob.map_or_else(Vec::new, |list| list.0.into_iter().map(|PurgeGlob(it)| it).collect()),
                regexes: regexes.iter().map(|regex| regex.as_str().to_owned()).collect(),
                soft: written.soft.unwrap_or_default(),
            };
            for (key, templates) in [("tag", &rule.tags), ("prefix", &rule.prefixes)] {
                self.check_groups(templates, paths, &format!("{path}.{key}"));
            }
            if rule.regexes.iter().any(|regex| regex.is_empty() || regex.len() > MAX_PATTERN) {
                let message = format!("a regular expression of a purge has 1 to {MAX_PATTERN} bytes");
                self.problem(format!("{path}.regex"), message, None);
            }
            let names_nothing = Invalidation { soft: rule.soft, ..Invalidation::default() } == rule;
            let document = self.surroundings.document;
            let faulty =
                ["tag", "prefix", "glob", "regex"].iter().any(|key| document.mentions(&format!("{path}.{key}")));
            if names_nothing && !faulty {
                let help = "name a `tag`, `prefix`, `glob` or `regex`".to_owned();
                self.problem(path, "this rule purges nothing", Some(help));
                continue;
            }
            rules.push(rule);
        }
        rules
    }

    /// A place that is filled in from the path must be a group of every path that the route matches.
    fn check_groups(&mut self, templates: &[Template], paths: &[PathPattern], path: &str) {
        let has = |pattern: &PathPattern, name: &str| match pattern {
            PathPattern::Regex(regex) => regex.capture_names().flatten().any(|known| known == name),
            _ => false,
        };
        for Template(pieces) in templates {
            for piece in pieces {
                let Piece::Group(name) = piece else { continue };
                if paths.is_empty() || !paths.iter().all(|pattern| has(pattern, name)) {
                    let help = format!(
                        "match paths by a regular expression with `(?<{name}>...)`, e.g. `~ ^/a/(?<{name}>[^/]+)`"
                    );
                    let message = format!("not every path of the route has a group `{name}`");
                    self.problem(path, message, Some(help));
                }
            }
        }
    }

    /// `None`: PURGE is a method like any other.
    pub(super) fn purge_method(
        &mut self,
        written: file::PurgeMethod,
        token: Option<&str>,
        tokens: &[ScopedToken],
    ) -> Option<PurgeMethod> {
        let allow = plain_list(written.allow).unwrap_or_default();
        if allow.is_empty() {
            return None;
        }
        let tokens = written.token.unwrap_or(true).then(|| {
            let whole = token.map(|token| ScopedToken {
                name: Control::HOLDER.to_owned(),
                token: token.to_owned(),
                scopes: vec![Scope::Admin],
            });
            let tokens: Vec<_> = whole.into_iter().chain(tokens.iter().cloned()).collect();
            if !tokens.iter().flat_map(|token| &token.scopes).any(|scope| scope.covers(Scope::Purge)) {
                let help = "set `[control] token`, add one to `[[control.tokens]]`, or say `token = false` where the \
                            address is enough";
                let message = "PURGE asks for a token with the scope `purge`, and the file has none";
                self.problem("control.purge_method", message, Some(help.to_owned()));
            }
            tokens
        });
        Some(PurgeMethod { allow, tokens })
    }
}
