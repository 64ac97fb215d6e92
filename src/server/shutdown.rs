//! Signals from the operator, and the end of the process they lead to.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal as UnixSignal, SignalKind, signal};

use super::{DrainReport, Server};

/// What the operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: finish what is under way and end.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR2: hand over to a new process.
    Upgrade,
}

/// The process' signals. They no longer end it once this exists.
#[derive(Debug)]
pub struct Signals {
    terminate: UnixSignal,
    interrupt: UnixSignal,
    hang_up: UnixSignal,
    user2: UnixSignal,
}

impl Signals {
    /// Takes the signals over. Needs a tokio runtime; fails when the kernel refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next one. Dropping the future loses none.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hang_up.recv() => Signal::Reload,
            _ = self.user2.recv() => Signal::Upgrade,
        }
    }

    /// The next that asks to stop; those that ask for a reload meanwhile are too late.
    pub async fn stop(&mut self) {
        while self.next().await != Signal::Stop {}
    }
}

/// Drains the server for at most `grace`, or until the operator asks a second time. `None`: was asked again.
pub async fn drain(server: &Server, signals: &mut Signals, grace: Duration) -> Option<DrainReport> {
    tokio::select! {
        report = server.drain(grace) => Some(report),
        () = signals.stop() => None,
    }
}
