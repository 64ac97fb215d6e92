//! What tells a stored response from others of its key, and from those that were purged.

use crate::cache::epoch::Epoch;
use crate::cache::parts::StoredParts;
use crate::policy::tags::Tags;
use crate::policy::vary::Selection;

/// Marks of a stored response. Most have only the first.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// [`Epoch::local`].
    local: u64,
    rare: Option<Box<Rare>>,
}

#[derive(Clone, Debug)]
struct Rare {
    /// [`Epoch::shared`].
    shared: (u64, u64),
    selection: Selection,
    tags: Tags,
    parts: Option<Box<StoredParts>>,
}

static NONE: Rare = Rare { shared: (0, 0), selection: Selection::ANY, tags: Tags::NONE, parts: None };

impl Marks {
    /// Of one whose fetch began when these purges were known: of no use against any later one.
    pub fn since(epoch: Epoch) -> Self {
        Marks::default().known(epoch)
    }

    /// With another epoch.
    #[must_use]
    pub fn known(mut self, epoch: Epoch) -> Self {
        self.local = epoch.local;
        self.set(epoch.shared != NONE.shared, |rare| rare.shared = epoch.shared)
    }

    /// With what selects it.
    #[must_use]
    pub fn selected_by(self, selection: Selection) -> Self {
        self.set(!selection.is_empty(), |rare| rare.selection = selection)
    }

    /// With purge tags that the upstream gave it.
    #[must_use]
    pub fn tagged(self, tags: Tags) -> Self {
        self.set(!tags.is_empty(), |rare| rare.tags = tags)
    }

    /// With what there is of its body, where that is not all of it.
    #[must_use]
    pub fn in_parts(self, parts: Option<Box<StoredParts>>) -> Self {
        self.set(parts.is_some(), |rare| rare.parts = parts)
    }

    fn set(mut self, is_there: bool, set: impl FnOnce(&mut Rare)) -> Self {
        if is_there && self.rare.is_none() {
            self.rare = Some(Box::new(NONE.clone()));
        }
        if let Some(rare) = self.rare.as_deref_mut() {
            set(rare);
        }
        self
    }

    fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(&NONE)
    }

    /// The purges that were known when its fetch began.
    pub fn epoch(&self) -> Epoch {
        Epoch { local: self.local, shared: self.rare().shared }
    }

    /// Which requests select it.
    pub fn selection(&self) -> &Selection {
        &self.rare().selection
    }

    /// Its purge tags.
    pub fn tags(&self) -> &Tags {
        &self.rare().tags
    }

    /// The parts that there are.
    pub fn parts(&self) -> Option<&StoredParts> {
        self.rare().parts.as_deref()
    }

    /// Bytes beside its own size, without those of the parts.
    pub(super) fn cost(&self) -> usize {
        self.rare.as_deref().map_or(0, |rare| size_of::<Rare>() + rare.selection.cost())
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;
    use crate::policy::tags::Tag;

    #[test]
    fn marks_are_kept_apart_and_most_take_no_room() {
        let tags = Tags::new([Tag::Named("t")]);
        let selection = Selection::of_names(&[header::ACCEPT_LANGUAGE], &http::HeaderMap::new());
        let (here, everywhere) = (Epoch { local: 7, shared: (0, 0) }, Epoch { local: 8, shared: (1, 2) });
        let plain = Marks::since(here).selected_by(Selection::ANY).tagged(Tags::NONE).in_parts(None);
        assert_eq!((plain.epoch(), plain.cost(), plain.selection().is_empty()), (here, 0, true));
        assert!(plain.tags().is_empty() && plain.parts().is_none());
        let marked = plain.tagged(tags.clone()).known(everywhere).selected_by(selection.clone());
        assert_eq!((marked.epoch(), marked.tags(), marked.selection()), (everywhere, &tags, &selection));
        let without = marked.clone().known(here).tagged(Tags::NONE).selected_by(Selection::ANY);
        assert_eq!((without.epoch(), without.tags(), without.selection()), (here, &Tags::NONE, &Selection::ANY));
        assert_eq!(marked.epoch(), everywhere);
    }
}
