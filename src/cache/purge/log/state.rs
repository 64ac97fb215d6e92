//! What the log remembers: purges in their order, found by what they name, and what they say of a stored response.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Logged, Shared, Verdict, logged};
use crate::cache::purge::target::{Meta, Mode, Purge, PurgeTarget, group_name};
use crate::policy::time::Timestamp;

/// Targets that are remembered; beyond, what is outstanding is taken together to mean everything.
pub(super) const MOST_TARGETS: usize = 200_000;
/// Marks of one name, before soft ones are thinned out.
pub(super) const MOST_MARKS: usize = 32;

/// The purges that are remembered, and where each tier is among them.
#[derive(Debug, Default)]
pub(super) struct State {
    /// What began before this is taken to be purged: more is not known of that time.
    pub(super) floor: u64,
    pub(super) shared_floor: Shared,
    /// The last purge that was dropped, and is not remembered any more.
    pub(super) forgotten: u64,
    /// In order; the last ones are the newest.
    pub(super) retained: VecDeque<Arc<Logged>>,
    pub(super) by_id: HashMap<String, Arc<Logged>>,
    pub(super) targets: usize,
    urls: Marks,
    keys: Marks,
    pub(super) tags: Marks,
    /// Those that have patterns.
    pub(super) patterns: Vec<Arc<Logged>>,
    /// How far each tier has applied the log.
    pub(super) tiers: HashMap<&'static str, u64>,
}

type Marks = HashMap<Box<str>, SmallVec<[Arc<Logged>; 1]>>;

impl State {
    /// Nothing is remembered, and what began before `first` counts as purged.
    pub(super) fn beginning_at(first: u64) -> Self {
        State { floor: first, ..State::default() }
    }

    /// Lists a purge, the newest.
    pub(super) fn retain(&mut self, logged: Arc<Logged>) {
        for target in &logged.purge.targets {
            if let Some((marks, name)) = self.marks_of(target) {
                let marks = marks.entry(name.into()).or_default();
                // Those before it say nothing that it does not.
                if logged.purge.mode == Mode::Hard {
                    marks.retain(|earlier| earlier.shared_or_last() > logged.shared_or_last());
                }
                if marks.len() >= MOST_MARKS
                    && let Some(at) = marks.iter().rposition(|mark| mark.purge.mode == Mode::Soft)
                {
                    // Who began before it counts as stale a little later. A hard one may be last, and says more.
                    marks.remove(at);
                }
                marks.push(logged.clone());
            }
        }
        if !logged.patterns.is_empty() {
            self.retain_patterns(&logged);
        }
        self.targets += logged.purge.targets.len();
        self.by_id.insert(logged.purge.id.clone(), logged.clone());
        self.retained.push_back(logged);
    }

    /// Lists a purge that has patterns. What is purged again and again, as by the rule of a route, is looked at once.
    fn retain_patterns(&mut self, logged: &Arc<Logged>) {
        let is_same = |earlier: &Logged| earlier.purge.targets == logged.purge.targets;
        if logged.purge.mode == Mode::Hard {
            // As above: those before it say nothing that it does not.
            self.patterns.retain(|earlier| !is_same(earlier) || earlier.shared_or_last() > logged.shared_or_last());
        } else if self.patterns.iter().filter(|earlier| is_same(earlier)).count() >= MOST_MARKS
            && let Some(at) =
                self.patterns.iter().rposition(|earlier| is_same(earlier) && earlier.purge.mode == Mode::Soft)
        {
            self.patterns.remove(at);
        }
        self.patterns.push(logged.clone());
    }

    /// Where more is remembered than there is room for, the newest purge comes to mean everything.
    pub(super) fn bound(&mut self) {
        if self.targets <= MOST_TARGETS {
            return;
        }
        let Some(newest) = self.retained.back().cloned() else { return };
        tracing::warn!(most = MOST_TARGETS, "too many purges are outstanding: taken together to mean everything");
        let at = Timestamp::from_millis(newest.purge.at);
        let all = logged(newest.seq, Purge::new(vec![PurgeTarget::All], Mode::Hard, at), newest.shared());
        self.forget(newest.seq);
        self.retain(all);
    }

    /// Drops purges up to a sequence number.
    pub(super) fn forget(&mut self, seq: u64) {
        while let Some(logged) = self.retained.front().filter(|logged| logged.seq <= seq).cloned() {
            self.retained.pop_front();
            self.forgotten = logged.seq;
            self.by_id.remove(&logged.purge.id);
            self.targets -= logged.purge.targets.len();
            for target in &logged.purge.targets {
                let Some((marks, name)) = self.marks_of(target) else { continue };
                if let Some(listed) = marks.get_mut(&*name) {
                    listed.retain(|other| other.seq > seq);
                    if listed.is_empty() {
                        marks.remove(&*name);
                    }
                }
            }
        }
        self.patterns.retain(|logged| logged.seq > seq);
    }

    /// Where a target that is no pattern is listed, and under which name.
    fn marks_of<'a>(&mut self, target: &'a PurgeTarget) -> Option<(&mut Marks, std::borrow::Cow<'a, str>)> {
        match target {
            PurgeTarget::Url(url) => Some((&mut self.urls, url.into())),
            PurgeTarget::Key(key) => Some((&mut self.keys, key.into())),
            PurgeTarget::Tag(tag) => Some((&mut self.tags, tag.into())),
            PurgeTarget::Group { origin, name } => Some((&mut self.tags, group_name(origin, name).into())),
            _ => None,
        }
    }

    /// What the purges that `is_since` picks say of a stored response: a hard one goes before any soft one, and of soft
    /// ones the first counts.
    pub(super) fn verdict(&self, meta: &Meta<'_>, is_since: impl Fn(&Logged) -> bool) -> Verdict {
        let (mut purged, mut soft) = (false, None);
        let mut consider = |logged: &Logged| match logged.purge.mode {
            Mode::Hard => purged = true,
            Mode::Soft => soft = Some(soft.map_or(logged.purge.at, |at: i64| at.min(logged.purge.at))),
        };
        let mut consider_marks = |marks: &Marks, name: &str| {
            for logged in marks.get(name).into_iter().flatten().filter(|logged| is_since(logged)) {
                consider(logged);
            }
        };
        consider_marks(&self.urls, meta.url());
        consider_marks(&self.keys, meta.key);
        if !self.tags.is_empty() {
            meta.tag_names().for_each(|name| consider_marks(&self.tags, &name));
        }
        for logged in self.patterns.iter().filter(|logged| is_since(logged)) {
            if logged.patterns.find(meta).is_some() {
                consider(logged);
            }
        }
        match (purged, soft) {
            (true, _) => Verdict::Purged,
            (false, Some(at)) => Verdict::SoftPurged { since: Timestamp::from_millis(at) },
            (false, None) => Verdict::Allowed,
        }
    }
}
