//! Finds paths (`a::b::c`) in Rust source: enough of the language for the map's checks, and no more.

use std::path::PathBuf;

/// A source file.
pub(super) struct Source {
    /// Its path from the repository's root, e.g. `src/cache/key.rs`.
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// A path of at least two segments, or one named in a group, written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) segments: Vec<String>,
    /// Where its last segment stands, counted from 1.
    pub(super) line: usize,
    /// Whether it stands within a module that is written in the file itself, e.g. `mod tests { ... }`.
    inline: bool,
}

impl Source {
    /// Modules from the root to this file, e.g. `cache`, `key`.
    fn modules(&self) -> Vec<String> {
        let below = self.path.with_extension("");
        let mut modules: Vec<_> =
            below.components().skip(1).map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        if modules.last().is_some_and(|last| last == "mod") {
            modules.pop();
        }
        modules
    }

    /// The room that the file belongs to.
    pub(super) fn room(&self) -> String {
        self.modules().swap_remove(0)
    }

    /// A path's segments from the crate's root; `None` for paths that do not lead there.
    pub(super) fn rooted(&self, found: &Found) -> Option<Vec<String>> {
        if found.segments[0] == "crate" {
            return Some(found.segments[1..].to_vec());
        }
        let ups = found.segments.iter().take_while(|segment| *segment == "super").count();
        let mut modules = self.modules();
        if found.inline {
            modules.push("tests".to_owned());
        }
        if ups == 0 || ups > modules.len() {
            return None;
        }
        modules.truncate(modules.len() - ups);
        modules.extend(found.segments[ups..].iter().cloned());
        Some(modules)
    }
}

/// All paths in a source text, groups (`a::{b, c::d}`) written out; comments and literals are no source.
pub(super) fn paths_in(text: &str) -> Vec<Found> {
    let tokens = tokens(text);
    let mut paths = Vec::new();
    let mut inline_depth = None;
    let mut depth = 0_usize;
    let mut at = 0;
    while at < tokens.len() {
        match &*tokens[at].text {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if inline_depth == Some(depth) {
                    inline_depth = None;
                }
            }
            "mod" if tokens.get(at + 2).is_some_and(|token| token.text == "{") => {
                inline_depth = inline_depth.or(Some(depth));
            }
            _ if tokens[at].is_name() => {
                at = path(&tokens, at, &[], inline_depth.is_some(), &mut paths);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    paths
}

/// Reads one path from `at` on, groups included; returns where it ends.
fn path(tokens: &[Token], mut at: usize, before: &[String], inline: bool, paths: &mut Vec<Found>) -> usize {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    let mut segments = before.to_vec();
    let line = |at: usize| tokens[at].line;
    loop {
        segments.push(tokens[at].text.clone());
        let last = at;
        at += 1;
        if !is(at, "::") {
            // `self` in a group is the module itself.
            if segments.len() > 1 && segments.last().is_some_and(|segment| segment == "self") {
                segments.pop();
            }
            if segments.len() > 1 || !before.is_empty() {
                paths.push(Found { segments, line: line(last), inline });
            }
            return at;
        }
        if tokens.get(at + 1).is_some_and(Token::is_name) {
            at += 1;
            continue;
        }
        if !is(at + 1, "{") {
            // A glob or type arguments: the module named so far is what is used.
            paths.push(Found { segments, line: line(last), inline });
            return at + 1;
        }
        at += 2;
        while at < tokens.len() && !is(at, "}") {
            at = if tokens[at].is_name() { path(tokens, at, &segments, inline, paths) } else { at + 1 };
        }
        return at + 1;
    }
}

struct Token {
    text: String,
    line: usize,
}

impl Token {
    fn is_name(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_') && self.text != "mod"
    }
}

/// Names, `::` and single characters; without comments, literals and white space.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let rest = &chars[at..];
        let length = match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['r', '"' | '#', ..] | ['b', 'r', '"' | '#', ..] if raw_string(rest).is_some() => {
                raw_string(rest).unwrap_or(1)
            }
            ['"', ..] => string(rest),
            ['\'', '\\', ..] => 2 + rest[2..].iter().skip(1).position(|c| *c == '\'').map_or(0, |end| end + 2),
            ['\'', _, '\'', ..] => 3,
            [':', ':', ..] => 2,
            [c, ..] if c.is_alphanumeric() || *c == '_' => {
                rest.iter().position(|c| !(c.is_alphanumeric() || *c == '_')).unwrap_or(rest.len())
            }
            _ => 1,
        };
        let length = length.clamp(1, rest.len());
        let is_source = !matches!(rest, ['/', '/' | '*', ..] | ['"', ..]) && !is_literal(rest, length);
        if is_source && !rest[0].is_whitespace() {
            tokens.push(Token { text: rest[..length].iter().collect(), line });
        }
        line += rest[..length].iter().filter(|c| **c == '\n').count();
        at += length;
    }
    tokens
}

/// Raw strings and characters; a lifetime's quote is a token of its own, which no path has in it.
fn is_literal(rest: &[char], length: usize) -> bool {
    raw_string(rest) == Some(length) || (rest[0] == '\'' && length > 1)
}

/// The length of a comment that may hold others.
fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a raw string (`r"…"`, `br#"…"#`); `None`: it is none.
fn raw_string(rest: &[char]) -> Option<usize> {
    let start = if rest[0] == 'b' { 1 } else { 0 };
    (rest.get(start) == Some(&'r')).then_some(())?;
    let hashes = rest[start + 1..].iter().take_while(|c| **c == '#').count();
    let open = start + 1 + hashes;
    (rest.get(open) == Some(&'"')).then_some(())?;
    let closes =
        |at: usize| rest[at] == '"' && rest[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
    (open + 1..rest.len()).find(|at| closes(*at)).map(|at| at + 1 + hashes)
}

#[test]
fn paths_are_found_and_literals_are_not() {
    let text = "use a::{b, c::{self, d}, e::*};\n\
        /* x::y /* z::z */ */ let s = r#\"no::no\"#; let t = \"no\\\"::no\"; let u = b\"no::no\";\n\
        let c = ':'; let d = '\\''; fn f<'a>(x: &'a g::H<i::J>) {}\n";
    let found: Vec<_> = paths_in(text).into_iter().map(|found| (found.segments.join("::"), found.line)).collect();
    let expected = [("a::b", 1), ("a::c", 1), ("a::c::d", 1), ("a::e", 1), ("g::H", 3), ("i::J", 3)]
        .map(|(p, l)| (p.to_owned(), l));
    assert_eq!(found, expected);
}
