//! The header fields of a stored response, packed: one block of values and where they end, and the list of names,
//! which responses of the same app share.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;

/// Header fields in their order, packed. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct StoredFields {
    names: Arc<[HeaderName]>,
    /// Where each value ends in the block, in four bytes each, and then the values.
    block: Bytes,
}

/// Lists of names in use. An app sends few different ones, and a list takes more room than the values.
static NAMES: LazyLock<Mutex<HashSet<Arc<[HeaderName]>>>> = LazyLock::new(Mutex::default);

/// Lists that are shared; those of an app that makes up names are not.
const MAX_LISTS: usize = 1024;

/// Bytes that tell where a value ends.
const END: usize = size_of::<u32>();

impl StoredFields {
    /// Packs a map. The values are copied, so that nothing keeps the buffer alive that they were read into.
    pub fn pack(headers: &HeaderMap) -> Self {
        let names: Vec<HeaderName> = headers.iter().map(|(name, _)| name.clone()).collect();
        let mut end = names.len() * END;
        let mut block = BytesMut::with_capacity(end + headers.values().map(HeaderValue::len).sum::<usize>());
        for value in headers.values() {
            end += value.len();
            block.put_u32_ne(end as u32);
        }
        headers.values().for_each(|value| block.extend_from_slice(value.as_bytes()));
        StoredFields { names: shared(names), block: block.freeze() }
    }

    /// Unpacks them, with room for `more` further fields. Values share the block.
    pub fn unpack(&self, more: usize) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.names.len() + more);
        for (at, name) in self.names.iter().enumerate() {
            headers.append(name.clone(), self.value(at));
        }
        headers
    }

    /// The first value of a field.
    pub fn get(&self, name: &HeaderName) -> Option<HeaderValue> {
        self.position(name).map(|at| self.value(at))
    }

    /// The first value's bytes.
    pub fn get_bytes(&self, name: &HeaderName) -> Option<&[u8]> {
        self.position(name).map(|at| &self.block[self.range(at)])
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&HeaderName, &[u8])> {
        self.names.iter().enumerate().map(|(at, name)| (name, &self.block[self.range(at)]))
    }

    /// Bytes it occupies beside its own size; a shared list of names counts as nothing.
    pub fn cost(&self) -> usize {
        self.block.len()
    }

    fn position(&self, name: &HeaderName) -> Option<usize> {
        self.names.iter().position(|given| given == name)
    }

    fn range(&self, at: usize) -> std::ops::Range<usize> {
        let end = |at: usize| (&self.block[at * END..]).get_u32_ne() as usize;
        let start = if at == 0 { self.names.len() * END } else { end(at - 1) };
        start..end(at)
    }

    fn value(&self, at: usize) -> HeaderValue {
        let bytes = self.block.slice(self.range(at));
        HeaderValue::from_maybe_shared(bytes).expect("it was a field value when it was packed")
    }
}

/// The list that others use already, if there is one.
fn shared(names: Vec<HeaderName>) -> Arc<[HeaderName]> {
    let mut lists = NAMES.lock();
    if let Some(list) = lists.get(&names[..]) {
        return list.clone();
    }
    let list: Arc<[HeaderName]> = names.into();
    if lists.len() >= MAX_LISTS {
        lists.retain(|list| Arc::strong_count(list) > 1);
    }
    if lists.len() < MAX_LISTS {
        lists.insert(list.clone());
    }
    list
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

    #[test]
    fn fields_of_the_same_names_share_their_list() {
        let of = |names: &[&'static str]| {
            StoredFields::pack(
                &names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("v"))).collect(),
            )
        };
        let (one, same, other) = (of(&["x-list", "etag"]), of(&["x-list", "etag"]), of(&["etag", "x-list"]));
        assert!(Arc::ptr_eq(&one.names, &same.names));
        assert!(!Arc::ptr_eq(&one.names, &other.names));
    }
}
