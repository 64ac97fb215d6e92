//! Operators and the control API: tokens, purging, looking into the cache; with the real program at both ends.

mod looking;
mod purging;
mod tokens;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{Connection, Response, request};
use crate::support::larder::{Larder, TOKEN, binary};
use crate::support::process::{self, Process};
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

/// Asks a control API.
#[derive(Clone)]
struct Api {
    address: SocketAddr,
    token: String,
}

impl Api {
    fn of(larder: &Larder) -> Self {
        Api { address: larder.control, token: TOKEN.to_owned() }
    }

    fn with_token(&self, token: &str) -> Self {
        Api { token: token.to_owned(), ..self.clone() }
    }

    /// Status and answer.
    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, "").await
    }

    /// The same of a change.
    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask("POST", path, &body.to_string()).await
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let bearer = format!("Bearer {}", self.token);
        let answer = ask(self.address, method, path, &[("Authorization", &bearer)], body).await;
        (answer.status, serde_json::from_str(&answer.text()).unwrap_or_default())
    }
}

/// Runs commands against a running larder.
struct Cli {
    control: String,
    token: String,
}

impl Cli {
    fn of(larder: &Larder) -> Self {
        Cli { control: larder.control.to_string(), token: TOKEN.to_owned() }
    }

    fn with_token(&self, token: &str) -> Self {
        Cli { control: self.control.clone(), token: token.to_owned() }
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(line).env("LARDER_CONTROL", &self.control).env("LARDER_CONTROL_TOKEN", &self.token);
        command.env_remove("LARDER_CONFIG");
        command
    }

    fn start(&self, line: &[&str]) -> Process {
        Process::start(&mut self.command(line))
    }

    /// What a command that succeeds prints.
    async fn run(&self, line: &[&str]) -> String {
        process::run(&mut self.command(line)).await
    }
}

/// An app whose pages may be kept for a minute.
async fn upstream() -> Upstream {
    Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("cooked")).await
}

/// A larder before an app by a file, which is named too.
async fn configured(upstream: &Upstream, directory: &TempDir, more: &str) -> (PathBuf, Larder) {
    let file = directory.path().join("proxy.toml");
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[upstreams.app]\nservers = [\"{}\"]\n{more}\n",
        upstream.url()
    );
    std::fs::write(&file, text).unwrap();
    let larder = Larder::configured(&file).await;
    (file, larder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_by_url_needs_the_token_and_counts() {
    let upstream = upstream().await;
    let larder = Larder::before(&upstream.url()).await;
    let page = async || larder.get("/page", &[]).await;
    larder.until_hit("/page").await;
    // The host that the requests above name.
    let what = json!({ "url": "http://app.test/page" });

    let near_miss = format!("Bearer {TOKEN}x");
    for denied in [&[][..], &[("Authorization", &*near_miss)]] {
        assert_eq!(ask(larder.control, "POST", "/v1/purge", denied, &what.to_string()).await.status, 401);
    }
    assert!(page().await.is_hit());
    let (status, counted) = Api::of(&larder).post("/v1/purge", &what).await;
    assert_eq!((status, &counted["total"]), (200, &json!(1)), "{counted}");
    assert!(!page().await.is_hit());
    larder.until_hit("/page").await;
    assert_eq!(upstream.count("/page"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reload_tells_what_waits_for_the_next_start_against_what_runs() {
    let (upstream, directory) = (upstream().await, tempfile::tempdir().unwrap());
    let settings =
        |workers: u32, trusted: &str| format!("[server]\nworkers = {workers}\ntrusted_proxies = [\"{trusted}\"]\n");
    let (file, larder) = configured(&upstream, &directory, &settings(2, "192.0.2.1")).await;
    let text = std::fs::read_to_string(&file).unwrap();
    for (workers, trusted, waits) in [(3, "192.0.2.1", true), (3, "192.0.2.2", true), (2, "192.0.2.2", false)] {
        let changed = text.replace(&settings(2, "192.0.2.1"), &settings(workers, trusted));
        std::fs::write(&file, changed).unwrap();
        let (status, told) = Api::of(&larder).post("/v1/reload", &json!({})).await;
        assert_eq!(status, 200, "{told}");
        assert_eq!(told.to_string().contains("server.workers: takes effect at the next start"), waits, "{told}");
    }
}

async fn ask(address: SocketAddr, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Response {
    let host = address.to_string();
    let mut fields = fields.to_vec();
    fields.push(("Host", &*host));
    if !body.is_empty() {
        fields.push(("Content-Type", "application/json"));
    }
    let mut connection = Connection::open(address).await;
    connection.send(request(method, path, &fields, body)).await;
    connection.response(method).await
}
