//! What connections cost that wait for their next request: their clients live in a process of their own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::http2::Http2Client;
use crate::memory::{allocated, resident};
use crate::support::{self, BODY, PAGE};

/// How clients come.
const WAYS: [(&str, &str); 4] = [
    ("http1", "HTTP/1.1 in cleartext"),
    ("http2", "HTTP/2 in cleartext"),
    ("tls-http1", "HTTP/1.1 over TLS"),
    ("tls-http2", "HTTP/2 over TLS"),
];

const HOST: &str = "app.test";
const CERTIFICATE: &str = "cert.pem";

/// Connections that are there before anything is counted.
const FIRST: usize = 100;

/// Prints what a connection costs, for each way and each in a process of its own: what one has given back must not be
/// there for the next.
pub fn all(connections: &str) {
    println!("bytes of a connection after its first hit, of {connections} that wait");
    println!("resident  allocated");
    for (way, title) in WAYS {
        let program = std::env::current_exe().expect("this program has a path");
        let run = Command::new(program).args(["idle", way, connections]).output().expect("this program runs");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        println!("{}  {title}", String::from_utf8_lossy(&run.stdout).trim_end());
    }
}

/// Prints what a connection costs that comes in one of the ways.
pub fn of(way: &str, connections: &str) {
    let count: u64 = connections.parse().expect("a number of connections");
    raise_limit();
    let directory = tempfile::tempdir().expect("there is room for a certificate");
    let listener = match way.starts_with("tls") {
        false => "[[listeners]]\naddress = \"127.0.0.1:0\"\n".to_owned(),
        true => listener_with_certificate(directory.path()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a worker thread starts");
    let (_app, address) = runtime.block_on(support::larder_with(&listener));
    let mut client = Command::new(std::env::current_exe().expect("this program has a path"))
        .args(["hold", way, &address.to_string(), connections])
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program runs");
    wait_for(&mut client);
    let before = (resident("VmRSS:"), allocated());
    client.stdin.as_mut().expect("it is piped").write_all(b"go on\n").expect("it listens");
    wait_for(&mut client);
    println!("{:>8}  {:>9}", (resident("VmRSS:") - before.0) / count, (allocated() - before.1) / count);
    drop(client.stdin.take());
    client.wait().expect("it is our child");
}

/// Reads the line by which the client says that its connections are there.
fn wait_for(client: &mut Child) {
    let mut said = [0; 6];
    client.stdout.as_mut().expect("it is piped").read_exact(&mut said).expect("its connections are served");
}

fn listener_with_certificate(directory: &Path) -> String {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([HOST.to_owned()]).expect("a certificate can be made");
    let (cert_file, key_file) = (directory.join(CERTIFICATE), directory.join("key.pem"));
    std::fs::write(&cert_file, cert.pem()).expect("there is room for it");
    std::fs::write(&key_file, signing_key.serialize_pem()).expect("there is room for it");
    format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\ntls = {{ certificates = [{{ cert = {cert_file:?}, key = {key_file:?} }}] }}\n"
    )
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// The client: opens connections, asks once on each, says so, waits for a line, does the same with as many as were asked
/// for, says so, and holds them until its input ends.
pub fn hold(way: &str, address: &str, connections: usize) {
    raise_limit();
    let address: SocketAddr = address.parse().expect("an address");
    let tls = way.starts_with("tls").then(|| client_config(way));
    let mut lines = BufReader::new(std::io::stdin()).lines();
    let mut held = Vec::new();
    for count in [FIRST, connections] {
        for _ in 0..count {
            let stream = TcpStream::connect(address).expect("somebody listens");
            stream.set_nodelay(true).expect("a connected socket");
            let stream: Box<dyn Stream> = match &tls {
                None => Box::new(stream),
                Some(config) => {
                    let host = ServerName::try_from(HOST).expect("it is a name");
                    let connection = ClientConnection::new(config.clone(), host).expect("a name is all it takes");
                    Box::new(StreamOwned::new(connection, stream))
                }
            };
            held.push(match way.ends_with("http2") {
                true => {
                    let mut client = Http2Client::over(stream);
                    client.ask(1);
                    client.into_stream()
                }
                false => asked_once(stream),
            });
        }
        println!("ready");
        lines.next();
    }
}

/// Asks for the page over HTTP/1.1.
fn asked_once(mut stream: Box<dyn Stream>) -> Box<dyn Stream> {
    stream.write_all(format!("GET {PAGE} HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).expect("the request is taken");
    let mut response = Vec::new();
    let mut buffer = [0; 4096];
    while memchr::memmem::find(&response, b"\r\n\r\n").is_none_or(|end| response.len() < end + 4 + BODY) {
        let read = stream.read(&mut buffer).expect("the response comes");
        assert!(read > 0, "the response ends early");
        response.extend_from_slice(&buffer[..read]);
    }
    stream
}

fn client_config(way: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(CERTIFICATE).expect("the server has left it here");
    roots.add(certificate).expect("it was just made");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.expect("they are there").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![if way.ends_with("http2") { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Arc::new(config)
}

/// As many files as the system lets this process have.
fn raise_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it may not, connections are refused soon enough.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
