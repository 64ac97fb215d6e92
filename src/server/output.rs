//! What is being sent past hyper: the bytes of heads and small pieces together, and one piece of a body.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::cache::file_copies::FileCopy;

/// Largest buffer that an idle connection keeps for the heads of responses, in bytes.
const KEPT: usize = 1024;

/// What is being sent, in this order.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Heads, and whatever is small.
    pub(super) text: Vec<u8>,
    /// How much of that has gone.
    at: usize,
    /// A piece of a body.
    pub(super) piece: Bytes,
    /// The same piece, or what it is the end of, in a file from where the kernel may send it.
    pub(super) copy: Option<Arc<FileCopy>>,
    /// What stands behind the piece.
    pub(super) tail: &'static [u8],
    /// It was handed to the stream below, which may hold it back.
    pub(super) unflushed: bool,
    /// The client was slow to take it.
    pub(super) behind: bool,
}

impl Output {
    /// Whether all has gone.
    pub(super) fn is_empty(&self) -> bool {
        self.at == self.text.len() && self.piece.is_empty() && self.tail.is_empty()
    }

    /// What has not gone, in order.
    pub(super) fn parts(&self) -> [&[u8]; 3] {
        [&self.text[self.at..], &self.piece, self.tail]
    }

    /// So many bytes have gone.
    pub(super) fn advance(&mut self, sent: usize) {
        let of_text = sent.min(self.text.len() - self.at);
        self.at += of_text;
        let of_piece = (sent - of_text).min(self.piece.len());
        self.piece.advance(of_piece);
        self.tail = &self.tail[sent - of_text - of_piece..];
        if self.is_empty() {
            self.at = 0;
            self.piece = Bytes::new();
            self.copy = None;
            if self.text.capacity() > KEPT { self.text = Vec::new() } else { self.text.clear() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_bit_by_bit_is_all_of_it_in_order() {
        for step in 1..=12 {
            let mut output = Output { text: b"head".to_vec(), ..Output::default() };
            (output.piece, output.tail) = (Bytes::from_static(b"piece"), b"\r\n");
            let mut sent = Vec::new();
            while !output.is_empty() {
                let left = output.parts().concat();
                let now = step.min(left.len());
                sent.extend_from_slice(&left[..now]);
                output.advance(now);
            }
            assert_eq!(sent, b"headpiece\r\n", "{step} bytes at a time");
            assert!(output.text.is_empty() && output.parts().concat().is_empty());
        }
    }
}
