//! TLS towards an upstream's servers: who is trusted, and what is spoken.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::error::PoolError;
use crate::config::settings::{Upstream, UpstreamProtocol, UpstreamServer};

/// What a TLS connection to one server needs.
#[derive(Clone)]
pub(super) struct ServerTls {
    pub(super) connector: TlsConnector,
    /// Offers HTTP/1.1 alone, for what HTTP/2 does not carry.
    pub(super) http1_connector: TlsConnector,
    pub(super) name: ServerName<'static>,
    /// The protocol that the server must agree to by ALPN; a server of HTTP/1.1 need not know ALPN.
    pub(super) required: Option<&'static [u8]>,
    /// Longest handshake; `None`: within the deadline for connecting.
    pub(super) timeout: Option<Duration>,
}

/// The ways to speak TLS to an upstream's servers.
pub(super) struct Connectors {
    usual: TlsConnector,
    http1: TlsConnector,
}

/// The connector of an upstream; `None` when none of its servers is https.
pub(super) fn connectors(settings: &Upstream) -> Result<Option<Connectors>, PoolError> {
    if !settings.servers.iter().any(|server| server.tls) {
        return Ok(None);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let failed = |source| PoolError::Tls { upstream: settings.name.clone(), source };
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(failed)?;
    let builder = if settings.accept_any_certificate {
        tracing::warn!(upstream = settings.name, "certificates are NOT verified: danger_accept_any_certificate is set");
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(authorities(settings)?)
    };
    let mut config = match &settings.client_certificate {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let (chain, key) = client_certificate(settings, cert, key)?;
            builder.with_client_auth_cert(chain, key).map_err(failed)?
        }
    };
    let mut http1 = config.clone();
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.alpn_protocols = match settings.protocol {
        UpstreamProtocol::Http1 => vec![b"http/1.1".to_vec()],
        UpstreamProtocol::Http2 => vec![b"h2".to_vec()],
        UpstreamProtocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    let connector = |config| TlsConnector::from(Arc::new(config));
    Ok(Some(Connectors { usual: connector(config), http1: connector(http1) }))
}

impl ServerTls {
    /// For one server.
    pub(super) fn new(
        connectors: &Connectors,
        settings: &Upstream,
        server: &UpstreamServer,
    ) -> Result<Self, PoolError> {
        Ok(ServerTls {
            connector: connectors.usual.clone(),
            http1_connector: connectors.http1.clone(),
            name: server_name(settings, server)?,
            required: (settings.protocol == UpstreamProtocol::Http2).then_some(b"h2".as_slice()),
            timeout: settings.tls_timeout,
        })
    }
}

/// The name that a server's certificate must carry, which is also sent as SNI.
pub(super) fn server_name(settings: &Upstream, server: &UpstreamServer) -> Result<ServerName<'static>, PoolError> {
    let host = settings.sni.as_ref().unwrap_or(&server.host);
    ServerName::try_from(host.clone())
        .map_err(|_| PoolError::ServerName { upstream: settings.name.clone(), host: host.clone() })
}

/// The certificate that is shown to servers which ask for one.
fn client_certificate(
    settings: &Upstream,
    cert: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), PoolError> {
    let unusable = |file: &Path, reason: String| PoolError::ClientCertificate {
        upstream: settings.name.clone(),
        file: file.to_owned(),
        reason,
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect);
    let chain = chain.map_err(|error| unusable(cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable(cert, "no certificate in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, error.to_string()))?;
    Ok((chain, key))
}

/// Believes whoever answers. Signatures are checked all the same, as far as they can be.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
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
