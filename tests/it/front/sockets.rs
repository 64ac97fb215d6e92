//! Listeners that are no plain TCP: behind a balancer that tells whose connection it is, Unix sockets, systemd's.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::client::{Connection, request};
use crate::support::larder::Larder;
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::within;

async fn upstream() -> Upstream {
    Upstream::start(|_| Reply::ok().header("cache-control", "no-store").body("x")).await
}

fn listening(upstream: &Upstream, listener: &str) -> Proxy {
    Proxy::as_written(&format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n{listener}\n[upstreams.app]\nservers = [\"{}\"]\n",
        upstream.url()
    ))
}

#[tokio::test]
async fn balancer_tells_whose_connection_it_is() {
    let upstream = upstream().await;
    let proxy = listening(&upstream, "proxy_protocol = [\"127.0.0.0/8\"]");
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x12".to_vec();
    binary.extend([192, 0, 2, 7, 198, 51, 100, 2, 0x10, 0, 1, 0xbb]);
    binary.extend([4, 0, 3, 1, 2, 3]);
    for (header, client) in [
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 4096 443\r\n".to_vec(), "192.0.2.1"),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n".to_vec(), "2001:db8::1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (binary, "192.0.2.7"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), "127.0.0.1"),
    ] {
        let mut connection = Connection::open(proxy.address).await;
        connection
            .send([&header[..], request("GET", "/", &[("X-Forwarded-For", "6.6.6.6")], "").as_bytes()].concat())
            .await;
        assert_eq!(connection.response("GET").await.status, 200);
        assert_eq!(upstream.requests().last().unwrap().fields.get("x-forwarded-for"), Some(client));
        // The header is said once.
        connection.send([&header[..], request("GET", "/", &[], "").as_bytes()].concat()).await;
        assert_ne!(connection.response("GET").await.status, 200);
    }
}

#[tokio::test]
async fn connection_without_a_valid_header_is_closed() {
    let upstream = upstream().await;
    let good = "PROXY TCP4 192.0.2.1 198.51.100.2 4096 443\r\n";
    let plain = request("GET", "/", &[], "");
    for (networks, header) in [
        ("127.0.0.0/8", ""),
        ("127.0.0.0/8", "PROXY TCP4 nonsense\r\n"),
        ("127.0.0.0/8", "PROXY TCP4 192.0.2.1 198.51.100.2 4096 443\n"),
        ("192.0.2.0/24", good),
        ("192.0.2.0/24", ""),
    ] {
        let proxy = listening(&upstream, &format!("proxy_protocol = [\"{networks}\"]"));
        let mut connection = Connection::open(proxy.address).await;
        connection.send(format!("{header}{plain}")).await;
        assert_eq!(connection.rest().await, b"", "{networks} {header:?}");
        let metrics = proxy.metrics_text().await;
        assert!(metrics.contains("larder_client_connections_refused_total{reason=\"proxy-protocol\"} 1"), "{metrics}");
    }
    let proxy = listening(&upstream, "");
    let mut connection = Connection::open(proxy.address).await;
    connection.send(format!("{good}{plain}")).await;
    assert_eq!(connection.response("GET").await.status, 400, "where none is expected it is no request");
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn connections_of_one_address_and_of_a_listener_are_bounded() {
    let upstream = upstream().await;
    for (limits, most) in [("connections_per_address = 2", 2), ("connections = 3", 3)] {
        let proxy = listening(&upstream, &format!("limits = {{ {limits} }}"));
        let mut open = Vec::new();
        for _ in 0..most {
            let mut connection = Connection::open(proxy.address).await;
            assert_eq!(connection.get("/", &[]).await.status, 200);
            open.push(connection);
        }
        let mut one_more = Connection::open(proxy.address).await;
        one_more.send(request("GET", "/", &[], "")).await;
        assert_eq!(one_more.rest().await, b"", "{limits}");
        let metrics = proxy.metrics_text().await;
        assert!(metrics.contains("refused_total{reason=\"too-many-connections\"} 1"), "{metrics}");
        drop(open);
        within("a place to be free again", async {
            loop {
                let mut again = Connection::open(proxy.address).await;
                again.send(request("GET", "/", &[("Connection", "close")], "")).await;
                if again.rest().await.starts_with(b"HTTP/1.1 200") {
                    return;
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn rate_of_a_listener_counts_all_routes() {
    let upstream = upstream().await;
    let proxy = listening(&upstream, "limits = { rate = \"1/h\", burst = 2 }");
    for (path, status) in [("/a", 200), ("/b", 200), ("/c", 429)] {
        assert_eq!(proxy.get(path, &[]).await.status, status);
    }
}

async fn over_unix(path: &std::path::Path) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(request("GET", "/", &[("Connection", "close")], "").as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn unix_socket_is_served_with_its_permissions_and_a_stale_one_replaced() {
    let upstream = upstream().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    // One that nobody listens on any more, as after a crash.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let more = format!(
        "mode = \"0600\"\n[[listeners]]\naddress = \"127.0.0.1:0\"\n[upstreams.app]\nservers = [\"{}\"]\n",
        upstream.url()
    );
    let _proxy = Proxy::as_written(&format!("[[listeners]]\naddress = \"unix:{}\"\n{more}", path.display()));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(over_unix(&path).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(upstream.requests()[0].fields.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_of_systemd_are_taken_by_name() {
    let upstream = upstream().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxy.toml");
    let text = format!(
        "[[listeners]]\naddress = \"systemd:http\"\n[[listeners]]\naddress = \"systemd:local\"\n\
         [upstreams.app]\nservers = [\"{}\"]\n[access_log]\ntarget = \"off\"\n",
        upstream.url()
    );
    std::fs::write(&file, text).unwrap();
    let http = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = http.local_addr().unwrap();
    let path = directory.path().join("local.sock");
    let local = std::os::unix::net::UnixListener::bind(&path).unwrap();
    // As systemd does it, but for the process id, which a shell puts in.
    let mut command = Command::new("sh");
    command.args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\""]).arg(crate::support::larder::binary());
    command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "local:http");
    let larder = Larder::with_sockets(command, vec![local.into(), http.into()], &file).await;
    assert_eq!(larder.get("/", &[]).await.status, 200);
    assert_eq!(larder.address, address);
    assert!(over_unix(&path).await.starts_with("HTTP/1.1 200 OK\r\n"));
}
