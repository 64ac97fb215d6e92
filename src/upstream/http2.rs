//! HTTP/2 connections to one server: few, each carrying many exchanges at once.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::MAX_RESPONSE_HEAD;
use super::error::UpstreamError;
use super::request_body::RequestBody;
use super::socket::{Socket, Stream as ByteStream};
use super::stats::Counters;

/// Streams that larder opens on one connection, where the server allows as many.
pub(super) const STREAMS: usize = 100;
/// Bytes that a server may send ahead of a slow reader, for one stream and for a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// A connection that does not answer a ping is dead; nothing else would tell.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<RequestBody>,
    streams: AtomicUsize,
    /// Streams that the server allows at once, by its latest SETTINGS.
    allowed: Arc<AtomicUsize>,
    /// No exchange begins on it from then on, unless there is no other connection.
    retires: Instant,
    idle_since: Mutex<Instant>,
    retired: AtomicBool,
    /// Where it leads, for a server with a name.
    peer: Option<SocketAddr>,
}

type Driver = hyper::client::conn::http2::Connection<TokioIo<Socket>, RequestBody, TokioExecutor>;

/// One exchange's part of a connection.
#[derive(Debug)]
pub(super) struct Stream {
    connection: Arc<Connection>,
    _place: OwnedSemaphorePermit,
}

/// Starts HTTP/2 on a stream, to be used until `retires`.
pub(super) async fn start(
    stream: ByteStream,
    peer: Option<SocketAddr>,
    counters: Arc<Counters>,
    retires: Instant,
) -> Result<Arc<Connection>, UpstreamError> {
    let socket = Socket::new(stream, counters);
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_RESPONSE_HEAD as u32)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .handshake(TokioIo::new(socket))
        .await
        .map_err(UpstreamError::from_hyper)?;
    let allowed = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
    tokio::spawn(drive(connection, allowed.clone()));
    Ok(Arc::new(Connection {
        sender,
        streams: AtomicUsize::new(0),
        allowed,
        retires,
        idle_since: Mutex::new(Instant::now()),
        retired: AtomicBool::new(false),
        peer,
    }))
}

/// Runs a connection until it ends, and notes what the server allows as it goes.
async fn drive(mut connection: Driver, allowed: Arc<AtomicUsize>) {
    let ended = poll_fn(|cx| {
        let progress = Pin::new(&mut connection).poll(cx);
        allowed.store(connection.current_max_send_streams(), Relaxed);
        progress
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "upstream connection ended");
    }
}

impl Connection {
    /// Begins an exchange, which holds its place in the queue until the stream is dropped.
    fn stream(self: &Arc<Self>, place: OwnedSemaphorePermit) -> Stream {
        self.streams.fetch_add(1, Relaxed);
        Stream { connection: self.clone(), _place: place }
    }

    fn has_room(&self) -> bool {
        self.streams.load(Relaxed) < self.allowed.load(Relaxed).min(STREAMS)
    }

    fn is_open(&self) -> bool {
        !self.sender.is_closed() && !self.retired.load(Relaxed)
    }

    /// Whether new exchanges should still begin on it.
    fn is_young(&self, now: Instant) -> bool {
        now < self.retires
    }

    /// Whether it stays in the list: an old one for its last exchanges only.
    fn is_kept(&self, now: Instant) -> bool {
        self.is_open() && (self.is_young(now) || self.streams.load(Relaxed) > 0)
    }
}

impl Stream {
    /// A handle to send the exchange's request with.
    pub(super) fn sender(&self) -> SendRequest<RequestBody> {
        self.connection.sender.clone()
    }

    /// Where it leads, for a server with a name.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.connection.peer
    }

    /// No further exchange begins on this connection.
    pub(super) fn retire_connection(&self) {
        self.connection.retired.store(true, Relaxed);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.connection.streams.fetch_sub(1, Relaxed) == 1 {
            *self.connection.idle_since.lock() = Instant::now();
        }
    }
}

/// The connections that exchanges share.
#[derive(Debug)]
pub(super) struct SharedConnections {
    list: Mutex<Vec<Arc<Connection>>>,
    /// Held while opening, so that a burst of first requests opens one connection and not one each.
    pub(super) opening: tokio::sync::Mutex<()>,
    max: usize,
    timeout: Duration,
}

impl SharedConnections {
    /// At most `max` connections, none without an exchange for longer than `timeout`.
    pub(super) fn new(max: usize, timeout: Duration) -> Self {
        SharedConnections { list: Mutex::default(), opening: tokio::sync::Mutex::new(()), max, timeout }
    }

    /// A stream on a connection with room (to `peer`, where that is given), or, when no further connection may be
    /// opened, on the least loaded.
    /// Gives the place back when a connection should be opened instead.
    pub(super) fn take(
        &self,
        peer: Option<SocketAddr>,
        place: OwnedSemaphorePermit,
    ) -> Result<Stream, OwnedSemaphorePermit> {
        let now = Instant::now();
        let mut list = self.list.lock();
        list.retain(|connection| connection.is_kept(now));
        let leads_there = |connection: &Connection| peer.is_none() || connection.peer == peer;
        let fits = |connection: &&Arc<Connection>| {
            connection.is_young(now) && connection.has_room() && leads_there(connection)
        };
        let with_room = list.iter().find(fits);
        let least_loaded = || {
            let load = |connection: &&Arc<Connection>| (!connection.is_young(now), connection.streams.load(Relaxed));
            list.iter().min_by_key(load)
        };
        match with_room.or_else(|| if list.len() < self.max { None } else { least_loaded() }) {
            Some(connection) => Ok(connection.stream(place)),
            None => Err(place),
        }
    }

    /// Adds a connection with its first stream. The caller must see to it that [`Self::sweep`] is called.
    pub(super) fn add(&self, connection: Arc<Connection>, place: OwnedSemaphorePermit) -> Stream {
        let stream = connection.stream(place);
        self.list.lock().push(connection);
        stream
    }

    /// Closes what has had no exchange for too long; when to sweep next, `None` when nothing is left.
    pub(super) fn sweep(&self) -> Option<Instant> {
        let now = Instant::now();
        let expiry = |connection: &Connection| match connection.streams.load(Relaxed) {
            0 => *connection.idle_since.lock() + self.timeout,
            _ => now + self.timeout,
        };
        let mut list = self.list.lock();
        list.retain(|connection| connection.is_kept(now) && now < expiry(connection));
        list.iter().map(|connection| expiry(connection)).min()
    }

    /// No further exchange begins on those that are not to be kept.
    pub(super) fn retain(&self, keep: impl Fn(Option<SocketAddr>) -> bool) {
        self.list.lock().retain(|connection| {
            let kept = keep(connection.peer);
            connection.retired.fetch_or(!kept, Relaxed);
            kept
        });
    }

    /// How many are open without an exchange.
    pub(super) fn idle(&self) -> usize {
        let list = self.list.lock();
        let idle =
            |connection: &&Arc<Connection>| !connection.sender.is_closed() && connection.streams.load(Relaxed) == 0;
        list.iter().filter(idle).count()
    }
}
