//! The purge log's file: whatever is in it, what was changed is noticed.

use larder::cache::purge::purges_in;
use xxhash_rust::xxh3::xxh3_64;

/// A file's bytes; also the texts of a file's records, a line each.
pub fn check(data: &[u8]) {
    let _ = purges_in(data);
    let texts: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let mut sound = Vec::new();
    for text in &texts {
        push(&mut sound, text);
    }
    let Some(purges) = purges_in(&sound) else { return };
    assert_eq!(purges.len() + 1, texts.len(), "a purge a record, but for the first");
    let at = xxh3_64(data) as usize % sound.len();
    let torn = purges_in(&sound[..at]);
    assert!(torn.is_none_or(|torn| torn == purges[..torn.len()] && torn.len() < texts.len()), "cut at {at}");
    sound[at] ^= 1 << (at % 8);
    assert_eq!(purges_in(&sound), None, "changed at {at}");
}

/// A record: length, checksum of the length, checksum of the text, text.
fn push(bytes: &mut Vec<u8>, text: &[u8]) {
    let length = (text.len() as u32).to_le_bytes();
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&(xxh3_64(&length) as u32).to_le_bytes());
    bytes.extend_from_slice(&xxh3_64(text).to_le_bytes());
    bytes.extend_from_slice(text);
}
