//! The integration tests, one binary: the proxy against scripted upstreams, and the program among real ones.
//!
//! A test is a short story on one page: start the scripted upstream, start larder on a free port, ask, ask again,
//! count what the upstream saw. `docs/CONTRIBUTING.md` says more.

#![expect(unreachable_pub, reason = "one binary: `pub` says what a module offers the others")]
#![expect(clippy::unwrap_used, reason = "all of it is tests; clippy knows only the functions marked so")]

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
