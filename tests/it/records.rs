//! What a finished request leaves in the figures.

use larder::telemetry::figures::Snapshot;

use crate::support::client::Connection;
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
