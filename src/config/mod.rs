//! Configuration: the TOML file as written, what is wrong with it, and the settings it resolves to.
//!
//! [`load`] runs, in this order: parse (`tree`), put the environment in (`interpolate`), hold the document against
//! the JSON Schema (`check`), read it (`file`), put the command line over it (`overrides`), resolve (`resolve`).
//! Every step reports all it finds; [`Diagnostics`] shows each with its place.

mod check;
mod defaults;
mod diagnostics;
mod document;
mod file;
mod interpolate;
mod overrides;
mod reach;
mod resolve;
mod scalar;
mod schema;
pub mod settings;
mod tree;
mod values;
mod view;
pub mod watch;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Deserialize;

pub use diagnostics::{Diagnostic, Diagnostics, Place, Severity};
pub use document::Document;
pub use interpolate::Env;
pub use overrides::Overrides;
pub use reach::{Reach, reach};
pub use schema::schema;
pub use view::{changes, masked};

use diagnostics::Finding;
use file::File;
use resolve::{Problem, Surroundings, resolve};
use settings::Settings;
use tree::Node;

/// Where a configuration comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// No file: defaults and the command line.
    #[default]
    None,
    /// A TOML file. Relative paths in it count from its directory.
    File(PathBuf),
    /// TOML text; `name` stands in messages. Relative paths in it count from the working directory.
    Text {
        /// What it is called in messages.
        name: String,
        /// The text.
        text: String,
    },
}

impl Source {
    /// Its name in messages, its text, and the directory that relative paths count from.
    fn open(&self) -> Result<(String, String, Option<&Path>), Diagnostics> {
        match self {
            Source::None => Ok((String::new(), String::new(), None)),
            Source::Text { name, text } => Ok((name.clone(), text.clone(), None)),
            Source::File(path) => {
                let name = path.display().to_string();
                let text = std::fs::read_to_string(path).map_err(|error| {
                    Diagnostics::locate(&name, "", vec![Finding::nowhere(format!("cannot read {name}: {error}"))])
                })?;
                Ok((name, text, path.parent()))
            }
        }
    }
}

/// Reads, checks and resolves a configuration. `env` looks up what `${VAR}` stands for, and the directory for a
/// generated control token; `overrides` go before the file.
///
/// # Errors
/// Everything that is wrong, not only the first. What is hardly meant is told by [`Settings::warnings`].
pub fn load(source: &Source, env: &Env<'_>, overrides: &Overrides) -> Result<Settings, Diagnostics> {
    load_with(source, env, overrides, machine_memory())
}

/// [`load`], with the bytes of memory that there are, if known.
fn load_with(
    source: &Source,
    env: &Env<'_>,
    overrides: &Overrides,
    memory: Option<u64>,
) -> Result<Settings, Diagnostics> {
    let (name, text, base) = source.open()?;
    let mut findings = Vec::new();
    let settings = read(&text, env, overrides, base, memory, &mut findings);
    let is_warning = |finding: &Finding| finding.severity == Severity::Warning;
    let (warnings, errors): (Vec<_>, Vec<_>) = findings.into_iter().partition(is_warning);
    match settings {
        Some(settings) if errors.is_empty() => {
            Ok(Settings { warnings: Diagnostics::locate(&name, &text, warnings).into_vec(), ..settings })
        }
        _ => Err(Diagnostics::locate(&name, &text, errors)),
    }
}

/// `None` only together with findings.
fn read(
    text: &str,
    env: &Env<'_>,
    overrides: &Overrides,
    base: Option<&Path>,
    memory: Option<u64>,
    findings: &mut Vec<Finding>,
) -> Option<Settings> {
    let mut document = tree::parse(text, findings)?;
    document.interpolate(text, env, findings);
    check::check(&schema::checked(), &mut document, findings);
    let mut file = match File::deserialize(&document) {
        Ok(file) => file,
        // The check is the stricter of the two, so this can't be unless the check found something as well.
        Err(error) => {
            findings.push(Finding::nowhere(error.to_string()));
            return None;
        }
    };
    overrides.apply(&mut file, findings);
    let surroundings = Surroundings {
        base,
        state: state_directory(env),
        memory,
        overrides,
        document: &document,
        sound: findings.is_empty(),
    };
    let (settings, problems) = resolve(file, &surroundings);
    findings.extend(problems.into_iter().map(|problem| place(problem, &document)));
    Some(settings)
}

fn place(problem: Problem, document: &Node) -> Finding {
    let span = document.span_of(&problem.path);
    Finding { severity: problem.severity, message: problem.message, span, help: problem.help }
}

/// Where a service manager, else the user's environment, wants state to be kept.
fn state_directory(env: &Env<'_>) -> PathBuf {
    let variable = |name| env(name).filter(|value| !value.is_empty());
    if let Some(directory) = variable("STATE_DIRECTORY") {
        // systemd gives several, separated by colons; the first is ours.
        return PathBuf::from(directory.split(':').next().unwrap_or_default());
    }
    if let Some(state) = variable("XDG_STATE_HOME") {
        return PathBuf::from(state).join("larder");
    }
    match variable("HOME") {
        Some(home) => PathBuf::from(home).join(".local/state/larder"),
        None => PathBuf::from("/var/lib/larder"),
    }
}

/// Bytes of memory; `None`: the system does not say. Asked until it has answered once: that takes descriptors, and a
/// reload must not depend on there being any.
fn machine_memory() -> Option<u64> {
    static KNOWN: OnceLock<u64> = OnceLock::new();
    KNOWN.get().copied().or_else(|| {
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        let found = least(system.total_memory(), || system.cgroup_limits().map(|cgroup| cgroup.total_memory))?;
        Some(*KNOWN.get_or_init(|| found))
    })
}

/// The machine's memory, or the cgroup's where that is less. sysinfo gives 0 for what it cannot read, and panics when it
/// is asked for the cgroup's then.
fn least(machine: u64, cgroup: impl FnOnce() -> Option<u64>) -> Option<u64> {
    (machine > 0).then(|| cgroup().map_or(machine, |cgroup| cgroup.min(machine)))
}

#[cfg(test)]
mod tests;
