//! Telling the service manager that larder serves (sd_notify(3)).

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says that this process serves, and that it is the one to watch: after a take-over it is another than was started.
/// Without a manager that wants to know it does nothing.
pub fn ready() {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    let state = format!("READY=1\nMAINPID={}\n", std::process::id());
    if let Err(error) = tell(&socket.to_string_lossy(), state.as_bytes()) {
        tracing::warn!(%error, "the service manager can't be told that larder is ready");
    }
}

fn tell(socket: &str, state: &[u8]) -> io::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_reaches_the_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        tell(path.to_str().unwrap(), b"READY=1\n").unwrap();
        let mut read = [0; 64];
        let length = socket.recv(&mut read).unwrap();
        assert_eq!(&read[..length], b"READY=1\n");
        assert!(tell("/nowhere/notify", b"x").is_err());
    }
}
