//! What is read and what is refused, kind by kind.

use super::*;

fn server(text: &str) -> Result<String, Invalid> {
    UpstreamServer::parse(text).map(|server| format!("{} {} {}", server.tls, server.host, server.port))
}

#[test]
fn servers_are_read() {
    for (text, expected) in [
        ("http://127.0.0.1:3000", "false 127.0.0.1 3000"),
        ("http://App.Example/", "false app.example 80"),
        ("HTTPS://app", "true app 443"),
        ("http://[::1]:3000", "false ::1 3000"),
        ("https://[2001:db8::1]", "true 2001:db8::1 443"),
    ] {
        assert_eq!(server(text).as_deref(), Ok(expected), "{text}");
    }
    for (text, part) in [
        ("127.0.0.1:3000", "lacks `http://`"),
        ("ftp://app", "unknown scheme `ftp`"),
        ("http://", "no URL"),
        ("http://app:0", "port"),
        ("http://app:65536", "no URL"),
        ("http://app/path", "path"),
        ("http://app?x=1", "query"),
        ("http://app/#f", "fragment"),
        ("http://app:x", "no URL"),
        ("http://a b", "no URL"),
    ] {
        let invalid = server(text).unwrap_err();
        assert!(invalid.message.contains(part), "{text}: {invalid:?}");
    }
}

#[test]
fn servers_with_a_password_are_refused_without_showing_it() {
    for text in ["http://user:hunter2@app", "http://user:hunter2@app:99999", "http://u:hunter2@a b"] {
        let invalid = server(text).unwrap_err();
        assert!(!format!("{invalid:?}").contains("hunter2"), "{invalid:?}");
    }
}

#[test]
fn path_patterns_tell_their_four_forms_apart() {
    let form = |text: &str| {
        PathPattern::parse(text).map(|pattern| match pattern {
            PathPattern::Exact(path) => format!("exact {path}"),
            PathPattern::Prefix(path) => format!("prefix {path}"),
            PathPattern::Glob(glob) => {
                assert!(!glob.is_match("/a/b/c.html") || text.contains("**"));
                format!("glob {}", glob.glob().glob())
            }
            PathPattern::Regex(regex) => format!("regex {}", regex.as_str()),
        })
    };
    for (text, expected) in [
        ("/", "prefix /"),
        ("/a/", "prefix /a/"),
        ("= /a", "exact /a"),
        ("=/a*", "exact /a*"),
        ("/a/*.html", "glob /a/*.html"),
        ("/a/**/*.html", "glob /a/**/*.html"),
        ("~ ^/v[0-9]+/", "regex ^/v[0-9]+/"),
    ] {
        assert_eq!(form(text).as_deref(), Ok(expected), "{text}");
    }
    for text in ["a/", "", "= a", "/a[", "~ (", "http://x/"] {
        assert!(form(text).is_err(), "{text}");
    }
}

#[test]
fn other_values_are_read_or_refused() {
    let table: &[(&str, &[&str], &[&str])] = &[
        ("address", &["127.0.0.1:80", "[::]:0"], &["8080", ":8080", "localhost:80", "1.2.3.4", ""]),
        ("address-or-off", &["off", "127.0.0.1:80"], &["on", ""]),
        ("host-choice", &["client", "server", "a.example:81"], &["", "a b", "u@h"]),
        ("host-pattern", &["a.example", "*.example", "127.0.0.1", "[::1]"], &["", "*", "a.*", "a:80", "a b", "*."]),
        ("value-pattern", &["", "*", "x", "~ ^a$"], &["~ ("]),
        ("field-name", &["X-A", "accept"], &["", "a b", "ä", "a:"]),
        ("edited-field-name", &["x-a"], &["Host", "Content-Length", "transfer-encoding", "a b"]),
        ("field-value", &["", "a b"], &["a\nb", "\u{1}"]),
        ("method", &["GET", "PURGE"], &["get", "", "A B"]),
        ("status", &["200", "404", "599"], &["100", "600", "4xx", "", "0404"]),
        ("network", &["10.0.0.0/8", "::1", "192.0.2.1"], &["10.0.0.0/33", "lan", ""]),
        ("name", &["app", "a-b_1"], &["", "a b", "a.b", "ä"]),
        ("extension", &["css", "WOFF2"], &[".css", "*.css", ""]),
        ("media-type", &["text/css", "image/*", "*+json", "image/svg+xml"], &["css", "*/*", "text/", "*", "*+"]),
        ("log-target", &["off", "stdout", "/a/b"], &[""]),
        (
            "log-filter",
            &["info", "info,larder::cache=debug", "warn,larder[request{a=b}]=debug"],
            &["larder=loud", "a=b=c", "debug,foo", "larder::cache"],
        ),
        ("secret", &["", "s3cret"], &["a b", "ä", "a\n"]),
    ];
    for (format, good, bad) in table {
        let check = check_of(format).unwrap();
        for text in *good {
            assert_eq!(check(text), Ok(()), "{format} {text:?}");
        }
        for text in *bad {
            assert!(check(text).is_err(), "{format} {text:?}");
        }
    }
}
