//! Opening a connection to a server: its addresses, TCP or a Unix socket, TLS.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::error::{UpstreamError, UpstreamErrorKind};
use super::names::Names;
use super::socket::Stream;
use super::tls::ServerTls;
use crate::config::settings::UpstreamServer;

/// An address that is silent for this long gets company by the next one (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);

/// An open stream, and the address it leads to where the server has several.
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) peer: Option<SocketAddr>,
    /// The server agreed to HTTP/2 by ALPN.
    pub(super) http2: bool,
}

/// Opens a stream to the server by `deadline`, trying all its addresses, beginning with `first`.
pub(super) async fn open(
    server: &UpstreamServer,
    names: Option<&Names>,
    first: Option<SocketAddr>,
    tls: Option<&ServerTls>,
    http1_only: bool,
    deadline: Instant,
) -> Result<Opened, UpstreamError> {
    if let Some(path) = &server.unix {
        return match timeout_at(deadline, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => Ok(Opened { stream: Stream::Unix(stream), peer: None, http2: false }),
            Ok(Err(error)) => Err(UpstreamError::because(UpstreamErrorKind::Connect, error)),
            Err(_) => Err(UpstreamError::new(UpstreamErrorKind::ConnectTimeout)),
        };
    }
    let addresses = match (names, server.host.parse::<IpAddr>()) {
        (Some(names), _) => names.addresses(first, deadline).await?,
        (None, Ok(address)) => vec![SocketAddr::new(address, server.port)],
        (None, Err(_)) => return Err(UpstreamError::because(UpstreamErrorKind::Resolve, "no address")),
    };
    let (tcp, peer) = connect_any(&addresses, names, deadline).await?;
    let peer = names.map(|_| peer);
    // A request head should leave at once, not wait for an acknowledgement of what went before.
    tcp.set_nodelay(true).map_err(|error| UpstreamError::because(UpstreamErrorKind::Connect, error))?;
    let Some(tls) = tls else { return Ok(Opened { stream: Stream::Plain(tcp), peer, http2: false }) };
    let deadline = tls.timeout.map_or(deadline, |timeout| Instant::now() + timeout);
    let connector = if http1_only { &tls.http1_connector } else { &tls.connector };
    let agreed = match timeout_at(deadline, connector.connect(tls.name.clone(), tcp)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(UpstreamError::because(UpstreamErrorKind::Tls, error)),
        Err(_) => return Err(UpstreamError::because(UpstreamErrorKind::ConnectTimeout, "the TLS handshake")),
    };
    let alpn = agreed.get_ref().1.alpn_protocol();
    if tls.required.is_some() && alpn != tls.required {
        return Err(UpstreamError::because(UpstreamErrorKind::Tls, "the server does not offer HTTP/2"));
    }
    let http2 = alpn == Some(b"h2");
    Ok(Opened { stream: Stream::Tls(Box::new(agreed)), peer, http2 })
}

/// The first address that accepts. They are tried in order, a further one whenever one fails or is silent.
async fn connect_any(
    addresses: &[SocketAddr],
    names: Option<&Names>,
    deadline: Instant,
) -> Result<(TcpStream, SocketAddr), UpstreamError> {
    let connect = async |address: SocketAddr| (address, TcpStream::connect(address).await);
    if let [only] = addresses {
        return match timeout_at(deadline, TcpStream::connect(only)).await {
            Ok(Ok(stream)) => Ok((stream, *only)),
            Ok(Err(error)) => {
                names.inspect(|names| names.refused(*only));
                Err(UpstreamError::because(UpstreamErrorKind::Connect, format!("{only}: {error}")))
            }
            Err(_) => {
                names.inspect(|names| names.refused(*only));
                Err(UpstreamError::because(UpstreamErrorKind::ConnectTimeout, format!("{only} is silent")))
            }
        };
    }
    let mut rest = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    // Whose attempts are under way, and since when.
    let mut pending = Vec::new();
    let mut turn = rest.next();
    let mut failure = UpstreamError::new(UpstreamErrorKind::ConnectTimeout);
    let outcome = loop {
        if let Some(address) = turn.take() {
            pending.push((*address, Instant::now()));
            attempts.push(connect(*address));
        }
        let waiting = rest.len() > 0;
        tokio::select! {
            biased;
            tried = attempts.next() => {
                let Some((address, tried)) = tried else { break Err(failure) };
                pending.retain(|(known, _)| *known != address);
                match tried {
                    Ok(stream) => break Ok((stream, address)),
                    Err(error) => {
                        names.inspect(|names| names.refused(address));
                        failure = UpstreamError::because(UpstreamErrorKind::Connect, format!("{address}: {error}"));
                        turn = rest.next();
                    }
                }
            }
            () = sleep(STAGGER), if waiting => turn = rest.next(),
            () = sleep_until(deadline) => break Err(failure),
        }
    };
    // Else each time that it is their turn would cost as much again.
    let silent = pending.iter().filter(|(_, since)| since.elapsed() >= STAGGER);
    silent.for_each(|(address, _)| names.into_iter().for_each(|names| names.refused(*address)));
    outcome
}
