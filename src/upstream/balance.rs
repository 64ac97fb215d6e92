//! Which server a request goes to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::health::Standing;
use super::server::Server;
use crate::config::settings::{Balance, Upstream};

/// Chooses among the servers of an upstream.
pub(super) struct Balancer {
    balance: Balance,
    panic: bool,
    /// By priority, the first that has a server available gets the request.
    groups: Vec<Group>,
    /// Requests so far.
    turn: AtomicUsize,
}

struct Group {
    servers: Vec<Arc<Server>>,
    /// Indexes into `servers`, each as often as its weight says, spread evenly.
    wheel: Vec<usize>,
}

/// The way of one request among the servers.
pub(super) struct Way<'a> {
    turn: usize,
    key: Option<u64>,
    /// Servers that have failed it.
    pub(super) failed: SmallVec<[&'a Arc<Server>; 4]>,
    /// Servers that have no place for it.
    pub(super) busy: SmallVec<[&'a Arc<Server>; 4]>,
}

impl Way<'_> {
    /// The same way once more, from its beginning.
    pub(super) fn anew(&self) -> Self {
        Way { turn: self.turn, key: self.key, failed: SmallVec::new(), busy: SmallVec::new() }
    }

    fn has_failed_on(&self, server: &Arc<Server>) -> bool {
        self.failed.iter().any(|failed| Arc::ptr_eq(failed, server))
    }

    fn is_crowded_at(&self, server: &Arc<Server>) -> bool {
        self.busy.iter().any(|busy| Arc::ptr_eq(busy, server))
    }
}

/// A server that may be chosen, with the share of its requests that it may have.
type Candidate<'a> = (usize, &'a Arc<Server>, f64);

impl Balancer {
    /// Over these servers, in the order of the settings.
    pub(super) fn new(settings: &Upstream, servers: &[Arc<Server>]) -> Self {
        let mut priorities: Vec<u32> = settings.servers.iter().map(|server| server.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let group = |priority| {
            let of_group = |server: &&Arc<Server>| server.address().priority == priority;
            let servers: Vec<_> = servers.iter().filter(of_group).cloned().collect();
            let wheel = wheel(&servers.iter().map(|server| server.address().weight).collect::<Vec<_>>());
            Group { servers, wheel }
        };
        Balancer {
            balance: settings.balance,
            panic: settings.panic,
            groups: priorities.into_iter().map(group).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// The way of the next request, told from others by `key` where that matters.
    pub(super) fn way(&self, key: Option<u64>) -> Way<'_> {
        Way { turn: self.turn.fetch_add(1, Relaxed), key, failed: SmallVec::new(), busy: SmallVec::new() }
    }

    /// Requests so far.
    pub(super) fn requests(&self) -> usize {
        self.turn.load(Relaxed)
    }

    /// Whether a request had better wait for its server than go to another.
    pub(super) fn is_sticky(&self, way: &Way<'_>) -> bool {
        self.balance == Balance::Hash && way.key.is_some()
    }

    /// The next server to try. `None`: none is left, or those that are have no place.
    pub(super) fn pick<'a>(&'a self, way: &Way<'a>) -> Option<&'a Arc<Server>> {
        let first = &self.groups[0];
        if self.balance == Balance::RoundRobin && way.failed.is_empty() && way.busy.is_empty() {
            let server = &first.servers[first.wheel[way.turn % first.wheel.len()]];
            if server.health().is_plain() {
                return Some(server);
            }
        }
        let mut any = false;
        for group in &self.groups {
            let available = |(index, server): (usize, &'a Arc<Server>)| match server.health().standing() {
                Standing::Full => Some((index, server, 1.0)),
                Standing::Rising(part) => Some((index, server, part)),
                Standing::Out | Standing::Drained => None,
            };
            let mut candidates: SmallVec<[Candidate<'a>; 8]> =
                group.servers.iter().enumerate().filter_map(available).collect();
            any |= !candidates.is_empty();
            candidates.retain(|(_, server, _)| !way.has_failed_on(server));
            if !candidates.is_empty() {
                return self.choose(group, candidates, way);
            }
        }
        if any || !self.panic {
            return None;
        }
        // Nobody is well: whoever is there is asked all the same.
        self.groups.iter().find_map(|group| {
            let asked =
                |(_, server): &(usize, &'a Arc<Server>)| !server.health().is_drained() && !way.has_failed_on(server);
            let candidates = group.servers.iter().enumerate().filter(asked);
            self.choose(group, candidates.map(|(index, server)| (index, server, 1.0)).collect(), way)
        })
    }

    fn choose<'a>(
        &'a self,
        group: &'a Group,
        mut candidates: SmallVec<[Candidate<'a>; 8]>,
        way: &Way<'a>,
    ) -> Option<&'a Arc<Server>> {
        // A sticky request waits for its server; others go where there is a place.
        if !self.is_sticky(way) {
            candidates.retain(|(_, server, _)| !way.is_crowded_at(server));
        }
        thin(&mut candidates, way.turn);
        let load = |server: &Server| (server.in_flight() + 1) as f64 / f64::from(server.address().weight);
        let least = |servers: &mut dyn Iterator<Item = &'a Arc<Server>>| {
            servers.min_by(|one, other| load(one).total_cmp(&load(other)))
        };
        let count = candidates.len();
        match (self.balance, way.key) {
            _ if count <= 1 => candidates.first().map(|(_, server, _)| *server),
            (Balance::Hash, Some(key)) => {
                let best = candidates
                    .iter()
                    .max_by(|(_, one, _), (_, other, _)| score(key, one).total_cmp(&score(key, other)));
                best.map(|(_, server, _)| *server)
            }
            (Balance::RoundRobin | Balance::Hash, _) => {
                let turns = (0..group.wheel.len()).map(|step| group.wheel[(way.turn + step) % group.wheel.len()]);
                turns
                    .filter_map(|index| candidates.iter().find(|(candidate, ..)| *candidate == index))
                    .map(|(_, server, _)| *server)
                    .next()
            }
            // Beginning at another one each time, so that equals share.
            (Balance::LeastConnections, _) => {
                least(&mut (0..count).map(|step| candidates[(way.turn + step) % count].1))
            }
            (Balance::PowerOfTwo, _) => {
                let random = mixed(way.turn as u64);
                let one = random as usize % count;
                let other = (one + 1 + (random >> 32) as usize % (count - 1)) % count;
                least(&mut [one, other].into_iter().map(|index| candidates[index].1))
            }
        }
    }
}

/// Leaves servers that are just back out of most turns, unless nobody else is there.
fn thin(candidates: &mut SmallVec<[Candidate<'_>; 8]>, turn: usize) {
    let drawn = |&(index, _, part): &Candidate<'_>| {
        let random = mixed((turn as u64) << 8 | index as u64) >> 11;
        part >= 1.0 || (random as f64) < part * (1u64 << 53) as f64
    };
    if candidates.iter().any(drawn) {
        candidates.retain(|candidate| drawn(candidate));
    }
}

/// Weighted rendezvous hashing: a server that goes leaves the keys of all others where they are.
fn score(key: u64, server: &Server) -> f64 {
    let hash = xxh3_64_with_seed(&key.to_le_bytes(), server.id());
    // In the open interval from 0 to 1.
    let uniform = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(server.address().weight) / uniform.ln()
}

/// A number that looks random (the finaliser of SplitMix64).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// The turns of servers with these weights, as smooth as can be: 2 and 1 make 0, 1, 0.
fn wheel(weights: &[u32]) -> Vec<usize> {
    let common = weights.iter().copied().fold(0, divisor).max(1);
    let weights: Vec<i64> = weights.iter().map(|weight| i64::from(weight / common)).collect();
    let total: i64 = weights.iter().sum();
    let mut credit = vec![0; weights.len()];
    (0..total)
        .map(|_| {
            credit.iter_mut().zip(&weights).for_each(|(credit, weight)| *credit += weight);
            // The first of equals.
            let most = (0..credit.len()).rev().max_by_key(|index| credit[*index]).unwrap_or_default();
            credit[most] -= total;
            most
        })
        .collect()
}

const fn divisor(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { divisor(other, one % other) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::health::Peers;
    use super::*;
    use crate::config::settings::UpstreamServer;

    fn balancer(balance: Balance, servers: &[(u32, u32)]) -> (Balancer, Vec<Arc<Server>>) {
        let server = |(index, (weight, priority)): (usize, &(u32, u32))| UpstreamServer {
            weight: *weight,
            priority: *priority,
            ..UpstreamServer::new(false, format!("s{index}"), 80)
        };
        let servers = servers.iter().enumerate().map(server).collect();
        let settings = Upstream { balance, ..Upstream::usual("app", servers) };
        let peers = Peers::of(&settings);
        let new = |address| Server::new(&settings, address, None, &peers).unwrap();
        let servers: Vec<_> = settings.servers.iter().map(new).collect();
        (Balancer::new(&settings, &servers), servers)
    }

    fn names(balancer: &Balancer, count: usize) -> String {
        let name =
            |_| balancer.pick(&balancer.way(None)).map_or("-".to_owned(), |server| server.address().host[1..].into());
        (0..count).map(name).collect()
    }

    fn down(server: &Server) {
        (0..3).for_each(|_| server.health().checked(Err("test".into())));
    }

    #[test]
    fn turns_are_spread_by_weight() {
        for (weights, turns) in [
            (&[(1, 0), (1, 0)][..], "0101"),
            (&[(2, 0), (1, 0)], "010010"),
            (&[(50, 0), (50, 0), (100, 0)], "20122012"),
        ] {
            assert_eq!(names(&balancer(Balance::RoundRobin, weights).0, turns.len()), turns);
        }
    }

    #[test]
    fn backups_serve_only_while_no_other_is_available() {
        let (balancer, servers) = balancer(Balance::RoundRobin, &[(1, 0), (1, 1), (1, 2), (1, 0)]);
        assert_eq!(names(&balancer, 4), "0303");
        down(&servers[0]);
        assert_eq!(names(&balancer, 2), "33");
        down(&servers[3]);
        assert_eq!(names(&balancer, 2), "11");
        down(&servers[1]);
        assert_eq!(names(&balancer, 2), "22");
        down(&servers[2]);
        assert_eq!(names(&balancer, 2), "03", "all are down: panic");
        servers[0].health().set_drained(true);
        assert_eq!(names(&balancer, 2), "33", "a drained one is not asked even then");
    }

    #[test]
    fn nobody_is_asked_when_all_are_down_and_panic_is_off() {
        let (mut balancer, servers) = balancer(Balance::LeastConnections, &[(1, 0)]);
        balancer.panic = false;
        down(&servers[0]);
        assert_eq!(names(&balancer, 1), "-");
    }

    #[test]
    fn fewest_exchanges_for_the_weight_are_preferred() {
        let (balancer, servers) = balancer(Balance::LeastConnections, &[(1, 0), (2, 0)]);
        let mut held = Vec::new();
        let mut asked = String::new();
        for _ in 0..6 {
            let server = balancer.pick(&balancer.way(None)).unwrap();
            asked.push_str(&server.address().host[1..]);
            held.push(server.try_place().unwrap());
        }
        assert_eq!((servers[0].in_flight(), servers[1].in_flight()), (2, 4), "{asked}");
    }

    #[test]
    fn less_loaded_of_two_is_preferred() {
        let (balancer, servers) = balancer(Balance::PowerOfTwo, &[(1, 0), (1, 0), (1, 0)]);
        let _held = (servers[1].try_place(), servers[1].try_place());
        let asked = names(&balancer, 300);
        assert!(!asked.contains('1'), "it is the more loaded of any two");
        assert!(asked.matches('0').count() > 100 && asked.matches('2').count() > 100);
    }

    #[test]
    fn hash_keeps_keys_where_they_are_when_a_server_goes() {
        let (balancer, servers) = balancer(Balance::Hash, &[(1, 0), (1, 0), (2, 0)]);
        let place = |key: u64| balancer.pick(&balancer.way(Some(key))).unwrap().address().host.clone();
        let before: HashMap<u64, String> = (0..4000).map(|key| (key, place(key))).collect();
        let share = |name: &str| before.values().filter(|found| *found == name).count();
        assert!((900..1100).contains(&share("s0")) && (1900..2100).contains(&share("s2")), "{}", share("s2"));
        down(&servers[1]);
        for (key, server) in &before {
            assert_eq!(server == "s1", place(*key) != *server);
        }
    }

    #[test]
    fn server_that_has_failed_is_not_asked_again() {
        let (balancer, servers) = balancer(Balance::RoundRobin, &[(1, 0), (1, 0), (1, 1)]);
        let mut way = balancer.way(None);
        let mut asked = String::new();
        while let Some(server) = balancer.pick(&way) {
            asked.push_str(&server.address().host[1..]);
            way.failed.push(server);
        }
        assert_eq!(asked, "012");
        let mut way = balancer.way(None);
        way.busy.extend([&servers[0], &servers[1]]);
        assert!(balancer.pick(&way).is_none(), "a full group is no reason to use the backup");
    }

    #[test]
    fn share_of_a_server_that_is_back_grows() {
        let (balancer, servers) = balancer(Balance::RoundRobin, &[(1, 0), (1, 0)]);
        let mut candidates: SmallVec<[Candidate<'_>; 8]> = SmallVec::new();
        let kept = (0..1000)
            .filter(|turn| {
                candidates.clear();
                candidates.extend([(0, &servers[0], 0.25), (1, &servers[1], 1.0)]);
                thin(&mut candidates, *turn);
                candidates.len() == 2
            })
            .count();
        assert!((200..300).contains(&kept), "{kept}");
        drop(balancer);
    }
}
