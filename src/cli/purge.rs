//! `larder purge`: removes stored responses from a running larder.

use std::io::Write;

use serde_json::{Value, json};

use super::control_client::{CommandError, ControlClient};

/// What to purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeTargets {
    /// These absolute URLs, all variants of each.
    Urls(Vec<String>),
    /// Everything.
    All,
}

/// Purges, and writes what went: a line a target, or with `json` the API's answer. That nothing matched is said and
/// is no failure.
///
/// # Errors
/// No URL is given, the API cannot be reached, or it refuses; some targets may then be purged, which the error says.
pub async fn run(
    client: &ControlClient,
    targets: &PurgeTargets,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let request = match targets {
        PurgeTargets::All => json!({ "all": true }),
        PurgeTargets::Urls(urls) if urls.is_empty() => {
            return Err(CommandError::Usage("name a URL to purge, or --all".to_owned()));
        }
        PurgeTargets::Urls(urls) => json!({ "urls": urls }),
    };
    let answer = client.post("/v1/purge", &request).await?;
    if json {
        writeln!(out, "{answer}")?;
        return Ok(());
    }
    for target in answer["targets"].as_array().into_iter().flatten() {
        writeln!(out, "{}", told(target))?;
    }
    Ok(())
}

fn told(target: &Value) -> String {
    let name = match target["target"].as_str() {
        Some("*") | None => "everything",
        Some(url) => url,
    };
    match target["purged"].as_u64().unwrap_or_default() {
        0 => format!("{name}: 0 stored responses matched"),
        1 => format!("{name}: 1 stored response purged"),
        count => format!("{name}: {count} stored responses purged"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::{Running, TOKEN, start};

    async fn purge(running: &Running, targets: PurgeTargets, json: bool) -> Result<String, CommandError> {
        let client = ControlClient::new(&running.control, TOKEN).unwrap();
        let mut out = Vec::new();
        run(&client, &targets, json, &mut out).await?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn urls(urls: &[&str]) -> PurgeTargets {
        PurgeTargets::Urls(urls.iter().map(|url| (*url).to_owned()).collect())
    }

    #[tokio::test]
    async fn purge_tells_a_line_a_target() {
        let running = start().await;
        let told = purge(&running, urls(&["http://a/x", "http://a/absent"]), false).await.unwrap();
        assert_eq!(told, "http://a/x: 2 stored responses purged\nhttp://a/absent: 0 stored responses matched\n");
        let told = purge(&running, PurgeTargets::All, false).await.unwrap();
        assert_eq!(told, "everything: 40 stored responses purged\n");
        assert_eq!(*running.operations.purged.lock(), ["http://a/x", "http://a/absent", "*"]);
    }

    #[tokio::test]
    async fn purge_as_json_is_the_answer_on_one_line() {
        let running = start().await;
        let told = purge(&running, urls(&["http://a/x"]), true).await.unwrap();
        let value: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(value, json!({ "total": 2, "targets": [{ "target": "http://a/x", "purged": 2 }] }));
        assert_eq!(told.lines().count(), 1);
    }

    #[tokio::test]
    async fn purge_of_a_bad_url_fails_with_its_reason_and_what_was_done() {
        let running = start().await;
        let error = purge(&running, urls(&["nonsense"]), false).await.unwrap_err();
        assert_eq!(error.to_string(), "larder refused: nonsense: not an absolute http or https URL");
        assert_eq!(error.exit_code(), 1);
        let error = purge(&running, urls(&["http://a/x", "nonsense"]), false).await.unwrap_err();
        assert!(error.to_string().ends_with("(1 of 2 targets failed; 2 stored responses purged for the others)"));
    }

    #[tokio::test]
    async fn purge_of_nothing_is_a_usage_error() {
        let running = start().await;
        assert_eq!(purge(&running, urls(&[]), false).await.unwrap_err().exit_code(), 2);
    }
}
