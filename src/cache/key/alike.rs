//! Names of cookies and parameters that some app takes for one another.

/// Whether some app reads `given` as `wanted`: apps differ in case, in escapes, in what they trim, and in what they make of
/// punctuation (PHP: `a.b` and `a b` are `a_b`, `a[b]` is a part of `a`, and nothing counts behind a NUL).
pub fn is_alike(given: &[u8], wanted: &str) -> bool {
    let is_whole = wanted.contains('[');
    let given = percent_encoding::percent_decode(given.trim_ascii_end())
        .skip_while(|byte| !byte.is_ascii_graphic() || *byte == b'+')
        .take_while(|byte| *byte != 0 && (is_whole || *byte != b'['));
    given.map(folded).eq(wanted.bytes().map(folded))
}

fn folded(byte: u8) -> u8 {
    match byte {
        b'.' | b' ' | b'+' => b'_',
        byte => byte.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_alike_that_some_app_takes_for_one_another() {
        for (given, wanted, expected) in [
            ("page", "page", true),
            ("Page", "page", true),
            ("%70age", "page", true),
            ("+page", "page", true),
            ("%20page ", "page", true),
            ("\u{a0}page", "page", true),
            ("page[]", "page", true),
            ("page%5B0%5D", "page", true),
            ("page%00x", "page", true),
            ("a.b", "a_b", true),
            ("a+b", "a_b", true),
            ("a%20b", "a.b", true),
            ("filter%5Btype%5D", "filter[type]", true),
            ("filter[type]", "filter[type]", true),
            ("filter[color]", "filter[type]", false),
            ("pages", "page", false),
            ("my_page", "page", false),
            ("_page", "page", false),
            ("page-x", "page", false),
            ("", "page", false),
            ("%", "page", false),
        ] {
            assert_eq!(is_alike(given.as_bytes(), wanted), expected, "{given} {wanted}");
        }
    }
}
