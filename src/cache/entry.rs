//! What is kept under a cache key: stored responses, one a variant.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, header};
use parking_lot::Mutex;

use super::body::SharedBody;
use super::epoch::Epoch;
use super::fields::StoredFields;
use super::index::{self, Listing};
use super::key::CacheKey;
use super::parts::StoredParts;
use super::purge::Meta;
use crate::config::settings::Coding;
use crate::policy::facts::Facts;
use crate::policy::tags::Tags;
use crate::policy::time::Timestamp;
use crate::policy::validate;
use crate::policy::vary::Selection;

/// A stored response: one variant of a key. Never changed, only replaced; what grows within it are its bodies.
#[derive(Debug)]
pub struct StoredResponse {
    /// What the policy remembers.
    pub facts: Facts,
    /// Which requests select it.
    pub selection: Selection,
    /// Its fields as received, less those that must not be stored.
    pub fields: StoredFields,
    /// Its body as received; [`SharedBody::absent`] where there are parts.
    pub body: SharedBody,
    /// What there is of its body, where that is not all of it.
    pub parts: Option<Box<StoredParts>>,
    /// The same body in content codings that larder applied, made when first asked for.
    pub coded: Arc<CodedBodies>,
    /// Whether larder may code it: what `content::compressible` said when it arrived.
    pub compressible: bool,
    /// Whether its entity tag is one that larder made: of no use in a request to the upstream.
    pub own_tag: bool,
    /// Purge tags that the upstream gave it.
    pub tags: Tags,
    /// The purges that were known when its fetch began: of no use against any later one.
    pub epoch: Epoch,
    /// How often it answered.
    pub hits: AtomicU32,
    /// Its places in the memory tier's index, while it is there.
    pub listing: OnceLock<Option<Listing>>,
}

/// The codings of a stored response's body; shared with the response that replaces it after a validation.
#[derive(Debug, Default)]
pub struct CodedBodies(Mutex<Coded>);

/// Boxed, since most have none.
type Coded = Option<Box<Vec<(Coding, SharedBody)>>>;

impl CodedBodies {
    /// The body in a coding; `make` is called to begin one when there is none, under the lock, so that it is begun
    /// once however many ask.
    pub fn get_or_begin(&self, coding: Coding, make: impl FnOnce() -> SharedBody) -> SharedBody {
        let mut bodies = self.0.lock();
        let bodies = bodies.get_or_insert_default();
        if let Some((_, body)) = bodies.iter().find(|(of, _)| *of == coding) {
            return body.clone();
        }
        let body = make();
        bodies.push((coding, body.clone()));
        body
    }

    /// The body in a coding, if it has been begun.
    pub fn get(&self, coding: Coding) -> Option<SharedBody> {
        self.0
            .lock()
            .iter()
            .flat_map(|bodies| bodies.iter())
            .find(|(of, _)| *of == coding)
            .map(|(_, body)| body.clone())
    }

    /// Forgets a coding whose making failed.
    pub fn forget(&self, coding: Coding) {
        if let Some(bodies) = &mut *self.0.lock() {
            bodies.retain(|(of, _)| *of != coding);
        }
    }

    /// Those that are complete, each in one of these codings, with their bodies.
    pub fn complete(&self) -> Vec<(Coding, SharedBody)> {
        let bodies = self.0.lock();
        bodies.iter().flat_map(|bodies| bodies.iter()).filter(|(_, body)| body.len().is_some()).cloned().collect()
    }

    fn held(&self) -> u64 {
        self.0.lock().iter().flat_map(|bodies| bodies.iter()).map(|(_, body)| body.held()).sum()
    }
}

impl FromIterator<(Coding, SharedBody)> for CodedBodies {
    fn from_iter<T: IntoIterator<Item = (Coding, SharedBody)>>(bodies: T) -> Self {
        let bodies: Vec<_> = bodies.into_iter().collect();
        CodedBodies(Mutex::new((!bodies.is_empty()).then(|| Box::new(bodies))))
    }
}

/// What a stored response costs beside its key, fields and bodies: its own structs, its body's, its share of the
/// tier's tables, and what the allocator rounds up. Measured: with it `hit memory 100000` (see `benches/hit.rs`)
/// accounts for what becomes resident.
const OVERHEAD: u64 = 700;

impl StoredResponse {
    /// Whether a request with these fields selects it (RFC 9111 §4.1).
    pub fn is_selected_by(&self, request: &HeaderMap) -> bool {
        self.selection.is_empty() || self.selection.matches(request, self.fields.get_bytes(&header::CONTENT_LANGUAGE))
    }

    /// What it costs in bytes under a key: fields, bodies, tags and overhead.
    pub fn cost(&self, key: &CacheKey) -> u64 {
        let parts = self.parts.as_deref().map_or(0, StoredParts::held);
        let fields = (self.fields.cost() + self.selection.cost()) as u64 + index::cost(key.as_str(), &self.tags);
        OVERHEAD + fields + self.body.held() + self.coded.held() + parts
    }

    /// What a purge looks at of it.
    pub fn meta<'a>(&'a self, key: &'a CacheKey) -> Meta<'a> {
        Meta {
            key: key.as_str(),
            tags: &self.tags,
            status: self.facts.status.as_u16(),
            content_type: self.fields.get_bytes(&header::CONTENT_TYPE),
        }
    }

    /// The same, stale since a soft purge; since the first, where there are several.
    pub fn softened(&self, since: Timestamp) -> StoredResponse {
        let since = self.facts.stale_since.map_or(since, |before| before.min(since));
        StoredResponse {
            facts: Facts { stale_since: Some(since), ..self.facts.clone() },
            selection: self.selection.clone(),
            fields: self.fields.clone(),
            body: self.body.clone(),
            parts: self.parts.clone(),
            coded: self.coded.clone(),
            compressible: self.compressible,
            own_tag: self.own_tag,
            tags: self.tags.clone(),
            epoch: self.epoch,
            hits: AtomicU32::new(self.hits.load(Ordering::Relaxed)),
            listing: OnceLock::new(),
        }
    }

    /// Length of the whole body in bytes, once that is known.
    pub fn complete_length(&self) -> Option<u64> {
        self.parts.as_ref().map_or_else(|| self.body.len(), |parts| Some(parts.complete_length()))
    }

    /// The same body with other fields, and what they say; it counts on where this one was.
    pub fn revised(&self, facts: Facts, selection: Selection, headers: &HeaderMap, own_tag: bool) -> StoredResponse {
        StoredResponse {
            facts,
            selection,
            fields: StoredFields::pack(headers),
            body: self.body.clone(),
            parts: self.parts.clone(),
            coded: self.coded.clone(),
            compressible: self.compressible,
            own_tag,
            tags: self.tags.clone(),
            epoch: self.epoch,
            hits: AtomicU32::new(self.hits.load(Ordering::Relaxed)),
            listing: OnceLock::new(),
        }
    }

    /// What of `older` is still good beside this, which came later: both have the same strong validator, so that they
    /// are of one representation (RFC 9111 §3.4). `None`: nothing.
    fn combined_with(&self, older: &StoredResponse) -> Option<StoredResponse> {
        let parts = self.parts.as_ref()?;
        let tag = |response: &StoredResponse| response.fields.get(&header::ETAG).filter(|_| !response.own_tag);
        let same = validate::is_same_representation(tag(self)?, tag(older)?)
            && older.complete_length() == Some(parts.complete_length());
        if !same || self.selection != older.selection {
            return None;
        }
        let headers = self.fields.unpack(0);
        let combined = self.revised(self.facts.clone(), self.selection.clone(), &headers, false);
        // A purge since the older one was fetched is meant for it as well.
        let combined = StoredResponse { epoch: older.epoch, ..combined };
        Some(match &older.parts {
            Some(old) => StoredResponse { parts: Some(Box::new(old.keeping(parts))), ..combined },
            None => StoredResponse { parts: None, body: older.body.clone(), coded: older.coded.clone(), ..combined },
        })
    }

    /// The same, of which only these parts have come.
    pub fn in_part(&self, parts: StoredParts) -> StoredResponse {
        let revised = self.revised(self.facts.clone(), self.selection.clone(), &self.fields.unpack(0), self.own_tag);
        StoredResponse { body: SharedBody::absent(), parts: Some(Box::new(parts)), coded: Arc::default(), ..revised }
    }

    /// The same with one body, where its parts have become a whole.
    fn joined(&self) -> Option<StoredResponse> {
        let body = self.parts.as_ref()?.joined()?;
        let revised = self.revised(self.facts.clone(), self.selection.clone(), &self.fields.unpack(0), self.own_tag);
        Some(StoredResponse { body, parts: None, ..revised })
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
            .filter(|variant| variant.selection != response.selection)
            // One that began to vary replaces the one that stood for all. The other way round both stay: apps forget Vary on
            // what they send by default (RFC 9111 §4.1).
            .filter(|variant| response.selection.is_empty() || !variant.selection.is_empty())
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
        if self.variants().iter().all(|variant| variant.parts.is_none()) {
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

    /// What all variants of a key cost in bytes.
    pub fn cost(&self, key: &CacheKey) -> u64 {
        self.variants().iter().map(|variant| variant.cost(key)).sum()
    }
}
