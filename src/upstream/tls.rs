//! TLS towards an upstream's servers: who is trusted, and what is spoken.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::error::PoolError;
use crate::config::settings::{Upstream, UpstreamProtocol, UpstreamServer};

/// What a TLS connection to one server needs.
#[derive(Clone)]
pub(super) struct ServerTls {
    pub(super) connector: TlsConnector,
    pub(super) name: ServerName<'static>,
    /// The protocol that the server must agree to by ALPN; a server of HTTP/1.1 need not know ALPN.
    pub(super) required: Option<&'static [u8]>,
}

/// The connector of an upstream; `None` when none of its servers is https.
pub(super) fn connector(settings: &Upstream) -> Result<Option<TlsConnector>, PoolError> {
    if !settings.servers.iter().any(|server| server.tls) {
        return Ok(None);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| PoolError::Tls { upstream: settings.name.clone(), source })?
        .with_root_certificates(authorities(settings)?)
        .with_no_client_auth();
    config.alpn_protocols = match settings.protocol {
        UpstreamProtocol::Http1 => vec![b"http/1.1".to_vec()],
        UpstreamProtocol::Http2 => vec![b"h2".to_vec()],
    };
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

/// The name that a server's certificate must carry, which is also sent as SNI.
pub(super) fn server_name(settings: &Upstream, server: &UpstreamServer) -> Result<ServerName<'static>, PoolError> {
    ServerName::try_from(server.host.clone())
        .map_err(|_| PoolError::ServerName { upstream: settings.name.clone(), host: server.host.clone() })
}

/// The system's certificate authorities, and those of `ca_file`.
fn authorities(settings: &Upstream) -> Result<RootCertStore, PoolError> {
    let mut roots = RootCertStore::empty();
    // One unreadable or odd certificate in the system's store must not take the others away.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = &settings.ca_file {
        add_file(&mut roots, file).map_err(|reason| PoolError::CaFile {
            upstream: settings.name.clone(),
            file: file.clone(),
            reason,
        })?;
    }
    if roots.is_empty() {
        return Err(PoolError::NoAuthorities { upstream: settings.name.clone() });
    }
    Ok(roots)
}

fn add_file(roots: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())? {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.len() == before { Err("no certificate in it".to_owned()) } else { Ok(()) }
}
