//! Paths that an app may read otherwise than larder. Routes match the path as received, and so does what they guard and
//! how they cache; an app that decodes, merges or resolves first would then answer from behind another route.

/// What apps, and programs in front of them, make of a path before they match it: each at most some of it, in an order
/// that nobody knows, and some of it twice. `None`: it leaves the path as it is.
const STEPS: [fn(&str) -> Option<String>; 8] = [
    |path| decoded(path, |_| true),
    // Those who keep the borders of segments as they are.
    |path| decoded(path, |byte| !matches!(byte, b'/' | b'\\')),
    // RFC 3986 §6.2.2.2
    |path| decoded(path, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')),
    |path| path.contains('\\').then(|| path.replace('\\', "/")),
    without_parameters,
    resolved,
    merged,
    |path| path.split_once('\0').map(|(before, _)| before.to_owned()),
];

/// A path with more readings than that is none that a link has, and trying them all would take long.
const MOST_READINGS: usize = 64;

/// Whether some app reads a path as one that is `another`, which is also told whether nothing but doubled slashes makes
/// the difference.
pub(super) fn is_ambiguous(path: &str, another: impl Fn(&str, bool) -> bool) -> bool {
    if !may_be_read_otherwise(path) {
        return false;
    }
    let by_slashes_alone = merged(path);
    let mut readings = vec![path.to_owned()];
    let mut at = 0;
    while at < readings.len() {
        for step in STEPS {
            let Some(reading) = step(&readings[at]).filter(|reading| !readings.contains(reading)) else { continue };
            let is_by_slashes = by_slashes_alone.as_deref() == Some(&reading);
            if readings.len() == MOST_READINGS || another(&reading, is_by_slashes) {
                return true;
            }
            readings.push(reading);
        }
        at += 1;
    }
    false
}

/// A cheap look: most paths have nothing to read twice.
fn may_be_read_otherwise(path: &str) -> bool {
    let bytes = path.as_bytes();
    bytes.iter().any(|byte| matches!(byte, b'%' | b'\\' | b';'))
        || bytes.windows(2).any(|pair| pair == b"//" || pair == b"/.")
}

/// Escapes of visible ASCII undone, and that of NUL, where `which` says so. Others, of other alphabets above all, mean
/// the same to everybody.
fn decoded(path: &str, which: fn(u8) -> bool) -> Option<String> {
    let escaped = |behind: &str| {
        let byte = u8::from_str_radix(behind.get(..2)?, 16).ok()?;
        ((byte.is_ascii_graphic() || byte == 0) && which(byte)).then_some(char::from(byte))
    };
    if !path.split('%').skip(1).any(|behind| escaped(behind).is_some()) {
        return None;
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, behind)) = rest.split_once('%') {
        out.push_str(before);
        let byte = escaped(behind);
        out.push(byte.unwrap_or('%'));
        rest = if byte.is_some() { &behind[2..] } else { behind };
    }
    Some(out + rest)
}

/// What stands behind a `;` cut off each segment.
fn without_parameters(path: &str) -> Option<String> {
    path.contains(';').then(|| {
        let names: Vec<&str> = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
        names.join("/")
    })
}

/// Without dot segments (RFC 3986 §5.2.4).
fn resolved(path: &str) -> Option<String> {
    let path = path.strip_prefix('/')?;
    if !path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return None;
    }
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "." => {}
            ".." => _ = segments.pop(),
            segment => segments.push(segment),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") || matches!(path, "." | "..") {
        segments.push("");
    }
    Some(format!("/{}", segments.join("/")))
}

/// With slashes that follow one another as one.
fn merged(path: &str) -> Option<String> {
    path.contains("//").then(|| {
        let mut out = String::with_capacity(path.len());
        for char in path.chars() {
            if char != '/' || !out.ends_with('/') {
                out.push(char);
            }
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn readings(path: &str) -> Vec<String> {
        let seen = std::cell::RefCell::new(Vec::new());
        assert!(!is_ambiguous(path, |reading, _| {
            seen.borrow_mut().push(reading.to_owned());
            false
        }));
        seen.into_inner()
    }

    #[test]
    fn paths_are_read_as_lenient_apps_do() {
        for (path, expected) in [
            ("//a///b", "/a/b"),
            ("/a/./b/../c", "/a/c"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/../../a", "/a"),
            ("/a//../b", "/a/b"),
            ("/a//../b", "/b"),
            ("/%61dmin/x", "/admin/x"),
            ("/%252561dmin/x", "/admin/x"),
            ("/x/%2e%2E/admin/", "/admin/"),
            ("/x/..%2fadmin", "/admin"),
            ("/x/..%5Cadmin", "/admin"),
            ("/x\\..\\admin", "/admin"),
            ("/x/..;/admin/", "/admin/"),
            ("/admin;a=b/x", "/admin/x"),
            ("/admin%00.css", "/admin"),
            // Each of these leads elsewhere when everything is done that may be.
            ("/x/../admin/..;/../users", "/admin/users"),
            ("/x/..%2fadmin/..;/..%2fusers", "/admin/users"),
            ("//admin/..;/x", "/admin/..;/x"),
            ("/admin%2f..;/x", "/admin/..;/x"),
            ("/./admin/..%3b/x", "/admin/..;/x"),
            ("/static/../account/..;/../static%5ca%5cb/../profile", "/account/profile"),
            ("/%61dmin/../x", "/admin/../x"),
            ("/x/../admin/%2e%2e/y", "/admin/%2e%2e/y"),
            ("/x/../admin/..\\y", "/admin/..\\y"),
            ("/x/%2e%2e/admin%2f..", "/admin/.."),
            ("/x/..%3b/admin%2f..", "/admin/.."),
        ] {
            let readings = readings(path);
            assert!(readings.iter().any(|reading| reading == expected), "{path}: {readings:?}");
        }
    }

    #[test]
    fn paths_that_mean_the_same_to_everybody_have_one_reading() {
        for path in ["/", "/a/b.css", "/a-b_c~d/", "/a.b/c:d@e,f", "/a..b/c", "/caf%C3%A9/%20", "/100%", "/%zz%2"] {
            assert_eq!(readings(path), [""; 0], "{path}");
        }
        for path in ["/", "/a/b.css", "/a-b_c~d/", "/a.b/c:d@e,f"] {
            assert!(!may_be_read_otherwise(path), "{path}");
        }
    }

    #[test]
    fn paths_with_countless_readings_are_not_tried_to_the_end() {
        let path = format!("/%{}61", "25".repeat(3000));
        assert!(is_ambiguous(&path, |_, _| false));
    }

    proptest! {
        /// By a second, slower way: whole orders of steps, each done in turn.
        #[test]
        fn whatever_an_app_makes_of_a_path_is_among_its_readings(
            parts in proptest::collection::vec(
                prop::sample::select(vec![
                    "/", "//", "..", ".", ";", ";a=b", "\\", "%2f", "%5c", "%2e", "%3b", "%00", "%25", "%61", "a", "b",
                    "%C3%A9", "%20",
                ]),
                0..10,
            ),
            order in proptest::collection::vec(0..STEPS.len(), 0..8),
        ) {
            let path = format!("/{}", parts.concat());
            let read = order.iter().fold(path.clone(), |path, step| STEPS[*step](&path).unwrap_or(path));
            prop_assert!(read == path || is_ambiguous(&path, |reading, _| reading == read), "{} is {}", path, read);
        }
    }
}
