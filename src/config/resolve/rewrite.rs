//! Rewrites and redirects of a route.

use http::{StatusCode, Uri};

use super::Resolver;
use crate::config::diagnostics::nearest;
use crate::config::file;
use crate::config::scalar::Written;
use crate::config::settings::{Redirect, Rewrite};

impl Resolver<'_> {
    /// `None`: nothing is rewritten.
    pub(super) fn rewrite(&mut self, written: file::Rewrite, path: &str) -> Option<Rewrite> {
        if written.replacement.is_some() != written.pattern.is_some()
            && !self.surroundings.document.mentions(&format!("{path}.pattern"))
        {
            self.problem(path, "`pattern` and `replacement` go together", None);
        }
        let bare = |domain: String| domain.trim_start_matches('.').to_ascii_lowercase();
        let cookie_domains = written.cookie_domains.0.into_iter().map(|(from, to)| (bare(from.0), bare(to)));
        let rewrite = Rewrite {
            strip_prefix: written.strip_prefix.map(|Written(prefix)| prefix.0),
            replace: written.pattern.map(|Written(regex)| (regex, written.replacement.unwrap_or_default())),
            add_prefix: written.add_prefix.map(|Written(prefix)| prefix.0),
            host: written.host.map(|Written(host)| host),
            cookie_domains: cookie_domains.collect(),
        };
        let Rewrite { strip_prefix, replace, add_prefix, host, cookie_domains } = &rewrite;
        let nothing = strip_prefix.is_none()
            && replace.is_none()
            && add_prefix.is_none()
            && host.is_none()
            && cookie_domains.is_empty();
        (!nothing).then_some(rewrite)
    }

    pub(super) fn redirect(&mut self, written: Option<file::Redirect>, path: &str) -> Option<Redirect> {
        let written = written?;
        let number = written.status.unwrap_or(308);
        if !matches!(number, 301 | 302 | 303 | 307 | 308) {
            self.problem(format!("{path}.status"), "a redirect has the status 301, 302, 303, 307 or 308", None);
        }
        // A missing target was reported by the check.
        let Written(to) = written.to?;
        let to = String::from_utf8_lossy(to.as_bytes()).into_owned();
        if let Some(place) = unknown_place(&to) {
            let help = match nearest(place, Redirect::PLACES.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("there are {}", Redirect::PLACES.map(|place| format!("`{place}`")).join(", ")),
            };
            self.problem(format!("{path}.to"), format!("nothing is filled in for `{place}`"), Some(help));
        } else if let Some(fault) = no_reference(&to) {
            let help = "write what may stand in Location, such as `/new` or `https://{host}{path}{query}`; escape other \
                        characters, as in `%20`";
            self.problem(format!("{path}.to"), format!("this is no URL: {fault}"), Some(help.to_owned()));
        }
        let status = StatusCode::from_u16(number).unwrap_or(StatusCode::PERMANENT_REDIRECT);
        Some(Redirect { to, status })
    }
}

/// Why a target is no URI reference (RFC 3986 §4.1) when it is filled in.
fn no_reference(to: &str) -> Option<String> {
    let filled = [("{scheme}", "https"), ("{host}", "a.test"), ("{path}", "/a"), ("{query}", "?a")];
    let filled = filled.iter().fold(to.to_owned(), |filled, (place, text)| filled.replace(place, text));
    if filled.is_empty() {
        return Some("it is empty".to_owned());
    }
    let is_legal = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c);
    if let Some(other) = filled.chars().find(|c| !is_legal(*c)) {
        return Some(format!("{other:?} has no place in it"));
    }
    let is_absolute = filled.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':'));
    let faulty = is_absolute && filled.contains("://") && filled.parse::<Uri>().is_err();
    faulty.then(|| format!("`{to}` can't be read"))
}

/// The first `{...}` of a redirect's target that stands for nothing. Browsers keep some redirects for ever, and a brace
/// has no place in a URL.
fn unknown_place(to: &str) -> Option<&str> {
    let mut places = to.match_indices('{').map(|(at, _)| {
        let end = to[at..].find('}').map_or(to.len(), |end| at + end + 1);
        &to[at..end]
    });
    places.find(|place| !Redirect::PLACES.contains(place))
}
