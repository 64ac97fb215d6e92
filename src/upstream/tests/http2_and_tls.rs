//! https servers with a certificate authority of their own, and HTTP/2 with prior knowledge and by ALPN.

use std::io::Write;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use hyper_util::rt::TokioExecutor;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::*;

/// A certificate authority, in a file as `ca_file` names one.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(super) file: tempfile::NamedTempFile,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(issuer.pem().as_bytes()).unwrap();
        Authority { issuer, file }
    }

    /// A client's certificate and key, in one file.
    fn file_of_client(&self) -> tempfile::NamedTempFile {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["larder".to_owned()]).unwrap().signed_by(&key, &self.issuer);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all((certificate.unwrap().pem() + &key.serialize_pem()).as_bytes()).unwrap();
        file
    }

    /// A TLS server for `localhost` that lets in who has a certificate of this authority.
    fn acceptor_of_known_clients(&self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        self.acceptor_with(&[], verifier.build().unwrap())
    }

    /// A TLS server for `localhost`.
    fn acceptor(&self, alpn: &[Vec<u8>]) -> TlsAcceptor {
        self.acceptor_with(alpn, Arc::new(rustls::server::NoClientAuth))
    }

    fn acceptor_with(
        &self,
        alpn: &[Vec<u8>],
        verifier: Arc<dyn rustls::server::danger::ClientCertVerifier>,
    ) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        config.alpn_protocols = alpn.to_vec();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn https(server: &Scripted, host: &str) -> UpstreamServer {
    UpstreamServer { tls: true, host: host.into(), ..server.address() }
}

#[tokio::test]
async fn https_server_is_verified_against_ca_file() {
    let authority = Authority::new();
    let server = Scripted::listen().await;
    let ca_file = Some(authority.file.path().to_owned());
    let pool = pool(Upstream { ca_file, ..settings(vec![https(&server, "localhost")]) });
    let acceptor = authority.acceptor(&[b"http/1.1".to_vec()]);
    let script = async {
        let mut tls = within(acceptor.accept(server.accept().await.0)).await.unwrap();
        assert_eq!(tls.get_ref().1.server_name(), Some("localhost"));
        let mut head = [0; 1024];
        for _ in 0..2 {
            within(tls.read(&mut head)).await.unwrap();
            tls.write_all(OK.as_bytes()).await.unwrap();
        }
        tls
    };
    let (_tls, ()) = tokio::join!(script, async {
        for _ in 0..2 {
            assert_eq!(get_text(&pool).await.unwrap(), "ok");
        }
    });
    assert_eq!(server_stats(&pool).reuses, 1);
}

#[tokio::test]
async fn bytes_behind_a_response_are_seen_within_tls() {
    let authority = Authority::new();
    let server = Scripted::listen().await;
    let ca_file = Some(authority.file.path().to_owned());
    let pool = pool(Upstream { ca_file, ..settings(vec![https(&server, "localhost")]) });
    let acceptor = authority.acceptor(&[b"http/1.1".to_vec()]);
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    // In one record with the response, in one of its own, and after the response was read.
    for (with, then, late) in [(poison, "", ""), ("", poison, ""), ("", "", poison)] {
        let accept = async || within(acceptor.accept(server.accept().await.0)).await.unwrap();
        let (answer, mut tls) = tokio::join!(get_text(&pool), async {
            let mut tls = accept().await;
            within(tls.read(&mut [0; 1024])).await.unwrap();
            tls.write_all(format!("{OK}{with}").as_bytes()).await.unwrap();
            tls.write_all(then.as_bytes()).await.unwrap();
            tls.flush().await.unwrap();
            tls
        });
        assert_eq!(answer.unwrap(), "ok");
        tls.write_all(late.as_bytes()).await.unwrap();
        tls.flush().await.unwrap();
        let (answer, last) = tokio::join!(get_text(&pool), async {
            let mut tls = accept().await;
            within(tls.read(&mut [0; 1024])).await.unwrap();
            tls.write_all(OK.as_bytes()).await.unwrap();
            tls
        });
        assert_eq!(answer.unwrap(), "ok");
        drop(last);
        eventually(|| server_stats(&pool).idle == 0).await;
    }
}

#[tokio::test]
async fn https_server_that_cannot_be_verified_is_a_tls_error() {
    let (authority, other) = (Authority::new(), Authority::new());
    for (trusted, host) in [(&other, "localhost"), (&authority, "127.0.0.1")] {
        let server = Scripted::listen().await;
        let ca_file = Some(trusted.file.path().to_owned());
        let pool = pool(Upstream { ca_file, ..settings(vec![https(&server, host)]) });
        let acceptor = authority.acceptor(&[b"http/1.1".to_vec()]);
        let (answer, handshake) =
            tokio::join!(get(&pool), async { within(acceptor.accept(server.accept().await.0)).await });
        assert_eq!(kind(answer), UpstreamErrorKind::Tls);
        assert!(handshake.is_err());
    }
}

#[test]
fn unusable_ca_file_is_a_clear_error() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let server = UpstreamServer::new(true, "localhost", 1);
    for file in ["/nowhere/ca.pem".into(), empty.path().to_owned()] {
        let settings = Upstream { ca_file: Some(file.clone()), ..settings(vec![server.clone()]) };
        let error = Pool::new(Arc::new(settings)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("upstream app: ca_file {}: ", file.display())), "{error}");
    }
}

/// Answers each request by its target and a trailer, over HTTP/2.
async fn serve_http2(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = hyper::service::service_fn(|request: Request<Incoming>| async move {
        assert!(!request.headers().contains_key("host"));
        let uri = request.uri().to_string();
        let mut body = vec![Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(uri)))];
        if let Ok(sent) = request.into_body().collect().await
            && let sent = sent.to_bytes()
            && !sent.is_empty()
        {
            body.push(Ok(Frame::data(sent)));
        }
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
        body.push(Ok(Frame::trailers(trailers)));
        Ok::<_, std::convert::Infallible>(Response::new(StreamBody::new(futures_util::stream::iter(body))))
    });
    let _ended = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(io), service)
        .await;
}

#[tokio::test]
async fn http2_with_prior_knowledge_shares_one_connection_and_passes_trailers() {
    let server = Scripted::listen().await;
    let pool = pool(Upstream { protocol: UpstreamProtocol::Http2, ..server.settings() });
    let accept = tokio::spawn(async move { serve_http2(server.accept().await.0).await });
    let (body, _client) = client_body("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", 10, LONG).await;
    let (one, two) = tokio::join!(get(&pool), send(&pool, Method::POST, body));
    for (answer, expected) in [(one, "http://shop.example/page?x=1"), (two, "http://shop.example/page?x=1abc")] {
        let collected = within(answer.unwrap().into_body().collect()).await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(collected.to_bytes(), expected);
    }
    let stats = server_stats(&pool);
    assert_eq!((stats.open, stats.connects, stats.reuses, stats.idle), (1, 1, 1, 1));
    drop(pool);
    within(accept).await.unwrap();
}

#[tokio::test]
async fn http2_over_tls_is_agreed_by_alpn() {
    let authority = Authority::new();
    let server = Scripted::listen().await;
    let settings = Upstream {
        protocol: UpstreamProtocol::Http2,
        ca_file: Some(authority.file.path().to_owned()),
        ..settings(vec![https(&server, "localhost")])
    };
    let acceptor = authority.acceptor(&[b"h2".to_vec()]);
    tokio::spawn(async move { serve_http2(acceptor.accept(server.accept().await.0).await.unwrap()).await });
    assert_eq!(get_text(&pool(settings)).await.unwrap(), "https://shop.example/page?x=1");
}

#[tokio::test]
async fn tls_server_without_http2_is_a_tls_error() {
    let authority = Authority::new();
    for alpn in [&[][..], &[b"http/1.1".to_vec()]] {
        let server = Scripted::listen().await;
        let pool = pool(Upstream {
            protocol: UpstreamProtocol::Http2,
            ca_file: Some(authority.file.path().to_owned()),
            ..settings(vec![https(&server, "localhost")])
        });
        let acceptor = authority.acceptor(alpn);
        let (answer, _) = tokio::join!(get(&pool), async { within(acceptor.accept(server.accept().await.0)).await });
        assert_eq!(kind(answer), UpstreamErrorKind::Tls);
    }
}

#[tokio::test]
async fn http2_exchange_reset_by_the_server_is_not_retried() {
    let server = Scripted::listen().await;
    let pool = pool(Upstream { protocol: UpstreamProtocol::Http2, ..server.settings() });
    for (reason, attempts) in [(h2::Reason::INTERNAL_ERROR, 1), (h2::Reason::REFUSED_STREAM, 2)] {
        let (answered, mut stop) = oneshot::channel::<()>();
        let script = async {
            let mut connection = within(h2::server::handshake(server.accept().await.0)).await.unwrap();
            let (_, mut first) = within(connection.accept()).await.unwrap().unwrap();
            first.send_response(Response::new(()), true).unwrap();
            let mut seen = 0;
            loop {
                tokio::select! {
                    next = connection.accept() => {
                        next.unwrap().unwrap().1.send_reset(reason);
                        seen += 1;
                    }
                    _ = &mut stop => return seen,
                }
            }
        };
        let client = async {
            get_text(&pool).await.unwrap();
            assert_eq!(kind(get(&pool).await), UpstreamErrorKind::Reset);
            drop(answered);
        };
        let (seen, ()) = tokio::join!(script, client);
        assert_eq!(seen, attempts, "{reason:?}");
        assert_eq!(server_stats(&pool).repeats, u64::from(attempts > 1));
        eventually(|| server_stats(&pool).open == 0).await;
    }
}

/// Without Content-Length only the end of the stream tells that all has come (RFC 9113 §8.1).
#[tokio::test]
async fn http2_response_that_is_reset_is_cut_whatever_the_reason() {
    let server = Scripted::listen().await;
    let pool = pool(Upstream { protocol: UpstreamProtocol::Http2, ..server.settings() });
    let (answered, mut stop) = oneshot::channel::<()>();
    let script = async {
        let mut connection = within(h2::server::handshake(server.accept().await.0)).await.unwrap();
        let mut reasons = [h2::Reason::NO_ERROR, h2::Reason::CANCEL, h2::Reason::INTERNAL_ERROR].into_iter();
        loop {
            tokio::select! {
                next = connection.accept() => {
                    let mut stream = next.unwrap().unwrap().1.send_response(Response::new(()), false).unwrap();
                    stream.send_data(Bytes::from_static(b"PART"), false).unwrap();
                    let reason = reasons.next().unwrap();
                    tokio::spawn(async move {
                        tokio::task::yield_now().await;
                        stream.send_reset(reason);
                    });
                }
                _ = &mut stop => return,
            }
        }
    };
    let client = async {
        for reason in 0..3 {
            let answer = match get(&pool).await {
                Ok(response) => response.into_body().collect().await.map(|body| body.to_bytes()),
                Err(error) => Err(error),
            };
            assert!(answer.is_err(), "reason {reason}: {answer:?}");
        }
        drop(answered);
    };
    tokio::join!(script, client);
}

#[tokio::test]
async fn http2_idle_connection_is_closed_after_idle_timeout() {
    let server = Scripted::listen().await;
    let protocol = UpstreamProtocol::Http2;
    let pool = pool(Upstream { protocol, idle_timeout: SHORT, ..server.settings() });
    let served = tokio::spawn(async move { serve_http2(server.accept().await.0).await });
    get_text(&pool).await.unwrap();
    within(served).await.unwrap();
    eventually(|| server_stats(&pool).open == 0).await;
}

fn upgrade() -> Request<RequestBody> {
    let mut upgrade = request(Method::GET, RequestBody::Empty);
    for (name, value) in [("upgrade", "x"), ("connection", "upgrade")] {
        upgrade.headers_mut().insert(name, value.parse().unwrap());
    }
    upgrade
}

#[tokio::test]
async fn protocol_is_what_the_server_agrees_to_and_upgrades_get_http1() {
    let authority = Authority::new();
    let server = Scripted::listen().await;
    let pool = pool(Upstream {
        protocol: UpstreamProtocol::Auto,
        ca_file: Some(authority.file.path().to_owned()),
        ..settings(vec![https(&server, "localhost")])
    });
    let both = authority.acceptor(&[b"h2".to_vec(), b"http/1.1".to_vec()]);
    let script = async {
        let tls = within(both.accept(server.accept().await.0)).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        tokio::spawn(serve_http2(tls));
        let mut tls = within(both.accept(server.accept().await.0)).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        within(tls.read(&mut [0; 1024])).await.unwrap();
        tls.write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n").await.unwrap();
        tls
    };
    let client = async {
        let (body, _client) = client_body(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            10,
            LONG,
        )
        .await;
        let answer = send(&pool, Method::POST, body).await.unwrap();
        assert_eq!(text(answer).await.unwrap(), "https://shop.example/page?x=1abc");
        assert_eq!(get_text(&pool).await.unwrap(), "https://shop.example/page?x=1");
        within(ask(&pool, upgrade(), exchange(&pool))).await.unwrap().status()
    };
    let (_tls, status) = tokio::join!(script, client);
    assert_eq!(status, StatusCode::SWITCHING_PROTOCOLS);
}

#[tokio::test]
async fn one_task_closes_the_connections_of_both_protocols() {
    let authority = Authority::new();
    let server = Scripted::listen().await;
    let pool = pool(Upstream {
        protocol: UpstreamProtocol::Auto,
        ca_file: Some(authority.file.path().to_owned()),
        ..settings(vec![https(&server, "localhost")])
    });
    let both = authority.acceptor(&[b"h2".to_vec(), b"http/1.1".to_vec()]);
    let accept = async || within(both.accept(server.accept().await.0)).await.unwrap();
    let mut http2 = None;
    tokio::join!(async { http2 = Some(tokio::spawn(serve_http2(accept().await))) }, async {
        get_text(&pool).await.unwrap();
    });
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut at_first = None;
    for _ in 0..5 {
        // HTTP/1.1 comes to have an idle connection, and none again.
        let (answer, tls) = tokio::join!(ask(&pool, upgrade(), exchange(&pool)), async {
            let mut tls = accept().await;
            within(tls.read(&mut [0; 1024])).await.unwrap();
            tls.write_all(OK.as_bytes()).await.unwrap();
            tls
        });
        assert_eq!(text(answer.unwrap()).await.unwrap(), "ok");
        eventually(|| server_stats(&pool).idle == 2).await;
        drop(tls);
        eventually(|| server_stats(&pool).idle == 1).await;
        let at_first = *at_first.get_or_insert_with(tasks);
        eventually(|| tasks() <= at_first).await;
    }
}

#[tokio::test]
async fn server_without_http2_is_spoken_to_in_http1_where_either_will_do() {
    let authority = Authority::new();
    let server = Scripted::listen().await;
    let pool = pool(Upstream {
        protocol: UpstreamProtocol::Auto,
        ca_file: Some(authority.file.path().to_owned()),
        ..settings(vec![https(&server, "localhost")])
    });
    let acceptor = authority.acceptor(&[b"http/1.1".to_vec()]);
    let script = async {
        let mut tls = within(acceptor.accept(server.accept().await.0)).await.unwrap();
        for _ in 0..2 {
            within(tls.read(&mut [0; 1024])).await.unwrap();
            tls.write_all(OK.as_bytes()).await.unwrap();
        }
        tls
    };
    let (_tls, ()) = tokio::join!(script, async {
        for _ in 0..2 {
            assert_eq!(get_text(&pool).await.unwrap(), "ok");
        }
    });
    assert_eq!((server_stats(&pool).connects, server_stats(&pool).reuses), (1, 1));
}

#[tokio::test]
async fn name_and_certificate_are_those_that_the_settings_give() {
    let authority = Authority::new();
    let client_cert = authority.file_of_client();
    for (sni, any, accepted) in
        [(Some("localhost"), false, true), (Some("other.test"), false, false), (None, false, false), (None, true, true)]
    {
        let server = Scripted::listen().await;
        let pool = pool(Upstream {
            ca_file: Some(authority.file.path().to_owned()),
            client_certificate: Some((client_cert.path().to_owned(), client_cert.path().to_owned())),
            sni: sni.map(str::to_owned),
            accept_any_certificate: any,
            ..settings(vec![https(&server, "127.0.0.1")])
        });
        let acceptor = authority.acceptor_of_known_clients();
        let script = async {
            let mut tls = within(acceptor.accept(server.accept().await.0)).await.ok()?;
            assert!(tls.get_ref().1.peer_certificates().is_some(), "the client showed its certificate");
            within(tls.read(&mut [0; 1024])).await.ok().filter(|length| *length > 0)?;
            tls.write_all(OK.as_bytes()).await.ok()?;
            Some(tls)
        };
        let (answer, _tls) = tokio::join!(get_text(&pool), script);
        match accepted {
            true => assert_eq!(answer.unwrap(), "ok"),
            false => assert_eq!(kind(answer), UpstreamErrorKind::Tls, "{sni:?}"),
        }
    }
}
