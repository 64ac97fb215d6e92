//! Two processes on one directory: what either purges holds for what both have stored, and over a restart.

use tempfile::TempDir;

use super::super::Verdict;
use super::*;
use crate::cache::epoch::Epoch;
use crate::cache::purge::Meta;
use crate::policy::tags::{Tag, Tags};

const NOW: Timestamp = Timestamp::from_secs(1_000);
const LATER: Timestamp = Timestamp::from_secs(2_000);
const LAST: Timestamp = Timestamp::from_secs(3_000);

/// A directory with the log of the process that has it.
fn directory() -> (TempDir, PathBuf, Arc<PurgeLog>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("purges");
    let log = PurgeLog::open(&path, NOW);
    log.register("disk", log.position());
    (directory, path, log)
}

async fn purge(log: &PurgeLog, tag: &str) {
    let logged = log.append(Purge::new(vec![PurgeTarget::Tag(tag.to_owned())], Mode::Hard, NOW)).unwrap();
    assert!(log.written(logged.seq).await && log.has_written(&logged.purge.id));
}

fn is_purged(log: &PurgeLog, tag: &str, epoch: Epoch) -> bool {
    let tags = Tags::new([Tag::Named(tag)]);
    let meta = Meta { key: "GET http://a/", tags: &tags, status: 200, content_type: None };
    log.allows(&meta, epoch) == Verdict::Purged
}

/// Which of these tags are purged for what was stored at a time.
fn purged<'a>(log: &PurgeLog, epoch: Epoch, tags: &[&'a str]) -> Vec<&'a str> {
    tags.iter().copied().filter(|tag| is_purged(log, tag, epoch)).collect()
}

fn tags(heard: Option<Heard>) -> Vec<String> {
    let purges = heard.map(|heard| heard.purges).unwrap_or_default();
    purges.iter().flat_map(|logged| &logged.purge.targets).map(PurgeTarget::to_string).collect()
}

fn is_all(logged: &Logged) -> bool {
    logged.purge.targets == [PurgeTarget::All]
}

fn files(directory: &TempDir) -> Vec<String> {
    let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

const ALL: [&str; 6] = ["early", "between", "late", "new", "after", "other"];

#[tokio::test]
async fn purges_of_both_processes_hold_after_a_take_over_and_what_was_stored_is_of_use() {
    let (directory, path, old) = directory();
    purge(&old, "early").await;
    let on_disk = old.begin().epoch();
    purge(&old, "between").await;
    let new = PurgeLog::aside(&path, LATER);
    new.register("disk", new.first_outstanding());
    assert_eq!(purged(&new, on_disk, &ALL), ["between"]);
    let in_memory = new.begin().epoch();
    purge(&new, "new").await;
    purge(&old, "late").await;
    assert_eq!((tags(new.news()), tags(new.news())), (vec!["tag late".to_owned()], vec![]));
    purge(&old, "after").await;
    drop(old);

    fs::create_dir(path.with_extension("new")).unwrap();
    assert_eq!(tags(new.take_place()), ["tag after"]);
    assert!(!new.written(new.position()).await, "beside is not in its place");
    fs::remove_dir(path.with_extension("new")).unwrap();
    new.take_place();
    assert!(new.written(new.position()).await);
    new.drop_told();
    assert_eq!(files(&directory), ["purges"]);
    for log in [new, PurgeLog::open(&path, LAST)] {
        assert_eq!(purged(&log, on_disk, &ALL), ["between", "late", "new", "after"]);
        assert_eq!(purged(&log, in_memory, &ALL), ["late", "new", "after"]);
        assert_eq!(purged(&log, log.begin().epoch(), &ALL), [""; 0]);
    }
}

#[tokio::test]
async fn purge_of_a_process_that_ended_while_it_waited_holds_after_a_restart() {
    let (directory, path, old) = directory();
    purge(&old, "early").await;
    let on_disk = old.begin().epoch();
    let new = PurgeLog::aside(&path, LATER);
    assert_eq!(files(&directory), ["purges"], "nothing is to be said beside it yet");
    purge(&new, "new").await;
    drop((new, old));
    for _ in 0..2 {
        let log = PurgeLog::open(&path, LAST);
        assert_eq!(purged(&log, on_disk, &ALL), ["new"]);
        assert_eq!(purged(&log, log.begin().epoch(), &ALL), [""; 0]);
        assert_eq!(files(&directory), ["purges"]);
    }
}

#[tokio::test]
async fn purge_of_a_successor_that_ended_holds_for_the_process_that_goes_on() {
    let (_directory, path, old) = directory();
    let before = old.begin().epoch();
    let new = PurgeLog::aside(&path, LATER);
    purge(&new, "new").await;
    drop(new);
    assert_eq!(tags(old.overhear()), ["tag new"]);
    assert_eq!(purged(&old, before, &ALL), ["new"]);
    assert!(old.written(old.position()).await);
    old.drop_told();
    drop(old);
    assert_eq!(purged(&PurgeLog::open(&path, LAST), before, &ALL), ["new"]);
}

#[tokio::test]
async fn what_another_stored_counts_as_purged_where_its_order_with_ones_own_purges_is_not_known() {
    for damage in [None, Some(true), Some(false)] {
        let (_directory, path, old) = directory();
        let waiting = PurgeLog::aside(&path, LATER);
        purge(&waiting, "new").await;
        drop(old);
        // Another that waited, but not for as long, was first.
        let other = PurgeLog::aside(&path, LAST);
        other.take_place();
        purge(&other, "early").await;
        let on_disk = other.begin().epoch();
        drop(other);
        match damage {
            Some(true) => {
                let mut bytes = fs::read(&path).unwrap();
                bytes[30] ^= 1;
                fs::write(&path, bytes).unwrap();
            }
            Some(false) => fs::remove_file(&path).unwrap(),
            None => {}
        }
        let fetched = waiting.begin().epoch();
        assert_eq!(tags(waiting.take_place()).last().map(String::as_str), Some("*"), "memory is told");
        assert!(purged(&waiting, fetched, &ALL) == ALL && waiting.unshared().iter().all(|own| !is_all(own)));
        assert!(waiting.written(waiting.position()).await);
        for log in [waiting, PurgeLog::open(&path, LAST)] {
            assert_eq!(purged(&log, on_disk, &ALL), ALL, "{damage:?}");
            assert_eq!(purged(&log, log.begin().epoch(), &ALL), [""; 0]);
        }
    }
}

#[tokio::test]
async fn purges_that_the_other_forgot_before_they_were_heard_count_as_everything() {
    for (heard, takes_place) in [(true, false), (false, false), (false, true)] {
        let (_directory, path, old) = directory();
        let new = PurgeLog::aside(&path, LATER);
        let fetched = new.begin().epoch();
        // So many that the file is written anew as soon as they are worked off.
        let targets = (0..5_000).map(|at| PurgeTarget::Tag(format!("tag-{at}"))).collect();
        let many = old.append(Purge::new(targets, Mode::Hard, NOW)).unwrap();
        assert!(old.written(many.seq).await);
        if heard {
            assert_eq!(tags(new.news()).len(), 5_000);
        }
        old.applied("disk", many.seq);
        purge(&old, "late").await;
        let told = match takes_place {
            true => {
                drop(old);
                new.take_place()
            }
            false => new.news(),
        };
        let expected: &[&str] = if heard { &["tag late"] } else { &["tag late", "*"] };
        assert_eq!(tags(told), expected, "{takes_place}");
        assert_eq!(purged(&new, fetched, &ALL) == ALL, !heard);
        assert_eq!((tags(new.news()), new.unshared().iter().any(|own| is_all(own))), (vec![], false));
    }
}

#[tokio::test]
async fn what_a_successor_left_is_told_once() {
    for damaged in [false, true] {
        let (directory, path, log) = directory();
        let successor = PurgeLog::aside(&path, LATER);
        purge(&successor, "new").await;
        drop(successor);
        if damaged {
            let left = files(&directory).into_iter().find(|name| name != "purges").unwrap();
            let mut bytes = fs::read(directory.path().join(&left)).unwrap();
            bytes[30] ^= 1;
            fs::write(directory.path().join(&left), bytes).unwrap();
        }
        let told = tags(log.overhear());
        assert_eq!(told.last().map(String::as_str), Some(if damaged { "*" } else { "tag new" }));
        log.applied("disk", log.position());
        assert_eq!(tags(log.overhear()), [""; 0], "{damaged}");
        assert!(log.written(log.position()).await && log.unshared().iter().all(|own| !is_all(own)));
        log.drop_told();
        assert_eq!(files(&directory), ["purges"]);
    }
}

#[tokio::test]
async fn what_could_not_be_written_is_when_that_works_again() {
    let (_directory, path, log) = directory();
    let before = log.begin().epoch();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let logged = log.append(Purge::new(vec![PurgeTarget::Tag("new".to_owned())], Mode::Hard, NOW)).unwrap();
    assert!(!log.written(logged.seq).await && !log.has_written(&logged.purge.id));
    fs::remove_dir(&path).unwrap();
    log.take_place();
    assert!(log.written(logged.seq).await && log.has_written(&logged.purge.id));
    drop(log);
    assert_eq!(purged(&PurgeLog::open(&path, LAST), before, &ALL), ["new"]);
}
