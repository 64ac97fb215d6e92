//! Redis: a tier that several machines share, and the way purges travel between them.
//!
//! [`client`] asks within a deadline and never connects on a request's path, [`breaker`] says when not to ask at all,
//! [`fault`] names what can be wrong with a Redis. [`tier`] keeps stored responses, [`lease`] lets one node of all
//! fetch. [`link`] carries purges by a stream, and [`gate`] keeps a node that may have missed some from serving.

pub mod breaker;
pub mod client;
mod connect;
pub mod fault;
pub mod gate;
pub mod lease;
pub mod link;
mod stream;
pub mod tier;
