//! Holds a document against the JSON Schema of the file, so that every unknown key, wrong type and unreadable value
//! is found in one go; reading it by serde alone would stop at the first.

use std::ops::Range;

use serde_json::Value as Json;

use super::diagnostics::{Finding, nearest};
use super::tree::{Node, Value};
use super::values::check_of;

/// Checks `node` and marks what is wrong in it as faulty. An interpolated string becomes a number or boolean where
/// one is expected.
pub(super) fn check(schema: &Json, node: &mut Node, findings: &mut Vec<Finding>) {
    let span = node.span.clone();
    check_value(schema, node, &span, findings);
}

/// `place` is where a missing key is missed: the key of the table, or its header.
fn check_value(schema: &Json, node: &mut Node, place: &Range<usize>, findings: &mut Vec<Finding>) {
    if node.faulty {
        return;
    }
    let branches = branches_for(schema, node);
    if branches.is_empty() {
        let expected = expected_types(schema).join(" or ");
        let message = format!("expected {expected}, found {}", type_of(&node.value));
        findings.push(Finding::at(node.span.clone(), message).help(listed(schema, &node.value)));
        node.faulty = true;
        return;
    }
    if let Some(words) = words_of(&branches) {
        check_word(&words, node, findings);
        return;
    }
    let (whole, schema) = (schema, branches[0]);
    match &mut node.value {
        Value::String { .. } | Value::Integer(_) => check_scalar(schema, node, findings),
        Value::Array(items) => {
            if schema["minItems"].as_u64().is_some_and(|least| (items.len() as u64) < least) {
                let help = all_words(whole).map(|words| format!("or write one of {words}"));
                findings.push(Finding::at(node.span.clone(), "expected at least one value").help(help));
                node.faulty = true;
                return;
            }
            for item in items {
                let span = item.span.clone();
                check_value(&schema["items"], item, &span, findings);
            }
        }
        Value::Table(_) => check_table(schema, node, place, findings),
        Value::Float(_) | Value::Boolean(_) | Value::Datetime => {}
    }
}

fn check_table(schema: &Json, node: &mut Node, place: &Range<usize>, findings: &mut Vec<Finding>) {
    let Value::Table(entries) = &mut node.value else { return };
    let known = schema["properties"].as_object();
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
        if !entries.iter().any(|entry| entry.key == key) {
            findings.push(Finding::at(place.clone(), format!("missing key `{key}`")));
        }
    }
    for entry in entries {
        if let Some(property) = known.and_then(|known| known.get(&entry.key)) {
            check_value(property, &mut entry.node, &entry.key_span, findings);
            continue;
        }
        if schema["additionalProperties"].is_object() {
            let format = schema["propertyNames"]["format"].as_str();
            if let Some(Err(invalid)) = format.and_then(check_of).map(|check| check(&entry.key)) {
                findings.push(Finding::at(entry.key_span.clone(), invalid.message).help(invalid.help));
                entry.node.faulty = true;
            }
            check_value(&schema["additionalProperties"], &mut entry.node, &entry.key_span, findings);
            continue;
        }
        let names = || known.into_iter().flatten().map(|(name, _)| name.as_str());
        let help = match nearest(&entry.key, names()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("known here: {}", names().collect::<Vec<_>>().join(", ")),
        };
        findings.push(Finding::at(entry.key_span.clone(), format!("unknown key `{}`", entry.key)).help(help));
        entry.node.faulty = true;
    }
}

fn check_word(words: &[&str], node: &mut Node, findings: &mut Vec<Finding>) {
    let Value::String { text, .. } = &node.value else { return };
    if words.contains(&text.as_str()) {
        return;
    }
    let list = listing(words);
    let help = match nearest(text, words.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("one of {list}"),
    };
    findings.push(Finding::at(node.span.clone(), format!("unknown value `{text}`, expected one of {list}")).help(help));
    node.faulty = true;
}

fn check_scalar(schema: &Json, node: &mut Node, findings: &mut Vec<Finding>) {
    let text = match &node.value {
        Value::String { text, .. } => text.clone(),
        Value::Integer(number) => number.to_string(),
        _ => return,
    };
    if let Some(Err(invalid)) = schema["format"].as_str().and_then(check_of).map(|check| check(&text)) {
        findings.push(Finding::at(node.span.clone(), invalid.message).help(invalid.help));
        node.faulty = true;
    } else if let Value::Integer(number) = node.value {
        let (least, most) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
        let message = match (least, most) {
            (Some(least), _) if number < least => format!("{number} is too small, the least is {least}"),
            (_, Some(most)) if number > most => format!("{number} is too large, the most is {most}"),
            _ => return,
        };
        findings.push(Finding::at(node.span.clone(), message));
        node.faulty = true;
    }
}

/// The alternatives that a schema offers.
fn alternatives(schema: &Json) -> Vec<&Json> {
    match schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array()) {
        Some(branches) => branches.iter().flat_map(alternatives).collect(),
        None => vec![schema],
    }
}

fn types_of(schema: &Json) -> impl Iterator<Item = &str> {
    let one = schema["type"].as_str();
    one.into_iter().chain(schema["type"].as_array().into_iter().flatten().filter_map(Json::as_str))
}

/// The alternatives that take a value of the type of `node`'s.
fn branches_for<'a>(schema: &'a Json, node: &mut Node) -> Vec<&'a Json> {
    let all = alternatives(schema);
    let taking = |kind: &str| -> Vec<&'a Json> {
        all.iter().copied().filter(|branch| types_of(branch).any(|named| named == kind)).collect()
    };
    let found = taking(match &node.value {
        Value::String { .. } => "string",
        Value::Integer(_) => "integer",
        Value::Float(_) => "number",
        Value::Boolean(_) => "boolean",
        Value::Datetime => "date",
        Value::Array(_) => "array",
        Value::Table(_) => "object",
    });
    if let (true, Value::String { text, interpolated: true }) = (found.is_empty(), &node.value) {
        let (value, kind) = match (text.parse(), text.parse()) {
            (Ok(number), _) => (Value::Integer(number), "integer"),
            (_, Ok(flag)) => (Value::Boolean(flag), "boolean"),
            _ => return found,
        };
        let found = taking(kind);
        if !found.is_empty() {
            node.value = value;
        }
        return found;
    }
    found
}

/// The words to choose from, when that is what the alternatives are.
fn words_of<'a>(branches: &[&'a Json]) -> Option<Vec<&'a str>> {
    let mut words = Vec::new();
    for branch in branches {
        match (branch["const"].as_str(), branch["enum"].as_array()) {
            (Some(word), _) => words.push(word),
            (_, Some(list)) => words.extend(list.iter().filter_map(Json::as_str)),
            _ => return None,
        }
    }
    Some(words)
}

/// All words that may stand in the place of something else.
fn all_words(schema: &Json) -> Option<String> {
    let words = alternatives(schema).into_iter().filter_map(|branch| words_of(&[branch]));
    let words: Vec<&str> = words.flatten().collect();
    (!words.is_empty()).then(|| listing(&words))
}

fn listing(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn expected_types(schema: &Json) -> Vec<&'static str> {
    let mut names = Vec::new();
    for kind in alternatives(schema).into_iter().flat_map(types_of) {
        let name = match kind {
            "string" => "a string",
            "integer" => "an integer",
            "number" => "a number",
            "boolean" => "true or false",
            "array" => "an array",
            "object" => "a table",
            _ => continue,
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What to write where one value stands in the place of a list.
fn listed(schema: &Json, value: &Value) -> Option<String> {
    let takes_lists = alternatives(schema).into_iter().flat_map(types_of).any(|kind| kind == "array");
    match value {
        Value::String { text, .. } if takes_lists => Some(format!("write a list: `[{text:?}]`")),
        Value::Table(_) if takes_lists => Some("write a list: `[{ … }]`, or the table's name in `[[ ]]`".to_owned()),
        _ => None,
    }
}

const fn type_of(value: &Value) -> &'static str {
    match value {
        Value::String { .. } => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Boolean(_) => "a boolean",
        Value::Datetime => "a date",
        Value::Array(_) => "an array",
        Value::Table(_) => "a table",
    }
}
