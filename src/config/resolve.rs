//! From the file as written to the settings as meant: defaults filled in, names looked up, contradictions found.

mod control;
mod devices;
mod disk;
mod effect;
mod front;
mod invalidation;
mod private;
mod redis;
mod rewrite;
mod routes;
mod tags;
mod unreachable;
mod upstreams;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::defaults;
use super::diagnostics::{Severity, nearest};
use super::file::{self, File};
use super::overrides::Overrides;
use super::scalar::{Deadline, Memory, Size, Span, Written, size_text};
use super::settings::{
    AccessLog, ClientTimeouts, Coding, Compression, CompressionCoding, Control, Debug, Limits, ListenAddress,
    LogFormat, LogTarget, MemoryTier, Settings, StaticClass,
};
use super::tree::Node;
use super::values::{Endpoint, Name};

/// What the settings depend on beside the file.
pub(super) struct Surroundings<'a> {
    /// Directory that relative paths count from; the working directory where there is no file.
    pub(super) base: Option<&'a Path>,
    /// Where a generated token is kept by default.
    pub(super) state: PathBuf,
    /// Bytes of memory that the machine or cgroup has; `None`: not known.
    pub(super) memory: Option<u64>,
    /// What the command line said; it is in the file already, but has no place there.
    pub(super) overrides: &'a Overrides,
    /// The document, which tells what is missing from what was written wrongly and is reported already.
    pub(super) document: &'a Node,
    /// Nothing wrong was found in the document.
    pub(super) sound: bool,
}

/// An error or warning about what the file says as a whole, at a path such as `routes[2].upstream`; empty: nowhere in
/// the file.
pub(super) struct Problem {
    pub(super) severity: Severity,
    pub(super) path: String,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// Resolves a file. The settings are of use only when there are no problems.
pub(super) fn resolve(file: File, surroundings: &Surroundings<'_>) -> (Settings, Vec<Problem>) {
    let mut resolver = Resolver { surroundings, problems: Vec::new() };
    let settings = resolver.settings(file);
    if surroundings.sound && resolver.problems.is_empty() {
        resolver.warn_of_no_effect(&settings);
    }
    (settings, resolver.problems)
}

/// Resolves the control API alone, whatever else the file says.
pub(super) fn resolve_control(
    control: file::Control,
    surroundings: &Surroundings<'_>,
) -> (Option<Control>, Vec<Problem>) {
    let mut resolver = Resolver { surroundings, problems: Vec::new() };
    let (control, _) = resolver.control(control);
    (control, resolver.problems)
}

struct Resolver<'a> {
    surroundings: &'a Surroundings<'a>,
    problems: Vec<Problem>,
}

impl Resolver<'_> {
    fn settings(&mut self, file: File) -> Settings {
        let memory = self.memory(&file.cache);
        let mut addresses = self.listener_addresses(&file.listeners);
        let listeners = self.listeners(file.listeners);
        let metrics_assumed = file.metrics.address.is_none();
        let metrics = endpoint(file.metrics.address, defaults::METRICS);
        let (control, purge_method) = self.control(file.control);
        let overrides = self.surroundings.overrides;
        addresses.extend(metrics.map(|it| (it, place("metrics.address", overrides.metrics.is_some()))));
        addresses
            .extend(control.as_ref().map(|it| (it.address, place("control.address", overrides.control.is_some()))));
        self.check_addresses(&addresses);
        let upstreams = self.upstreams(file.upstreams);
        let compression = compression(&file.compression);
        let compression = (compression, file.compression.enabled.unwrap_or(true));
        let devices = Arc::new(self.devices(file.devices));
        let disk = self.disk(&file.cache.disk);
        let mut rules = file.cache.rules;
        if let Some(disk) = &disk {
            rules.max_object.get_or_insert(Written(Size(disk.max_object)));
        }
        let routes = self.routes(file.routes, &upstreams, &rules, compression, &devices);
        let access_log = AccessLog::default();
        Settings {
            listeners,
            metrics,
            metrics_assumed,
            control,
            purge_method,
            upstreams,
            routes,
            devices,
            static_classes: self.static_classes(file.static_files),
            memory,
            disk,
            redis: self.redis(file.cache.redis),
            tags: tags::tags(file.cache.tags),
            limits: self.limits(&file.limits),
            client_timeouts: client_timeouts(&file.timeouts),
            trusted_proxies: plain_list(file.server.trusted_proxies).unwrap_or_default(),
            trusted_clients: plain_list(file.server.trusted_clients).unwrap_or_else(defaults::trusted_clients),
            debug: Debug {
                bypass_all: file.debug.bypass_all.unwrap_or_default(),
                bypass_header: file.debug.bypass_header.map(|Written(name)| name),
            },
            access_log: AccessLog {
                target: match file.access_log.target {
                    Some(Written(LogTarget::File(path))) => LogTarget::File(self.path(path)),
                    Some(Written(target)) => target,
                    None => access_log.target,
                },
                format: match file.access_log.format {
                    Some(file::LogFormat::Json) => LogFormat::Json,
                    Some(file::LogFormat::Combined) => LogFormat::Combined,
                    None => access_log.format,
                },
            },
            log_level: file.log.level.map_or_else(|| defaults::LOG_LEVEL.to_owned(), |Written(level)| level.0),
            shutdown_grace: file.server.shutdown_grace.map_or(defaults::SHUTDOWN_GRACE, |Written(Span(span))| span),
            workers: file.server.workers.unwrap_or_default(),
            warnings: Vec::new(),
        }
    }

    fn problem(&mut self, path: impl Into<String>, message: impl Into<String>, help: Option<String>) {
        self.problems.push(Problem { severity: Severity::Error, path: path.into(), message: message.into(), help });
    }

    fn warning(&mut self, path: impl Into<String>, message: impl Into<String>, help: Option<String>) {
        self.problems.push(Problem { severity: Severity::Warning, path: path.into(), message: message.into(), help });
    }

    /// A path of the file, relative ones from the file's directory.
    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.surroundings.base.map_or_else(|| path.as_ref().to_owned(), |base| base.join(path.as_ref()))
    }

    /// Addresses with their places. Listeners whose address is faulty keep their index.
    fn listener_addresses(&self, listeners: &[file::Listener]) -> Vec<(SocketAddr, String)> {
        if listeners.is_empty() {
            return vec![(defaults::LISTEN, String::new())];
        }
        let overridden = !self.surroundings.overrides.listen.is_empty();
        let addressed = |(index, listener): (usize, &file::Listener)| {
            let Some(Written(ListenAddress::Tcp(address))) = &listener.address else { return None };
            Some((*address, place(&format!("listeners[{index}].address"), overridden)))
        };
        listeners.iter().enumerate().filter_map(addressed).collect()
    }

    fn check_addresses(&mut self, addresses: &[(SocketAddr, String)]) {
        for (index, (address, path)) in addresses.iter().enumerate() {
            let earlier = || addresses[..index].iter().map(|(other, _)| other).filter(|_| address.port() != 0);
            if earlier().any(|other| other == address) {
                self.problem(path.clone(), format!("address {address} is used twice"), None);
            } else if let Some(other) = earlier().find(|other| overlap(address, other)) {
                let help = match other.ip().is_unspecified() {
                    true => format!("name one of them, or give each address of the machine its own instead of {other}"),
                    false => "name one of them".to_owned(),
                };
                self.problem(path.clone(), format!("address {address} overlaps with {other}"), Some(help));
            }
        }
    }

    fn static_classes(&mut self, written: file::Ordered<Name, file::StaticFiles>) -> Vec<Arc<StaticClass>> {
        let mut built_in = defaults::static_classes();
        let mut own = Vec::new();
        for (name, class) in written.0 {
            let name = name.0;
            let disabled = class.enabled == Some(false);
            let Some(index) = built_in.iter().position(|known| known.name == name) else {
                own.extend(self.own_class(&name, class).filter(|_| !disabled));
                continue;
            };
            if disabled {
                built_in.remove(index);
            } else {
                patch_class(&mut built_in[index], class);
            }
        }
        // Own classes first: they are the narrower ones.
        own.into_iter().chain(built_in).map(Arc::new).collect()
    }

    fn own_class(&mut self, name: &str, class: file::StaticFiles) -> Option<StaticClass> {
        let path = format!("static_files.{name}");
        let missing = [
            ("extensions", class.extensions.is_none()),
            ("types", class.types.is_none()),
            ("max_age", class.max_age.is_none()),
        ];
        let missing: Vec<_> = missing.iter().filter(|(_, missing)| *missing).map(|(key, _)| *key).collect();
        if !missing.is_empty() {
            let document = self.surroundings.document;
            let unwritten: Vec<_> =
                missing.into_iter().filter(|key| !document.mentions(&format!("{path}.{key}"))).collect();
            if unwritten.is_empty() {
                return None;
            }
            let names: Vec<String> = defaults::static_classes().into_iter().map(|class| class.name).collect();
            let help = match nearest(name, names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean the built-in class `{near}`?"),
                None => format!("only the built-in classes have defaults: {}", names.join(", ")),
            };
            let message = format!("the new class `{name}` lacks `{}`", unwritten.join("`, `"));
            self.problem(path, message, Some(help));
            return None;
        }
        let mut resolved = StaticClass {
            name: name.to_owned(),
            extensions: Vec::new(),
            types: Vec::new(),
            max_age: Duration::ZERO,
            versioned_max_age: defaults::static_classes().first().and_then(|class| class.versioned_max_age),
            override_upstream: false,
            with_cookies: true,
        };
        patch_class(&mut resolved, class);
        Some(resolved)
    }

    fn memory(&mut self, cache: &file::Cache) -> MemoryTier {
        let path = if self.surroundings.overrides.memory.is_some() { "" } else { "cache.memory" };
        let there = self.surroundings.memory;
        let size = match cache.memory.as_ref().map_or(defaults::MEMORY, |Written(memory)| *memory) {
            Memory::Bytes(bytes) => bytes,
            Memory::Percent(percent) => {
                if there.is_none() {
                    let help = "write a size, e.g. `512MiB`, or try again when files can be opened".to_owned();
                    self.problem(path, "cannot find out how much memory there is", Some(help));
                }
                there.unwrap_or_default().saturating_mul(percent.into()) / 100
            }
        };
        if let Some(there) = there.filter(|there| size > *there) {
            let there = size_text(there >> 20 << 20);
            let message = format!("a memory budget of {} is more than the {there} there are", size_text(size));
            self.problem(path, message, None);
        }
        MemoryTier {
            size,
            collapse_wait: span(cache.collapse_wait.as_ref(), defaults::COLLAPSE_WAIT),
            uncacheable_memory: span(cache.uncacheable_memory.as_ref(), defaults::UNCACHEABLE_MEMORY),
        }
    }

    fn limits(&mut self, limits: &file::Limits) -> Limits {
        let usual = Limits::default();
        let size = |written: &Option<Written<Size>>, usual: usize| {
            written.as_ref().map_or(usual, |Written(Size(bytes))| usize::try_from(*bytes).unwrap_or(usize::MAX))
        };
        let head = size(&limits.head, usual.head);
        // A head that was made smaller takes the defaults of its parts with it.
        let resolved = Limits {
            head,
            field: size(&limits.field, usual.field.min(head)),
            uri: size(&limits.uri, usual.uri.min(head)),
            fields: limits.fields.unwrap_or(usual.fields),
            connections: limits.connections.unwrap_or(usual.connections),
            http2_streams: limits.http2_streams.unwrap_or(usual.http2_streams),
            ranges: limits.ranges.unwrap_or(usual.ranges),
        };
        for (key, bytes) in [("head", resolved.head), ("field", resolved.field), ("uri", resolved.uri)] {
            let (written, most) =
                (self.surroundings.document.mentions(&format!("limits.{key}")), size_text(head as u64));
            let message = match bytes {
                _ if !written => continue,
                ..256 => format!("a limit of {bytes} bytes would refuse everything"),
                _ if bytes > 16 << 20 => format!("{} is too large, the most is 16MiB", size_text(bytes as u64)),
                _ if bytes > head => format!("`{key}` is more than the {most} of `head`"),
                _ => continue,
            };
            self.problem(format!("limits.{key}"), message, None);
        }
        resolved
    }
}

/// What the command line says has no place in the file.
fn place(path: &str, overridden: bool) -> String {
    if overridden { String::new() } else { path.to_owned() }
}

fn patch_class(class: &mut StaticClass, written: file::StaticFiles) {
    if let Some(extensions) = written.extensions {
        class.extensions = extensions.into_iter().map(|Written(extension)| extension.0).collect();
    }
    if let Some(types) = written.types {
        class.types = types.into_iter().map(|Written(kind)| kind.0).collect();
    }
    if let Some(Written(Span(max_age))) = written.max_age {
        class.max_age = max_age;
    }
    if let Some(Written(Span(max_age))) = written.versioned_max_age {
        class.versioned_max_age = Some(max_age).filter(|span| !span.is_zero());
    }
    if let Some(overrides) = written.overrides {
        class.override_upstream = overrides;
    }
    if let Some(with_cookies) = written.with_cookies {
        class.with_cookies = with_cookies;
    }
}

fn compression(written: &file::Compression) -> Compression {
    let usual = Compression::default();
    let codings = match &written.codings {
        None => usual.codings.iter().map(|coding| coding.coding).collect(),
        Some(codings) => {
            let mut once = Vec::new();
            for coding in codings {
                let coding = match coding {
                    file::Coding::Br => Coding::Brotli,
                    file::Coding::Zstd => Coding::Zstd,
                    file::Coding::Gzip => Coding::Gzip,
                };
                if !once.contains(&coding) {
                    once.push(coding);
                }
            }
            once
        }
    };
    let leveled = |coding| {
        let usual = CompressionCoding::usual(coding);
        let level = match coding {
            Coding::Brotli => written.levels.br,
            Coding::Zstd => written.levels.zstd,
            Coding::Gzip => written.levels.gzip,
        };
        CompressionCoding { level: level.unwrap_or(usual.level), ..usual }
    };
    Compression {
        codings: codings.into_iter().map(leveled).collect(),
        min_size: written.min_size.as_ref().map_or(usual.min_size, |Written(Size(bytes))| *bytes),
        types: written
            .types
            .as_ref()
            .map_or(usual.types, |types| types.iter().map(|Written(kind)| kind.0.clone()).collect()),
    }
}

fn client_timeouts(written: &file::Timeouts) -> ClientTimeouts {
    let usual = ClientTimeouts::default();
    ClientTimeouts {
        header: deadline(written.header.clone(), usual.header),
        idle: deadline(written.idle.clone(), usual.idle),
        keep_alive: deadline(written.keep_alive.clone(), usual.keep_alive),
    }
}

fn endpoint(written: Option<Written<Endpoint>>, usual: SocketAddr) -> Option<SocketAddr> {
    match written {
        None => Some(usual),
        Some(Written(Endpoint::Off)) => None,
        Some(Written(Endpoint::At(address))) => Some(address),
    }
}

fn deadline(written: Option<Written<Deadline>>, usual: Duration) -> Duration {
    written.map_or(usual, |Written(Deadline(span))| span)
}

fn span(written: Option<&Written<Span>>, usual: Duration) -> Duration {
    written.map_or(usual, |Written(Span(span))| *span)
}

fn plain_list<T>(written: Option<Vec<Written<T>>>) -> Option<Vec<T>> {
    written.map(|list| list.into_iter().map(|Written(value)| value).collect())
}

/// Whether only one of two addresses that differ can be listened on: `0.0.0.0` is all of IPv4, `[::]` all of either.
fn overlap(one: &SocketAddr, other: &SocketAddr) -> bool {
    let holds = |all: &SocketAddr, one: &SocketAddr| all.ip().is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    one.port() == other.port() && (holds(one, other) || holds(other, one))
}
