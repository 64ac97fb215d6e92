//! Which parameters of a query count in the key.
//!
//! The app receives all of them, and reads some in other ways than they stand there. Whatever it may read as a parameter
//! that counts must count: otherwise a request could have one page stored as another.

use crate::policy::rules::QueryRule;

/// Whether a parameter, as it stands in the query, counts under a rule.
pub(super) fn counts(parameter: &str, rule: &QueryRule) -> bool {
    let name = name(parameter);
    match rule {
        QueryRule::All => true,
        QueryRule::None => false,
        QueryRule::Only(names) => !is_plain(parameter) || names.iter().any(|pattern| matches(pattern, name, true)),
        QueryRule::Except(names) => {
            may_hold_others(parameter) || !names.iter().any(|pattern| matches(pattern, name, false))
        }
    }
}

/// What stands before the `=`.
pub(super) fn name(parameter: &str) -> &str {
    parameter.split('=').next().unwrap_or_default()
}

/// Whether every app reads the same name: some undo `%70age`, `page[]`, `+page` or `page.no`, or take away what is behind a
/// NUL.
pub(super) fn is_plain(parameter: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !may_hold_others(parameter) && name(parameter).bytes().all(is_plain)
}

/// Whether there are apps that find more than one parameter in it: `;` once separated them as well.
fn may_hold_others(parameter: &str) -> bool {
    parameter.contains(';')
}

fn matches(pattern: &str, name: &str, ignore_case: bool) -> bool {
    let (wanted, given) = match pattern.strip_suffix('*') {
        Some(prefix) => (prefix, name.get(..prefix.len()).unwrap_or_default()),
        None => (pattern, name),
    };
    if ignore_case { wanted.eq_ignore_ascii_case(given) } else { wanted == given }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_count_that_an_app_may_read_as_one_that_does() {
        let only = QueryRule::Only(vec!["page".to_owned(), "id_*".to_owned()]);
        for (parameter, expected) in [
            ("page=1", true),
            ("page", true),
            ("id_x=1", true),
            ("id_=1", true),
            ("other=1", false),
            ("pages=1", false),
            ("id=1", false),
            ("", false),
            ("other=page", false),
            // Each of these is `page` to some app.
            ("%70age=1", true),
            ("+page=1", true),
            ("%20page=1", true),
            ("page[]=1", true),
            ("page%5b%5d=1", true),
            ("page%00=1", true),
            ("id.x=1", true),
            ("PAGE=1", true),
            ("ID_x=1", true),
            ("other=1;page=2", true),
            ("p\u{e4}ge=1", true),
        ] {
            assert_eq!(counts(parameter, &only), expected, "{parameter}");
        }
        let except = QueryRule::Except(vec!["utm_*".to_owned(), "ref".to_owned()]);
        for (parameter, expected) in [
            ("utm_source=1", false),
            ("ref=1", false),
            ("ref", false),
            ("page=1", true),
            ("referer=1", true),
            ("REF=1", true),
            ("ref=1;page=2", true),
            ("utm_source=1;page=2", true),
            ("%72ef=1", true),
        ] {
            assert_eq!(counts(parameter, &except), expected, "{parameter}");
        }
    }
}
