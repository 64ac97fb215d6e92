//! Handing over to a new process without refusing anybody: it inherits the listening sockets, and when it serves, this
//! one drains. Connections that the kernel has completed meanwhile wait in the sockets, which both processes share.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, getppid, kill_process};

use super::inherit::NAMES;

/// Names the process that a new one takes over from.
const PREDECESSOR: &str = "LARDER_PREDECESSOR";

/// The first descriptor behind standard input, output and error (sd_listen_fds(3)).
const FIRST_DESCRIPTOR: i32 = 3;

/// Starts this program once more, with the same arguments and these sockets.
///
/// # Errors
/// The program can't be started, e.g. because its file is gone.
pub fn start_successor(sockets: Vec<(String, OwnedFd)>) -> io::Result<Child> {
    let mut arguments = std::env::args_os();
    let program: OsString = arguments.next().ok_or(io::ErrorKind::NotFound)?;
    let names: Vec<&str> = sockets.iter().map(|(name, _)| name.as_str()).collect();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env(NAMES, names.join("|"))
        .env("LISTEN_FDS", names.len().to_string())
        .env(PREDECESSOR, std::process::id().to_string())
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDNAMES");
    let mappings = sockets.into_iter().zip(FIRST_DESCRIPTOR..);
    let mappings = mappings.map(|((_, parent_fd), child_fd)| FdMapping { parent_fd, child_fd }).collect();
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    command.spawn()
}

/// Tells the process that this one takes over from, if there is one, to finish and end.
pub fn relieve_predecessor() {
    let Some(named) = std::env::var(PREDECESSOR).ok().and_then(|pid| Pid::from_raw(pid.parse().ok()?)) else { return };
    // Whoever else set the variable: only our parent can have handed over to us.
    if getppid() != Some(named) {
        return;
    }
    match kill_process(named, Signal::TERM) {
        Ok(()) => tracing::info!(predecessor = named.as_raw_nonzero().get(), "took over; the process before finishes"),
        Err(error) => tracing::warn!(%error, "the process before can't be told to finish"),
    }
}
