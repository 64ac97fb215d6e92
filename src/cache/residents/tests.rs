//! What residents keep and what they give up.

use super::*;

#[derive(Clone, Debug, PartialEq)]
struct Bytes(u64);

impl Weigh for Bytes {
    fn weight(&self, _: &CacheKey) -> u64 {
        self.0
    }
}

fn key(name: impl std::fmt::Display) -> CacheKey {
    let text = format!("GET http://a.test/{name}");
    let base_len = text.len();
    CacheKey::from_text(text, base_len).unwrap()
}

fn residents(capacity: u64) -> Residents<Bytes> {
    Residents::new(capacity, Gone(Box::new(|_| ())))
}

fn put(residents: &Residents<Bytes>, name: impl std::fmt::Display, weight: u64) {
    residents.update(&key(name), |_| Change::Put(Bytes(weight)));
}

#[test]
fn residents_keep_to_their_room() {
    let residents = residents(1000);
    for number in 0..500 {
        put(&residents, number, 7 + number % 90);
        assert!(residents.weight() <= 1000, "{number}: {}", residents.weight());
    }
    let held: u64 = residents.by_shard().flatten().map(|(_, Bytes(weight))| weight).sum();
    assert_eq!(held, residents.weight());
    assert_eq!(residents.len() + residents.evictions(), 500);
}

#[test]
fn residents_weigh_what_takes_the_place_of_another() {
    let residents = residents(1000);
    put(&residents, "x", 100);
    put(&residents, "x", 300);
    assert_eq!((residents.weight(), residents.len()), (300, 1));
    put(&residents, "x", 1001);
    assert_eq!((residents.weight(), residents.len()), (0, 0), "larger than all room");
    put(&residents, "y", 1000);
    assert_eq!(residents.remove(&key("y")), Some(Bytes(1000)));
    assert_eq!((residents.weight(), residents.is_empty(), residents.evictions()), (0, true, 0));
}

#[test]
fn residents_tell_once_what_was_asked_for() {
    let residents = residents(1000);
    put(&residents, "x", 1);
    put(&residents, "y", 1);
    let asked = || residents.asked_for().flatten().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(asked(), []);
    residents.get(&key("x"));
    residents.peek(&key("y"));
    assert_eq!(asked(), [key("x")]);
    assert_eq!(asked(), []);
}

#[test]
fn residents_asked_for_often_outlive_a_scan() {
    let residents = residents(10_000);
    for number in 0..50 {
        put(&residents, number, 100);
        for _ in 0..4 {
            residents.get(&key(number));
        }
    }
    for number in 0..10_000 {
        put(&residents, format_args!("scan{number}"), 100);
        // Now and then somebody still asks for them: once for all that a scan brings into so much room.
        if number % 10 == 0 {
            residents.get(&key(number / 10 % 50));
        }
    }
    let left = (0..50).filter(|number| residents.peek(&key(number)).is_some()).count();
    assert_eq!(left, 50);
}

#[test]
fn residents_no_longer_asked_for_sink() {
    let residents = residents(10_000);
    put(&residents, "old", 100);
    for _ in 0..20 {
        residents.get(&key("old"));
    }
    for round in 0..3000 {
        let name = format!("new{}", round % 120);
        if residents.get(&key(&name)).is_none() {
            put(&residents, &name, 100);
        }
    }
    assert_eq!(residents.peek(&key("old")), None);
}

#[test]
fn residents_prefer_many_small_to_one_large() {
    let residents = residents(100_000);
    for number in 0..90 {
        put(&residents, number, 1000);
        residents.get(&key(number));
    }
    put(&residents, "large", 50_000);
    assert_eq!((residents.peek(&key("large")), residents.len()), (None, 90));
    // One that is asked for again and again does find its place.
    for _ in 0..200 {
        if residents.get(&key("large")).is_none() {
            put(&residents, "large", 50_000);
        }
    }
    assert!(residents.peek(&key("large")).is_some());
}

#[test]
fn residents_come_back_with_the_frequency_that_they_had() {
    let mut ghosts = Ghosts::default();
    assert_eq!(ghosts.take(7), None);
    ghosts.add(7, 12, 10);
    assert_eq!((ghosts.take(8), ghosts.take(7), ghosts.take(7)), (None, Some(12), None));
}

#[test]
fn residents_removed_leave_no_trace_in_the_queue() {
    let residents = residents(1 << 20);
    for number in 0..100_000 {
        put(&residents, number, 10);
        residents.remove(&key(number));
    }
    let queued: usize = residents.shards.iter().map(|shard| shard.inner.read().queue.len()).sum();
    assert!(queued <= SHARDS * 64, "{queued}");
    let slots: usize = residents.shards.iter().map(|shard| shard.inner.read().slots.used()).sum();
    assert!(slots <= SHARDS, "{slots}");
}

#[test]
fn residents_hold_under_many_hands() {
    let residents = std::sync::Arc::new(residents(50_000));
    std::thread::scope(|scope| {
        for hand in 0..4u64 {
            let residents = residents.clone();
            scope.spawn(move || {
                for round in 0..5000u64 {
                    let name = (round * 31 + hand * 7) % 900;
                    match round % 7 {
                        0 => drop(residents.remove(&key(name))),
                        1..3 => drop(residents.get(&key(name))),
                        _ => put(&residents, name, 50 + name % 200),
                    }
                }
            });
        }
    });
    let held: u64 = residents.by_shard().flatten().map(|(_, Bytes(weight))| weight).sum();
    assert_eq!(held, residents.weight());
    assert!(held <= 50_000);
}

#[test]
fn residents_tell_of_every_key_that_goes() {
    let gone = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let told = gone.clone();
    let residents = Residents::new(1000, Gone(Box::new(move |key| told.lock().push(key.as_str().to_owned()))));
    put(&residents, "evicted", 600);
    put(&residents, "replaced", 300);
    put(&residents, "replaced", 200);
    for _ in 0..3 {
        residents.get(&key("replaced"));
    }
    put(&residents, "removed", 500);
    residents.remove(&key("removed"));
    residents.remove(&key("never there"));
    assert_eq!(*gone.lock(), ["GET http://a.test/evicted", "GET http://a.test/removed"]);
}
