//! The integration tests, one binary: the proxy against scripted upstreams, and the program among real ones.
//!
//! A test is a short story on one page: start the scripted upstream, start larder on a free port, ask, ask again,
//! count what the upstream saw. `docs/CONTRIBUTING.md` says more.

#![expect(unreachable_pub, reason = "one binary: `pub` says what a module offers the others")]
#![expect(clippy::unwrap_used, reason = "all of it is tests; clippy knows only the functions marked so")]

/// Makes two tests of each story: `story::h1` with clients that speak HTTP/1.1, `story::h2` over HTTP/2. What is about
/// one version alone is an ordinary `#[tokio::test]`.
macro_rules! stories {
    ($runtime:tt; $($story:ident),+ $(,)?) => {$(
        mod $story {
            use crate::support::exchange::{Version, told_over};

            #[tokio::test $runtime]
            async fn h1() {
                told_over(Version::Http1, Box::pin(super::$story())).await;
            }

            #[tokio::test $runtime]
            async fn h2() {
                told_over(Version::Http2, Box::pin(super::$story())).await;
            }
        }
    )+};
    ($($story:ident),+ $(,)?) => { stories![(); $($story),+]; };
}

mod architecture;
mod caching;
mod control;
mod curl;
mod deploy;
mod disk;
mod django;
mod docs;
mod front;
mod fuzz;
mod hardening;
mod http2;
mod idle;
mod kill;
mod prometheus;
mod proxying;
mod purging;
mod records;
mod redis;
mod reload;
mod support;
mod upstreams;
mod websocket;
