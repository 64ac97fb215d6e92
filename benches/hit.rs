//! Instructions that a hit takes, beside those that hyper alone needs for the same bytes.
//!
//! `cargo bench --bench hit` runs this program under `valgrind --tool=callgrind` and prints the table. Counts depend
//! on the code, not on the machine's load. `hit <case> <requests>` serves so many requests, e.g. for a profile:
//! `valgrind --tool=callgrind --callgrind-out-file=hit.out <binary> larder 2000; callgrind_annotate hit.out`.
//! `hit memory <pages>` fills the cache with so many pages and prints what they cost. `hit listen <address>` serves the same bytes by hyper alone until it is killed, for `benches/compare`.

#![expect(unreachable_pub, reason = "one binary: `pub` says what a module offers the others")]
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

mod support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Command;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{BODY, Client, FIELDS, PAGE};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Requests of the shorter run; the longer one makes this many more, and only those count.
const REQUESTS: u64 = 2000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["memory", pages] => memory(pages.parse().expect("a number of pages")),
        ["listen", address] => listen(address.parse().expect("an address to listen on")),
        [case, requests] => serve(case, requests.parse().expect("a number of requests")),
        _ => count(),
    }
}

/// Prints what a request costs in each case.
fn count() {
    println!("instructions for a hit of {BODY} bytes over HTTP/1.1, the client's own included");
    let [bare, larder] = ["hyper", "larder"].map(|case| {
        let each = (instructions(case, 2 * REQUESTS) - instructions(case, REQUESTS)) / REQUESTS;
        println!("{case:>8} {each:>8}");
        each
    });
    println!("larder/hyper {:.2}", larder as f64 / bare as f64);
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
    let (_app, address) = match case {
        "larder" => {
            let (app, address) = runtime.block_on(support::larder());
            (Some(app), address)
        }
        "hyper" => {
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("loopback has a free port");
            let address = listener.local_addr().expect("it is bound");
            runtime.spawn(serve_bare(listener));
            (None, address)
        }
        _ => panic!("the cases are larder and hyper"),
    };
    let mut client = Client::open(address);
    for _ in 0..requests {
        client.ask(PAGE);
    }
}

/// Prints what stored responses of 1 KiB cost, resident and as accounted for, beside the limit.
fn memory(pages: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a worker thread starts");
    let (app, address) = runtime.block_on(support::larder());
    let mut client = Client::open(address);
    for page in 0..1000 {
        client.ask(&format!("/warm/{page}"));
    }
    let cache = &app.proxy.cache.memory;
    cache.settle();
    let before = (cache.entries(), cache.bytes(), resident("VmRSS:"), allocated());
    for page in 0..pages {
        client.ask(&format!("/shop/page?id={page:08}"));
    }
    cache.settle();
    let stored = cache.entries() - before.0;
    println!("pages stored            {stored} of {pages}");
    println!("accounted bytes a page  {}", (cache.bytes() - before.1) / stored);
    println!("allocated bytes a page  {}", (allocated() - before.3) / stored);
    println!("resident bytes a page   {}", (resident("VmRSS:") - before.2) / stored);
    println!("peak to limit           {:.2}", resident("VmHWM:") as f64 / cache.size() as f64);
}

/// Bytes that the allocator has handed out.
fn allocated() -> u64 {
    tikv_jemalloc_ctl::epoch::advance().expect("jemalloc keeps figures");
    tikv_jemalloc_ctl::stats::allocated::read().expect("jemalloc keeps figures") as u64
}

/// Bytes of this process' memory, by their name in `/proc/self/status`.
fn resident(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it has that line");
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB")
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
