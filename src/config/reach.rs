//! Where a file says that its control API is, for commands that look for a running larder: they need nothing else of
//! it, so that a mistake elsewhere must not keep them from helping.

use serde::Deserialize;

use super::diagnostics::Finding;
use super::file::File;
use super::resolve::{Surroundings, resolve_control};
use super::settings::Control;
use super::tree::{self, Node, Value};
use super::{Diagnostics, Env, Overrides, Source, check, load, place, schema, state_directory};

/// The control API that a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Its address and token; `None` where it is turned off. Of a file with errors it has no further tokens.
    pub control: Option<Control>,
    /// Errors of the file that do not matter here.
    pub errors_elsewhere: usize,
}

/// Reads where the control API is; `address` goes before the file's. With `given`, a token from elsewhere, those of
/// the file do not matter.
///
/// # Errors
/// The file cannot be read, or what it says of the control API's address and token is wrong.
pub fn reach(source: &Source, env: &Env<'_>, address: Option<&str>, given: bool) -> Result<Reach, Diagnostics> {
    let overrides = Overrides {
        // Without a file there must be an upstream; which one does not matter here.
        upstream: (*source == Source::None).then(|| "http://127.0.0.1".to_owned()),
        control: address.map(str::to_owned),
        ..Overrides::default()
    };
    let all = match load(source, env, &overrides) {
        Ok(settings) => return Ok(Reach { control: settings.control, errors_elsewhere: 0 }),
        Err(diagnostics) => diagnostics,
    };
    // What cannot be read at all has been said.
    let Ok((name, text, base)) = source.open() else { return Err(all) };
    let mut findings = Vec::new();
    let mut needed = vec!["token", "token_file"];
    if given {
        needed.clear();
    }
    if address.is_none() {
        needed.push("address");
    }
    let mut document = control_alone(&text, &needed, &mut findings);
    document.interpolate(&text, env, &mut findings);
    check::check(&schema::checked(), &mut document, &mut findings);
    let mut file = File::deserialize(&document).unwrap_or_default();
    overrides.apply(&mut file, &mut findings);
    let surroundings = Surroundings {
        base,
        state: state_directory(env),
        memory: None,
        overrides: &overrides,
        document: &document,
        sound: findings.is_empty(),
    };
    let (control, problems) = resolve_control(file.control, &surroundings);
    findings.extend(problems.into_iter().map(|problem| place(problem, &document)));
    if !findings.is_empty() {
        return Err(Diagnostics::locate(&name, &text, findings));
    }
    Ok(Reach { control, errors_elsewhere: all.iter().count() })
}

/// The table `[control]` of a document with nothing but the keys that are `needed`, and the syntax errors in that table.
fn control_alone(text: &str, needed: &[&str], findings: &mut Vec<Finding>) -> Node {
    let mut faults = Vec::new();
    let (mut document, _) = tree::recover(text, &mut faults);
    findings
        .extend(faults.into_iter().filter(|fault| fault.span.as_ref().is_some_and(|at| is_control(text, at.start))));
    let Value::Table(entries) = &mut document.value else { return document };
    entries.retain(|entry| entry.key == "control");
    for entry in entries {
        if let Value::Table(entries) = &mut entry.node.value {
            entries.retain(|entry| needed.contains(&&*entry.key));
        }
    }
    document
}

/// Whether what stands at a byte belongs to the table `[control]`: its own line says so, or the header above it.
fn is_control(text: &str, at: usize) -> bool {
    let at = at.min(text.len());
    let line_end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
    let lines = || text[..line_end].lines().rev().map(str::trim_start);
    let (own, header) = (lines().next(), lines().find(|line| line.starts_with('[')));
    own.into_iter().chain(header).any(|line| line.trim_start_matches(['[', ' ']).starts_with("control"))
}
