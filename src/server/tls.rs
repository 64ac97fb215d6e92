//! TLS for listeners: certificates from PEM files, chosen by SNI from the DNS names they are valid for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderValue;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::config::settings::{CertificateFiles, ClientCertificates, Listener, ListenerTls};

/// Why a listener can't speak TLS; each is one line that names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or is no PEM.
    #[error("{}: {}", file.display(), PemFault(source))]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// No certificate in the file.
    #[error("{}: holds no certificate", file.display())]
    NoCertificate {
        /// Which.
        file: PathBuf,
    },
    /// The first certificate is none.
    #[error("{}: its first certificate is malformed", file.display())]
    Malformed {
        /// Which.
        file: PathBuf,
    },
    /// The key is of no usable kind, or another certificate's.
    #[error("{}: not the key of {}: {source}", key.display(), cert.display())]
    Key {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        cert: PathBuf,
        /// Why.
        #[source]
        source: Box<rustls::Error>,
    },
    /// rustls refuses what was put together.
    #[error("TLS: {0}")]
    Setup(#[source] Box<rustls::Error>),
}

/// A PEM fault in an operator's words.
struct PemFault<'a>(&'a pem::Error);

impl std::fmt::Display for PemFault<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            pem::Error::Io(error) => error.fmt(f),
            pem::Error::NoItemsFound => f.write_str("holds no private key"),
            other => other.fmt(f),
        }
    }
}

/// What a listener's handshakes need, read from its files.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    /// The certificates and how they are used.
    pub(super) config: Arc<ServerConfig>,
    /// Until when each certificate is valid.
    pub(super) validities: Vec<Validity>,
}

/// How long a certificate is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The certificate's file.
    pub file: PathBuf,
    /// The last moment at which it is valid, in seconds since the Unix epoch (notAfter, RFC 5280 §4.1.2.5).
    pub not_after: i64,
}

/// Reads a listener's certificates and makes what a handshake needs: TLS 1.2 and 1.3, session tickets, ALPN.
pub(super) fn server_config(tls: &ListenerTls) -> Result<Tls, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut by_name = ByName { first: None, names: HashMap::new() };
    let mut validities = Vec::new();
    for files in &tls.certificates {
        let certified = load(files, &provider)?;
        validities.extend(validity(&certified, &files.cert));
        by_name.add(certified, &files.cert)?;
    }
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(Box::new(error)))?;
    let config = match &tls.client {
        None => config.with_no_client_auth(),
        Some(client) => config.with_client_cert_verifier(verifier(client, provider)?),
    };
    let mut config = config.with_cert_resolver(Arc::new(by_name));
    config.alpn_protocols =
        if tls.http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| TlsError::Setup(Box::new(error)))?;
    Ok(Tls { config: Arc::new(config), validities })
}

fn validity(certified: &CertifiedKey, file: &Path) -> Option<Validity> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certified.cert.first()?).ok()?;
    Some(Validity { file: file.to_owned(), not_after: certificate.validity().not_after.timestamp() })
}

/// Clients' certificates are checked against these authorities and no others.
fn verifier(
    client: &ClientCertificates,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { file: client.ca.clone(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&client.ca).map_err(unreadable)? {
        let malformed = |_| TlsError::Malformed { file: client.ca.clone() };
        roots.add(certificate.map_err(unreadable)?).map_err(malformed)?;
    }
    if roots.is_empty() {
        return Err(TlsError::NoCertificate { file: client.ca.clone() });
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if client.required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| TlsError::Setup(Box::new(rustls::Error::General(error.to_string()))))
}

/// The subject of the certificate that a client has shown (RFC 4514); the handshake has verified it. `None`: it has
/// shown none, or one whose subject can't stand in a field.
pub(super) fn subject_of(connection: &rustls::ServerConnection) -> Option<HeaderValue> {
    let shown = connection.peer_certificates()?.first()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(shown).ok()?;
    HeaderValue::try_from(certificate.subject().to_string()).ok()
}

/// Reads everything that the listeners' TLS settings name, and says what can't be used.
///
/// # Errors
/// The first fault.
pub fn check(settings: &[Listener]) -> Result<(), TlsError> {
    settings.iter().filter_map(|listener| listener.tls.as_ref()).try_for_each(|tls| server_config(tls).map(drop))
}

fn load(files: &CertificateFiles, provider: &rustls::crypto::CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let unreadable = |file: &Path| {
        let file = file.to_owned();
        move |source| TlsError::Unreadable { file, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .map_err(unreadable(&files.cert))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable(&files.cert))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { file: files.cert.clone() });
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(unreadable(&files.key))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|source| match source {
        rustls::Error::InvalidCertificate(_) => TlsError::Malformed { file: files.cert.clone() },
        source => TlsError::Key { key: files.key.clone(), cert: files.cert.clone(), source: Box::new(source) },
    })
}

/// Certificates by the names they are valid for; where several are valid for a name, the earlier listed serves it.
#[derive(Debug)]
struct ByName {
    /// For clients that name no known host.
    first: Option<Arc<CertifiedKey>>,
    /// Lower case; a wildcard stands as `*.example.org`.
    names: HashMap<String, Arc<CertifiedKey>>,
}

impl ByName {
    fn add(&mut self, certified: CertifiedKey, file: &Path) -> Result<(), TlsError> {
        let certified = Arc::new(certified);
        let malformed = || TlsError::Malformed { file: file.to_owned() };
        let leaf = certified.cert.first().ok_or_else(malformed)?;
        let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|_| malformed())?;
        for name in leaf.valid_dns_names() {
            self.names.entry(name.to_ascii_lowercase()).or_insert_with(|| certified.clone());
        }
        self.first.get_or_insert(certified);
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        self.names.get(&name).or_else(|| {
            // RFC 6125 §6.4.3: a wildcard stands for the leftmost label alone.
            let (_, parent) = name.split_once('.')?;
            self.names.get(&format!("*.{parent}"))
        })
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello.server_name().and_then(|name| self.find(name)).or(self.first.as_ref()).cloned()
    }
}

#[cfg(test)]
mod tests;
