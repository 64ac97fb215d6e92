//! `larder explain`: what would become of a request for a URL now, and why.

use std::io::Write;

use serde_json::Value;

use super::cache;
use super::control_client::{CommandError, ControlClient};

/// Writes it for people, or with `json` the API's answer.
///
/// # Errors
/// The API cannot be reached, or refuses.
pub async fn run(client: &ControlClient, url: &str, json: bool, out: &mut dyn Write) -> Result<(), CommandError> {
    let answer = client.get(&format!("/v1/cache/entry?url={}", cache::encoded(url))).await?;
    if json {
        writeln!(out, "{answer}")?;
        return Ok(());
    }
    let text = |name: &str| answer[name].as_str();
    match (text("outcome").unwrap_or("?"), text("reason")) {
        (outcome, Some(reason)) => writeln!(out, "{outcome} ({reason})")?,
        (outcome, None) => writeln!(out, "{outcome}")?,
    }
    writeln!(out, "{}", text("explanation").unwrap_or_default())?;
    for (name, label) in [("route", "route"), ("upstream", "upstream"), ("key", "key")] {
        if let Some(value) = text(name) {
            writeln!(out, "{label:<9} {}", value.replace('\n', " | "))?;
        }
    }
    for demand in answer["asks"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        writeln!(out, "asks for  {demand}")?;
    }
    if answer["entries"].as_array().is_some_and(|entries: &Vec<Value>| !entries.is_empty()) {
        writeln!(out, "stored:")?;
        cache::entries(&answer, out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::{TOKEN, start};

    #[tokio::test]
    async fn explanation_says_what_why_and_from_what() {
        let running = start().await;
        let client = ControlClient::new(&running.control, "given", TOKEN).unwrap();
        let mut out = Vec::new();
        run(&client, "http://a/x", false, &mut out).await.unwrap();
        let told = String::from_utf8(out).unwrap();
        let expected = "miss (stale)\nWhat is stored is stale.\nroute     default\nupstream  app\nkey       GET http://a/x\n\
                        asks for  a client in 10.0.0.0/8\nstored:\nGET http://a/x (2.0 KiB)\n";
        assert!(told.starts_with(expected), "{told}");
        let mut out = Vec::new();
        run(&client, "http://a/x", true, &mut out).await.unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap()["outcome"], "miss");
    }
}
