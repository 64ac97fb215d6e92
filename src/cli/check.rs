//! `larder check`: is a configuration valid, and if not, what is wrong where; or the JSON Schema for editors.

use std::io::{self, Write};
use std::path::Path;

use crate::config::settings::Settings;
use crate::config::{self, Env, Overrides, Source};
use crate::proxy::guard::Guard;
use crate::proxy::purge_rules;
use crate::server;

/// What came of a check; `main` turns it into the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The configuration can be run.
    Valid,
    /// It can't; what is wrong was written to `err`.
    Invalid,
}

/// Checks the file `config` (none: the defaults) under `overrides`, or writes the JSON Schema of the file to `out`.
///
/// # Errors
/// When `out` or `err` can't be written.
pub fn run(
    config: Option<&Path>,
    schema: bool,
    overrides: &Overrides,
    env: &Env<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    if schema {
        writeln!(out, "{:#}", config::schema())?;
        return Ok(Verdict::Valid);
    }
    let source = config.map_or(Source::None, |path| Source::File(path.to_owned()));
    match config::load(&source, env, overrides) {
        Ok(settings) => {
            if let Err(error) = files(&settings) {
                writeln!(err, "error: {error}\n1 error")?;
                return Ok(Verdict::Invalid);
            }
            let name = config.map_or_else(|| "no file".to_owned(), |path| path.display().to_string());
            let (listeners, upstreams, routes) =
                (settings.listeners.len(), settings.upstreams.len(), settings.routes.len());
            writeln!(out, "{name}: valid; listeners: {listeners}, upstreams: {upstreams}, routes: {routes}")?;
            Ok(Verdict::Valid)
        }
        Err(diagnostics) => {
            let count = diagnostics.iter().count();
            let noun = if count == 1 { "error" } else { "errors" };
            write!(err, "{diagnostics}\n{count} {noun}\n")?;
            Ok(Verdict::Invalid)
        }
    }
}

/// What the start would open and set up: certificates, keys, authorities, files of users, patterns of purges.
fn files(settings: &Settings) -> Result<(), String> {
    server::check_tls(&settings.listeners).map_err(|error| error.to_string())?;
    for route in &settings.routes {
        Guard::of(route, None).map_err(|error| format!("route `{}`: {error}", route.name))?;
        purge_rules::check(route).map_err(|error| format!("route `{}`, `invalidate`: {error}", route.name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: Option<&str>, schema: bool) -> (Verdict, String, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxy.toml");
        std::fs::write(&path, text.unwrap_or_default()).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let config = text.map(|_| path.as_path());
        let verdict = run(config, schema, &Overrides::default(), &|_| None, &mut out, &mut err).unwrap();
        (verdict, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn check_says_that_a_file_is_valid() {
        let (verdict, out, err) = check(Some("[upstreams.app]\nservers = [\"http://127.0.0.1:3000\"]\n"), false);
        assert_eq!((verdict, err.as_str()), (Verdict::Valid, ""));
        assert!(out.ends_with("proxy.toml: valid; listeners: 1, upstreams: 1, routes: 1\n"), "{out}");
    }

    #[test]
    fn check_shows_what_is_wrong_and_counts_it() {
        let (verdict, out, err) = check(Some("[upstreams.app]\nserver = [\"http://a\"]\n[cach]\n"), false);
        assert_eq!((verdict, out.as_str()), (Verdict::Invalid, ""));
        assert!(err.contains("proxy.toml:2:1\n") && err.contains("did you mean `servers`?"), "{err}");
        assert!(err.ends_with("3 errors\n"), "{err}");
        assert_eq!(check(None, false).0, Verdict::Invalid, "no upstream");
    }

    #[test]
    fn check_prints_the_schema() {
        let (verdict, out, _) = check(None, true);
        assert_eq!(verdict, Verdict::Valid);
        let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(schema["properties"]["routes"]["items"]["properties"]["cache"]["properties"]["ttl"].is_object());
    }
}
