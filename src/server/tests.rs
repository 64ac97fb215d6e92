//! The server over real sockets: start, reload, drain, refusals that reach the client.

use std::sync::atomic::Ordering;

use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::*;
use crate::config::settings::redis::Redis;
use crate::config::settings::{
    AccessLog, CertificateFiles, ClientTimeouts, Debug, Limits, Listener, ListenerTls, LogFormat, LogTarget, MemoryTier,
};

fn listener(address: SocketAddr) -> Listener {
    Listener::from(address)
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn settings(listeners: Vec<Listener>) -> Settings {
    let second = Duration::from_secs(1);
    Settings {
        listeners,
        metrics: None,
        metrics_assumed: true,
        control: None,
        purge_method: None,
        upstreams: Vec::new(),
        routes: Vec::new(),
        devices: Arc::default(),
        static_classes: Vec::new(),
        tags: Default::default(),
        memory: MemoryTier { size: 0, collapse_wait: second, uncacheable_memory: second },
        disk: None,
        redis: Redis::default(),
        limits: Limits {
            head: 32 * 1024,
            field: 8 * 1024,
            fields: 100,
            uri: 8 * 1024,
            connections: 100,
            http2_streams: 100,
            ranges: 8,
        },
        client_timeouts: ClientTimeouts { header: 10 * second, idle: 30 * second, keep_alive: 60 * second },
        trusted_proxies: Vec::new(),
        trusted_clients: Vec::new(),
        debug: Debug::default(),
        access_log: AccessLog { target: LogTarget::Off, format: LogFormat::Json },
        log_level: "info".to_owned(),
        shutdown_grace: 5 * second,
        workers: 0,
        warnings: Vec::new(),
    }
}

/// A server whose answers wait for a permit under `/wait`.
fn start(settings: &Settings) -> (Server, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let server = Server::start_with(settings, Hits::none(), {
        let permits = permits.clone();
        move |client: Arc<Client>, request: Request<Incoming>| {
            let permits = permits.clone();
            async move {
                if request.uri().path() == "/wait" {
                    permits.acquire().await.unwrap().forget();
                }
                let word = client.refused.get().map_or("served", |refusal| refusal.word());
                Response::new(Full::from(word))
            }
        }
    })
    .unwrap();
    (server, permits)
}

async fn ask(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

const CLOSE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn start_serves_on_the_addresses_it_reports() {
    let (server, _) = start(&settings(vec![listener(loopback()), listener(loopback())]));
    let addresses = server.addresses();
    assert_eq!(addresses.len(), 2);
    for address in addresses {
        assert_ne!(address.port(), 0);
        assert!(answer(ask(address, CLOSE).await).await.ends_with("served"));
    }
    assert_eq!(server.counters().connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn start_with_the_port_in_use_says_so_in_one_line() {
    let taken = std::net::TcpListener::bind(loopback()).unwrap();
    let address = taken.local_addr().unwrap();
    let handler = |_, _| async { Response::new(Full::<Bytes>::default()) };
    let error = Server::start_with(&settings(vec![listener(address)]), Hits::none(), handler).unwrap_err();
    assert_eq!(error.to_string(), format!("can't listen on {address}: the port is in use by another process"));
}

#[tokio::test]
async fn reload_opens_new_listeners_and_drains_removed_ones() {
    let (server, permits) = start(&settings(vec![listener(loopback())]));
    let old = server.addresses()[0];
    let waiting = ask(old, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let kept_alive = ask(old, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    // Its answer shows that both connections have been taken up.
    kept_alive.readable().await.unwrap();
    let other = SocketAddr::from(([127, 0, 0, 2], 0));
    let changes = server.reload(&settings(vec![listener(other)])).unwrap();
    let new = server.addresses()[0];
    assert_eq!(changes, [format!("listener {new} opened"), format!("listener {old} closed")]);
    assert!(answer(ask(new, CLOSE).await).await.ends_with("served"));
    assert!(answer(kept_alive).await.ends_with("served"), "an idle connection of a removed listener is closed");
    permits.add_permits(1);
    assert!(answer(waiting).await.ends_with("served"), "a request under way is finished");
}

#[tokio::test]
async fn reload_leaves_unchanged_listeners_alone() {
    let (server, _) = start(&settings(vec![listener(loopback())]));
    let address = server.addresses()[0];
    let mut stream = ask(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    stream.readable().await.unwrap();
    let changes = server.reload(&settings(vec![listener(loopback())])).unwrap();
    assert_eq!(changes, [""; 0]);
    assert_eq!(server.addresses(), [address]);
    stream.write_all(CLOSE.as_bytes()).await.unwrap();
    assert_eq!(answer(stream).await.matches("served").count(), 2);
}

#[tokio::test]
async fn reload_that_fails_changes_nothing() {
    let (server, _) = start(&settings(vec![listener(loopback())]));
    let before = server.addresses();
    let files = CertificateFiles { cert: "/nonexistent/cert".into(), key: "/nonexistent/key".into() };
    let broken = Listener {
        tls: Some(ListenerTls { certificates: vec![files], http2: true, client: None }),
        ..listener(SocketAddr::from(([127, 0, 0, 2], 0)))
    };
    let error = server.reload(&settings(vec![listener(SocketAddr::from(([127, 0, 0, 3], 0))), broken])).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/cert: "), "{error}");
    assert_eq!(server.addresses(), before);
    assert!(answer(ask(before[0], CLOSE).await).await.ends_with("served"));
}

#[tokio::test]
async fn reload_turns_tls_on_with_the_socket_kept() {
    let dir = tempfile::tempdir().unwrap();
    let certificate = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
    let files = CertificateFiles { cert: dir.path().join("cert"), key: dir.path().join("key") };
    let key = files.key.clone();
    std::fs::write(&files.cert, certificate.cert.pem()).unwrap();
    std::fs::write(&files.key, certificate.signing_key.serialize_pem()).unwrap();
    let (server, _) = start(&settings(vec![listener(loopback())]));
    let address = server.addresses()[0];
    let tls = Some(ListenerTls { certificates: vec![files], http2: true, client: None });
    let changes = server.reload(&settings(vec![Listener { tls, ..listener(loopback()) }])).unwrap();
    assert_eq!(changes, [format!("listener {address} speaks TLS")]);

    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("a.test").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap();
    stream.write_all(CLOSE.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("served"), "{text}");

    let _ = answer(ask(address, CLOSE).await).await;
    assert_eq!(server.counters().tls_errors.load(Ordering::Relaxed), 1, "cleartext is refused now");

    std::fs::write(key, "broken").unwrap();
    let counters = server.counters();
    let seen = async {
        while counters.certificates_broken.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), seen).await.expect("its files are looked at from then on");
}

#[tokio::test]
async fn drain_finishes_requests_and_reports() {
    let (server, permits) = start(&settings(vec![listener(loopback())]));
    let address = server.addresses()[0];
    let waiting = ask(address, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let idle = ask(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    idle.readable().await.unwrap();
    let (report, answers, ()) = tokio::join!(
        server.drain(Duration::from_secs(30)),
        async { (answer(idle).await, answer(waiting).await) },
        async { permits.add_permits(1) },
    );
    assert_eq!(report, DrainReport { finished: 2, cut: 0 });
    assert!(answers.0.ends_with("served") && answers.1.ends_with("served"), "{answers:?}");
    assert!(TcpStream::connect(address).await.is_err(), "nothing listens any more");
    assert_eq!(server.counters().open.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn drain_cuts_at_its_deadline() {
    let grace = Duration::from_millis(200);
    let (server, _) = start(&Settings { shutdown_grace: grace, ..settings(vec![listener(loopback())]) });
    let address = server.addresses()[0];
    let mut waiting = ask(address, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let first = ask(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    first.readable().await.unwrap();
    assert!(answer_within(first, server.drain(10 * grace)).await.ends_with("served"));
    let mut nothing = Vec::new();
    let _ = waiting.read_to_end(&mut nothing).await;
    assert_eq!(nothing, b"");
}

async fn answer_within(stream: TcpStream, drain: impl Future<Output = DrainReport>) -> String {
    let (text, report) = tokio::join!(answer(stream), drain);
    assert_eq!(report, DrainReport { finished: 1, cut: 1 });
    text
}

#[tokio::test]
async fn refused_client_gets_its_answer_though_it_goes_on_sending() {
    let (server, _) = start(&settings(vec![listener(loopback())]));
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut stream = ask(server.addresses()[0], head).await;
    for _ in 0..8 {
        stream.write_all(&[b'x'; 4096]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let text = answer(stream).await;
    assert!(text.ends_with("ambiguous-length"), "{text}");
}

#[tokio::test]
async fn connections_above_the_cap_wait_their_turn() {
    let mut one = settings(vec![listener(loopback()), listener(loopback())]);
    one.limits.connections = 1;
    let (server, _) = start(&one);
    let [first, second] = server.addresses()[..] else { panic!("two listeners") };
    let holding = ask(first, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    holding.readable().await.unwrap();
    let (ahead, behind) = (ask(first, CLOSE).await, ask(second, CLOSE).await);
    // Each listener may have passed the cap by the one connection it was waiting for.
    assert!(server.counters().open.load(Ordering::Relaxed) <= 2);
    drop(holding);
    assert!(answer(ahead).await.ends_with("served"));
    assert!(answer(behind).await.ends_with("served"));
}
