//! The corpus of HTTP/2 frames: one file a class, each vector with its name, how it ends for the client and every byte
//! that may reach the upstream because of it. A refused stream must leave the connection's others alone.

mod accepted;
mod content;
mod fields;
mod frames;
mod hpack;
mod pseudo_fields;
mod settings;

use std::collections::HashSet;

use super::before_url;
use crate::support::frames::{Connection, Ending};
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::tap::{Tap, normal};
use crate::support::upstream::Upstream;

type Fields = &'static [(&'static str, &'static str)];

/// What a client sends, and what then must happen.
pub(super) struct Vector {
    /// What is special about it, in a few words.
    name: &'static str,
    steps: &'static [Step],
    expected: Expected,
}

enum Step {
    /// A header block of literals on stream 1; with the end of the stream, if so.
    Fields(Fields, bool),
    /// A frame: type, flags, stream, payload.
    Frame(u8, u8, u32, &'static [u8]),
    /// A frame of that many zeros.
    Zeros(u8, u8, u32, usize),
}

enum Expected {
    /// Stream 1 is reset or answered by a 4xx; the connection's next request is served. Nothing upstream.
    Stream,
    /// The connection is closed, with an error if there is time to say so. Nothing upstream.
    Connection,
    /// Either, as RFC 9113 leaves it to the recipient. Nothing upstream.
    Either,
    /// Stream 1 is answered by this status, and exactly these bytes go upstream (but for the fields that larder adds
    /// to every request).
    Taken(u16, &'static str),
}

const fn stream(name: &'static str, steps: &'static [Step]) -> Vector {
    Vector { name, steps, expected: Expected::Stream }
}

const fn connection(name: &'static str, steps: &'static [Step]) -> Vector {
    Vector { name, steps, expected: Expected::Connection }
}

const fn either(name: &'static str, steps: &'static [Step]) -> Vector {
    Vector { name, steps, expected: Expected::Either }
}

const fn taken(name: &'static str, steps: &'static [Step], status: u16, upstream: &'static str) -> Vector {
    Vector { name, steps, expected: Expected::Taken(status, upstream) }
}

/// What an honest client asks next, on another stream.
const NEXT: Fields = &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/next")];
const NEXT_FORWARDED: &str = "GET /next HTTP/1.1\r\nhost: app.test\r\n\r\n";
const NEXT_STREAM: u32 = 101;

async fn run(vectors: &[Vector]) {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "no-store").body("x")).await;
    let tap = Tap::before(upstream.address()).await;
    let proxy = before_url(&tap.url(), "");
    let mut faults = Vec::new();
    for vector in vectors {
        if let Err(fault) = check(&proxy, &tap, vector).await {
            faults.push(format!("{}: {fault}", vector.name));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Sends a vector, then asks on another stream; what is not as expected.
async fn check(proxy: &Proxy, tap: &Tap, vector: &Vector) -> Result<(), String> {
    let mut client = Connection::open(proxy.address).await;
    for step in vector.steps {
        match step {
            Step::Fields(fields, end) => client.headers(1, fields, *end).await,
            Step::Frame(kind, flags, stream, payload) => client.frame(*kind, *flags, *stream, payload).await,
            Step::Zeros(kind, flags, stream, length) => client.frame(*kind, *flags, *stream, &vec![0; *length]).await,
        }
    }
    let ends_connection = |ending: &Ending| matches!(ending, Ending::GoAway(_) | Ending::Closed);
    let mut sent = String::new();
    match vector.expected {
        Expected::Connection => {
            client.headers(NEXT_STREAM, NEXT, true).await;
            let ending = client.ending(NEXT_STREAM).await;
            expect(ends_connection(&ending), &ending)?;
        }
        Expected::Stream | Expected::Either => {
            let ending = client.ending(1).await;
            expect(ending.is_refusal(), &ending)?;
            if matches!(vector.expected, Expected::Stream) {
                expect(!ends_connection(&ending), &ending)?;
                client.headers(NEXT_STREAM, NEXT, true).await;
                let ending = client.ending(NEXT_STREAM).await;
                expect(ending == Ending::Response(200), &ending)?;
                sent.push_str(NEXT_FORWARDED);
            }
        }
        Expected::Taken(status, upstream) => {
            let ending = client.ending(1).await;
            expect(ending == Ending::Response(status), &ending)?;
            sent.push_str(upstream);
        }
    }
    let seen = tap.take();
    if seen == normal(&sent) { Ok(()) } else { Err(format!("what reaches the upstream: {seen:?}, expected {sent:?}")) }
}

fn expect(so: bool, ending: &Ending) -> Result<(), String> {
    if so { Ok(()) } else { Err(format!("{ending:?}")) }
}

#[test]
fn corpus_is_large_and_its_names_differ() {
    let mut names = HashSet::new();
    for vector in CLASSES.iter().flat_map(|vectors| vectors.iter()) {
        assert!(names.insert(vector.name), "{} stands there twice", vector.name);
    }
    assert!(names.len() >= 60, "{}", names.len());
}

/// Makes a test of each class.
macro_rules! classes {
    ($($class:ident),* $(,)?) => {
        const CLASSES: &[&[Vector]] = &[$($class::VECTORS),*];
        $(
            #[tokio::test]
            async fn $class() {
                run($class::VECTORS).await;
            }
        )*
    };
}

classes!(accepted, content, fields, frames, hpack, pseudo_fields, settings);
