//! larder and real redis-servers.

mod client;
mod link;
mod nodes;
mod sharing;
mod storm;
