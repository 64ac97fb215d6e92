//! Whether a server, or one address behind its name, takes requests: what checks, requests and operators say of it. In
//! the usual case, nothing is said against it and asking costs one atomic load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::settings::{Ejection, Upstream};

/// Checks say that it is not well.
const DOWN: u8 = 1;
/// Too many requests failed on it.
const EJECTED: u8 = 2;
/// An operator wants no requests sent to it.
const DRAINED: u8 = 4;
/// It is back, and its share is growing.
const RISING: u8 = 8;

/// What share of its requests a server may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Standing {
    /// All of them.
    Full,
    /// This part of them, from 0 to 1.
    Rising(f64),
    /// None, unless nobody else is there.
    Out,
    /// None at all.
    Drained,
}

/// What the servers of an upstream share: which are ejected, and how many may be.
#[derive(Debug)]
pub(super) struct Peers {
    most_ejected: AtomicUsize,
    /// By their numbers, and until when: one whose time is over takes nobody's place, though nobody may have asked for it
    /// since.
    ejected: Mutex<Vec<(usize, Instant)>>,
    /// How many numbers there have been.
    numbers: AtomicUsize,
}

impl Peers {
    /// For an upstream's servers.
    pub(super) fn of(settings: &Upstream) -> Arc<Self> {
        let peers =
            Peers { most_ejected: AtomicUsize::new(0), ejected: Mutex::default(), numbers: AtomicUsize::new(0) };
        peers.resize(settings.servers.len(), &settings.ejection);
        Arc::new(peers)
    }

    /// There are so many now.
    pub(super) fn resize(&self, count: usize, rules: &Ejection) {
        self.most_ejected.store(count * rules.max_share as usize / 100, Relaxed);
    }

    /// Ejects one until then, if there is room for one more.
    fn eject(&self, number: usize, now: Instant, until: Instant) -> bool {
        let mut ejected = self.ejected.lock();
        ejected.retain(|(_, until)| now < *until);
        let has_room = ejected.len() < self.most_ejected.load(Relaxed);
        if has_room {
            ejected.push((number, until));
        }
        has_room
    }

    fn readmit(&self, number: usize) {
        self.ejected.lock().retain(|(ejected, _)| *ejected != number);
    }
}

/// The health of one server.
#[derive(Debug)]
pub(super) struct Health {
    upstream: String,
    server: String,
    rules: Ejection,
    rise: u32,
    fall: u32,
    slow_start: Duration,
    peers: Arc<Peers>,
    /// Among them.
    number: usize,
    flags: AtomicU8,
    /// Failures of requests in a row.
    failures: AtomicU32,
    /// Ejections since the start.
    ejections: AtomicU64,
    times: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    good_checks: u32,
    bad_checks: u32,
    ejected_until: Option<Instant>,
    /// How long the last ejection lasted.
    last_ejection: Duration,
    back_since: Option<Instant>,
    rising_since: Option<Instant>,
}

impl Health {
    /// Of a server of which nothing is known yet, which is taken for well.
    pub(super) fn new(settings: &Upstream, server: String, peers: Arc<Peers>) -> Self {
        Health {
            upstream: settings.name.clone(),
            server,
            rules: settings.ejection.clone(),
            rise: settings.health.rise,
            fall: settings.health.fall,
            slow_start: settings.slow_start,
            number: peers.numbers.fetch_add(1, Relaxed),
            peers,
            flags: AtomicU8::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU64::new(0),
            times: Mutex::default(),
        }
    }

    /// Whether nothing at all speaks against it.
    pub(super) fn is_plain(&self) -> bool {
        self.flags.load(Relaxed) == 0
    }

    /// Whether an operator wants no requests sent to it.
    pub(super) fn is_drained(&self) -> bool {
        self.flags.load(Relaxed) & DRAINED != 0
    }

    /// What share of requests it may have now.
    pub(super) fn standing(&self) -> Standing {
        if self.is_plain() {
            return Standing::Full;
        }
        let now = Instant::now();
        let mut times = self.times.lock();
        if times.ejected_until.is_some_and(|until| now >= until) {
            self.readmit(&mut times, now);
        }
        let flags = self.flags.load(Relaxed);
        if flags & DRAINED != 0 {
            return Standing::Drained;
        }
        if flags & (DOWN | EJECTED) != 0 {
            return Standing::Out;
        }
        let Some(since) = times.rising_since else { return Standing::Full };
        let part = now.duration_since(since).as_secs_f64() / self.slow_start.as_secs_f64().max(f64::MIN_POSITIVE);
        if part >= 1.0 {
            times.rising_since = None;
            self.unset(RISING);
            return Standing::Full;
        }
        Standing::Rising(part)
    }

    /// An exchange went well.
    pub(super) fn succeeded(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// An exchange failed by the server's fault.
    pub(super) fn failed(&self) {
        if self.rules.failures == 0 {
            return;
        }
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        if failures >= self.rules.failures && self.flags.load(Relaxed) & EJECTED == 0 {
            self.eject(failures);
        }
    }

    /// A check came out well, or did not for some reason.
    pub(super) fn checked(&self, outcome: Result<(), String>) {
        let mut times = self.times.lock();
        let is_down = self.flags.load(Relaxed) & DOWN != 0;
        match outcome {
            Ok(()) => {
                times.bad_checks = 0;
                times.good_checks = times.good_checks.saturating_add(1);
                if is_down && times.good_checks >= self.rise {
                    self.unset(DOWN);
                    self.failures.store(0, Relaxed);
                    self.begin_rising(&mut times, Instant::now());
                    tracing::info!(upstream = self.upstream, server = self.server, "server is up again");
                }
            }
            Err(why) => {
                times.good_checks = 0;
                times.bad_checks = times.bad_checks.saturating_add(1);
                if !is_down && times.bad_checks >= self.fall {
                    self.set(DOWN);
                    tracing::warn!(upstream = self.upstream, server = self.server, why, "server is down: checks fail");
                }
            }
        }
    }

    /// Takes the server out for as long as an operator wants, or back in.
    pub(super) fn set_drained(&self, drained: bool) {
        let mut times = self.times.lock();
        match drained {
            true => self.set(DRAINED),
            false if self.is_drained() => {
                self.unset(DRAINED);
                self.begin_rising(&mut times, Instant::now());
            }
            false => {}
        }
    }

    /// The word for its state in metrics and for operators.
    pub(super) fn word(&self) -> &'static str {
        // An ejection may have ended since the last request.
        self.standing();
        let flags = self.flags.load(Relaxed);
        match flags {
            _ if flags & DRAINED != 0 => "drained",
            _ if flags & DOWN != 0 => "down",
            _ if flags & EJECTED != 0 => "ejected",
            _ if flags & RISING != 0 => "rising",
            _ => "up",
        }
    }

    /// Ejections since the start.
    pub(super) fn ejections(&self) -> u64 {
        self.ejections.load(Relaxed)
    }

    fn eject(&self, failures: u32) {
        let now = Instant::now();
        let mut times = self.times.lock();
        if self.flags.load(Relaxed) & EJECTED != 0 {
            return;
        }
        // One that was back for less time than it had been away has not recovered.
        let again = times.back_since.is_some_and(|since| now.duration_since(since) < times.last_ejection);
        let span = if again { (times.last_ejection * 2).min(self.rules.max_time) } else { self.rules.time };
        if !self.peers.eject(self.number, now, now + span) {
            return;
        }
        times.last_ejection = span;
        times.ejected_until = Some(now + span);
        self.set(EJECTED);
        self.ejections.fetch_add(1, Relaxed);
        tracing::warn!(upstream = self.upstream, server = self.server, failures, time = ?span, "server ejected");
    }

    /// Ends an ejection: on probation, for the next failure ejects again.
    fn readmit(&self, times: &mut Times, now: Instant) {
        times.ejected_until = None;
        times.back_since = Some(now);
        self.unset(EJECTED);
        self.peers.readmit(self.number);
        self.failures.store(self.rules.failures.saturating_sub(1), Relaxed);
        self.begin_rising(times, now);
        tracing::info!(upstream = self.upstream, server = self.server, "server is tried again");
    }

    fn begin_rising(&self, times: &mut Times, now: Instant) {
        if !self.slow_start.is_zero() {
            times.rising_since = Some(now);
            self.set(RISING);
        }
    }

    fn set(&self, flag: u8) {
        self.flags.fetch_or(flag, Relaxed);
    }

    fn unset(&self, flag: u8) {
        self.flags.fetch_and(!flag, Relaxed);
    }
}

impl Drop for Health {
    /// One that is no more leaves its place among the ejected to others.
    fn drop(&mut self) {
        if self.flags.load(Relaxed) & EJECTED != 0 {
            self.peers.readmit(self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::config::settings::UpstreamServer;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings(servers: usize) -> Upstream {
        let mut settings = Upstream::usual("app", vec![UpstreamServer::new(false, "a", 80); servers]);
        settings.ejection.failures = 2;
        settings
    }

    fn pair(settings: &Upstream) -> (Health, Health) {
        let peers = Peers::of(settings);
        (Health::new(settings, "a".into(), peers.clone()), Health::new(settings, "b".into(), peers))
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_eject_for_a_while_and_then_twice_as_long() {
        let (health, _) = pair(&settings(2));
        health.failed();
        health.succeeded();
        health.failed();
        assert_eq!(health.standing(), Standing::Full, "not in a row");
        health.failed();
        assert_eq!((health.standing(), health.word()), (Standing::Out, "ejected"));
        advance(10 * SECOND).await;
        assert_eq!(health.standing(), Standing::Full);
        health.failed();
        assert_eq!(health.standing(), Standing::Out, "on probation, one failure is enough");
        advance(19 * SECOND).await;
        assert_eq!(health.standing(), Standing::Out);
        advance(SECOND).await;
        assert_eq!(health.standing(), Standing::Full);
        advance(21 * SECOND).await;
        health.failed();
        advance(10 * SECOND).await;
        assert_eq!((health.standing(), health.ejections()), (Standing::Full, 3), "it had recovered meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn ejections_never_take_more_than_their_share() {
        for (servers, both) in [(1, false), (2, false), (4, true)] {
            let (one, other) = pair(&settings(servers));
            for health in [&one, &other] {
                health.failed();
                health.failed();
            }
            assert_eq!(one.standing() == Standing::Out, servers > 1, "{servers}");
            assert_eq!(other.standing() == Standing::Out, both, "{servers}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ejection_that_is_over_leaves_its_place_though_nobody_asks() {
        let (backup, primary) = pair(&settings(2));
        let fail_twice = |health: &Health| (0..2).for_each(|_| health.failed());
        fail_twice(&backup);
        fail_twice(&primary);
        assert_eq!(primary.standing(), Standing::Full, "there is room for one");
        advance(10 * SECOND).await;
        fail_twice(&primary);
        assert_eq!((primary.standing(), backup.standing()), (Standing::Out, Standing::Full));
        fail_twice(&backup);
        assert_eq!(backup.standing(), Standing::Full, "now it is the other's place");
        drop(primary);
        fail_twice(&backup);
        assert_eq!(backup.standing(), Standing::Out);
    }

    #[tokio::test(start_paused = true)]
    async fn checks_take_a_server_out_and_bring_it_back_slowly() {
        let (health, _) = pair(&Upstream { slow_start: 10 * SECOND, ..settings(1) });
        for _ in 0..2 {
            health.checked(Err("refused".into()));
        }
        health.checked(Ok(()));
        for _ in 0..3 {
            assert_eq!(health.word(), "up");
            health.checked(Err("refused".into()));
        }
        assert_eq!((health.standing(), health.word()), (Standing::Out, "down"));
        health.checked(Ok(()));
        assert_eq!(health.word(), "down");
        health.checked(Ok(()));
        advance(4 * SECOND).await;
        assert_eq!((health.standing(), health.word()), (Standing::Rising(0.4), "rising"));
        advance(6 * SECOND).await;
        assert_eq!((health.standing(), health.word()), (Standing::Full, "up"));
    }

    #[tokio::test(start_paused = true)]
    async fn drained_server_comes_back_when_it_is_enabled() {
        let (health, _) = pair(&settings(2));
        health.set_drained(true);
        assert_eq!((health.standing(), health.word()), (Standing::Drained, "drained"));
        health.set_drained(false);
        assert_eq!((health.standing(), health.word()), (Standing::Full, "up"));
    }
}
