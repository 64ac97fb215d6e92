//! The real proxy in this process: listeners on port 0, a manual clock, no files.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use larder::cache::purge::{Mode, Purge, PurgeTarget};
use larder::cli::app::{App, Origin};
use larder::clock::{Clock, ManualClock};
use larder::config::{self, Overrides, Source};
use larder::policy::time::Timestamp;

use super::client::{self, Response};
use super::exchange::Clients;
use super::upstream::Upstream;

/// Sun, 06 Nov 1994 08:49:37 GMT, the moment at which every manual clock starts.
pub const START: Timestamp = Timestamp::from_secs(784_111_777);

/// A proxy in this process. It ends with the test's runtime.
pub struct Proxy {
    /// All of it.
    pub app: Arc<App>,
    /// Where clients connect.
    pub address: SocketAddr,
    /// Its clients, who speak the version of HTTP that the story is told over.
    pub clients: Clients,
    clock: ManualClock,
}

impl Proxy {
    /// In front of an upstream, with the defaults.
    pub fn before(upstream: &Upstream) -> Self {
        Self::configured(&format!("[upstreams.app]\nservers = [\"http://{}\"]\n", upstream.address()))
    }

    /// In front of an upstream, with `cache.rules` as given, e.g. `ttl = "30s"`.
    pub fn with_rules(upstream: &Upstream, rules: &str) -> Self {
        Self::configured(&format!(
            "[upstreams.app]\nservers = [\"http://{}\"]\n[cache.rules]\n{rules}\n",
            upstream.address()
        ))
    }

    /// With a configuration; listeners and metrics are on port 0, control is off.
    pub fn configured(text: &str) -> Self {
        Self::started(text, vec![([127, 0, 0, 1], 0).into()])
    }

    /// The same with the listeners that the configuration names; the first of TCP is asked.
    pub fn as_written(text: &str) -> Self {
        Self::started(text, Vec::new())
    }

    fn started(text: &str, listen: Vec<SocketAddr>) -> Self {
        let overrides = Overrides {
            listen,
            metrics: Some("127.0.0.1:0".to_owned()),
            control: Some("off".to_owned()),
            memory: Some("64MiB".to_owned()),
            ..Overrides::default()
        };
        let source =
            Source::Text { name: "test".to_owned(), text: format!("{text}\n[access_log]\ntarget = \"off\"\n") };
        let settings = config::load(&source, &|_| None, &overrides).unwrap_or_else(|wrong| panic!("{wrong}"));
        let (clock, hand) = Clock::manual(START);
        let app = App::start(settings, Origin { source, overrides }, clock, None).expect("the proxy starts");
        let address = app.addresses()[0];
        Proxy { app, address, clients: Clients::of(address), clock: hand }
    }

    /// Lets time pass.
    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Purges, as an operator would. How many stored responses it matched in memory.
    pub fn purge(&self, target: PurgeTarget) -> u64 {
        self.purge_as(vec![target], Mode::Hard)
    }

    /// The same for several targets, hard or soft.
    pub fn purge_as(&self, targets: Vec<PurgeTarget>, mode: Mode) -> u64 {
        let now = self.app.proxy.clock.now();
        self.app.proxy.cache.purge(Purge::new(targets, mode, now)).expect("valid targets").finish().total()
    }

    /// What a scrape of the metrics gets.
    pub async fn metrics_text(&self) -> String {
        let address = self.app.metrics_address().expect("metrics are served");
        client::get(address, "/metrics", &[("Host", &address.to_string())]).await.text()
    }

    /// Sets the wall clock without any time passing.
    pub fn step_wall_clock(&self, seconds: i64) {
        self.clock.step_wall(seconds);
    }

    /// One GET on a connection of its own.
    pub async fn get(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        self.clients.get(path, fields).await
    }

    /// One request of any method on a connection of its own.
    pub async fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Response {
        self.clients.ask(method, path, fields, body).await
    }
}
