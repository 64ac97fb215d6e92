//! Stored responses outside the process: what does not verify is damaged, what does comes back as it was.

use larder::cache::record::blocks::Sealer;
use larder::cache::record::{Head, PRELUDE, Record};
use larder::clock::Clock;
use larder::policy::time::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

/// A record's bytes; also a kind, a body of at most 255 bytes with its length before it, and a head's payload, which
/// are made into a record whose checksums are right.
pub fn check(data: &[u8]) {
    let (clock, _) = Clock::manual(Timestamp::from_secs(1_000_000_000));
    decoded(data, &clock);
    if let Some(record) = made(data) {
        decoded(&record, &clock);
    }
}

fn decoded(bytes: &[u8], clock: &Clock) {
    let _ = Head::len(bytes);
    if let Ok(head) = Head::decode(bytes, clock) {
        let total = head.total_len();
        assert!(head.places().all(|place| place.start >= head.bodies_start));
        assert!(Record::decode(bytes, clock).is_err() || total == Some(bytes.len() as u64));
    }
    let Ok(record) = Record::decode(bytes, clock) else { return };
    if let Record::Response(key, response) = &record {
        let _ = (response.cost(key), response.fields.unpack(2), response.meta(key).tags.iter().count());
        let _ = (response.facts.age(clock.now()), response.facts.ttl(clock.now()));
    }
    let again = record.encode(clock).expect("what came from a record has room in one");
    let back = Record::decode(&again, clock).expect("what was written verifies");
    assert_eq!(back.key(), record.key());
    // Written twice they differ by the record's number alone, and by what is computed from it.
    let twice = back.encode(clock).expect("what came from a record has room in one");
    assert_eq!(again.len(), twice.len());
    let head = Head::len(&again).expect("what was written has a head");
    assert_eq!(again[PRELUDE..head], twice[PRELUDE..head]);
}

fn made(data: &[u8]) -> Option<Vec<u8>> {
    let (&[kind, body], rest) = data.split_first_chunk::<2>()?;
    let (body, payload) = rest.split_at_checked(usize::from(body))?;
    let mut record = b"larder".to_vec();
    record.extend_from_slice(&2u16.to_le_bytes());
    record.extend_from_slice(&u16::from(kind).to_le_bytes());
    record.extend_from_slice(&0u16.to_le_bytes());
    record.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    record.extend_from_slice(&((PRELUDE + payload.len()) as u64).to_le_bytes());
    record.extend_from_slice(&7u64.to_le_bytes());
    let sum = xxh3_64(&[&record[..], payload].concat());
    record.extend_from_slice(&sum.to_le_bytes());
    record.extend_from_slice(payload);
    let mut sealer = Sealer::new(7, 0);
    sealer.push(body, &mut record);
    sealer.finish(&mut record);
    Some(record)
}
