//! The real program as a process of its own, on free ports of loopback.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::process::{POLL, Process};
use super::{client, within};

/// The token of the control API of every larder the tests start.
pub const TOKEN: &str = "token-of-the-tests";

/// How the diagnostic log names the addresses that were bound: what stands before the address.
const CLIENTS: &str = "listening on ";
const METRICS: &str = "metrics on ";
const CONTROL: &str = "control API on ";

/// A running larder. Killed when dropped.
pub struct Larder {
    /// The process.
    pub process: Process,
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where metrics and health are.
    pub metrics: SocketAddr,
    /// Where the control API is.
    pub control: SocketAddr,
    /// Its home and state: nothing of the machine's own is read or written.
    _home: TempDir,
}

impl Larder {
    /// `larder run --upstream URL` without a file, ready for requests.
    pub async fn before(upstream: &str) -> Self {
        Larder::start(["run", "--upstream", upstream, "--listen", "127.0.0.1:0"]).await
    }

    /// The same, listening for clients on a given address.
    pub async fn before_at(upstream: &str, listen: SocketAddr) -> Self {
        Larder::start(["run", "--upstream", upstream, "--listen", &listen.to_string()]).await
    }

    /// `larder run --config FILE`, ready for requests.
    pub async fn configured(file: &Path) -> Self {
        Larder::start([OsStr::new("run"), OsStr::new("--config"), file.as_os_str()]).await
    }

    /// As [`Larder::before`], with at most that many descriptors.
    pub async fn limited_to(descriptors: u32, upstream: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")]).arg(binary());
        Larder::launch(command, ["run", "--upstream", upstream, "--listen", "127.0.0.1:0"]).await
    }

    /// As [`Larder::before`], with that soft limit of descriptors.
    pub async fn with_soft_limit(descriptors: u32, upstream: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -S -n {descriptors}; exec \"$0\" \"$@\"")]).arg(binary());
        Larder::launch(command, ["run", "--upstream", upstream, "--listen", "127.0.0.1:0"]).await
    }

    async fn start(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Larder::launch(Command::new(binary()), arguments).await
    }

    async fn launch(mut command: Command, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        command.args(arguments).args(["--metrics", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LARDER_") {
                command.env_remove(name);
            }
        }
        command.env("HOME", home.path()).env("STATE_DIRECTORY", home.path()).env("LARDER_CONTROL_TOKEN", TOKEN);
        let mut process = Process::start(command.current_dir(home.path()));
        let address = process.line("the clients' address", |line| address_after(CLIENTS, line)).await;
        let metrics = process.line("the metrics' address", |line| address_after(METRICS, line)).await;
        let control = process.line("the control API's address", |line| address_after(CONTROL, line)).await;
        let larder = Larder { process, address, metrics, control, _home: home };
        larder.until("readiness", async || client::get(metrics, "/readyz", &[]).await.status == 200).await;
        larder
    }

    /// Asks for a path on a connection of its own.
    pub async fn get(&self, path: &str, fields: &[(&str, &str)]) -> client::Response {
        client::get(self.address, path, fields).await
    }

    /// Asks for a path until it is answered from the cache: a client may have all of a response just before it is
    /// stored.
    pub async fn until_hit(&self, path: &str) {
        self.until(&format!("a hit of {path}"), async || self.get(path, &[]).await.is_hit()).await;
    }

    /// What a scrape of the metrics gets.
    pub async fn metrics_text(&self) -> String {
        let response = client::get(self.metrics, "/metrics", &[("Host", &self.metrics.to_string())]).await;
        assert_eq!(response.status, 200);
        response.text()
    }

    /// The sum of all samples of a metric whose line contains `label`.
    pub async fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.metrics_text().await;
        let samples = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
        });
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Asks again and again until it is so.
    pub async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        within(what, async {
            while !is_so().await {
                tokio::time::sleep(POLL).await;
            }
        })
        .await;
    }
}

/// The program under test: the one cargo built for the tests, unless `LARDER_TEST_BINARY` names another.
pub fn binary() -> PathBuf {
    std::env::var_os("LARDER_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_larder").into(), PathBuf::from)
}

/// The socket address that follows `words` in a line of the log, whatever follows the address.
fn address_after(words: &str, line: &str) -> Option<SocketAddr> {
    let rest = &line[line.find(words)? + words.len()..];
    let rest = rest.trim_start_matches("http://").trim_start_matches("https://");
    let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c))).unwrap_or(rest.len());
    rest[..end].trim_end_matches(['.', ':']).parse().ok()
}

#[test]
fn address_is_read_from_a_line_of_the_log() {
    for (line, address) in [
        ("2026-01-01T00:00:00Z  INFO larder: listening on 127.0.0.1:8080", Some("127.0.0.1:8080")),
        ("INFO listening on http://127.0.0.1:8080/ for clients", Some("127.0.0.1:8080")),
        ("INFO listening on [::1]:80, TLS", Some("[::1]:80")),
        ("INFO listening on port 8080", None),
        ("INFO metrics on 127.0.0.1:1", None),
    ] {
        assert_eq!(address_after(CLIENTS, line), address.map(|address| address.parse().unwrap()), "{line}");
    }
}
