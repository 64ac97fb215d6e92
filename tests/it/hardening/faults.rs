//! Signals, broken configurations and exhausted descriptors, with the real program.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::client::{Connection, request};
use crate::support::larder::Larder;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;
use crate::support::{PATIENCE, within};

/// An upstream that answers when the gate is open.
async fn held(gate: &Gate) -> Upstream {
    let held = gate.clone();
    Upstream::start(move |request| match request.path() {
        "/quick" => Reply::ok().header("cache-control", "max-age=600").body("quick"),
        "/begun" => Reply::ok().piece("first").gate(&held).piece("second"),
        _ => Reply::ok().after(&held).body("answer"),
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_finishes_what_is_in_flight() {
    let gate = Gate::new();
    let upstream = held(&gate).await;
    let larder = Larder::before(&upstream.url()).await;
    let mut clients = Vec::new();
    for number in 0..20 {
        let (method, path) = if number % 2 == 0 { ("POST", "/slow") } else { ("GET", "/begun") };
        let mut client = Connection::open(larder.address).await;
        client.send(request(method, &format!("{path}?{number}"), &[], "")).await;
        clients.push((method, client));
    }
    let mut idle = Connection::open(larder.address).await;
    assert_eq!(idle.get("/quick", &[]).await.status, 200);
    upstream.arrived(21).await;
    larder.process.signal("TERM");
    assert_eq!(idle.rest().await, b"", "idle connections are closed at once");
    let address = larder.address;
    within("no further connection to be accepted", async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    gate.open();
    for (method, mut client) in clients {
        let response = client.response(method).await;
        assert_eq!((response.status, response.body.whole), (200, true));
        assert_eq!(client.rest().await, b"");
    }
    let finished = larder.process.finish(PATIENCE).await;
    assert_eq!(finished.status.code(), Some(0), "{}", finished.output);
    assert!(finished.output.contains("stopped") && !finished.output.contains("ERROR"), "{}", finished.output);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_signal_ends_at_once() {
    for second in ["TERM", "INT"] {
        let gate = Gate::new();
        let upstream = held(&gate).await;
        let mut larder = Larder::before(&upstream.url()).await;
        let mut client = Connection::open(larder.address).await;
        client.send(request("POST", "/slow", &[], "")).await;
        upstream.arrived(1).await;
        larder.process.signal("TERM");
        larder.process.line("that it is stopping", |line| line.contains("stopping").then_some(())).await;
        let asked = Instant::now();
        larder.process.signal(second);
        let finished = larder.process.finish(PATIENCE).await;
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
        assert_eq!(finished.status.code(), Some(0), "{}", finished.output);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadline_of_the_drain_cuts_what_is_left() {
    let gate = Gate::new();
    let upstream = held(&gate).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxy.toml");
    write(&file, &configuration(&upstream, "1", "[server]\nshutdown_grace = \"300ms\""));
    let larder = Larder::configured(&file).await;
    let mut client = Connection::open(larder.address).await;
    client.send(request("POST", "/slow", &[], "")).await;
    upstream.arrived(1).await;
    larder.process.signal("TERM");
    assert_eq!(client.rest().await, b"", "cut, not answered");
    let finished = larder.process.finish(PATIENCE).await;
    assert!(finished.output.contains("cut=1") || finished.output.contains("cut\":1"), "{}", finished.output);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_file_is_told_once_and_the_mended_one_taken_over() {
    let upstream = held(&Gate::new()).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxy.toml");
    write(&file, &configuration(&upstream, "1", ""));
    let larder = Larder::configured(&file).await;
    let successful = async || larder.metric("larder_config_last_reload_successful", "").await;
    assert_eq!(successful().await, 1.0);
    for (number, broken) in [
        "nonsense".to_owned(),
        configuration(&upstream, "2", "[limits]\nheads = \"1KiB\""),
        configuration(
            &upstream,
            "2",
            "[upstreams.other]\nservers = [\"https://127.0.0.1:1\"]\nca_file = \"/nowhere/ca.pem\"",
        ),
        configuration(&upstream, "2", "[[listeners]]\naddress = \"192.0.2.1:1\""),
        String::new(),
    ]
    .into_iter()
    .enumerate()
    {
        write(&file, &broken);
        let failures = number as f64 + 1.0;
        let failed = async || larder.metric("larder_config_reloads_total", "result=\"failure\"").await >= failures;
        larder.until(&format!("the failure to be counted: {broken}"), failed).await;
        assert_eq!(successful().await, 0.0, "{broken}");
        assert_eq!(larder.get("/quick", &[]).await.field("x-generation"), "1", "{broken}");
        // Printed behind the count, and read from a pipe.
        let told = || larder.process.output().matches("not reloaded").count();
        larder.until("it to be told", async || told() > number).await;
        assert_eq!(told(), number + 1, "once each: {}", larder.process.output());
    }
    write(&file, &configuration(&upstream, "3", ""));
    larder.until("the mended file", async || larder.get("/quick", &[]).await.field("x-generation") == "3").await;
    assert_eq!(successful().await, 1.0);
    fs::remove_file(&file).unwrap();
    larder.until("the loss to be noticed", async || successful().await == 0.0).await;
    assert_eq!(larder.get("/quick", &[]).await.field("x-generation"), "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file_swapped_by_a_symbolic_link_is_taken_over() {
    let upstream = held(&Gate::new()).await;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("..data");
    let version = |generation: &str| {
        let version = directory.path().join(format!("..version{generation}"));
        fs::create_dir(&version).unwrap();
        fs::write(version.join("proxy.toml"), configuration(&upstream, generation, "")).unwrap();
        version
    };
    std::os::unix::fs::symlink(version("1"), &data).unwrap();
    let file = directory.path().join("proxy.toml");
    std::os::unix::fs::symlink("..data/proxy.toml", &file).unwrap();
    let larder = Larder::configured(&file).await;
    // As the kubelet does it: a new link, renamed over the old one.
    let beside = directory.path().join("..data_tmp");
    std::os::unix::fs::symlink(version("2"), &beside).unwrap();
    fs::rename(&beside, &data).unwrap();
    larder.until("the new version", async || larder.get("/quick", &[]).await.field("x-generation") == "2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptors_used_up_stop_nothing_that_has_one() {
    let upstream = held(&Gate::new()).await;
    let larder = Larder::limited_to(64, &upstream.url()).await;
    assert!(larder.process.output().contains("at most 64 files may be open"), "{}", larder.process.output());
    let mut served = Connection::open(larder.address).await;
    larder.until_hit("/quick").await;
    assert!(served.get("/quick", &[]).await.is_hit());
    let mut crowd = Vec::new();
    for _ in 0..100 {
        // The kernel completes them, whether larder accepts or not.
        crowd.push(Connection::open(larder.address).await);
    }
    let mut told = false;
    within("the shortage to be told", async {
        while !told {
            assert!(served.get("/quick", &[]).await.is_hit(), "who is connected is served");
            told = larder.process.output().contains("accepting connections fails");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    larder.process.signal("HUP");
    let reloaded = async || larder.process.output().contains("configuration reloaded");
    larder.until("a reload that takes no descriptors", reloaded).await;
    let before = cpu_ticks(&larder);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let spent = cpu_ticks(&larder) - before;
    assert!(spent < 30, "no spinning: {spent} ticks in a second");
    drop(crowd);
    assert_eq!(larder.get("/quick", &[]).await.status, 200, "as soon as there are some again");
    assert!(larder.metric("larder_client_accept_errors_total", "").await > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limit_of_descriptors_is_raised_to_the_hard_one() {
    let upstream = held(&Gate::new()).await;
    let larder = Larder::with_soft_limit(128, &upstream.url()).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", larder.process.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{line}");
    assert_ne!(words[3], "128", "{line}");
}

/// Hundredths of a second that the process has computed.
fn cpu_ticks(larder: &Larder) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", larder.process.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn configuration(upstream: &Upstream, generation: &str, more: &str) -> String {
    format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[upstreams.app]\nservers = [\"{}\"]\n[[routes]]\nupstream = \"app\"\n\
         response_headers = {{ set = {{ x-generation = \"{generation}\" }} }}\n[access_log]\ntarget = \"off\"\n{more}\n",
        upstream.url()
    )
}

/// Puts a file in place as editors do: written beside, renamed over.
fn write(file: &Path, text: &str) {
    let beside = file.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, file).unwrap();
}
