//! No file may be there that the index does not know: no purge finds it, and the next start would bring it back.

use super::*;

#[tokio::test]
async fn what_goes_for_a_record_is_deleted_though_nobody_waits_for_that_record_any_more() {
    let directory = directory();
    let tier = open(directory.path(), 16 << 20);
    until(|| tier.is_loaded()).await;
    let body = bytes(100_000);
    for number in 0..200 {
        store(&tier, &format!("/{number}"), &body).await;
    }
    let evictions = tier.figures().evictions;
    let record = Record::Response(key("/late"), Arc::new(response(SharedBody::complete(&body))));
    let late = tier.0.clone().unless_late(GivenUp::new(true.into()), slot("/late"), move |writer| {
        writer.write_record(slot("/late"), &record)
    });
    tokio::task::spawn_blocking(|| drop(late())).await.unwrap();
    assert!(tier.figures().evictions > evictions && !tier.may_hold(slot("/late")));
    let files = || {
        let mut files = 0;
        tier.0.files().unwrap().list(|_| files += 1).unwrap();
        files
    };
    until(|| files() == tier.figures().entries).await;
}

#[test]
fn record_that_is_stored_just_when_a_look_up_finds_nothing_leaves_no_file_that_is_not_known() {
    // With one thread for all that blocks, what was asked first is done first.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let directory = directory();
        let tier = loaded(directory.path()).await;
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || held.recv());
        let mut look_up = tier.load(slot("/x"));
        assert!(futures_util::poll!(&mut look_up).is_pending());
        drop(let_go);
        store(&tier, "/x", b"x").await;
        assert!(look_up.await.is_none());
        until(|| tier.may_hold(slot("/x")) == file(&directory, "/x").exists()).await;
    });
}
