//! Reloading the configuration: it costs no request, and what is wrong is said once and with its place.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::larder::Larder;
use crate::support::process::Process;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::{PATIENCE, long, machine};

/// Longer than the reloads take: wrk is told to stop when they are done.
const LOAD_SECONDS: &str = "600s";
/// What the other requests of the test name, too: one stored response serves all.
const HOST: &str = "Host: app.test";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reload_200_times_under_load_fails_no_request() {
    let _machine = machine().await;
    let reloads = if long() { 2000 } else { 200 };
    let upstream = Upstream::start(|request| match request.path() {
        "/kept" => Reply::ok().header("cache-control", "max-age=3600").body("kept".repeat(512)),
        _ => Reply::ok().body("fetched"),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("proxy.toml");
    write(&config, &upstream.url(), 0);
    let larder = Larder::configured(&config).await;
    assert_eq!(larder.get("/kept", &[]).await.status, 200);

    let load = |path: &str| {
        let url = format!("http://{}{path}", larder.address);
        Process::start(Command::new("wrk").args([
            "-t",
            "1",
            "-c",
            "16",
            "-d",
            LOAD_SECONDS,
            "--timeout",
            "30s",
            "-H",
            HOST,
            &url,
        ]))
    };
    let loads = [load("/kept"), load("/fetched")];
    for generation in 1..=reloads {
        write(&config, &upstream.url(), generation);
        larder.process.signal("HUP");
        let expected = generation.to_string();
        let what = format!("reload {generation} to take effect");
        larder.until(&what, async || larder.get("/kept", &[]).await.field("x-generation") == expected).await;
    }

    for load in loads {
        load.signal("INT");
        let finished = load.finish(PATIENCE).await;
        let report = &finished.output;
        assert!(finished.status.success(), "{report}");
        assert!(requests(report) > reloads, "no load: {report}");
        assert!(!report.contains("Non-2xx") && !report.contains("Socket errors"), "{report}");
    }
    assert!(larder.metric("larder_config_reloads_total", "result=\"success\"").await >= f64::from(reloads));
    assert_eq!(larder.metric("larder_config_reloads_total", "result=\"failure\"").await, 0.0);
    assert_eq!(upstream.count("/kept"), 1, "the cache outlives every reload");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reload_of_a_broken_file_keeps_the_old_settings() {
    let upstream = Upstream::start(|_| Reply::ok().body("fetched")).await;
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("proxy.toml");
    write(&config, &upstream.url(), 1);
    let larder = Larder::configured(&config).await;

    fs::write(&config, "listeners = nonsense").unwrap();
    larder.process.signal("HUP");
    let failed = async || larder.metric("larder_config_reloads_total", "result=\"failure\"").await > 0.0;
    larder.until("the failure to be counted", failed).await;
    assert_eq!(larder.metric("larder_config_last_reload_successful", "").await, 0.0);
    assert_eq!(larder.get("/", &[]).await.field("x-generation"), "1");

    write(&config, &upstream.url(), 2);
    larder.process.signal("HUP");
    larder.until("the mended file", async || larder.get("/", &[]).await.field("x-generation") == "2").await;
    assert_eq!(larder.metric("larder_config_last_reload_successful", "").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reload_that_lacked_files_is_repeated_when_they_are_there() {
    let upstream = Upstream::start(|_| Reply::ok().body("fetched")).await;
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("proxy.toml");
    write(&config, &upstream.url(), 1);
    let larder = Larder::configured(&config).await;
    let succeeded = async || larder.metric("larder_config_last_reload_successful", "").await == 1.0;

    let sound = fs::read_to_string(&config).unwrap();
    let listener = "[[listeners]]\naddress = \"127.0.0.1:0\"\n\
                    tls = { certificates = [{ cert = \"a.pem\", key = \"a.key\" }] }\n";
    fs::write(&config, format!("{}{listener}", sound.replace("\"1\"", "\"2\""))).unwrap();
    larder.process.signal("HUP");
    larder.until("the failure", async || !succeeded().await).await;
    larder.process.signal("HUP");
    let again = async || larder.process.output().contains("for the same reason as before");
    larder.until("the second failure", again).await;
    let told = larder.process.output();
    for (file, place) in [("a.pem", "proxy.toml:11:34"), ("a.key", "proxy.toml:11:49")] {
        let told: Vec<_> = told.split("error: cannot read ").filter(|told| told.contains(file)).collect();
        assert!(told.iter().any(|told| told.contains(place)), "{told:?}");
    }
    assert_eq!(told.matches("the old one stays in force").count(), 1, "{told}");

    let pair = rcgen::generate_simple_self_signed(vec!["app.test".to_owned()]).unwrap();
    fs::write(directory.path().join("a.pem"), pair.cert.pem()).unwrap();
    fs::write(directory.path().join("a.key"), pair.signing_key.serialize_pem()).unwrap();
    larder.until("the reload without being asked", succeeded).await;
    assert_eq!(larder.get("/", &[]).await.field("x-generation"), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_and_reload_warn_of_what_has_no_effect() {
    let upstream = Upstream::start(|_| Reply::ok().body("fetched")).await;
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("proxy.toml");
    write(&config, &upstream.url(), 1);
    let sound = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{sound}[upstreams.app.health]\nrise = 3\n")).unwrap();
    let mut larder = Larder::configured(&config).await;
    larder.process.line("a warning", |line| line.contains("warning: `rise` has no effect").then_some(())).await;
    fs::write(&config, format!("{sound}[upstreams.app.health]\nfall = 3\n")).unwrap();
    larder.process.line("another", |line| line.contains("warning: `fall` has no effect").then_some(())).await;
    assert_eq!(larder.metric("larder_config_last_reload_successful", "").await, 1.0, "it is in force");
}

/// Puts a configuration in place as editors do: written beside, renamed over.
fn write(config: &Path, upstream: &str, generation: u32) {
    let text = format!(
        "[[listeners]]\n\
         address = \"127.0.0.1:0\"\n\
         [upstreams.app]\n\
         servers = [\"{upstream}\"]\n\
         [[routes]]\n\
         response_headers = {{ set = {{ x-generation = \"{generation}\" }} }}\n\
         [access_log]\n\
         target = \"off\"\n"
    );
    let beside = config.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, config).unwrap();
}

/// How many requests wrk made: `  12345 requests in 1.00s, 2.00MB read`.
fn requests(report: &str) -> u32 {
    let line = report.lines().find(|line| line.contains(" requests in ")).unwrap_or_default();
    line.split_whitespace().next().and_then(|count| count.parse().ok()).unwrap_or_default()
}
