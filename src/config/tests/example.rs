//! `proxy.example.toml`, the schema and the code say the same.

use serde_json::Value;

use super::*;

const EXAMPLE: &str = include_str!("../../../proxy.example.toml");

/// The example with the lines `#key = value` made active, which show defaults.
fn with_defaults() -> String {
    uncomment(|line| line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase())))
}

/// The example with the lines `# key = value` made active as well, which show what has no default.
fn with_all() -> String {
    uncomment(|line| {
        let rest = line.strip_prefix('#')?.trim_start();
        let (key, _) = rest.split_once(" = ")?;
        key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_').then_some(rest)
    })
}

fn uncomment(active: impl Fn(&str) -> Option<&str>) -> String {
    EXAMPLE.lines().map(|line| active(line).unwrap_or(line).to_owned() + "\n").collect()
}

#[test]
fn example_loads_and_its_defaults_are_those_of_the_code() {
    let usual = masked(&valid(APP));
    for text in [EXAMPLE, &with_defaults()] {
        let shown = masked(&valid(text));
        for (table, value) in usual.as_object().unwrap() {
            assert_eq!(&shown[table], value, "{table}");
        }
    }
    assert_eq!(valid(EXAMPLE).warnings, []);
    let count = with_defaults().lines().filter(|line| line.contains(" = ")).count();
    assert!(count > 100, "the defaults are uncommented: {count}");
}

#[test]
fn example_shows_valid_values_for_keys_without_default() {
    let settings = valid(&with_all());
    assert!(settings.listeners[0].tls.is_some());
    assert_eq!(settings.routes[0].matches.paths.len(), 4);
}

/// A default that is shown must be noticed when it differs: change each in turn.
#[test]
fn example_defaults_are_compared_one_by_one() {
    let usual = masked(&valid(APP));
    let text = with_defaults();
    let mut compared = 0;
    for (index, line) in text.lines().enumerate() {
        let other = match line.split_once(" = ").map(|(key, value)| (key, value.split("  #").next().unwrap().trim())) {
            None => continue,
            Some((key, _)) if key.starts_with('#') => continue,
            Some((key, "true")) => format!("{key} = false"),
            Some((key, "false")) => format!("{key} = true"),
            Some((key, number)) if number.parse::<u32>().is_ok() => format!("{key} = 9"),
            Some((key, value)) if values::check_of("duration").unwrap()(value.trim_matches('"')).is_ok() => {
                format!("{key} = \"77s\"")
            }
            _ => continue,
        };
        let changed: String = text
            .lines()
            .enumerate()
            .map(|(at, line)| if at == index { other.clone() } else { line.to_owned() } + "\n")
            .collect();
        let Ok(settings) = load_over(&changed, &Overrides::default()) else { panic!("{other} is valid") };
        assert_ne!(masked(&settings), usual, "{other} makes a difference");
        compared += 1;
    }
    assert!(compared > 50, "{compared}");
}

#[test]
fn example_mentions_every_key_of_the_schema() {
    let example: toml::Table = with_all().parse().unwrap();
    let mut missing = Vec::new();
    unmentioned(&schema(), &Value::deserialize(example).unwrap(), "", &mut missing);
    assert_eq!(missing, Vec::<String>::new());
}

fn unmentioned(schema: &Value, shown: &Value, path: &str, missing: &mut Vec<String>) {
    // The rules of a route are those of [cache.rules]; the two forms of `query`, and of a server, exclude one another.
    if matches!(path, ".routes.cache" | ".cache.rules.key.query" | ".upstreams.servers") {
        return;
    }
    for branch in schema["anyOf"].as_array().into_iter().flatten() {
        unmentioned(branch, shown, path, missing);
    }
    if schema["items"].is_object() {
        unmentioned(&schema["items"], &shown[0], path, missing);
    }
    if schema["additionalProperties"].is_object() {
        let first = shown.as_object().and_then(|table| table.values().next()).unwrap_or(&Value::Null);
        unmentioned(&schema["additionalProperties"], first, path, missing);
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        match shown.get(key) {
            Some(value) => unmentioned(property, value, &path, missing),
            None => missing.push(path),
        }
    }
}

#[test]
fn schema_describes_every_key_and_knows_every_format() {
    fn walk(schema: &Value, path: &str) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            assert!(property["description"].as_str().is_some_and(|text| text.len() > 5), "{path}");
            walk(property, &path);
        }
        if let (Some(format), Some("string")) = (schema["format"].as_str(), schema["type"].as_str()) {
            assert!(values::check_of(format).is_some(), "{path}: {format}");
        }
        for inner in ["items", "additionalProperties", "propertyNames"] {
            if schema[inner].is_object() {
                walk(&schema[inner], path);
            }
        }
        for branch in schema["anyOf"].as_array().into_iter().flatten() {
            walk(branch, path);
        }
    }
    let schema = schema();
    walk(&schema, "");
    assert!(!schema.to_string().contains("null"), "TOML has none");
}

#[test]
fn schema_patterns_accept_what_the_code_accepts() {
    for (format, texts) in [
        ("duration", &["0", "30s", "1h30m", "1h 30m", "365d"][..]),
        ("size", &["64MiB", "10kB", "1024", "1.5GiB", "64 MiB"]),
        ("memory", &["25%", "512MiB", "1024"]),
        ("server-url", &["http://a", "https://a:1/", "http://[::1]:3000"]),
        ("path-pattern", &["/a/", "= /a", "~ ^/a", "/a/**/*.x"]),
        ("status", &["404"]),
    ] {
        let pattern = pattern_of(&schema(), format).unwrap_or_else(|| panic!("a pattern of {format}"));
        let pattern = regex::Regex::new(&pattern).unwrap();
        let check = values::check_of(format).unwrap();
        for text in texts {
            assert!(check(text).is_ok() && pattern.is_match(text), "{format} {text}");
        }
        assert!(pattern.is_match("${VAR}") || format == "status", "{format}");
        assert!(!pattern.is_match("nonsense!"), "{format}");
    }
}

fn pattern_of(schema: &Value, format: &str) -> Option<String> {
    match schema {
        Value::Object(object) if object.get("format").is_some_and(|found| found == format) => {
            object.get("pattern").and_then(Value::as_str).map(str::to_owned)
        }
        Value::Object(object) => object.values().find_map(|inner| pattern_of(inner, format)),
        Value::Array(items) => items.iter().find_map(|inner| pattern_of(inner, format)),
        _ => None,
    }
}

#[test]
fn documentation_shows_valid_files_and_every_key() {
    const DOCS: &str = include_str!("../../../docs/CONFIGURATION.md");
    let mut blocks = 0;
    for block in DOCS.split("```toml\n").skip(1) {
        let text = block.split("```").next().unwrap();
        let text = if text.contains("[upstreams.") { text.to_owned() } else { format!("{APP}{text}") };
        let settings = valid(&text);
        assert_eq!(settings.warnings, [], "{text}");
        blocks += 1;
    }
    assert!(blocks > 10, "{blocks}");
    let (_, reference) = DOCS.split_once("## Reference").unwrap();
    fn keys(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(object) => {
                found.extend(
                    object.get("properties").and_then(Value::as_object).into_iter().flat_map(|it| it.keys().cloned()),
                );
                object.values().for_each(|inner| keys(inner, found));
            }
            Value::Array(items) => items.iter().for_each(|inner| keys(inner, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    keys(&schema(), &mut found);
    for key in found {
        let mentioned = [format!("`{key}`"), format!("`[{key}]`"), format!("`[[{key}]]`"), format!("`[{key}.NAME]`")];
        assert!(mentioned.iter().any(|form| reference.contains(form)), "{key}");
    }
}
