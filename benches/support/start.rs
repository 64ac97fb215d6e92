//! How long it takes from the start of the process to its first answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support;

/// Starts that are measured.
const STARTS: usize = 21;

/// Given up after.
const PATIENCE: Duration = Duration::from_secs(10);

/// Prints the time from the start of larder to the end of the first response, a miss.
pub fn first_answer() {
    let runtime = tokio::runtime::Runtime::new().expect("worker threads start");
    let origin = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("loopback has a free port");
    let upstream = format!("http://{}", origin.local_addr().expect("it is bound"));
    runtime.spawn(support::serve_origin(origin));
    let mut took: Vec<Duration> = (0..STARTS).map(|_| once(&upstream)).collect();
    took.sort_unstable();
    println!("start to first answer   {:.1?} (least {:.1?}, most {:.1?})", took[STARTS / 2], took[0], took[STARTS - 1]);
}

fn once(upstream: &str) -> Duration {
    // Free a moment ago: that is good enough here.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.expect("loopback has a free port").to_string();
    let mut larder = Command::new(env!("CARGO_BIN_EXE_larder"));
    larder.args(["run", "--upstream", upstream, "--listen", &address, "--metrics", "off", "--control", "off"]);
    larder.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let began = Instant::now();
    let mut larder = larder.spawn().expect("larder was built along");
    let answer = answer(address.parse().expect("it was one"), began);
    let took = began.elapsed();
    larder.kill().expect("it is our child");
    larder.wait().expect("it is our child");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    took
}

/// Asks until there is an answer.
fn answer(address: SocketAddr, began: Instant) -> String {
    loop {
        assert!(began.elapsed() < PATIENCE, "no answer");
        let Ok(mut stream) = TcpStream::connect(address) else {
            std::thread::sleep(Duration::from_micros(100));
            continue;
        };
        let mut answer = String::new();
        let asked = stream.write_all(b"GET / HTTP/1.1\r\nhost: app.test\r\nconnection: close\r\n\r\n");
        if asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && !answer.is_empty() {
            return answer;
        }
    }
}
