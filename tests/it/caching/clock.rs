//! A wall clock that is set: no mass expiry, no negative age.

use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

stories![clock_set_by_a_day_expires_nothing_and_makes_no_age, clock_set_back_leaves_new_responses_fresh,];

const DAY: i64 = 86_400;

async fn clock_set_by_a_day_expires_nothing_and_makes_no_age() {
    for step in [DAY, -DAY] {
        let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("x")).await;
        let proxy = Proxy::before(&upstream);
        proxy.get("/page", &[]).await;
        proxy.step_wall_clock(step);
        proxy.advance(30);
        let again = proxy.get("/page", &[]).await;
        assert_eq!(again.field("cache-status"), "larder; hit; ttl=30", "{step}");
        assert_eq!(again.field("age"), "30", "{step}");
    }
}

async fn clock_set_back_leaves_new_responses_fresh() {
    // larder started with a clock a day ahead; it was then set right, as the upstream's always was.
    let upstream = Upstream::start(|_| {
        Reply::ok().header("cache-control", "max-age=60").header("date", "Sat, 05 Nov 1994 08:49:37 GMT").body("x")
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.step_wall_clock(-DAY);
    assert_eq!(proxy.get("/page", &[]).await.field("cache-status"), "larder; fwd=uri-miss; ttl=60; stored");
    assert!(proxy.get("/page", &[]).await.is_hit());
}
