//! What stored responses cost in memory.

use std::any::type_name;

use larder::cache::body::SharedBody;
use larder::cache::entry::{Entry, StoredResponse};
use larder::cache::fields::StoredFields;
use larder::cache::key::CacheKey;
use larder::policy::facts::Facts;
use tikv_jemalloc_ctl::{epoch, stats};

use crate::support::{self, Client};

/// Prints what so many stored responses of 1 KiB cost, resident and as accounted for, beside the limit.
pub fn of_pages(pages: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a worker thread starts");
    let (app, address) = runtime.block_on(support::larder());
    let mut client = Client::open(address);
    for page in 0..1000 {
        client.ask(&format!("/warm/{page}"));
    }
    let cache = &app.proxy.cache.memory;
    let before = (cache.entries(), cache.bytes(), resident("VmRSS:"), allocated(), own());
    for page in 0..pages {
        client.ask(&format!("/shop/page?id={page:08}"));
    }
    let stored = cache.entries() - before.0;
    println!("pages stored            {stored} of {pages}");
    println!("accounted bytes a page  {}", (cache.bytes() - before.1) / stored);
    println!("allocated bytes a page  {}", (allocated() - before.3) / stored);
    println!("allocator's own a page  {}", (own() - before.4) / stored);
    println!("resident bytes a page   {}", (resident("VmRSS:") - before.2) / stored);
    println!("peak to limit           {:.2}", resident("VmHWM:") as f64 / cache.size() as f64);
    println!("evictions               {}", cache.evictions());
    println!("\nbytes of each value kept for a page, without what it points to");
    size::<StoredResponse>();
    size::<Facts>();
    size::<StoredFields>();
    size::<SharedBody>();
    size::<Entry>();
    size::<CacheKey>();
}

fn size<T>() {
    let name = type_name::<T>();
    println!("{:>23} {}", name.rsplit("::").next().unwrap_or(name), size_of::<T>());
}

/// Bytes that the allocator has handed out.
pub fn allocated() -> u64 {
    epoch::advance().expect("jemalloc keeps figures");
    stats::allocated::read().expect("jemalloc keeps figures") as u64
}

/// Bytes that the allocator has for itself.
fn own() -> u64 {
    epoch::advance().expect("jemalloc keeps figures");
    stats::metadata::read().expect("jemalloc keeps figures") as u64
}

/// Bytes of this process' memory, by their name in `/proc/self/status`.
pub fn resident(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it has that line");
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB")
}
