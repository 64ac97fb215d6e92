//! The sequence of purges that the nodes share: a stream in Redis.
//!
//! The first entry is a mark without a purge, so that a stream that was lost and begun again is told from one that is
//! merely new. A hash beside it has how far each node has applied it.

use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use redis::{FromRedisValue, cmd};

use super::connect::Connection;
use super::fault::Fault;
use crate::cache::purge::{Purge, Shared};

/// The stream, by the connections of one session.
pub(super) struct Stream {
    /// For reading, which waits for what comes.
    pub(super) reader: Connection,
    /// For all the rest, so that it never waits behind a reader.
    pub(super) writer: Connection,
    pub(super) stream_key: Vec<u8>,
    pub(super) nodes_key: Vec<u8>,
    /// Most entries that are kept, roughly.
    pub(super) history: usize,
}

/// An entry of the stream.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: Shared,
    pub(super) what: What,
}

/// What an entry says.
#[derive(Debug)]
pub(super) enum What {
    /// Something was purged.
    Purged(Purge),
    /// The stream was begun.
    Begun,
    /// Nothing that this version understands.
    Unknown,
}

/// Entries read at once.
const BATCH: usize = 500;
/// The field of an entry that holds a purge.
const PURGE: &str = "purge";
/// The field of an entry that marks the beginning.
const BEGUN: &str = "begun";

impl Stream {
    /// The first and the last entry there are.
    pub(super) async fn bounds(&self) -> Result<Option<(Entry, Shared)>, Fault> {
        let mut writer = self.writer.clone();
        let mut first = cmd("XRANGE");
        first.arg(&self.stream_key).arg("-").arg("+").arg("COUNT").arg(1);
        let mut last = cmd("XREVRANGE");
        last.arg(&self.stream_key).arg("+").arg("-").arg("COUNT").arg(1);
        let first: StreamRangeReply = first.query_async(&mut writer).await.map_err(|error| Fault::of(&error))?;
        let last: StreamRangeReply = last.query_async(&mut writer).await.map_err(|error| Fault::of(&error))?;
        let entry = |reply: StreamRangeReply| reply.ids.into_iter().next().map(entry).transpose();
        Ok(entry(first)?.zip(entry(last)?.map(|last| last.id)))
    }

    /// Begins it, after `position`.
    pub(super) async fn begin(&self, position: Shared) -> Result<(), Fault> {
        let id = self.add("*", BEGUN, "1").await?;
        if id <= position {
            // Its clock is behind that of the Redis before it: what is added from now on must come later all the same.
            self.add(&format!("{}-{}", position.0, position.1 + 1), BEGUN, "1").await?;
        }
        Ok(())
    }

    /// Adds a purge. Its place.
    pub(super) async fn publish(&self, purge: &Purge) -> Result<Shared, Fault> {
        let text = serde_json::to_string(purge).map_err(|_| Fault::Protocol)?;
        self.add("*", PURGE, &text).await
    }

    async fn add(&self, id: &str, field: &str, value: &str) -> Result<Shared, Fault> {
        let mut add = cmd("XADD");
        add.arg(&self.stream_key).arg("MAXLEN").arg("~").arg(self.history).arg(id).arg(field).arg(value);
        let id: String = add.query_async(&mut self.writer.clone()).await.map_err(|error| Fault::of(&error))?;
        parse_id(&id)
    }

    /// Entries after a position, as many as there are now and fit a batch.
    pub(super) async fn after(&self, position: Shared) -> Result<Vec<Entry>, Fault> {
        self.read(self.writer.clone(), position, None).await
    }

    /// Entries after a position; waits for the first for so many milliseconds.
    pub(super) async fn next(&self, position: Shared, milliseconds: u64) -> Result<Vec<Entry>, Fault> {
        self.read(self.reader.clone(), position, Some(milliseconds)).await
    }

    async fn read(
        &self,
        mut connection: Connection,
        after: Shared,
        milliseconds: Option<u64>,
    ) -> Result<Vec<Entry>, Fault> {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(BATCH);
        if let Some(milliseconds) = milliseconds {
            read.arg("BLOCK").arg(milliseconds);
        }
        read.arg("STREAMS").arg(&self.stream_key).arg(format!("{}-{}", after.0, after.1));
        let reply: Option<StreamReadReply> =
            read.query_async(&mut connection).await.map_err(|error| Fault::of(&error))?;
        reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids).map(entry).collect()
    }

    /// Says how far a node has applied the stream, and that it is alive at `now` (milliseconds since the Unix epoch).
    pub(super) async fn acknowledge(&self, node: &str, applied: Shared, now: i64) -> Result<(), Fault> {
        let mut set = cmd("HSET");
        set.arg(&self.nodes_key).arg(node).arg(format!("{}-{} {now}", applied.0, applied.1));
        set.query_async::<()>(&mut self.writer.clone()).await.map_err(|error| Fault::of(&error))
    }

    /// How far each node has applied it, and when it last said so.
    pub(super) async fn nodes(&self) -> Result<Vec<(String, Shared, i64)>, Fault> {
        let mut all = cmd("HGETALL");
        all.arg(&self.nodes_key);
        let nodes: Vec<(String, String)> =
            all.query_async(&mut self.writer.clone()).await.map_err(|error| Fault::of(&error))?;
        let parsed = nodes.into_iter().filter_map(|(node, state)| {
            let (id, seen) = state.split_once(' ')?;
            Some((node, parse_id(id).ok()?, seen.parse().ok()?))
        });
        Ok(parsed.collect())
    }

    /// Forgets a node that has gone for good.
    pub(super) async fn forget(&self, node: &str) -> Result<(), Fault> {
        let mut forget = cmd("HDEL");
        forget.arg(&self.nodes_key).arg(node);
        forget.query_async::<()>(&mut self.writer.clone()).await.map_err(|error| Fault::of(&error))
    }
}

fn entry(read: StreamId) -> Result<Entry, Fault> {
    let text = |field: &str| read.map.get(field).and_then(|value| String::from_redis_value_ref(value).ok());
    let what = match text(PURGE) {
        Some(purge) => match serde_json::from_str(&purge) {
            Ok(purge) => What::Purged(purge),
            Err(error) => {
                tracing::error!(id = read.id, %error, "a purge of another version is not understood");
                What::Unknown
            }
        },
        None if read.map.contains_key(BEGUN) => What::Begun,
        None => What::Unknown,
    };
    Ok(Entry { id: parse_id(&read.id)?, what })
}

fn parse_id(id: &str) -> Result<Shared, Fault> {
    let (time, number) = id.split_once('-').ok_or(Fault::Protocol)?;
    Ok((time.parse().map_err(|_| Fault::Protocol)?, number.parse().map_err(|_| Fault::Protocol)?))
}
