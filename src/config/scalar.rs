//! Values written as one string or number: durations, sizes, and what it takes to add a further kind.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A kind of value that is read from one string.
pub(super) trait Scalar: Sized {
    /// Its name: the `format` in the JSON Schema, by which the check finds [`Scalar::parse`] again.
    const FORMAT: &'static str;
    /// What it is, for messages, with its article.
    const WHAT: &'static str;
    /// What it looks like, for editors.
    const PATTERN: Option<&'static str> = None;
    /// Whether a plain integer may be written.
    const INTEGER: bool = false;

    /// Reads it.
    fn parse(text: &str) -> Result<Self, Invalid>;
}

/// Why a value can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invalid {
    /// What is wrong, in one line.
    pub(super) message: String,
    /// What would be right.
    pub(super) help: Option<String>,
}

impl Invalid {
    /// Says what is wrong.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Invalid { message: message.into(), help: None }
    }

    /// Adds what would be right.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A value of a kind, as a field of the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Written<T>(pub(super) T);

impl<'de, T: Scalar> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<T: Scalar> Visitor<'_> for Reader<T> {
            type Value = T;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::WHAT)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
                T::parse(text).map_err(|invalid| E::custom(invalid.message))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Reader(PhantomData)).map(Written)
    }
}

impl<T: Scalar> JsonSchema for Written<T> {
    fn schema_name() -> Cow<'static, str> {
        T::FORMAT.into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": "string", "format": T::FORMAT });
        if T::INTEGER {
            schema.insert("type".to_owned(), serde_json::json!(["string", "integer"]));
        }
        if let Some(pattern) = T::PATTERN {
            schema.insert("pattern".to_owned(), pattern.into());
        }
        schema
    }
}

/// A span of time: `30s`, `5m`, `1h30m`, `30d`, or `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

/// A deadline: a span of time that is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline(pub(super) Duration);

/// A number of bytes: `64MiB`, `10kB`, or a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

/// A memory budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// So many bytes.
    Bytes(u64),
    /// A share of the machine's or cgroup's memory, 1..=100.
    Percent(u8),
}

/// Longer spans are mistakes, and adding them to an instant would overflow.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

const DURATION: &str = "^(0|([0-9]+ ?[a-z]+ ?)+)$";

fn parse_duration(text: &str) -> Result<Duration, Invalid> {
    let help = "write e.g. `30s`, `5m`, `1h30m` or `30d`";
    if text != "0" && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Invalid::new(format!("`{text}` lacks a unit")).help(format!("`{text}s` is that many seconds")));
    }
    if text.contains('M') {
        let help = "`m` is minutes; a month is written as days, e.g. `30d`";
        return Err(Invalid::new(format!("`{text}` is no duration: `M` might be minutes or months")).help(help));
    }
    let span = humantime::parse_duration(text.trim())
        .map_err(|_| Invalid::new(format!("`{text}` is no duration")).help(help))?;
    if span > LONGEST {
        return Err(Invalid::new(format!("`{text}` is longer than 100 years")));
    }
    Ok(span)
}

impl Scalar for Span {
    const FORMAT: &'static str = "duration";
    const WHAT: &'static str = "a duration";
    const PATTERN: Option<&'static str> = Some(DURATION);
    const INTEGER: bool = true;

    fn parse(text: &str) -> Result<Self, Invalid> {
        parse_duration(text).map(Span)
    }
}

impl Scalar for Deadline {
    const FORMAT: &'static str = "deadline";
    const WHAT: &'static str = "a duration";
    const PATTERN: Option<&'static str> = Some(DURATION);
    const INTEGER: bool = true;

    fn parse(text: &str) -> Result<Self, Invalid> {
        match parse_duration(text)? {
            Duration::ZERO => Err(Invalid::new("a deadline of 0 would end everything at once")
                .help("there is no way to wait for ever; write a long duration, e.g. `1h`")),
            span => Ok(Deadline(span)),
        }
    }
}

impl Scalar for Size {
    const FORMAT: &'static str = "size";
    const WHAT: &'static str = "a size";
    const PATTERN: Option<&'static str> = Some("^[0-9.]+ ?([kKMGT]i?)?[bB]?$");
    const INTEGER: bool = true;

    fn parse(text: &str) -> Result<Self, Invalid> {
        if let Some(number) = text.trim().strip_suffix('m') {
            let help = format!("write `{number}MiB`, or `{number}MB` for millions of bytes");
            return Err(Invalid::new(format!("`{text}` is no size: `m` is minutes")).help(help));
        }
        text.trim().parse::<ByteSize>().map(|size| Size(size.as_u64())).map_err(|_| {
            Invalid::new(format!("`{text}` is no size")).help("write e.g. `64MiB`, `10kB` or a number of bytes")
        })
    }
}

impl Scalar for Memory {
    const FORMAT: &'static str = "memory";
    const WHAT: &'static str = "a size or a percentage";
    const PATTERN: Option<&'static str> = Some("^([0-9.]+ ?([kKMGT]i?)?[bB]?|[0-9]+ ?%)$");
    const INTEGER: bool = true;

    fn parse(text: &str) -> Result<Self, Invalid> {
        let Some(number) = text.trim().strip_suffix('%') else {
            return Size::parse(text).map(|Size(bytes)| Memory::Bytes(bytes)).map_err(|invalid| Invalid {
                help: Some("write e.g. `512MiB`, or `25%` of the memory there is".to_owned()),
                ..invalid
            });
        };
        match number.trim().parse() {
            Ok(percent @ 1..=100) => Ok(Memory::Percent(percent)),
            _ => Err(Invalid::new(format!("`{text}` is no percentage from 1% to 100%"))),
        }
    }
}

/// A size as one would write it in the file.
pub(super) fn size_text(bytes: u64) -> String {
    [(30, "GiB"), (20, "MiB"), (10, "KiB")]
        .into_iter()
        .find(|(shift, _)| bytes != 0 && bytes.trailing_zeros() >= *shift)
        .map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

/// A duration as one would write it in the file.
pub(super) fn duration_text(span: Duration) -> String {
    let seconds = span.as_secs();
    // Days are the largest unit: humantime's months and years are averages that nobody means.
    if span.subsec_nanos() == 0 && seconds != 0 {
        for (unit, name) in [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")] {
            if seconds.is_multiple_of(unit) {
                return format!("{}{name}", seconds / unit);
            }
        }
    }
    if span.is_zero() { "0".to_owned() } else { humantime::format_duration(span).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, seconds) in
            [("0", 0), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("1h 30m", 5400), ("30d", 30 * 86_400), ("0s", 0)]
        {
            assert_eq!(Span::parse(text), Ok(Span(Duration::from_secs(seconds))), "{text}");
        }
        for (text, part) in [
            ("30", "lacks a unit"),
            ("", "no duration"),
            ("30x", "no duration"),
            ("-5s", "no duration"),
            ("1000y", "100 years"),
            ("1M", "might be minutes or months"),
            ("1h 30M", "might be minutes or months"),
            ("99999999999999999999s", "no duration"),
        ] {
            let invalid = Span::parse(text).unwrap_err();
            assert!(invalid.message.contains(part), "{text}: {invalid:?}");
        }
        assert!(Deadline::parse("0").unwrap_err().message.contains("at once"));
        assert_eq!(Deadline::parse("10ms"), Ok(Deadline(Duration::from_millis(10))));
    }

    #[test]
    fn sizes_and_shares_are_read() {
        for (text, bytes) in [("64MiB", 64 << 20), ("10kB", 10_000), ("0", 0), ("1234", 1234), ("1 GiB", 1 << 30)] {
            assert_eq!(Size::parse(text), Ok(Size(bytes)), "{text}");
            assert_eq!(Memory::parse(text), Ok(Memory::Bytes(bytes)), "{text}");
        }
        assert_eq!(Memory::parse("25%"), Ok(Memory::Percent(25)));
        for text in ["", "64MiBs", "-1", "big", "10m", "10 m"] {
            assert!(Size::parse(text).is_err() && Memory::parse(text).is_err(), "{text}");
        }
        assert!(Size::parse("10m").unwrap_err().help.is_some_and(|help| help.contains("`10MiB`")));
        assert_eq!(Size::parse("10M"), Ok(Size(10_000_000)));
        for text in ["0%", "101%", "%", "x%", "25"] {
            assert_eq!(Memory::parse(text).is_err(), text != "25", "{text}");
        }
    }

    #[test]
    fn what_is_shown_can_be_written() {
        for span in [0, 1, 59, 60, 90, 3600, 5400, 86_400, 365 * 86_400].map(Duration::from_secs) {
            assert_eq!(Span::parse(&duration_text(span)), Ok(Span(span)));
        }
        assert_eq!(duration_text(Duration::from_millis(1500)), "1s 500ms");
        assert_eq!(duration_text(Duration::from_secs(30 * 86_400)), "30d");
        for size in [0, 1, 1023, 1024, 1 << 20, 3 << 30, (1 << 20) + 1] {
            assert_eq!(Size::parse(&size_text(size)), Ok(Size(size)));
        }
        assert_eq!(size_text(64 << 20), "64MiB");
    }
}
