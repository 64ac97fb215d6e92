//! Purges are there after a restart, and a damaged file never hides one.

use std::path::PathBuf;

use super::super::{Meta, Mode, PurgeLog, PurgeTarget, Verdict};
use super::*;
use crate::cache::epoch::Epoch;
use crate::policy::tags::{Tag, Tags};
use crate::policy::time::Timestamp;

const NOW: Timestamp = Timestamp::from_secs(1_000);
const LATER: Timestamp = Timestamp::from_secs(2_000);

fn path(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("purges")
}

async fn purge(log: &PurgeLog, tag: &str) -> u64 {
    let purge = Purge::new(vec![PurgeTarget::Tag(tag.to_owned())], Mode::Hard, NOW);
    let seq = log.append(purge).unwrap().seq;
    assert!(log.written(seq).await);
    seq
}

fn verdict(log: &PurgeLog, tag: &str, epoch: Epoch) -> Verdict {
    let tags = Tags::new([Tag::Named(tag)]);
    log.allows(&Meta { key: "GET http://a/", tags: &tags, status: 200, content_type: None }, epoch)
}

#[tokio::test]
async fn purges_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log = PurgeLog::open(&path(&dir), NOW);
    let before = log.begin().epoch();
    purge(&log, "one").await;
    let between = log.begin().epoch();
    let head = purge(&log, "two").await;
    drop(log);

    let log = PurgeLog::open(&path(&dir), LATER);
    assert_eq!(log.position(), head);
    for (tag, epoch, expected) in [
        ("one", before, Verdict::Purged),
        ("two", before, Verdict::Purged),
        ("one", between, Verdict::Allowed),
        ("two", between, Verdict::Purged),
        ("three", before, Verdict::Allowed),
    ] {
        assert_eq!(verdict(&log, tag, epoch), expected, "{tag}");
    }
    assert_eq!(purge(&log, "three").await, head + 1, "the sequence goes on");
}

#[tokio::test]
async fn without_the_file_all_that_was_stored_counts_as_purged() {
    let dir = tempfile::tempdir().unwrap();
    let before = PurgeLog::open(&path(&dir), NOW).begin().epoch();
    fs::remove_file(path(&dir)).unwrap();
    let log = PurgeLog::open(&path(&dir), LATER);
    assert_eq!(verdict(&log, "any", before), Verdict::Purged);
    assert_eq!(verdict(&log, "any", log.begin().epoch()), Verdict::Allowed);
}

#[tokio::test]
async fn every_flipped_byte_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let log = PurgeLog::open(&path(&dir), NOW);
    let before = log.begin().epoch();
    purge(&log, "one").await;
    purge(&log, "two").await;
    drop(log);
    let sound = fs::read(path(&dir)).unwrap();
    for at in 0..sound.len() {
        let mut flipped = sound.clone();
        flipped[at] ^= 0x10;
        fs::write(path(&dir), flipped).unwrap();
        let log = PurgeLog::open(&path(&dir), LATER);
        for tag in ["one", "two", "three"] {
            assert_eq!(verdict(&log, tag, before), Verdict::Purged, "{at}");
        }
    }
}

#[tokio::test]
async fn torn_end_is_a_purge_that_nobody_was_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let log = PurgeLog::open(&path(&dir), NOW);
    let before = log.begin().epoch();
    purge(&log, "one").await;
    let acknowledged = fs::read(path(&dir)).unwrap().len();
    purge(&log, "two").await;
    drop(log);
    let sound = fs::read(path(&dir)).unwrap();
    for end in acknowledged..sound.len() {
        fs::write(path(&dir), &sound[..end]).unwrap();
        let log = PurgeLog::open(&path(&dir), LATER);
        assert_eq!(verdict(&log, "one", before), Verdict::Purged, "{end}");
        assert_eq!(verdict(&log, "three", before), Verdict::Allowed, "{end}");
        // What is written next stands behind what could be read.
        let seq = purge(&log, "four").await;
        drop(log);
        let log = PurgeLog::open(&path(&dir), LATER);
        assert_eq!((log.position(), verdict(&log, "four", before)), (seq, Verdict::Purged), "{end}");
    }
}

#[tokio::test]
async fn forgotten_purges_leave_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let log = PurgeLog::open(&path(&dir), NOW);
    log.register("disk", log.position());
    let targets: Vec<_> = (0..5_000).map(|at| PurgeTarget::Tag(format!("tag-{at}"))).collect();
    let seq = log.append(Purge::new(targets, Mode::Hard, NOW)).unwrap().seq;
    assert!(log.written(seq).await);
    let large = fs::metadata(path(&dir)).unwrap().len();
    assert!(large > SMALL);
    log.applied("disk", seq);
    let next = purge(&log, "next").await;
    drop(log);
    assert!(fs::metadata(path(&dir)).unwrap().len() < 1024);
    let log = PurgeLog::open(&path(&dir), LATER);
    assert_eq!((log.position(), log.retained()), (next, 1));
}

#[tokio::test]
async fn purge_that_cannot_be_written_says_so_and_takes_the_file_away() {
    let dir = tempfile::tempdir().unwrap();
    let log = PurgeLog::open(&path(&dir), NOW);
    let before = log.begin().epoch();
    purge(&log, "one").await;
    // A directory in the file's place can be neither appended to nor replaced.
    fs::remove_file(path(&dir)).unwrap();
    fs::create_dir(path(&dir)).unwrap();
    let purged = Purge::new(vec![PurgeTarget::Tag("two".to_owned())], Mode::Hard, NOW);
    let seq = log.append(purged).unwrap().seq;
    assert!(!log.written(seq).await);
    assert_eq!(verdict(&log, "two", before), Verdict::Purged, "in force all the same");

    fs::remove_dir(path(&dir)).unwrap();
    let seq = purge(&log, "three").await;
    drop(log);
    let log = PurgeLog::open(&path(&dir), LATER);
    assert_eq!((log.position(), log.retained()), (seq, 3), "the whole log was written anew");
}

#[tokio::test]
async fn file_that_somebody_removed_is_made_again_by_the_next_purge() {
    let dir = tempfile::tempdir().unwrap();
    let log = PurgeLog::open(&path(&dir), NOW);
    let before = log.begin().epoch();
    purge(&log, "one").await;
    fs::remove_file(path(&dir)).unwrap();
    purge(&log, "two").await;
    drop(log);
    let log = PurgeLog::open(&path(&dir), LATER);
    assert_eq!(["one", "two", "three"].map(|tag| verdict(&log, tag, before) == Verdict::Purged), [true, true, false]);
}

#[tokio::test]
async fn a_file_that_cannot_be_made_is_told_of() {
    let log = PurgeLog::open(Path::new("/proc/no-such-directory/purges"), NOW);
    assert!(!log.written(log.position()).await && !log.kept().await);
}

#[test]
fn file_stays_given_up_when_a_write_ends_that_was_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal { work: Arc::new(Work::new(&path(&dir), 0)), writer: None };
    let begin = Record::Begin { head: 0, floor: 0, shared_floor: (0, 0), shared: (0, 0), forgotten: 0 };
    let log = PurgeLog::in_memory();
    let purge = |tag: &str| Purge::new(vec![PurgeTarget::Tag(tag.to_owned())], Mode::Hard, NOW);
    let [one, two, three] = &["one", "two", "three"].map(|tag| log.append(purge(tag)).unwrap());
    journal.write_now(&begin, 0, &VecDeque::new());
    journal.append(one);
    let under_way = journal.work.next().unwrap();
    journal.append(two);
    journal.work.give_up();
    journal.work.write(&under_way);
    assert!(journal.is_broken() && journal.has_failed() && !journal.has_written(one.seq));

    journal.write_anew(&begin, two.seq, [one, two], true);
    let anew = journal.work.next().unwrap();
    assert!(!journal.is_broken(), "what comes while it is written is appended");
    journal.append(three);
    journal.work.write(&anew);
    assert!(journal.has_written(two.seq) && !journal.has_written(three.seq));
    journal.work.write(&journal.work.next().unwrap());
    assert!(journal.has_written(three.seq));
    assert_eq!(purges_in(&fs::read(path(&dir)).unwrap()).unwrap().len(), 3);
}
