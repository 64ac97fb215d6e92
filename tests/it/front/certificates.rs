//! TLS of listeners: certificates that change, clients that show their own, HTTPS alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::within;

/// An authority and what it has signed, in files.
struct Authority {
    directory: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), &pem).unwrap();
        Authority { directory, issuer: Issuer::new(params, key), pem }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Signs a certificate for a host, or of a client with that name, into `FILE.pem` and `FILE.key`.
    fn sign(&self, file: &str, host: &str) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, host);
        params.not_after = rcgen::date_time_ymd(2099, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
    }

    /// A client that trusts this authority and shows a certificate, if one is named.
    fn client(&self, shows: Option<(&Path, &Path)>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match shows {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_file_iter(certificate).unwrap().collect::<Result<_, _>>().unwrap();
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

/// Asks over TLS; the whole answer, or why there is none.
async fn ask(proxy: &Proxy, connector: &TlsConnector, host: &str, fields: &str) -> Result<String, String> {
    within("an answer over TLS", async {
        let stream = TcpStream::connect(proxy.address).await.map_err(|error| error.to_string())?;
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let mut stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        // The end may come without a goodbye.
        let read = stream.read_to_end(&mut answer).await;
        if answer.is_empty() { Err(format!("{read:?}")) } else { Ok(String::from_utf8(answer).unwrap()) }
    })
    .await
}

async fn upstream() -> Upstream {
    Upstream::start(|request| {
        Reply::ok().header("cache-control", "no-store").body(request.fields.get("x-subject").unwrap_or("nobody"))
    })
    .await
}

fn proxy(upstream: &Upstream, authority: &Authority, tls: &str, listener: &str) -> Proxy {
    let directory = authority.directory.path().display();
    Proxy::as_written(&format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n{listener}\n\
         tls = {{ certificates = [{{ cert = \"{directory}/a.pem\", key = \"{directory}/a.key\" }}]{tls} }}\n\
         [upstreams.app]\nservers = [\"{}\"]\n",
        upstream.url()
    ))
}

#[tokio::test]
async fn certificates_are_renewed_when_their_files_change() {
    let (upstream, authority) = (upstream().await, Authority::new("ca"));
    authority.sign("a", "old.test");
    let proxy = proxy(&upstream, &authority, "", "");
    let client = authority.client(None);
    assert!(ask(&proxy, &client, "old.test", "").await.is_ok());
    authority.sign("a", "new.test");
    within("the new certificate", async {
        while ask(&proxy, &client, "new.test", "").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(ask(&proxy, &client, "old.test", "").await.is_err(), "the old one is gone");
    let current = async || proxy.metrics_text().await.contains("larder_tls_certificates_current 1");
    assert!(current().await);
    let expiry = proxy.metrics_text().await;
    let expiry = expiry.lines().find(|line| line.starts_with("larder_tls_certificate_not_after_seconds{")).unwrap();
    let file = format!("certificate=\"{}\"}} ", authority.path("a.pem").display());
    assert!(expiry.contains(&format!("listener=\"{}\"", proxy.address)) && expiry.contains(&file), "{expiry}");
    assert_eq!(expiry.rsplit(' ').next(), Some("4070908800"), "{expiry}");
    std::fs::write(authority.path("a.key"), "broken").unwrap();
    within("the gauge to show it", async {
        while current().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(ask(&proxy, &client, "new.test", "").await.is_ok(), "the old one stays");
    authority.sign("a", "newer.test");
    within("the mended one", async {
        while ask(&proxy, &client, "newer.test", "").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(current().await);
}

#[tokio::test]
async fn clients_show_certificates_or_are_sent_away() {
    let (upstream, authority, other) = (upstream().await, Authority::new("ca"), Authority::new("other"));
    authority.sign("a", "app.test");
    authority.sign("alice", "alice");
    other.sign("mallory", "mallory");
    let alice = authority.client(Some((&authority.path("alice.pem"), &authority.path("alice.key"))));
    let mallory = authority.client(Some((&other.path("mallory.pem"), &other.path("mallory.key"))));
    let nobody = authority.client(None);
    let ca = authority.path("ca.pem");
    for (required, for_nobody) in [("required", None), ("optional", Some("nobody"))] {
        let tls = format!(
            ", client_ca = \"{}\", client_certificate = \"{required}\", subject_field = \"X-Subject\"",
            ca.display()
        );
        let proxy = proxy(&upstream, &authority, &tls, "");
        let claims = "X-Subject: CN=root\r\nX_Subject: CN=root\r\n";
        for fields in [claims, "Connection: X-Subject\r\n"] {
            let answer = ask(&proxy, &alice, "app.test", fields).await.unwrap();
            assert!(answer.ends_with("CN=alice") || answer.contains("CN=alice"), "{required} {fields}: {answer}");
        }
        assert!(ask(&proxy, &mallory, "app.test", "").await.is_err(), "{required}: of another authority");
        let answer = ask(&proxy, &nobody, "app.test", claims).await.ok();
        assert_eq!(answer.is_some(), for_nobody.is_some(), "{required}: {answer:?}");
        if let (Some(answer), Some(expected)) = (answer, for_nobody) {
            assert!(answer.ends_with(expected), "{answer}");
        }
    }
    assert!(upstream.requests().iter().all(|seen| seen.fields.get("x_subject").is_none()));
}

#[tokio::test]
async fn strict_transport_security_is_said_over_tls() {
    let (upstream, authority) = (upstream().await, Authority::new("ca"));
    authority.sign("a", "app.test");
    let hsts = "hsts = { max_age = \"365d\", subdomains = true, preload = true }";
    let proxy = proxy(&upstream, &authority, "", hsts);
    let answer = ask(&proxy, &authority.client(None), "app.test", "").await.unwrap();
    assert!(answer.contains("strict-transport-security: max-age=31536000; includeSubDomains; preload\r\n"), "{answer}");
}

#[tokio::test]
async fn cleartext_is_redirected_to_https() {
    let upstream = upstream().await;
    for (port, shown) in [(443, ""), (8443, ":8443")] {
        let proxy = Proxy::as_written(&format!(
            "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttps_redirect = {port}\nhsts = {{ max_age = \"1d\" }}\n\
             [server]\ntrusted_proxies = [\"127.0.0.1\"]\n[upstreams.app]\nservers = [\"{}\"]\n",
            upstream.url()
        ));
        let before = upstream.requests().len();
        for (host, target) in [("app.test", "/a?b=c"), ("app.test:8080", "//evil.test/%2e"), ("[::1]:80", "/")] {
            let response = proxy.ask("POST", target, &[("Host", host)], "content").await;
            let name = if host.starts_with('[') { "[::1]" } else { "app.test" };
            assert_eq!(response.status, 308);
            assert_eq!(response.field("location"), format!("https://{name}{shown}{target}"));
            assert!(response.field("strict-transport-security").is_empty(), "RFC 6797 §7.2: not in cleartext");
        }
        assert_eq!(upstream.requests().len(), before);
        assert_eq!(proxy.get("/.well-known/acme-challenge/x", &[]).await.status, 200, "authorities ask in cleartext");
        assert_eq!(proxy.get("/", &[("X-Forwarded-Proto", "https")]).await.status, 200, "it was HTTPS to the balancer");
    }
}
