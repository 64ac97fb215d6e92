//! larder and real redis-servers.

mod client;
