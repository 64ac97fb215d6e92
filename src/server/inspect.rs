//! The stream between a client's socket and hyper: lets hyper see only what inspection has approved.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::alone::Look;
use super::http1_framing::{Http1Framing, Verdict};
use super::output::Output;
use super::socket::{ClientStream, KERNEL_UNSENT, unsent_of};
use super::wire::{BODY_EXPIRED, HEAD_EXPIRED, NOT_SWITCHED, SWITCHED, Wire};
use crate::proxy::refusal::Refusal;

/// What hyper reads in place of a refused head. Its method is `Client::REFUSED_METHOD`.
const STAND_IN: &[u8] = b"LARDER-REFUSED / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// Read at a time while a head is incomplete.
pub(super) const READ: usize = 4096;

/// Held back while a request to switch protocols is unanswered.
const MAX_UNDECIDED: usize = 64 * 1024;

/// After our last byte, what the client still sends is read and thrown away up to this many bytes ...
const LINGER_BYTES: usize = 64 * 1024;
/// ... and this long: closing at once would make the kernel answer with a reset that destroys our answer.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// A client's stream under inspection.
pub(super) struct Inspected<S> {
    pub(super) inner: S,
    pub(super) wire: Arc<Wire>,
    pub(super) framing: Http1Framing,
    /// Read, but not yet approved.
    pub(super) held: BytesMut,
    /// Approved, but not yet taken by hyper.
    pub(super) ready: BytesMut,
    /// Nothing of `held` can be approved before more is read or a signal comes.
    pub(super) needs_more: bool,
    pub(super) end: End,
    /// Looks at requests ahead of hyper; `None`: nobody does.
    pub(super) look: Option<Look>,
    /// hyper is not there: requests that were read may be answered without it.
    pub(super) alone: bool,
    /// What is sent past hyper.
    pub(super) output: Output,
    /// How much of it the kernel may hold unsent, in bytes.
    unsent: u32,
    /// The driver was told of an incomplete head.
    pub(super) head_noted: bool,
    /// Responses that had ended when all that hyper had to write was written; at first it has written nothing.
    pub(super) flushed: u64,
    /// A part of the first interim head has been written.
    interim_begun: bool,
    closing: Closing,
    killed: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

/// How reading ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    NotYet,
    /// The client has closed its side.
    Eof,
    /// The stand-in is the last request.
    Refused,
    /// A body went wrong.
    Broken(io::ErrorKind),
}

enum Closing {
    Open,
    Lingering { left: usize, until: Pin<Box<Sleep>> },
    Done,
}

impl<S> Inspected<S> {
    /// Wraps a stream of which `prefix` was already read.
    pub(super) fn new(inner: S, wire: Arc<Wire>, framing: Http1Framing, prefix: BytesMut) -> Self {
        Inspected {
            inner,
            wire,
            framing,
            needs_more: prefix.is_empty(),
            held: prefix,
            ready: BytesMut::new(),
            end: End::NotYet,
            look: None,
            alone: false,
            output: Output::default(),
            unsent: KERNEL_UNSENT,
            head_noted: false,
            flushed: u64::MAX,
            interim_begun: false,
            closing: Closing::Open,
            killed: None,
        }
    }

    /// The same with somebody who looks at requests ahead of hyper, which is not there yet.
    pub(super) fn looked_at(self, look: Option<Look>) -> Self {
        Inspected { look, alone: true, ..self }
    }

    /// Whether nothing is under way: every response has ended and is written, and no request has begun. Then hyper can
    /// leave.
    fn is_at_rest(&self) -> bool {
        self.ready.is_empty()
            && self.end == End::NotYet
            && self.framing.in_head()
            && !self.interim_begun
            && self.wire.nothing_since(self.flushed)
    }

    /// Acts on what the driver and the service said.
    pub(super) fn heed_signals(&mut self) {
        let signals = self.wire.take_signals();
        if signals & (SWITCHED | NOT_SWITCHED) != 0 {
            self.framing.upgrade_answered(signals & SWITCHED != 0);
            self.needs_more = false;
        }
        if signals & HEAD_EXPIRED != 0 && self.framing.in_head() && self.end == End::NotYet {
            self.framing.give_up();
            self.apply(Verdict::Refuse(Refusal::HeadTimeout));
        }
        if signals & BODY_EXPIRED != 0 && self.framing.in_body() {
            self.framing.give_up();
            self.end = End::Broken(io::ErrorKind::TimedOut);
        }
    }

    /// Approves as much of what is held as can be.
    fn judge(&mut self) {
        while !self.held.is_empty() && !self.needs_more {
            let before = self.framing.heads();
            let verdict = self.framing.inspect(&self.held);
            self.wire.begin(self.framing.heads() - before);
            self.apply(verdict);
        }
    }

    /// Does with the held bytes what was said of them.
    pub(super) fn apply(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Pass(len) => self.ready.unsplit(self.held.split_to(len)),
            Verdict::Drop(len) => self.held.advance(len),
            Verdict::Hold => self.needs_more = true,
            Verdict::Refuse(refusal) => {
                self.refused(refusal);
                self.wire.begin(1);
                self.ready.extend_from_slice(STAND_IN);
                self.end = End::Refused;
            }
            Verdict::Break(refusal) => {
                self.refused(refusal);
                self.end = End::Broken(io::ErrorKind::InvalidData);
            }
        }
    }

    fn refused(&mut self, refusal: Refusal) {
        self.held.clear();
        self.wire.counters.count_refusal(refusal);
        // The first refusal is the last: nothing is inspected behind it.
        let _ = self.wire.client.refused.set(refusal);
    }

    /// Approves what was just read into hyper's own buffer, from `start` on; keeps back what is not approved.
    fn judge_in_place(&mut self, buf: &mut ReadBuf<'_>, start: usize) {
        let mut at = start;
        let before = self.framing.heads();
        let mut other = None;
        while at < buf.filled().len() && other.is_none() {
            match self.framing.inspect(&buf.filled()[at..]) {
                Verdict::Pass(len) => at += len,
                verdict => other = Some(verdict),
            }
        }
        self.wire.begin(self.framing.heads() - before);
        if let Some(verdict) = other {
            self.held.extend_from_slice(&buf.filled()[at..]);
            buf.set_filled(at);
            self.needs_more = false;
            self.apply(verdict);
            self.judge();
        }
    }

    /// Notes what the reader waits for now.
    pub(super) fn note_read(&self, moved: usize, pending: bool) {
        let mut stalls = self.wire.stalls();
        if stalls.closing {
            return;
        }
        let head_begun = self.framing.in_head() && !self.held.is_empty() && self.end == End::NotYet;
        if !head_begun {
            stalls.head = None;
        } else if pending {
            stalls.head.get_or_insert_with(tokio::time::Instant::now);
        }
        if self.framing.in_body() && self.end == End::NotYet {
            stalls.body.moved(moved);
            if pending {
                stalls.body.blocked();
            }
        } else {
            stalls.body.over();
        }
    }

    /// Whether the client may still be sending what we will not read.
    fn ought_to_linger(&self) -> bool {
        self.end != End::Eof && (self.framing.is_dead() || self.framing.in_body() || !self.held.is_empty())
    }
}

impl<S: ClientStream> Inspected<S> {
    /// What comes next is a response with content of this length; `None`: that is not known.
    pub(super) fn expects(&mut self, length: Option<u64>) {
        if let Some(bytes) = unsent_of(length).filter(|bytes| *bytes != self.unsent) {
            self.inner.hold_unsent(bytes);
            self.unsent = bytes;
        }
    }
}

impl<S: ClientStream> Inspected<S> {
    /// Reads on behind what is held.
    pub(super) fn poll_hold_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.held.reserve(READ);
        tokio_util::io::poll_read_buf(Pin::new(&mut self.inner), cx, &mut self.held)
    }

    fn poll_read_inner(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        loop {
            if !self.ready.is_empty() {
                let len = self.ready.len().min(buf.remaining());
                buf.put_slice(&self.ready.split_to(len));
                if self.ready.is_empty() {
                    // Most connections wait for their next request for a while: not with an empty buffer.
                    self.ready = BytesMut::new();
                    if self.held.is_empty() {
                        // It shares the same memory.
                        self.held = BytesMut::new();
                    }
                }
                return Poll::Ready(Ok(len));
            }
            match self.end {
                End::NotYet => {}
                End::Eof => return Poll::Ready(Ok(0)),
                // hyper has all it gets. What comes, even the end, must not disturb the answer.
                End::Refused => return Poll::Pending,
                End::Broken(kind) => return Poll::Ready(Err(kind.into())),
            }
            if !self.held.is_empty() && !self.needs_more {
                self.judge();
                continue;
            }
            let read = if self.held.is_empty() {
                let start = buf.filled().len();
                ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
                let read = buf.filled().len() - start;
                if read > 0 {
                    self.judge_in_place(buf, start);
                    if buf.filled().len() > start {
                        return Poll::Ready(Ok(buf.filled().len() - start));
                    }
                }
                read
            } else if self.held.len() >= MAX_UNDECIDED && !self.framing.in_head() {
                return Poll::Pending;
            } else {
                let read = ready!(self.poll_hold_more(cx))?;
                self.needs_more = false;
                read
            };
            if read == 0 {
                self.end = End::Eof;
            }
        }
    }

    /// Writes interim heads: all that are queued, or only the rest of one that has been begun.
    pub(super) fn poll_interim(&mut self, cx: &mut Context<'_>, all: bool) -> Poll<io::Result<()>> {
        if !all && !self.interim_begun {
            return Poll::Ready(Ok(()));
        }
        let interim = &self.wire.client.interim;
        let mut written = false;
        while let Some((wrote, left)) = interim.write(|head| {
            let wrote = Pin::new(&mut self.inner).poll_write(cx, head);
            if let Poll::Ready(Ok(sent)) = wrote {
                head.advance(sent);
            }
            (wrote, !head.is_empty())
        }) {
            let Poll::Ready(sent) = wrote? else {
                self.wire.stalls().send.blocked();
                return Poll::Pending;
            };
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.interim_begun = left;
            written |= !left;
            if !left && !all {
                break;
            }
        }
        if written {
            // The service may be waiting with its final response for this.
            interim.wake();
        }
        Poll::Ready(Ok(()))
    }

    /// Notes of a write whether the client takes what it is sent.
    fn note_write(&self, wrote: Poll<io::Result<usize>>, offered: usize) -> Poll<io::Result<usize>> {
        match &wrote {
            Poll::Ready(Ok(sent)) => {
                let mut stalls = self.wire.stalls();
                if *sent >= offered { stalls.send.over() } else { stalls.send.moved(*sent) }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.wire.stalls().send.blocked(),
        }
        wrote
    }

    /// An upgraded stream has left its connection's driver behind, so it looks out for the end by itself.
    fn poll_killed(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let wire = &self.wire;
        let killed = self.killed.get_or_insert_with(|| Box::pin(wire.kill.clone().cancelled_owned()));
        killed.as_mut().poll(cx).map(|()| io::ErrorKind::ConnectionAborted.into())
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Closing::Lingering { left, until } = &mut self.closing else { return Poll::Ready(()) };
        let mut scratch = [0; READ];
        loop {
            if until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() && buf.filled().len() < *left => *left -= buf.filled().len(),
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl<S: ClientStream> AsyncRead for Inspected<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if !this.framing.is_opaque() {
            this.wire.reader.register(cx.waker());
            if this.is_at_rest() {
                // hyper waits for a request: it gets those that are not answered at once.
                let Poll::Ready(next) = this.poll_at_once(cx, false) else {
                    this.wire.rest();
                    return Poll::Pending;
                };
                next?;
                this.expects(None);
                this.wire.needs_hyper();
            }
            this.heed_signals();
        } else if let Poll::Ready(error) = this.poll_killed(cx) {
            return Poll::Ready(Err(error));
        }
        let result = this.poll_read_inner(cx, buf);
        if !this.framing.is_opaque() {
            let moved = if let Poll::Ready(Ok(len)) = &result { *len } else { 0 };
            this.note_read(moved, result.is_pending());
        }
        result.map_ok(|_| ())
    }
}

impl<S: ClientStream> AsyncWrite for Inspected<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_output(cx))?;
        ready!(this.poll_interim(cx, false))?;
        let wrote = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.note_write(wrote, buf.len())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_output(cx))?;
        ready!(this.poll_interim(cx, false))?;
        let wrote = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.note_write(wrote, bufs.iter().map(|buf| buf.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper flushes only when all it had to write is written, and the service keeps its response back while interim
    /// heads are queued: so here, and only here, they can't fall into the middle of a response.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.framing.is_opaque() {
            this.wire.client.interim.listen(cx.waker());
            ready!(this.poll_interim(cx, true))?;
        }
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        if flushed.is_pending() {
            // TLS takes bytes before the socket does.
            this.wire.stalls().send.blocked();
        } else {
            // Nothing need be written behind that to end the pause.
            this.wire.stalls().send.over();
            this.flushed = this.wire.ended();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_output(cx))?;
        if let Closing::Open = this.closing {
            {
                let mut stalls = this.wire.stalls();
                stalls.closing = true;
                stalls.head = None;
                stalls.body.over();
            }
            let Poll::Ready(shut) = Pin::new(&mut this.inner).poll_shutdown(cx) else {
                this.wire.stalls().send.blocked();
                return Poll::Pending;
            };
            this.wire.stalls().send.over();
            shut?;
            this.closing = if this.ought_to_linger() {
                let until = Box::pin(tokio::time::sleep(LINGER_TIME));
                Closing::Lingering { left: LINGER_BYTES, until }
            } else {
                Closing::Done
            };
        }
        ready!(this.poll_linger(cx));
        this.closing = Closing::Done;
        Poll::Ready(Ok(()))
    }
}

impl<S> std::fmt::Debug for Inspected<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspected").field("framing", &self.framing).field("end", &self.end).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
