//! The header fields of a stored response, packed. What responses of the same app have in common, which is all names
//! and many values, is kept once; a response has the values that are its own, in one block.

mod common;

use http::{HeaderMap, HeaderName, HeaderValue};

use bytes::BytesMut;
use common::Common;
use std::sync::Arc;

/// Header fields in their order, packed. Cheap to clone beside a body.
#[derive(Clone, Debug, Default)]
pub struct StoredFields {
    common: Arc<Common>,
    /// Where each of its own values ends, but for the last, in [`end_size`] bytes each; and then the values.
    own: Box<[u8]>,
}

/// Bytes that tell where a value ends, in a block of so many.
const fn end_size(block: usize) -> usize {
    if block <= u16::MAX as usize { size_of::<u16>() } else { size_of::<u32>() }
}

impl StoredFields {
    /// Packs a map. The values are copied, so that nothing keeps the buffer alive that they were read into.
    pub fn pack(headers: &HeaderMap) -> Self {
        let common = common::of(headers);
        let own =
            || headers.values().zip(common.iter()).filter(|(_, (_, shared))| shared.is_none()).map(|(own, _)| own);
        let ends = common.own_values().saturating_sub(1);
        let values: usize = own().map(HeaderValue::len).sum();
        // Where the ends are what makes it too long for short ones, long ones do not make it shorter.
        let size = end_size(ends * size_of::<u16>() + values);
        let mut block = Vec::with_capacity(ends * size + values);
        let mut end = ends * size;
        for value in own().take(ends) {
            end += value.len();
            block.extend_from_slice(&(end as u32).to_le_bytes()[..size]);
        }
        own().for_each(|value| block.extend_from_slice(value.as_bytes()));
        StoredFields { common, own: block.into_boxed_slice() }
    }

    /// Unpacks them, with room for `more` further fields.
    pub fn unpack(&self, more: usize) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.common.len() + more);
        // One allocation for all values.
        let mut values = BytesMut::with_capacity(self.iter().map(|(_, value)| value.len()).sum());
        self.iter().for_each(|(_, value)| values.extend_from_slice(value));
        let mut values = values.freeze();
        for (name, value) in self.iter() {
            let value = HeaderValue::from_maybe_shared(values.split_to(value.len()));
            headers.append(name, value.expect("it was a field value when it was packed"));
        }
        headers
    }

    /// The first value of a field.
    pub fn get(&self, name: &HeaderName) -> Option<HeaderValue> {
        let value = self.get_bytes(name)?;
        Some(HeaderValue::from_bytes(value).expect("it was a field value when it was packed"))
    }

    /// The first value's bytes.
    pub fn get_bytes(&self, name: &HeaderName) -> Option<&[u8]> {
        let mut own = 0;
        for (given, shared) in self.common.iter() {
            if given == name {
                return Some(shared.unwrap_or_else(|| self.own(own)));
            }
            own += usize::from(shared.is_none());
        }
        None
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&HeaderName, &[u8])> {
        let mut own = 0;
        self.common.iter().map(move |(name, shared)| {
            let value = shared.unwrap_or_else(|| {
                own += 1;
                self.own(own - 1)
            });
            (name, value)
        })
    }

    /// Its own values, and what it has in common with no other.
    pub fn own_bytes(&self) -> usize {
        let common = if Arc::strong_count(&self.common) == 1 { self.common.size() } else { 0 };
        self.own.len() + common
    }

    /// One of its own values.
    fn own(&self, at: usize) -> &[u8] {
        let (ends, size) = (self.common.own_values().saturating_sub(1), end_size(self.own.len()));
        let end = |at: usize| {
            let mut end = [0; size_of::<u32>()];
            end[..size].copy_from_slice(&self.own[at * size..][..size]);
            u32::from_le_bytes(end) as usize
        };
        let start = if at == 0 { ends * size } else { end(at - 1) };
        &self.own[start..if at == ends { self.own.len() } else { end(at) }]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(fields: &[(&'static str, &str)]) -> StoredFields {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let packed = StoredFields::pack(&headers);
        assert_eq!(packed.unpack(2), headers);
        packed
    }

    #[test]
    fn fields_come_back_as_they_went_in() {
        let fields = [("content-type", "text/html"), ("x-a", "1"), ("x-a", ""), ("server", "caf\u{e9}"), ("etag", "2")];
        let several = packed(&fields);
        assert_eq!(several.get_bytes(&http::header::CONTENT_TYPE), Some(&b"text/html"[..]));
        assert_eq!(several.get(&http::header::ETAG), Some(HeaderValue::from_static("2")));
        assert_eq!(several.get(&http::header::AGE), None);
        assert_eq!(several.iter().len(), 5);
        packed(&[]);
        packed(&[("content-type", "text/css")]);
        packed(&[("x-empty", "")]);
    }

    #[test]
    fn fields_longer_than_short_ends_can_tell_come_back() {
        let block = 2 * size_of::<u16>() + 5;
        for more in [0, 1, 2, 70_000] {
            let long = "l".repeat(usize::from(u16::MAX) - block + more);
            packed(&[("x-a", "ab"), ("etag", &long), ("x-b", "cde")]);
        }
    }

    #[test]
    fn values_that_pages_have_in_common_are_kept_once() {
        let page = |tag| packed(&[("content-type", "text/x-once"), ("etag", tag), ("x-list", "v")]);
        let (one, other) = (page("\"1\""), page("\"22\""));
        assert!(Arc::ptr_eq(&one.common, &other.common));
        assert_eq!((one.own_bytes(), other.own_bytes()), (6, 7), "two values and one end");
        let css = packed(&[("content-type", "text/x-css"), ("etag", "\"1\""), ("x-list", "v")]);
        assert!(!Arc::ptr_eq(&one.common, &css.common));
        let turned = packed(&[("x-list", "v"), ("etag", "\"1\""), ("content-type", "text/x-once")]);
        assert!(!Arc::ptr_eq(&one.common, &turned.common));
    }

    proptest! {
        #[test]
        fn any_fields_come_back(
            fields in prop::collection::vec(
                (
                    prop::sample::select(vec!["content-type", "etag", "vary", "x-a", "server"]),
                    prop::collection::vec(0x20u8..0x7f, 0..40),
                ),
                0..12,
            ),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in &fields {
                headers.append(*name, HeaderValue::from_bytes(value).unwrap());
            }
            let packed = StoredFields::pack(&headers);
            prop_assert_eq!(packed.unpack(0), headers.clone());
            for name in headers.keys() {
                prop_assert_eq!(packed.get_bytes(name), headers.get(name).map(HeaderValue::as_bytes));
            }
        }
    }
}
