//! Where a record lies in a lower tier: a name of 128 bits, made of its key.

use std::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::cache::key::CacheKey;
use crate::policy::vary::Selection;

/// The place of a record in a lower tier. What lies there names its key in full: two keys of one slot displace each
/// other, and are never taken for one another.
///
/// A response that varies lies in the slot that its key and the values of the selecting fields make; the slot of the
/// key alone then holds the list of those fields ([`super::super::record::Record::Vary`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Of the URL: all that belongs to a URL is together.
    pub url: u64,
    /// Of what the route adds to the key, and of the values that select the response.
    pub rest: u64,
}

impl Slot {
    /// Of a key: its response that does not vary, or the list of the fields by which they do.
    pub fn of_key(key: &CacheKey) -> Slot {
        Slot { url: Slot::url_hash(key.base()), rest: xxh3_64(&key.as_str().as_bytes()[key.base().len()..]) }
    }

    /// Of a response of the key that these values select.
    pub fn of_variant(key: &CacheKey, selection: &Selection) -> Slot {
        let base = Slot::of_key(key);
        if selection.is_empty() {
            return base;
        }
        let mut hasher = Xxh3::with_seed(base.rest);
        for (name, value) in selection.fields() {
            hasher.update(&(name.as_str().len() as u64).to_le_bytes());
            hasher.update(name.as_str().as_bytes());
            // Absent and empty are different values; no length is this large.
            hasher.update(&value.map_or(u64::MAX, |value| value.len() as u64).to_le_bytes());
            hasher.update(value.unwrap_or_default());
        }
        Slot { rest: hasher.digest(), ..base }
    }

    /// The part that all slots of a URL have in common; `base` is [`CacheKey::base`].
    pub fn url_hash(base: &str) -> u64 {
        xxh3_64(base.as_bytes())
    }

    /// From what its `Display` wrote.
    pub fn parse(text: &str) -> Option<Slot> {
        let (url, rest) = (text.get(..16)?, text.get(16..)?);
        let is_slot = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = |text| u64::from_str_radix(text, 16).ok();
        is_slot.then_some(Slot { url: number(url)?, rest: number(rest)? })
    }
}

impl fmt::Display for Slot {
    /// 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.url, self.rest)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName};

    use super::*;

    #[test]
    fn slots_tell_variants_apart_and_keep_a_url_together() {
        let key = CacheKey::from_text("GET http://a.test/x\nx-a:1:2".to_owned(), 19).unwrap();
        let other = CacheKey::from_text("GET http://a.test/y".to_owned(), 19).unwrap();
        let name = [HeaderName::from_static("x-v")];
        let of = |value: Option<&str>| {
            let fields = value.map(|value| (name[0].clone(), value.parse().unwrap()));
            Slot::of_variant(&key, &Selection::of_names(&name, &HeaderMap::from_iter(fields)))
        };
        let slots = [Slot::of_key(&key), of(None), of(Some("")), of(Some("a"))];
        for (at, slot) in slots.iter().enumerate() {
            assert!(!slots[..at].contains(slot), "{at}");
            assert_eq!(slot.url, Slot::url_hash(key.base()));
            assert_eq!(Slot::parse(&slot.to_string()), Some(*slot));
        }
        assert_ne!(Slot::of_key(&other).url, slots[0].url);
        for text in ["", "0", &"g".repeat(32), &"é".repeat(16), &"A".repeat(32)] {
            assert_eq!(Slot::parse(text), None, "{text}");
        }
    }
}
