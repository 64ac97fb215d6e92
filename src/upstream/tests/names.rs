//! Names that change: a small DNS server on loopback, and servers on several loopback addresses.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;
use tokio::net::UdpSocket;

use super::*;
use crate::config::settings::Dns;

/// A name server that knows one name, or none, with a time to live of a second.
struct NameServer {
    address: SocketAddr,
    answers: Arc<Mutex<Vec<Ipv4Addr>>>,
}

impl NameServer {
    async fn start(answers: &[[u8; 4]]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let answers: Vec<_> = answers.iter().map(|octets| Ipv4Addr::from(*octets)).collect();
        let answers = Arc::new(Mutex::new(answers));
        let known = answers.clone();
        tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut question).await {
                let answer = answer(&question[..length], &known.lock());
                let _ = socket.send_to(&answer, client).await;
            }
        });
        NameServer { address, answers }
    }

    fn dns(&self) -> Dns {
        Dns { servers: vec![self.address], min_ttl: SHORT, max_ttl: SHORT, timeout: 5 * SHORT }
    }
}

/// RFC 1035 §4: the question again, and an A record an address; nothing for other types.
fn answer(question: &[u8], addresses: &[Ipv4Addr]) -> Vec<u8> {
    let name_end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let is_a = question[name_end..name_end + 2] == [0, 1];
    let addresses = if is_a { addresses } else { &[] };
    let missing = is_a && addresses.is_empty();
    let mut answer = question[..2].to_vec();
    // A response, recursion desired and available; NXDOMAIN where there is nothing.
    answer.extend([0x81, if missing { 0x83 } else { 0x80 }, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    answer.extend(&question[12..name_end + 4]);
    for address in addresses {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}

/// A server of the same port on another loopback address.
async fn beside(server: &Scripted, address: [u8; 4]) -> Scripted {
    Scripted(TcpListener::bind((Ipv4Addr::from(address), server.address().port)).await.unwrap())
}

fn named(server: &Scripted, names: &NameServer) -> Upstream {
    let address = UpstreamServer::new(false, "app.test.", server.address().port);
    Upstream { dns: names.dns(), ..settings(vec![address]) }
}

#[tokio::test]
async fn all_addresses_of_a_name_are_used_in_turn() {
    let names = NameServer::start(&[[127, 0, 0, 1], [127, 0, 0, 2]]).await;
    let one = Scripted::listen().await;
    let two = beside(&one, [127, 0, 0, 2]).await;
    let pool = pool(named(&one, &names));
    let served = [one, two].map(|server| {
        let count = Arc::new(AtomicUsize::new(0));
        let counting = count.clone();
        tokio::spawn(async move {
            let mut line = server.accept().await;
            loop {
                line.serve(OK).await;
                counting.fetch_add(1, Relaxed);
            }
        });
        count
    });
    for _ in 0..8 {
        assert_eq!(get_text(&pool).await.unwrap(), "ok");
    }
    assert_eq!((server_stats(&pool).connects, server_stats(&pool).addresses.len()), (2, 2));
    assert!(served.iter().all(|count| count.load(Relaxed) >= 3), "{served:?}");
}

#[tokio::test]
async fn connections_to_an_address_that_vanished_are_closed_and_new_ones_go_to_the_new() {
    let names = NameServer::start(&[[127, 0, 0, 1]]).await;
    let old = Scripted::listen().await;
    let new = beside(&old, [127, 0, 0, 3]).await;
    let pool = pool(named(&old, &names));
    let (answer, mut line) = tokio::join!(get_text(&pool), old.serve(OK));
    answer.unwrap();
    *names.answers.lock() = vec![Ipv4Addr::new(127, 0, 0, 3)];
    line.closed().await;
    let (answer, _line) = tokio::join!(get_text(&pool), new.serve(OK));
    assert_eq!(answer.unwrap(), "ok");
}

#[tokio::test]
async fn name_that_cannot_be_resolved_at_first_is_asked_again_and_addresses_known_are_kept() {
    let names = NameServer::start(&[]).await;
    let server = Scripted::listen().await;
    let pool = pool(named(&server, &names));
    assert_eq!(kind(get(&pool).await), UpstreamErrorKind::Resolve);
    names.answers.lock().push(Ipv4Addr::LOCALHOST);
    within(async {
        while server_stats(&pool).addresses.is_empty() {
            tokio::time::sleep(SHORT).await;
        }
    })
    .await;
    names.answers.lock().clear();
    tokio::time::sleep(3 * SHORT).await;
    let (answer, _line) = tokio::join!(get_text(&pool), server.serve(OK));
    assert_eq!(answer.unwrap(), "ok");
}

#[tokio::test]
async fn address_that_refuses_leaves_requests_to_the_others() {
    let names = NameServer::start(&[[127, 0, 0, 9], [127, 0, 0, 1]]).await;
    let server = Scripted::listen().await;
    let pool = pool(named(&server, &names));
    for method in [Method::GET, Method::POST] {
        let (answer, line) = tokio::join!(send(&pool, method, RequestBody::Empty), server.serve(OK));
        assert_eq!(text(answer.unwrap()).await.unwrap(), "ok");
        drop(line);
        eventually(|| server_stats(&pool).open == 0).await;
    }
    assert_eq!(server_stats(&pool).errors, []);
}

/// A server on another loopback address that lets nobody in: its queue is full, so that what comes is not answered.
async fn silent_beside(server: &Scripted, address: [u8; 4]) -> (TcpListener, Vec<TcpStream>) {
    let address = SocketAddr::from((address, server.address().port));
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut queue = Vec::new();
    while let Ok(queued) = tokio::time::timeout(5 * SHORT, TcpStream::connect(address)).await {
        queue.push(queued.unwrap());
    }
    (listener, queue)
}

#[tokio::test]
async fn address_that_is_silent_leaves_requests_to_the_others() {
    let names = NameServer::start(&[[127, 0, 0, 1], [127, 0, 0, 2]]).await;
    let server = Scripted::listen().await;
    let _silent = silent_beside(&server, [127, 0, 0, 2]).await;
    let pool = pool(named(&server, &names));
    let served = serve_by(server, &Arc::new(Mutex::new(OK)));
    for _ in 0..8 {
        assert_eq!(get_text(&pool).await.unwrap(), "ok");
    }
    let stats = server_stats(&pool);
    assert_eq!((served.load(Relaxed), stats.errors, stats.addresses.len()), (8, vec![], 2));
    assert_eq!(stats.connects, 2, "one at first, and one in place of that to the silent one");
}

/// Answers each request on each connection by what is set at that moment; counts those that are no checks.
fn serve_by(server: Scripted, answer: &Arc<Mutex<&'static str>>) -> Arc<AtomicUsize> {
    let (served, answer) = (Arc::new(AtomicUsize::new(0)), answer.clone());
    let counting = served.clone();
    tokio::spawn(async move {
        loop {
            let mut line = server.accept().await;
            let (counting, answer) = (counting.clone(), answer.clone());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while let Ok(byte) = line.0.read_u8().await {
                    head.push(byte);
                    if !head.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    let is_check = head.starts_with(b"GET /up ");
                    counting.fetch_add(usize::from(!is_check), Relaxed);
                    head.clear();
                    let answer = *answer.lock();
                    if answer.is_empty() || line.0.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    served
}

/// Of each address, its last number and its state.
fn states(pool: &Pool) -> Vec<(u8, &'static str)> {
    let last = |address: SocketAddr| address.to_string().split([':', '.']).nth(3).unwrap().parse().unwrap();
    server_stats(pool).addresses.iter().map(|stats| (last(stats.address), stats.state)).collect()
}

#[tokio::test]
async fn address_that_fails_requests_is_ejected_alone() {
    let names = NameServer::start(&[[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 3]]).await;
    let one = Scripted::listen().await;
    let (two, three) = (beside(&one, [127, 0, 0, 2]).await, beside(&one, [127, 0, 0, 3]).await);
    let mut settings = named(&one, &names);
    (settings.ejection.failures, settings.ejection.time) = (2, LONG);
    let pool = pool(settings);
    let well = Arc::new(Mutex::new(OK));
    let ill = Arc::new(Mutex::new(""));
    let served = [serve_by(one, &well), serve_by(two, &ill), serve_by(three, &well)];
    let mut failed = 0;
    for _ in 0..30 {
        failed += usize::from(get_text(&pool).await.is_err());
    }
    assert_eq!(failed, 2, "two failures of it in a row, though others went well in between");
    assert_eq!(served[1].load(Relaxed), 2);
    assert_eq!(states(&pool), [(1, "up"), (2, "ejected"), (3, "up")]);
    assert_eq!((server_stats(&pool).state, server_stats(&pool).ejections), ("up", 0));
}

#[tokio::test]
async fn address_that_fails_checks_is_out_until_they_come_out_well() {
    let names = NameServer::start(&[[127, 0, 0, 1], [127, 0, 0, 2]]).await;
    let one = Scripted::listen().await;
    let two = beside(&one, [127, 0, 0, 2]).await;
    let mut settings = named(&one, &names);
    settings.health.path = Some("/up".to_owned());
    (settings.health.interval, settings.health.timeout) = (SHORT, LONG);
    let pool = pool(settings);
    let (well, changing) = (Arc::new(Mutex::new(OK)), Arc::new(Mutex::new(OK)));
    let served = [serve_by(one, &well), serve_by(two, &changing)];
    let until = async |expected: &[(u8, &'static str)]| {
        within(async {
            while states(&pool) != expected {
                tokio::time::sleep(SHORT).await;
            }
        })
        .await;
    };
    until(&[(1, "up"), (2, "up")]).await;
    *changing.lock() = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno";
    until(&[(1, "up"), (2, "down")]).await;
    assert_eq!(server_stats(&pool).state, "up", "the other one serves");
    for _ in 0..8 {
        assert_eq!(get_text(&pool).await.unwrap(), "ok");
    }
    assert_eq!((served[0].load(Relaxed), served[1].load(Relaxed)), (8, 0));
    *changing.lock() = OK;
    until(&[(1, "up"), (2, "up")]).await;
    for _ in 0..8 {
        assert_eq!(get_text(&pool).await.unwrap(), "ok");
    }
    assert!(served[1].load(Relaxed) > 0);
    *well.lock() = "";
    *changing.lock() = "";
    within(async {
        while server_stats(&pool).state != "down" {
            tokio::time::sleep(SHORT).await;
        }
    })
    .await;
}

#[tokio::test]
async fn hosts_file_is_read() {
    let names = NameServer::start(&[]).await;
    let server = Scripted::listen().await;
    let address = UpstreamServer::new(false, "localhost", server.address().port);
    let pool = pool(Upstream { dns: names.dns(), ..settings(vec![address]) });
    let (answer, _line) = tokio::join!(get_text(&pool), server.serve(OK));
    assert_eq!(answer.unwrap(), "ok");
}

#[tokio::test]
async fn server_on_a_unix_socket_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let pool = pool(settings(vec![UpstreamServer::on_socket(&path)]));
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            let mut head = [0; 1024];
            let length = stream.read(&mut head).await.unwrap();
            assert!(head[..length].starts_with(b"GET /page?x=1 HTTP/1.1\r\nhost: shop.example\r\n"));
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    });
    for _ in 0..2 {
        assert_eq!(get_text(&pool).await.unwrap(), "ok");
    }
    within(serving).await.unwrap();
    let stats = server_stats(&pool);
    assert_eq!((stats.server, stats.reuses), (format!("unix:{}", path.display()), 1));
    assert_eq!(
        kind(get(&super::pool(settings(vec![UpstreamServer::on_socket("/nowhere")]))).await),
        UpstreamErrorKind::Connect
    );
}
