//! Lists in field values, whose elements may have quoted strings in them (RFC 9110 §5.6.1, §5.6.4).

/// Elements of a comma-separated list (RFC 9110 §5.6.1), trimmed, empty ones left out, commas in quotes kept.
pub(super) struct Elements<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.0.is_empty() {
            let end = piece_end(self.0, is_comma);
            let element = self.0[..end].trim_ascii();
            self.0 = self.0.get(end + 1..).unwrap_or_default();
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

/// The same with those that are empty.
pub(super) fn all_elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    pieces(list, is_comma).map(<[u8]>::trim_ascii)
}

fn is_comma(byte: u8) -> bool {
    byte == b','
}

/// What lies between separators outside quotes.
pub(super) fn pieces(text: &[u8], is_separator: fn(u8) -> bool) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = piece_end(text, is_separator);
        rest = text.get(end + 1..);
        Some(&text[..end])
    })
}

fn piece_end(text: &[u8], is_separator: fn(u8) -> bool) -> usize {
    let (mut opened, mut escaped) = (None, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if opened.is_some() => escaped = true,
            b'"' => opened = if opened.is_some() { None } else { Some(at) },
            byte if opened.is_none() && is_separator(*byte) => return at,
            _ => {}
        }
    }
    // A quote that nobody closes must not hide what follows, `no-store` for one.
    let unclosed = opened.and_then(|from| Some(from + text[from..].iter().position(|byte| is_separator(*byte))?));
    unclosed.unwrap_or(text.len())
}
