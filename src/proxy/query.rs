//! Conditions on the query, of which apps read parameters in several ways.

use percent_encoding::percent_decode_str;

use super::route::value_matches;
use crate::cache::key::is_alike;
use crate::config::settings::{ValueMatch, ValuePattern};

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// However the request is read.
    Yes,
    /// By no reading.
    No,
    /// For some app, not for another.
    Unclear,
}

/// Whether the parameters of a query meet a condition. Of several of the name apps take the first, the last or all, and
/// some find it where others do not: encoded, as `name[]`, behind `+` or `;`.
pub(super) fn holds(condition: &ValueMatch<String>, query: &str) -> Holds {
    let (mut is_there, mut met, mut missed) = (false, false, false);
    let mut read = |value: &str| match value_holds(&condition.value, value) {
        true => met = true,
        false => missed = true,
    };
    for parameter in query.split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let is_surely = is_name(name, &condition.name);
        if is_surely || is_alike(name.as_bytes(), &condition.name) {
            is_there |= is_surely;
            read(value);
        }
        if parameter.contains(';') {
            let pieces = parameter.split(';').map(|piece| piece.split_once('=').unwrap_or((piece, "")));
            pieces.filter(|(name, _)| is_alike(name.as_bytes(), &condition.name)).for_each(|(_, value)| read(value));
        }
    }
    match (met, missed || !is_there) {
        (true, false) => Holds::Yes,
        (true, true) => Holds::Unclear,
        (false, _) => Holds::No,
    }
}

/// Whether everybody reads a name so. One of letters and digits nobody needs to encode; others come encoded from browsers.
fn is_name(given: &str, wanted: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    given == wanted || (!wanted.bytes().all(is_plain) && decoded(given) == wanted)
}

/// As it stands there, or decoded as forms are.
fn value_holds(pattern: &ValuePattern, value: &str) -> bool {
    value_matches(pattern, Some(value)) || value_matches(pattern, Some(&decoded(value)))
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn conditions_on_the_query_hold_for_every_app_or_for_none() {
        use Holds::{No, Unclear, Yes};
        let one = || ValuePattern::Exact("1".to_owned());
        for (name, value, query, expected) in [
            ("a", one(), "a=1", Yes),
            ("a", one(), "b=2&a=1", Yes),
            ("a", one(), "a=%31", Yes),
            ("a", one(), "a=1&a=1", Yes),
            ("a", one(), "a=1&a=%31&x;y", Yes),
            ("a", one(), "", No),
            ("a", one(), "a", No),
            ("a", one(), "a=2", No),
            ("a", one(), "b=1&ab=1&a-b=1", No),
            ("a", one(), "%61=2&a[]=3", No),
            ("a", one(), "a=1&a=0", Unclear),
            ("a", one(), "a=1&%61=0", Unclear),
            ("a", one(), "%61=1", Unclear),
            ("a", one(), "A=1", Unclear),
            ("a", one(), "a[]=1", Unclear),
            ("a", one(), "a%5b%5d=1", Unclear),
            ("a", one(), "+a=1", Unclear),
            ("a", one(), "b=0;a=1", Unclear),
            ("a", one(), "a=1;b=0", Unclear),
            ("a", one(), "a%00=1", Unclear),
            ("a", ValuePattern::Present, "a", Yes),
            ("a", ValuePattern::Present, "a=1&a=2&a[]=3", Yes),
            ("a", ValuePattern::Present, "a[]=3", Unclear),
            ("a", ValuePattern::Present, "b=a", No),
            ("a", ValuePattern::Exact("x y".to_owned()), "a=x+y", Yes),
            ("a", ValuePattern::Exact("x%20y".to_owned()), "a=x%20y", Yes),
            ("a", ValuePattern::Regex(Regex::new("^[0-9]+$").unwrap()), "a=1&a=%32", Yes),
            ("a", ValuePattern::Regex(Regex::new("^[0-9]+$").unwrap()), "a=1&a=x", Unclear),
            ("f[t]", one(), "f%5Bt%5D=1&f[u]=2", Yes),
            ("f[t]", one(), "f[u]=1", No),
        ] {
            let condition = ValueMatch { name: name.to_owned(), value };
            assert_eq!(holds(&condition, query), expected, "{condition:?} {query}");
        }
    }
}
