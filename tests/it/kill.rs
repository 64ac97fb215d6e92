//! Killed and started again, larder serves in under a second.

use std::time::{Duration, Instant};

use crate::support::larder::Larder;
use crate::support::machine;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_and_start_serves_within_a_second() {
    let _machine = machine().await;
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("cooked")).await;
    let mut larder = Larder::before(&upstream.url()).await;
    assert_eq!(larder.get("/page", &[]).await.text(), "cooked");
    larder.until_hit("/page").await;
    let address = larder.address;
    larder.process.kill();

    let began = Instant::now();
    let again = Larder::before_at(&upstream.url(), address).await;
    assert_eq!(again.get("/page", &[]).await.text(), "cooked");
    let took = began.elapsed();

    assert_eq!(again.address, address, "the same port, at once");
    assert!(took < Duration::from_secs(1), "{took:?}");
}
