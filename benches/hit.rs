//! Instructions that requests take: hits of several kinds, misses and pass-through, beside what hyper alone needs.
//!
//! `cargo bench --bench hit` runs this program under `valgrind --tool=callgrind` and prints the table. Counts depend
//! on the code, not on the machine's load. `hit <case> <requests>` serves so many requests, e.g. for a profile:
//! `valgrind --tool=callgrind --callgrind-out-file=hit.out <binary> hit 2000; callgrind_annotate hit.out`.
//! `hit memory <pages>` fills the cache with so many pages and prints what they cost, `hit idle <connections>` what
//! connections cost that wait for their next request, `hit start` how long the first answer takes. `hit listen <address>`
//! serves the same bytes by hyper alone until it is killed, for `benches/compare`. `hit latency <address> <path> <rate>`
//! asks a server that runs so many times a second and prints how long answers take.

#![expect(unreachable_pub, reason = "one binary: `pub` says what a module offers the others")]
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

#[path = "support/http2.rs"]
mod http2;
#[path = "support/idle.rs"]
mod idle;
#[path = "support/latency.rs"]
mod latency;
#[path = "support/memory.rs"]
mod memory;
#[path = "support/start.rs"]
mod start;
mod support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Command;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

use http2::Http2Client;
use support::{BODY, Client, FIELDS, LARGE, PAGE, PASS, TEXT};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Requests that are sent at once over HTTP/2.
const STREAMS: u32 = 16;

/// Requests of the shorter run; the longer one makes this many more, and only those count.
const REQUESTS: u64 = 2000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["memory", pages] => memory::of_pages(pages.parse().expect("a number of pages")),
        ["idle", connections] => idle::all(connections),
        ["idle", way, connections] => idle::of(way, connections),
        ["hold", way, address, connections] => idle::hold(way, address, connections.parse().expect("a number")),
        ["start"] => start::first_answer(),
        ["latency", address, path, rate] => {
            let address = address.parse().expect("the address of a server");
            latency::at_rate(address, path, rate.parse().expect("requests a second"));
        }
        ["listen", address] => listen(address.parse().expect("an address to listen on")),
        [case, requests] => serve(case, requests.parse().expect("a number of requests")),
        _ => count(),
    }
}

/// What is counted: its name, what it is, and the case whose share in it is not the server's.
const CASES: [(&str, &str, Option<&str>); 11] = [
    ("hyper", "1 KiB by hyper alone", None),
    ("hit", "hit, 1 KiB", None),
    ("hit-logged", "hit, 1 KiB, with the access log in JSON", None),
    ("hit-64k", "hit, 64 KiB", None),
    ("hit-gzip", "hit, 64 KiB of text, coded", None),
    ("hyper-h2", "1 KiB by hyper alone, HTTP/2", None),
    ("hit-h2", "hit, 1 KiB, HTTP/2", None),
    ("logged-h2", "hit, 1 KiB, HTTP/2, with the access log in JSON", None),
    ("origin", "1 KiB by the origin", None),
    ("pass", "passed through, 1 KiB, without the origin", Some("origin")),
    ("miss", "miss and fill, 1 KiB, without the origin", Some("origin")),
];

/// Prints what a request costs in each case.
fn count() {
    println!("instructions a request, the client's own (some 1,000 over HTTP/1.1) included");
    let mut counted: Vec<(&str, u64)> = Vec::new();
    for (case, title, foreign) in CASES {
        let each = (instructions(case, 2 * REQUESTS) - instructions(case, REQUESTS)) / REQUESTS;
        let foreign = counted.iter().find(|(case, _)| Some(*case) == foreign).map_or(0, |(_, each)| *each);
        println!("{:>8}  {case:<10} {title}", each - foreign);
        counted.push((case, each));
    }
}

fn instructions(case: &str, requests: u64) -> u64 {
    let program = std::env::current_exe().expect("this program has a path");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([case, &requests.to_string()])
        .output()
        .expect("valgrind is installed");
    let told = String::from_utf8_lossy(&run.stderr).into_owned();
    let counted = told.lines().find_map(|line| line.split("Collected : ").nth(1)?.trim().parse().ok());
    counted.unwrap_or_else(|| panic!("callgrind says how much it collected:\n{told}"))
}

fn serve(case: &str, requests: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a worker thread starts");
    let mut started = None;
    let directory = tempfile::tempdir().expect("a directory for the log");
    let address = match case {
        "hyper" | "hyper-h2" | "origin" => {
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("loopback has a free port");
            let address = listener.local_addr().expect("it is bound");
            match case {
                "origin" => drop(runtime.spawn(support::serve_origin(listener))),
                _ => drop(runtime.spawn(serve_bare(listener))),
            }
            address
        }
        _ => {
            let log = directory.path().join("access.log");
            let target = if case.contains("logged") { log.to_str().expect("a path of text") } else { "off" };
            let (app, address) = runtime.block_on(support::larder_logging(support::LISTENER, target));
            started = Some(app);
            address
        }
    };
    if case.ends_with("h2") {
        let mut client = Http2Client::open(address);
        (0..requests / u64::from(STREAMS)).for_each(|_| client.ask(STREAMS));
        return;
    }
    let mut client = Client::open(address);
    for request in 0..requests {
        match case {
            "hyper" | "hit" | "hit-logged" | "origin" => client.ask(PAGE),
            "hit-64k" => client.ask(LARGE),
            "hit-gzip" => client.ask_with(TEXT, "accept-encoding: gzip\r\n"),
            "pass" => client.ask(PASS),
            "miss" => client.ask(&format!("/shop/page?id={request:08}")),
            _ => panic!("the cases are {CASES:?}"),
        };
    }
    drop(started);
}

fn listen(address: SocketAddr) {
    let runtime = tokio::runtime::Runtime::new().expect("worker threads start");
    runtime.block_on(async { serve_bare(TcpListener::bind(address).await.expect("the address is free")).await });
}

/// The same bytes as larder sends, by hyper alone, over HTTP/1.1 or HTTP/2.
async fn serve_bare(listener: TcpListener) {
    let sent_by_larder =
        "age: 0\r\naccept-ranges: bytes\r\nvia: 1.1 larder\r\ncache-status: larder; hit; ttl=86399\r\n";
    let fields: Vec<(HeaderName, HeaderValue)> = [FIELDS, sent_by_larder]
        .iter()
        .flat_map(|lines| lines.lines())
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    let fields: &'static [(HeaderName, HeaderValue)] = fields.leak();
    let body = Bytes::from("x".repeat(BODY));
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let body = body.clone();
        tokio::spawn(async move {
            let mut preface = [0; 3];
            let http2 = stream.peek(&mut preface).await.is_ok() && preface == *b"PRI";
            let service = service_fn(move |_| {
                let mut response = Response::new(Full::new(body.clone()));
                response.headers_mut().extend(fields.iter().cloned());
                async { Ok::<_, Infallible>(response) }
            });
            let stream = TokioIo::new(stream);
            // That the client leaves is no fault.
            let _ = match http2 {
                true => {
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(stream, service)
                        .await
                }
                false => hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await,
            };
        });
    }
}
