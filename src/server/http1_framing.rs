//! Follows the request bytes of an HTTP/1 connection and says of each piece whether hyper may see it. Pure: no I/O.
//!
//! hyper prefers leniency where intermediaries must not: it lets Transfer-Encoding win over Content-Length, takes a
//! missing or repeated Host, ends lines at a bare LF and believes the last of several Transfer-Encoding lines. So a
//! head is handed on only when it is whole and beyond doubt, and a chunked body only up to its first doubtful byte.

use super::chunked::{BadChunk, ChunkedScan};
use super::head::{BodyFraming, HeadLimits, HeadScan};
use crate::proxy::refusal::Refusal;

/// Empty lines tolerated before a request (RFC 9112 §2.2 asks for at least one).
const MAX_EMPTY_LINES: u8 = 4;

/// What is to be done with the bytes shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Hand on the first so many, at least one; show the rest again.
    Pass(usize),
    /// Throw away the first so many, at least one; show the rest again.
    Drop(usize),
    /// Keep them; nothing can be said before more arrive.
    Hold,
    /// A head that must be refused begins here. Nothing from here on is a request any more.
    Refuse(Refusal),
    /// A request body goes wrong here. Nothing from here on can be told apart any more.
    Break(Refusal),
}

/// Where in the stream of requests a connection is.
#[derive(Clone, Debug)]
pub(super) struct Http1Framing {
    limits: HeadLimits,
    state: State,
    /// Complete heads handed on.
    heads: u64,
    /// The request whose body is being followed asked to switch protocols.
    upgrade: bool,
}

#[derive(Clone, Debug)]
enum State {
    Head {
        scan: HeadScan,
        empty_lines: u8,
    },
    Length(u64),
    // Boxed: rare beside heads, and larger.
    Chunked(Box<ChunkedScan>),
    /// A request that asks to switch protocols is unanswered: what follows is HTTP or not, by the answer.
    Undecided,
    /// Not HTTP/1 any more.
    Opaque,
    Dead,
}

impl State {
    fn next_head() -> Self {
        State::Head { scan: HeadScan::default(), empty_lines: 0 }
    }
}

impl Http1Framing {
    /// At a connection's first byte.
    pub(super) fn new(limits: HeadLimits) -> Self {
        Http1Framing { limits, state: State::next_head(), heads: 0, upgrade: false }
    }

    /// Judges `bytes`: those not yet handed on or thrown away, kept ones first. Must not be empty.
    pub(super) fn inspect(&mut self, bytes: &[u8]) -> Verdict {
        match &mut self.state {
            State::Head { scan, empty_lines } => {
                match bytes {
                    [b'\r'] => return Verdict::Hold,
                    [b'\r', b'\n', ..] if *empty_lines < MAX_EMPTY_LINES => {
                        *empty_lines += 1;
                        return Verdict::Drop(2);
                    }
                    [b'\r', b'\n', ..] => return self.refuse(Refusal::BadRequestLine),
                    [b'\r' | b'\n', ..] => return self.refuse(Refusal::BadLineEnding),
                    _ => {}
                }
                match scan.advance(bytes, &self.limits) {
                    Err(refusal) => self.refuse(refusal),
                    Ok(None) => Verdict::Hold,
                    Ok(Some(head)) => {
                        self.heads += 1;
                        self.upgrade = head.upgrade;
                        match head.body {
                            BodyFraming::Length(0) => self.end_of_message(),
                            BodyFraming::Length(length) => self.state = State::Length(length),
                            BodyFraming::Chunked => self.state = State::Chunked(Box::new(ChunkedScan::new())),
                        }
                        Verdict::Pass(head.len)
                    }
                }
            }
            State::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= here as u64;
                if *left == 0 {
                    self.end_of_message();
                }
                Verdict::Pass(here)
            }
            State::Chunked(scan) => match scan.advance(bytes, &self.limits) {
                Ok((here, ended)) => {
                    if ended {
                        self.end_of_message();
                    }
                    Verdict::Pass(here)
                }
                Err(BadChunk { good: 0 }) => {
                    self.state = State::Dead;
                    Verdict::Break(Refusal::BadChunk)
                }
                // The scan stands before the doubtful byte and meets it again when the rest is shown.
                Err(BadChunk { good }) => Verdict::Pass(good),
            },
            State::Undecided => Verdict::Hold,
            State::Opaque => Verdict::Pass(bytes.len()),
            State::Dead => Verdict::Drop(bytes.len()),
        }
    }

    /// Tells how a request to switch protocols was answered: by 101 or otherwise.
    pub(super) fn upgrade_answered(&mut self, switched: bool) {
        if switched {
            self.state = State::Opaque;
        } else if matches!(self.state, State::Undecided) {
            self.state = State::next_head();
        }
        self.upgrade = false;
    }

    /// Gives up on the head that is coming in: it takes too long.
    pub(super) fn give_up(&mut self) {
        self.state = State::Dead;
    }

    /// Complete heads handed on so far.
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// Within a request body.
    pub(super) fn in_body(&self) -> bool {
        matches!(self.state, State::Length(_) | State::Chunked(_))
    }

    /// Waiting for a head, or in one.
    pub(super) fn in_head(&self) -> bool {
        matches!(self.state, State::Head { .. })
    }

    /// What comes from the client is not HTTP/1.
    pub(super) fn is_opaque(&self) -> bool {
        matches!(self.state, State::Opaque)
    }

    /// What bytes there still are belong to no request.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, State::Dead)
    }

    fn end_of_message(&mut self) {
        self.state = if self.upgrade { State::Undecided } else { State::next_head() };
    }

    fn refuse(&mut self, refusal: Refusal) -> Verdict {
        self.state = State::Dead;
        Verdict::Refuse(refusal)
    }
}

#[cfg(test)]
mod tests;
