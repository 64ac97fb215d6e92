//! `${VAR}` and `${VAR:-default}` inside string values, from an environment that is handed in.

use std::ops::Range;

/// Looks a variable up.
pub type Env<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Why a string could not be interpolated, and the bytes of it that are to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) span: Range<usize>,
}

/// Replaces the variables in `text`; `None` when it has none. `$${` stands for `${`; a `$` elsewhere is itself.
///
/// As in a shell, the default of `${VAR:-default}` also stands in for an empty variable. All faults are reported.
pub(super) fn interpolate(text: &str, env: &Env<'_>) -> Result<Option<String>, Vec<Fault>> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut faults = Vec::new();
    let mut result = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = text[at..].find('$') {
        let dollar = at + found;
        result.push_str(&text[at..dollar]);
        let rest = &text[dollar..];
        if rest.starts_with("$${") {
            result.push_str("${");
            at = dollar + 3;
        } else if let Some(inner) = rest.strip_prefix("${") {
            let Some(length) = inner.find('}') else {
                faults.push(Fault { message: "`${` without its `}`".to_owned(), span: dollar..text.len() });
                return Err(faults);
            };
            at = dollar + 2 + length + 1;
            match value_of(&inner[..length], env) {
                Ok(value) => result.push_str(&value),
                Err(message) => faults.push(Fault { message, span: dollar..at }),
            }
        } else {
            result.push('$');
            at = dollar + 1;
        }
    }
    result.push_str(&text[at..]);
    if faults.is_empty() { Ok(Some(result)) } else { Err(faults) }
}

fn value_of(expression: &str, env: &Env<'_>) -> Result<String, String> {
    let (name, default) = match expression.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (expression, None),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(format!("`{name}` is no name of a variable"));
    }
    match (env(name), default) {
        (Some(value), _) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (Some(empty), None) => Ok(empty),
        (None, None) => Err(format!("environment variable `{name}` is not set and has no default")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("app".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${HOST}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn interpolation_replaces_variables() {
        for (text, expected) in [
            ("plain $ and } and $HOST", None),
            ("${HOST}", Some("app")),
            ("http://${HOST}:${PORT:-3000}/", Some("http://app:3000/")),
            ("${EMPTY:-x}${EMPTY}", Some("x")),
            ("${UNSET:-}", Some("")),
            ("${UNSET:-a:-b}", Some("a:-b")),
            ("$${HOST} $$ $", Some("${HOST} $$ $")),
            ("a$${b}${HOST}", Some("a${b}app")),
            ("${NESTED}", Some("${HOST}")),
            ("é${HOST}é", Some("éappé")),
        ] {
            assert_eq!(interpolate(text, &env).unwrap().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn interpolation_reports_every_fault_with_its_place() {
        let text = "a ${ONE} ${2} ${HOST} ${";
        let faults = interpolate(text, &env).unwrap_err();
        let shown: Vec<_> = faults.iter().map(|fault| (fault.message.as_str(), &text[fault.span.clone()])).collect();
        assert_eq!(
            shown,
            [
                ("environment variable `ONE` is not set and has no default", "${ONE}"),
                ("`2` is no name of a variable", "${2}"),
                ("`${` without its `}`", "${"),
            ]
        );
    }
}
