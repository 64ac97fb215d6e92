//! Which keys a name stands for, so that a purge by name looks at what it means and at nothing else: keys with
//! additions by their URL, and keys of tagged responses by tag.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::key::{BuildPassHash, CacheKey};
use super::purge::Meta;
use crate::policy::tags::Tags;

/// The index of the memory tier. It lists what is stored, and now and then for a moment what has just gone.
#[derive(Debug, Default)]
pub struct Index {
    urls: Mutex<Names>,
    tags: Mutex<Names>,
}

type Names = HashMap<Box<str>, Keys>;

/// The keys of a name, each with the number of stored responses that have it.
#[derive(Debug)]
enum Keys {
    /// As most names have few.
    Few(SmallVec<[(Arc<CacheKey>, u32); 1]>),
    Many(HashMap<Arc<CacheKey>, u32, BuildPassHash>),
}

/// More keys than these are looked up by their hash.
const FEW: usize = 16;
/// What a tag costs beside its text: a place in the index, and its share of the index' own tables.
const TAG_OVERHEAD: u64 = 96;
/// What a listing costs beside its key's text.
const LISTING_OVERHEAD: u64 = 96;

/// A stored response's places in the index; they are given up with it.
#[derive(Debug)]
pub struct Listing {
    index: Arc<Index>,
    key: Arc<CacheKey>,
    tags: Tags,
}

impl Index {
    /// Lists a stored response. `None`: it is found without an index.
    pub fn list(self: &Arc<Self>, key: &CacheKey, tags: &Tags) -> Option<Listing> {
        if !key.has_additions() && tags.is_empty() {
            return None;
        }
        let listing = Listing { index: self.clone(), key: Arc::new(key.clone()), tags: tags.clone() };
        if key.has_additions() {
            add(&self.urls, key.url(), &listing.key);
        }
        for name in listing.meta().tag_names() {
            add(&self.tags, &name, &listing.key);
        }
        Some(listing)
    }

    /// Keys with additions of a URL.
    pub fn of_url(&self, url: &str) -> Vec<Arc<CacheKey>> {
        self.urls.lock().get(url).map(Keys::all).unwrap_or_default()
    }

    /// Keys under which something with a tag is stored; a group's name is that of [`Meta::tag_names`].
    pub fn of_tag(&self, name: &str) -> Vec<Arc<CacheKey>> {
        self.tags.lock().get(name).map(Keys::all).unwrap_or_default()
    }

    /// Names that are listed.
    pub fn len(&self) -> usize {
        self.urls.lock().len() + self.tags.lock().len()
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What listing a stored response costs in bytes, beside the text of its key where it has tags.
pub fn cost(key: &str, tags: &Tags) -> u64 {
    match tags.packed().len() as u64 {
        0 => 0,
        // Once in the response, and at worst once more as the name in the index.
        text => 2 * text + TAG_OVERHEAD * tags.len() as u64 + LISTING_OVERHEAD + key.len() as u64,
    }
}

impl Listing {
    fn meta(&self) -> Meta<'_> {
        Meta { key: self.key.as_str(), tags: &self.tags, status: 0, content_type: None }
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        if self.key.has_additions() {
            remove(&self.index.urls, self.key.url(), &self.key);
        }
        for name in self.meta().tag_names() {
            remove(&self.index.tags, &name, &self.key);
        }
    }
}

fn add(names: &Mutex<Names>, name: &str, key: &Arc<CacheKey>) {
    let mut names = names.lock();
    match names.get_mut(name) {
        Some(keys) => keys.add(key),
        None => {
            names.insert(name.into(), Keys::Few(SmallVec::from_buf([(key.clone(), 1)])));
        }
    }
}

fn remove(names: &Mutex<Names>, name: &str, key: &Arc<CacheKey>) {
    let mut names = names.lock();
    if let Some(keys) = names.get_mut(name)
        && keys.remove(key)
    {
        names.remove(name);
    }
}

impl Keys {
    fn all(&self) -> Vec<Arc<CacheKey>> {
        match self {
            Keys::Few(keys) => keys.iter().map(|(key, _)| key.clone()).collect(),
            Keys::Many(keys) => keys.keys().cloned().collect(),
        }
    }

    fn add(&mut self, key: &Arc<CacheKey>) {
        match self {
            Keys::Few(keys) => {
                if let Some((_, count)) = keys.iter_mut().find(|(listed, _)| listed == key) {
                    *count += 1;
                } else if keys.len() < FEW {
                    keys.push((key.clone(), 1));
                } else {
                    let many = keys.drain(..).chain([(key.clone(), 1)]).collect();
                    *self = Keys::Many(many);
                }
            }
            Keys::Many(keys) => *keys.entry(key.clone()).or_default() += 1,
        }
    }

    /// Whether none is left.
    fn remove(&mut self, key: &Arc<CacheKey>) -> bool {
        match self {
            Keys::Few(keys) => {
                if let Some(at) = keys.iter().position(|(listed, _)| listed == key) {
                    keys[at].1 -= 1;
                    if keys[at].1 == 0 {
                        keys.swap_remove(at);
                    }
                }
                keys.is_empty()
            }
            Keys::Many(keys) => {
                if let Some(count) = keys.get_mut(key) {
                    *count -= 1;
                    if *count == 0 {
                        keys.remove(key);
                    }
                }
                keys.is_empty()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tags::Tag;

    fn key(text: &str) -> CacheKey {
        let base = text.split('\n').next().unwrap().len();
        CacheKey::from_text(text.to_owned(), base).unwrap()
    }

    #[test]
    fn listings_are_given_up_with_their_response() {
        let index = Arc::new(Index::default());
        let (tags, plain, added) =
            (Tags::new([Tag::Named("t"), Tag::Group("g")]), key("GET http://a/"), key("GET http://a/\nx:1:1"));
        assert!(index.list(&plain, &Tags::default()).is_none(), "found by its key");
        let one = index.list(&plain, &tags).unwrap();
        let again = index.list(&plain, &tags).unwrap();
        let other = index.list(&added, &Tags::default()).unwrap();
        assert_eq!(index.of_tag("t"), [Arc::new(plain.clone())]);
        assert_eq!(index.of_tag("\nhttp://a g").len(), 1);
        assert_eq!((index.of_tag("g").len(), index.of_tag("x").len()), (0, 0));
        assert_eq!((index.of_url("http://a/").len(), index.of_url("http://b/").len()), (1, 0));
        drop(one);
        assert_eq!(index.of_tag("t").len(), 1, "another response of the key has it");
        drop((again, other));
        assert!(index.is_empty());
    }

    #[test]
    fn a_name_of_many_keys_grows_and_shrinks() {
        let index = Arc::new(Index::default());
        let tags = Tags::new([Tag::Named("t")]);
        let listings: Vec<_> = (0..100).map(|at| index.list(&key(&format!("GET http://a/{at}")), &tags)).collect();
        let twice: Vec<_> = (0..100).map(|at| index.list(&key(&format!("GET http://a/{at}")), &tags)).collect();
        assert_eq!(index.of_tag("t").len(), 100);
        drop(listings);
        assert_eq!(index.of_tag("t").len(), 100);
        drop(twice);
        assert!(index.is_empty());
    }
}
