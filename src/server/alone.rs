//! A connection between two exchanges: what a client sends is looked at, and plain hits are answered at once.
//!
//! Nobody but the inspection is needed for that. So hyper is only there while it has something to do (see `http1`), an
//! idle connection holds neither its state nor its buffers, and a hit costs two thirds of what it does through hyper:
//! 30,100 instructions became 19,300.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::http1_framing::Verdict;
use super::inspect::{End, Inspected, READ};
use super::sendfile;
use super::socket::ClientStream;
use crate::proxy::at_once::{AtOnce, Content};
use crate::proxy::client::Client;
use crate::proxy::met::Unanswered;

/// Looks at the request whose approved head these bytes are; see [`Proxy::at_once`](crate::proxy::Proxy::at_once).
pub(super) type Look = Arc<dyn Fn(&Arc<Client>, &[u8], &mut Vec<u8>) -> AtOnce + Send + Sync>;

/// Requests of one connection that are answered before others get their turn ...
const TURN: usize = 16;

/// ... where a body counts as one more for each so many bytes.
const TURN_BYTES: usize = 64 * 1024;

/// Bytes up to which the parts of a response are copied behind one another: the kernel takes longer for several.
const TOGETHER: usize = 4096;

/// What comes when nothing more is answered at once.
#[derive(Debug)]
pub(super) enum Next {
    /// This request is to be answered.
    Request(Unanswered),
    /// hyper has to go on.
    Hyper,
    /// The client has closed its side, or the connection is gone.
    End,
}

impl<S: ClientStream> Inspected<S> {
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
                return Poll::Ready(Ok(Next::Hyper));
            }
            if answers >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !self.held.is_empty() && !self.needs_more {
                let mut held = std::mem::take(&mut self.held);
                match self.offer(&held) {
                    Offered::Taken(len, request) => {
                        answers += self.answered();
                        self.forget_head();
                        held.advance(len);
                        // With nothing in it, it would only keep its memory.
                        self.held = if held.is_empty() { BytesMut::new() } else { held };
                        if let Some(request) = request {
                            return Poll::Ready(Ok(Next::Request(request)));
                        }
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
            let (read, request) = match self.held.is_empty() {
                true => ready!(self.poll_first(cx, &mut answers))?,
                false => (ready!(self.poll_hold_more(cx))?, None),
            };
            self.needs_more = false;
            if read == 0 {
                self.end = End::Eof;
            }
            if let Some(request) = request {
                return Poll::Ready(Ok(Next::Request(request)));
            }
        }
    }

    /// For how many answers the one that is to be sent counts.
    fn answered(&self) -> usize {
        1 + self.output.piece.len() / TURN_BYTES
    }

    /// Reads what begins a head. Where that is a whole one that hyper is not needed for, nothing is copied or kept.
    fn poll_first(
        &mut self,
        cx: &mut Context<'_>,
        answers: &mut usize,
    ) -> Poll<io::Result<(usize, Option<Unanswered>)>> {
        let mut space = [std::mem::MaybeUninit::uninit(); READ];
        let mut buf = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf))?;
        let read = buf.filled();
        if read.is_empty() {
            return Poll::Ready(Ok((0, None)));
        }
        let request = match self.offer(read) {
            Offered::Taken(len, request) => {
                *answers += self.answered();
                self.held.extend_from_slice(&read[len..]);
                request
            }
            Offered::Otherwise(verdict) => {
                self.held.extend_from_slice(read);
                self.apply(verdict);
                None
            }
        };
        Poll::Ready(Ok((read.len(), request)))
    }

    /// Reads on beside an exchange, so that the client's leaving is noticed. Ready when it has left.
    pub(super) fn poll_beside(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.held.is_empty() {
            // It is there, and waits for its turn.
            return Poll::Pending;
        }
        match ready!(poll_some(&mut self.inner, cx, &mut self.held)) {
            Ok(0) => Poll::Ready(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {
                self.needs_more = false;
                Poll::Pending
            }
            Err(error) => Poll::Ready(error),
        }
    }

    /// hyper has left the stream, and had no use for these approved bytes.
    pub(super) fn left_by_hyper(&mut self, unread: &[u8]) {
        if !unread.is_empty() {
            let behind = std::mem::replace(&mut self.ready, BytesMut::from(unread));
            self.ready.unsplit(behind);
        }
        self.head_noted = true;
        self.alone = true;
    }

    /// Inspects what was read, and takes the request that it begins with, if hyper is not needed for that.
    fn offer(&mut self, bytes: &[u8]) -> Offered {
        let before = self.framing.heads();
        let verdict = self.framing.inspect(bytes);
        let heads = self.framing.heads() - before;
        if heads == 0 {
            return Offered::Otherwise(verdict);
        }
        self.wire.begin(heads);
        // In a head again: there is no body, and no other protocol is asked for. Who drains must say so in a response.
        let (Verdict::Pass(len), Some(look), true, false) =
            (verdict, &self.look, self.framing.in_head(), self.wire.draining())
        else {
            return Offered::Otherwise(verdict);
        };
        match look(&self.wire.client, &bytes[..len], &mut self.output.text) {
            AtOnce::Answered(Content { bytes, copy }) => {
                self.expects(Some(bytes.len() as u64));
                (self.output.piece, self.output.copy) = (bytes, copy);
                self.wire.end(false);
                self.flushed = self.wire.ended();
                Offered::Taken(len, None)
            }
            AtOnce::Read(request) if self.alone => Offered::Taken(len, Some(request)),
            _ => Offered::Otherwise(verdict),
        }
    }

    /// Sends what there is to send; nothing is read meanwhile.
    pub(super) fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let parts = self.output.parts();
            let whole = parts.iter().map(|part| part.len()).sum();
            let by_kernel = self.output.copy.as_deref().zip(self.inner.plain_tcp());
            let wrote = match (parts, by_kernel) {
                ([text, piece, []], Some((copy, socket))) => {
                    match sendfile::poll_send(socket, cx, text, copy, piece.len()) {
                        // Where the kernel can't send from there, the bytes are here.
                        Poll::Ready(Err(_)) => {
                            self.output.copy = None;
                            continue;
                        }
                        sent => sent,
                    }
                }
                ([text, [], []], _) => Pin::new(&mut self.inner).poll_write(cx, text),
                ([[], piece, []], _) => Pin::new(&mut self.inner).poll_write(cx, piece),
                (parts, _) if whole <= TOGETHER => poll_write_together(&mut self.inner, cx, parts),
                (parts, _) => Pin::new(&mut self.inner).poll_write_vectored(cx, &parts.map(IoSlice::new)),
            };
            let Poll::Ready(sent) = wrote? else {
                self.output.behind = true;
                self.wire.stalls().send.blocked();
                return Poll::Pending;
            };
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
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

/// Writes parts from one buffer, of at most [`TOGETHER`] bytes.
fn poll_write_together<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    parts: [&[u8]; 3],
) -> Poll<io::Result<usize>> {
    let mut space = [std::mem::MaybeUninit::uninit(); TOGETHER];
    let mut together = ReadBuf::uninit(&mut space);
    parts.iter().for_each(|part| together.put_slice(part));
    Pin::new(stream).poll_write(cx, together.filled())
}

/// What became of bytes that were shown.
enum Offered {
    /// So many of them were a request. Here it is if it is not answered yet.
    Taken(usize, Option<Unanswered>),
    /// Something else is to be done with them.
    Otherwise(Verdict),
}

/// Reads on behind what was read. Who waits for a silent client holds no buffer.
pub(super) fn poll_some<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    behind: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let mut space = [std::mem::MaybeUninit::uninit(); READ];
    let mut buf = ReadBuf::uninit(&mut space);
    ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
    behind.extend_from_slice(buf.filled());
    Poll::Ready(Ok(buf.filled().len()))
}
