//! The reading of HTTP/1 responses: what passes leaves no doubt about where a response ends, however it arrives.

use larder::upstream::read_response;

/// A server's bytes, behind which it closes.
pub fn check(data: &[u8]) {
    for to_head in [false, true] {
        let whole = read_response(data, to_head, usize::MAX);
        for piece in [1, 2, 7] {
            assert_eq!(read_response(data, to_head, piece), whole, "in pieces of {piece}");
        }
        let Ok(Some(reading)) = whole else { continue };
        let behind = final_head_end(data).map(|end| data.len() - end).expect("a whole head has an end");
        let values = |name: &str| reading.fields.get_all(name).iter().cloned().collect::<Vec<_>>();
        let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
        assert!(lengths.len() <= 1 && codings.len() <= 1 && (lengths.is_empty() || codings.is_empty()));
        for value in reading.fields.values() {
            assert!(value.as_bytes().iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control()));
        }
        if to_head || matches!(reading.status, 204 | 304) {
            assert!(reading.content.is_empty() && reading.whole && reading.excess.len() == behind);
        } else if let Some(length) = lengths.first() {
            let length: usize = length.to_str().expect("digits").parse().unwrap_or(usize::MAX);
            assert_eq!(reading.whole, length <= behind);
            assert_eq!(reading.content.len(), length.min(behind));
            assert_eq!(reading.excess.len(), behind - length.min(behind));
        } else if codings.is_empty() {
            assert!(reading.whole && reading.content.len() == behind);
        } else {
            // Where chunks end is another question; at least nothing was made up.
            assert!(reading.content.len() + reading.excess.len() <= behind);
        }
    }
}

/// Where the head of the first response ends that is no interim one, by a reading of its own.
fn final_head_end(bytes: &[u8]) -> Option<usize> {
    let mut start = 0;
    loop {
        let rest = &bytes[start..];
        let end = start + rest.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        if rest.get(9) != Some(&b'1') {
            return Some(end);
        }
        start = end;
    }
}
