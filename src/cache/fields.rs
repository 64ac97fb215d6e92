//! The header fields of a stored response, packed: one block of bytes and a short index, instead of a map with its
//! spare room.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Header fields in their order, packed. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct StoredFields {
    block: Bytes,
    index: std::sync::Arc<[Entry]>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: HeaderName,
    start: u32,
    len: u32,
}

impl StoredFields {
    /// Packs a map. The values are copied, so that nothing keeps the buffer alive that they were read into.
    pub fn pack(headers: &HeaderMap) -> Self {
        let mut block = BytesMut::with_capacity(headers.values().map(|value| value.len()).sum());
        let mut index = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            index.push(Entry { name: name.clone(), start: block.len() as u32, len: value.len() as u32 });
            block.extend_from_slice(value.as_bytes());
        }
        StoredFields { block: block.freeze(), index: index.into() }
    }

    /// Unpacks them, with room for `more` further fields. Values share the block.
    pub fn unpack(&self, more: usize) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.index.len() + more);
        for entry in self.index.iter() {
            headers.append(entry.name.clone(), self.value(entry));
        }
        headers
    }

    /// The first value of a field.
    pub fn get(&self, name: &HeaderName) -> Option<HeaderValue> {
        self.index.iter().find(|entry| entry.name == *name).map(|entry| self.value(entry))
    }

    /// The first value's bytes.
    pub fn get_bytes(&self, name: &HeaderName) -> Option<&[u8]> {
        let entry = self.index.iter().find(|entry| entry.name == *name)?;
        Some(&self.block[entry.start as usize..(entry.start + entry.len) as usize])
    }

    /// Bytes it occupies beside its own size.
    pub fn cost(&self) -> usize {
        self.block.len() + std::mem::size_of_val(&*self.index) + 64
    }

    fn value(&self, entry: &Entry) -> HeaderValue {
        let (start, end) = (entry.start as usize, (entry.start + entry.len) as usize);
        HeaderValue::from_maybe_shared(self.block.slice(start..end)).expect("it was a field value when it was packed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_as_they_went_in() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("content-type", "text/html"), ("x-a", "1"), ("x-a", ""), ("server", "caf\u{e9}")] {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let packed = StoredFields::pack(&headers);
        assert_eq!(packed.unpack(2), headers);
        assert_eq!(packed.get_bytes(&http::header::CONTENT_TYPE), Some(&b"text/html"[..]));
        assert_eq!(packed.get(&http::header::ETAG), None);
    }
}
