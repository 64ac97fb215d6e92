//! `larder check`: is a configuration valid, and if not, what is wrong where; or the JSON Schema for editors.

use std::io::{self, Write};
use std::path::Path;

use super::files;
use crate::config::{self, Diagnostics, Env, Overrides, Source};

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
    let checked = config::load(&source, env, overrides).and_then(|settings| {
        let faults = files::faults(&settings, &source)?;
        faults.map_or(Ok(settings), Err)
    });
    match checked {
        Ok(settings) => {
            for warning in &settings.warnings {
                writeln!(err, "{warning}")?;
            }
            let name = config.map_or_else(|| "no file".to_owned(), |path| path.display().to_string());
            let (listeners, upstreams, routes) =
                (settings.listeners.len(), settings.upstreams.len(), settings.routes.len());
            write!(out, "{name}: valid; listeners: {listeners}, upstreams: {upstreams}, routes: {routes}")?;
            match settings.warnings.len() {
                0 => writeln!(out)?,
                count => writeln!(out, ", warnings: {count}")?,
            }
            Ok(Verdict::Valid)
        }
        Err(diagnostics) => {
            tell(&diagnostics, err)?;
            Ok(Verdict::Invalid)
        }
    }
}

fn tell(diagnostics: &Diagnostics, err: &mut dyn Write) -> io::Result<()> {
    let count = diagnostics.iter().count();
    let noun = if count == 1 { "error" } else { "errors" };
    write!(err, "{diagnostics}\n{count} {noun}\n")
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
    fn check_warns_of_what_has_no_effect_and_is_content() {
        let text = "[upstreams.app]\nservers = [\"http://127.0.0.1:3000\"]\nsni = \"a\"\n";
        let (verdict, out, err) = check(Some(text), false);
        assert_eq!(verdict, Verdict::Valid);
        assert!(out.ends_with("valid; listeners: 1, upstreams: 1, routes: 1, warnings: 1\n"), "{out}");
        assert!(err.starts_with("warning: `sni` has no effect") && err.contains("proxy.toml:3:7\n"), "{err}");
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
    fn check_opens_what_the_start_would_and_names_all_that_it_cannot() {
        let text = r#"
access_log.target = "/nowhere/access.log"
control.token_file = "/dev/null/token"
[[listeners]]
address = "127.0.0.1:0"
[listeners.tls]
certificates = [
  { cert = "/nowhere/a.pem", key = "/nowhere/a.key" },
  { cert = "/nowhere/b.pem", key = "/nowhere/b.key" },
]
client_ca = "/nowhere/clients.pem"
[upstreams.app]
servers = ["https://127.0.0.1:9"]
ca_file = "/nowhere/ca.pem"
client_cert = "/nowhere/client.pem"
client_key = "/"
maintenance.file = "/nowhere/page.html"
[cache.redis]
url = "rediss://127.0.0.1:9"
ca_file = "/nowhere/redis.pem"
[[routes]]
access.basic.file = "/nowhere/users"
"#;
        let (verdict, out, err) = check(Some(text), false);
        assert_eq!((verdict, out.as_str()), (Verdict::Invalid, ""));
        for (line, message) in [
            (2, "cannot write /nowhere/access.log: "),
            (3, "cannot read the control token from /dev/null/token: "),
            (8, "cannot read /nowhere/a.pem: No such file"),
            (8, "cannot read /nowhere/a.key: "),
            (9, "cannot read /nowhere/b.pem: "),
            (9, "cannot read /nowhere/b.key: "),
            (11, "cannot read /nowhere/clients.pem: "),
            (14, "cannot read /nowhere/ca.pem: "),
            (15, "cannot read /nowhere/client.pem: "),
            (16, "cannot read /: is a directory"),
            (17, "cannot read /nowhere/page.html: "),
            (20, "cannot read /nowhere/redis.pem: "),
            (22, "cannot read /nowhere/users: "),
        ] {
            let told = err.split("error: ").find(|told| told.starts_with(message));
            assert!(told.is_some_and(|told| told.contains(&format!("proxy.toml:{line}:"))), "{message} in {err}");
        }
        assert!(err.ends_with("13 errors\n"), "{err}");
    }

    #[test]
    fn check_tells_what_is_of_no_use_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let of = |name: &str| directory.path().join(name).display().to_string();
        for name in ["ca.pem", "empty"] {
            std::fs::write(of(name), "").unwrap();
        }
        let (log, token, ca, empty) = (of("access.log"), of("state/token"), of("ca.pem"), of("empty"));
        let sound = format!(
            "access_log.target = \"{log}\"\ncontrol.token_file = \"{token}\"\n[upstreams.app]\nservers = [\"http://a\"]\n\
             maintenance = {{ file = \"/nowhere/page\", body = \"stands in\" }}\n"
        );
        let (verdict, _, err) = check(Some(&sound), false);
        assert_eq!((verdict, err.as_str()), (Verdict::Valid, ""));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing was made");

        let useless = format!(
            "control.token_file = \"{empty}\"\n[upstreams.app]\nservers = [\"https://a\"]\nca_file = \"{ca}\"\n"
        );
        let (_, _, err) = check(Some(&useless), false);
        assert!(err.contains("empty is empty; remove it") && err.contains("proxy.toml:1:"), "{err}");
        assert!(err.contains("upstream app: ca_file") && err.ends_with("2 errors\n"), "{err}");
    }

    #[test]
    fn check_prints_the_schema() {
        let (verdict, out, _) = check(None, true);
        assert_eq!(verdict, Verdict::Valid);
        let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(schema["properties"]["routes"]["items"]["properties"]["cache"]["properties"]["ttl"].is_object());
    }
}
