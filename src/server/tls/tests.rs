//! Certificates from files: SNI, ALPN, and what is said of broken ones.

use rcgen::{CertifiedKey as Generated, KeyPair, generate_simple_self_signed};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::duplex;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        Files { dir: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A self-signed certificate for `names` in two files.
    fn certificate(&self, file: &str, names: &[&str]) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let Generated { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        CertificateFiles {
            cert: self.write(&format!("{file}.pem"), &cert.pem()),
            key: self.write(&format!("{file}.key"), &signing_key.serialize_pem()),
        }
    }
}

fn client(alpn: &[&[u8]]) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// Takes any certificate: the tests look at which one came.
#[derive(Debug)]
struct Trusting(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The first name of the certificate that a client asking for `name` is shown, and the protocol agreed on.
async fn handshake(config: &Arc<ServerConfig>, name: &str, alpn: &[&[u8]]) -> (String, Option<Vec<u8>>) {
    let (near, far) = duplex(64 * 1024);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::new(client(alpn)));
    let acceptor = TlsAcceptor::from(config.clone());
    let (client, server) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
    let (client, server) = (client.unwrap(), server.unwrap());
    let session = client.get_ref().1;
    let leaf = webpki::EndEntityCert::try_from(&session.peer_certificates().unwrap()[0]).unwrap();
    assert_eq!(session.alpn_protocol(), server.get_ref().1.alpn_protocol());
    (leaf.valid_dns_names().next().unwrap().to_owned(), session.alpn_protocol().map(<[u8]>::to_vec))
}

#[tokio::test]
async fn tls_chooses_the_certificate_by_sni() {
    let files = Files::new();
    let certificates = vec![
        files.certificate("first", &["first.test"]),
        files.certificate("wild", &["*.wild.test"]),
        files.certificate("exact", &["Exact.wild.test", "other.test"]),
        files.certificate("late", &["late.test", "first.test"]),
    ];
    let config = server_config(&ListenerTls { certificates, http2: true, client: None }).unwrap().config;
    for (asked, expected) in [
        ("first.test", "first.test"),
        ("FIRST.test", "first.test"),
        ("a.wild.test", "*.wild.test"),
        ("exact.wild.test", "Exact.wild.test"),
        ("other.test", "Exact.wild.test"),
        ("late.test", "late.test"),
        // A wildcard is for one label; nobody's name, and no name at all, get the first.
        ("a.b.wild.test", "first.test"),
        ("wild.test", "first.test"),
        ("unknown.test", "first.test"),
        ("127.0.0.1", "first.test"),
    ] {
        assert_eq!(handshake(&config, asked, &[]).await.0, expected, "{asked}");
    }
}

#[tokio::test]
async fn tls_agrees_on_a_protocol_by_alpn() {
    let files = Files::new();
    let certificates = vec![files.certificate("a", &["a.test"])];
    let both =
        server_config(&ListenerTls { certificates: certificates.clone(), http2: true, client: None }).unwrap().config;
    let one = server_config(&ListenerTls { certificates, http2: false, client: None }).unwrap().config;
    for (config, offered, agreed) in [
        (&both, &[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])),
        (&both, &[b"http/1.1"], Some(b"http/1.1")),
        (&both, &[], None),
        (&one, &[b"h2", b"http/1.1"], Some(b"http/1.1")),
    ] {
        assert_eq!(handshake(config, "a.test", offered).await.1.as_deref(), agreed);
    }
}

#[test]
fn tls_errors_are_one_line_that_names_the_file() {
    let files = Files::new();
    let good = files.certificate("good", &["a.test"]);
    let other = files.certificate("other", &["b.test"]);
    let missing = files.dir.path().join("missing");
    let text = files.write("text", "no PEM at all\n");
    let cut = files.write("cut", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let garbage = files.write("garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let unusable = files.write("unusable", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let with = |cert: &PathBuf, key: &PathBuf| CertificateFiles { cert: cert.clone(), key: key.clone() };
    for (files, named, says) in [
        (with(&missing, &good.key), &missing, "No such file"),
        (with(&good.cert, &missing), &missing, "No such file"),
        (with(&text, &good.key), &text, "holds no certificate"),
        (with(&good.key, &good.key), &good.key, "holds no certificate"),
        (with(&good.cert, &text), &text, "holds no private key"),
        (with(&good.cert, &good.cert), &good.cert, "holds no private key"),
        (with(&cut, &good.key), &cut, "section end"),
        (with(&garbage, &good.key), &garbage, "malformed"),
        (with(&good.cert, &unusable), &unusable, "not the key of"),
        (with(&good.cert, &other.key), &other.key, "not the key of"),
    ] {
        let error = server_config(&ListenerTls { certificates: vec![files], http2: true, client: None })
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(&format!("{}: ", named.display())), "{error}");
        assert!(error.contains(says), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn tls_reads_keys_of_other_kinds() {
    let files = Files::new();
    for algorithm in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let cert = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        let certificates = vec![CertificateFiles {
            cert: files.write("cert", &cert.pem()),
            key: files.write("key", &key.serialize_pem()),
        }];
        server_config(&ListenerTls { certificates, http2: true, client: None }).unwrap();
    }
}
