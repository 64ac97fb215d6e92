//! `larder upstreams`: the servers of a running larder, and taking one out for a while.

use std::io::{self, Write};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::control_client::{CommandError, ControlClient};

/// What to do with a server: `drain` or `enable`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerChange {
    /// True: no further requests.
    pub drain: bool,
    /// The upstream's name.
    pub upstream: String,
    /// The server, as `larder upstreams` names it.
    pub server: String,
}

/// Writes upstreams and their servers for people, or with `json` the API's answer.
///
/// # Errors
/// The API cannot be reached, or refuses.
pub async fn list(client: &ControlClient, json: bool, out: &mut dyn Write) -> Result<(), CommandError> {
    let answer = client.get("/v1/upstreams").await?;
    if json {
        writeln!(out, "{answer}")?;
    } else {
        tell(&answer, out)?;
    }
    Ok(())
}

/// Drains or enables a server.
///
/// # Errors
/// The API cannot be reached, or knows no such server.
pub async fn change(
    client: &ControlClient,
    change: &ServerChange,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let (upstream, server) = (encoded(&change.upstream), encoded(&change.server));
    let action = if change.drain { "drain" } else { "enable" };
    let answer = client.post(&format!("/v1/upstreams/{upstream}/servers/{server}/{action}"), &json!({})).await?;
    if json {
        writeln!(out, "{answer}")?;
    } else if change.drain {
        let left = answer["in_flight"].as_u64().unwrap_or_default();
        writeln!(out, "{} gets no further requests; {left} are under way", change.server)?;
    } else {
        writeln!(out, "{} gets requests again", change.server)?;
    }
    Ok(())
}

/// Figures that a larder of another version does not send read as 0.
fn tell(answer: &Value, out: &mut dyn Write) -> io::Result<()> {
    for upstream in answer["upstreams"].as_array().into_iter().flatten() {
        write!(out, "{}", upstream["name"].as_str().unwrap_or("?"))?;
        if let Some(breaker) = upstream["breaker"].as_str() {
            write!(out, ", circuit breaker {breaker}")?;
        }
        writeln!(out)?;
        for server in upstream["servers"].as_array().into_iter().flatten() {
            let text = |name: &str| server[name].as_str().unwrap_or("?");
            let count = |name: &str| server[name].as_u64().unwrap_or_default();
            let errors: u64 =
                server["errors"].as_object().into_iter().flatten().filter_map(|(_, it)| it.as_u64()).sum();
            writeln!(
                out,
                "  {:<28} {:<8} {} active, {} idle, {} waiting; {} requests, {errors} errors, {} retried, {} ejections",
                text("server"),
                text("state"),
                count("active"),
                count("idle"),
                count("waiting"),
                count("requests"),
                count("retries"),
                count("ejections"),
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::{TOKEN, start};

    #[tokio::test]
    async fn servers_for_people_and_what_became_of_one() {
        let running = start().await;
        let client = ControlClient::new(&running.control, "given", TOKEN).unwrap();
        let mut out = Vec::new();
        list(&client, false, &mut out).await.unwrap();
        for drain in [true, false] {
            let wanted = ServerChange { drain, upstream: "web".to_owned(), server: "127.0.0.1:3000".to_owned() };
            change(&client, &wanted, false, &mut out).await.unwrap();
        }
        let told = String::from_utf8(out).unwrap();
        let expected = [
            "web, circuit breaker closed",
            "  127.0.0.1:3000               up       0 active, 0 idle, 0 waiting; 0 requests, 4 errors, 0 retried, 0 ejections",
            "127.0.0.1:3000 gets no further requests; 2 are under way",
            "127.0.0.1:3000 gets requests again",
        ];
        assert_eq!(told.lines().collect::<Vec<_>>(), expected);
        let unknown = ServerChange { drain: true, upstream: "web".to_owned(), server: "absent".to_owned() };
        let error = change(&client, &unknown, false, &mut Vec::new()).await.unwrap_err();
        assert!(error.to_string().contains("no server"), "{error}");
    }
}
