//! Redis: a tier that several machines share, and the way purges travel between them.
//!
//! [`client`] asks within a deadline and never connects on a request's path, [`breaker`] says when not to ask at all,
//! [`fault`] names what can be wrong with a Redis.

pub mod breaker;
pub mod client;
mod connect;
pub mod fault;
