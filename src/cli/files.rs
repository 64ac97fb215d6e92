//! The files that the settings name: whether each is there, can be read and is of use.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::config::settings::{Listener, LogTarget, Route, Settings, Upstream};
use crate::config::{Diagnostics, Document, Source};
use crate::control::token;
use crate::proxy::guard::Guard;
use crate::proxy::purge_rules;
use crate::server;
use crate::upstream::Pool;

/// All that is wrong with them, where the configuration names them; `None`: nothing.
///
/// # Errors
/// The configuration itself cannot be read.
pub(super) fn faults(settings: &Settings, source: &Source) -> Result<Option<Diagnostics>, Diagnostics> {
    let document = Document::read(source)?;
    Ok(document.diagnostics(all_faults(settings, &document)))
}

/// All that are read.
pub(super) fn named(settings: &Settings) -> Vec<PathBuf> {
    let listeners = settings.listeners.iter().flat_map(|listener| of_listener("", listener));
    let upstreams = settings.upstreams.iter().flat_map(|upstream| of_upstream("", upstream));
    let routes = settings.routes.iter().flat_map(|route| of_route("", route));
    listeners.chain(upstreams).chain(routes).map(|(_, file)| file.to_owned()).collect()
}

/// A file, and where the configuration names it.
type Named<'a> = (String, &'a Path);

/// Where something is wrong, and what.
type Fault = (String, String);

fn all_faults(settings: &Settings, document: &Document) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (index, listener) in settings.listeners.iter().enumerate() {
        let path = format!("listeners[{index}].tls");
        let set_up = || server::check_tls(std::slice::from_ref(listener));
        readable_then(&path, &of_listener(&path, listener), set_up, &mut faults);
    }
    for upstream in &settings.upstreams {
        let path = format!("upstreams.{}", upstream.name);
        readable_then(&path, &of_upstream(&path, upstream), || Pool::new(upstream.clone()), &mut faults);
    }
    for (index, route) in settings.routes.iter().enumerate() {
        let path = format!("routes[{index}]");
        let of_this = |error: &dyn std::fmt::Display| format!("route `{}`: {error}", route.name);
        let guard = || Guard::of(route, None).map_err(|error| of_this(&error));
        readable_then(&format!("{path}.access"), &of_route(&path, route), guard, &mut faults);
        if let Err(error) = purge_rules::check(route) {
            faults.push((format!("{path}.invalidate"), of_this(&error)));
        }
    }
    if let Some(server) = settings.redis.purging.as_ref() {
        faults.extend(server.ca_file.as_deref().and_then(|file| unreadable("cache.redis.ca_file", file)));
    }
    if let LogTarget::File(path) = &settings.access_log.target {
        faults.extend(fault("access_log.target", path, "cannot write", appendable(path)));
    }
    // The usual place of the token is that of the user who runs larder, who need not be the one who checks.
    let token_file = settings.control.as_ref().filter(|control| control.token.is_none()).map(|it| &it.token_file);
    if let Some(path) = token_file.filter(|_| document.mentions("control.token_file")) {
        let read = token::read(path);
        faults.extend(match read {
            Err(token::TokenError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                fault("control.token_file", path, "cannot write", creatable(path))
            }
            read => read.err().map(|error| ("control.token_file".to_owned(), error.to_string())),
        });
    }
    faults
}

fn of_listener<'a>(path: &str, listener: &'a Listener) -> Vec<Named<'a>> {
    let Some(tls) = &listener.tls else { return Vec::new() };
    let mut files = Vec::new();
    for (index, pair) in tls.certificates.iter().enumerate() {
        files.push((format!("{path}.certificates[{index}].cert"), &*pair.cert));
        files.push((format!("{path}.certificates[{index}].key"), &*pair.key));
    }
    files.extend(tls.client.as_ref().map(|client| (format!("{path}.client_ca"), &*client.ca)));
    files
}

fn of_upstream<'a>(path: &str, upstream: &'a Upstream) -> Vec<Named<'a>> {
    let mut files: Vec<_> =
        upstream.ca_file.as_deref().map(|file| (format!("{path}.ca_file"), file)).into_iter().collect();
    if let Some((cert, key)) = &upstream.client_certificate {
        files.extend([(format!("{path}.client_cert"), &**cert), (format!("{path}.client_key"), key)]);
    }
    // A `body` stands in for a page that cannot be read.
    let page = upstream.maintenance.as_ref().filter(|page| page.body.is_none()).and_then(|page| page.file.as_deref());
    files.extend(page.map(|file| (format!("{path}.maintenance.file"), file)));
    files
}

fn of_route<'a>(path: &str, route: &'a Route) -> Vec<Named<'a>> {
    let users = route.access.basic.as_ref().map(|basic| (format!("{path}.access.basic.file"), &*basic.file));
    users.into_iter().collect()
}

/// Each file that cannot be read; when all can, what setting them up says.
fn readable_then<T, E: std::fmt::Display>(
    path: &str,
    files: &[Named<'_>],
    set_up: impl FnOnce() -> Result<T, E>,
    faults: &mut Vec<Fault>,
) {
    let before = faults.len();
    faults.extend(files.iter().filter_map(|(path, file)| unreadable(path, file)));
    if faults.len() == before
        && let Err(error) = set_up()
    {
        faults.push((path.to_owned(), error.to_string()));
    }
}

fn unreadable(path: &str, file: &Path) -> Option<Fault> {
    // A directory opens, but cannot be read.
    let opened = File::open(file).and_then(|file| file.metadata()).and_then(|found| match found.is_dir() {
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => Ok(()),
    });
    fault(path, file, "cannot read", opened)
}

fn fault(path: &str, file: &Path, what: &str, outcome: io::Result<()>) -> Option<Fault> {
    outcome.err().map(|error| (path.to_owned(), format!("{what} {}: {error}", file.display())))
}

/// Whether a log can be appended to, without leaving one.
fn appendable(file: &Path) -> io::Result<()> {
    match OpenOptions::new().append(true).open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => writable(directory_of(file)),
        opened => opened.map(drop),
    }
}

/// Whether a file can be made, with the directories that lead to it.
fn creatable(file: &Path) -> io::Result<()> {
    let there = directory_of(file).ancestors().find(|directory| directory.exists());
    writable(there.unwrap_or_else(|| Path::new(".")))
}

fn writable(directory: &Path) -> io::Result<()> {
    Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
}

fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
