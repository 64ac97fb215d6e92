//! A hit and a request that passes through must not begin to allocate more: counts, never times, compared with what
//! was recorded.

#![expect(unreachable_pub, reason = "one binary: `pub` says what a module offers the others")]
#![expect(clippy::print_stdout, reason = "`--nocapture` shows the counts")]

#[path = "../benches/support/mod.rs"]
mod support;

use std::alloc::System;
use std::sync::Mutex;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{Client, PAGE, PASS};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations (growing ones included) for a hit of 1 KiB in memory over HTTP/1.1, keep-alive, all of the server's
/// way from socket to socket. Lower it when it falls; raise it only for what is worth more than its cost.
const OF_A_HIT: f64 = 2.0;

/// The same for a page that nobody may store, asked of the upstream on a kept connection; with the look
/// whether it is a hit.
const OF_PASSING_THROUGH: f64 = 24.0;

/// What may be added before the test fails.
const SLACK: f64 = 1.05;

const REQUESTS: usize = 2000;

/// The counts are the process', so one measures at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Allocations a request, by asking for a page that is answered as `expected`.
fn allocations(page: &str, expected: &str) -> f64 {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a worker thread starts");
    let (_app, address) = runtime.block_on(support::larder());
    let mut client = Client::open(address);
    // The first ones connect, resolve metrics and grow buffers.
    for _ in 0..200 {
        client.ask(page);
    }
    assert!(client.ask(page).contains(expected), "{}", client.ask(page));

    let region = Region::new(ALLOCATOR);
    for _ in 0..REQUESTS {
        client.ask(page);
    }
    let change = region.change();
    let each = (change.allocations + change.reallocations) as f64 / REQUESTS as f64;
    println!("{page}: {each:.2} allocations, {} bytes", change.bytes_allocated / REQUESTS);
    each
}

#[test]
fn allocations_of_a_hit_do_not_grow() {
    let each = allocations(PAGE, "larder; hit");
    assert!(each <= OF_A_HIT * SLACK, "a hit takes {each:.2} allocations; {OF_A_HIT} were recorded");
}

#[test]
fn allocations_of_passing_through_do_not_grow() {
    let each = allocations(PASS, "fwd=");
    assert!(
        each <= OF_PASSING_THROUGH * SLACK,
        "passing through takes {each:.2} allocations; {OF_PASSING_THROUGH} were recorded"
    );
}
