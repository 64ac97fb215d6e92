//! The directory: of another process, in trouble, removed, or with what does not belong in it.

use super::*;

#[tokio::test]
async fn directory_in_use_is_left_alone_until_it_is_free() {
    let directory = directory();
    let first = loaded(directory.path()).await;
    let second = open(directory.path(), 1 << 30);
    assert_eq!(second.figures().state, "in-use");
    assert!(!second.may_hold(slot("/x")), "nothing is looked for");
    store(&second, "/x", b"x").await;
    assert!(!first.may_hold(slot("/x")));
    drop(first);
    until(|| second.is_on()).await;
    store(&second, "/x", b"x").await;
    assert!(load(&second, "/x").await.is_some());
}

/// A directory that cannot be made, because a file is in its place, is the plainest disk that fails.
#[tokio::test]
async fn disk_that_fails_is_left_alone_until_it_works() {
    let directory = directory();
    let path = directory.path().join("cache");
    fs::write(&path, "in the way").unwrap();
    let tier = open(&path, 1 << 30);
    assert_eq!(tier.figures().state, "failing");
    store(&tier, "/x", b"x").await;
    assert!(load(&tier, "/x").await.is_none());
    assert!(tier.spill(&key("/x"), &response(SharedBody::complete(b""))).await.is_none());
    fs::remove_file(&path).unwrap();
    until(|| tier.is_on()).await;
    store(&tier, "/x", b"x").await;
    assert!(load(&tier, "/x").await.is_some());
}

#[tokio::test]
async fn records_of_the_process_before_are_of_use_once_the_directory_is_free_and_its_purges_hold() {
    let directory = directory();
    let first = loaded(directory.path()).await;
    let log = first.purge_log(clock().now());
    for path in ["/a", "/b", "/c", "/d"] {
        store_tagged(&first, path, &path[1..], log.begin().epoch()).await;
    }
    let second = open(directory.path(), 1 << 30);
    let later = second.purge_log(clock().now());
    later.register("disk", later.first_outstanding());
    let mut heard = second.hear();
    purge(&later, PurgeTarget::Tag("a".into()), Mode::Hard);
    purge(&log, PurgeTarget::Tag("b".into()), Mode::Hard);
    let soon = heard.recv().await.unwrap();
    assert_eq!(soon.purges[0].purge.targets, [PurgeTarget::Tag("b".into())], "while it waits");
    purge(&log, PurgeTarget::Tag("c".into()), Mode::Hard);
    assert!(log.written(log.position()).await);
    drop((first, log));
    until(|| second.is_on() && second.is_loaded()).await;
    assert_eq!(heard.recv().await.unwrap().purges[0].purge.targets, [PurgeTarget::Tag("c".into())]);
    tokio::spawn(second.clone().apply_purges(later.clone()));
    until(|| later.applied_by("disk") == Some(later.position())).await;
    let found = ["/a", "/b", "/c", "/d"].map(|path| second.may_hold(slot(path)));
    assert_eq!(found, [false, false, false, true]);
    assert!(load(&second, "/d").await.is_some());
}

#[tokio::test]
async fn tier_without_its_directory_does_not_say_that_a_purge_matched_nothing() {
    let directory = directory();
    let first = loaded(directory.path()).await;
    store(&first, "/x", b"x").await;
    let second = open(directory.path(), 1 << 30);
    let log = PurgeLog::in_memory();
    let all = log.append(Purge::new(vec![PurgeTarget::All], Mode::Hard, clock().now())).unwrap();
    assert_eq!((second.purge(&all), first.purge(&all)), (None, Some(1)));
}

#[tokio::test]
async fn directory_that_is_removed_is_made_again() {
    for lost in ["", "records", "new"] {
        let directory = directory();
        let path = directory.path().join("cache");
        let tier = loaded(&path).await;
        let log = tier.purge_log(clock().now());
        store_tagged(&tier, "/before", "t", log.begin().epoch()).await;
        fs::remove_dir_all(path.join(lost)).unwrap();
        store(&tier, "/missed", b"x").await;
        assert_eq!((tier.figures().state, tier.figures().errors), ("failing", 1), "{lost}");
        until(|| tier.is_on()).await;
        let epoch = log.begin().epoch();
        store_tagged(&tier, "/after", "t", epoch).await;
        spill(&tier, "/large", &bytes(5 * BLOCK)).await;
        let before = if lost == "new" { 1 } else { 0 };
        assert_eq!(tier.figures().entries, 2 + before, "{lost}");
        assert!(log.written(log.position()).await);
        drop((tier, log));
        let again = loaded(&path).await;
        let log = again.purge_log(clock().now());
        let kept = load(&again, "/after").await.unwrap();
        assert_eq!(log.allows(&kept.meta(&key("/after")), kept.epoch()), Verdict::Allowed, "{lost}");
        assert_eq!(open(&path, 1 << 30).figures().state, "in-use", "{lost}");
    }
}

#[tokio::test]
async fn directory_in_the_place_of_a_record_is_a_broken_record() {
    let directory = directory();
    let (tier, log) = purging(directory.path()).await;
    let in_the_way = |path: &str| {
        let file = file(&directory, path);
        let _ = fs::remove_file(&file);
        fs::create_dir(&file).unwrap();
        fs::write(file.join("foreign"), "?").unwrap();
        file
    };
    store_tagged(&tier, "/read", "t", log.begin().epoch()).await;
    let gone = in_the_way("/read");
    assert!(load(&tier, "/read").await.is_none());
    until(|| !gone.exists()).await;

    in_the_way("/stored");
    store_tagged(&tier, "/stored", "t", log.begin().epoch()).await;
    assert!(load(&tier, "/stored").await.is_some());

    let gone = in_the_way("/stored");
    purge(&log, PurgeTarget::Tag("t".into()), Mode::Hard);
    until(|| !gone.exists()).await;

    spill(&tier, "/large", &bytes(5 * BLOCK)).await;
    let found = load(&tier, "/large").await.unwrap();
    in_the_way("/large");
    assert!(found.body.stored().unwrap().open().await.is_none());
    assert_eq!((tier.figures().state, tier.figures().errors), ("on", 0));

    let bare = self::directory();
    fs::create_dir_all(file(&bare, "/start")).unwrap();
    let tier = loaded(bare.path()).await;
    assert_eq!((tier.figures().entries, tier.figures().state), (0, "on"));
    assert!(!file(&bare, "/start").exists());
}

#[tokio::test]
async fn what_cannot_be_deleted_is_owed_until_it_is() {
    let directory = directory();
    let tier = loaded(directory.path()).await;
    store(&tier, "/x", b"x").await;
    let (file, aside) = (file(&directory, "/x"), directory.path().join("aside"));
    let shard = file.parent().unwrap();
    fs::rename(shard, &aside).unwrap();
    fs::write(shard, "in the way").unwrap();
    let nothing_is_owed = || {
        let (tell, told) = oneshot::channel();
        tier.0.chores.send(Chore::Tell(tell)).unwrap();
        told
    };
    tier.0.discard(slot("/x"));
    let first = nothing_is_owed();
    tier.0.chores.send(Chore::DeleteOwed).unwrap();
    let again = nothing_is_owed();
    assert_eq!((first.await, again.await), (Ok(false), Ok(false)));
    fs::remove_file(shard).unwrap();
    fs::rename(&aside, shard).unwrap();
    until(|| tier.is_on() && !file.exists()).await;
    assert_eq!(nothing_is_owed().await, Ok(true));
}
