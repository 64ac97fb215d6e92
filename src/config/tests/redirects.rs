//! Where redirects lead to.

use super::*;

#[test]
fn redirects_name_what_they_fill_in() {
    for (to, problem) in [
        ("https://{host}/new{query}", None),
        ("{scheme}://{host}{path}{query}", None),
        ("https://{hsot}/{path}", Some("nothing is filled in for `{hsot}`")),
        ("/a{nope}", Some("nothing is filled in for `{nope}`")),
        ("/a{path", Some("nothing is filled in for `{path`")),
        ("/new?a=%20b#c", None),
        ("new", None),
        ("//{host}:8443{path}", None),
        ("mailto:a@b", None),
        ("https://[::1]:8443/", None),
        ("", Some("this is no URL: it is empty")),
        ("foo bar", Some("this is no URL: ' ' has no place in it")),
        ("/größe", Some("this is no URL: 'ö' has no place in it")),
        ("https://{host}:{path}x y", Some("this is no URL: ' ' has no place in it")),
        ("https://a:b:c/", Some("this is no URL: `https://a:b:c/` can't be read")),
    ] {
        let text = format!("{APP}[[routes]]\nredirect = {{ to = \"{to}\" }}\n");
        match problem {
            None => drop(valid(&text)),
            Some(problem) => assert_eq!(places(&text), [format!("3:19 {problem}")], "{to}"),
        }
    }
    assert!(errors(&format!("{APP}[[routes]]\nredirect.to = \"/{{hsot}}\"\n")).contains("did you mean `{host}`?"));
}
