//! What a finished request leaves in the figures.

use larder::telemetry::figures::Snapshot;
use serde_json::Value;

use crate::support::client::Connection;
use crate::support::larder::Larder;
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::within;

#[tokio::test]
async fn records_count_the_bytes_of_a_chunked_upload() {
    let upstream = Upstream::start(|_| Reply::ok().body("thanks")).await;
    let proxy = Proxy::before(&upstream);
    let mut connection = Connection::open(proxy.address).await;
    connection
        .send("POST /up HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
        .await;
    assert_eq!(connection.response("POST").await.text(), "thanks");
    let metrics = || proxy.app.proxy.telemetry.metrics.render(&Snapshot::default());
    // The record is made when hyper lets go of the response, a moment after its last byte.
    within("the record", async {
        while !metrics().contains("larder_request_bytes_total{route=\"default\"} 11\n") {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// What cannot be read is logged with the word for it, and as nothing that it was not.
#[tokio::test]
async fn records_of_what_is_no_request_name_no_method() {
    let dir = tempfile::tempdir().unwrap();
    let (file, log) = (dir.path().join("larder.toml"), dir.path().join("access.log"));
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[upstreams.app]\nservers = [\"http://127.0.0.1:9\"]\n\
         [metrics]\naddress = \"127.0.0.1:0\"\n[control]\naddress = \"off\"\n[access_log]\ntarget = \"{}\"\n",
        log.display()
    );
    std::fs::write(&file, text).unwrap();
    let larder = Larder::configured(&file).await;
    let mut client = Connection::open(larder.address).await;
    client.send("GET / HTTP/1.1\r\nHost : a\r\n\r\n").await;
    assert_eq!(client.response("GET").await.status, 400);
    let line = within("the line", async {
        loop {
            match std::fs::read_to_string(&log) {
                Ok(text) if text.ends_with('\n') => return text,
                _ => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["method"], &line["reason"]), (&"-".into(), &"bad-field".into()), "{line}");
}
