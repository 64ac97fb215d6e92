//! The fields of a message, for whoever asks for many that are not there: that costs a look-up each time, and a request
//! has six fields where some twenty are asked for (1,100 instructions a hit).

use http::{HeaderMap, HeaderName, HeaderValue};

/// Which names there may be, told by their length and first letter: one that is there is never denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names(u64);

impl Names {
    /// Any may be there: nothing is known.
    const ANY: Names = Names(u64::MAX);

    /// Those of a message as it is now. Fields that are added later are not known.
    pub fn of(headers: &HeaderMap) -> Self {
        Names(headers.keys().fold(0, |names, name| names | bit(name)))
    }

    /// These and another one.
    #[must_use]
    pub fn with(self, name: &HeaderName) -> Self {
        Names(self.0 | bit(name))
    }

    /// Whether there may be a field of this name.
    pub fn may_have(self, name: &HeaderName) -> bool {
        self.0 & bit(name) != 0
    }
}

fn bit(name: &HeaderName) -> u64 {
    let name = name.as_str().as_bytes();
    let first = name.first().copied().unwrap_or_default();
    1 << ((name.len() * 11 + usize::from(first)) % 64)
}

/// The fields of a message, of which it is known what names there may be.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    map: &'a HeaderMap,
    names: Names,
}

impl<'a> Fields<'a> {
    /// `names` are those of `map`, or of what it was before fields were removed.
    pub fn new(map: &'a HeaderMap, names: Names) -> Self {
        Fields { map, names }
    }

    /// All of them.
    pub fn map(self) -> &'a HeaderMap {
        self.map
    }

    /// Whether there is a field of this name.
    pub fn has(self, name: &HeaderName) -> bool {
        self.names.may_have(name) && self.map.contains_key(name)
    }

    /// The first line of a field.
    pub fn get(self, name: &HeaderName) -> Option<&'a HeaderValue> {
        self.names.may_have(name).then(|| self.map.get(name))?
    }

    /// All lines of a field.
    pub fn all(self, name: &HeaderName) -> impl Iterator<Item = &'a HeaderValue> + use<'a> {
        self.names.may_have(name).then(|| self.map.get_all(name).into_iter()).into_iter().flatten()
    }
}

impl<'a> From<&'a HeaderMap> for Fields<'a> {
    fn from(map: &'a HeaderMap) -> Self {
        Fields { map, names: Names::ANY }
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::super::sample::headers;
    use super::*;

    #[test]
    fn fields_are_found_as_without_names() {
        let several = headers(&[("accept", "a"), ("cookie", "b"), ("cookie", "c"), ("x-own", "d"), ("via", "e")]);
        for map in [several, headers(&[("range", "a")]), HeaderMap::new()] {
            let fields = Fields::new(&map, Names::of(&map));
            let own = HeaderName::from_static("x-own");
            // Of the same length and letter as one that is there.
            let alike = HeaderName::from_static("x-awn");
            for name in [header::ACCEPT, header::COOKIE, own, alike, header::VIA, header::RANGE, header::PRAGMA] {
                assert_eq!(fields.has(&name), map.contains_key(&name), "{name}");
                assert_eq!(fields.get(&name), map.get(&name), "{name}");
                assert!(fields.all(&name).eq(map.get_all(&name)), "{name}");
                assert_eq!(Fields::from(&map).has(&name), map.contains_key(&name), "{name}");
            }
        }
    }

    #[test]
    fn names_that_decisions_ask_for_are_told_apart_from_what_browsers_always_send() {
        let always = headers(&[
            ("host", "a"),
            ("user-agent", "a"),
            ("accept", "a"),
            ("accept-language", "a"),
            ("connection", "a"),
        ]);
        let names = Names::of(&always);
        for asked in [
            header::AUTHORIZATION,
            header::CACHE_CONTROL,
            header::COOKIE,
            header::IF_MATCH,
            header::IF_MODIFIED_SINCE,
            header::IF_NONE_MATCH,
            header::IF_UNMODIFIED_SINCE,
            header::PRAGMA,
            header::RANGE,
        ] {
            assert!(!names.may_have(&asked), "{asked}");
        }
    }
}
