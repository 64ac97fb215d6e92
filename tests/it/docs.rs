//! What the documentation says holds: its tables name what the code names, its configurations load, its links lead
//! somewhere.

use std::collections::BTreeSet;
use std::fs;

use larder::config::{self, Overrides, Source};
use larder::proxy::refusal::Refusal;

use crate::support::repository;

const PAGES: [&str; 10] = [
    "README.md",
    "docs/ARCHITECTURE.md",
    "docs/CACHING.md",
    "docs/CONFIGURATION.md",
    "docs/CONTRIBUTING.md",
    "docs/OPERATIONS.md",
    "docs/PURGING.md",
    "docs/SECURITY.md",
    "docs/TIERS.md",
    "docs/UPSTREAMS.md",
];

#[test]
fn caching_explains_every_reason_word_and_no_other() {
    let page = read("docs/CACHING.md");
    let reasons = "src/policy/reason.rs";
    for (heading, file, name) in [
        ("Outcomes", reasons, "Outcome"),
        ("Why forwarded", reasons, "ForwardReason"),
        ("Why not stored", reasons, "NoStoreReason"),
        ("Why stale", reasons, "StaleReason"),
        ("Why purged", reasons, "PurgeReason"),
        ("Upstream failures", "src/upstream/error.rs", "UpstreamErrorKind"),
    ] {
        let said = words_of(&read(file), name);
        assert!(said.len() >= 3, "{name} has no words: {said:?}");
        assert_eq!(first_column(section(&page, heading)), said, "the table \"{heading}\" against {name}");
    }

    let refusals = Refusal::ALL.iter().map(|refusal| refusal.word().to_owned()).collect();
    assert_eq!(first_column(section(&page, "Refusals")), refusals);

    let tiers = words_of(&read(reasons), "Tier");
    assert_eq!(tiers.len(), 2, "{tiers:?}");
    assert_eq!(first_column(section(&page, "Where it was found")), tiers);

    let proxy = ["mod", "answer", "fetch/keep"].map(|file| read(&format!("src/proxy/{file}.rs"))).concat();
    let own: BTreeSet<String> = ["failed_answer(StatusCode::", " word: \""]
        .iter()
        .flat_map(|call| proxy.match_indices(call))
        .filter_map(|(at, _)| word_in_quotes(proxy[at..].lines().next()?))
        .collect();
    assert_eq!(first_column(section(&page, "Other failures")), own);
}

#[test]
fn operations_names_every_metric_family_and_log_field() {
    let page = read("docs/OPERATIONS.md");
    let sources = ["metrics", "exposition", "exposition/redis"]
        .map(|file| code(&read(&format!("src/telemetry/{file}.rs"))))
        .concat();
    let families: BTreeSet<String> = sources
        .split('"')
        .filter(|text| {
            text.starts_with("larder_")
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        })
        .map(str::to_owned)
        .collect();
    assert!(families.len() > 30, "{families:?}");
    assert_eq!(first_column(section(&page, "Metrics")), families);

    let line = read("src/telemetry/access_log/line.rs");
    let (_, json) = line.split_once("fn json(").unwrap();
    let (json, _) = json.split_once("\n}").unwrap();
    // Names stand between escaped quotes and before a colon.
    let quoted: Vec<&str> = json.split("\\\"").collect();
    let fields: BTreeSet<String> =
        quoted.windows(2).filter(|pair| pair[1].starts_with(':')).map(|pair| pair[0].to_owned()).collect();
    assert!(fields.len() > 20, "{fields:?}");
    assert_eq!(first_column(section(&page, "Logs")), fields);
}

#[test]
fn metrics_that_operations_asks_for_exist() {
    let page = read("docs/OPERATIONS.md");
    let known = first_column(section(&page, "Metrics"));
    let asked =
        page.split("```").skip(1).step_by(2).filter(|block| block.starts_with("promql") || block.starts_with("yaml"));
    let mut count = 0;
    for word in asked.flat_map(|block| block.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))) {
        if word.starts_with("larder_") {
            count += 1;
            assert!(known.contains(word.trim_end_matches("_bucket")), "no such family: {word}");
        }
    }
    assert!(count > 10);
}

#[test]
fn configurations_in_the_pages_load() {
    let mut loaded = 0;
    for page in
        ["README.md", "docs/CACHING.md", "docs/UPSTREAMS.md", "docs/OPERATIONS.md", "docs/PURGING.md", "docs/TIERS.md"]
    {
        for block in read(page).split("```toml\n").skip(1) {
            let text = block.split("```").next().unwrap().to_owned();
            let source = Source::Text { name: page.to_owned(), text };
            if let Err(errors) = config::load(&source, &|_| None, &Overrides::default()) {
                panic!("{errors}");
            }
            loaded += 1;
        }
    }
    assert!(loaded >= 3);
}

#[test]
fn configurations_in_part_load_with_the_rest() {
    let mut loaded = 0;
    for page in ["docs/CONFIGURATION.md", "docs/SECURITY.md"] {
        for block in read(page).split("```toml\n").skip(1) {
            let part = block.split("```").next().unwrap();
            // What a page leaves out is what serves everything else.
            let rest = if part.contains("[upstreams") {
                ""
            } else {
                "\n[upstreams.app]\nservers = [\"http://127.0.0.1:3000\"]\n"
            };
            let source = Source::Text { name: page.to_owned(), text: format!("{part}{rest}") };
            if let Err(errors) = config::load(&source, &|_| None, &Overrides::default()) {
                panic!("{errors}");
            }
            loaded += 1;
        }
    }
    assert!(loaded > 20);
}

#[test]
fn links_lead_somewhere() {
    for page in PAGES {
        let text = read(page);
        let base = repository(page).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() { repository(page) } else { base.join(path) };
            assert!(file.exists(), "{page}: {target}");
            if !anchor.is_empty() {
                let text = fs::read_to_string(&file).unwrap();
                let known: Vec<_> = text.lines().filter(|line| line.starts_with('#')).map(anchor_of).collect();
                assert!(known.iter().any(|known| known == anchor), "{page}: {target}; there are {known:?}");
            }
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap()
}

/// A source without its tests.
fn code(source: &str) -> String {
    source.split("#[cfg(test)]").next().unwrap().to_owned()
}

/// The words that `fn word` of a type answers with.
fn words_of(source: &str, name: &str) -> BTreeSet<String> {
    let (_, block) = source.split_once(&format!("\nimpl {name} {{\n")).unwrap();
    let (_, body) = block.split_once("fn word(self)").unwrap();
    let (body, _) = body.split_once("\n    }\n").unwrap();
    body.lines().filter_map(|line| word_in_quotes(line.split_once("=>")?.1)).collect()
}

fn word_in_quotes(text: &str) -> Option<String> {
    Some(text.split('"').nth(1)?.to_owned())
}

/// What stands under a heading, down to the next one of any level.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let start = page.find(&format!("# {heading}\n")).unwrap_or_else(|| panic!("no heading {heading:?}"));
    let body = &page[start + heading.len() + 3..];
    &body[..body.find("\n#").unwrap_or(body.len())]
}

/// The words in the first column of the tables of a section.
fn first_column(section: &str) -> BTreeSet<String> {
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `"));
    cells.map(|rest| rest.split('`').next().unwrap().to_owned()).collect()
}

/// The anchor that a heading gets: lower case, hyphens for spaces, no other punctuation.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
