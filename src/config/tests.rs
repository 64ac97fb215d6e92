//! Loading as a whole: every kind of error with its place, defaults, the environment and the command line.

mod control;
mod devices;
mod disk;
mod example;
mod reach;
mod redirects;
mod warnings;

use std::time::Duration;

use super::settings::*;
use super::*;
use crate::policy::rules::{CookieRule, QueryRule, TtlMode};

const MACHINE: u64 = 8 << 30;

fn env(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("3000".to_owned()),
        "MANY" => Some("many".to_owned()),
        "ON" => Some("true".to_owned()),
        _ => None,
    }
}

fn load_over(text: &str, overrides: &Overrides) -> Result<Settings, Diagnostics> {
    let source = Source::Text { name: "proxy.toml".to_owned(), text: text.to_owned() };
    load_with(&source, &env, overrides, Some(MACHINE))
}

fn valid(text: &str) -> Settings {
    load_over(text, &Overrides::default()).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

/// Loads `text` behind a sound upstream.
fn valid_with_app(text: &str) -> Settings {
    valid(&format!("{APP}{text}"))
}

pub(super) const APP: &str = "upstreams.app.servers = [\"http://127.0.0.1:3000\"]\n";

fn errors(text: &str) -> String {
    load_over(text, &Overrides::default()).expect_err("what is wrong is found").to_string()
}

/// `line:column message` of every error.
fn places(text: &str) -> Vec<String> {
    let diagnostics = load_over(text, &Overrides::default()).expect_err("what is wrong is found");
    let place = |diagnostic: &Diagnostic| match &diagnostic.place {
        Some(place) => format!("{}:{} {}", place.line, place.column, diagnostic.message),
        None => diagnostic.message.clone(),
    };
    diagnostics.iter().map(place).collect()
}

#[test]
fn errors_are_rendered_with_line_caret_and_help() {
    assert_eq!(
        errors(&format!("{APP}[[listeners]]\nadress = \"127.0.0.1:80\"\n")),
        "error: missing key `address`
 --> proxy.toml:2:1
  |
2 | [[listeners]]
  | ^^^^^^^^^^^^^
error: unknown key `adress`
 --> proxy.toml:3:1
  |
3 | adress = \"127.0.0.1:80\"
  | ^^^^^^
  = help: did you mean `address`?
"
        .replace("\nerror: unknown", "\n\nerror: unknown")
    );
    assert_eq!(
        errors("[upstreams.app]\nservers = [\"127.0.0.1:3000\"]\nconnect_timeout = \"3x\" # short\n"),
        "error: `127.0.0.1:3000` is no URL of a server: it lacks `http://`
 --> proxy.toml:2:12
  |
2 | servers = [\"127.0.0.1:3000\"]
  |            ^^^^^^^^^^^^^^^^
  = help: write `http://127.0.0.1:3000`

error: `3x` is no duration
 --> proxy.toml:3:19
  |
3 | connect_timeout = \"3x\" # short
  |                   ^^^^
  = help: write e.g. `30s`, `5m`, `1h30m` or `30d`
"
    );
    assert_eq!(
        errors("[upstreams.app\n"),
        "error: unclosed table, expected `]`
 --> proxy.toml:1:15
  |
1 | [upstreams.app
  |               ^
"
    );
}

#[test]
fn every_kind_of_error_is_found_at_its_place() {
    for (text, expected) in [
        // Shape.
        ("[log]\nlevle = \"info\"", "3:1 unknown key `levle`"),
        ("[logs]\nlevel = \"info\"", "2:2 unknown key `logs`"),
        ("[log]\nlevel = 3", "3:9 expected a string, found an integer"),
        ("log = 3", "2:7 expected a table, found an integer"),
        ("[debug]\nbypass_all = \"yes\"", "3:14 expected true or false, found a string"),
        ("[debug]\nbypass_all = \"${MANY}\"", "3:14 expected true or false, found a string"),
        ("[limits]\nfields = 1.5", "3:10 expected an integer, found a float"),
        ("[limits]\nfields = 1979-05-27", "3:10 expected an integer, found a date"),
        ("[limits]\nfields = 0", "3:10 0 is too small, the least is 1"),
        ("[compression.levels]\nbr = 12", "3:6 12 is too large, the most is 11"),
        ("[limits]\nfields = 99999999999999999999", "3:10 integer out of range"),
        ("[upstreams.web]\nhost = \"client\"\n[[routes]]\nupstream = \"app\"", "2:12 missing key `servers`"),
        ("[upstreams.web]\nservers = []\n[[routes]]\nupstream = \"app\"", "3:11 expected at least one value"),
        ("cache.rules.cookies = []", "2:23 expected at least one value"),
        ("routes = [{ access = { allow = [] } }]", "2:32 expected at least one value"),
        ("control.purge_method.token = false", "2:9 missing key `allow`"),
        ("control.purge_method.allow = []", "2:30 expected at least one value"),
        ("[access_log]\nformat = \"jsn\"", "3:10 unknown value `jsn`, expected one of `json`, `combined`"),
        ("cache.rules.methods = [\"POST\"]", "2:24 unknown value `POST`, expected one of `GET`, `HEAD`"),
        ("cache.rules.cookies = true", "2:23 expected a string or an array, found a boolean"),
        ("[routes]\nname = \"x\"", "2:1 expected an array, found a table"),
        ("a = 1\na = 2", "3:1 duplicate key"),
        // Values.
        ("cache.rules.ttl = 30", "2:19 `30` lacks a unit"),
        ("cache.memory = \"101%\"", "2:16 `101%` is no percentage from 1% to 100%"),
        ("cache.memory = \"9GiB\"", "2:16 a memory budget of 9GiB is more than the 8GiB there are"),
        ("limits.head = \"big\"", "2:15 `big` is no size"),
        ("limits.head = 10", "2:15 a limit of 10 bytes would refuse everything"),
        ("limits.uri = \"64KiB\"", "2:14 `uri` is more than the 32KiB of `head`"),
        ("timeouts.idle = 0", "2:17 a deadline of 0 would end everything at once"),
        ("metrics.address = \":80\"", "2:19 `:80` is no address with a port"),
        (
            "upstreams.web.servers = [\"http://a:0\"]\nroutes = [{ upstream = \"app\" }]",
            "2:26 `http://a:0` is no URL of a server: its port is none from 1 to 65535",
        ),
        ("upstreams.\"a b\".servers = [\"http://a\"]", "2:11 `a b` is no name"),
        ("routes = [{ match = { path = \"~ (\" } }]", "2:30 `(` is no regular expression: unclosed group"),
        ("routes = [{ match = { path = [\"/a[\"] } }]", "2:31 `/a[` is no glob: unclosed character class; missing ']'"),
        (
            "routes = [{ match = { path = \"/a/{id}\" } }]",
            "2:30 `{id}` in the glob `/a/{id}` matches the text `id` alone",
        ),
        ("routes = [{ match = { host = \"a:80\" } }]", "2:30 `a:80` is no host: routes match hosts without their port"),
        ("routes = [{ match = { method = \"get\" } }]", "2:32 `get` is no method: methods are case-sensitive"),
        ("routes = [{ request_headers = { set = { \"a b\" = \"\" } } }]", "2:41 `a b` is no name of a header field"),
        ("routes = [{ request_headers = { remove = [\"Host\"] } }]", "2:43 `host` can't be edited"),
        ("server.trusted_proxies = [\"10.0.0.0/33\"]", "2:27 `10.0.0.0/33` is no network"),
        ("cache.rules.status_ttl = { 4xx = \"1s\" }", "2:28 `4xx` is no final status code"),
        ("log.level = \"larder=loud\"", "2:13 `larder=loud` is no log level"),
        ("log.level = \"lowd\"", "2:13 `lowd` is no log level"),
        ("control.token = \"${TOKEN}\"", "2:18 environment variable `TOKEN` is not set and has no default"),
        // The whole.
        ("routes = [{ upstream = \"ap\" }]", "2:24 unknown upstream `ap`"),
        (
            "routes = [{ name = \"a\", match = { path = \"/\" } }, { name = \"a\" }]",
            "2:60 there are two routes named `a`",
        ),
        (
            "[[routes]]\n[[routes]]\nmatch = { path = \"/\" }",
            "3:1 never reached: the route `route1` before it matches everything",
        ),
        ("metrics.address = \"127.0.0.1:8080\"", "2:19 address 127.0.0.1:8080 is used twice"),
        ("metrics.address = \"0.0.0.0:8080\"", "2:19 address 0.0.0.0:8080 overlaps with 127.0.0.1:8080"),
        ("metrics.address = \"[::]:8080\"", "2:19 address [::]:8080 overlaps with 127.0.0.1:8080"),
        (
            "[[listeners]]\naddress = \"[::]:1\"\n[[listeners]]\naddress = \"[::]:1\"",
            "5:11 address [::]:1 is used twice",
        ),
        ("cache.rules.upstream = \"override\"", "2:24 `override` needs a `ttl`"),
        ("routes = [{ cache = { upstream = \"override\" } }]", "2:34 `override` needs a `ttl`"),
        ("cache.rules = { ttl = \"2d\", ttl_max = \"1d\" }", "2:23 `ttl` is longer than `ttl_max`"),
        ("cache.rules.key.query = {}", "2:25 give either `only` or `except`"),
        ("cache.rules.key.query = { only = [], except = [] }", "2:25 give either `only` or `except`"),
        ("[static_files.font]\nmax_age = \"1d\"", "2:1 the new class `font` lacks `extensions`, `types`"),
        ("upstreams.b.servers = [\"http://b\"]\n[[routes]]", "3:1 this route names no `upstream`"),
        ("upstreams.b.servers = [\"http://b\"]", "several upstreams and no `[[routes]]` that says which serves what"),
    ] {
        assert_eq!(places(&format!("{APP}{text}")), [expected], "{text}");
    }
}

#[test]
fn all_errors_are_found_in_one_run_and_in_order() {
    let text = r#"
[[listeners]]
address = "8080"
[upstreams.app]
servers = ["ftp://a", "http://${UNSET}"]
protocol = "http3"
[[routes]]
name = "x"
upstream = "ap"
match = { path = ["~ (", "/a["] }
cache = { ttl = "30x", colapse = 1 }
[[routes]]
name = "x"
cache = { upstream = "override" }
[server]
trusted_proxies = ["lan"]
"#;
    let lines: Vec<_> = places(text).into_iter().map(|place| place.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(
        lines,
        ["3:11", "5:12", "5:31", "6:12", "9:12", "10:19", "10:26", "11:17", "11:24", "13:8", "14:22", "16:20"]
    );
}

#[test]
fn one_mistake_is_one_error() {
    for text in [
        "[upstream.app]\nservers = [\"http://a\"]",
        "upstreams.app.server = 1\nupstreams.app.servers = 1",
        "[upstreams.app]\nservers = [\"a\"]\n[[routes]]\nmatch = { path = \"x\" }\n[[routes]]",
    ] {
        let places = places(text);
        assert!(
            !places.iter().any(|place| place.contains("no upstream") || place.contains("never reached")),
            "{places:?}"
        );
    }
}

#[test]
fn syntax_errors_are_shown_one_a_line() {
    let places = places("a = [\nb = 1\n[c\n");
    let lines: Vec<_> = places.iter().map(|place| place.split(':').next().unwrap()).collect();
    let mut once = lines.clone();
    once.dedup();
    assert_eq!(lines, once, "{places:?}");
}

#[test]
fn nothing_at_all_lacks_an_upstream() {
    let diagnostics = load_with(&Source::None, &env, &Overrides::default(), Some(MACHINE)).unwrap_err();
    assert!(diagnostics.to_string().starts_with("error: no upstream is configured\n  = help: give `--upstream"));
}

#[test]
fn a_file_that_cannot_be_read_is_one_clear_line() {
    let source = Source::File("/nonexistent/proxy.toml".into());
    let shown = load(&source, &env, &Overrides::default()).unwrap_err().to_string();
    assert!(shown.starts_with("error: cannot read /nonexistent/proxy.toml: "), "{shown}");
}

#[test]
fn an_upstream_alone_gives_a_whole_configuration() {
    let settings = valid(APP);
    assert_eq!(settings.listeners, [Listener::from(defaults::LISTEN)]);
    assert_eq!(settings.metrics, Some(defaults::METRICS));
    let control = settings.control.unwrap();
    assert_eq!((control.address, control.token), (defaults::CONTROL, None));
    assert_eq!(control.token_file, Path::new("/var/lib/larder/control-token"));
    assert_eq!(settings.memory.size, MACHINE / 4);
    assert_eq!(settings.limits, Limits::default());
    let [route] = settings.routes.as_slice() else { panic!("one route") };
    assert_eq!((route.name.as_str(), route.upstream, route.cache_enabled), ("default", 0, true));
    assert_eq!(route.cache, crate::policy::rules::CacheRules::default());
    assert_eq!(route.compression, Some(Compression::default()));
    let names: Vec<_> = settings.static_classes.iter().map(|class| class.name.as_str()).collect();
    assert_eq!(names, ["fonts", "images", "styles", "scripts", "media", "documents"]);
}

#[test]
fn upstreams_keep_the_order_of_the_file() {
    let settings = valid(
        "[upstreams.z]\nservers = [\"http://z\"]\n[upstreams.a]\nservers = [\"http://a\"]\n\
         [[routes]]\nupstream = \"a\"\nmatch.path = \"/a/\"\n[[routes]]\nupstream = \"z\"\n",
    );
    let names: Vec<_> = settings.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["z", "a"]);
    let routes: Vec<_> = settings.routes.iter().map(|route| (route.name.as_str(), route.upstream)).collect();
    assert_eq!(routes, [("route1", 1), ("route2", 0)]);
}

#[test]
fn a_route_says_what_it_does() {
    let settings = valid_with_app(
        r#"
[cache.rules]
ttl = "1m"
cookies = "ignore"
key = { sort_query = true }
[[routes]]
name = "api"
match = { host = ["API.example", "*.example"], path = "= /a", method = "GET", header = { X-A = "*" }, query = { q = "~ ^1" }, cookie = "c" }
cache = { ttl = "30s", upstream = "override", cookies = ["sid"], key = { query = { except = ["utm_*"] } }, methods = ["GET"], status_ttl = { 404 = "10s" } }
request_headers = { add = { X-B = "2" }, set = { X-A = "1" }, remove = ["X-C"], default = { X-D = "4" } }
timeouts = { first_byte = "2m" }
compression = false
static_files = false
max_request_body = "1MiB"
"#,
    );
    let route = &settings.routes[0];
    assert_eq!(
        route.matches.hosts,
        [HostPattern::Exact("api.example".to_owned()), HostPattern::Suffix(".example".to_owned())]
    );
    assert!(matches!(route.matches.paths.as_slice(), [PathPattern::Exact(path)] if path == "/a"));
    assert!(matches!(route.matches.headers[0].value, ValuePattern::Present));
    assert!(matches!(&route.matches.query[0].value, ValuePattern::Regex(regex) if regex.as_str() == "^1"));
    assert_eq!(route.matches.cookies, ["c"]);
    assert_eq!(route.cache.ttl, Some(Duration::from_secs(30)));
    assert_eq!(route.cache.ttl_mode, TtlMode::Override);
    assert_eq!(route.cache.cookies, CookieRule::BypassNames(vec!["sid".to_owned()]));
    assert_eq!(route.cache.status_ttl, [(http::StatusCode::NOT_FOUND, Duration::from_secs(10))]);
    assert_eq!(route.key.query, QueryRule::Except(vec!["utm_*".to_owned()]));
    assert!(route.key.sort_query, "from [cache.rules]");
    assert_eq!(route.cache_methods, [http::Method::GET]);
    let edited: Vec<_> = route.request_headers.iter().map(|edit| format!("{edit:?}")).collect();
    for (edit, kind) in edited.iter().zip(["Remove", "Set", "Default", "Add"]) {
        assert!(edit.starts_with(kind), "{edited:?}");
    }
    let usual = UpstreamTimeouts::default();
    assert_eq!(route.timeouts, Some(UpstreamTimeouts { first_byte: Duration::from_secs(120), ..usual }));
    assert_eq!((route.compression.as_ref(), route.static_files, route.max_request_body), (None, false, 1 << 20));
}

#[test]
fn static_classes_are_changed_key_by_key_added_and_turned_off() {
    let settings = valid_with_app(
        "[static_files.fonts]\nmax_age = \"1d\"\nversioned_max_age = \"0\"\n[static_files.documents]\nenabled = false\n\
         [static_files.tiles]\nextensions = [\"PBF\"]\ntypes = [\"application/x-protobuf\"]\nmax_age = \"2d\"\noverride = true\n",
    );
    let names: Vec<_> = settings.static_classes.iter().map(|class| class.name.as_str()).collect();
    assert_eq!(names, ["tiles", "fonts", "images", "styles", "scripts", "media"]);
    let [tiles, fonts, ..] = settings.static_classes.as_slice() else { panic!("classes") };
    assert_eq!((tiles.extensions[0].as_str(), tiles.override_upstream), ("pbf", true));
    assert_eq!(tiles.versioned_max_age, Some(Duration::from_secs(365 * 86_400)));
    assert_eq!((fonts.max_age, fonts.versioned_max_age), (Duration::from_secs(86_400), None));
    assert_eq!(fonts.extensions[0], "woff2", "kept");
}

#[test]
fn variables_stand_for_strings_numbers_and_booleans() {
    let settings = valid(
        "[upstreams.app]\nservers = [\"http://a:${PORT}\"]\nmax_connections = \"${PORT}\"\n[debug]\nbypass_all = \"${ON}\"\n\
         [limits]\nfields = \"${NONE:-7}\"\n[cache]\nmemory = \"${NONE:-1}MiB\"\n[control]\ntoken = \"${NONE:-}\"\n",
    );
    let upstream = &settings.upstreams[0];
    assert_eq!((upstream.servers[0].port, upstream.max_connections), (3000, 3000));
    assert!(settings.debug.bypass_all);
    assert_eq!((settings.limits.fields, settings.memory.size), (7, 1 << 20));
    assert_eq!(settings.control.unwrap().token, None, "an empty token is none");
}

#[test]
fn memory_is_a_size_or_a_share() {
    for (written, size) in [("\"50%\"", MACHINE / 2), ("\"512MiB\"", 512 << 20), ("1000", 1000), ("0", 0)] {
        assert_eq!(valid_with_app(&format!("cache.memory = {written}")).memory.size, size, "{written}");
    }
    assert!(machine_memory().is_some_and(|bytes| bytes > 1 << 20));
}

#[test]
fn a_size_of_memory_needs_no_knowledge_of_the_machine() {
    let load = |text: &str| {
        let source = Source::Text { name: "proxy.toml".to_owned(), text: format!("{APP}{text}") };
        load_with(&source, &env, &Overrides::default(), None)
    };
    assert_eq!(load("cache.memory = \"9GiB\"").unwrap().memory.size, 9 << 30);
    for share in ["", "cache.memory = \"10%\""] {
        let shown = load(share).unwrap_err().to_string();
        assert!(shown.starts_with("error: cannot find out how much memory there is\n"), "{shown}");
    }
    assert_eq!(least(0, || panic!("asked for the rest of nothing")), None);
    assert_eq!((least(2, || Some(1)), least(1, || Some(2)), least(1, || None)), (Some(1), Some(1), Some(1)));
}

#[test]
fn the_command_line_goes_before_the_file() {
    let text = "[[listeners]]\naddress = \"127.0.0.1:1\"\n[metrics]\naddress = \"127.0.0.1:2\"\n\
                [control]\naddress = \"off\"\ntoken = \"file\"\n[cache]\nmemory = \"1MiB\"\n\
                [upstreams.web]\nservers = [\"http://web\"]\n\
                [[routes]]\nupstream = \"web\"\nmatch.path = \"/web/\"\n[[routes]]\n";
    let overrides = Overrides {
        upstream: Some("http://127.0.0.1:3000".to_owned()),
        listen: vec!["127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()],
        metrics: Some("off".to_owned()),
        control: Some("127.0.0.1:3".to_owned()),
        control_token: Some("flag".to_owned()),
        memory: Some("2MiB".to_owned()),
    };
    let settings = load_over(text, &overrides).unwrap();
    assert_eq!(settings.listeners.len(), 2);
    assert!(settings.listeners.iter().all(|listener| listener.address.to_string().ends_with(":0")));
    assert_eq!((settings.metrics, settings.memory.size), (None, 2 << 20));
    let control = settings.control.unwrap();
    assert_eq!((control.address.port(), control.token.as_deref()), (3, Some("flag")));
    let served: Vec<_> = settings.routes.iter().map(|route| settings.upstreams[route.upstream].name.as_str()).collect();
    assert_eq!(served, ["web", "app"]);
}

#[test]
fn an_upstream_of_the_command_line_replaces_the_servers_of_app() {
    let overrides = Overrides { upstream: Some("http://b".to_owned()), ..Overrides::default() };
    let settings = load_over(&format!("{APP}upstreams.app.host = \"server\""), &overrides).unwrap();
    let [app] = settings.upstreams.as_slice() else { panic!("one upstream") };
    assert_eq!((app.servers[0].host.as_str(), &app.host), ("b", &UpstreamHost::Server));
    let settings = load_over("upstreams.web.servers = [\"http://web\"]", &overrides).unwrap();
    assert_eq!(settings.upstreams[settings.routes[0].upstream].name, "app");
}

#[test]
fn errors_of_the_command_line_name_their_flag() {
    let overrides = Overrides {
        upstream: Some("127.0.0.1:3000".to_owned()),
        metrics: Some("9145".to_owned()),
        control_token: Some("hunter 2".to_owned()),
        memory: Some("lots".to_owned()),
        ..Overrides::default()
    };
    let shown = load_over("", &overrides).unwrap_err().to_string();
    for part in ["--upstream: `127.0.0.1:3000`", "--metrics: `9145`", "control token: a token is", "--memory: `lots`"] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    assert!(!shown.contains("hunter") && !shown.contains("-->"), "{shown}");
    let taken = Overrides { listen: vec![defaults::METRICS], ..Overrides::default() };
    let shown = load_over(APP, &taken).unwrap_err().to_string();
    assert_eq!(shown, "error: address 127.0.0.1:9145 is used twice\n");
}

#[test]
fn relative_paths_count_from_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.toml");
    let text =
        "[[listeners]]\naddress = \"127.0.0.1:1\"\ntls = { certificates = [{ cert = \"c.pem\", key = \"/k.pem\" }] }\n";
    std::fs::write(&path, format!("{APP}{text}[access_log]\ntarget = \"a.log\"\n")).unwrap();
    let settings = load(&Source::File(path), &env, &Overrides::default()).unwrap();
    let tls = settings.listeners[0].tls.as_ref().unwrap();
    assert_eq!(tls.certificates[0].cert, directory.path().join("c.pem"));
    assert_eq!(tls.certificates[0].key, Path::new("/k.pem"));
    assert!(tls.http2);
    assert_eq!(settings.access_log.target, LogTarget::File(directory.path().join("a.log")));
}

#[test]
fn a_generated_token_is_kept_in_the_state_directory() {
    for (set, expected) in [
        (&[("STATE_DIRECTORY", "/s:/t"), ("HOME", "/h")][..], "/s"),
        (&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")], "/x/larder"),
        (&[("HOME", "/h"), ("XDG_STATE_HOME", "")], "/h/.local/state/larder"),
        (&[], "/var/lib/larder"),
    ] {
        let env = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        assert_eq!(state_directory(&env), Path::new(expected));
    }
}

#[test]
fn masked_shows_everything_but_secrets() {
    let settings = valid_with_app(
        "control.token = \"hunter2\"\nroutes = [{ request_headers = { set = { Authorization = \"Basic hunter2\", X-Api-Key = \"hunter2\", X-A = \"seen\" } } }]",
    );
    let shown = masked(&settings);
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    assert_eq!(shown["control"]["token"], "***");
    assert_eq!(shown["routes"][0]["request_headers"][2], "set x-a: seen");
    assert_eq!(shown["upstreams"][0]["servers"][0], "http://127.0.0.1:3000");
    assert_eq!(shown["static_files"][0]["max_age"], "365d");
}

#[test]
fn changes_name_what_a_reload_changes() {
    let old = "[control]\ntoken = \"a\"\n[[listeners]]\naddress = \"127.0.0.1:1\"\n[[routes]]\nname = \"api\"\nmatch.path = \"~ ^/a\"\n\
               [[routes]]\nname = \"rest\"\n";
    let new = "[control]\ntoken = \"b\"\n[[listeners]]\naddress = \"127.0.0.1:2\"\n[[routes]]\nname = \"api\"\nmatch.path = \"~ ^/b\"\n\
               [[routes]]\nname = \"new\"\nmatch.path = \"/n\"\n[[routes]]\nname = \"rest\"\n[limits]\nfields = 50\nuri = \"4KiB\"\n";
    let (old, new) = (valid_with_app(old), valid_with_app(new));
    assert_eq!(changes(&old, &old), Vec::<String>::new());
    let mut lines = changes(&old, &new);
    lines.sort();
    assert_eq!(
        lines,
        [
            "control: `token` changed",
            "limits: `fields`, `uri` changed",
            "listeners: 127.0.0.1:1 removed",
            "listeners: 127.0.0.1:2 added",
            "routes: `api` changed",
            "routes: `new` added",
        ]
    );
    let routes = |first: &str, second: &str| {
        let route = |name: &str| format!("[[routes]]\nname = \"{name}\"\nmatch.path = \"/{name}\"\n");
        valid_with_app(&format!("{}{}", route(first), route(second)))
    };
    assert_eq!(changes(&routes("a", "b"), &routes("b", "a")), ["routes: order changed"]);
}

#[test]
fn errors_say_what_to_write_instead() {
    for (text, help) in [
        ("[upstreams.app]\nservers = \"http://a\"", "write a list: `[\"http://a\"]`"),
        ("[upstreams]\napp.servers = [\"http://a\"]\napp.connect_timeout = \"20\"", "`20s` is that many seconds"),
        ("[upstreams]\napp.servers = [\"http://a\"]\napp.connect_timeout = 20", "`20s` is that many seconds"),
        ("upstreams.app.servers = [\"http://a\"]\nroutes = [{ upstream = \"other\" }]", "known here: app"),
        ("upstreams.app.servers = [\"http://a/sub/\"]", "a route's `rewrite = { add_prefix = \"/sub/\" }` puts it"),
        ("cache.rules.cookies = []", "or write one of `protect`, `ignore`, `bypass`"),
        ("[[routes]]\nupstream = \"web\"", "there are none; name it in a table `[upstreams.web]`"),
        (
            "[upstreams]\napp.servers = [\"http://a\"]\n[routes]\nupstream = \"app\"",
            "write a list: `[{ … }]`, or the table's name in `[[ ]]`",
        ),
    ] {
        let errors = errors(text);
        assert!(errors.contains(&format!("help: {help}")), "{text}: {errors}");
    }
}
