//! What is made of a server's bytes, without a connection: the way in for fuzzing, and for whoever wants to know what
//! larder takes for a response.

use http::HeaderMap;

use super::arriving::Arriving;
use super::response::Asked;

/// A response as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Of the final response.
    pub status: u16,
    /// The fields of its head.
    pub fields: HeaderMap,
    /// Its content.
    pub content: Vec<u8>,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
    /// All of the content has come.
    pub whole: bool,
    /// What came behind it, and belongs to no response.
    pub excess: Vec<u8>,
}

/// Reads the answer to a GET or a HEAD as it would come in pieces of at most `piece` bytes, behind which the connection
/// ends. The result does not depend on `piece`. `None`: the head is not whole.
///
/// # Errors
/// Why the bytes are no response.
pub fn read_response(bytes: &[u8], to_head: bool, piece: usize) -> Result<Option<Reading>, &'static str> {
    let mut pieces = bytes.chunks(piece.max(1));
    let mut arriving = Arriving::default();
    let response = loop {
        let Some(piece) = pieces.next() else { return Ok(None) };
        arriving.push(piece);
        if let Some(response) = arriving.next(Asked::of_method(to_head), None)? {
            break response;
        }
    };
    let (head, mut body) = response.into_parts();
    let mut reading = Reading { status: head.status.as_u16(), fields: head.headers, ..Reading::default() };
    loop {
        while let Some(frame) = body.decode()? {
            match frame.into_data() {
                Ok(data) => reading.content.extend_from_slice(&data),
                Err(frame) => reading.trailers = frame.into_trailers().ok(),
            }
        }
        match pieces.next() {
            Some(piece) if !body.is_over() => body.push(piece.to_vec().into()),
            rest => {
                reading.whole = body.end();
                reading.excess = body.into_excess().to_vec();
                reading.excess.extend(rest.into_iter().chain(pieces).flatten());
                return Ok(Some(reading));
            }
        }
    }
}
