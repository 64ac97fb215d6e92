//! Debian's Prometheus scrapes larder, and promtool finds nothing to say about the metrics.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::client;
use crate::support::larder::Larder;
use crate::support::process::{POLL, Process};
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::within;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_scrapes_and_answers_queries() {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("cooked")).await;
    let larder = Larder::before(&upstream.url()).await;
    for _ in 0..3 {
        larder.get("/page", &[]).await;
    }

    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("prometheus.yml");
    let target = larder.metrics;
    fs::write(
        &config,
        format!(
            "global: {{scrape_interval: 1s}}\n\
             scrape_configs: [{{job_name: larder, static_configs: [{{targets: ['{target}']}}]}}]\n"
        ),
    )
    .unwrap();
    let mut prometheus = Process::start(
        Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0"),
    );
    let address = prometheus
        .line("its address", |line| {
            let bound = line.contains("msg=\"Listening on\"");
            bound.then(|| line.rsplit_once("address=")?.1.parse().ok()).flatten()
        })
        .await;

    assert_eq!(sample(address, "up{job=\"larder\"} == 1").await, 1.0);
    assert_eq!(sample(address, "sum(larder_requests_total{method=\"GET\"}) == 3").await, 3.0);
    assert_eq!(sample(address, "sum(larder_requests_total{cache=\"hit\"})").await, 2.0);
    assert_eq!(sample(address, "sum(larder_request_duration_seconds_count)").await, 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_pass_promtool() {
    let upstream = Upstream::start(|request| match request.path() {
        "/lost" => Reply::close(),
        _ => Reply::ok().header("cache-control", "max-age=60").body("cooked"),
    })
    .await;
    let larder = Larder::before(&upstream.url()).await;
    for path in ["/page", "/page", "/lost"] {
        larder.get(path, &[]).await;
    }
    let text = larder.metrics_text().await;

    let directory = tempfile::tempdir().unwrap();
    let scraped = directory.path().join("metrics.txt");
    fs::write(&scraped, text).unwrap();
    let checked = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(fs::File::open(&scraped).unwrap())
        .stderr(Stdio::piped())
        .output()
        .expect("tests/run installs promtool");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.trim().is_empty(), "{said}");
}

/// The value of a query with one result, asked for until there is one.
async fn sample(prometheus: std::net::SocketAddr, query: &str) -> f64 {
    let encoded = percent_encoding::utf8_percent_encode(query, percent_encoding::NON_ALPHANUMERIC);
    let path = format!("/api/v1/query?query={encoded}");
    within(query, async {
        loop {
            // It listens before it is ready to answer queries.
            let response = client::get(prometheus, &path, &[("Connection", "close")]).await;
            let answer: Value = serde_json::from_str(&response.text()).unwrap_or_default();
            if let Some(value) = answer["data"]["result"][0]["value"][1].as_str() {
                return value.parse().unwrap();
            }
            tokio::time::sleep(POLL).await;
        }
    })
    .await
}
