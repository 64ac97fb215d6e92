//! The content of a response as it comes (RFC 9112 §6 and §7): by its length, in chunks, or until the connection ends.

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Frame;

use super::response::parse_fields;
use crate::upstream::framing::Framing;

/// Digits of a chunk's size: more than 64 bits can say.
const MAX_DIGITS: usize = 16;

/// Bytes of all chunk extensions of a body, which nobody reads.
const MAX_EXTENSIONS: usize = 16 * 1024;

/// Bytes of a trailer section.
const MAX_TRAILERS: usize = 16 * 1024;

/// The content of one response, apart from the connection that brings it.
#[derive(Debug)]
pub(in crate::upstream) struct Body {
    decoder: Decoder,
    /// What has been read and not yet handed out.
    buffered: Bytes,
    framing: Framing,
}

/// Takes content out of the bytes of a connection.
#[derive(Debug)]
pub(super) enum Decoder {
    /// So many bytes are still to come.
    Length(u64),
    Chunked(Box<Chunks>),
    UntilClose,
}

/// Where in a chunked body we are (RFC 9112 §7.1).
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: State,
    /// Of the chunk whose size is being read, then what is still to come of it.
    size: u64,
    digits: usize,
    extensions: usize,
    trailers: Vec<u8>,
    /// Found while looking ahead, and told when what comes before has been handed out.
    fault: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// White space behind the size, which some servers fill up with.
    Space,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a line behind the last chunk.
    Line,
    Trailer,
    EndLf,
    /// The trailers wait to be handed out.
    Trailers,
    End,
}

impl Body {
    pub(super) fn new(decoder: Decoder, buffered: Bytes, framing: Framing) -> Self {
        Body { decoder, buffered, framing }
    }

    /// Of a response without content.
    pub(in crate::upstream) fn empty() -> Self {
        Body::new(Decoder::length(0), Bytes::new(), Framing { reusable: false, close_delimited: false })
    }

    /// What its framing allows.
    pub(in crate::upstream) fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether all of it was handed out.
    pub(in crate::upstream) fn is_over(&self) -> bool {
        match &self.decoder {
            Decoder::Length(left) => *left == 0,
            Decoder::Chunked(chunks) => chunks.state == State::End,
            Decoder::UntilClose => false,
        }
    }

    /// Whether bytes came behind its end, which belong to no response.
    pub(in crate::upstream) fn has_excess(&self) -> bool {
        !self.buffered.is_empty()
    }

    /// Bytes of content still to come, where that is known.
    pub(in crate::upstream) fn remaining(&self) -> Option<u64> {
        match &self.decoder {
            Decoder::Length(left) => Some(*left),
            Decoder::Chunked(chunks) => (chunks.state == State::End).then_some(0),
            Decoder::UntilClose => None,
        }
    }

    /// What has been read beyond the head of a response that has no content.
    pub(in crate::upstream) fn into_excess(self) -> Bytes {
        self.buffered
    }

    /// Bytes have come.
    pub(super) fn push(&mut self, bytes: Bytes) {
        debug_assert!(self.buffered.is_empty(), "everything was decoded before more was read");
        self.buffered = bytes;
    }

    /// The next piece of what has come; `None`: more must come first.
    ///
    /// # Errors
    /// Why it is no content.
    pub(super) fn decode(&mut self) -> Result<Option<Frame<Bytes>>, &'static str> {
        let buffered = &mut self.buffered;
        match &mut self.decoder {
            Decoder::Length(left) => {
                let length = buffered.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= length as u64;
                // All of it is moved, not shared.
                let data = if length == buffered.len() { std::mem::take(buffered) } else { buffered.split_to(length) };
                Ok((!data.is_empty()).then(|| Frame::data(data)))
            }
            Decoder::Chunked(chunks) => chunks.decode(buffered),
            Decoder::UntilClose => {
                let data = std::mem::take(buffered);
                Ok((!data.is_empty()).then(|| Frame::data(data)))
            }
        }
    }

    /// The connection has ended. Whether the content has, too.
    pub(super) fn end(&mut self) -> bool {
        if matches!(self.decoder, Decoder::UntilClose) {
            self.decoder = Decoder::Length(0);
        }
        self.is_over()
    }
}

impl Decoder {
    pub(super) fn length(length: u64) -> Self {
        Decoder::Length(length)
    }

    pub(super) fn chunked() -> Self {
        Decoder::Chunked(Box::default())
    }

    pub(super) fn until_close() -> Self {
        Decoder::UntilClose
    }
}

impl Chunks {
    fn decode(&mut self, input: &mut Bytes) -> Result<Option<Frame<Bytes>>, &'static str> {
        self.skip_lines(input);
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        match self.state {
            State::Data if !input.is_empty() => {
                let length = input.len().min(usize::try_from(self.size).unwrap_or(usize::MAX));
                self.size -= length as u64;
                let data = input.split_to(length);
                if self.size == 0 {
                    self.state = State::DataCr;
                    // The end often comes along with the last chunk, which then is known to be the last.
                    self.skip_lines(input);
                }
                Ok(Some(Frame::data(data)))
            }
            State::Trailers => {
                self.state = State::End;
                let mut trailers = HeaderMap::new();
                parse_fields(&Bytes::from(std::mem::take(&mut self.trailers)), 0, &mut trailers, |_, _| Ok(()))?;
                Ok(Some(Frame::trailers(trailers)))
            }
            _ => Ok(None),
        }
    }

    /// Goes on to the next data, to the end, or as far as the input goes.
    fn skip_lines(&mut self, input: &mut Bytes) {
        let mut taken = 0;
        for byte in input.iter() {
            if self.fault.is_some() || matches!(self.state, State::Data | State::Trailers | State::End) {
                break;
            }
            match self.step(*byte) {
                Ok(state) => self.state = state,
                Err(fault) => self.fault = Some(fault),
            }
            taken += 1;
        }
        input.advance(taken);
    }

    /// The state after `byte`.
    fn step(&mut self, byte: u8) -> Result<State, &'static str> {
        let expect = |expected, state| if byte == expected { Ok(state) } else { Err("bad end of a line") };
        match self.state {
            State::Size => self.size_byte(byte),
            State::Space => match byte {
                b' ' | b'\t' => self.extension_byte(State::Space),
                b';' => Ok(State::Extension),
                _ => expect(b'\r', State::SizeLf),
            },
            State::Extension => match byte {
                b'\r' => Ok(State::SizeLf),
                b'\t' => self.extension_byte(State::Extension),
                _ if byte.is_ascii_control() => Err("control character in a chunk extension"),
                _ => self.extension_byte(State::Extension),
            },
            State::SizeLf => {
                self.digits = 0;
                expect(b'\n', if self.size == 0 { State::Line } else { State::Data })
            }
            State::DataCr => expect(b'\r', State::DataLf),
            State::DataLf => expect(b'\n', State::Size),
            State::Line if byte == b'\r' => Ok(State::EndLf),
            State::Line | State::Trailer => {
                if byte == b'\n' && self.trailers.last() != Some(&b'\r') {
                    return Err("bare LF");
                }
                self.trailers.push(byte);
                if self.trailers.len() > MAX_TRAILERS {
                    return Err("too many trailers");
                }
                Ok(if byte == b'\n' { State::Line } else { State::Trailer })
            }
            State::EndLf if self.trailers.is_empty() => expect(b'\n', State::End),
            State::EndLf => {
                self.trailers.extend_from_slice(b"\r\n");
                expect(b'\n', State::Trailers)
            }
            State::Data | State::Trailers | State::End => Ok(self.state),
        }
    }

    fn size_byte(&mut self, byte: u8) -> Result<State, &'static str> {
        match byte {
            b'\r' if self.digits > 0 => Ok(State::SizeLf),
            b';' if self.digits > 0 => Ok(State::Extension),
            b' ' | b'\t' if self.digits > 0 => Ok(State::Space),
            _ => {
                let digit = char::from(byte).to_digit(16).ok_or("no chunk size")?;
                self.digits += 1;
                if self.digits > MAX_DIGITS {
                    return Err("a chunk size of too many digits");
                }
                // The size of the chunk before is 0 by now: all of it has been taken.
                self.size = self.size << 4 | u64::from(digit);
                Ok(State::Size)
            }
        }
    }

    fn extension_byte(&mut self, state: State) -> Result<State, &'static str> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS { Err("too many chunk extensions") } else { Ok(state) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How a body of these pieces comes out: its content, its trailers, what follows it, and whether it was whole.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Read {
        content: Vec<u8>,
        trailers: Option<HeaderMap>,
        excess: Vec<u8>,
        whole: bool,
    }

    fn read<'a>(decoder: Decoder, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Read, &'static str> {
        let mut body = Body::new(decoder, Bytes::new(), Framing { reusable: true, close_delimited: false });
        let mut read = Read::default();
        for piece in pieces {
            if body.is_over() {
                read.excess.extend_from_slice(piece);
                continue;
            }
            body.push(Bytes::copy_from_slice(piece));
            while let Some(frame) = body.decode()? {
                match frame.into_data() {
                    Ok(data) => read.content.extend_from_slice(&data),
                    Err(frame) => read.trailers = frame.into_trailers().ok(),
                }
            }
            if body.is_over() {
                read.excess.extend_from_slice(&std::mem::take(&mut body.buffered));
            }
        }
        read.whole = body.end();
        Ok(read)
    }

    fn chunked(bytes: &str) -> Result<Read, &'static str> {
        read(Decoder::chunked(), [bytes.as_bytes()])
    }

    #[test]
    fn chunks_are_those_of_rfc_9112_section_7_1() {
        for (bytes, content) in [
            ("0\r\n\r\n", Some("")),
            ("3\r\nabc\r\n0\r\n\r\n", Some("abc")),
            ("3\r\nabc\r\n2\r\nde\r\n000\r\n\r\n", Some("abcde")),
            ("A\r\n0123456789\r\na;x=\"y\"\r\n0123456789\r\n0;z\r\n\r\n", Some("01234567890123456789")),
            ("3  \r\nabc\r\n0 \t;x\r\n\r\n", Some("abc")),
            ("3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n", Some("abc")),
            ("3\r\n\r\n\n\r\n0\r\n\r\n", Some("\r\n\n")),
            ("\r\n", None),
            (";x\r\n", None),
            ("+3\r\nabc\r\n", None),
            ("-3\r\nabc\r\n", None),
            ("0x3\r\nabc\r\n", None),
            (" 3\r\nabc\r\n", None),
            ("3 3\r\nabc\r\n", None),
            ("3\nabc\r\n0\r\n\r\n", None),
            ("3\r\nabc\n0\r\n\r\n", None),
            ("3\r\nabcd\r\n0\r\n\r\n", None),
            ("3;a\nb\r\nabc\r\n0\r\n\r\n", None),
            ("3;a\0b\r\nabc\r\n0\r\n\r\n", None),
            ("10000000000000003\r\nabc\r\n0\r\n\r\n", None),
            ("00000000000000003\r\nabc\r\n0\r\n\r\n", None),
            ("0\r\n\n", None),
            ("0\r\nx : 7\r\n\r\n", Some("")),
            ("0\r\n x: 7\r\n\r\n", None),
            ("0\r\nx: 7\n\r\n", None),
            ("0\r\nx: \x017\r\n\r\n", None),
            ("0\r\nx\r\n\r\n", None),
        ] {
            let read = chunked(bytes);
            let seen = read.as_ref().ok().map(|read| (read.content.as_slice(), read.whole));
            assert_eq!(seen, content.map(|content| (content.as_bytes(), true)), "{bytes:?}: {read:?}");
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let extended = |bytes: usize| format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(bytes));
        assert!(chunked(&extended(MAX_EXTENSIONS)).is_ok());
        assert!(chunked(&extended(MAX_EXTENSIONS + 1)).is_err());
        let trailed = |bytes: usize| format!("0\r\nx: {}\r\n\r\n", "x".repeat(bytes));
        assert!(chunked(&trailed(MAX_TRAILERS - 5)).is_ok());
        assert!(chunked(&trailed(MAX_TRAILERS - 4)).is_err());
        assert!(chunked(&format!("0\r\n{}\r\n", "a: b\r\n".repeat(101))).is_err());
    }

    #[test]
    fn end_of_the_connection_ends_only_what_has_no_other_end() {
        for (decoder, bytes, whole) in [
            (Decoder::length(3), "abc", true),
            (Decoder::length(4), "abc", false),
            (Decoder::length(0), "", true),
            (Decoder::until_close(), "abc", true),
            (Decoder::until_close(), "", true),
            (Decoder::chunked(), "3\r\nabc\r\n", false),
            (Decoder::chunked(), "3\r\nabc\r\n0\r\n", false),
            (Decoder::chunked(), "3\r\nabc\r\n0\r\n\r", false),
        ] {
            assert_eq!(read(decoder, [bytes.as_bytes()]).unwrap().whole, whole, "{bytes:?}");
        }
    }

    #[test]
    fn content_goes_out_before_the_fault_behind_it_is_told() {
        let mut body = Body::new(
            Decoder::chunked(),
            Bytes::from_static(b"3\r\nabc\r\nx\r\n"),
            Framing { reusable: true, close_delimited: false },
        );
        assert_eq!(body.decode().unwrap().unwrap().into_data().unwrap(), "abc");
        assert!(body.decode().is_err());
        assert!(body.decode().is_err());
    }

    #[test]
    fn last_chunk_is_known_to_be_the_last() {
        let mut body = Body::new(
            Decoder::chunked(),
            Bytes::from_static(b"3\r\nabc\r\n0\r\n\r\nexcess"),
            Framing { reusable: true, close_delimited: false },
        );
        assert_eq!(body.decode().unwrap().unwrap().into_data().unwrap(), "abc");
        assert!(body.is_over() && body.has_excess());
    }

    proptest! {
        /// RFC 9112 §7.1: what comes out does not depend on where reads cut the bytes.
        #[test]
        fn splits_of_the_bytes_change_nothing(
            chunks in proptest::collection::vec("[a-z\r\n]{1,20}", 0..6),
            trailer in proptest::option::of("[a-z]{1,9}"),
            excess in "[a-z\r\n]{0,9}",
            flip in proptest::option::of((0usize..200, 0u8..8)),
            cuts in proptest::collection::vec(0usize..200, 0..9),
        ) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend_from_slice(format!("{:x};e\r\n{chunk}\r\n", chunk.len()).as_bytes());
            }
            bytes.extend_from_slice(b"0\r\n");
            if let Some(trailer) = &trailer {
                bytes.extend_from_slice(format!("x: {trailer}\r\n").as_bytes());
            }
            bytes.extend_from_slice(format!("\r\n{excess}").as_bytes());
            if let Some((at, bit)) = flip
                && let Some(byte) = bytes.get_mut(at)
            {
                *byte ^= 1 << bit;
            }
            let whole = read(Decoder::chunked(), [bytes.as_slice()]);
            if flip.is_none() {
                let whole = whole.as_ref().unwrap();
                prop_assert_eq!(&whole.content, &chunks.concat().into_bytes());
                prop_assert_eq!(&whole.excess, &excess.as_bytes());
                prop_assert!(whole.whole);
            }
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
            prop_assert_eq!(read(Decoder::chunked(), pieces), whole);
        }
    }
}
