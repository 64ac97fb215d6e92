//! `larder purge`: takes stored responses out of a running larder, or makes them stale.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::PurgeArgs;
use super::control_client::{CommandError, ControlClient};

/// Between two looks at a receipt.
const PAUSE: Duration = Duration::from_millis(100);
/// Looks before waiting is given up: half a minute.
const LOOKS: u32 = 300;

/// Purges, and writes what went: a line a target, or with `--json` the API's answer. That nothing matched is said and
/// is no failure.
///
/// # Errors
/// Nothing is named, the API cannot be reached, it refuses, or a node has not applied the purge in time; some targets
/// may then be purged, which the error says.
pub async fn run(client: &ControlClient, args: &PurgeArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let mut answer = client.post("/v1/purge", &request(args)?).await?;
    if args.wait {
        wait(client, &mut answer["receipt"]).await?;
    }
    if args.reach.json {
        writeln!(out, "{answer}")?;
        return Ok(());
    }
    for target in answer["targets"].as_array().into_iter().flatten() {
        writeln!(out, "{}", told(target, args))?;
    }
    for url in answer["sample"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        writeln!(out, "  e.g. {url}")?;
    }
    let uncounted: Vec<_> = answer["uncounted"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !uncounted.is_empty() {
        writeln!(out, "counted in memory only; what is in {} goes too", uncounted.join(" and "))?;
    }
    below(&answer["receipt"], out)?;
    reservations(&answer["receipt"], out)
}

fn request(args: &PurgeArgs) -> Result<Value, CommandError> {
    let lists = [
        ("url", &args.urls),
        ("key", &args.key),
        ("prefix", &args.prefix),
        ("glob", &args.glob),
        ("regex", &args.regex),
        ("tag", &args.tag),
        ("content_type", &args.content_type),
        ("status", &args.status),
    ];
    let mut request = json!({});
    for (kind, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
        request[*kind] = json!(list);
    }
    if args.all {
        request["all"] = true.into();
    }
    if request.as_object().is_none_or(serde_json::Map::is_empty) {
        return Err(CommandError::Usage("name what to purge: URLs, --tag, --prefix and the like, or --all".to_owned()));
    }
    for (name, given) in [("soft", args.soft), ("dry_run", args.dry_run)] {
        if given {
            request[name] = true.into();
        }
    }
    Ok(request)
}

/// Until every node has applied it.
async fn wait(client: &ControlClient, receipt: &mut Value) -> Result<(), CommandError> {
    let Some(id) = receipt["id"].as_str().map(str::to_owned) else { return Ok(()) };
    for _ in 0..LOOKS {
        if receipt["state"] == "done" {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
        *receipt = client.get(&format!("/v1/purges/{id}")).await?;
    }
    Err(CommandError::Failed(format!("the purge {id} is in force on this node, but {}", missing(receipt))))
}

/// Who has not applied a purge yet.
fn missing(receipt: &Value) -> String {
    let pending = |list: &str, name: &str| -> Vec<String> {
        let all = receipt[list].as_array().into_iter().flatten().filter(|it| it["state"] == "pending");
        all.map(|it| it[name].as_str().unwrap_or("?").to_owned()).collect()
    };
    match (pending("nodes", "node"), pending("tiers", "tier")) {
        (nodes, _) if !nodes.is_empty() => format!("not applied yet by {}", nodes.join(", ")),
        (_, tiers) => format!("still being counted in {}", tiers.join(", ")),
    }
}

fn told(target: &Value, args: &PurgeArgs) -> String {
    let name = match target["target"].as_str() {
        Some("*") | None => "everything",
        Some(name) => name,
    };
    let done = match (args.dry_run, args.soft) {
        (true, _) => "would be purged",
        (false, true) => "made stale",
        (false, false) => "purged",
    };
    match target["purged"].as_u64().unwrap_or_default() {
        0 => format!("{name}: 0 stored responses matched"),
        1 => format!("{name}: 1 stored response {done}"),
        count => format!("{name}: {count} stored responses {done}"),
    }
}

/// What the tiers below memory say, which the lines of targets do not count.
fn below(receipt: &Value, out: &mut dyn Write) -> Result<(), CommandError> {
    let tiers = receipt["tiers"].as_array().into_iter().flatten();
    for tier in tiers.filter(|tier| tier["tier"] != "memory") {
        let name = tier["tier"].as_str().unwrap_or("?");
        match (tier["matched"].as_u64(), tier["state"] == "pending") {
            (Some(count), false) => writeln!(out, "{name}: {count} matched")?,
            (Some(count), true) => writeln!(out, "{name}: {count} matched so far")?,
            (None, _) => writeln!(out, "{name}: not counted; what matches there is not used any more")?,
        }
    }
    Ok(())
}

/// What is not as it should be, or not yet.
fn reservations(receipt: &Value, out: &mut dyn Write) -> Result<(), CommandError> {
    let pending = |what: &Value| what["state"] == "pending";
    for node in receipt["nodes"].as_array().into_iter().flatten().filter(|node| pending(node)) {
        writeln!(out, "not applied yet by the node {}", node["node"].as_str().unwrap_or("?"))?;
    }
    if receipt["durable"] == false {
        writeln!(out, "in force, but not written to disk: what is stored there will be dropped by a restart")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Arguments, Command};
    use super::*;
    use crate::control::tests::{Running, TOKEN, start};

    fn args(line: &[&str]) -> PurgeArgs {
        let line = ["larder", "purge"].iter().chain(line);
        match Arguments::try_parse_from(line).unwrap().command {
            Command::Purge(args) => args,
            other => panic!("{other:?}"),
        }
    }

    async fn purge(running: &Running, line: &[&str]) -> Result<String, CommandError> {
        let client = ControlClient::new(&running.control, "given", TOKEN).unwrap();
        let mut out = Vec::new();
        run(&client, &args(line), &mut out).await?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn purge_tells_a_line_a_target() {
        let running = start().await;
        let told = purge(&running, &["http://a/x", "http://a/absent"]).await.unwrap();
        assert_eq!(told, "http://a/x: 2 stored responses purged\nhttp://a/absent: 0 stored responses matched\n");
        let told = purge(&running, &["--all"]).await.unwrap();
        assert_eq!(told, "everything: 40 stored responses purged\n");
        assert_eq!(*running.operations.purged.lock(), ["http://a/x", "http://a/absent", "*"]);
    }

    #[tokio::test]
    async fn purge_of_every_kind_hard_soft_and_dry() {
        let running = start().await;
        for (line, expected) in [
            (&["--tag", "a", "--tag", "b"][..], "tag a: 2 stored responses purged\ntag b: 2 stored responses purged\n"),
            (&["--prefix", "/x", "--soft", "--wait"], "prefix /x: 2 stored responses made stale\n"),
            (&["--glob", "/x/*"], "glob /x/*: 2 stored responses purged\n"),
            (&["--regex", "^a"], "regex ^a: 2 stored responses purged\n"),
            (&["--key", "GET http://a/"], "key GET http://a/: 2 stored responses purged\n"),
            (&["--content-type", "image/*"], "content type image/*: 2 stored responses purged\n"),
            (&["--status", "5xx"], "status 5xx: 2 stored responses purged\n"),
            (
                &["--tag", "a", "--dry-run"],
                "tag a: 2 stored responses would be purged\n  e.g. http://a/x\ncounted in memory only; what is in disk goes too\n",
            ),
        ] {
            assert_eq!(purge(&running, line).await.unwrap(), expected, "{line:?}");
        }
    }

    #[tokio::test]
    async fn purge_as_json_is_the_answer_on_one_line() {
        let running = start().await;
        let told = purge(&running, &["http://a/x", "--json"]).await.unwrap();
        let value: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(value["targets"], json!([{ "target": "http://a/x", "purged": 2 }]));
        assert_eq!((&value["total"], told.lines().count()), (&json!(2), 1));
    }

    #[tokio::test]
    async fn purge_of_a_bad_url_fails_with_its_reason_and_what_was_done() {
        let running = start().await;
        let error = purge(&running, &["nonsense"]).await.unwrap_err();
        assert_eq!(error.to_string(), "larder refused: nonsense: not an absolute http or https URL");
        assert_eq!(error.exit_code(), 1);
        let error = purge(&running, &["http://a/x", "nonsense"]).await.unwrap_err();
        assert!(error.to_string().ends_with("(1 of 2 targets failed; 2 stored responses purged for the others)"));
    }

    #[tokio::test]
    async fn purge_of_nothing_is_a_usage_error() {
        let running = start().await;
        assert_eq!(purge(&running, &[]).await.unwrap_err().exit_code(), 2);
        assert!(Arguments::try_parse_from(["larder", "purge", "--all", "http://a/"]).is_err());
    }

    #[test]
    fn what_is_not_done_is_said() {
        let tiers = json!([
            { "tier": "memory", "matched": 1, "state": "done" },
            { "tier": "disk", "matched": 3, "state": "done" },
            { "tier": "redis", "matched": null, "state": "done" },
        ]);
        let mut out = Vec::new();
        below(&json!({ "tiers": tiers }), &mut out).unwrap();
        let told = String::from_utf8(out).unwrap();
        assert_eq!(told, "disk: 3 matched\nredis: not counted; what matches there is not used any more\n");
        let receipt = json!({ "nodes": [{ "node": "a", "state": "done" }, { "node": "b", "state": "pending" }], "durable": false });
        assert_eq!(missing(&receipt), "not applied yet by b");
        assert_eq!(
            missing(&json!({ "tiers": [{ "tier": "disk", "state": "pending" }] })),
            "still being counted in disk"
        );
        let mut out = Vec::new();
        reservations(&receipt, &mut out).unwrap();
        let told = String::from_utf8(out).unwrap();
        assert!(told.starts_with("not applied yet by the node b\nin force, but not written to disk"), "{told}");
    }
}
