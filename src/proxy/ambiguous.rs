//! Paths that an app may read otherwise than larder. Routes match the path as received, and so does what they guard and
//! how they cache; an app that decodes, merges or resolves first would then answer from behind another route.

use std::sync::Arc;

use http::request::Parts;

use super::admit::Admitted;
use super::route;
use super::site::{Site, SiteRoute};

/// How often escapes are undone: some apps stand behind a program that has done so before them.
const DECODINGS: usize = 2;

/// Whether another route would take the request if its path were read as some apps do. Doubled slashes alone, which
/// careless links have, matter only where one of the routes asks who or how much a client may.
pub fn is_ambiguous(site: &Site, admitted: &Admitted, request: &Parts, found: &Arc<SiteRoute>) -> bool {
    let path = admitted.target.path();
    if site.routes.len() < 2 || !may_be_read_otherwise(path) {
        return false;
    }
    let differs = |reading: &str| {
        let other = route::find_by(site, admitted, request, reading);
        let is_guarded = |route: &Arc<SiteRoute>| route.guard.is_some();
        let other_is = other.is_some_and(|other| Arc::ptr_eq(other, found));
        let only_slashes = || reading == merged(path);
        !other_is && (is_guarded(found) || other.is_some_and(is_guarded) || !only_slashes())
    };
    let mut reading = path.to_owned();
    (0..DECODINGS).any(|_| {
        reading = resolved(&decoded(&reading));
        differs(&reading)
    })
}

/// A cheap look: most paths have nothing to read twice.
fn may_be_read_otherwise(path: &str) -> bool {
    let bytes = path.as_bytes();
    bytes.iter().any(|byte| matches!(byte, b'%' | b'\\' | b';'))
        || bytes.windows(2).any(|pair| pair == b"//" || pair == b"/.")
}

/// Escapes of visible ASCII undone. Others, of other alphabets above all, mean the same to everybody.
fn decoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, behind)) = rest.split_once('%') {
        out.push_str(before);
        let byte = behind.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|byte| byte.is_ascii_graphic() || *byte == 0) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &behind[2..];
            }
            None => {
                out.push('%');
                rest = behind;
            }
        }
    }
    out + rest
}

/// Backslashes as slashes, parameters of segments cut off, dot segments resolved, slashes merged, and nothing behind
/// a NUL.
fn resolved(path: &str) -> String {
    let path = path.split('\0').next().unwrap_or_default().replace('\\', "/");
    let mut segments = Vec::new();
    let mut ends_open = true;
    for segment in path.split('/') {
        let name = segment.split(';').next().unwrap_or_default();
        ends_open = matches!(name, "" | "." | "..");
        match name {
            "" | "." => {}
            ".." => _ = segments.pop(),
            name => segments.push(name),
        }
    }
    let end = if ends_open && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

fn merged(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for char in path.chars() {
        if char != '/' || !out.ends_with('/') {
            out.push(char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_lenient_apps_do() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/", "/a/"),
            ("//a///b", "/a/b"),
            ("/a/./b/../c", "/a/c"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/../../a", "/a"),
            ("/%61dmin/x", "/admin/x"),
            ("/x/%2e%2E/admin/", "/admin/"),
            ("/x/..%2fadmin", "/admin"),
            ("/x/..%5Cadmin", "/admin"),
            ("/x\\..\\admin", "/admin"),
            ("/x/..;/admin/", "/admin/"),
            ("/admin;a=b/x", "/admin/x"),
            ("/admin%00.css", "/admin"),
            ("/caf%C3%A9/%20", "/caf%C3%A9/%20"),
            ("/100%", "/100%"),
            ("/%zz%2", "/%zz%2"),
        ] {
            assert_eq!(resolved(&decoded(path)), expected, "{path}");
            assert!(may_be_read_otherwise(path) || path == expected, "{path}");
        }
    }

    #[test]
    fn paths_without_anything_to_read_twice_cost_a_look() {
        for path in ["/", "/a/b.css", "/a-b_c~d/", "/a.b/c:d@e,f"] {
            assert!(!may_be_read_otherwise(path), "{path}");
        }
    }
}
