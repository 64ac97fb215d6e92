//! The integration tests, one binary: the proxy against scripted upstreams, and the program among real ones.
//!
//! A test is a short story on one page: start the scripted upstream, start larder on a free port, ask, ask again,
//! count what the upstream saw. `docs/CONTRIBUTING.md` says more.

mod architecture;
mod caching;
mod curl;
mod deploy;
mod django;
mod kill;
mod prometheus;
mod reload;
mod support;
mod websocket;
