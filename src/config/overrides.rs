//! What the command line says goes before what the file says.

use std::net::SocketAddr;

use super::defaults;
use super::diagnostics::Finding;
use super::file::{File, Listener, Upstream, UpstreamServer};
use super::scalar::{Scalar, Written};
use super::values::{Name, Secret};

/// Settings from the command line or its environment variables, as text where they are checked like those of the
/// file. What is `None` or empty leaves the file's word.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// URL of a server: it becomes the only one of the upstream `app`, which serves all routes that name none.
    pub upstream: Option<String>,
    /// Addresses of cleartext listeners, instead of all of the file's.
    pub listen: Vec<SocketAddr>,
    /// Address of the metrics listener, or `off`.
    pub metrics: Option<String>,
    /// Address of the control API, or `off`.
    pub control: Option<String>,
    /// Token of the control API.
    pub control_token: Option<String>,
    /// The memory tier's budget: a size or a percentage.
    pub memory: Option<String>,
}

impl Overrides {
    /// Writes itself over `file`.
    pub(super) fn apply(&self, file: &mut File, findings: &mut Vec<Finding>) {
        if !self.listen.is_empty() {
            file.listeners =
                self.listen.iter().map(|&address| Listener { address: Some(Written(address)), tls: None }).collect();
        }
        if let Some(Written(server)) = read("--upstream", self.upstream.as_deref(), findings) {
            let servers = vec![UpstreamServer::Url(Written(server))];
            match file.upstreams.0.iter_mut().find(|(name, _)| name.0 == defaults::UPSTREAM) {
                Some((_, upstream)) => upstream.servers = servers,
                None => {
                    let upstream = Upstream { servers, ..Upstream::default() };
                    file.upstreams.0.push((Name(defaults::UPSTREAM.to_owned()), upstream));
                }
            }
            for route in file.routes.iter_mut().filter(|route| route.upstream.is_none()) {
                route.upstream = Some(Written(Name(defaults::UPSTREAM.to_owned())));
            }
        }
        replace(&mut file.metrics.address, read("--metrics", self.metrics.as_deref(), findings));
        replace(&mut file.control.address, read("--control", self.control.as_deref(), findings));
        // Not named by its value: a token has no place in a message.
        replace(&mut file.control.token, read::<Secret>("control token", self.control_token.as_deref(), findings));
        replace(&mut file.cache.memory, read("--memory", self.memory.as_deref(), findings));
    }
}

fn replace<T>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *slot = value;
    }
}

fn read<T: Scalar>(flag: &str, text: Option<&str>, findings: &mut Vec<Finding>) -> Option<Written<T>> {
    match T::parse(text?) {
        Ok(value) => Some(Written(value)),
        Err(invalid) => {
            findings.push(Finding::nowhere(format!("{flag}: {}", invalid.message)).help(invalid.help));
            None
        }
    }
}
