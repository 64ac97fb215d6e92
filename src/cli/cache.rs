//! `larder cache`: what is stored, and how the tiers are.

use std::io::Write;

use bytesize::ByteSize;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::args::{CacheCommand, ListArgs};
use super::control_client::{CommandError, ControlClient};

/// Tells people what the API answered.
type Tell = fn(&Value, &mut dyn Write) -> std::io::Result<()>;

/// Writes what is asked for people, or with `json` the API's answer.
///
/// # Errors
/// The API cannot be reached, or refuses.
pub async fn run(
    client: &ControlClient,
    command: &CacheCommand,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let (path, tell): (String, Tell) = match command {
        CacheCommand::Ls(list) => (list_path(list), list_entries),
        CacheCommand::Get { url } => (format!("/v1/cache/entry?url={}", encoded(url)), entries),
        CacheCommand::Stats => ("/v1/cache/stats".to_owned(), stats),
        CacheCommand::Health => ("/v1/cache/health".to_owned(), health),
    };
    let answer = client.get(&path).await?;
    if json {
        writeln!(out, "{answer}")?;
    } else {
        tell(&answer, out)?;
    }
    Ok(())
}

pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn list_path(list: &ListArgs) -> String {
    let limit = list.limit.map(|limit| limit.to_string());
    let given = [
        ("prefix", &list.prefix),
        ("glob", &list.glob),
        ("regex", &list.regex),
        ("tag", &list.tag),
        ("content_type", &list.content_type),
        ("status", &list.status),
        ("after", &list.after),
        ("limit", &limit),
    ];
    let given = given.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_deref()?))));
    format!("/v1/cache/entries?{}", given.collect::<Vec<_>>().join("&"))
}

fn list_entries(page: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    entries(page, out)?;
    let shown = page["entries"].as_array().map_or(0, Vec::len);
    writeln!(out, "{shown} of {} keys", page["total"].as_u64().unwrap_or_default())?;
    match page["next"].as_str() {
        Some(next) => writeln!(out, "more with --after {next:?}"),
        None => Ok(()),
    }
}

/// A line a stored response, under its key.
pub(super) fn entries(answer: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let entries = answer["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        writeln!(out, "nothing is stored in memory")?;
    }
    for entry in entries {
        let bytes = ByteSize(entry["bytes"].as_u64().unwrap_or_default());
        writeln!(out, "{} ({bytes})", entry["key"].as_str().unwrap_or("?").replace('\n', " | "))?;
        for stored in entry["variants"].as_array().into_iter().flatten() {
            writeln!(out, "  {}", variant(stored))?;
        }
    }
    Ok(())
}

fn variant(stored: &Value) -> String {
    let (ttl, hits) = (stored["ttl"].as_i64().unwrap_or_default(), stored["hits"].as_u64().unwrap_or_default());
    let fresh = match ttl {
        1.. => format!("fresh for {ttl} s"),
        _ => format!("stale for {} s", -ttl),
    };
    let mut told = format!("{} {fresh}, {hits} hits", stored["status"]);
    if let Some(length) = stored["length"].as_u64() {
        let place = if stored["body_on_disk"] == true { " on disk" } else { "" };
        told += &format!(", {}{place}", ByteSize(length));
    }
    if let Some(media_type) = stored["content_type"].as_str() {
        told += &format!(", {media_type}");
    }
    for (name, value) in stored["selects"].as_object().into_iter().flatten() {
        told += &format!(", {name}: {}", value.as_str().unwrap_or("(none)"));
    }
    let names = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
    };
    for (kind, list) in [("tags", names(&stored["tags"])), ("groups", names(&stored["groups"]))] {
        if !list.is_empty() {
            told += &format!(", {kind} {}", list.join(" "));
        }
    }
    match stored["not_reused"].as_str() {
        Some(word) => format!("{told}; not reused: {word}"),
        None => told,
    }
}

fn stats(answer: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    for tier in answer["tiers"].as_array().into_iter().flatten() {
        let count = |name: &str| tier[name].as_u64().unwrap_or_default();
        let number = |name: &str| tier[name].as_f64().unwrap_or_default();
        write!(
            out,
            "{:<7} {}: {} hits, {} misses ({:.1} %), ",
            tier["tier"].as_str().unwrap_or("?"),
            tier["state"].as_str().unwrap_or("?"),
            count("hits"),
            count("misses"),
            number("ratio") * 100.0,
        )?;
        let budget = match count("budget_bytes") {
            0 => String::new(),
            bytes => format!(" of {}", ByteSize(bytes)),
        };
        match tier["entries"].as_u64() {
            Some(entries) => {
                let (bytes, evictions) = (ByteSize(count("bytes")), count("evictions"));
                write!(out, "{bytes}{budget} in {entries} entries, {evictions} evicted")?;
            }
            None => write!(out, "what it holds is not counted")?,
        }
        match number("latency_micros") {
            0.0 => {}
            micros => write!(out, ", {micros:.0} µs a look-up")?,
        }
        match tier["breaker"].as_str() {
            None => writeln!(out)?,
            Some(breaker) => writeln!(out, ", breaker {breaker}")?,
        }
    }
    Ok(())
}

fn health(answer: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "{}", answer["status"].as_str().unwrap_or("?"))?;
    for tier in answer["tiers"].as_array().into_iter().flatten() {
        writeln!(out, "  {:<7} {}", tier["tier"].as_str().unwrap_or("?"), tier["state"].as_str().unwrap_or("?"))?;
    }
    if let Some(standing) = answer["purge_link"]["standing"].as_str() {
        let fault = answer["purge_link"]["fault"].as_str().map(|fault| format!(": {fault}")).unwrap_or_default();
        writeln!(out, "  {:<7} {standing}{fault}", "purges")?;
    }
    match answer["outstanding_purges"].as_u64().unwrap_or_default() {
        0 => Ok(()),
        count => writeln!(out, "  {count} purges in force that some tier has still to apply to all it holds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::{TOKEN, start};

    async fn told(command: CacheCommand, json: bool) -> Result<String, CommandError> {
        let running = start().await;
        let client = ControlClient::new(&running.control, "given", TOKEN).unwrap();
        let mut out = Vec::new();
        run(&client, &command, json, &mut out).await?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn cache_is_told_for_people() {
        let listed =
            "GET http://a/x (2.0 KiB)\n  200 stale for 5 s, 0 hits, 3.0 MiB on disk, tags news; not reused: stale\n";
        let list = ListArgs { tag: Some("a b&c".to_owned()), limit: Some(1), ..ListArgs::default() };
        for (command, expected) in [
            (CacheCommand::Ls(list), format!("{listed}1 of 1 keys\nmore with --after \"1\"\n")),
            (CacheCommand::Get { url: "http://a/x?y&z".to_owned() }, listed.to_owned()),
            (CacheCommand::Health, "degraded\n  memory  on\n  purges  alone: unreachable\n".to_owned()),
            (
                CacheCommand::Stats,
                "memory  on: 3 hits, 1 misses (75.0 %), 0 B in 0 entries, 0 evicted\n\
                 redis   on: 3 hits, 1 misses (75.0 %), what it holds is not counted\n"
                    .to_owned(),
            ),
        ] {
            assert_eq!(told(command, false).await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn cache_as_json_is_the_answer_and_refusals_are_told() {
        let json = told(CacheCommand::Health, true).await.unwrap();
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["status"], "degraded");
        let refused = told(CacheCommand::Get { url: "nonsense".to_owned() }, false).await.unwrap_err();
        assert_eq!(refused.to_string(), "larder refused: nonsense: not an absolute http or https URL");
        let glob = ListArgs { glob: Some("[".to_owned()), ..ListArgs::default() };
        assert!(told(CacheCommand::Ls(glob), false).await.unwrap_err().to_string().contains("unclosed"));
    }
}
