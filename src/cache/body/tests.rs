//! Bodies that are filled, read and cut.

use std::task::{Context, Poll, Waker};

use super::*;

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Reads what is there now: the bytes, and whether the end (or the cut) was reached.
fn read(reader: &mut BodyReader) -> (Vec<u8>, Option<Result<(), CutBody>>) {
    let mut bytes = Vec::new();
    loop {
        match reader.poll_next(&mut cx()) {
            Poll::Ready(Some(Ok(Piece::Data(data)))) => bytes.extend_from_slice(&data),
            Poll::Ready(Some(Ok(Piece::Trailers(_)))) => {}
            Poll::Ready(Some(Err(cut))) => return (bytes, Some(Err(cut))),
            Poll::Ready(None) => return (bytes, Some(Ok(()))),
            Poll::Pending => return (bytes, None),
        }
    }
}

#[test]
fn readers_follow_a_growing_body_each_at_its_own_pace() {
    let (body, mut filler) = SharedBody::growing();
    let (mut early, mut slow) = (body.reader().unwrap(), body.reader().unwrap());
    filler.push(Bytes::from_static(b"hello "));
    assert_eq!(read(&mut early), (b"hello ".to_vec(), None));
    filler.push(Bytes::from_static(b"world"));
    let mut late = body.reader().unwrap();
    assert_eq!(read(&mut early), (b"world".to_vec(), None));
    filler.finish(None);
    for reader in [&mut slow, &mut late] {
        assert_eq!(read(reader), (b"hello world".to_vec(), Some(Ok(()))));
    }
    assert_eq!(read(&mut early), (vec![], Some(Ok(()))));
    assert_eq!(body.len(), Some(11));
    assert_eq!(read(&mut body.reader().unwrap()).0, b"hello world");
}

#[test]
fn range_of_a_growing_body_waits_only_for_its_bytes() {
    let (body, mut filler) = SharedBody::growing();
    let mut range = body.range_reader(3..8).unwrap();
    filler.push(Bytes::from_static(b"01234"));
    assert_eq!(read(&mut range), (b"34".to_vec(), None));
    filler.push(Bytes::from_static(b"56789"));
    assert_eq!(read(&mut range), (b"567".to_vec(), Some(Ok(()))));
    drop(filler);
}

#[test]
fn dropped_filler_is_a_cut_for_every_reader() {
    let (body, mut filler) = SharedBody::growing();
    let mut reader = body.reader().unwrap();
    filler.push(Bytes::from_static(b"half"));
    drop(filler);
    assert_eq!(read(&mut reader), (b"half".to_vec(), Some(Err(CutBody))));
    assert_eq!(read(&mut body.reader().unwrap()).1, Some(Err(CutBody)));
    assert_eq!(body.len(), None);
}

#[test]
fn body_that_is_only_passed_on_keeps_no_more_than_the_slowest_reader_needs() {
    let (body, mut filler) = SharedBody::growing();
    let (mut fast, mut slow) = (body.reader().unwrap(), body.reader().unwrap());
    filler.push(Bytes::from(vec![1; 200_000]));
    filler.stop_keeping();
    filler.push(Bytes::from(vec![2; 200_000]));
    assert_eq!(read(&mut fast).0.len(), 400_000);
    assert_eq!(body.held(), 400_000);
    assert!(filler.poll_room(&mut cx()).is_pending());
    assert!(matches!(slow.poll_next(&mut cx()), Poll::Ready(Some(Ok(_)))));
    assert_eq!(body.held(), 200_000);
    assert_eq!(filler.poll_room(&mut cx()), Poll::Ready(true));
    assert!(body.reader().is_none(), "too late to join");
    drop((fast, slow));
    assert_eq!(filler.poll_room(&mut cx()), Poll::Ready(false));
}

#[test]
fn places_of_readers_that_left_are_taken_again() {
    let (body, mut filler) = SharedBody::growing();
    filler.push(Bytes::from_static(b"hello "));
    let mut first = body.reader().unwrap();
    for _ in 0..100 {
        assert_eq!(read(&mut body.reader().unwrap()).0, b"hello ");
    }
    let mut last = body.reader().unwrap();
    assert_eq!(body.0.side.lock().growing.as_ref().unwrap().readers.len(), 2);
    filler.push(Bytes::from_static(b"world"));
    filler.finish(None);
    for reader in [&mut first, &mut last] {
        assert_eq!(read(reader), (b"hello world".to_vec(), Some(Ok(()))));
    }
}

#[test]
fn ranges_of_a_complete_body_cross_blocks() {
    let bytes: Vec<u8> = (0..3 * BLOCK + 5).map(|at| (at % 251) as u8).collect();
    let body = SharedBody::complete(&bytes);
    let len = bytes.len();
    for (start, end) in [(0, len), (1, 2), (BLOCK - 1, BLOCK + 1), (BLOCK, 3 * BLOCK), (len - 1, len), (5, 5)] {
        let mut reader = body.range_reader(start as u64..end as u64).unwrap();
        assert_eq!(reader.remaining(), Some((end - start) as u64));
        assert!(read(&mut reader).0 == bytes[start..end], "{start}..{end}");
    }
}

#[test]
fn readers_may_come_and_go_while_the_body_is_completed() {
    for _ in 0..2_000 {
        let (body, mut filler) = SharedBody::growing();
        filler.push(Bytes::from_static(b"hello "));
        let early = body.reader();
        let filling = std::thread::spawn(move || {
            filler.push(Bytes::from_static(b"world"));
            filler.finish(None);
        });
        drop(early);
        let mut late = body.reader().unwrap();
        filling.join().unwrap();
        assert_eq!(read(&mut late), (b"hello world".to_vec(), Some(Ok(()))));
    }
}

#[test]
fn trailers_come_last_and_not_with_ranges() {
    let (body, mut filler) = SharedBody::growing();
    filler.push(Bytes::from_static(b"x"));
    filler.finish(Some(HeaderMap::from_iter([(http::header::ETAG, "\"t\"".parse().unwrap())])));
    let mut reader = body.reader().unwrap();
    assert!(matches!(reader.poll_next(&mut cx()), Poll::Ready(Some(Ok(Piece::Data(_))))));
    assert!(!reader.is_over());
    assert!(matches!(reader.poll_next(&mut cx()), Poll::Ready(Some(Ok(Piece::Trailers(_))))));
    assert!(matches!(reader.poll_next(&mut cx()), Poll::Ready(None)));
    let mut range = body.range_reader(0..1).unwrap();
    assert_eq!(read(&mut range).0, b"x");
}

/// Reads to the end as a task does, going round while there is nothing; the bytes, and whether they were cut.
fn read_all(mut reader: BodyReader) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    loop {
        let (more, end) = read(&mut reader);
        bytes.extend_from_slice(&more);
        match end {
            Some(end) => return (bytes, end.is_err()),
            None => std::thread::yield_now(),
        }
    }
}

#[test]
fn readers_that_come_and_go_while_a_body_ends_get_what_there_is() {
    let text: Vec<u8> = (0..200).collect();
    for round in 0..400 {
        let (body, mut filler) = SharedBody::growing();
        std::thread::scope(|scope| {
            for hand in 0..4 {
                let (body, text) = (&body, &text);
                scope.spawn(move || {
                    for turn in 0..8 {
                        // Of those that kept up to the end of a body that was passed on, none joins any more.
                        let Some(mut reader) = body.reader() else { continue };
                        if (turn + hand) % 3 == 0 {
                            drop(read(&mut reader)); // leaves half-way
                            continue;
                        }
                        let (bytes, cut) = read_all(reader);
                        assert!(text.starts_with(&bytes) && (cut || bytes == *text), "round {round}: {bytes:?}");
                    }
                });
            }
            for piece in text.chunks(40) {
                filler.push(Bytes::copy_from_slice(piece));
                if round % 5 == 1 {
                    filler.stop_keeping();
                }
            }
            match round % 4 {
                0 => drop(filler),
                _ => filler.finish(None),
            }
        });
        let is_whole = round % 4 != 0 && round % 5 != 1;
        assert_eq!(body.len(), is_whole.then_some(200));
        assert_eq!(body.0.side.lock().growing.is_none(), is_whole, "what it took to grow is given back");
    }
}
