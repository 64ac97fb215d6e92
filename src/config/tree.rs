//! A TOML document with the place of every value, in the file's order: what is checked, interpolated and then read.

use std::ops::Range;

use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::Finding;
use super::interpolate::{Env, interpolate};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// The bytes of the source.
    pub(super) span: Range<usize>,
    /// The value.
    pub(super) value: Value,
    /// Something about it was reported. It is read as if it were not there, so that one mistake is one error and
    /// the rest is still looked at.
    pub(super) faulty: bool,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A string; `interpolated` when a variable was replaced in it, so that it may stand for a number.
    String { text: String, interpolated: bool },
    /// An integer.
    Integer(i64),
    /// A float.
    Float(f64),
    /// A boolean.
    Boolean(bool),
    /// A date, which no key takes.
    Datetime,
    /// An array.
    Array(Vec<Node>),
    /// A table, in the file's order.
    Table(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) node: Node,
}

/// Reads a document; all syntax errors otherwise.
pub(super) fn parse(source: &str, findings: &mut Vec<Finding>) -> Option<Node> {
    let (document, sound) = recover(source, findings);
    sound.then_some(document)
}

/// Reads what can be read of a document, and whether that is all of it.
pub(super) fn recover(source: &str, findings: &mut Vec<Finding>) -> (Node, bool) {
    let (table, errors) = DeTable::parse_recoverable(source);
    let sound = errors.is_empty();
    // What follows an error in its line is mostly of its making.
    let line = |span: &Range<usize>| source[..span.start.min(source.len())].matches('\n').count();
    let mut lines = Vec::new();
    for error in errors {
        match error.span() {
            Some(span) if lines.contains(&line(&span)) => {}
            Some(span) => {
                lines.push(line(&span));
                findings.push(Finding::at(span, error.message()));
            }
            None => findings.push(Finding::nowhere(error.message())),
        }
    }
    let span = table.span();
    (Node { span, value: from_table(table.into_inner(), findings), faulty: false }, sound)
}

fn from_table(table: DeTable<'_>, findings: &mut Vec<Finding>) -> Value {
    let mut entries: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| Entry {
            key_span: key.span(),
            key: key.into_inner().into_owned(),
            node: from_value(value, findings),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_span.start);
    Value::Table(entries)
}

fn from_value(value: Spanned<DeValue<'_>>, findings: &mut Vec<Finding>) -> Node {
    let span = value.span();
    let mut faulty = false;
    let value = match value.into_inner() {
        DeValue::String(text) => Value::String { text: text.into_owned(), interpolated: false },
        DeValue::Integer(number) => {
            Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).unwrap_or_else(|_| {
                findings.push(Finding::at(span.clone(), "integer out of range"));
                faulty = true;
                0
            }))
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Value::Boolean(flag),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(items) => Value::Array(items.into_iter().map(|item| from_value(item, findings)).collect()),
        DeValue::Table(table) => from_table(table, findings),
    };
    Node { span, value, faulty }
}

impl Node {
    /// Replaces the variables in all strings.
    pub(super) fn interpolate(&mut self, source: &str, env: &Env<'_>, findings: &mut Vec<Finding>) {
        match &mut self.value {
            Value::String { text, interpolated } => match interpolate(text, env) {
                Ok(None) => {}
                Ok(Some(value)) => {
                    *text = value;
                    *interpolated = true;
                }
                Err(faults) => {
                    for fault in faults {
                        // The source may escape what the value has plainly; then the whole string is shown.
                        let written = source[self.span.clone()].find(&text[fault.span.clone()]);
                        let span = written.map_or_else(
                            || self.span.clone(),
                            |offset| self.span.start + offset..self.span.start + offset + fault.span.len(),
                        );
                        let help = "`${NAME:-value}` gives a default; `$${` stands for a literal `${`".to_owned();
                        findings.push(Finding::at(span, fault.message).help(help));
                    }
                    self.faulty = true;
                }
            },
            Value::Array(items) => items.iter_mut().for_each(|item| item.interpolate(source, env, findings)),
            Value::Table(entries) => {
                entries.iter_mut().for_each(|entry| entry.node.interpolate(source, env, findings));
            }
            _ => {}
        }
    }

    /// Where `path`, e.g. `routes[2].cache.ttl`, stands; where it does not exist, its nearest ancestor; `None` when
    /// there is none of that either. Faulty items of an array are not counted, as they are not read.
    pub(super) fn span_of(&self, path: &str) -> Option<Range<usize>> {
        let mut node = self;
        let mut span = None;
        for step in steps(path) {
            let Some(child) = node.child(step) else { break };
            node = child;
            span = Some(child.span.clone());
        }
        span
    }

    /// Whether something is written at `path`, be it faulty: then it is not missing.
    pub(super) fn mentions(&self, path: &str) -> bool {
        let found = steps(path).try_fold(self, |node, step| node.child(step));
        found.is_some_and(|node| !matches!(&node.value, Value::Table(entries) if entries.is_empty()))
    }

    fn child(&self, step: &str) -> Option<&Node> {
        match &self.value {
            Value::Table(entries) => entries.iter().find(|entry| entry.key == step).map(|entry| &entry.node),
            Value::Array(items) => {
                let index = step.trim_end_matches(']').parse().ok()?;
                items.iter().filter(|item| !item.faulty).nth(index)
            }
            _ => None,
        }
    }
}

/// The keys and indices of a path. Keys have no dots: names are checked.
fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '[']).filter(|step| !step.is_empty())
}

impl<'de> serde::Deserializer<'de> for &'de Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::String { text, .. } => visitor.visit_borrowed_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(flag) => visitor.visit_bool(*flag),
            Value::Datetime => Err(Error::custom("unexpected date")),
            Value::Array(items) => SeqDeserializer::new(items.iter().filter(|i| !i.faulty)).deserialize_any(visitor),
            Value::Table(entries) => {
                let sound = entries.iter().filter(|entry| !entry.node.faulty);
                MapDeserializer::new(sound.map(|entry| (entry.key.as_str(), &entry.node))).deserialize_any(visitor)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.value {
            Value::String { text, .. } => text.as_str().into_deserializer().deserialize_enum(name, variants, visitor),
            _ => Err(Error::custom(format_args!("expected one of {}", variants.join(", ")))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for &'de Node {
    type Deserializer = &'de Node;
    fn into_deserializer(self) -> &'de Node {
        self
    }
}
