//! What the memory tier's choice of what to give up is worth, beside others, on traces of requests.
//!
//! `cargo bench --bench hit_ratio` replays traces that it makes itself, the same ones each time;
//! `cargo bench --bench hit_ratio -- FILE SIZE` replays a file of `id size` lines (gzip or plain) under SIZE bytes,
//! e.g. `64MiB`. Printed are the share of requests that hit and the share of bytes, for each policy. Each stored
//! response counts with what it costs beside its body, for all policies alike.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use bytesize::ByteSize;
use larder::cache::key::CacheKey;
use larder::cache::residents::{Change, Gone, Residents, Weigh};
use moka::policy::EvictionPolicy;

/// Bytes that a small stored response costs beside its body.
const OVERHEAD: u64 = 1000;

/// Requests in order: what for, and the bytes of the body.
type Trace = Vec<(u64, u64)>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    println!(
        "{:<34}{:>16}{:>16}{:>16}{:>16}",
        "requests / bytes that hit", "larder", "ideal LRU", "moka LRU", "TinyLFU"
    );
    match &arguments[..] {
        [file, size] => {
            let room: ByteSize = size.parse().expect("a size such as 64MiB");
            compare(file.rsplit('/').next().unwrap_or(file), &recorded(file), room.as_u64());
        }
        _ => {
            for (name, trace, room) in made() {
                compare(name, &trace, room);
            }
        }
    }
}

fn compare(name: &str, trace: &Trace, room: u64) {
    print!("{:<34}", format!("{name}, {}", ByteSize::b(room)));
    let policies: [Box<dyn Policy>; 4] = [
        Box::new(Residents::new(room, Gone(Box::new(|_| ())))),
        Box::new(Lru::new(room)),
        Box::new(Moka::new(room, EvictionPolicy::lru())),
        Box::new(Moka::new(room, EvictionPolicy::tiny_lfu())),
    ];
    for mut policy in policies {
        let (mut hits, mut hit_bytes, mut bytes) = (0u64, 0, 0);
        for &(id, size) in trace {
            let hit = policy.ask(id, size + OVERHEAD);
            bytes += size;
            if hit {
                hits += 1;
                hit_bytes += size;
            }
        }
        let percent = |part: u64, whole: u64| 100.0 * part as f64 / whole as f64;
        let figures = format!("{:.1} / {:.1}", percent(hits, trace.len() as u64), percent(hit_bytes, bytes));
        print!("{figures:>16}");
    }
    println!();
}

/// A cache of weights alone.
trait Policy {
    /// Asks for something, and stores it where it is not there. Whether it was.
    fn ask(&mut self, id: u64, weight: u64) -> bool;
}

#[derive(Clone)]
struct Weight(u64);

impl Weigh for Weight {
    fn weight(&self, _: &CacheKey) -> u64 {
        self.0
    }
}

impl Policy for Residents<Weight> {
    fn ask(&mut self, id: u64, weight: u64) -> bool {
        let text = format!("GET http://shop.test/{id}");
        let length = text.len();
        let key = CacheKey::from_text(text, length).expect("a key");
        let hit = self.get(&key).is_some();
        if !hit {
            self.update(&key, |_| Change::Put(Weight(weight)));
        }
        hit
    }
}

/// Least recently used, to the letter.
struct Lru {
    room: u64,
    used: u64,
    clock: u64,
    held: HashMap<u64, (u64, u64)>,
    order: BTreeMap<u64, u64>,
}

impl Lru {
    fn new(room: u64) -> Self {
        Lru { room, used: 0, clock: 0, held: HashMap::new(), order: BTreeMap::new() }
    }
}

impl Policy for Lru {
    fn ask(&mut self, id: u64, weight: u64) -> bool {
        self.clock += 1;
        let before = self.held.insert(id, (self.clock, weight));
        match before {
            Some((at, _)) => drop(self.order.remove(&at)),
            None => self.used += weight,
        }
        self.order.insert(self.clock, id);
        while self.used > self.room {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.used -= self.held.remove(&oldest).map_or(0, |(_, weight)| weight);
        }
        before.is_some()
    }
}

struct Moka(moka::sync::Cache<u64, u64>);

impl Moka {
    fn new(room: u64, policy: EvictionPolicy) -> Self {
        let weigher = |_: &u64, weight: &u64| u32::try_from(*weight).unwrap_or(u32::MAX);
        Moka(moka::sync::Cache::builder().max_capacity(room).weigher(weigher).eviction_policy(policy).build())
    }
}

impl Policy for Moka {
    fn ask(&mut self, id: u64, weight: u64) -> bool {
        let hit = self.0.get(&id).is_some();
        if !hit {
            self.0.insert(id, weight);
        }
        // Its own thread of work would make the outcome depend on the machine.
        self.0.run_pending_tasks();
        hit
    }
}

fn recorded(file: &str) -> Trace {
    let bytes = std::fs::read(file).expect("a file to read");
    let mut text = String::new();
    match bytes.starts_with(&[0x1f, 0x8b]) {
        true => flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip of text"),
        false => (&bytes[..]).read_to_string(&mut text).expect("text"),
    };
    let numbers = |line: &str| {
        let (id, size) = line.split_once(' ')?;
        Some((id.parse().ok()?, size.trim().parse().ok()?))
    };
    text.lines().map(|line| numbers(line).expect("`id size` in each line")).collect()
}

/// Traces by name, and the room for each: some tenth of what there is.
fn made() -> Vec<(&'static str, Trace, u64)> {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    let popular = zipf(20_000, 150_000);
    let alike = |ids: &[u64]| ids.iter().map(|id| (*id, KIB)).collect::<Trace>();
    let sized = |ids: &[u64]| ids.iter().map(|id| (*id, size_of(*id))).collect::<Trace>();
    let mut scanned = Vec::new();
    for (at, part) in popular.chunks(25_000).enumerate() {
        scanned.extend_from_slice(part);
        if at % 2 == 0 {
            let first = 1_000_000 + at as u64 * 20_000;
            scanned.extend(first..first + 20_000);
        }
    }
    let shifting: Vec<u64> =
        popular.iter().enumerate().map(|(at, id)| (id + at as u64 / 30_000 * 2500) % 20_000).collect();
    vec![
        ("Zipf 0.9, 1 KiB each", alike(&popular), 4 * MIB),
        ("Zipf 0.9, 200 B to 512 KiB", sized(&popular), 32 * MIB),
        ("Zipf and scans, 1 KiB each", alike(&scanned), 4 * MIB),
        ("Zipf and scans, 200 B to 512 KiB", sized(&scanned), 32 * MIB),
        ("Zipf that shifts, 1 KiB each", alike(&shifting), 4 * MIB),
    ]
}

/// Requests for `objects`, the most popular first, by Zipf's law with exponent 0.9.
fn zipf(objects: u64, requests: usize) -> Vec<u64> {
    let mut sum = 0.0;
    let until: Vec<f64> = (1..=objects)
        .map(|rank| {
            sum += (rank as f64).powf(-0.9);
            sum
        })
        .collect();
    let mut random = Random(1);
    (0..requests).map(|_| until.partition_point(|until| *until < random.unit() * sum) as u64).collect()
}

/// A size that is always the same for an id: log-normal, median 4 KiB.
fn size_of(id: u64) -> u64 {
    let mut random = Random(id.wrapping_mul(7919) + 1);
    let normal = (-2.0 * random.unit().ln()).sqrt() * (std::f64::consts::TAU * random.unit()).cos();
    (4096.0 * (1.4 * normal).exp()).clamp(200.0, 512.0 * 1024.0) as u64
}

/// Numbers that look random and are the same each time (SplitMix64).
struct Random(u64);

impl Random {
    /// Above 0, at most 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64 + f64::EPSILON
    }
}
