//! What stored responses have in common: lists of field names, with the values that an app gives to page after page.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

use hashbrown::HashTable;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use parking_lot::Mutex;

/// Names of fields in their order, and the values that are the same wherever the list is used.
#[derive(Debug, Default)]
pub(super) struct Common {
    fields: Box<[Field]>,
    /// How many have no value here.
    own_values: usize,
}

/// A name, and the value where that is the same wherever the list is used.
type Field = (HeaderName, Option<Box<[u8]>>);

/// Most lists that are shared, of each kind. An app has few; one that makes up names or values has no end of them.
const MOST: usize = 1024;

/// Lists in use: with values, and of names alone for those whose values find no room among the former.
static SHARED: LazyLock<Mutex<[Lists; 2]>> =
    LazyLock::new(|| Mutex::new([Lists::new(is_repeated), Lists::new(|_| false)]));

/// What fields with these names and values have in common with others.
pub(super) fn of(headers: &HeaderMap) -> Arc<Common> {
    let mut shared = SHARED.lock();
    let found = shared.iter_mut().find_map(|lists| lists.get_or_add(headers));
    drop(shared);
    found.unwrap_or_else(|| Arc::new(Common::new(headers, |_| false)))
}

/// Whether a field tends to say the same for one page as for the next.
fn is_repeated(name: &HeaderName) -> bool {
    match *name {
        header::ETAG | header::LAST_MODIFIED | header::CONTENT_LENGTH | header::DATE | header::EXPIRES => false,
        header::ACCEPT_RANGES
        | header::ACCESS_CONTROL_ALLOW_CREDENTIALS
        | header::ACCESS_CONTROL_ALLOW_HEADERS
        | header::ACCESS_CONTROL_ALLOW_METHODS
        | header::ACCESS_CONTROL_ALLOW_ORIGIN
        | header::ACCESS_CONTROL_EXPOSE_HEADERS
        | header::ALT_SVC
        | header::CACHE_CONTROL
        | header::CONTENT_ENCODING
        | header::CONTENT_LANGUAGE
        | header::CONTENT_SECURITY_POLICY
        | header::CONTENT_TYPE
        | header::PRAGMA
        | header::REFERRER_POLICY
        | header::SERVER
        | header::STRICT_TRANSPORT_SECURITY
        | header::VARY
        | header::VIA
        | header::X_CONTENT_TYPE_OPTIONS
        | header::X_FRAME_OPTIONS
        | header::X_XSS_PROTECTION => true,
        _ => OTHERS.contains(&name.as_str()),
    }
}

/// More of them, which the `http` crate has no names for.
const OTHERS: [&str; 6] = [
    "cross-origin-embedder-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "permissions-policy",
    "surrogate-control",
    "x-powered-by",
];

impl Common {
    fn new(headers: &HeaderMap, repeated: fn(&HeaderName) -> bool) -> Self {
        let shared = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.clone(), repeated(name).then(|| value.as_bytes().into()))
        };
        let fields: Box<[Field]> = headers.iter().map(shared).collect();
        let own_values = fields.iter().filter(|(_, value)| value.is_none()).count();
        Common { fields, own_values }
    }

    /// Names, and those of the values that are kept here.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&HeaderName, Option<&[u8]>)> {
        self.fields.iter().map(|(name, value)| (name, value.as_deref()))
    }

    /// How many fields there are.
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// How many of the values are not kept here.
    pub(super) fn own_values(&self) -> usize {
        self.own_values
    }

    /// Bytes it occupies.
    pub(super) fn size(&self) -> usize {
        let values: usize = self.fields.iter().filter_map(|(_, value)| value.as_deref()).map(<[u8]>::len).sum();
        size_of::<Common>() + size_of_val(&*self.fields) + values
    }

    fn is_of(&self, headers: &HeaderMap) -> bool {
        let mut fields = self.iter().zip(headers);
        self.len() == headers.len()
            && fields.all(|((name, shared), (given, value))| {
                name == given && shared.is_none_or(|shared| shared == value.as_bytes())
            })
    }
}

struct Lists {
    /// Whose values are part of them.
    repeated: fn(&HeaderName) -> bool,
    table: HashTable<Arc<Common>>,
    hasher: RandomState,
    /// How many found no room.
    refused: usize,
}

impl Lists {
    fn new(repeated: fn(&HeaderName) -> bool) -> Self {
        Lists { repeated, table: HashTable::new(), hasher: RandomState::new(), refused: 0 }
    }

    /// The list of these fields, if there is one or room for it.
    fn get_or_add(&mut self, headers: &HeaderMap) -> Option<Arc<Common>> {
        let hash = self.hash(headers.iter().map(|(name, value)| (name, value.as_bytes())));
        if let Some(list) = self.table.find(hash, |list| list.is_of(headers)) {
            return Some(list.clone());
        }
        if self.table.len() >= MOST {
            // All are looked through once for so many that ask.
            if self.refused.is_multiple_of(MOST) {
                self.table.retain(|list| Arc::strong_count(list) > 1);
            }
            self.refused += 1;
        }
        if self.table.len() >= MOST {
            return None;
        }
        let list = Arc::new(Common::new(headers, self.repeated));
        let (repeated, hasher) = (self.repeated, &self.hasher);
        let hash_of = |list: &Arc<Common>| {
            hash_of(hasher, repeated, list.iter().map(|(name, value)| (name, value.unwrap_or_default())))
        };
        self.table.insert_unique(hash, list.clone(), hash_of);
        Some(list)
    }

    fn hash<'a>(&self, fields: impl Iterator<Item = (&'a HeaderName, &'a [u8])>) -> u64 {
        hash_of(&self.hasher, self.repeated, fields)
    }
}

/// The hash of a list: of all names, and of the values that are part of it.
fn hash_of<'a>(
    hasher: &RandomState,
    repeated: fn(&HeaderName) -> bool,
    fields: impl Iterator<Item = (&'a HeaderName, &'a [u8])>,
) -> u64 {
    let mut state = hasher.build_hasher();
    for (name, value) in fields {
        name.hash(&mut state);
        if repeated(name) {
            state.write(value);
        }
    }
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn lists_without_end_fall_back_to_names_and_are_forgotten() {
        let (mut valued, mut names) = (Lists::new(is_repeated), Lists::new(|_| false));
        let languages: Vec<_> = (0..MOST + 2).map(|at| page(&[("content-language", &format!("x-{at}"))])).collect();
        let mut used: Vec<_> = languages[..MOST].iter().map(|page| valued.get_or_add(page).unwrap()).collect();
        assert!(valued.get_or_add(&languages[MOST]).is_none());
        let (one, other) = (names.get_or_add(&languages[0]).unwrap(), names.get_or_add(&languages[MOST]).unwrap());
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!((one.own_values(), used[0].own_values()), (1, 0));
        // They have room again once some are used no longer: not at once, since that takes a look at all.
        used.truncate(10);
        let tried = (0..=MOST).find(|_| valued.get_or_add(&languages[MOST + 1]).is_some());
        assert_eq!((tried, valued.table.len()), (Some(MOST - 1), 11));
    }
}
