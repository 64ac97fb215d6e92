//! HTTP/1.1 with a server, larder's own: one exchange at a time on a connection, run by the task that asks, from bytes to
//! bytes.
//!
//! | file | subject |
//! |---|---|
//! | `connection` | an exchange on a connection: both directions, and what is left of it |
//! | `request` | writing a request: its head, its body, its trailers |
//! | `arriving`, `response` | reading the head of a response, strictly |
//! | `body` | the content of a response: lengths, chunks, trailers |
//! | `idle` | connections between two exchanges |
//! | `tunnel` | a connection after a switch of protocols |
//! | `reading` | all of the reading without a connection |

mod arriving;
mod body;
mod connection;
mod idle;
mod reading;
mod request;
mod response;
mod tunnel;

pub(super) use body::Body;
pub(super) use connection::{Connection, Failed};
pub(super) use idle::{IdleStack, Put};
pub use reading::{Reading, read_response};
pub use tunnel::Tunnel;
