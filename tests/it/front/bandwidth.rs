//! A response no faster than the route allows.

use std::time::{Duration, Instant};

use super::guarded;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

#[tokio::test]
async fn bandwidth_of_a_response_is_bounded_and_its_bytes_are_whole() {
    let content = "0123456789".repeat(3000);
    let body = content.clone();
    let upstream = Upstream::start(move |_| Reply::ok().header("cache-control", "max-age=60").body(&body)).await;
    let proxy = guarded(&upstream, "compression = false\nlimits = { bandwidth = \"60000\" }");
    for hit in [false, true] {
        let began = Instant::now();
        let response = proxy.get("/", &[]).await;
        assert_eq!((response.text() == content, response.is_hit()), (true, hit));
        assert!(began.elapsed() > Duration::from_millis(300), "{:?}: 30 kB at 60 kB a second", began.elapsed());
    }
}
