//! A scripted upstream on raw TCP: it records what arrives, byte by byte, and answers what the test says.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::reply::{After, Reply, Step};
use super::wire::{Body, Fields, Framing, Reader};
use super::within;

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// Which connection it came on, counted from 0.
    pub connection: usize,
    /// Its method.
    pub method: String,
    /// Its target, as in the request line.
    pub target: String,
    /// Its fields.
    pub fields: Fields,
    /// The head's bytes.
    pub raw_head: Vec<u8>,
    /// Its body; for a script that is asked at the head, what had come when the record was looked at.
    pub body: Body,
}

impl Recorded {
    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// A free port of loopback.
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

type Script = dyn Fn(&Recorded) -> Reply + Send + Sync;

/// A running scripted upstream. It stops, and its connections close, when it is dropped.
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
    _accepting: AbortOnDropHandle<()>,
}

struct Seen {
    serving: TaskTracker,
    requests: Mutex<Vec<Recorded>>,
    /// How many requests arrived; what waits for them listens here.
    count: watch::Sender<usize>,
    connections: watch::Sender<usize>,
    script: Box<Script>,
    at_head: bool,
}

impl Upstream {
    /// Answers each request, once all of it is there, by the script.
    pub async fn start(script: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Self {
        Upstream::start_with(LOOPBACK, Box::new(script), false).await
    }

    /// As [`Upstream::start`], where another one has stopped before.
    pub async fn start_at(address: SocketAddr, script: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Self {
        Upstream::start_with(address, Box::new(script), false).await
    }

    /// Asks the script as soon as a request's head is there; its body is read where the reply says so
    /// ([`Reply::read_body`]), else after the answer.
    pub async fn start_at_head(script: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Self {
        Upstream::start_with(LOOPBACK, Box::new(script), true).await
    }

    async fn start_with(address: SocketAddr, script: Box<Script>, at_head: bool) -> Self {
        let listener = TcpListener::bind(address).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Seen {
            serving: TaskTracker::new(),
            requests: Mutex::default(),
            count: watch::Sender::new(0),
            connections: watch::Sender::new(0),
            script,
            at_head,
        });
        let accepting = tokio::spawn(accept(listener, seen.clone()));
        Upstream { address, seen, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// Ends it. Unlike when it is dropped, all of its connections are closed then.
    pub async fn stop(self) {
        let serving = self.seen.serving.clone();
        drop(self);
        serving.close();
        within("the end of an upstream", serving.wait()).await;
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL without path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far, in order of arrival.
    pub fn requests(&self) -> Vec<Recorded> {
        self.seen.requests.lock().expect("no holder panics").clone()
    }

    /// How many requests for that path (without query) came so far.
    pub fn count(&self, path: &str) -> usize {
        self.requests().iter().filter(|request| request.path() == path).count()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        *self.seen.connections.borrow()
    }

    /// Waits until all but that many of its connections have ended.
    pub async fn left(&self, count: usize) {
        within("connections to an upstream to end", async {
            while self.seen.serving.len() > count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Waits until that many requests have arrived in all; returns those so far.
    pub async fn arrived(&self, count: usize) -> Vec<Recorded> {
        let mut counted = self.seen.count.subscribe();
        let what = format!("request {count} at the upstream");
        within(&what, counted.wait_for(|seen| *seen >= count)).await.expect("the sender lives as long as self");
        self.requests()
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>) {
    // Connections end with this task, which ends with the `Upstream`.
    let mut connections = tokio::task::JoinSet::new();
    for number in 0.. {
        let Ok((stream, _)) = listener.accept().await else { return };
        seen.connections.send_modify(|count| *count += 1);
        let (seen, serving) = (seen.clone(), seen.serving.clone());
        // An error is the other side's going away, which tests see by what they asked for.
        connections.spawn(serving.track_future(async move { serve(stream, number, &seen).await }));
    }
}

async fn serve(stream: TcpStream, connection: usize, seen: &Seen) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = Reader::new(stream);
    while let Some(head) = reader.head().await? {
        let mut words = head.first_line.split(' ');
        let mut request = Recorded {
            connection,
            method: words.next().unwrap_or_default().to_owned(),
            target: words.next().unwrap_or_default().to_owned(),
            fields: head.fields,
            raw_head: head.raw,
            body: Body::default(),
        };
        let mut unread = Some(Framing::of_request(&request.fields));
        if !seen.at_head {
            read_body(&mut reader, &mut unread, &mut request.body).await?;
        }
        let index = seen.record(request.clone());
        let (steps, after) = (seen.script)(&request).steps(&request.method);
        for step in steps {
            match step {
                Step::Send(bytes) => reader.stream().write_all(&bytes).await?,
                Step::Wait(gate) => gate.opened().await,
                Step::ReadBody => {
                    read_body(&mut reader, &mut unread, &mut request.body).await?;
                    seen.amend(index, &request);
                }
            }
        }
        match after {
            After::Close => return reader.stream().shutdown().await,
            After::Hang => return reader.rest().await.map(drop),
            After::KeepOpen => {
                read_body(&mut reader, &mut unread, &mut request.body).await?;
                seen.amend(index, &request);
            }
        }
    }
    Ok(())
}

/// Reads the body unless that was done already.
async fn read_body(reader: &mut Reader<TcpStream>, unread: &mut Option<Framing>, body: &mut Body) -> io::Result<()> {
    if let Some(framing) = unread.take() {
        *body = reader.body(framing).await?;
    }
    Ok(())
}

impl Seen {
    fn record(&self, request: Recorded) -> usize {
        let index = {
            let mut requests = self.requests.lock().expect("no holder panics");
            requests.push(request);
            requests.len() - 1
        };
        self.count.send_modify(|count| *count += 1);
        index
    }

    fn amend(&self, index: usize, request: &Recorded) {
        self.requests.lock().expect("no holder panics")[index].body = request.body.clone();
    }
}
