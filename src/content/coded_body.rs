//! A body that applies a content coding to another as its frames arrive.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::digest;
use super::encode::Encoder;
use crate::config::settings::CompressionCoding;

/// Bytes encoded in one poll: a stored body may come as one large frame, and the thread serves others too.
const INPUT_PER_POLL: usize = 64 * 1024;

pin_project! {
    /// Encodes the body `B`. What has arrived is flushed whenever `B` has nothing more at the moment, so a page that
    /// trickles in is not held back. A body that fails fails here too, without the coding's proper end.
    #[derive(Debug)]
    pub struct CodedBody<B> {
        #[pin]
        body: B,
        encoder: Encoder,
        // Taken from `body`, not encoded yet.
        input: Bytes,
        phase: Phase,
    }
}

#[derive(Debug)]
enum Phase {
    /// Frames of the inner body are encoded.
    Encoding,
    /// The coded stream is finished; the trailers are due.
    Trailers(HeaderMap),
    /// Nothing comes any more.
    Ended,
}

/// Why a coded body was cut.
#[derive(Debug, thiserror::Error)]
pub enum CodedBodyError<E> {
    /// The inner body failed.
    #[error("the body to be coded failed")]
    Body(#[source] E),
    /// The encoder failed.
    #[error("the content coding failed")]
    Encoder(#[source] io::Error),
}

/// Coded bytes, never none, and the phase that follows them.
type Coded<E> = Result<(Bytes, Phase), CodedBodyError<E>>;

impl<B> CodedBody<B> {
    /// `body`, in this coding.
    pub fn new(body: B, coding: CompressionCoding) -> Self {
        CodedBody { body, encoder: Encoder::new(coding), input: Bytes::new(), phase: Phase::Encoding }
    }
}

impl<B: Body<Data = Bytes>> Body for CodedBody<B> {
    type Data = Bytes;
    type Error = CodedBodyError<B::Error>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match std::mem::replace(self.as_mut().project().phase, Phase::Ended) {
            Phase::Ended => Poll::Ready(None),
            Phase::Trailers(trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Phase::Encoding => match self.as_mut().poll_coded(cx) {
                Poll::Pending => {
                    *self.project().phase = Phase::Encoding;
                    Poll::Pending
                }
                Poll::Ready(Ok((coded, next))) => {
                    *self.project().phase = next;
                    Poll::Ready(Some(Ok(Frame::data(coded))))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Nothing is known before the end: not even an empty body codes to nothing.
    fn size_hint(&self) -> SizeHint {
        match self.phase {
            Phase::Encoding => SizeHint::default(),
            Phase::Trailers(_) | Phase::Ended => SizeHint::with_exact(0),
        }
    }
}

impl<B: Body<Data = Bytes>> CodedBody<B> {
    /// Encodes until there is something to send.
    fn poll_coded(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Coded<B::Error>> {
        let mut this = self.project();
        let mut allowance = INPUT_PER_POLL;
        loop {
            let piece = this.input.split_to(this.input.len().min(allowance));
            allowance -= piece.len();
            this.encoder.push(&piece).map_err(CodedBodyError::Encoder)?;
            if allowance == 0 {
                let coded = this.encoder.take();
                if coded.is_empty() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                return Poll::Ready(Ok((coded, Phase::Encoding)));
            }
            let next = match this.body.as_mut().poll_frame(cx) {
                Poll::Pending => {
                    this.encoder.flush().map_err(CodedBodyError::Encoder)?;
                    let coded = this.encoder.take();
                    return if coded.is_empty() { Poll::Pending } else { Poll::Ready(Ok((coded, Phase::Encoding))) };
                }
                Poll::Ready(None) => Phase::Ended,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(CodedBodyError::Body(error))),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        *this.input = data;
                        continue;
                    }
                    Err(frame) => match frame.into_trailers() {
                        Ok(mut trailers) => {
                            digest::remove_digests(&mut trailers);
                            Phase::Trailers(trailers)
                        }
                        // Neither data nor trailers: a kind of frame that does not exist yet has no place here.
                        Err(_) => continue,
                    },
                },
            };
            this.encoder.finish().map_err(CodedBodyError::Encoder)?;
            return Poll::Ready(Ok((this.encoder.take(), next)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::content::encode::tests::{CODINGS, decode};

    /// A body that does as it is told, poll by poll; at the end of the script it ends.
    struct Script(VecDeque<Step>);

    #[derive(Clone, Debug)]
    enum Step {
        Data(Bytes),
        Trailers(&'static str),
        Pending,
        Fail,
    }

    impl Body for Script {
        type Data = Bytes;
        type Error = io::Error;
        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            match self.0.pop_front() {
                None => Poll::Ready(None),
                Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Step::Trailers(name)) => {
                    let fields = [(name, "1"), ("content-digest", "sha-256=:AA==:")];
                    let fields = fields
                        .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
                    Poll::Ready(Some(Ok(Frame::trailers(fields.into_iter().collect()))))
                }
                Some(Step::Pending) => Poll::Pending,
                Some(Step::Fail) => Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
            }
        }
    }

    type Polled = Poll<Option<Result<Frame<Bytes>, CodedBodyError<io::Error>>>>;

    fn coded(coding: CompressionCoding, steps: Vec<Step>) -> CodedBody<Script> {
        CodedBody::new(Script(steps.into()), coding)
    }

    fn poll(body: &mut CodedBody<Script>) -> Polled {
        Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    fn data(polled: Polled) -> Bytes {
        match polled {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().expect("a data frame"),
            other => panic!("not a data frame: {other:?}"),
        }
    }

    fn step(text: &'static str) -> Step {
        Step::Data(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn coded_body_of_nothing_is_a_valid_stream() {
        for coding in CODINGS {
            let mut body = coded(coding, vec![]);
            assert!(!body.is_end_stream());
            assert_eq!(decode(coding.coding, &data(poll(&mut body))), (vec![], true));
            assert!(body.is_end_stream());
            assert!(matches!(poll(&mut body), Poll::Ready(None)));
        }
    }

    #[test]
    fn coded_body_flushes_when_the_inner_body_pauses() {
        for coding in CODINGS {
            let mut body =
                coded(coding, vec![step("first "), step("part"), Step::Pending, Step::Pending, step(", rest")]);
            let mut seen = data(poll(&mut body)).to_vec();
            assert_eq!(decode(coding.coding, &seen), (b"first part".to_vec(), false), "{coding:?}");
            assert!(poll(&mut body).is_pending(), "nothing new to flush");
            seen.extend_from_slice(&data(poll(&mut body)));
            assert_eq!(decode(coding.coding, &seen), (b"first part, rest".to_vec(), true), "{coding:?}");
        }
    }

    #[test]
    fn coded_body_failing_has_no_proper_end() {
        for coding in CODINGS {
            let mut body = coded(coding, vec![step("first part"), Step::Pending, step("more"), Step::Fail]);
            let seen = data(poll(&mut body));
            let Poll::Ready(Some(Err(CodedBodyError::Body(error)))) = poll(&mut body) else { panic!("no error") };
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            assert_eq!(decode(coding.coding, &seen), (b"first part".to_vec(), false));
            assert!(matches!(poll(&mut body), Poll::Ready(None)));
        }
    }

    #[test]
    fn coded_body_passes_trailers_but_not_digests() {
        for coding in CODINGS {
            let mut body = coded(coding, vec![step("x"), Step::Trailers("grpc-status")]);
            assert_eq!(decode(coding.coding, &data(poll(&mut body))), (b"x".to_vec(), true));
            assert!(!body.is_end_stream());
            let Poll::Ready(Some(Ok(frame))) = poll(&mut body) else { panic!("no trailers") };
            let trailers = frame.into_trailers().expect("trailers");
            assert_eq!(trailers.len(), 1);
            assert_eq!(trailers["grpc-status"], "1");
            assert!(body.is_end_stream());
        }
    }

    #[test]
    fn coded_body_encodes_large_frames_in_slices() {
        for coding in CODINGS {
            let large: Bytes = (0..1_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let mut body = coded(coding, vec![Step::Data(large.clone())]);
            let (mut seen, mut polls) = (Vec::new(), 0);
            while !body.is_end_stream() {
                polls += 1;
                if let polled @ Poll::Ready(_) = poll(&mut body) {
                    seen.extend_from_slice(&data(polled));
                }
            }
            assert_eq!(polls, large.len().div_ceil(INPUT_PER_POLL));
            assert!(decode(coding.coding, &seen) == (large.to_vec(), true));
        }
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => prop::collection::vec(any::<u8>(), 0..2000).prop_map(|data| Step::Data(data.into())),
            1 => Just(Step::Pending),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn coded_body_round_trip_in_any_pieces(steps in prop::collection::vec(any_step(), 0..16)) {
            for coding in CODINGS {
                let (mut body, mut seen) = (coded(coding, steps.clone()), Vec::new());
                while !body.is_end_stream() {
                    if let polled @ Poll::Ready(_) = poll(&mut body) {
                        seen.extend_from_slice(&data(polled));
                    }
                }
                let plain: Vec<u8> = steps.iter().filter_map(|step| match step {
                    Step::Data(data) => Some(data.to_vec()),
                    _ => None,
                }).flatten().collect();
                prop_assert_eq!(decode(coding.coding, &seen), (plain, true));
            }
        }
    }
}
