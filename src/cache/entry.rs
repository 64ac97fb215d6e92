//! What is kept under a cache key: stored responses, one a variant.

mod marks;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::{HeaderMap, header};
use once_cell::race::OnceBox;

use super::body::SharedBody;
use super::epoch::Epoch;
use super::fields::StoredFields;
use super::index::{self, Listing};
use super::key::CacheKey;
use super::parts::StoredParts;
use super::purge::Meta;
use super::room::allotted;
use crate::policy::dates;
use crate::policy::facts::Facts;
use crate::policy::tags::Tags;
use crate::policy::time::Timestamp;
use crate::policy::validate;
use crate::policy::vary::Selection;

pub use marks::Marks;

/// A stored response: one variant of a key. Never changed, only replaced; what grows within it are its bodies.
#[derive(Debug)]
pub struct StoredResponse {
    /// What the policy remembers.
    pub facts: Facts,
    /// Its fields as received, less those that must not be stored.
    pub fields: StoredFields,
    /// Its body as received, with its codings; [`SharedBody::absent`] where there are parts.
    pub body: SharedBody,
    /// What selects it, what purges it, and which parts there are of it.
    pub marks: Marks,
    /// Whether larder may code it: what `content::compressible` says of its fields.
    pub compressible: bool,
    /// Whether its entity tag is one that larder made: of no use in a request to the upstream.
    pub own_tag: bool,
    /// How often it answered.
    pub hits: AtomicU32,
    /// Its places in the memory tier's index, while it is there.
    pub listing: OnceBox<Listing>,
}

/// What a stored response costs beside its key, fields and bodies: its own structs, its body's, its share of the
/// tier's tables, and what the allocator needs for itself. With it `hit memory 100000` (see `benches/hit.rs`) accounts
/// for what becomes resident.
const OVERHEAD: u64 = 388;

impl StoredResponse {
    /// Which requests select it.
    pub fn selection(&self) -> &Selection {
        self.marks.selection()
    }

    /// Purge tags that the upstream gave it.
    pub fn tags(&self) -> &Tags {
        self.marks.tags()
    }

    /// What there is of its body, where that is not all of it.
    pub fn parts(&self) -> Option<&StoredParts> {
        self.marks.parts()
    }

    /// The purges that were known when its fetch began: of no use against any later one.
    pub fn epoch(&self) -> Epoch {
        self.marks.epoch()
    }

    /// Whether a request with these fields selects it (RFC 9111 §4.1).
    pub fn is_selected_by(&self, request: &HeaderMap) -> bool {
        let selection = self.selection();
        selection.is_empty() || selection.matches(request, self.fields.get_bytes(&header::CONTENT_LANGUAGE))
    }

    /// Its Last-Modified, where that is a date.
    pub fn last_modified(&self) -> Option<Timestamp> {
        let lines = self.fields.iter().filter(|(name, _)| *name == header::LAST_MODIFIED).map(|(_, value)| value);
        dates::of_lines(lines).flatten()
    }

    /// What it costs in bytes under a key: fields, bodies, tags and overhead, its key not included.
    pub fn cost(&self, key: &CacheKey) -> u64 {
        let bodies = self.body.held() + self.body.coded_held() + self.parts().map_or(0, StoredParts::held);
        let fields = allotted(self.fields.own_bytes() as u64) + self.marks.cost() as u64;
        OVERHEAD + fields + index::cost(key.as_str(), self.tags()) + bodies
    }

    /// What a purge looks at of it.
    pub fn meta<'a>(&'a self, key: &'a CacheKey) -> Meta<'a> {
        Meta {
            key: key.as_str(),
            tags: self.tags(),
            status: self.facts.status.as_u16(),
            content_type: self.fields.get_bytes(&header::CONTENT_TYPE),
        }
    }

    /// The same, stale since a soft purge; since the first, where there are several.
    pub fn softened(&self, since: Timestamp) -> StoredResponse {
        let since = self.facts.stale_since.map_or(since, |before| before.min(since));
        let facts = Facts { stale_since: Some(since), ..self.facts.clone() };
        StoredResponse { facts, ..self.with_body(self.body.clone(), self.marks.clone()) }
    }

    /// Length of the whole body in bytes, once that is known.
    pub fn complete_length(&self) -> Option<u64> {
        self.parts().map_or_else(|| self.body.len(), |parts| Some(parts.complete_length()))
    }

    /// The same body with other fields, and what they say; it counts on where this one was.
    pub fn revised(&self, facts: Facts, selection: Selection, headers: &HeaderMap, own_tag: bool) -> StoredResponse {
        StoredResponse {
            facts,
            fields: StoredFields::pack(headers),
            body: self.body.clone(),
            marks: self.marks.clone().selected_by(selection),
            compressible: self.compressible,
            own_tag,
            hits: AtomicU32::new(self.hits.load(Ordering::Relaxed)),
            listing: OnceBox::new(),
        }
    }

    /// The same with other tags, and against later purges alone.
    #[must_use]
    pub fn marked(self, epoch: Epoch, tags: Tags) -> StoredResponse {
        StoredResponse { marks: self.marks.known(epoch).tagged(tags), ..self }
    }

    /// What of `older` is still good beside this, which came later: both have the same strong validator, so that they
    /// are of one representation (RFC 9111 §3.4). `None`: nothing.
    fn combined_with(&self, older: &StoredResponse) -> Option<StoredResponse> {
        let parts = self.parts()?;
        let tag = |response: &StoredResponse| response.fields.get(&header::ETAG).filter(|_| !response.own_tag);
        let same = validate::is_same_representation(tag(self)?, tag(older)?)
            && older.complete_length() == Some(parts.complete_length());
        if !same || self.selection() != older.selection() {
            return None;
        }
        // A purge since the older one was fetched is meant for it as well.
        let marks = self.marks.clone().known(older.epoch());
        Some(match older.parts() {
            Some(old) => self.with_body(self.body.clone(), marks.in_parts(Some(Box::new(old.keeping(parts))))),
            None => self.with_body(older.body.clone(), marks.in_parts(None)),
        })
    }

    /// The same, of which only these parts have come.
    pub fn in_part(&self, parts: StoredParts) -> StoredResponse {
        self.with_body(SharedBody::absent(), self.marks.clone().in_parts(Some(Box::new(parts))))
    }

    /// The same with one body, where its parts have become a whole.
    fn joined(&self) -> Option<StoredResponse> {
        let body = self.parts()?.joined()?;
        Some(self.with_body(body, self.marks.clone().in_parts(None)))
    }

    fn with_body(&self, body: SharedBody, marks: Marks) -> StoredResponse {
        StoredResponse {
            facts: self.facts.clone(),
            fields: self.fields.clone(),
            body,
            marks,
            compressible: self.compressible,
            own_tag: self.own_tag,
            hits: AtomicU32::new(self.hits.load(Ordering::Relaxed)),
            listing: OnceBox::new(),
        }
    }

    /// Counts an answer.
    pub fn count_hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }
}

/// All stored responses of a key, newest first.
#[derive(Clone, Debug, Default)]
pub struct Entry(Variants);

#[derive(Clone, Debug)]
enum Variants {
    /// As most keys have it: no list is allocated for it.
    One(Arc<StoredResponse>),
    Many(Arc<[Arc<StoredResponse>]>),
}

impl Default for Variants {
    fn default() -> Self {
        Variants::Many(Arc::default())
    }
}

impl FromIterator<Arc<StoredResponse>> for Entry {
    fn from_iter<T: IntoIterator<Item = Arc<StoredResponse>>>(variants: T) -> Self {
        let mut variants = variants.into_iter();
        let Some(first) = variants.next() else { return Entry::default() };
        Entry(match variants.next() {
            None => Variants::One(first),
            Some(second) => Variants::Many([first, second].into_iter().chain(variants).collect()),
        })
    }
}

impl Entry {
    /// The newest variant that a request with these fields selects.
    pub fn select(&self, request: &HeaderMap) -> Option<&Arc<StoredResponse>> {
        self.variants().iter().find(|variant| variant.is_selected_by(request))
    }

    /// All variants, newest first.
    pub fn variants(&self) -> &[Arc<StoredResponse>] {
        match &self.0 {
            Variants::One(variant) => std::slice::from_ref(variant),
            Variants::Many(variants) => variants,
        }
    }

    /// With `response` in front; variants for the same selection go, and the oldest beyond `most`. A part is combined
    /// with what there is of the same representation.
    pub fn with(&self, response: Arc<StoredResponse>, most: usize) -> Entry {
        let combined = self.variants().iter().find_map(|older| response.combined_with(older));
        let response = combined.map_or(response, Arc::new);
        let kept = self
            .variants()
            .iter()
            .filter(|variant| variant.selection() != response.selection())
            // One that began to vary replaces the one that stood for all. The other way round both stay: apps forget Vary on
            // what they send by default (RFC 9111 §4.1).
            .filter(|variant| response.selection().is_empty() || !variant.selection().is_empty())
            .take(most.saturating_sub(1))
            .cloned();
        std::iter::once(response.clone()).chain(kept).collect()
    }

    /// With `old` replaced by `new` in its place, if it is still there.
    pub fn replacing(&self, old: &Arc<StoredResponse>, new: Arc<StoredResponse>) -> Option<Entry> {
        let at = self.variants().iter().position(|variant| Arc::ptr_eq(variant, old))?;
        let mut variants = self.variants().to_vec();
        variants[at] = new;
        Some(variants.into_iter().collect())
    }

    /// Without `gone`; `None` when nothing remains.
    pub fn without(&self, gone: &Arc<StoredResponse>) -> Option<Entry> {
        let kept: Entry = self.variants().iter().filter(|variant| !Arc::ptr_eq(variant, gone)).cloned().collect();
        (!kept.variants().is_empty()).then_some(kept)
    }

    /// With each variant as `make` makes it; those for which that is nothing go.
    pub fn mapped(&self, make: impl FnMut(&Arc<StoredResponse>) -> Option<Arc<StoredResponse>>) -> Option<Entry> {
        let made: Entry = self.variants().iter().filter_map(make).collect();
        (!made.variants().is_empty()).then_some(made)
    }

    /// With parts that have become a whole joined, and which those are.
    pub fn joined(self) -> (Entry, Vec<Arc<StoredResponse>>) {
        if self.variants().iter().all(|variant| variant.parts().is_none()) {
            return (self, Vec::new());
        }
        let mut joined = Vec::new();
        let variants = self.variants().iter().map(|variant| match variant.joined().map(Arc::new) {
            Some(whole) => {
                joined.push(whole.clone());
                whole
            }
            None => variant.clone(),
        });
        (variants.collect(), joined)
    }

    /// What a key and all its variants cost in bytes.
    pub fn cost(&self, key: &CacheKey) -> u64 {
        let variants: u64 = self.variants().iter().map(|variant| variant.cost(key)).sum();
        allotted(key.as_str().len() as u64) + variants
    }
}
