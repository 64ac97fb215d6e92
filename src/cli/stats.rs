//! `larder stats`: figures of a running larder.

use std::io::{self, Write};
use std::time::Duration;

use bytesize::ByteSize;
use serde_json::Value;

use super::control_client::{CommandError, ControlClient};

/// Writes the figures for people, or with `json` the API's answer.
///
/// # Errors
/// The API cannot be reached, or refuses.
pub async fn run(client: &ControlClient, json: bool, out: &mut dyn Write) -> Result<(), CommandError> {
    let stats = client.get("/v1/stats").await?;
    if json {
        writeln!(out, "{stats}")?;
    } else {
        tell(&stats, out)?;
    }
    Ok(())
}

/// Figures that a larder of another version does not send read as 0.
fn tell(stats: &Value, out: &mut dyn Write) -> io::Result<()> {
    let count = |path: &str| stats.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    let bytes = |path: &str| ByteSize(count(path));
    let uptime = humantime::format_duration(Duration::from_secs(count("/uptime_seconds")));
    writeln!(out, "larder {}, up {uptime}", stats["version"].as_str().unwrap_or("?"))?;

    requests(&stats["requests"], out)?;
    writeln!(
        out,
        "cache      {} of {} under {} keys; {} evicted, {} purged, {} requests collapsed",
        bytes("/cache/bytes"),
        bytes("/cache/budget_bytes"),
        count("/cache/entries"),
        count("/cache/evictions"),
        count("/cache/purged"),
        count("/cache/collapsed"),
    )?;
    writeln!(
        out,
        "clients    {} connections open, {} since the start",
        count("/connections/open"),
        count("/connections/total")
    )?;
    for server in stats["upstreams"].as_array().into_iter().flatten() {
        upstream(server, out)?;
    }
    let loaded = stats.pointer("/reload/last_successful").and_then(Value::as_bool).unwrap_or_default();
    let state = if loaded { "in force" } else { "the last reload FAILED; older settings are in force" };
    writeln!(out, "settings   {state}")
}

fn requests(by_outcome: &Value, out: &mut dyn Write) -> io::Result<()> {
    let outcomes =
        || by_outcome.as_object().into_iter().flatten().map(|(word, count)| (word, count.as_u64().unwrap_or(0)));
    let total: u64 = outcomes().map(|(_, count)| count).sum();
    writeln!(out, "requests   {total}")?;
    for (word, count) in outcomes() {
        writeln!(out, "  {word:<12} {count:>10}  {:5.1} %", count as f64 * 100.0 / total.max(1) as f64)?;
    }
    Ok(())
}

fn upstream(server: &Value, out: &mut dyn Write) -> io::Result<()> {
    let text = |name: &str| server[name].as_str().unwrap_or("?");
    let count = |name: &str| server[name].as_u64().unwrap_or_default();
    write!(
        out,
        "upstream   {} {}: {} active, {} idle, {} connects",
        text("upstream"),
        text("server"),
        count("active"),
        count("idle"),
        count("connects")
    )?;
    for (kind, count) in server["errors"].as_object().into_iter().flatten() {
        write!(out, ", {count} errors ({kind})")?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::control::tests::{TOKEN, start};

    async fn stats(json: bool) -> String {
        let running = start().await;
        let client = ControlClient::new(&running.control, "given", TOKEN).unwrap();
        let mut out = Vec::new();
        run(&client, json, &mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn stats_for_people() {
        let told = stats(false).await;
        let expected = [
            "larder 1.2.3, up 1h 1m",
            "requests   100",
            "  hit                  75   75.0 %",
            "  miss                 25   25.0 %",
            "cache      3.0 MiB of 0 B under 0 keys; 0 evicted, 0 purged, 0 requests collapsed",
            "clients    0 connections open, 0 since the start",
            "upstream   web 127.0.0.1:3000: 0 active, 0 idle, 0 connects, 4 errors (connect)",
            "settings   in force",
        ];
        assert_eq!(told.lines().collect::<Vec<_>>(), expected);
    }

    #[tokio::test]
    async fn stats_as_json_are_the_answer_on_one_line() {
        let told = stats(true).await;
        assert_eq!(told.lines().count(), 1);
        let value: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(value["requests"], json!({ "hit": 75, "miss": 25 }));
        assert_eq!(value["cache"]["bytes"], 3 << 20);
    }

    #[test]
    fn stats_of_another_version_are_told_as_far_as_they_go() {
        let mut out = Vec::new();
        tell(&json!({ "version": "9", "requests": [], "upstreams": 3 }), &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().starts_with("larder 9, up 0s\nrequests   0\n"));
    }
}
