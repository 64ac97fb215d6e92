//! What is wrong with a configuration, said so that it can be found and mended: every error, each with its place. And
//! what is hardly meant: every warning.

use std::fmt;
use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use strsim::damerau_levenshtein;

/// Everything that is wrong with a configuration, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

/// One error or warning, with its place where it has one: what the command line says has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Where.
    pub place: Option<Place>,
    /// How to mend it.
    pub help: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration can't be used.
    Error,
    /// It can, but says something that is hardly meant.
    Warning,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line itself, with what is secret masked character by character.
    pub text: String,
    /// How many characters are meant, at least 1; never beyond the line.
    pub width: usize,
}

/// An error as the steps of loading report it: by bytes of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) message: String,
    pub(super) span: Option<Range<usize>>,
    pub(super) help: Option<String>,
}

impl Finding {
    /// An error at these bytes of the source.
    pub(super) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Finding { severity: Severity::Error, message: message.into(), span: Some(span), help: None }
    }

    /// An error without a place in the file.
    pub(super) fn nowhere(message: impl Into<String>) -> Self {
        Finding { severity: Severity::Error, message: message.into(), span: None, help: None }
    }

    /// Adds how to mend it.
    pub(super) fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }
}

impl Diagnostics {
    /// Looks the places of `findings` up in the source; those without a place come first.
    pub(super) fn locate(file: &str, source: &str, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.span.as_ref().map(|span| (span.start, span.end)));
        findings.dedup();
        Diagnostics(
            findings
                .into_iter()
                .map(|finding| Diagnostic {
                    severity: finding.severity,
                    message: finding.message,
                    place: finding.span.map(|span| Place::of(file, source, span)),
                    help: finding.help,
                })
                .collect(),
        )
    }

    /// As a list.
    pub(super) fn into_vec(self) -> Vec<Diagnostic> {
        self.0
    }

    /// The errors, at least one.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }
}

impl Place {
    fn of(file: &str, source: &str, span: Range<usize>) -> Self {
        // A span at the end of the file points behind its last line, where there is nothing to show.
        let start = span.start.min(source.trim_end().len());
        let line_start = source[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |newline| start + newline);
        let end = span.end.clamp(start, line_end);
        Place {
            file: file.to_owned(),
            line: source[..start].matches('\n').count() + 1,
            column: source[line_start..start].chars().count() + 1,
            text: without_secrets(source[line_start..line_end].trim_end_matches('\r')),
            width: source[start..end].chars().count().max(1),
        }
    }
}

/// A line as it may be shown: tokens, passwords and credentials that stand in it, also within URLs, as asterisks. What
/// names an environment variable alone gives nothing away.
fn without_secrets(line: &str) -> String {
    static SECRETS: LazyLock<Regex> = LazyLock::new(|| {
        let value = r#""(?:[^"\\]|\\.)*"?|'[^']*'?"#;
        let keyed = format!(r#"((?i:token|password|secret|authorization|api-?key)["']?\s*=\s*)({value})"#);
        Regex::new(&format!(r#"{keyed}|(://)([^/\s"'@]+)@"#)).expect("it is a regular expression")
    });
    let masked = |text: &str| text.chars().map(|c| if matches!(c, '"' | '\'') { c } else { '*' }).collect::<String>();
    let replaced = SECRETS.replace_all(line, |found: &Captures<'_>| match (found.get(1), found.get(2)) {
        (Some(key), Some(value)) => {
            let inner = value.as_str().trim_matches(['"', '\'']);
            let names_variable = inner.starts_with("${") && inner.ends_with('}') && !inner.contains(":-");
            let shown = if names_variable { value.as_str().to_owned() } else { masked(value.as_str()) };
            format!("{}{shown}", key.as_str())
        }
        _ => format!("://{}@", masked(&found[4])),
    });
    replaced.into_owned()
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// As rustc does, so that editors that read its output find the place.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{severity}: {}", self.message)?;
        let mut gutter = 1;
        if let Some(place) = &self.place {
            let number = place.line.to_string();
            gutter = number.len();
            // Tabs are kept in the indentation, so that the caret stands under its text whatever their width.
            let indent: String =
                place.text.chars().take(place.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            writeln!(f, "{:gutter$}--> {}:{}:{}", "", place.file, place.line, place.column)?;
            writeln!(f, "{:gutter$} |", "")?;
            writeln!(f, "{number} | {}", place.text)?;
            writeln!(f, "{:gutter$} | {indent}{}", "", "^".repeat(place.width))?;
        }
        if let Some(help) = &self.help {
            writeln!(f, "{:gutter$} = help: {help}", "")?;
        }
        Ok(())
    }
}

/// The one of `known` that `written` most likely meant; `None` when nothing is near.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = (written.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (damerau_levenshtein(&written.to_lowercase(), name), name))
        .filter(|(distance, name)| *distance <= near && *distance < name.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_in_lines_that_are_shown() {
        for (line, shown) in [
            ("token = \"hunter2\"  # of ci", "token = \"*******\"  # of ci"),
            ("{ name = \"ci\", token = 'hunter2', scopes = 3 }", "{ name = \"ci\", token = '*******', scopes = 3 }"),
            ("control.token = \"hunt er2", "control.token = \"********"),
            ("token = \"${TOKEN}\"", "token = \"${TOKEN}\""),
            ("token = \"${TOKEN:-hunter2}\"", "token = \"*****************\""),
            ("token_file = \"/x\"", "token_file = \"/x\""),
            ("sentinel_password = \"a\\\"b\"", "sentinel_password = \"**\"*\""),
            ("set = { \"Authorization\" = \"Basic x\" }", "set = { \"Authorization\" = \"*******\" }"),
            ("url = \"redis://me:hunter2@10.0.0.1\"", "url = \"redis://**********@10.0.0.1\""),
            ("servers = [\"http://a:1\"]", "servers = [\"http://a:1\"]"),
        ] {
            let masked = without_secrets(line);
            assert_eq!(masked, shown);
            assert_eq!(masked.chars().count(), line.chars().count(), "the caret still stands under its text");
        }
    }

    #[test]
    fn nearest_names_what_was_meant_and_nothing_far_away() {
        let known = ["address", "tls", "token_file", "stale_while_revalidate"];
        for (written, meant) in [
            ("adress", Some("address")),
            ("Address", Some("address")),
            ("tokenfile", Some("token_file")),
            ("stale_while_revalidating", Some("stale_while_revalidate")),
            ("xyz", None),
            ("t", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }

    #[test]
    fn rendering_keeps_the_caret_under_the_text() {
        let source = "a = 1\n\tbé = \"…\"  # x\r\n";
        let span = source.find('"').unwrap()..source.find("  #").unwrap();
        let diagnostics =
            Diagnostics::locate("p.toml", source, vec![Finding::at(span, "bad").help("do better".to_owned())]);
        assert_eq!(
            diagnostics.to_string(),
            "error: bad\n --> p.toml:2:7\n  |\n2 | \tbé = \"…\"  # x\n  | \t     ^^^\n  = help: do better\n"
        );
    }

    #[test]
    fn rendering_survives_spans_at_and_beyond_the_end() {
        for span in [0..0, 5..5, 6..6, 4..6] {
            let rendered = Diagnostics::locate("p", "a = [\n", vec![Finding::at(span, "bad")]).to_string();
            assert!(rendered.contains("1 | a = ["), "{rendered}");
        }
        assert!(Diagnostics::locate("p", "", vec![Finding::at(0..0, "bad")]).to_string().contains("p:1:1"));
    }

    #[test]
    fn findings_come_in_the_order_of_the_file() {
        let findings = vec![Finding::at(4..5, "second"), Finding::nowhere("first"), Finding::at(4..5, "second")];
        let diagnostics = Diagnostics::locate("p", "a = 1", findings);
        assert_eq!(diagnostics.iter().map(|d| d.message.as_str()).collect::<Vec<_>>(), ["first", "second"]);
    }
}
