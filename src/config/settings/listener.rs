//! Listeners as the program uses them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use super::RateLimit;

/// A listening socket for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub address: ListenAddress,
    /// Permissions of a Unix socket.
    pub mode: u32,
    /// TLS; `None`: cleartext HTTP/1.1 and HTTP/2 with prior knowledge.
    pub tls: Option<ListenerTls>,
    /// Peers whose connections must begin with a PROXY protocol header; others are then refused. Empty: no such
    /// header is taken from anybody.
    pub proxy_protocol: Vec<IpNet>,
    /// Port to which cleartext requests are redirected as HTTPS.
    pub https_redirect: Option<u16>,
    /// Strict-Transport-Security of responses over TLS.
    pub hsts: Option<HeaderValue>,
    /// Its bounds.
    pub limits: ListenerLimits,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// Address and port; port 0 picks a free one.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
    /// A socket of that name which the service manager passes on.
    Systemd(String),
}

/// Bounds of a listener. `None`: no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Open connections.
    pub connections: Option<usize>,
    /// Open connections of one address (IPv6: /64 network).
    pub connections_per_address: Option<usize>,
    /// Requests of one address.
    pub rate: Option<RateLimit>,
}

/// Certificates of a TLS listener, chosen by SNI; the first serves clients that name no known host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// Certificate chains with their keys, at least one.
    pub certificates: Vec<CertificateFiles>,
    /// Offer HTTP/2 by ALPN.
    pub http2: bool,
    /// Certificates of clients; `None`: none are asked for.
    pub client: Option<ClientCertificates>,
}

/// What is asked of clients' certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// PEM file of the authorities that are accepted.
    pub ca: PathBuf,
    /// Whether a client must have one.
    pub required: bool,
    /// Request field in which the app gets the subject.
    pub subject_field: Option<HeaderName>,
}

/// PEM files of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Certificate chain, leaf first.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

impl ListenerTls {
    /// All files that it is read from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let certificates = self.certificates.iter().flat_map(|files| [&*files.cert, &*files.key]);
        certificates.chain(self.client.as_ref().map(|client| &*client.ca))
    }
}

impl Listener {
    /// Permissions of a Unix socket by default: its owner and group.
    pub const DEFAULT_MODE: u32 = 0o660;

    /// The subject field that this listener writes, which no client may send itself on any listener.
    pub fn subject_field(&self) -> Option<&HeaderName> {
        self.tls.as_ref()?.client.as_ref()?.subject_field.as_ref()
    }
}

impl From<SocketAddr> for Listener {
    /// Cleartext, without bounds of its own.
    fn from(address: SocketAddr) -> Self {
        Listener {
            address: ListenAddress::Tcp(address),
            mode: Listener::DEFAULT_MODE,
            tls: None,
            proxy_protocol: Vec::new(),
            https_redirect: None,
            hsts: None,
            limits: ListenerLimits::default(),
        }
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(f),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            ListenAddress::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}
