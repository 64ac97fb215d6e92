//! What is valid and hardly meant.

use super::*;

/// `line:column message` of every warning of a valid file; those of the first table are about `upstreams.app`.
fn warnings(text: &str) -> Vec<String> {
    let place = |warning: &Diagnostic| match &warning.place {
        Some(place) => format!("{}:{} {}", place.line, place.column, warning.message),
        None => warning.message.clone(),
    };
    let settings = valid(text);
    assert!(settings.warnings.iter().all(|warning| warning.severity == Severity::Warning));
    settings.warnings.iter().map(place).collect()
}

#[test]
fn what_has_no_effect_is_warned_of_at_its_place() {
    const TLS: &str = "tls = { certificates = [{ cert = \"c\", key = \"k\" }] }";
    const AT: &str = "[[listeners]]\naddress = \"127.0.0.1:80\"";
    for (text, expected) in [
        (
            format!("{AT}\n{TLS}\nhttps_redirect = 443"),
            "5:18 `https_redirect` has no effect on a listener that speaks TLS",
        ),
        (format!("{AT}\nhsts = {{ max_age = \"1d\" }}"), "4:8 `hsts` has no effect on a listener without `tls`"),
        (format!("{AT}\nmode = \"0600\""), "4:8 `mode` has no effect on what is no Unix socket of larder's own"),
        ("upstreams.app.sni = \"a\"".to_owned(), "2:21 `sni` has no effect where no server is `https://`"),
        ("upstreams.app.protocol = \"auto\"".to_owned(), "2:26 `auto` has no effect where no server is `https://`"),
        ("upstreams.app.hash_by = \"url\"".to_owned(), "2:25 `hash_by` has no effect without `balance = \"hash\"`"),
        (
            "upstreams.app.health.interval = \"1s\"".to_owned(),
            "2:33 `interval` has no effect without a `path`: there are no checks",
        ),
        ("upstreams.app.breaker.open = \"1s\"".to_owned(), "2:30 `open` has no effect without `enabled = true`"),
        ("cache.memory = \"0\"".to_owned(), "2:16 nothing is stored without memory"),
        (
            "cache = { memory = \"64MiB\", rules.max_object = \"1GiB\" }".to_owned(),
            "2:48 no body of more than 16MiB (a quarter of the memory) is stored",
        ),
        (
            "cache.memory = \"64MiB\"\nroutes = [{ cache.max_object = \"65MiB\" }]".to_owned(),
            "3:32 no body of more than 16MiB (a quarter of the memory) is stored",
        ),
        (
            "cache.disk = { path = \"/x\", size = \"1GiB\" }\ncache.rules.max_object = \"1GiB\"".to_owned(),
            "3:26 no body of more than 256MiB (`max_object` of `[cache.disk]`) is stored",
        ),
        (
            "routes = [{ upstream = \"app\", redirect.to = \"/new\" }]".to_owned(),
            "2:24 `upstream` has no effect beside `redirect`",
        ),
        (
            "routes = [{ match.path = \"/a\", redirect.to = \"{path}{query}\" }]".to_owned(),
            "2:46 this redirects to the same URL again and again",
        ),
        (
            "routes = [{ redirect.to = \"{scheme}://{host}{path}\" }]".to_owned(),
            "2:27 this redirects to the same URL again and again",
        ),
    ] {
        assert_eq!(warnings(&format!("{APP}{text}")), [expected], "{text}");
    }
}

#[test]
fn what_has_an_effect_is_not_warned_of() {
    const TLS: &str = "tls = { certificates = [{ cert = \"c\", key = \"k\" }] }";
    for text in [
        format!("[[listeners]]\naddress = \"127.0.0.1:80\"\n{TLS}\nhsts.max_age = \"1d\""),
        "[[listeners]]\naddress = \"127.0.0.1:80\"\nhttps_redirect = 443".to_owned(),
        "[[listeners]]\naddress = \"unix:/run/x\"\nmode = \"0600\"".to_owned(),
        "upstreams.app.protocol = \"http2\"".to_owned(),
        "upstreams.app.hash_by = \"url\"\nupstreams.app.balance = \"hash\"".to_owned(),
        "upstreams.app.health = { path = \"/h\", rise = 3 }".to_owned(),
        "upstreams.app.breaker = { enabled = false, open = \"1s\" }".to_owned(),
        "cache.disk = { path = \"/x\", size = \"1GiB\" }\ncache.memory = \"0\"".to_owned(),
        "cache.memory = \"1MiB\"".to_owned(),
        // After a POST, or without the cookie, the same URL is another request.
        "routes = [{ match.method = \"POST\", redirect = { to = \"{path}\", status = 303 } }]".to_owned(),
        "routes = [{ match.cookie = \"old\", redirect.to = \"{path}{query}\" }]".to_owned(),
        "routes = [{ match.path = \"/a/\", redirect.to = \"https://{host}{path}{query}\" }]".to_owned(),
    ] {
        assert_eq!(warnings(&format!("{APP}{text}")), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn servers_that_are_listed_twice_or_are_larder_are_warned_of() {
    for (listen, servers, expected) in [
        ("127.0.0.1:80", "\"http://a\", \"http://A:80\"", Some("1:36 the server http://a is listed twice")),
        (
            "127.0.0.1:80",
            "\"http://a\", { url = \"http://a\", weight = 2 }",
            Some("1:36 the server http://a is listed twice"),
        ),
        ("127.0.0.1:80", "\"http://a\", \"https://a\", \"http://a:81\"", None),
        ("127.0.0.1:81", "\"http://127.0.0.1:81\"", Some("1:24 larder itself listens on 127.0.0.1:81")),
        ("0.0.0.0:81", "\"http://localhost:81\"", Some("1:24 larder itself listens on 0.0.0.0:81")),
        ("unix:/run/a", "\"unix:/run/a\"", Some("1:24 larder itself listens on unix:/run/a")),
        ("0.0.0.0:81", "\"http://192.0.2.1:81\"", None),
        ("127.0.0.1:81", "\"http://127.0.0.2:81\"", None),
    ] {
        let text = format!("upstreams.a.servers = [{servers}]\n[[listeners]]\naddress = \"{listen}\"\n");
        let told = warnings(&text);
        assert_eq!(told.len(), usize::from(expected.is_some()), "{text}: {told:?}");
        assert!(expected.is_none_or(|expected| told[0].starts_with(expected)), "{text}: {told:?}");
    }
    let overrides = Overrides { upstream: Some("http://b".to_owned()), ..Overrides::default() };
    let text = "upstreams.app.servers = [\"http://a\", \"http://a\"]\n";
    assert_eq!(load_over(text, &overrides).unwrap().warnings, [], "the file's servers do not count");
}

#[test]
fn routes_behind_one_that_matches_all_they_do_are_warned_of() {
    for (wide, narrow, covered) in [
        ("path = \"/api/\"", "path = \"/api/v1/\"", true),
        ("path = \"/api/\"", "path = [\"= /api/\", \"/api/*.html\"]", true),
        ("path = \"/api/\"", "path = [\"/api/v1/\", \"/other\"]", false),
        ("path = \"/api/v1/\"", "path = \"/api/\"", false),
        ("path = \"/api/\"", "path = \"/**/x\"", false),
        ("path = \"/api/\"", "path = \"~ ^/api/\"", false),
        ("path = [\"/a\", \"/b\"]", "path = \"/b/c\", method = \"GET\"", true),
        ("path = \"/a\", method = \"GET\"", "path = \"/a\"", false),
        ("path = \"/a\", method = [\"GET\", \"HEAD\"]", "path = \"/a\", method = \"HEAD\"", true),
        ("path = \"~ ^/x\"", "path = \"~ ^/x\"", true),
        ("host = \"*.test\"", "host = \"a.test\", path = \"/a\"", true),
        ("host = \"a.test\"", "host = \"*.test\"", false),
        ("host = \"a.test\"", "path = \"/a\"", false),
        ("header = { X-A = \"*\" }", "header = { X-A = \"1\" }", true),
        ("header = { X-A = \"1\" }", "header = { X-A = \"2\" }", false),
        ("query = { a = \"~ 1\" }", "query = { a = \"~ 1\", b = \"*\" }", true),
        ("cookie = \"a\"", "cookie = [\"a\", \"b\"]", true),
        ("cookie = [\"a\", \"b\"]", "cookie = \"a\"", false),
    ] {
        let text = format!(
            "{APP}[[routes]]\nname = \"first\"\nmatch = {{ {wide} }}\n[[routes]]\nmatch = {{ {narrow} }}\n[[routes]]\n"
        );
        let expected = "6:9 never reached: the route `first` before it matches all that this does";
        let expected: &[&str] = if covered { &[expected] } else { &[] };
        assert_eq!(warnings(&text), expected, "{text}");
    }
}

#[test]
fn warnings_are_rendered_as_such() {
    let settings = valid_with_app("[upstreams.app.health]\nrise = 3\n");
    assert_eq!(
        settings.warnings[0].to_string(),
        "warning: `rise` has no effect without a `path`: there are no checks
 --> proxy.toml:3:8
  |
3 | rise = 3
  |        ^
"
    );
}
