//! A hit must not begin to allocate more: counts, never times, compared with what was recorded.

#![expect(unreachable_pub, reason = "one binary: `pub` says what a module offers the others")]

#[path = "../benches/support/mod.rs"]
mod support;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{Client, PAGE};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations (growing ones included) for a hit of 1 KiB in memory over HTTP/1.1, keep-alive, all of the server's
/// way from socket to socket. Lower it when it falls; raise it only for what is worth more than its cost.
const RECORDED: f64 = 10.0;

/// What may be added before the test fails.
const SLACK: f64 = 1.05;

const HITS: usize = 2000;

#[test]
fn allocations_of_a_hit_do_not_grow() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (_app, address) = runtime.block_on(support::larder());
    let mut client = Client::open(address);
    client.ask(PAGE);
    // The first hits resolve metrics and grow buffers.
    for _ in 0..200 {
        client.ask(PAGE);
    }
    assert!(client.ask(PAGE).contains("larder; hit"), "{}", client.ask(PAGE));

    let region = Region::new(ALLOCATOR);
    for _ in 0..HITS {
        client.ask(PAGE);
    }
    let change = region.change();
    let each = (change.allocations + change.reallocations) as f64 / HITS as f64;
    let bytes = change.bytes_allocated / HITS;
    println!("a hit: {each:.2} allocations, {bytes} bytes");
    assert!(each <= RECORDED * SLACK, "a hit takes {each:.2} allocations; {RECORDED} were recorded");
}
