//! Listening sockets that come from another process: from the service manager (`LISTEN_FDS`, sd_listen_fds(3)), or from
//! the larder that this one takes over from.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::LazyLock;

use listenfd::ListenFd;
use parking_lot::Mutex;

use crate::config::settings::ListenAddress;

/// Names of the sockets in the order of their descriptors, as a larder gives them to the next one. Between them `|`:
/// `LISTEN_FDNAMES` separates by colons, which addresses have.
pub(super) const NAMES: &str = "LARDER_SOCKETS";

/// A socket from another process.
#[derive(Debug)]
pub enum Inherited {
    /// TCP.
    Tcp(TcpListener),
    /// Unix.
    Unix(UnixListener),
}

/// What has come and was not taken yet. A process' environment is read once.
static WAITING: LazyLock<Mutex<Vec<(String, Inherited)>>> = LazyLock::new(|| Mutex::new(received()));

/// How the socket of a listener for clients is called between two larders; one of systemd's by its name there.
pub(super) fn client_name(address: &ListenAddress) -> String {
    format!("client {address}")
}

/// Takes the socket of that name, if there is one: each is taken once.
pub fn take(name: &str) -> Option<Inherited> {
    let mut waiting = WAITING.lock();
    let at = waiting.iter().position(|(known, _)| known == name)?;
    Some(waiting.remove(at).1)
}

/// Closes what nobody wanted.
pub fn close_rest() {
    for (name, _) in WAITING.lock().drain(..) {
        tracing::warn!("nobody uses the inherited socket `{name}`");
    }
}

fn received() -> Vec<(String, Inherited)> {
    let mut sockets = ListenFd::from_env();
    let names = names(std::env::var(NAMES).ok(), std::env::var("LISTEN_FDNAMES").ok());
    (0..sockets.len())
        .filter_map(|at| {
            let name = names.get(at).cloned().unwrap_or_else(|| at.to_string());
            if let Ok(Some(socket)) = sockets.take_tcp_listener(at) {
                return Some((name, Inherited::Tcp(socket)));
            }
            sockets.take_unix_listener(at).ok()?.map(|socket| (name, Inherited::Unix(socket)))
        })
        .collect()
}

fn names(ours: Option<String>, systemd: Option<String>) -> Vec<String> {
    match (ours, systemd) {
        (Some(ours), _) => ours.split('|').map(str::to_owned).collect(),
        (None, Some(names)) => {
            names.split(':').map(|name| client_name(&ListenAddress::Systemd(name.to_owned()))).collect()
        }
        (None, None) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_larder_before_or_from_systemd() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(names(text("client 127.0.0.1:80|metrics"), text("x")), ["client 127.0.0.1:80", "metrics"]);
        assert_eq!(names(None, text("http:https")), ["client systemd:http", "client systemd:https"]);
        assert!(names(None, None).is_empty());
    }
}
