//! Which stored responses an unsafe request invalidates (RFC 9111 §4.4).

use http::{HeaderMap, Method, StatusCode, Uri, header};

/// Further methods that the IANA registry lists as safe (RFC 4918, RFC 3253, RFC 5323, RFC 9110 §16.1.1).
const SAFE_EXTENSIONS: [&str; 4] = ["PROPFIND", "REPORT", "SEARCH", "QUERY"];

/// Whether a request of this method with an answer of this status invalidates: any method not known to be safe, and
/// any answer that is no error.
pub fn applies(method: &Method, status: StatusCode) -> bool {
    let safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
        || SAFE_EXTENSIONS.contains(&method.as_str());
    !safe && (status.is_success() || status.is_redirection())
}

/// The further targets that Location and Content-Location name, resolved, as `/path?query`: only those of the
/// request's own origin, so that nobody invalidates for others.
pub fn named_targets(scheme: &str, authority: &str, path: &str, response: &HeaderMap) -> Vec<String> {
    [header::LOCATION, header::CONTENT_LOCATION]
        .iter()
        .filter_map(|name| response.get(name)?.to_str().ok())
        .filter_map(|reference| resolve(scheme, authority, path, reference))
        .collect()
}

/// Resolves a URI reference against an http(s) request's URI (RFC 3986 §5.2) to its path and query. `None` when it
/// is of another origin or no reference.
pub fn resolve(scheme: &str, authority: &str, path: &str, reference: &str) -> Option<String> {
    let reference = reference.split('#').next().unwrap_or_default().trim();
    if reference.is_empty() {
        return Some(path.to_owned());
    }
    let absolute = match reference.strip_prefix("//") {
        Some(rest) => Some(format!("{scheme}://{rest}")),
        None => has_scheme(reference).then(|| reference.to_owned()),
    };
    if let Some(absolute) = absolute {
        let uri: Uri = absolute.parse().ok()?;
        let same = uri.scheme_str().is_some_and(|other| other.eq_ignore_ascii_case(scheme))
            && uri.authority().is_some_and(|other| {
                without_default_port(scheme, other.as_str())
                    .eq_ignore_ascii_case(without_default_port(scheme, authority))
            });
        return same.then(|| uri.path_and_query().map_or("/".to_owned(), |target| target.as_str().to_owned()));
    }
    let base_path = path.split('?').next().unwrap_or("/");
    let (relative, query) = match reference.split_once('?') {
        Some((relative, query)) => (relative, Some(query)),
        None => (reference, None),
    };
    let merged = if relative.is_empty() {
        base_path.to_owned()
    } else if relative.starts_with('/') {
        without_dot_segments(relative)
    } else {
        let directory = &base_path[..base_path.rfind('/').map_or(0, |at| at + 1)];
        without_dot_segments(&format!("{directory}{relative}"))
    };
    Some(match query {
        Some(query) => format!("{merged}?{query}"),
        None => merged,
    })
}

fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else { return false };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn without_default_port<'a>(scheme: &str, authority: &'a str) -> &'a str {
    let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    authority.strip_suffix(port).unwrap_or(authority)
}

/// RFC 3986 §5.2.4.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_and_unknown_methods_invalidate_unless_they_failed() {
        for (method, status, expected) in [
            ("POST", 200, true),
            ("PUT", 204, true),
            ("DELETE", 303, true),
            ("PATCH", 200, true),
            ("M-SEARCH", 200, true),
            ("POST", 400, false),
            ("POST", 500, false),
            ("GET", 200, false),
            ("HEAD", 200, false),
            ("OPTIONS", 200, false),
            ("TRACE", 200, false),
            ("PROPFIND", 207, false),
        ] {
            let method: Method = method.parse().unwrap();
            assert_eq!(applies(&method, StatusCode::from_u16(status).unwrap()), expected, "{method} {status}");
        }
    }

    #[test]
    fn named_targets_stay_within_the_origin() {
        for (reference, expected) in [
            ("/new", Some("/new")),
            ("/new?a=1#top", Some("/new?a=1")),
            ("http://app.test/new", Some("/new")),
            ("HTTP://APP.test:80/new", Some("/new")),
            ("http://app.test", Some("/")),
            ("//app.test/x", Some("/x")),
            ("sibling", Some("/dir/sibling")),
            ("../up/./x", Some("/up/x")),
            ("?q=2", Some("/dir/page?q=2")),
            ("", Some("/dir/page?q=1")),
            ("http://other.test/new", None),
            ("https://app.test/new", None),
            ("http://app.test:8080/new", None),
            ("//other.test/x", None),
            ("mailto:a@b", None),
        ] {
            assert_eq!(resolve("http", "app.test", "/dir/page?q=1", reference).as_deref(), expected, "{reference}");
        }
    }

    proptest::proptest! {
        #[test]
        fn resolved_references_are_targets_of_the_origin(path in "/[a-z./%?]{0,12}", reference in "[a-z:/.?#%@0-9]{0,24}|\\PC{0,16}") {
            if let Some(target) = resolve("http", "app.test", &path, &reference) {
                assert!(target.starts_with('/'), "{path} {reference}: {target}");
            }
        }
    }
}
