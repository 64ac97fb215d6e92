//! What can be typed, and what it means.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::Overrides;

/// A caching reverse proxy to put in front of an app that may not be changed.
#[derive(Debug, Parser)]
#[command(
    name = "larder",
    version,
    after_help = "Exit codes: 0 done; 1 something failed while running or could not be started; \
                  2 the command line or the configuration is wrong.\n\n\
                  Options can also be given as the environment variables shown beside them. \
                  Options given beside a file go before the file."
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy
    ///
    /// With --upstream alone it needs no file: the defaults are safe for an app that knows nothing of caches.
    Run(RunArgs),
    /// Say whether a configuration is valid, and if not, all that is wrong with it
    Check(CheckArgs),
    /// Show what larder does: a sample app, the proxy in front of it, and five commands to try
    Demo(DemoArgs),
    /// Remove stored responses from a running larder
    Purge(PurgeArgs),
    /// Show what a running larder has stored, and how its tiers are
    Cache(CacheArgs),
    /// Say what would become of a request for a URL now, and why
    Explain(ExplainArgs),
    /// Show figures of a running larder
    Stats(StatsArgs),
    /// Show the servers of a running larder, take one out or back in
    Upstreams(UpstreamsArgs),
    /// Write a completion script for a shell to standard output
    Completions {
        /// For which shell
        shell: Shell,
    },
}

/// Options that also stand in the configuration file.
#[derive(Debug, Default, Args)]
pub struct SettingArgs {
    /// Configuration file
    #[arg(long, short, env = "LARDER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The app, e.g. http://127.0.0.1:3000: all requests go there that the file sends nowhere else
    #[arg(long, env = "LARDER_UPSTREAM", value_name = "URL")]
    pub upstream: Option<String>,
    /// Where clients connect, e.g. 0.0.0.0:8080; may be repeated [default: 127.0.0.1:8080]
    #[arg(long, env = "LARDER_LISTEN", value_name = "ADDR:PORT", value_delimiter = ',', value_parser = address)]
    pub listen: Vec<SocketAddr>,
    /// Where Prometheus scrapes /metrics, or `off` [default: 127.0.0.1:9145]
    #[arg(long, env = "LARDER_METRICS", value_name = "ADDR:PORT")]
    pub metrics: Option<String>,
    /// Where the control API listens, or `off` [default: 127.0.0.1:9146]
    // No environment variable: LARDER_CONTROL tells commands where a running larder is.
    #[arg(long, value_name = "ADDR:PORT")]
    pub control: Option<String>,
    /// Memory for stored responses: a size such as 512MiB, or a percentage [default: 25%]
    #[arg(long, env = "LARDER_MEMORY", value_name = "SIZE")]
    pub memory: Option<String>,
    /// Bearer token of the control API [default: generated at the first start]
    #[arg(long, env = "LARDER_CONTROL_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub control_token: Option<String>,
}

/// An address to listen on; what is wrong with it is told with what to write instead.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| match text.rsplit(':').next().unwrap_or_default().parse::<u16>() {
        Ok(port) => format!("write 127.0.0.1:{port} for this machine alone, or 0.0.0.0:{port} for everybody"),
        Err(_) => "an IP address and a port are needed, e.g. 0.0.0.0:8080 or [::]:8080".to_owned(),
    })
}

/// Options of `larder run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What also stands in the file.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// Write the diagnostic log as JSON lines
    #[arg(long, env = "LARDER_LOG_JSON")]
    pub log_json: bool,
}

/// Options of `larder check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// What also stands in the file.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// Write the JSON Schema of the file instead, for editors
    #[arg(long)]
    pub schema: bool,
}

/// Options of `larder demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Where clients connect [default: 127.0.0.1:8080, or another port where that is taken]
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub listen: Option<SocketAddr>,
}

/// How to reach a running larder.
#[derive(Debug, Args)]
pub struct ReachArgs {
    /// Configuration file of the running larder: its control address and token are taken from there
    #[arg(long, short, env = "LARDER_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Where its control API is [default: 127.0.0.1:9146]; `larder run` does not take it from the environment
    #[arg(long, env = "LARDER_CONTROL", value_name = "ADDR:PORT", global = true)]
    pub control: Option<String>,
    /// Its bearer token [default: read from the token file]
    #[arg(long, env = "LARDER_CONTROL_TOKEN", value_name = "TOKEN", hide_env_values = true, global = true)]
    pub control_token: Option<String>,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// Options of `larder purge`.
#[derive(Debug, Args)]
pub struct PurgeArgs {
    /// URLs as clients ask for them; all variants of each go
    #[arg(value_name = "URL", conflicts_with = "all")]
    pub urls: Vec<String>,
    /// Everything
    #[arg(long, conflicts_with_all = ["key", "prefix", "glob", "regex", "tag", "content_type", "status"])]
    pub all: bool,
    /// What the app gave this tag (Surrogate-Key, Cache-Tag, xkey); may be repeated, like those below
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// What begins so: http://host/path, host/path, or /path on any host
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Vec<String>,
    /// What matches a glob of the same three kinds: * within a segment, ** across
    #[arg(long, value_name = "GLOB")]
    pub glob: Vec<String>,
    /// What a regular expression is found in: host/path
    #[arg(long, value_name = "REGEX")]
    pub regex: Vec<String>,
    /// A cache key as `larder cache ls` shows it
    #[arg(long, value_name = "KEY")]
    pub key: Vec<String>,
    /// A media type, e.g. text/html or image/*
    #[arg(long, value_name = "TYPE")]
    pub content_type: Vec<String>,
    /// A status, e.g. 404 or 5xx
    #[arg(long, value_name = "STATUS")]
    pub status: Vec<String>,
    /// Make it stale instead, so that it can still be served while it is fetched anew
    #[arg(long)]
    pub soft: bool,
    /// Only say what would be purged
    #[arg(long)]
    pub dry_run: bool,
    /// Wait until every node has applied it
    #[arg(long)]
    pub wait: bool,
    /// How to reach it.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// Options of `larder cache`.
#[derive(Debug, Args)]
pub struct CacheArgs {
    /// What to show.
    #[command(subcommand)]
    pub command: CacheCommand,
    /// How to reach it.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// What `larder cache` shows.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// List what is stored in memory
    Ls(ListArgs),
    /// Show all that is stored of a URL
    Get {
        /// As clients ask for it
        url: String,
    },
    /// Show figures of every tier
    Stats,
    /// Show whether every tier is in use
    Health,
}

/// Options of `larder cache ls`; all that are given must hold.
#[derive(Debug, Default, Args)]
pub struct ListArgs {
    /// What begins so, see `larder purge`
    #[arg(long)]
    pub prefix: Option<String>,
    /// What matches a glob
    #[arg(long)]
    pub glob: Option<String>,
    /// What a regular expression is found in
    #[arg(long)]
    pub regex: Option<String>,
    /// What has this tag
    #[arg(long)]
    pub tag: Option<String>,
    /// A media type
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// A status
    #[arg(long)]
    pub status: Option<String>,
    /// Keys behind this one
    #[arg(long, value_name = "KEY")]
    pub after: Option<String>,
    /// Most keys [default: 100]
    #[arg(long)]
    pub limit: Option<usize>,
}

/// Options of `larder explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// As clients ask for it
    pub url: String,
    /// How to reach it.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// Options of `larder stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// How to reach it.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// Options of `larder upstreams`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = false)]
pub struct UpstreamsArgs {
    /// What to do with a server; without it, all are shown
    #[command(subcommand)]
    pub change: Option<UpstreamsCommand>,
    /// How to reach it.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// What to do with a server.
#[derive(Debug, Subcommand)]
pub enum UpstreamsCommand {
    /// Send a server no further requests; those under way go on
    Drain(ServerArgs),
    /// Send requests to a drained server again
    Enable(ServerArgs),
}

/// Which server.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The upstream's name
    pub upstream: String,
    /// The server, as it is shown
    pub server: String,
}

impl SettingArgs {
    /// What goes before the file.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            upstream: self.upstream.clone(),
            listen: self.listen.clone(),
            metrics: self.metrics.clone(),
            control: self.control.clone(),
            control_token: self.control_token.clone(),
            memory: self.memory.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_tells_what_to_write_instead() {
        assert_eq!(address("[::1]:80").unwrap(), SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 80)));
        for (text, told) in [
            ("8080", "0.0.0.0:8080"),
            (":8080", "0.0.0.0:8080"),
            ("localhost:81", "127.0.0.1:81"),
            ("127.0.0.1", "a port"),
            ("", "a port"),
        ] {
            assert!(address(text).unwrap_err().contains(told), "{text}");
        }
    }
}
