//! `larder run`: until a signal ends it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::app::{App, AppError, Origin};
use super::descriptors;
use crate::clock::Clock;
use crate::config::settings::Settings;
use crate::config::{Source, watch as watching};
use crate::server::shutdown::{Signal, Signals, drain};
use crate::server::{inherit, notify, upgrade};
use crate::telemetry::log::LogControl;

/// How long the access log gets to be written out at the end.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// How often the files are looked at for which the last reload may have failed.
const LOOK: Duration = Duration::from_millis(1500);

/// Runs until SIGTERM or SIGINT, and drains.
///
/// # Errors
/// It cannot start.
pub async fn run(settings: Settings, origin: Origin, log: LogControl) -> Result<(), AppError> {
    descriptors::raise_limit();
    descriptors::warn_of_too_few(&settings);
    let mut signals =
        Signals::listen().map_err(|error| AppError::Side(format!("cannot take signals over: {error}")))?;
    // Watched before it is needed: a change that comes while listeners open is not missed.
    let mut changes = watched(&origin.source);
    let app = App::start(settings, origin, Clock::system(), Some(log))?;
    inherit::close_rest();
    let mut failing = app.reloads.failing();
    notify::ready();
    upgrade::relieve_predecessor();
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Stop => break,
                Signal::Reload => reload(&app, App::hang_up).await,
                Signal::Upgrade => {
                    if let Err(error) = app.upgrade() {
                        tracing::error!("can't hand over to a new process: {error}");
                    }
                }
            },
            changed = next_change(&mut changes) => match changed {
                Some(()) => reload(&app, App::reload_written).await,
                None => changes = None,
            },
            () = next_look(&mut failing) => reload(&app, App::reload_mended).await,
        }
    }
    stop(&app, &mut signals).await;
    Ok(())
}

/// Finishes what is in flight until the deadline; a second signal ends at once.
pub(super) async fn stop(app: &App, signals: &mut Signals) {
    let grace = app.settings.load().shutdown_grace;
    app.set_draining();
    app.leave_to_successor();
    tracing::info!("stopping: finishing requests in flight, at most {} s", grace.as_secs());
    match drain(&app.server, signals, grace).await {
        Some(report) => tracing::info!(finished = report.finished, cut = report.cut, "stopped"),
        None => tracing::warn!("stopped at once"),
    }
    app.leave().await;
    app.close(LOG_PATIENCE);
}

/// Reads files and may wait for sockets, so not on a thread that serves.
async fn reload(app: &Arc<App>, how: impl FnOnce(&Arc<App>) + Send + 'static) {
    let app = app.clone();
    let done = tokio::task::spawn_blocking(move || how(&app)).await;
    if done.is_err() {
        tracing::error!("the reload failed unexpectedly; the old settings stay in force");
    }
}

fn watched(source: &Source) -> Option<mpsc::Receiver<()>> {
    let Source::File(path) = source else { return None };
    watching::watch(path)
        .inspect_err(|error| tracing::warn!("changes of {} are not noticed: {error}", path.display()))
        .ok()
}

async fn next_change(changes: &mut Option<mpsc::Receiver<()>>) -> Option<()> {
    match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}

/// Without a failure nothing looks, so that an idle process sleeps.
async fn next_look(failing: &mut watch::Receiver<bool>) {
    if failing.wait_for(|failing| *failing).await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(LOOK).await;
}
