//! A request on its way out (RFC 9112 §3 to §7): the head in one piece, and the body behind it, by its length or in
//! chunks.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, Request, header};
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use crate::policy::fields::remove_where;
use crate::upstream::error::{UpstreamError, UpstreamErrorKind};
use crate::upstream::request_body::RequestBody;
use crate::upstream::socket::Socket;

/// Pieces of a body that are sent before the response is looked for again.
const TURNS: usize = 16;

/// What is still to be sent of a request.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Goes first: the head, the size of a chunk, the trailers.
    ahead: Vec<u8>,
    /// How much of it has gone.
    ahead_sent: usize,
    data: Bytes,
    /// Goes behind the data: the end of a chunk.
    behind: &'static [u8],
    body: RequestBody,
    framing: Framing,
    /// All of the body has been taken.
    over: bool,
    /// Something was sent.
    pub(super) began: bool,
}

#[derive(Debug)]
enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// In chunks; with the trailers that the head has announced.
    Chunked(Vec<HeaderName>),
}

/// Why a request could not be sent to its end.
#[derive(Debug)]
pub(super) enum SendFault {
    /// The connection does not take it. The server may have answered all the same.
    Connection(io::Error),
    /// The body fails.
    Body(UpstreamError),
}

/// Writes the head of a request, whose fields frame its body already. Names are in lower case. Neither target nor names
/// nor values can hold an end of a line: their types see to it.
pub(super) fn write_head(out: &mut Vec<u8>, request: &Request<RequestBody>) {
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    // RFC 9112 §3.2.1: an empty path is sent as "/".
    let root = if target.is_empty() || target.starts_with('?') { "/" } else { "" };
    for piece in [request.method().as_str(), " ", root, target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
    write_fields(out, request.headers());
    out.extend_from_slice(b"\r\n");
}

fn write_fields(out: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(piece);
        }
    }
}

impl Outgoing {
    /// A request with a body behind its head.
    pub(super) fn new(head: Vec<u8>, fields: &HeaderMap, body: RequestBody) -> Self {
        let framing = match body.size_hint().exact() {
            Some(length) => Framing::Length(length),
            None => Framing::Chunked(announced_trailers(fields)),
        };
        let over = body.is_end_stream();
        Outgoing { ahead: head, ahead_sent: 0, data: Bytes::new(), behind: b"", body, framing, over, began: false }
    }

    /// What is left of a head without a body.
    pub(super) fn rest(head: &[u8], began: bool) -> Self {
        Outgoing { began, ..Outgoing::new(head.to_vec(), &HeaderMap::new(), RequestBody::Empty) }
    }

    /// The body of a request of which nothing was sent; `None`: it can't be had back.
    pub(super) fn unsent(mut self) -> Option<RequestBody> {
        let all_there = !self.began && (self.data.is_empty() || self.body.put_back(self.data));
        all_there.then_some(self.body)
    }

    /// Sends as much as the connection takes and the body gives. Ready: all of it has gone.
    pub(super) fn poll(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<Result<(), SendFault>> {
        for _ in 0..TURNS {
            if !self.over && self.data.is_empty() && self.behind.is_empty() {
                // Not waited for here: what there is goes first.
                if let Poll::Ready(Err(error)) = self.poll_piece(cx) {
                    return Poll::Ready(Err(SendFault::Body(error)));
                }
            }
            if self.is_sent() {
                ready!(if self.over { Poll::Ready(()) } else { Poll::Pending });
                return Pin::new(socket).poll_flush(cx).map_err(SendFault::Connection);
            }
            ready!(self.poll_write(socket, cx)).map_err(SendFault::Connection)?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_sent(&self) -> bool {
        self.ahead_sent == self.ahead.len() && self.data.is_empty() && self.behind.is_empty()
    }

    fn poll_write(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let slices =
            [IoSlice::new(&self.ahead[self.ahead_sent..]), IoSlice::new(&self.data), IoSlice::new(self.behind)];
        let mut sent = ready!(Pin::new(socket).poll_write_vectored(cx, &slices))?;
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.began = true;
        let of_ahead = sent.min(self.ahead.len() - self.ahead_sent);
        self.ahead_sent += of_ahead;
        sent -= of_ahead;
        let of_data = sent.min(self.data.len());
        self.data.advance(of_data);
        self.behind = &self.behind[sent - of_data..];
        if self.ahead_sent == self.ahead.len() {
            self.ahead.clear();
            self.ahead_sent = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the next piece of the body, to be sent behind what is still ahead.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let frame = match frame.transpose() {
            Ok(frame) => frame,
            Err(error) => return Poll::Ready(Err(UpstreamError::because(error.kind(), error))),
        };
        self.over = frame.is_none() || self.body.is_end_stream();
        match frame.map(Frame::into_data) {
            Some(Ok(data)) if !data.is_empty() => self.stage(data)?,
            Some(Err(frame)) => {
                self.over = true;
                self.end(frame.into_trailers().ok())?;
            }
            _ if self.over => self.end(None)?,
            // An empty piece says nothing; the next one is asked for in the next turn.
            _ => cx.waker().wake_by_ref(),
        }
        Poll::Ready(Ok(()))
    }

    fn stage(&mut self, data: Bytes) -> Result<(), UpstreamError> {
        match &mut self.framing {
            Framing::Length(left) => {
                let Some(rest) = left.checked_sub(data.len() as u64) else {
                    return Err(mismatch("the request's body is longer than announced"));
                };
                *left = rest;
                if self.over && rest > 0 {
                    return Err(mismatch("the request's body is shorter than announced"));
                }
                self.over = rest == 0;
            }
            Framing::Chunked(_) => {
                let _ = write!(self.ahead, "{:x}\r\n", data.len());
                self.behind = if self.over { b"\r\n0\r\n\r\n" } else { b"\r\n" };
            }
        }
        self.data = data;
        Ok(())
    }

    /// There is no more data.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), UpstreamError> {
        match &self.framing {
            Framing::Length(0) => {}
            Framing::Length(_) => return Err(mismatch("the request's body is shorter than announced")),
            Framing::Chunked(announced) => {
                self.ahead.extend_from_slice(b"0\r\n");
                if let Some(mut trailers) = trailers {
                    remove_where(&mut trailers, |name| !announced.contains(name));
                    write_fields(&mut self.ahead, &trailers);
                }
                self.ahead.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }
}

fn mismatch(why: &'static str) -> UpstreamError {
    UpstreamError::because(UpstreamErrorKind::RequestBody, why)
}

/// The fields that Trailer names. Those that may not come at the end are gone from the trailers already.
fn announced_trailers(fields: &HeaderMap) -> Vec<HeaderName> {
    let members = fields.get_all(header::TRAILER).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    members.filter_map(|member| HeaderName::from_bytes(member.trim_ascii()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_written_as_rfc_9112_section_3_says() {
        for (target, written) in [
            ("/a?b=c", "/a?b=c"),
            ("*", "*"),
            ("http://app.test/a", "/a"),
            ("http://app.test", "/"),
            ("http://app.test?b", "/?b"),
        ] {
            let request = Request::get(target).header("Host", "app.test").header("X", "y").body(RequestBody::Empty);
            let mut head = Vec::new();
            write_head(&mut head, &request.unwrap());
            let expected = format!("GET {written} HTTP/1.1\r\nhost: app.test\r\nx: y\r\n\r\n");
            assert_eq!(String::from_utf8(head).unwrap(), expected, "{target}");
        }
    }
}
