//! The pure check of a chunked request body (RFC 9112 §7.1), byte for byte: sizes, extensions, ends, trailers.

use super::head::HeadLimits;
use crate::policy::token::is_token_byte;

/// Bytes of the extensions of one chunk.
const MAX_EXTENSION: usize = 256;

/// Bytes of all extensions of a body; under hyper's own bound, so that it never meets it.
const MAX_EXTENSIONS: usize = 8 * 1024;

/// Bytes of a trailer section; under hyper's own bound.
const MAX_TRAILERS: usize = 8 * 1024;

/// Fields that frame or route a message and so may not come in a trailer section (RFC 9110 §6.5.1).
const NEVER_TRAILERS: [&[u8]; 3] = [b"content-length", b"host", b"transfer-encoding"];

/// Length of the longest of [`NEVER_TRAILERS`].
const LONGEST_NEVER: usize = 17;

/// Something in a chunked body that is not as RFC 9112 §7.1 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadChunk {
    /// How many bytes before it are in order.
    pub(super) good: usize,
}

/// Where in a chunked body we are.
#[derive(Clone, Debug)]
pub(super) struct ChunkedScan {
    state: State,
    /// Of the chunk whose size line is being read, then bytes of its data still to come.
    size: u64,
    /// Digits of the size so far.
    digits: usize,
    extension: usize,
    extensions: usize,
    trailers: usize,
    trailer_fields: usize,
    line: usize,
    name: [u8; LONGEST_NEVER],
    name_len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a line of the trailer section.
    Line,
    Name,
    Value,
    ValueLf,
    EndLf,
}

impl ChunkedScan {
    /// At a body's first byte.
    pub(super) fn new() -> Self {
        ChunkedScan {
            state: State::Size,
            size: 0,
            digits: 0,
            extension: 0,
            extensions: 0,
            trailers: 0,
            trailer_fields: 0,
            line: 0,
            name: [0; LONGEST_NEVER],
            name_len: 0,
        }
    }

    /// Follows `bytes`. Answers how many belong to the body, and whether it has ended with the last of these.
    pub(super) fn advance(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<(usize, bool), BadChunk> {
        let mut at = 0;
        while at < bytes.len() {
            if self.state == State::Data {
                let here = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.size -= here as u64;
                at += here;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            if self.state == State::EndLf && bytes[at] == b'\n' {
                return Ok((at + 1, true));
            }
            self.state = self.step(bytes[at], limits).ok_or(BadChunk { good: at })?;
            at += 1;
        }
        Ok((at, false))
    }

    /// The state after `byte`; `None`: it may not stand here.
    fn step(&mut self, byte: u8, limits: &HeadLimits) -> Option<State> {
        match self.state {
            State::Size => self.size_byte(byte),
            State::Extension => match byte {
                b'\r' => Some(State::SizeLf),
                _ => {
                    self.extension += 1;
                    self.extensions += 1;
                    let fits = self.extension <= MAX_EXTENSION && self.extensions <= MAX_EXTENSIONS;
                    (fits && is_value_byte(byte)).then_some(State::Extension)
                }
            },
            State::SizeLf => {
                (self.digits, self.extension) = (0, 0);
                (byte == b'\n').then_some(if self.size == 0 { State::Line } else { State::Data })
            }
            State::DataCr => (byte == b'\r').then_some(State::DataLf),
            State::DataLf => (byte == b'\n').then_some(State::Size),
            State::Line | State::Name | State::Value | State::ValueLf => self.trailer_byte(byte, limits),
            // Both are handled where the bytes are counted.
            State::Data | State::EndLf => None,
        }
    }

    /// `1*HEXDIG`, at most sixteen, then the extensions or the end of the line.
    fn size_byte(&mut self, byte: u8) -> Option<State> {
        match byte {
            b'\r' if self.digits > 0 => Some(State::SizeLf),
            b';' if self.digits > 0 => Some(State::Extension),
            _ => {
                let digit = char::from(byte).to_digit(16)?;
                self.digits += 1;
                if self.digits > 16 {
                    return None;
                }
                self.size = self.size << 4 | u64::from(digit);
                Some(State::Size)
            }
        }
    }

    /// The trailer section: field lines as in a head, and the empty line.
    fn trailer_byte(&mut self, byte: u8, limits: &HeadLimits) -> Option<State> {
        self.trailers += 1;
        self.line += 1;
        if self.trailers > MAX_TRAILERS.min(limits.head) || self.line > limits.field + 2 {
            return None;
        }
        match self.state {
            State::Line if byte == b'\r' => Some(State::EndLf),
            State::Line => {
                (self.line, self.name_len) = (1, 0);
                self.trailer_fields += 1;
                (self.trailer_fields <= limits.fields).then_some(())?;
                self.name_byte(byte)
            }
            State::Name if byte == b':' => (!self.is_never_trailer()).then_some(State::Value),
            State::Name => self.name_byte(byte),
            State::Value if byte == b'\r' => Some(State::ValueLf),
            State::Value => is_value_byte(byte).then_some(State::Value),
            _ => (byte == b'\n').then_some(State::Line),
        }
    }

    fn name_byte(&mut self, byte: u8) -> Option<State> {
        is_token_byte(byte).then_some(())?;
        if let Some(slot) = self.name.get_mut(self.name_len) {
            *slot = byte.to_ascii_lowercase();
        }
        self.name_len += 1;
        Some(State::Name)
    }

    fn is_never_trailer(&self) -> bool {
        self.name.get(..self.name_len).is_some_and(|name| NEVER_TRAILERS.contains(&name))
    }
}

/// A byte of a field value or a chunk extension: visible, white space, or obs-text.
fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}
