//! The directory becomes this tier's, at the start or once another process has left it, and comes back after trouble.

use std::io::{Error, Result, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::files::{Files, OpenError};
use super::trouble::State;
use super::{Chore, DiskTier, Shared, do_chores};
use crate::cache::purge::{Heard, PurgeLog};
use crate::policy::time::Timestamp;

/// What a look whether the disk works again writes.
static PROBE: [u8; 256 * 1024] = [0; 256 * 1024];
/// Longest wait for the log of purges, before the tier is used again all the same.
const LOG: Duration = Duration::from_secs(5);

impl DiskTier {
    /// The log of purges that goes with it: kept beside the records, so that what was purged stays purged. As long as
    /// another process has the directory, it is kept aside. Blocks on the disk.
    pub fn purge_log(&self, now: Timestamp) -> Arc<PurgeLog> {
        let _taking = self.0.taking.lock();
        let path = self.0.settings.path.join("purges");
        let log = self.0.log.get_or_init(|| match self.0.files.get() {
            Some(_) => PurgeLog::open(&path, now),
            None => PurgeLog::aside(&path, now),
        });
        log.clone()
    }

    /// Is told of purges of other processes on the directory, which memory is to carry out.
    pub fn hear(&self) -> UnboundedReceiver<Heard> {
        let (sender, receiver) = unbounded_channel();
        let _ = self.0.heard.set(sender);
        receiver
    }

    /// A process that waited for the directory has ended: what it purged is purged. Blocks on the disk.
    pub fn overhear(&self) {
        let Some(log) = self.0.log.get() else { return };
        self.0.tell(log.overhear());
        self.0.runtime.spawn(drop_told(log.clone()));
    }
}

impl Shared {
    /// Opens the directory, unless that was done, makes what is missing in it, and has what lies there found out.
    pub(super) fn take_directory(self: &Arc<Self>) -> std::result::Result<(), OpenError> {
        let _taking = self.taking.lock();
        if self.files.get().is_none() {
            let files = Files::open(&self.settings.path, self.chores.clone()).inspect_err(|error| {
                if matches!(error, OpenError::InUse) {
                    self.tell(self.log.get().and_then(PurgeLog::news));
                }
            })?;
            let _ = self.files.set(files);
        }
        if let Some(log) = self.log.get() {
            self.tell(log.take_place());
        }
        if self.chores_to_do.lock().is_some() {
            let shared = Arc::downgrade(self);
            let thread = std::thread::Builder::new().name("larder-disk".to_owned());
            // The thread takes them itself: where there is none, they are for the next one.
            thread.spawn(move || do_chores(&shared))?;
        }
        let made = self.files()?.make();
        if !self.index.is_loaded() {
            // What is there can be read, also where nothing can be made.
            let _ = self.chores.send(Chore::Load);
        } else if matches!(made, Ok(true)) {
            // Somebody has removed what was there, and mostly the log as well.
            self.index.remove_all();
            self.log.get().inspect(|log| log.write_again());
        }
        made.map(drop)
    }

    fn tell(&self, heard: Option<Heard>) {
        if let Some((told, heard)) = self.heard.get().zip(heard) {
            let _ = told.send(heard);
        }
    }

    /// The directory cannot be taken, or not written to.
    pub(super) fn cannot_open(self: &Arc<Self>, error: &OpenError) {
        let state = self.state_after(error).unwrap_or(State::Failing);
        if self.state.leave_on(state) {
            self.is_off(state, error);
            self.look_again();
        }
    }

    /// What is there can be read once the directory is ours.
    fn state_after(&self, error: &OpenError) -> Option<State> {
        let state = match error {
            OpenError::InUse => Some(State::InUse),
            OpenError::Io(error) => State::after(error),
        };
        state.map(|state| if state.reads() && self.files.get().is_none() { State::Failing } else { state })
    }

    fn is_off(&self, state: State, error: &OpenError) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let path = self.settings.path.display();
        tracing::warn!(state = state.word(), "disk tier off: {path}: {error}; going on without it");
    }

    /// Looks now and then whether the disk works again.
    pub(super) fn look_again(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        let mut state = self.state.get();
        self.backoff.lock().has_failed();
        self.runtime.spawn(async move {
            loop {
                let Some(pause) = weak.upgrade().map(|shared| shared.backoff.lock().next(state)) else { return };
                tokio::time::sleep(pause).await;
                let Some(shared) = weak.upgrade() else { return };
                let prober = shared.clone();
                let looked = shared.io.write(move || Ok(prober.probe())).await;
                match looked.unwrap_or_else(|error| Err(error.into())) {
                    Ok(()) => return shared.is_back().await,
                    Err(error) => {
                        state = shared.state_after(&error).unwrap_or(state);
                        if shared.state.set(state) != state {
                            shared.is_off(state, &error);
                        }
                    }
                }
                if state == State::Full {
                    shared.delete(shared.index.shrink());
                }
            }
        });
    }

    async fn is_back(self: &Arc<Self>) {
        if let Some(log) = self.log.get() {
            let _ = tokio::time::timeout(LOG, drop_told(log.clone())).await;
        }
        self.backoff.lock().is_back();
        self.state.set(State::On);
        let _ = self.chores.send(Chore::DeleteOwed);
        tracing::info!("disk tier on again: {}", self.settings.path.display());
    }

    /// Whether the disk can be read and written.
    fn probe(self: &Arc<Self>) -> std::result::Result<(), OpenError> {
        self.take_directory()?;
        Ok(self.write_and_read()?)
    }

    fn write_and_read(&self) -> Result<()> {
        let (mut file, _temporary) = self.files()?.temporary()?;
        file.write_all(&PROBE)?;
        file.sync_all()?;
        let mut read = vec![0; PROBE.len()];
        file.read_exact_at(&mut read, 0).map_err(Error::other)
    }
}

/// What files beside the log's said is in it: once that is written, they go.
async fn drop_told(log: Arc<PurgeLog>) {
    log.written(log.position()).await;
    log.drop_told();
}
