//! larder and real redis-servers.

mod client;
mod link;
mod nodes;
mod storm;
