//! What the start would open: whether all that the settings name is there, can be read and is of use.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::fs::{Access, access};

use crate::config::Document;
use crate::config::settings::{Listener, LogTarget, Route, Settings, Upstream};
use crate::control::token;
use crate::proxy::guard::Guard;
use crate::proxy::purge_rules;
use crate::server;
use crate::upstream::Pool;

/// All that is wrong: where the file says it, and what.
pub(super) fn faults(settings: &Settings, document: &Document) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    for (index, listener) in settings.listeners.iter().enumerate() {
        of_listener(&format!("listeners[{index}].tls"), listener, &mut faults);
    }
    for upstream in &settings.upstreams {
        of_upstream(&format!("upstreams.{}", upstream.name), upstream, &mut faults);
    }
    for (index, route) in settings.routes.iter().enumerate() {
        of_route(&format!("routes[{index}]"), route, &mut faults);
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

fn of_listener(path: &str, listener: &Listener, faults: &mut Vec<(String, String)>) {
    let Some(tls) = &listener.tls else { return };
    let mut files = Vec::new();
    for (index, pair) in tls.certificates.iter().enumerate() {
        files.push((format!("{path}.certificates[{index}].cert"), &*pair.cert));
        files.push((format!("{path}.certificates[{index}].key"), &*pair.key));
    }
    files.extend(tls.client.as_ref().map(|client| (format!("{path}.client_ca"), &*client.ca)));
    readable_then(path, &files, || server::check_tls(std::slice::from_ref(listener)), faults);
}

fn of_upstream(path: &str, upstream: &std::sync::Arc<Upstream>, faults: &mut Vec<(String, String)>) {
    let mut files: Vec<_> =
        upstream.ca_file.as_deref().map(|file| (format!("{path}.ca_file"), file)).into_iter().collect();
    if let Some((cert, key)) = &upstream.client_certificate {
        files.extend([(format!("{path}.client_cert"), &**cert), (format!("{path}.client_key"), key)]);
    }
    // A `body` stands in for a page that cannot be read.
    let page = upstream.maintenance.as_ref().filter(|page| page.body.is_none()).and_then(|page| page.file.as_deref());
    files.extend(page.map(|file| (format!("{path}.maintenance.file"), file)));
    readable_then(path, &files, || Pool::new(upstream.clone()), faults);
}

fn of_route(path: &str, route: &Route, faults: &mut Vec<(String, String)>) {
    let users = route.access.basic.as_ref().map(|basic| (format!("{path}.access.basic.file"), &*basic.file));
    let of_route = |error: &dyn std::fmt::Display| format!("route `{}`: {error}", route.name);
    let guard = || Guard::of(route, None).map_err(|error| of_route(&error));
    readable_then(&format!("{path}.access"), users.as_slice(), guard, faults);
    if let Err(error) = purge_rules::check(route) {
        faults.push((format!("{path}.invalidate"), of_route(&error)));
    }
}

/// Each file that cannot be read; when all can, what setting them up says.
fn readable_then<T, E: std::fmt::Display>(
    path: &str,
    files: &[(String, &Path)],
    set_up: impl FnOnce() -> Result<T, E>,
    faults: &mut Vec<(String, String)>,
) {
    let before = faults.len();
    faults.extend(files.iter().filter_map(|(path, file)| unreadable(path, file)));
    if faults.len() == before
        && let Err(error) = set_up()
    {
        faults.push((path.to_owned(), error.to_string()));
    }
}

fn unreadable(path: &str, file: &Path) -> Option<(String, String)> {
    // A directory opens, but cannot be read.
    let opened = File::open(file).and_then(|file| file.metadata()).and_then(|found| match found.is_dir() {
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => Ok(()),
    });
    fault(path, file, "cannot read", opened)
}

fn fault(path: &str, file: &Path, what: &str, outcome: io::Result<()>) -> Option<(String, String)> {
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
