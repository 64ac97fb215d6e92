//! Records come back as they went, and nothing else ever comes back.

use std::sync::atomic::Ordering;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use proptest::prelude::*;

use super::blocks::{BLOCK, SEALED, holding, sealed_len, verified_from};
use super::*;
use crate::cache::entry::Marks;
use crate::cache::epoch::Epoch;
use crate::cache::fields::StoredFields;
use crate::config::settings::Coding;
use crate::policy::facts::{Facts, LifetimeSource};
use crate::policy::tags::{Tag, Tags};
use crate::policy::time::Timestamp;
use crate::policy::vary::Selection;

const NOW: i64 = 1_000_000_000_000;

fn facts() -> Facts {
    let time = |seconds: i64| Timestamp::from_millis(NOW - seconds * 1000);
    Facts {
        status: StatusCode::OK,
        response_time: time(9),
        initial_age: 3,
        lifetime: 60,
        lifetime_source: LifetimeSource::Heuristic,
        stale_while_revalidate: 5,
        stale_if_error: 6,
        forbids_stale: false,
        immutable: true,
        no_cache: true,
        allows_authorization: false,
        allows_cookies: true,
        stale_since: Some(time(2)),
        date: time(9),
    }
}

fn sample(body: &[u8], coded: &[u8]) -> Record {
    let mut fields = HeaderMap::new();
    fields.append(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    fields.append("x-a", HeaderValue::from_bytes(b"caf\xe9").unwrap());
    fields.append("x-a", HeaderValue::from_static(""));
    let request = HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, HeaderValue::from_static("de"))]);
    let trailers = HeaderMap::from_iter([(header::ETAG, HeaderValue::from_static("\"t\""))]);
    let body = SharedBody::of_pieces([body].into_iter(), body.len(), Some(trailers));
    body.coded_or_begun(Coding::Zstd, || SharedBody::complete(coded));
    let response = StoredResponse {
        facts: facts(),
        fields: StoredFields::pack(&fields),
        body,
        marks: Marks::since(Epoch { local: 7, shared: (1, 2) })
            .selected_by(Selection::of_names(&[header::ACCEPT_LANGUAGE, header::USER_AGENT], &request))
            .tagged(Tags::new(["a", "b c"].map(Tag::Named))),
        compressible: true,
        own_tag: true,
        hits: 5.into(),
        listing: Default::default(),
    };
    Record::Response(CacheKey::from_text("GET http://a.test/x\nx-a:1:2".to_owned(), 19).unwrap(), Arc::new(response))
}

fn clock() -> Clock {
    Clock::manual(Timestamp::from_millis(NOW)).0
}

fn bytes_of(body: &SharedBody) -> Vec<u8> {
    body.pieces().unwrap().concat()
}

fn assert_same(found: &Record, expected: &Record) {
    let (Record::Response(key, found), Record::Response(other_key, expected)) = (found, expected) else {
        panic!("not responses")
    };
    assert_eq!((key, key.base(), key.hash()), (other_key, other_key.base(), other_key.hash()));
    assert_eq!(found.facts, expected.facts);
    assert_eq!(found.selection(), expected.selection());
    assert_eq!(found.fields.unpack(0), expected.fields.unpack(0));
    assert!(bytes_of(&found.body) == bytes_of(&expected.body));
    assert_eq!(found.body.trailers(), expected.body.trailers());
    let codings = |response: &StoredResponse| {
        response.body.all_coded().iter().map(|(coding, body)| (*coding, bytes_of(body))).collect::<Vec<_>>()
    };
    assert!(codings(found) == codings(expected));
    assert_eq!((found.compressible, found.own_tag), (expected.compressible, expected.own_tag));
    assert_eq!((found.tags(), found.epoch()), (expected.tags(), expected.epoch()));
    assert_eq!(found.hits.load(Ordering::Relaxed), expected.hits.load(Ordering::Relaxed));
}

#[test]
fn record_comes_back_as_it_went() {
    for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 40 * BLOCK + 7] {
        let body: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let record = sample(&body, &body[..len / 2]);
        let encoded = record.encode(&clock()).unwrap();
        assert_same(&Record::decode(&encoded, &clock()).unwrap(), &record);
        let head = Head::decode(&encoded[..Head::len(&encoded).unwrap()], &clock()).unwrap();
        assert_eq!(head.response().unwrap().body_len, len as u64, "a head needs no body");
    }
    let names = Record::Vary(sample(b"", b"").key().clone(), vec![header::COOKIE, header::USER_AGENT].into());
    let Record::Vary(key, list) = Record::decode(&names.encode(&clock()).unwrap(), &clock()).unwrap() else {
        panic!("a list of fields")
    };
    assert_eq!((&key, &list[..]), (names.key(), &[header::COOKIE, header::USER_AGENT][..]));
}

#[test]
fn record_with_any_byte_flipped_or_cut_off_does_not_verify() {
    let body: Vec<u8> = (0..300).map(|at| (at % 251) as u8).collect();
    let encoded = sample(&body, b"coded").encode(&clock()).unwrap();
    for at in 0..encoded.len() {
        for bit in 0..8 {
            let mut flipped = encoded.clone();
            flipped[at] ^= 1 << bit;
            assert_eq!(Record::decode(&flipped, &clock()).err(), Some(Damaged), "byte {at}, bit {bit}");
        }
        assert_eq!(Record::decode(&encoded[..at], &clock()).err(), Some(Damaged), "cut at {at}");
    }
    let longer = [&encoded[..], b"x"].concat();
    assert_eq!(Record::decode(&longer, &clock()).err(), Some(Damaged));
}

#[test]
fn blocks_of_another_record_or_place_do_not_verify() {
    let encode = || sample(&[7; 3 * BLOCK], b"").encode(&clock()).unwrap();
    let (one, other) = (encode(), encode());
    let start = one.len() - 3 * SEALED;
    let exchanged = [&one[..start], &other[start..]].concat();
    assert_eq!(Record::decode(&exchanged, &clock()).err(), Some(Damaged), "the same bytes of another record");
    let mut swapped = one.clone();
    swapped[start..].rotate_left(SEALED);
    assert_eq!(Record::decode(&swapped, &clock()).err(), Some(Damaged), "blocks in another order");
}

#[test]
fn lengths_that_lie_set_no_memory_aside() {
    // A head that verifies but whose counts are absurd: the writer of a checksum need not be larder.
    let mut head = Head::of(&sample(b"", b""), &clock()).unwrap();
    let encoded = head.encode(0).unwrap();
    for at in PRELUDE..encoded.len() - 4 {
        let mut lying = encoded.clone();
        lying[at..at + 4].fill(0xff);
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        hasher.update(&lying[..PRELUDE - 8]);
        hasher.update(&lying[PRELUDE..]);
        let sum = hasher.digest().to_le_bytes();
        lying[PRELUDE - 8..PRELUDE].copy_from_slice(&sum);
        // A number that means nothing to the layout may still be a record; a length may not.
        if let Ok(record) = Record::decode(&lying, &clock()) {
            assert!(record.encode(&clock()).unwrap().len() <= encoded.len(), "at {at}");
        }
    }
}

#[test]
fn times_are_the_wall_clocks_and_never_in_the_future() {
    let (clock, hand) = Clock::manual(Timestamp::from_millis(NOW));
    hand.step_wall(100);
    let encoded = sample(b"x", b"").encode(&clock).unwrap();
    let read = |now_ms: i64| {
        let clock = Clock::manual(Timestamp::from_millis(now_ms)).0;
        let Ok(Record::Response(_, found)) = Record::decode(&encoded, &clock) else { panic!("it verifies") };
        found.facts.response_time.as_millis()
    };
    // Another process, whose clock agrees with the wall's: 109 seconds of age are 9 + 100.
    assert_eq!(read(NOW + 200_000), NOW - 9_000 + 100_000);
    assert_eq!(read(NOW), NOW, "from the future");
}

#[test]
fn head_is_written_again_in_its_place() {
    let record = sample(b"body", b"");
    let mut head = Head::of(&record, &clock()).unwrap();
    let first = head.encode(100).unwrap();
    let mut again = Head::decode(&first, &clock()).unwrap();
    assert_eq!(again.bodies_start, first.len() as u64);
    assert_eq!(again.encode(0).unwrap(), first);
}

#[test]
fn soft_purge_is_written_in_the_place_of_the_head() {
    let record = sample(b"body", b"coded");
    let mut encoded = record.encode(&clock()).unwrap();
    let earlier = Timestamp::from_millis(NOW - 500_000);
    let softened = Head::decode(&encoded, &clock()).unwrap().softened(earlier, &clock()).unwrap();
    assert_eq!(softened.len(), Head::len(&encoded).unwrap());
    encoded[..softened.len()].copy_from_slice(&softened);
    let Ok(Record::Response(_, found)) = Record::decode(&encoded, &clock()) else { panic!("it verifies") };
    assert_eq!(found.facts, Facts { stale_since: Some(earlier), ..facts() });
    assert_eq!(bytes_of(&found.body), b"body");
    let later = Timestamp::from_millis(NOW);
    assert!(Head::decode(&encoded, &clock()).unwrap().softened(later, &clock()).is_none(), "it is so already");
}

#[test]
fn ranges_are_found_by_the_blocks_that_hold_them() {
    let len = 3 * BLOCK as u64 + 5;
    let body: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
    let mut sealed = Vec::new();
    let mut sealer = blocks::Sealer::new(9, 1);
    body.chunks(1000).for_each(|piece| sealer.push(piece, &mut sealed));
    sealer.finish(&mut sealed);
    assert_eq!(sealed.len() as u64, sealed_len(len));
    let block = BLOCK as u64;
    for range in [0..1, 5..block, block - 1..block + 1, block..2 * block, 3 * block..len, len - 1..len, 1..u64::MAX] {
        let (place, first) = holding(&range, len);
        let found = verified_from(&sealed[place.start as usize..place.end as usize], 9, 1, first).unwrap().concat();
        let skip = (range.start - first * block) as usize;
        let take = (range.end.min(len) - range.start) as usize;
        assert!(found[skip..skip + take] == body[range.start as usize..][..take], "{range:?}");
        assert!(verified_from(&sealed[place.start as usize..place.end as usize], 9, 1, first + 1).is_err());
    }
    assert_eq!(holding(&(len..len + 1), len), (0..0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_record_comes_back_and_no_noise_does(
        body in prop::collection::vec(any::<u8>(), 0..5000),
        coded in prop::collection::vec(any::<u8>(), 0..100),
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let record = sample(&body, &coded);
        let encoded = record.encode(&clock()).unwrap();
        assert_same(&Record::decode(&encoded, &clock()).unwrap(), &record);
        prop_assert!(Record::decode(&noise, &clock()).is_err());
        let after_prelude = [&encoded[..PRELUDE], &noise].concat();
        prop_assert!(Record::decode(&after_prelude, &clock()).is_err());
    }
}
