//! A connection without hyper: what a client sends is looked at, and plain hits are answered at once.
//!
//! Between two exchanges nobody but the inspection is needed. So hyper is only there while it has something to do (see
//! `http1`), an idle connection holds neither its state nor its buffers, and a hit costs two thirds of what it does
//! through hyper: 30,100 instructions became 19,300.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::http1_framing::Verdict;
use super::inspect::{End, Inspected, READ};
use crate::proxy::client::Client;

/// Answers the request whose approved head these bytes are, if that can be done at once: puts the head of the response
/// at the end of the buffer and hands back the body.
pub(super) type AtOnce = Arc<dyn Fn(&Arc<Client>, &[u8], &mut Vec<u8>) -> Option<Bytes> + Send + Sync>;

/// Requests of one connection that are answered before others get their turn.
const TURN: u32 = 16;

/// Largest buffer that an idle connection keeps for the heads of responses.
const KEPT: usize = 1024;

/// What comes when nothing more is answered at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// hyper has to go on.
    Exchange,
    /// The client has closed its side, or the connection is gone.
    End,
}

/// What is being sent.
#[derive(Debug, Default)]
pub(super) struct Output {
    head: Vec<u8>,
    /// How much of the head has gone.
    at: usize,
    body: Bytes,
    /// It was handed to the stream below, which may hold it back.
    unflushed: bool,
    /// The client was slow to take it.
    behind: bool,
}

impl Output {
    fn is_empty(&self) -> bool {
        self.at == self.head.len() && self.body.is_empty()
    }

    fn advance(&mut self, sent: usize) {
        let of_head = sent.min(self.head.len() - self.at);
        self.at += of_head;
        self.body.advance(sent - of_head);
        if self.is_empty() {
            self.at = 0;
            self.body = Bytes::new();
            if self.head.capacity() > KEPT { self.head = Vec::new() } else { self.head.clear() }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inspected<S> {
    /// Without hyper: reads and answers until hyper is needed, or the connection has ended. `finishing`: reads no more.
    pub(super) fn poll_alone(&mut self, cx: &mut Context<'_>, finishing: bool) -> Poll<Next> {
        let next = match ready!(self.poll_at_once(cx, finishing)) {
            Ok(Next::End) => ready!(Pin::new(&mut *self).poll_shutdown(cx)).map(|()| Next::End),
            next => next,
        };
        Poll::Ready(next.unwrap_or_else(|error| {
            tracing::debug!(peer = %self.wire.client.peer, %error, "connection ended");
            Next::End
        }))
    }

    /// Reads and answers at once until somebody else has to go on. Nothing else may be under way.
    pub(super) fn poll_at_once(&mut self, cx: &mut Context<'_>, finishing: bool) -> Poll<io::Result<Next>> {
        let next = self.poll_until_needed(cx, finishing);
        if next.is_pending() && self.needs_more && !self.held.is_empty() {
            self.head_noted = true;
            self.note_read(0, true);
        } else if next.is_pending() {
            // What is held waits for its turn, or for the client to take what came before it: no deadline is for that.
            self.forget_head();
        }
        next
    }

    /// The head that the driver was told to be incomplete is there, and its time does not count for the next.
    fn forget_head(&mut self) {
        if std::mem::take(&mut self.head_noted) {
            self.wire.stalls().head = None;
        }
    }

    fn poll_until_needed(&mut self, cx: &mut Context<'_>, finishing: bool) -> Poll<io::Result<Next>> {
        self.heed_signals();
        let mut answers = 0;
        loop {
            ready!(self.poll_output(cx))?;
            if finishing || !self.ready.is_empty() || !matches!(self.end, End::NotYet | End::Eof) {
                return Poll::Ready(Ok(Next::Exchange));
            }
            if answers >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !self.held.is_empty() && !self.needs_more {
                let mut held = std::mem::take(&mut self.held);
                match self.offer(&held) {
                    Offered::Answered(len) => {
                        answers += 1;
                        self.forget_head();
                        held.advance(len);
                        // With nothing in it, it would only keep its memory.
                        self.held = if held.is_empty() { BytesMut::new() } else { held };
                    }
                    Offered::Otherwise(verdict) => {
                        self.held = held;
                        self.apply(verdict);
                    }
                }
                continue;
            }
            if self.end == End::Eof {
                return Poll::Ready(Ok(Next::End));
            }
            let read = match self.held.is_empty() {
                true => ready!(self.poll_first(cx, &mut answers))?,
                false => ready!(self.poll_hold_more(cx))?,
            };
            self.wire.received(read);
            self.needs_more = false;
            if read == 0 {
                self.end = End::Eof;
            }
        }
    }

    /// Reads what begins a head. Where that is a whole one which is answered at once, nothing is copied or kept.
    fn poll_first(&mut self, cx: &mut Context<'_>, answers: &mut u32) -> Poll<io::Result<usize>> {
        let mut space = [std::mem::MaybeUninit::uninit(); READ];
        let mut buf = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf))?;
        let read = buf.filled();
        let mut rest = read;
        let mut verdict = None;
        if !read.is_empty() {
            match self.offer(read) {
                Offered::Answered(len) => {
                    *answers += 1;
                    rest = &read[len..];
                }
                Offered::Otherwise(other) => verdict = Some(other),
            }
        }
        self.held.extend_from_slice(rest);
        if let Some(verdict) = verdict {
            self.apply(verdict);
        }
        Poll::Ready(Ok(read.len()))
    }

    /// hyper has left the stream, and had no use for these approved bytes.
    pub(super) fn left_by_hyper(&mut self, unread: &[u8]) {
        if !unread.is_empty() {
            let behind = std::mem::replace(&mut self.ready, BytesMut::from(unread));
            self.ready.unsplit(behind);
        }
        self.head_noted = true;
    }

    /// Inspects what was read, and answers what it begins with, if that can be done at once.
    fn offer(&mut self, bytes: &[u8]) -> Offered {
        let before = self.framing.heads();
        let verdict = self.framing.inspect(bytes);
        let heads = self.framing.heads() - before;
        if heads == 0 {
            return Offered::Otherwise(verdict);
        }
        self.wire.begin(heads);
        // In a head again: there is no body, and no other protocol is asked for. hyper says when a response is the last.
        if let (Verdict::Pass(len), Some(at_once), true) = (verdict, &self.at_once, self.framing.in_head())
            && !self.wire.draining()
            && let Some(body) = at_once(&self.wire.client, &bytes[..len], &mut self.output.head)
        {
            self.output.body = body;
            self.wire.end(false);
            self.flushed = self.wire.ended();
            return Offered::Answered(len);
        }
        Offered::Otherwise(verdict)
    }

    /// Sends what there is to send; nothing is read meanwhile.
    pub(super) fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let Output { head, at, body, .. } = &self.output;
            let slices = [IoSlice::new(&head[*at..]), IoSlice::new(body)];
            let whole = slices[0].len() + slices[1].len();
            let wrote = match slices[0].is_empty() {
                true => Pin::new(&mut self.inner).poll_write(cx, body),
                false => Pin::new(&mut self.inner).poll_write_vectored(cx, &slices),
            };
            let Poll::Ready(sent) = wrote? else {
                self.output.behind = true;
                self.wire.stalls().send.blocked();
                return Poll::Pending;
            };
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.wire.sent(sent);
            if sent < whole {
                self.output.behind = true;
                self.wire.stalls().send.moved(sent);
            }
            self.output.advance(sent);
            self.output.unflushed = true;
        }
        if self.output.unflushed {
            if Pin::new(&mut self.inner).poll_flush(cx)?.is_pending() {
                // TLS takes bytes before the socket does.
                self.output.behind = true;
                self.wire.stalls().send.blocked();
                return Poll::Pending;
            }
            self.output.unflushed = false;
            if std::mem::take(&mut self.output.behind) {
                self.wire.stalls().send.over();
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What became of bytes that were shown.
enum Offered {
    /// So many of them were a request, which is answered.
    Answered(usize),
    /// Something else is to be done with them.
    Otherwise(Verdict),
}
