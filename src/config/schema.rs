//! The JSON Schema of the file: for editors, and for the check.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::file::File;

/// The schema by which editors complete and check a file (`larder check --schema`).
pub fn schema() -> Value {
    let mut schema = checked();
    allow_variables(&mut schema);
    schema
}

/// The schema that holds once variables are replaced.
pub(super) fn checked() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<File>().to_value();
    remove_null(&mut schema);
    schema
}

/// TOML has no null; what is optional is left out.
fn remove_null(schema: &mut Value) {
    each(schema, &mut |object| {
        object.remove("default");
        if let Some(Value::Array(types)) = object.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                object.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(words)) = object.get_mut("enum") {
            words.retain(|word| !word.is_null());
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(Value::Array(branches)) = object.get_mut(choice) {
                branches.retain(|branch| branch["type"] != "null");
            }
        }
    });
}

/// Where a number, a boolean or a string of some form is expected, `${VAR}` may stand.
fn allow_variables(schema: &mut Value) {
    each(schema, &mut |object| {
        let kind = object.get("type").cloned().unwrap_or_default();
        if kind == "integer" || kind == "boolean" {
            object.insert("type".to_owned(), json!([kind, "string"]));
            object.insert("pattern".to_owned(), json!("\\$\\{"));
        } else if let Some(Value::String(pattern)) = object.get_mut("pattern") {
            *pattern = format!("{pattern}|\\$\\{{");
        }
    });
}

/// Visits every schema within `value`, not what only looks like one: the names under `properties` are keys.
fn each(value: &mut Value, visit: &mut dyn FnMut(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            for (key, inner) in object.iter_mut() {
                match (key.as_str(), inner) {
                    // The names of keys take no variables.
                    ("propertyNames", _) => {}
                    ("properties", Value::Object(properties)) => {
                        properties.values_mut().for_each(|property| each(property, visit));
                    }
                    (_, inner) => each(inner, visit),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, visit)),
        _ => {}
    }
}
