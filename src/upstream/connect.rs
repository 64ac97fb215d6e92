//! Opening a connection to a server: its addresses, TCP, TLS.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::error::{UpstreamError, UpstreamErrorKind};
use super::socket::Stream;
use super::tls::ServerTls;
use crate::config::settings::UpstreamServer;

/// Opens a stream to the server by `deadline`, trying all its addresses.
pub(super) async fn open(
    server: &UpstreamServer,
    tls: Option<&ServerTls>,
    deadline: Instant,
) -> Result<Stream, UpstreamError> {
    let addresses = resolve(server, deadline).await?;
    let tcp = connect_any(&addresses, deadline).await?;
    // A request head should leave at once, not wait for an acknowledgement of what went before.
    tcp.set_nodelay(true).map_err(|error| UpstreamError::because(UpstreamErrorKind::Connect, error))?;
    let Some(tls) = tls else { return Ok(Stream::Plain(tcp)) };
    match timeout_at(deadline, tls.connector.connect(tls.name.clone(), tcp)).await {
        Ok(Ok(stream)) if tls.required.is_some() && stream.get_ref().1.alpn_protocol() != tls.required => {
            Err(UpstreamError::because(UpstreamErrorKind::Tls, "the server does not offer HTTP/2"))
        }
        Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(UpstreamError::because(UpstreamErrorKind::Tls, error)),
        Err(_) => Err(UpstreamError::new(UpstreamErrorKind::ConnectTimeout)),
    }
}

/// The server's addresses, at least one. The system's resolver runs on a thread of its own.
async fn resolve(server: &UpstreamServer, deadline: Instant) -> Result<Vec<SocketAddr>, UpstreamError> {
    if let Ok(address) = server.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, server.port)]);
    }
    let found = timeout_at(deadline, tokio::net::lookup_host((server.host.as_str(), server.port))).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(UpstreamError::because(UpstreamErrorKind::Resolve, error)),
        Err(_) => return Err(UpstreamError::new(UpstreamErrorKind::ConnectTimeout)),
    };
    if addresses.is_empty() {
        return Err(UpstreamError::because(UpstreamErrorKind::Resolve, "the name has no address"));
    }
    Ok(addresses)
}

/// The first address that accepts. Each gets an equal part of the time that is left, so that a silent one leaves
/// some for the others.
async fn connect_any(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, UpstreamError> {
    let mut failure = UpstreamError::new(UpstreamErrorKind::ConnectTimeout);
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let now = Instant::now();
        let part: Duration = deadline.saturating_duration_since(now) / left;
        match timeout_at(now + part, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => {
                failure = UpstreamError::because(UpstreamErrorKind::Connect, format!("{address}: {error}"));
            }
            Err(_) => {
                failure = UpstreamError::because(UpstreamErrorKind::ConnectTimeout, format!("{address} is silent"));
            }
        }
    }
    Err(failure)
}
