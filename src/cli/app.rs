//! A running larder: proxy, listeners, control and metrics, put together, reloaded and ended. What `run` and `demo`
//! start, and what the tests start.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::Router;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::files;
use super::operations::AppOperations;
use super::purges::ProxyPurges;
use super::reloads::{Attempt, Content, Failure, Files, Reloads};
use crate::cache::redis::link::PurgeLink;
use crate::clock::Clock;
use crate::config::settings::{Control, Settings};
use crate::config::{self, Diagnostic, Diagnostics, Env, Overrides, Source};
use crate::control::server::Routes;
use crate::control::{self, Operations, api, guard::Guard, metrics_listener, token};
use crate::proxy::Proxy;
use crate::proxy::refusal::Refusal;
use crate::proxy::site::SiteError;
use crate::proxy::token::Tokens;
use crate::server::inherit::{self, Inherited};
use crate::server::{Server, StartError, upgrade};
use crate::telemetry::Telemetry;
use crate::telemetry::log::{LogControl, LogError};

/// Where the settings come from, at the start and at each reload.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The file, if any.
    pub source: Source,
    /// What goes before it.
    pub overrides: Overrides,
}

/// A running larder.
pub struct App {
    /// The request path.
    pub proxy: Arc<Proxy>,
    /// The client side.
    pub server: Server,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) settings: ArcSwap<Settings>,
    /// Those of the start, of which some hold until the end.
    first: Arc<Settings>,
    pub(super) started: Instant,
    pub(super) draining: AtomicBool,
    handed_over: AtomicBool,
    pub(super) reloads: Reloads,
    /// The last reload; held by the one that is under way.
    attempt: Mutex<Attempt>,
    /// The way of purges to other nodes.
    pub(super) link: Option<Arc<PurgeLink>>,
    origin: Origin,
    log: Option<LogControl>,
    metrics: Mutex<Option<SideListener<SocketAddr>>>,
    control: Mutex<Option<SideListener<Control>>>,
}

/// Longest time to tell other nodes that this one ends.
const LEAVING: Duration = Duration::from_millis(500);

/// The metrics listener or the control API, with what it was opened for.
struct SideListener<T> {
    wanted: T,
    address: SocketAddr,
    routes: Routes,
    /// The same socket, for a process that takes over.
    socket: StdListener,
    stop: CancellationToken,
}

/// Why larder cannot start, or not go over to new settings.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// An upstream, or what a route asks of clients, cannot be set up.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A listener for clients cannot be opened.
    #[error(transparent)]
    Listener(#[from] StartError),
    /// The control API or the metrics listener cannot be opened.
    #[error("{0}")]
    Side(String),
    /// The access log cannot be opened.
    #[error("cannot open the access log: {0}")]
    AccessLog(std::io::Error),
    /// The diagnostic log cannot be filtered as wanted.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Files that the configuration names are of no use, each with its place there.
    #[error("{0}")]
    Files(Diagnostics),
}

impl AppError {
    /// Says of files where the configuration names them, and all that are of no use at once.
    fn placed(self, settings: &Settings, source: &Source) -> Self {
        let is_of_files =
            matches!(self, AppError::Site(_) | AppError::AccessLog(_) | AppError::Listener(StartError::Tls(_)));
        let faults = is_of_files.then(|| files::faults(settings, source).ok().flatten()).flatten();
        faults.map_or(self, AppError::Files)
    }
}

impl App {
    /// Starts everything that the settings name. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Something cannot be opened or set up; nothing is left running.
    pub fn start(
        settings: Settings,
        origin: Origin,
        clock: Clock,
        log: Option<LogControl>,
    ) -> Result<Arc<App>, AppError> {
        let settings = Arc::new(settings);
        let source = origin.source.clone();
        Self::open(settings.clone(), origin, clock, log).map_err(|error| error.placed(&settings, &source))
    }

    fn open(
        settings: Arc<Settings>,
        origin: Origin,
        clock: Clock,
        log: Option<LogControl>,
    ) -> Result<Arc<App>, AppError> {
        let words: Vec<&'static str> = Refusal::ALL.iter().map(|refusal| refusal.word()).collect();
        let telemetry = Arc::new(Telemetry::new(&settings.access_log, &words).map_err(AppError::AccessLog)?);
        let proxy = Proxy::new(settings.clone(), clock, telemetry.clone())?;
        let server = Server::start(proxy.clone(), &settings)?;
        let link = proxy.cache.shared.as_ref().and_then(|shared| {
            let purges = Arc::new(ProxyPurges(proxy.clone()));
            PurgeLink::start(&settings.redis, shared.gate.clone(), proxy.clock.clone(), purges).map(Arc::new)
        });
        carry_out_heard(&proxy);
        if let Some(link) = &link {
            // Not to be kept alive by what it keeps alive.
            let _ = proxy.link.set(Arc::downgrade(link));
        }
        let app = Arc::new(App {
            reloads: Reloads::new(&proxy.clock),
            attempt: Mutex::new(Attempt::default()),
            proxy,
            server,
            link,
            telemetry,
            settings: ArcSwap::new(settings.clone()),
            first: settings.clone(),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            handed_over: AtomicBool::new(false),
            origin,
            log,
            metrics: Mutex::new(None),
            control: Mutex::new(None),
        });
        app.apply_side_listeners(&settings)?;
        tell(&settings.warnings);
        app.announce();
        Ok(app)
    }

    /// Where clients connect.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.server.addresses()
    }

    /// Where metrics are served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.lock().as_ref().map(|listener| listener.address)
    }

    /// Where the control API listens.
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control.lock().as_ref().map(|listener| listener.address)
    }

    /// Reads the configuration again and takes it over. What has changed, a line each.
    ///
    /// # Errors
    /// What is wrong; the old settings stay in force.
    pub fn reload(self: &Arc<Self>) -> Result<Vec<String>, String> {
        self.reload_in_turn(&mut self.attempt.lock())
    }

    /// The file has changed: reads it again, unless that was done for what it holds.
    pub fn reload_written(self: &Arc<Self>) {
        let mut attempt = self.attempt.lock();
        if !attempt.was_of(self.content()) {
            // What is wrong has been logged.
            let _ = self.reload_in_turn(&mut attempt);
        }
    }

    /// Tries a reload that has failed once more when files that the configuration names have changed.
    pub fn reload_mended(self: &Arc<Self>) {
        let mut attempt = self.attempt.lock();
        if attempt.is_worth_repeating() {
            let _ = self.reload_in_turn(&mut attempt);
        }
    }

    fn reload_in_turn(self: &Arc<Self>, attempt: &mut Attempt) -> Result<Vec<String>, String> {
        // Looked at before it is read: what changes in between is another content, and tried again.
        let content = self.content();
        self.reloads.attempt(attempt, content, &self.proxy.clock, || self.take_over())
    }

    fn content(&self) -> Content {
        match &self.origin.source {
            Source::File(path) => config::watch::content(path),
            _ => None,
        }
    }

    fn take_over(self: &Arc<Self>) -> Result<Vec<String>, Failure> {
        let Origin { source, overrides } = &self.origin;
        let env: &Env<'_> = &|name| std::env::var(name).ok();
        let settings = config::load(source, env, overrides)
            .map_err(|diagnostics| Failure { why: diagnostics.to_string(), files: None })?;
        let settings = Arc::new(settings);
        let files = Files::new(files::named(&settings));
        self.apply(settings.clone()).map_err(|error| {
            let why = error.placed(&settings, source).to_string();
            Failure { why, files: Some(files) }
        })
    }

    /// Takes over settings. What can fail goes first, so that a failure leaves the old ones whole.
    fn apply(self: &Arc<Self>, settings: Arc<Settings>) -> Result<Vec<String>, AppError> {
        let old = self.settings.load_full();
        let mut changes = config::changes(&old, &settings);
        let site = self.proxy.prepare(settings.clone())?;
        self.open_all(&settings).inspect_err(|_| {
            // What has been opened or closed before the fault is as it was then, too.
            if let Err(error) = self.open_all(&old) {
                tracing::error!("going back to the old settings: {error}");
            }
        })?;
        self.proxy.adopt(site);
        if old.log_level != settings.log_level
            && let Some(log) = &self.log
        {
            log.set_filter(&settings.log_level)?;
        }
        for (differs, key) in [
            (self.first.memory.size != settings.memory.size, "cache.memory"),
            (self.first.disk != settings.disk, "cache.disk"),
            (self.first.redis != settings.redis, "cache.redis"),
            (self.first.workers != settings.workers, "server.workers"),
        ] {
            if differs {
                changes.push(format!("{key}: takes effect at the next start"));
            }
        }
        if old.warnings != settings.warnings {
            tell(&settings.warnings);
        }
        self.settings.store(settings);
        Ok(changes)
    }

    /// Files and sockets as the settings want them.
    fn open_all(self: &Arc<Self>, settings: &Settings) -> Result<(), AppError> {
        self.telemetry.reconfigure(&settings.access_log).map_err(AppError::AccessLog)?;
        self.apply_side_listeners(settings)?;
        self.server.reload(settings)?;
        Ok(())
    }

    /// SIGHUP: the configuration and, after a rotation, the access log's file.
    pub fn hang_up(self: &Arc<Self>) {
        self.telemetry.reopen_access_log();
        // What is wrong has been logged.
        let _ = self.reload();
    }

    /// `/readyz` says from now on that requests should go elsewhere.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Starts a new process that takes over the listening sockets. When it serves, it tells this one to stop.
    ///
    /// # Errors
    /// It can't be started.
    pub fn upgrade(self: &Arc<Self>) -> io::Result<()> {
        let mut sockets = self.server.sockets()?;
        for (purpose, slot) in [("metrics", socket_of(&self.metrics)), ("control API", socket_of(&self.control))] {
            if let Some(socket) = slot {
                sockets.push((purpose.to_owned(), socket?));
            }
        }
        let mut successor = upgrade::start_successor(sockets)?;
        self.handed_over.store(true, Ordering::Relaxed);
        tracing::info!(pid = successor.id(), "a new process takes over");
        let app = self.clone();
        std::thread::spawn(move || {
            // Ends with the successor or, mostly, with this process.
            if let Ok(status) = successor.wait() {
                app.handed_over.store(false, Ordering::Relaxed);
                // It may have served before it ended.
                app.proxy.cache.lower.disk().inspect(|disk| disk.overhear());
                tracing::error!(%status, "the new process has ended; this one goes on");
            }
        });
        Ok(())
    }

    /// Leaves metrics and control to the process that has taken over, if one has. What is purged there is not known here.
    pub fn leave_to_successor(&self) {
        if self.handed_over.load(Ordering::Relaxed) {
            self.close_side_listeners();
            self.proxy.cache.retire();
        }
    }

    /// Tells other nodes not to wait for this one any more.
    pub async fn leave(&self) {
        if let Some(link) = &self.link {
            link.leave(LEAVING).await;
        }
    }

    /// After the last request: closes what is left, and writes out the access log.
    pub fn close(&self, patience: Duration) {
        self.close_side_listeners();
        if !self.telemetry.shutdown(patience) {
            tracing::warn!("the access log could not be written out in time");
        }
    }

    fn close_side_listeners(&self) {
        for stop in [
            self.metrics.lock().take().map(|listener| listener.stop),
            self.control.lock().take().map(|listener| listener.stop),
        ] {
            stop.inspect(CancellationToken::cancel);
        }
    }

    fn apply_side_listeners(self: &Arc<Self>, settings: &Settings) -> Result<(), AppError> {
        let operations: Arc<dyn Operations> = Arc::new(AppOperations(self.clone()));
        let metrics = metrics_listener::router(operations.clone());
        open(
            &self.metrics,
            "metrics",
            settings.metrics,
            |address| (*address, settings.metrics_assumed),
            || Ok(metrics),
        )
        .map_err(AppError::Side)?;
        open(
            &self.control,
            "control API",
            settings.control.clone(),
            |control| (control.address, control.assumed),
            || {
                let control = settings.control.as_ref().ok_or("no control API is configured")?;
                let token = token::resolve(control).map_err(|error| error.to_string())?;
                let tokens = Tokens::new(Some(token), &control.tokens);
                let guard = Guard::new(tokens, control.allowed_hosts.clone(), &self.telemetry.metrics);
                Ok(api::router(operations.clone(), guard))
            },
        )
        .map_err(AppError::Side)
    }

    fn announce(&self) {
        for listener in self.server.listeners() {
            tracing::info!("listening on {listener}");
        }
        if let Some(address) = self.metrics_address() {
            tracing::info!("metrics on http://{address}/metrics");
        }
        if let (Some(address), Some(control)) = (self.control_address(), &self.settings.load().control) {
            match control.token {
                Some(_) => tracing::info!("control API on http://{address}/v1"),
                None => tracing::info!("control API on http://{address}/v1, token in {}", control.token_file.display()),
            }
        }
    }
}

fn tell(warnings: &[Diagnostic]) {
    for warning in warnings {
        tracing::warn!("{}", warning.to_string().trim_end());
    }
}

/// Has purges of another process on the disk's directory carried out, for as long as there is a disk.
fn carry_out_heard(proxy: &Arc<Proxy>) {
    let Some(disk) = proxy.cache.lower.disk() else { return };
    let (mut heard, proxy) = (disk.hear(), Arc::downgrade(proxy));
    tokio::spawn(async move {
        while let Some(heard) = heard.recv().await {
            let Some(proxy) = proxy.upgrade() else { return };
            proxy.cache.carry_out_heard(&heard);
        }
    });
}

/// Opens, moves or closes a side listener, so that it is as wanted. One that nobody asked for is done without where
/// it cannot be had.
fn open<T: Clone + PartialEq + Send + 'static>(
    slot: &Mutex<Option<SideListener<T>>>,
    purpose: &'static str,
    wanted: Option<T>,
    at: impl Fn(&T) -> (SocketAddr, bool),
    router: impl FnOnce() -> Result<Router, String>,
) -> Result<(), String> {
    let mut slot = slot.lock();
    if slot.as_ref().map(|listener| &listener.wanted) == wanted.as_ref() {
        return Ok(());
    }
    let Some(wanted) = wanted else {
        slot.take().inspect(|old| old.stop.cancel());
        return Ok(());
    };
    let (address, assumed) = at(&wanted);
    let opened = router().and_then(|router| match slot.as_mut() {
        Some(open) if at(&open.wanted).0 == address => {
            // From the next request on, on open connections too.
            open.routes.store(Arc::new(router));
            open.wanted = wanted;
            Ok(())
        }
        _ => {
            let (listener, socket, address) = bind(purpose, address)?;
            let (routes, stop) = (Arc::new(ArcSwap::from_pointee(router)), CancellationToken::new());
            tokio::spawn(control::server::serve(listener, routes.clone(), stop.clone()));
            slot.replace(SideListener { wanted, address, routes, socket, stop }).inspect(|old| old.stop.cancel());
            Ok(())
        }
    });
    match opened {
        Ok(()) => Ok(()),
        Err(why) if assumed => {
            tracing::warn!("going on without the {purpose}: {why}");
            Ok(())
        }
        Err(why) => Err(why),
    }
}

/// The socket of a side listener once more.
fn socket_of<T>(slot: &Mutex<Option<SideListener<T>>>) -> Option<io::Result<OwnedFd>> {
    slot.lock().as_ref().map(|listener| listener.socket.as_fd().try_clone_to_owned())
}

fn bind(purpose: &str, address: SocketAddr) -> Result<(TcpListener, StdListener, SocketAddr), String> {
    let inherited = match inherit::take(purpose) {
        Some(Inherited::Tcp(socket)) => Some(Ok(socket)),
        _ => None,
    };
    let listener = inherited.unwrap_or_else(|| StdListener::bind(address));
    let listener = listener.and_then(|listener| {
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((TcpListener::from_std(listener.try_clone()?)?, listener, bound))
    });
    listener.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("cannot listen on {address} for the {purpose}: the port is in use by another process")
        }
        _ => format!("cannot listen on {address} for the {purpose}: {error}"),
    })
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("server", &self.server).finish_non_exhaustive()
    }
}
