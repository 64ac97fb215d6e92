//! What an invalidation rule purges: text that a request fills in, and globs.

use globset::GlobBuilder;

use crate::config::scalar::{Invalid, Scalar};
use crate::config::settings::{Piece, Template};

/// Longest pattern of a purge, in bytes.
pub(in crate::config) const MAX_PATTERN: usize = 4096;

/// A glob as purges have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct PurgeGlob(pub(in crate::config) String);

impl Scalar for Template {
    const FORMAT: &'static str = "template";
    const WHAT: &'static str = "a tag or prefix, with `{host}`, `{path}` or `{group}` in it";

    fn parse(text: &str) -> Result<Self, Invalid> {
        check_length(text)?;
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find('{') {
            if at > 0 {
                pieces.push(Piece::Text(rest[..at].to_owned()));
            }
            let inner = &rest[at + 1..];
            let is_name = |name: &&str| {
                name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            };
            let Some(name) = inner.split_once('}').map(|(name, _)| name).filter(is_name) else {
                let help = "write `{host}`, `{path}`, or `{name}` for the group `(?<name>...)` of the route's path";
                return Err(Invalid::new(format!("a brace in `{text}` that names nothing")).help(help));
            };
            pieces.push(match name {
                "host" => Piece::Host,
                "path" => Piece::Path,
                _ => Piece::Group(name.to_owned()),
            });
            rest = &inner[name.len() + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Template(pieces))
    }
}

impl Scalar for PurgeGlob {
    const FORMAT: &'static str = "purge-glob";
    const WHAT: &'static str = "a glob";

    fn parse(text: &str) -> Result<Self, Invalid> {
        check_length(text)?;
        no_place(text, "`tag` and `prefix` have places; `*` in a glob stands for any segment")?;
        match GlobBuilder::new(text).literal_separator(true).build() {
            Ok(_) => Ok(PurgeGlob(text.to_owned())),
            Err(error) => Err(Invalid::new(format!("`{text}` is no glob: {}", error.kind()))),
        }
    }
}

/// A brace around a name alone is a place to fill in elsewhere; to a glob it is the name as text.
pub(in crate::config) fn no_place(glob: &str, help: &str) -> Result<(), Invalid> {
    let braces = glob.match_indices('{').filter(|(at, _)| !glob[..*at].ends_with('\\'));
    let mut inner = braces.filter_map(|(at, _)| Some(glob[at + 1..].split_once('}')?.0));
    let is_name =
        |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match inner.find(is_name) {
        Some(name) => {
            Err(Invalid::new(format!("`{{{name}}}` in the glob `{glob}` matches the text `{name}` alone")).help(help))
        }
        None => Ok(()),
    }
}

fn check_length(text: &str) -> Result<(), Invalid> {
    match text.len() {
        0 => Err(Invalid::new("an empty one names nothing")),
        1..=MAX_PATTERN => Ok(()),
        _ => Err(Invalid::new(format!("it has more than {MAX_PATTERN} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_is_text_with_places() {
        let text = |text: &str| Piece::Text(text.to_owned());
        let group = |name: &str| Piece::Group(name.to_owned());
        for (written, pieces) in [
            ("reports", vec![text("reports")]),
            ("report-{id}", vec![text("report-"), group("id")]),
            ("{host}/reports/{id}x", vec![Piece::Host, text("/reports/"), group("id"), text("x")]),
            ("{path}", vec![Piece::Path]),
            ("a}b", vec![text("a}b")]),
        ] {
            let template = Template::parse(written).unwrap();
            assert_eq!((&template.0, template.to_string()), (&pieces, written.to_owned()));
        }
        for wrong in ["", "{", "{}", "a{b", "{a b}", "{1}", "{{a}}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
        for sound in ["/reports/{a,b}/**", "/{*.css,x}", "/\\{id\\}", "/a{}"] {
            assert!(PurgeGlob::parse(sound).is_ok(), "{sound}");
        }
        for wrong in ["/a[", "/reports/{id}", "/{a,b}/{id}/**"] {
            assert!(PurgeGlob::parse(wrong).is_err(), "{wrong}");
        }
    }
}
