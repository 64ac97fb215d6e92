//! The encoder of a content coding: bytes in, coded bytes out, in memory and without waiting.

use std::{fmt, io};

use async_compression::Level;
use async_compression::codecs::brotli::params::EncoderParams;
use async_compression::codecs::zstd::params::CParameter;
use async_compression::codecs::{BrotliEncoder, EncodeV2, GzipEncoder, ZstdEncoder};
use async_compression::core::util::{PartialBuffer, WriteBuffer};
use bytes::Bytes;

use crate::config::settings::{Coding, CompressionCoding};

/// Window of br and zstd as a power of two: 1 MiB. Browsers decode up to 16 MiB of br (RFC 7932 §9.1) and 8 MiB of
/// zstd (RFC 9659 §3); pages and scripts seldom repeat themselves over more than this, and each stream pays for it.
const WINDOW_LOG: u8 = 20;

/// Room offered to a codec at a time, in bytes.
const OUTPUT_STEP: usize = 8 * 1024;

/// Encodes one stream.
///
/// Memory of a stream until it is dropped, measured over bodies of 4 MB: gzip 0.5 MiB; br 5 MiB up to level 5 and up
/// to 40 MiB above; zstd 2.5 MiB up to level 3, 7 MiB up to level 12, 11 MiB at level 19. Short bodies take less.
pub struct Encoder {
    codec: Box<dyn EncodeV2 + Send + Sync>,
    // Kept between takes: what is handed out is a copy of its exact size, as the cache counts what it stores.
    output: Vec<u8>,
    unflushed: bool,
    finished: bool,
}

impl Encoder {
    /// An encoder at the start of its stream. Levels out of the coding's range are clamped.
    pub fn new(CompressionCoding { coding, level }: CompressionCoding) -> Self {
        let level = Level::Precise(level);
        let codec: Box<dyn EncodeV2 + Send + Sync> = match coding {
            Coding::Gzip => Box::new(GzipEncoder::new(level.into())),
            Coding::Brotli => {
                let params = EncoderParams::default().quality(level).window_size(WINDOW_LOG.into());
                Box::new(BrotliEncoder::new(params))
            }
            Coding::Zstd => Box::new(zstd(CParameter::quality(level))),
        };
        Encoder { codec, output: Vec::new(), unflushed: false, finished: false }
    }

    /// Encodes `data`. The codec may keep much of it until [`flush`](Self::flush) or [`finish`](Self::finish).
    ///
    /// # Errors
    /// When the codec fails, or the stream is finished already.
    pub fn push(&mut self, data: &[u8]) -> io::Result<()> {
        self.refuse_when_finished()?;
        let mut input = PartialBuffer::new(data);
        while !input.unwritten().is_empty() {
            self.unflushed = true;
            self.step(|codec, output| codec.encode(&mut input, output))?;
        }
        Ok(())
    }

    /// Brings out everything pushed so far, so that a decoder can decode it. Costs some bytes; without anything
    /// unflushed it does nothing.
    ///
    /// # Errors
    /// As for [`push`](Self::push).
    pub fn flush(&mut self) -> io::Result<()> {
        self.refuse_when_finished()?;
        if self.unflushed {
            while !self.step(|codec, output| codec.flush(output))? {}
            self.unflushed = false;
        }
        Ok(())
    }

    /// Ends the stream; a stream without data is a valid one of zero bytes.
    ///
    /// # Errors
    /// As for [`push`](Self::push).
    pub fn finish(&mut self) -> io::Result<()> {
        self.refuse_when_finished()?;
        self.finished = true;
        self.unflushed = false;
        while !self.step(|codec, output| codec.finish(output))? {}
        Ok(())
    }

    /// The coded bytes since it was last asked for them.
    pub fn take(&mut self) -> Bytes {
        let coded = Bytes::copy_from_slice(&self.output);
        self.output.clear();
        coded
    }

    /// Runs the codec once with [`OUTPUT_STEP`] bytes of room.
    fn step<T>(&mut self, run: impl FnOnce(&mut dyn EncodeV2, &mut WriteBuffer<'_>) -> io::Result<T>) -> io::Result<T> {
        let start = self.output.len();
        self.output.resize(start + OUTPUT_STEP, 0);
        let mut room = WriteBuffer::new_initialized(&mut self.output[start..]);
        let result = run(&mut *self.codec, &mut room);
        let written = room.written_len();
        self.output.truncate(start + written);
        result
    }

    /// The zstd codec would begin a second frame without complaint.
    fn refuse_when_finished(&self) -> io::Result<()> {
        if self.finished { Err(io::Error::other("the coded stream is finished")) } else { Ok(()) }
    }
}

/// A zstd codec that keeps to [`WINDOW_LOG`]. From level 9 on its tables are made for larger windows, 80 MiB of them
/// at level 19: they are cut down to what the window can use.
fn zstd(level: i32) -> ZstdEncoder {
    let parameters =
        [CParameter::window_log, CParameter::hash_log, CParameter::chain_log].map(|log| log(WINDOW_LOG.into()));
    ZstdEncoder::new_with_params(level, if level < 9 { &parameters[..1] } else { &parameters })
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("output", &self.output.len())
            .field("unflushed", &self.unflushed)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use async_compression::codecs::{BrotliDecoder, DecodeV2, GzipDecoder, ZstdDecoder};
    use proptest::prelude::*;

    use super::*;

    pub(in crate::content) const CODINGS: [CompressionCoding; 3] = [
        CompressionCoding { coding: Coding::Gzip, level: 6 },
        CompressionCoding { coding: Coding::Brotli, level: 4 },
        CompressionCoding { coding: Coding::Zstd, level: 3 },
    ];

    /// What a decoder makes of `coded`, and whether it saw a proper end.
    pub(in crate::content) fn decode(coding: Coding, coded: &[u8]) -> (Vec<u8>, bool) {
        let mut decoder: Box<dyn DecodeV2> = match coding {
            Coding::Gzip => Box::new(GzipDecoder::new()),
            Coding::Brotli => Box::new(BrotliDecoder::new()),
            // What a browser accepts (RFC 9659 §3): a frame with a larger window fails here.
            Coding::Zstd => Box::new(ZstdDecoder::new_with_params(&[
                async_compression::codecs::zstd::params::DParameter::window_log_max(23),
            ])),
        };
        let mut input = PartialBuffer::new(coded);
        let mut decoded = Vec::new();
        loop {
            let mut buffer = vec![0; 64 * 1024];
            let mut room = WriteBuffer::new_initialized(&mut buffer);
            let ended = decoder.decode(&mut input, &mut room).expect("what was encoded decodes");
            decoded.extend_from_slice(room.written());
            if ended || (input.unwritten().is_empty() && !room.has_no_spare_space()) {
                return (decoded, ended);
            }
        }
    }

    #[test]
    fn encode_empty_stream_is_valid() {
        for coding in CODINGS {
            let mut encoder = Encoder::new(coding);
            encoder.push(b"").expect("empty push");
            encoder.finish().expect("finish");
            let coded = encoder.take();
            assert!(!coded.is_empty());
            assert_eq!(decode(coding.coding, &coded), (Vec::new(), true), "{coding:?}");
        }
    }

    #[test]
    fn encode_flush_brings_everything_out_once() {
        for coding in CODINGS {
            let mut encoder = Encoder::new(coding);
            encoder.flush().expect("flush of nothing");
            assert!(encoder.take().is_empty());
            encoder.push(b"half a page").expect("push");
            encoder.flush().expect("flush");
            let coded = encoder.take();
            assert_eq!(decode(coding.coding, &coded), (b"half a page".to_vec(), false), "{coding:?}");
            encoder.flush().expect("flush of nothing new");
            assert!(encoder.take().is_empty());
        }
    }

    #[test]
    fn encode_after_finish_is_refused() {
        for coding in CODINGS {
            let mut encoder = Encoder::new(coding);
            encoder.finish().expect("finish");
            assert!(encoder.push(b"x").is_err() && encoder.flush().is_err() && encoder.finish().is_err());
        }
    }

    #[test]
    fn encode_every_level_decodes_within_browser_windows() {
        let text: Vec<u8> = (0..400_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 20).to_le_bytes()).collect();
        for (coding, levels) in [(Coding::Gzip, [1, 9]), (Coding::Brotli, [0, 5]), (Coding::Zstd, [1, 19])] {
            for level in levels {
                let mut encoder = Encoder::new(CompressionCoding { coding, level });
                encoder.push(&text).expect("push");
                encoder.finish().expect("finish");
                assert!(decode(coding, &encoder.take()) == (text.clone(), true), "{coding:?} {level}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn encode_round_trip_in_any_pieces(
            pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..3000), any::<bool>(), any::<bool>()), 0..12),
        ) {
            for coding in CODINGS {
                let (mut encoder, mut coded) = (Encoder::new(coding), Vec::new());
                for (piece, flush, take) in &pieces {
                    encoder.push(piece).expect("push");
                    if *flush { encoder.flush().expect("flush") }
                    if *take { coded.extend_from_slice(&encoder.take()) }
                }
                encoder.finish().expect("finish");
                coded.extend_from_slice(&encoder.take());
                let plain: Vec<u8> = pieces.iter().flat_map(|(piece, ..)| piece.clone()).collect();
                prop_assert_eq!(decode(coding.coding, &coded), (plain, true));
            }
        }
    }
}
