//! What may be used after which purge, and for how long purges are remembered.

use super::state::{MOST_MARKS, MOST_TARGETS};
use super::*;
use crate::policy::tags::{Tag, Tags};

const NOW: Timestamp = Timestamp::from_secs(1_000);

fn purge(target: PurgeTarget) -> Purge {
    Purge::new(vec![target], Mode::Hard, NOW)
}

fn soft(target: PurgeTarget, at: i64) -> Purge {
    Purge::new(vec![target], Mode::Soft, Timestamp::from_secs(at))
}

fn url(url: &str) -> PurgeTarget {
    PurgeTarget::Url(url.to_owned())
}

fn tag(tag: &str) -> PurgeTarget {
    PurgeTarget::Tag(tag.to_owned())
}

/// A stored response of `http://a/x` with the tag `t` and the group `g`.
fn with_meta<T>(ask: impl FnOnce(&Meta<'_>) -> T) -> T {
    let tags = Tags::new([Tag::Named("t"), Tag::Group("g")]);
    ask(&Meta { key: "GET http://a/x\nx-lang:2:de", tags: &tags, status: 200, content_type: Some(b"text/html") })
}

fn verdict(log: &PurgeLog, epoch: Epoch) -> Verdict {
    with_meta(|meta| log.allows(meta, epoch))
}

#[test]
fn what_began_before_a_matching_purge_is_purged_and_nothing_else() {
    let group = |origin: &str| PurgeTarget::Group { origin: origin.to_owned(), name: "g".to_owned() };
    for (target, matches) in [
        (url("http://a/x"), true),
        (url("http://a/xx"), false),
        (url("https://a/x"), false),
        (PurgeTarget::Key("GET http://a/x\nx-lang:2:de".into()), true),
        (PurgeTarget::Key("GET http://a/x".into()), false),
        (tag("t"), true),
        (tag("g"), false),
        (group("http://a"), true),
        (group("https://a"), false),
        (PurgeTarget::Prefix("/x".into()), true),
        (PurgeTarget::Glob("b/*".into()), false),
        (PurgeTarget::Regex("^a/x$".into()), true),
        (PurgeTarget::ContentType("text/*".into()), true),
        (PurgeTarget::Status("404".parse().unwrap()), false),
        (PurgeTarget::All, true),
    ] {
        let log = PurgeLog::in_memory();
        let before = log.begin();
        assert_eq!(verdict(&log, before.epoch()), Verdict::Allowed);
        log.append(purge(target.clone())).unwrap();
        let expected = if matches { Verdict::Purged } else { Verdict::Allowed };
        assert_eq!(verdict(&log, before.epoch()), expected, "{target}");
        assert_eq!(verdict(&log, log.begin().epoch()), Verdict::Allowed, "{target}");
    }
}

#[test]
fn soft_purge_is_stale_since_the_first_and_a_hard_one_goes_before_it() {
    let log = PurgeLog::in_memory();
    let before = log.begin().epoch();
    log.append(soft(tag("t"), 20)).unwrap();
    let between = log.begin().epoch();
    log.append(soft(url("http://a/x"), 30)).unwrap();
    log.append(soft(PurgeTarget::All, 40)).unwrap();
    let since = |at| Verdict::SoftPurged { since: Timestamp::from_secs(at) };
    assert_eq!((verdict(&log, before), verdict(&log, between)), (since(20), since(30)));
    log.append(purge(PurgeTarget::Glob("a/*".into()))).unwrap();
    assert_eq!(verdict(&log, before), Verdict::Purged);
}

#[test]
fn repeated_purges_of_a_name_are_bounded() {
    let log = PurgeLog::in_memory();
    let before = log.begin().epoch();
    for at in 0..1000 {
        log.append(soft(tag("t"), at)).unwrap();
    }
    assert!(log.state.read().tags["t"].len() <= MOST_MARKS);
    assert_eq!(verdict(&log, before), Verdict::SoftPurged { since: Timestamp::from_secs(0) });
    log.append_shared(purge(tag("t")), (1, 0));
    log.append_shared(purge(tag("t")), (2, 0));
    // Those that have no place among the nodes' yet still count for what others stored.
    assert_eq!(log.state.read().tags["t"].iter().filter(|mark| mark.shared().is_some()).count(), 1);
}

#[test]
fn hard_purge_of_another_node_outlasts_soft_ones_that_are_not_shared() {
    for target in [tag("t"), PurgeTarget::Prefix("/x".into())] {
        let log = PurgeLog::in_memory();
        for at in 0..MOST_MARKS as i64 {
            log.append(soft(target.clone(), at)).unwrap();
        }
        log.append_shared(purge(target.clone()), (9, 0));
        for at in 0..2 {
            log.append(soft(target.clone(), at)).unwrap();
        }
        let of_another = Epoch { local: 1, shared: (8, 0) };
        assert_eq!(with_meta(|meta| log.allows_shared(meta, of_another)), Verdict::Purged, "{target}");
    }
}

#[test]
fn epochs_that_are_not_of_this_log_are_purged() {
    let log = Arc::new(PurgeLog::beginning_at(1_000_000, None));
    let Epoch { local, shared } = log.begin().epoch();
    log.append(purge(url("http://other/"))).unwrap();
    for (local, expected) in [
        (local, Verdict::Allowed),
        (local - 1, Verdict::Purged),
        (0, Verdict::Purged),
        (local + 1, Verdict::Allowed),
        (local + 2, Verdict::Purged),
    ] {
        assert_eq!(verdict(&log, Epoch { local, shared }), expected, "{local}");
    }
}

#[test]
fn purges_are_forgotten_when_every_tier_and_fetch_is_past_them() {
    let log = PurgeLog::in_memory();
    log.register("memory", log.position());
    log.register("disk", log.position());
    let fetch = log.begin();
    let seq = log.append(purge(tag("t"))).unwrap().seq;
    assert_eq!(log.since(fetch.epoch().local).len(), 1);
    log.applied("memory", seq);
    log.applied("disk", seq);
    assert_eq!((log.retained(), verdict(&log, fetch.epoch())), (1, Verdict::Purged), "a fetch began before");
    drop(fetch);
    log.applied("disk", seq);
    assert_eq!(log.retained(), 0);
    assert!(log.state.read().tags.is_empty() && log.state.read().by_id.is_empty());

    let last = log.append(purge(PurgeTarget::All)).unwrap().seq;
    log.applied("memory", last);
    assert_eq!(log.retained(), 1, "the disk tier has not");
    log.unregister("disk");
    log.applied("memory", last);
    assert!(log.retained() == 0 && log.state.read().patterns.is_empty());
}

#[test]
fn too_many_purges_come_to_mean_everything() {
    let log = PurgeLog::in_memory();
    log.register("disk", log.position());
    let before = log.begin().epoch();
    for from in (0..=MOST_TARGETS).step_by(10_000) {
        let targets = (from..from + 10_000).map(|at| tag(&at.to_string())).collect();
        log.append(Purge::new(targets, Mode::Hard, NOW)).unwrap();
    }
    assert_eq!((log.retained(), log.state.read().targets), (1, 1));
    assert_eq!(verdict(&log, before), Verdict::Purged);
    assert_eq!(verdict(&log, log.begin().epoch()), Verdict::Allowed);
}

#[test]
fn purges_of_other_nodes_count_by_the_shared_sequence() {
    let log = PurgeLog::in_memory();
    log.reached((7, 0));
    let epoch = log.begin().epoch();
    assert_eq!(epoch.shared, (7, 0));
    let other = Epoch { local: 1, shared: (8, 0) };
    let shared = |epoch| with_meta(|meta| log.allows_shared(meta, epoch));

    log.append_shared(purge(tag("t")), (9, 1));
    assert_eq!((shared(epoch), shared(other), log.shared_position()), (Verdict::Purged, Verdict::Purged, (9, 1)));
    assert_eq!(shared(Epoch { local: 1, shared: (9, 1) }), Verdict::Allowed);

    // One of our own has no place before it is delivered: until then whatever others stored may be older.
    let own = purge(url("http://a/x"));
    let logged = log.append(own.clone()).unwrap();
    assert_eq!(shared(Epoch { local: 1, shared: (99, 0) }), Verdict::Purged);
    assert_eq!(log.unshared().len(), 1);
    let (known, is_new) = log.append_shared(own, (50, 0));
    assert!(Arc::ptr_eq(&known, &logged) && !is_new, "it is not logged twice");
    assert_eq!(shared(Epoch { local: 1, shared: (99, 0) }), Verdict::Allowed);
    assert_eq!(shared(Epoch { local: 1, shared: (49, 0) }), Verdict::Purged);

    log.raise_shared_floor((60, 0));
    assert_eq!(shared(Epoch { local: 1, shared: (59, 9) }), Verdict::Purged);
}

#[test]
fn purge_that_this_version_cannot_read_means_everything() {
    let log = PurgeLog::in_memory();
    let before = log.begin().epoch();
    assert!(log.append(purge(PurgeTarget::Regex("(".into()))).is_err());
    assert_eq!(verdict(&log, before), Verdict::Allowed);
    log.append_shared(purge(PurgeTarget::Regex("(".into())), (1, 1));
    assert_eq!(verdict(&log, before), Verdict::Purged);
}

#[test]
fn what_another_has_purged_meanwhile_is_told_from_ones_own_purge() {
    let target = || url("http://a/x");
    // Purges in their order; the one of its own, and whether any other matches.
    for (purges, own, overtaken) in [
        (vec![purge(target())], 0, false),
        (vec![purge(target()), purge(target())], 0, true),
        (vec![purge(target()), purge(target())], 1, true),
        (vec![soft(target(), 5), purge(target())], 1, true),
        (vec![purge(tag("t")), purge(target())], 1, true),
        (vec![purge(PurgeTarget::Prefix("/x".into())), purge(target())], 1, true),
        (vec![purge(url("http://a/y")), purge(target()), purge(tag("other"))], 1, false),
    ] {
        let log = PurgeLog::in_memory();
        let text = format!("{purges:?} {own}");
        log.append(purge(PurgeTarget::All)).unwrap();
        let began = log.begin();
        let logged: Vec<_> = purges.into_iter().map(|purge| log.append(purge).unwrap()).collect();
        assert_eq!(with_meta(|meta| log.is_overtaken(meta, began.epoch(), &logged[own])), overtaken, "{text}");
    }
}
