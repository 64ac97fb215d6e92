//! larder, a standalone caching reverse proxy: the map of the crate.
//!
//! A request runs `server` (listener, connection, inspection of the head) -> [`proxy`]`::handle`, which takes it apart
//! -> `answer`, which is a flat run of named steps; what they decide comes from [`policy`], what they store lives in
//! [`cache`], what they fetch comes through [`upstream`].
//!
//! | room | what it is for | may use |
//! |---|---|---|
//! | [`policy`] | pure decisions of RFC 9111 and RFC 9110: no I/O, no clock, no async | nothing of ours |
//! | [`clock`] | the only reader of wall time | policy |
//! | [`config`] | the TOML file as written, the settings it resolves to, reload | policy |
//! | [`telemetry`] | metrics, access log, diagnostic log | policy, config's settings |
//! | [`content`] | content codings, static-file classes, entity tags, ranges | policy, config |
//! | [`cache`] | key, entry, tiers, collapsing, filling, index for purging | those above |
//! | [`upstream`] | connection pool and exchange with an upstream's servers | policy, config, clock, telemetry |
//! | [`proxy`] | the request path, one file a step | all above |
//! | [`server`] | listeners, connections, TLS, shutdown | proxy and below |
//! | [`control`] | control API and metrics endpoint | proxy and below |
//! | [`cli`] | one file a command | everything |

pub mod cache;
pub mod cli;
pub mod clock;
pub mod config;
pub mod content;
pub mod control;
pub mod policy;
pub mod proxy;
pub mod server;
pub mod telemetry;
pub mod upstream;
