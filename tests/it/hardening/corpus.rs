//! The corpus of HTTP/1.1 bytes: one file a class, each vector with its name, the answer it gets and every byte that
//! may reach the upstream because of it. Behind each vector comes another request on the same connection, which must
//! be seen as itself after what was taken, and never after what was refused.

mod chunks;
mod content_length;
mod fields;
mod forwarding;
mod hosts;
mod limits;
mod line_endings;
mod pipelines;
mod request_line;
mod switching;
mod targets;
mod trailers;
mod transfer_encoding;

use std::collections::HashSet;

use super::before_url;
use crate::support::client::Connection;
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::tap::{Tap, normal};
use crate::support::upstream::Upstream;

/// What a client sends, and what then must happen.
pub(super) struct Vector {
    /// What is special about it, in a few words.
    name: &'static str,
    /// Its bytes: pieces, each repeated as often as is said.
    pieces: Pieces,
    expected: Expected,
}

enum Pieces {
    Whole(&'static [u8]),
    Repeated(&'static [(&'static [u8], usize)]),
}

enum Expected {
    /// One answer with this status, a closed connection, and not one byte upstream.
    Refused(u16),
    /// The same with 400, for what is wrong within a body: where the head came before the fault, the upstream may have
    /// been asked already, but never sees a whole request.
    Cut,
    /// Answers with these statuses, the connection goes on, and exactly these bytes upstream (but for the fields that
    /// larder adds to every request).
    Taken(&'static [u16], &'static str),
    /// Answers with these statuses, the last of which ends the connection, and exactly these bytes upstream.
    Last(&'static [u16], &'static str),
}

const fn refused(name: &'static str, status: u16, bytes: &'static [u8]) -> Vector {
    Vector { name, pieces: Pieces::Whole(bytes), expected: Expected::Refused(status) }
}

const fn refused_long(name: &'static str, status: u16, pieces: &'static [(&'static [u8], usize)]) -> Vector {
    Vector { name, pieces: Pieces::Repeated(pieces), expected: Expected::Refused(status) }
}

const fn cut(name: &'static str, bytes: &'static [u8]) -> Vector {
    Vector { name, pieces: Pieces::Whole(bytes), expected: Expected::Cut }
}

const fn cut_long(name: &'static str, pieces: &'static [(&'static [u8], usize)]) -> Vector {
    Vector { name, pieces: Pieces::Repeated(pieces), expected: Expected::Cut }
}

const fn taken(name: &'static str, bytes: &'static [u8], statuses: &'static [u16], upstream: &'static str) -> Vector {
    Vector { name, pieces: Pieces::Whole(bytes), expected: Expected::Taken(statuses, upstream) }
}

const fn last(name: &'static str, bytes: &'static [u8], statuses: &'static [u16], upstream: &'static str) -> Vector {
    Vector { name, pieces: Pieces::Whole(bytes), expected: Expected::Last(statuses, upstream) }
}

impl Vector {
    fn bytes(&self) -> Vec<u8> {
        match self.pieces {
            Pieces::Whole(bytes) => bytes.to_vec(),
            Pieces::Repeated(pieces) => pieces.iter().flat_map(|(piece, times)| piece.repeat(*times)).collect(),
        }
    }

    /// The methods of its requests, as far as they can be told: what answers to HEAD has no body.
    fn methods(&self) -> Vec<String> {
        let Pieces::Whole(bytes) = self.pieces else { return Vec::new() };
        let text = String::from_utf8_lossy(bytes);
        let lines = text.split("\r\n").filter(|line| line.ends_with(" HTTP/1.1") || line.ends_with(" HTTP/1.0"));
        lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }
}

/// What an attacker would like to be taken for a request of its own; and what an honest client asks next.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";
/// The same as the upstream gets it.
const NEXT_FORWARDED: &str = "GET /next HTTP/1.1\r\nhost: app.test\r\n\r\n";

/// How the bytes of a vector arrive.
#[derive(Clone, Copy, Debug)]
enum Delivery {
    AtOnce,
    InHalves,
    ByteByByte,
}

/// larder with something stored, and a tap behind it.
struct Line {
    proxy: Proxy,
    tap: Tap,
    upstream: Upstream,
}

impl Line {
    async fn start() -> Self {
        let upstream = Upstream::start(|request| match request.path() {
            "/hit" => Reply::ok().header("cache-control", "max-age=600").body("hit"),
            _ => Reply::ok().header("cache-control", "no-store").body(format!("{} {}", request.method, request.target)),
        })
        .await;
        let tap = Tap::before(upstream.address()).await;
        let proxy = before_url(&tap.url(), "");
        while !proxy.get("/hit", &[]).await.is_hit() {}
        tap.take();
        Line { proxy, tap, upstream }
    }
}

async fn run(vectors: &[Vector]) {
    let mut line = Line::start().await;
    let mut faults = Vec::new();
    for vector in vectors {
        for delivery in [Delivery::AtOnce, Delivery::InHalves, Delivery::ByteByByte] {
            if matches!(delivery, Delivery::ByteByByte) && vector.bytes().len() > 300 {
                continue;
            }
            if let Err(fault) = check(&line, vector, delivery).await {
                faults.push(format!("{} ({delivery:?}): {fault}", vector.name));
            }
            if matches!(vector.expected, Expected::Cut) && !matches!(delivery, Delivery::AtOnce) {
                // What was begun before the cut may still be on its way.
                line = Line::start().await;
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Sends a vector with the next request behind it; what is not as expected.
async fn check(line: &Line, vector: &Vector, delivery: Delivery) -> Result<(), String> {
    let mut client = Connection::open(line.proxy.address).await;
    let bytes = [&*vector.bytes(), NEXT.as_bytes()].concat();
    let pieces: Vec<&[u8]> = match delivery {
        Delivery::AtOnce => vec![&bytes],
        Delivery::InHalves => bytes.chunks(bytes.len().div_ceil(2)).collect(),
        Delivery::ByteByByte => bytes.chunks(1).collect(),
    };
    for piece in pieces {
        client.send(piece).await;
        tokio::task::yield_now().await;
    }
    let (statuses, sent, goes_on) = match vector.expected {
        Expected::Refused(status) => (vec![status], "", false),
        Expected::Cut => (vec![400], "", false),
        Expected::Taken(statuses, sent) => (statuses.to_vec(), sent, true),
        Expected::Last(statuses, sent) => (statuses.to_vec(), sent, false),
    };
    let methods = vector.methods();
    for (at, status) in statuses.into_iter().enumerate() {
        let answer = client.response(methods.get(at).map_or("GET", String::as_str)).await;
        same("status", answer.status, status)?;
        same("answered by", answer.field("cache-status").split(';').next(), Some("larder"))?;
        if matches!(vector.expected, Expected::Refused(_) | Expected::Cut) {
            same("connection", answer.field("connection"), "close")?;
            same("nothing of the request comes back", answer.text().len() < 50, true)?;
        }
    }
    let mut expected = sent.to_owned();
    if goes_on {
        let next = client.response("GET").await;
        same("the next request is itself", (next.status, next.text().as_str()), (200, "GET /next"))?;
        expected += NEXT_FORWARDED;
    }
    same("what else comes", &*String::from_utf8_lossy(&client.rest().await), "")?;
    if matches!((&vector.expected, delivery), (Expected::Cut, Delivery::InHalves | Delivery::ByteByByte)) {
        // The one before the vectors is `/hit`.
        let whole = line.upstream.requests().iter().filter(|request| request.body.whole).count();
        return same("whole requests upstream", whole, 1);
    }
    same("what reaches the upstream", line.tap.take(), normal(&expected))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, seen: T, expected: T) -> Result<(), String> {
    if seen == expected { Ok(()) } else { Err(format!("{what}: {seen:?}, expected {expected:?}")) }
}

#[test]
fn corpus_is_large_and_its_names_differ() {
    let mut names = HashSet::new();
    for vector in CLASSES.iter().flat_map(|(_, vectors)| vectors.iter()) {
        assert!(names.insert(vector.name), "{} stands there twice", vector.name);
    }
    assert!(names.len() >= 150, "{}", names.len());
}

/// Makes a test of each class.
macro_rules! classes {
    ($($class:ident),* $(,)?) => {
        const CLASSES: &[(&str, &[Vector])] = &[$((stringify!($class), $class::VECTORS)),*];
        $(
            #[tokio::test]
            async fn $class() {
                run($class::VECTORS).await;
            }
        )*
    };
}

classes!(
    chunks,
    content_length,
    fields,
    forwarding,
    hosts,
    limits,
    line_endings,
    pipelines,
    request_line,
    switching,
    targets,
    trailers,
    transfer_encoding,
);
