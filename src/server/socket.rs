//! Sockets that listen and sockets that were accepted, TCP or Unix.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::server::TlsStream;

use super::inherit::{self, Inherited};
use crate::config::settings::{ListenAddress, Listener};

/// Connections the kernel completes ahead of us.
pub(super) const BACKLOG: i32 = 1024;

/// Unsent bytes the kernel holds for a client: bounds the memory of a slow reader, and shows us its progress.
pub(super) const KERNEL_UNSENT: u32 = 128 * 1024;

/// The same where that is all of a response, in bytes with its head. Nothing of it waits here then for the client's
/// progress, and larder is not woken for each part: a hit of 1 MiB takes half the time.
pub(super) const KERNEL_UNSENT_WHOLE: u32 = 1024 * 1024 + 64 * 1024;

/// The longest content of which the kernel may hold all, in bytes.
const LONGEST_WHOLE: u64 = 1024 * 1024;

/// The longest that fits in [`KERNEL_UNSENT`] with its head, in bytes.
const LONGEST_USUAL: u64 = 96 * 1024;

/// A client's byte stream.
pub(super) trait ClientStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Lets the kernel hold so many unsent bytes.
    fn hold_unsent(&self, bytes: u32);

    /// The socket, where bytes go over it as they are.
    fn plain_tcp(&self) -> Option<&TcpStream> {
        None
    }
}

/// How much of a response with content of this length the kernel is to hold unsent; `None`: it makes no difference.
pub(super) fn unsent_of(length: Option<u64>) -> Option<u32> {
    match length {
        Some(length) if length <= LONGEST_USUAL => None,
        Some(length) if length <= LONGEST_WHOLE => Some(KERNEL_UNSENT_WHOLE),
        _ => Some(KERNEL_UNSENT),
    }
}

/// Who is at the other end of a Unix socket: a process of this machine, which its permissions let in.
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A listening socket.
#[derive(Debug)]
pub(super) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// An accepted connection.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listening {
    /// Opens what a listener asks for: the socket that another process left us, or a new one.
    pub(super) fn open(listener: &Listener) -> io::Result<Self> {
        let inherited = inherit::take(&inherit::client_name(&listener.address));
        match (&listener.address, inherited) {
            (_, Some(Inherited::Tcp(socket))) => {
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket).map(Listening::Tcp)
            }
            (_, Some(Inherited::Unix(socket))) => {
                socket.set_nonblocking(true)?;
                UnixListener::from_std(socket).map(Listening::Unix)
            }
            (ListenAddress::Tcp(address), None) => bind(*address).map(Listening::Tcp),
            (ListenAddress::Unix(path), None) => bind_unix(path, listener.mode).map(Listening::Unix),
            (ListenAddress::Systemd(name), None) => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("the service manager passed on no socket `{name}`"),
            )),
        }
    }

    /// Where it is bound, a port that was 0 resolved; `None`: no TCP.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Listening::Tcp(socket) => socket.local_addr().ok(),
            Listening::Unix(_) => None,
        }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<Socket> {
        match self {
            Listening::Tcp(socket) => socket.accept().await.map(|(stream, _)| Socket::Tcp(stream)),
            Listening::Unix(socket) => socket.accept().await.map(|(stream, _)| Socket::Unix(stream)),
        }
    }

    /// The next of the connections that the kernel has completed already.
    ///
    /// # Errors
    /// There is none, or it can't be accepted.
    pub(super) fn accept_completed(&self) -> io::Result<Socket> {
        let accept = |socket: SockRef<'_>| -> io::Result<OwnedFd> {
            let (accepted, _) = socket.accept()?;
            accepted.set_nonblocking(true)?;
            Ok(accepted.into())
        };
        match self {
            Listening::Tcp(socket) => TcpStream::from_std(accept(socket.into())?.into()).map(Socket::Tcp),
            Listening::Unix(socket) => UnixStream::from_std(accept(socket.into())?.into()).map(Socket::Unix),
        }
    }

    /// The same socket once more, to be given to another process.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        match self {
            Listening::Tcp(socket) => socket.as_fd().try_clone_to_owned(),
            Listening::Unix(socket) => socket.as_fd().try_clone_to_owned(),
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the process before it to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Puts a socket in place of one that nobody listens on any more. It gets its permissions under another name first, so
/// that nobody can connect before.
fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    if path.symlink_metadata().is_ok_and(|found| !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type())) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path is a file that is no socket"));
    }
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&beside);
    let socket = UnixListener::bind(&beside)?;
    let placed = std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(mode))
        .and_then(|()| std::fs::rename(&beside, path));
    if placed.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    placed.map(|()| socket)
}

impl Socket {
    /// The other end and ours.
    pub(super) fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        match self {
            Socket::Tcp(stream) => Ok((stream.peer_addr()?, stream.local_addr()?)),
            Socket::Unix(_) => Ok((LOCAL, LOCAL)),
        }
    }

    /// Without this a connection is slower, not wrong.
    pub(super) fn tune(&self) {
        let Socket::Tcp(stream) = self else { return };
        let _ = stream.set_nodelay(true);
        self.hold_unsent(KERNEL_UNSENT);
    }
}

impl ClientStream for Socket {
    #[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "only Linux has it"))]
    fn hold_unsent(&self, bytes: u32) {
        #[cfg(target_os = "linux")]
        if let Socket::Tcp(stream) = self {
            let _ = SockRef::from(stream).set_tcp_notsent_lowat(bytes);
        }
    }

    fn plain_tcp(&self) -> Option<&TcpStream> {
        match self {
            Socket::Tcp(stream) => Some(stream),
            Socket::Unix(_) => None,
        }
    }
}

impl ClientStream for Box<TlsStream<Socket>> {
    fn hold_unsent(&self, bytes: u32) {
        self.get_ref().0.hold_unsent(bytes);
    }
}

#[cfg(test)]
impl ClientStream for tokio::io::DuplexStream {
    fn hold_unsent(&self, _: u32) {}
}

#[cfg(test)]
impl ClientStream for tokio::io::BufWriter<tokio::io::DuplexStream> {
    fn hold_unsent(&self, _: u32) {}
}

/// Calls a method of whichever stream it is.
macro_rules! either {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket.get_mut() {
            Socket::Tcp($stream) => $call,
            Socket::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
