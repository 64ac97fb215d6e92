//! The real program where the start fails: one clear line, and the exit code that the documentation names.

use std::process::Command;

use crate::support::PATIENCE;
use crate::support::process::{Finished, Process};

/// Runs larder to its end, with a configuration if one is given.
async fn larder(arguments: &[&str], config: Option<&str>) -> Finished {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(crate::support::larder::binary());
    command
        .args(arguments)
        .env("HOME", home.path())
        .env("STATE_DIRECTORY", home.path())
        .env("LARDER_CONTROL_TOKEN", "token");
    if let Some(text) = config {
        let file = home.path().join("proxy.toml");
        std::fs::write(&file, text).unwrap();
        command.arg("--config").arg(file);
    }
    Process::start(&mut command).finish(PATIENCE).await
}

/// The only line that is neither empty nor an information of the log.
fn only_line(finished: &Finished) -> &str {
    let lines: Vec<&str> = finished.output.lines().filter(|line| !line.contains(" INFO ")).collect();
    assert_eq!(lines.len(), 1, "{}", finished.output);
    lines[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_on_a_port_in_use_fails_with_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--metrics", "--control"] {
        let mut arguments = vec!["run", "--upstream", "http://127.0.0.1:9"];
        for other in ["--listen", "--metrics", "--control"] {
            arguments.extend([other, if other == flag { &*address } else { "127.0.0.1:0" }]);
        }
        let finished = larder(&arguments, None).await;
        let line = only_line(&finished);
        assert!(line.contains(&address) && line.contains("port is in use"), "{line}");
        assert_eq!(finished.status.code(), Some(1), "{flag}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn demo_on_a_port_in_use_fails_with_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let finished = larder(&["demo", "--listen", &address], None).await;
    let line = only_line(&finished);
    assert!(line.contains(&address) && line.contains("port is in use"), "{line}");
    assert_eq!(finished.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_without_its_files_fails_with_1_and_names_the_place_of_each() {
    let text = "[upstreams.app]\nservers = [\"https://127.0.0.1:9\"]\nca_file = \"/nowhere/ca.pem\"\n\
                [[listeners]]\naddress = \"127.0.0.1:0\"\n\
                tls = { certificates = [{ cert = \"/nowhere/cert.pem\", key = \"/nowhere/key.pem\" }] }\n\
                [[routes]]\naccess.basic.file = \"users\"\n[access_log]\ntarget = \"/nowhere/access.log\"\n";
    let finished = larder(&["run", "--metrics", "off", "--control", "off"], Some(text)).await;
    let told = &finished.output;
    assert_eq!(finished.status.code(), Some(1), "{told}");
    for place in ["3:11", "6:34", "6:61", "8:21", "10:10"] {
        assert!(told.contains(&format!("proxy.toml:{place}\n")), "{place} in {told}");
    }
    assert_eq!(told.matches("error: ").count(), 5, "{told}");
}

/// The environment variable is the commands', which ask a running larder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_takes_the_control_address_from_its_option_alone() {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(crate::support::larder::binary());
    command.args(["check", "--upstream", "http://127.0.0.1:9"]).env("HOME", home.path());
    let finished = Process::start(command.env("LARDER_CONTROL", "nonsense")).finish(PATIENCE).await;
    assert_eq!(finished.status.code(), Some(0), "{}", finished.output);
    let finished = Process::start(command.args(["--control", "nonsense"])).finish(PATIENCE).await;
    assert_eq!(finished.status.code(), Some(2), "{}", finished.output);
    command = Command::new(crate::support::larder::binary());
    command.args(["stats"]).env("HOME", home.path()).env("LARDER_CONTROL_TOKEN", "token");
    let finished = Process::start(command.env("LARDER_CONTROL", "nonsense")).finish(PATIENCE).await;
    assert!(finished.output.contains("nonsense"), "{}", finished.output);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_with_a_bad_upstream_fails_with_2() {
    for upstream in ["127.0.0.1:9", "ftp://127.0.0.1", "http://", "http://a/path", "http://a:99999", "not a url"] {
        let finished = larder(&["run", "--upstream", upstream, "--listen", "127.0.0.1:0"], None).await;
        assert_eq!(finished.status.code(), Some(2), "{upstream}: {}", finished.output);
        assert!(finished.output.contains("upstream"), "{upstream}: {}", finished.output);
        assert!(finished.output.trim().lines().count() <= 4, "{upstream}: {}", finished.output);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_with_an_unknown_key_fails_with_2_and_names_the_nearest() {
    let text = "[upstreams.app]\nservers = [\"http://127.0.0.1:9\"]\n[limits]\nheads = \"1KiB\"\n";
    for command in ["run", "check"] {
        let finished = larder(&[command], Some(text)).await;
        assert_eq!(finished.status.code(), Some(2), "{}", finished.output);
        for part in ["proxy.toml", ":4:", "heads = \"1KiB\"", "`head`", "^"] {
            assert!(finished.output.contains(part), "{part}: {}", finished.output);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_with_a_missing_file_fails_with_2() {
    let finished = larder(&["run", "--config", "/nowhere/proxy.toml"], None).await;
    assert!(only_line(&finished).contains("/nowhere/proxy.toml"), "{}", finished.output);
    assert_eq!(finished.status.code(), Some(2));
    assert_eq!(larder(&["run", "--nonsense"], None).await.status.code(), Some(2));
    assert_eq!(larder(&["run"], None).await.status.code(), Some(2), "no upstream");
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    for arguments in ["check --schema", "completions bash"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(crate::support::larder::binary());
        let output = command.args(arguments.split(' ')).stdout(writer).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*told), (Some(0), ""), "{arguments}");
    }
}
