//! A purge's patterns, compiled: whether one of them matches is one question, however many there are.

use globset::{Glob, GlobBuilder, GlobSet};
use regex::{RegexSet, RegexSetBuilder};

use super::target::{Meta, PurgeTarget, StatusRange, path_and_query, without_query, without_scheme};

/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 4096;
/// Most bytes that the compiled regular expressions of a purge may take.
const MAX_COMPILED: usize = 4 << 20;

/// Why a target cannot be purged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadTarget {
    /// Its place among the targets; `None`: it is all of them together.
    pub at: Option<usize>,
    /// What is wrong, for the operator.
    pub message: String,
}

/// The targets of a purge that a look-up does not find. What matches is named by its place among the purge's targets.
#[derive(Debug, Default)]
pub struct Patterns {
    all: Option<usize>,
    prefixes: BySubject<Prefixes>,
    globs: BySubject<Globs>,
    regexes: Option<(RegexSet, Vec<usize>)>,
    content_types: Vec<(String, usize)>,
    statuses: Vec<(StatusRange, usize)>,
}

/// What a pattern is held against, by how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// `scheme://…`: the URL.
    Url,
    /// `host…`: what follows the scheme.
    Host,
    /// `/…`: what follows the authority, on any host.
    Path,
}

#[derive(Debug, Default)]
struct BySubject<T> {
    url: T,
    host: T,
    path: T,
}

impl Subject {
    fn of(pattern: &str) -> Self {
        // A path may have a URL in it.
        match pattern.split_once("://") {
            _ if pattern.starts_with('/') => Subject::Path,
            Some((scheme, _)) if !scheme.contains('/') => Subject::Url,
            _ => Subject::Host,
        }
    }
}

impl<T> BySubject<T> {
    fn of(&mut self, subject: Subject) -> &mut T {
        match subject {
            Subject::Url => &mut self.url,
            Subject::Host => &mut self.host,
            Subject::Path => &mut self.path,
        }
    }

    fn find(&self, url: &str, find: impl Fn(&T, &str) -> Option<usize>) -> Option<usize> {
        find(&self.url, url)
            .or_else(|| find(&self.host, without_scheme(url)))
            .or_else(|| find(&self.path, path_and_query(url)))
    }
}

/// Prefixes none of which begins with another: at most one can match, and a binary search finds it.
#[derive(Debug, Default)]
struct Prefixes(Vec<(String, usize)>);

impl Prefixes {
    fn settle(&mut self) {
        self.0.sort();
        self.0.dedup_by(|later, earlier| later.0.starts_with(&earlier.0));
    }

    fn find(&self, text: &str) -> Option<usize> {
        let after = self.0.partition_point(|(prefix, _)| prefix.as_str() <= text);
        self.0[..after].last().filter(|(prefix, _)| text.starts_with(prefix)).map(|(_, at)| *at)
    }
}

#[derive(Debug, Default)]
struct Globs {
    set: GlobSet,
    at: Vec<usize>,
}

impl Globs {
    fn find(&self, text: &str) -> Option<usize> {
        if self.at.is_empty() {
            return None;
        }
        self.set.matches(text).first().map(|index| self.at[*index])
    }
}

impl Patterns {
    /// Compiles those of the targets that are patterns.
    ///
    /// # Errors
    /// One is none, or they are too large to be matched in reasonable time and room.
    pub fn new(targets: &[PurgeTarget]) -> Result<Self, BadTarget> {
        let mut patterns = Patterns::default();
        let mut globs = BySubject::<(Vec<Glob>, Vec<usize>)>::default();
        let mut regexes = (Vec::new(), Vec::new());
        for (at, target) in targets.iter().enumerate() {
            let wrong = |message: String| BadTarget { at: Some(at), message };
            match target {
                PurgeTarget::All => patterns.all = patterns.all.or(Some(at)),
                PurgeTarget::Prefix(prefix) => {
                    check_length(prefix).map_err(wrong)?;
                    patterns.prefixes.of(Subject::of(prefix)).0.push((normal_host(prefix), at));
                }
                PurgeTarget::Glob(glob) => {
                    check_length(glob).map_err(wrong)?;
                    let compiled = GlobBuilder::new(&normal_host(glob))
                        .literal_separator(true)
                        .build()
                        .map_err(|error| wrong(format!("glob {glob:?}: {}", error.kind())))?;
                    let (set, places) = globs.of(Subject::of(glob));
                    set.push(compiled);
                    places.push(at);
                }
                PurgeTarget::Regex(regex) => {
                    check_length(regex).map_err(wrong)?;
                    // Alone first, so that the error tells which it is.
                    regex::RegexBuilder::new(regex)
                        .size_limit(MAX_COMPILED)
                        .build()
                        .map_err(|error| wrong(format!("regex {regex:?}: {}", one_line(&error.to_string()))))?;
                    regexes.0.push(regex);
                    regexes.1.push(at);
                }
                PurgeTarget::ContentType(written) => {
                    patterns.content_types.push((media_type(written).map_err(wrong)?, at));
                }
                PurgeTarget::Status(range) => patterns.statuses.push((*range, at)),
                PurgeTarget::Url(_) | PurgeTarget::Key(_) | PurgeTarget::Tag(_) | PurgeTarget::Group { .. } => {}
            }
        }
        for prefixes in [&mut patterns.prefixes.url, &mut patterns.prefixes.host, &mut patterns.prefixes.path] {
            prefixes.settle();
        }
        for subject in [Subject::Url, Subject::Host, Subject::Path] {
            let (set, at) = std::mem::take(globs.of(subject));
            let set = GlobSet::new(set).map_err(|error| together("globs", &error.to_string()))?;
            *patterns.globs.of(subject) = Globs { set, at };
        }
        if !regexes.1.is_empty() {
            let set = RegexSetBuilder::new(&regexes.0).size_limit(MAX_COMPILED).build();
            patterns.regexes = Some((set.map_err(|error| together("regexes", &error.to_string()))?, regexes.1));
        }
        Ok(patterns)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        let Patterns { all, prefixes, globs, regexes, content_types, statuses } = self;
        all.is_none()
            && [&prefixes.url, &prefixes.host, &prefixes.path].iter().all(|prefixes| prefixes.0.is_empty())
            && [&globs.url, &globs.host, &globs.path].iter().all(|globs| globs.at.is_empty())
            && regexes.is_none()
            && content_types.is_empty()
            && statuses.is_empty()
    }

    /// The place of a target that matches a stored response.
    pub fn find(&self, meta: &Meta<'_>) -> Option<usize> {
        self.find_by_url(meta.url()).or_else(|| self.find_by_answer(meta))
    }

    /// The place of a target that matches whatever is stored of a URL, before anything is known of the answer.
    pub fn find_by_url(&self, url: &str) -> Option<usize> {
        if self.all.is_some() {
            return self.all;
        }
        let path = without_query(url);
        self.prefixes.find(url, Prefixes::find).or_else(|| self.globs.find(path, Globs::find)).or_else(|| {
            let (set, at) = self.regexes.as_ref()?;
            set.matches(without_scheme(path)).iter().next().map(|index| at[index])
        })
    }

    /// Whether the answer alone can tell if it matches.
    pub fn needs_answer(&self) -> bool {
        !self.content_types.is_empty() || !self.statuses.is_empty()
    }

    fn find_by_answer(&self, meta: &Meta<'_>) -> Option<usize> {
        let by_status = || self.statuses.iter().find(|(range, _)| range.contains(meta.status)).map(|(_, at)| *at);
        let by_type = || {
            let given = essence(meta.content_type?)?;
            let matches = |pattern: &str| match pattern.strip_suffix('*') {
                Some(kind) => given.starts_with(kind),
                None => given == pattern,
            };
            self.content_types.iter().find(|(pattern, _)| matches(pattern)).map(|(_, at)| *at)
        };
        by_status().or_else(by_type)
    }
}

fn check_length(pattern: &str) -> Result<(), String> {
    match pattern.len() {
        0 => Err("an empty pattern names nothing; `all` names everything".to_owned()),
        1..=MAX_PATTERN => Ok(()),
        _ => Err(format!("a pattern of more than {MAX_PATTERN} bytes")),
    }
}

fn together(what: &str, error: &str) -> BadTarget {
    let message = format!("the {what} are too large together, purge by several requests: {}", one_line(error));
    BadTarget { at: None, message }
}

/// Errors of regular expressions draw a picture; the last line says what is wrong.
fn one_line(error: &str) -> String {
    error.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

/// Hosts are kept in lower case.
fn normal_host(pattern: &str) -> String {
    let start = match Subject::of(pattern) {
        Subject::Url => pattern.find("://").map_or(0, |at| at + 3),
        Subject::Host => 0,
        Subject::Path => return pattern.to_owned(),
    };
    let end = pattern[start..].find('/').map_or(pattern.len(), |at| start + at);
    format!("{}{}", pattern[..end].to_ascii_lowercase(), &pattern[end..])
}

/// `type/subtype` or `type/*`, in lower case.
fn media_type(written: &str) -> Result<String, String> {
    let lower = written.trim().to_ascii_lowercase();
    let is_token = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    match lower.split_once('/') {
        Some((kind, subtype)) if is_token(kind) && is_token(subtype) && kind != "*" && !lower.contains(';') => {
            Ok(lower)
        }
        _ => Err(format!("{written:?} is no media type; text/html is one, and image/* stands for all images")),
    }
}

/// A Content-Type without its parameters, in lower case.
fn essence(content_type: &[u8]) -> Option<String> {
    let essence = content_type.split(|byte| *byte == b';').next()?;
    Some(std::str::from_utf8(essence).ok()?.trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tags::Tags;

    fn find(targets: &[PurgeTarget], url: &str, status: u16, content_type: &str) -> Option<usize> {
        let (key, tags) = (format!("GET {url}"), Tags::default());
        let meta = Meta { key: &key, tags: &tags, status, content_type: Some(content_type.as_bytes()) };
        Patterns::new(targets).unwrap().find(&meta)
    }

    #[test]
    fn patterns_match_what_their_beginning_says() {
        use PurgeTarget::{ContentType, Glob, Prefix, Regex};
        for (target, url, expected) in [
            (Prefix("http://a.test/x".into()), "http://a.test/xy?q", true),
            (Prefix("http://a.test/x".into()), "https://a.test/xy", false),
            (Prefix("A.test/x".into()), "https://a.test/xy", true),
            (Prefix("a.test/X".into()), "https://a.test/xy", false),
            (Prefix("a.test/x?q=1".into()), "http://a.test/x?q=12", true),
            (Prefix("a.test".into()), "http://a.test.evil/", true),
            (Prefix("/x".into()), "http://b.test:81/xy", true),
            (Prefix("/x".into()), "http://b.test/y/x", false),
            // A URL within a path.
            (Prefix("/to/http://A.test/X".into()), "http://b.test/to/http://A.test/Xy", true),
            (Prefix("b.test/to/http://A/".into()), "http://b.test/to/http://A/", true),
            (Prefix("HTTP://B.test/X".into()), "http://b.test/X", true),
            (Glob("a.test/*.html".into()), "http://a.test/b.html?q", true),
            (Glob("a.test/*.html".into()), "http://a.test/c/b.html", false),
            (Glob("a.test/**/*.html".into()), "http://a.test/c/d/b.html", true),
            (Glob("*.test/**".into()), "http://b.test/c/d", true),
            (Glob("/c/**".into()), "https://any.test/c/d", true),
            (Glob("https://*/c/**".into()), "http://any.test/c/d", false),
            (Glob("/{a,b}/?".into()), "http://any.test/b/x", true),
            (Regex(r"^a\.test/x[0-9]+$".into()), "http://a.test/x12?y", true),
            (Regex(r"^a\.test/x[0-9]+$".into()), "http://a.test/x", false),
            (Regex("/deep/".into()), "http://a.test/so/deep/x", true),
            (ContentType("text/HTML".into()), "http://a.test/", true),
            (ContentType("text/*".into()), "http://a.test/", true),
            (ContentType("text/htm".into()), "http://a.test/", false),
            (PurgeTarget::Status("2xx".parse().unwrap()), "http://a.test/", true),
            (PurgeTarget::Status("404".parse().unwrap()), "http://a.test/", false),
            (PurgeTarget::All, "http://a.test/", true),
            // Found by look-ups, not here.
            (PurgeTarget::Url("http://a.test/".into()), "http://a.test/", false),
        ] {
            let found = find(std::slice::from_ref(&target), url, 200, "text/html; charset=utf-8");
            assert_eq!(found.is_some(), expected, "{target} on {url}");
        }
    }

    #[test]
    fn of_many_prefixes_the_one_that_covers_is_found() {
        let targets: Vec<_> =
            ["/b", "/a/b", "/a", "/c/1", "/c/2"].map(|text| PurgeTarget::Prefix(text.to_owned())).into();
        for (url, expected) in [
            ("http://h/a/b/c", Some(2)),
            ("http://h/b", Some(0)),
            ("http://h/c/2x", Some(4)),
            ("http://h/c/", None),
            ("http://h/0", None),
            ("http://h/z", None),
        ] {
            assert_eq!(find(&targets, url, 200, ""), expected, "{url}");
        }
    }

    #[test]
    fn mangled_patterns_are_told_by_their_place() {
        let huge = "(a{1000}){1000}".to_owned();
        for (target, told) in [
            (PurgeTarget::Glob("a[".into()), "unclosed character class"),
            (PurgeTarget::Glob("{a".into()), "unclosed alternate"),
            (PurgeTarget::Regex("(".into()), "unclosed group"),
            (PurgeTarget::Regex(huge), "limit"),
            (PurgeTarget::Regex("a".repeat(5000)), "more than 4096 bytes"),
            (PurgeTarget::Prefix(String::new()), "an empty pattern"),
            (PurgeTarget::ContentType("html".into()), "no media type"),
            (PurgeTarget::ContentType("*/*".into()), "no media type"),
            (PurgeTarget::ContentType("text/html; charset=x".into()), "no media type"),
        ] {
            let error = Patterns::new(&[PurgeTarget::All, target.clone()]).unwrap_err();
            assert!(error.at == Some(1) && error.message.contains(told), "{target}: {error:?}");
            assert_eq!(error.message.lines().count(), 1);
        }
        let many: Vec<_> = (0..200).map(|at| PurgeTarget::Regex(format!("(x{{100}}){{20}}{at}"))).collect();
        assert_eq!(Patterns::new(&many).unwrap_err().at, None);
    }

    #[test]
    fn ten_thousand_patterns_of_a_kind_compile_and_match() {
        for kind in [PurgeTarget::Prefix, PurgeTarget::Glob] {
            let targets: Vec<_> = (0..10_000).map(|at| kind(format!("/reports/{at}/"))).collect();
            assert_eq!(find(&targets, "http://a.test/reports/4711/", 200, ""), Some(4711));
        }
    }
}
