//! Tokens with scopes, and the audit log that says who changed what.

use std::time::Duration;

use serde_json::json;

use super::{Api, Cli, ask, configured, upstream};
use crate::support::PATIENCE;
use crate::support::client::{Connection, request};
use crate::support::larder::{Larder, TOKEN};
use crate::support::process;

const TOKENS: &str = "[[control.tokens]]\nname = \"deploy\"\ntoken = \"deploys\"\nscopes = [\"purge\"]\n\
                      [[control.tokens]]\nname = \"eyes\"\ntoken = \"${LARDER_EYES:-looks}\"\nscopes = [\"read\"]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_token_opens_what_its_scopes_say_until_a_reload_takes_it_away() {
    let (upstream, directory) = (upstream().await, tempfile::tempdir().unwrap());
    let (file, larder) = configured(&upstream, &directory, TOKENS).await;
    let api = Api::of(&larder);
    for (token, read, purge, admin) in
        [(TOKEN, 200, 200, 200), ("deploys", 403, 200, 403), ("looks", 200, 403, 403), ("deploys2", 401, 401, 401)]
    {
        let api = api.with_token(token);
        assert_eq!(api.get("/v1/stats").await.0, read, "{token}");
        assert_eq!(api.post("/v1/purge", &json!({ "tag": "none" })).await.0, purge, "{token}");
        assert_eq!(api.post("/v1/reload", &json!({})).await.0, admin, "{token}");
    }
    let (_, lacking) = api.with_token("looks").post("/v1/purge", &json!({ "all": true })).await;
    assert_eq!((&lacking["status"], &lacking["scope"]), (&json!(403), &json!("purge")), "{lacking}");

    let mut open = Connection::open(larder.control).await;
    let asked = request("GET", "/v1/none", &[("Host", "localhost"), ("Authorization", "Bearer deploys")], "");
    open.send(&asked).await;
    assert_eq!(open.response("GET").await.status, 404, "it is known");

    // A command that finds larder by its file may be given any of the file's tokens.
    let found = Cli::of(&larder).with_token("looks").run(&["stats", "--config", file.to_str().unwrap()]).await;
    assert!(!found.is_empty());

    let text = std::fs::read_to_string(&file).unwrap().replace("deploys", "deploys2");
    std::fs::write(&file, text).unwrap();
    let (status, changes) = api.post("/v1/reload", &json!({})).await;
    assert_eq!((status, &changes["changes"]), (200, &json!(["control: `tokens` changed"])));
    for (token, status) in [("deploys2", 200), ("deploys", 401)] {
        assert_eq!(api.with_token(token).post("/v1/purge", &json!({ "tag": "none" })).await.0, status, "{token}");
    }
    open.send(&asked).await;
    assert_eq!(open.response("GET").await.status, 401, "on connections that were open, too");
    let (_, settings) = api.get("/v1/config").await;
    assert!(!settings.to_string().contains("deploys") && settings.to_string().contains("\"deploy\""), "{settings}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_is_told_with_who_what_and_how_many_and_no_token_is() {
    let (upstream, directory) = (upstream().await, tempfile::tempdir().unwrap());
    let (_, mut larder) = configured(&upstream, &directory, TOKENS).await;
    for path in ["/a", "/b"] {
        larder.until_hit(path).await;
    }
    let (api, url) = (Api::of(&larder), upstream.address());
    api.with_token("deploys").post("/v1/purge", &json!({ "prefix": ["/a\"\n", "/"], "soft": true })).await;
    api.with_token("deploys").post("/v1/purge", &json!({ "all": true, "dry_run": true })).await;
    api.with_token("deploys").post("/v1/purge", &json!({ "url": "nonsense" })).await;
    api.post("/v1/reload", &json!({})).await;
    for change in ["drain", "enable"] {
        assert_eq!(api.post(&format!("/v1/upstreams/app/servers/{url}/{change}"), &json!({})).await.0, 200);
    }
    api.with_token("looks").post("/v1/reload", &json!({})).await;
    api.with_token("guessed").get("/v1/stats").await;

    let denied = larder.process.line("the last denial", |line| line.contains("wrong-token").then(|| line.to_owned()));
    assert!(denied.await.contains("peer=127.0.0.1:"));
    let output = larder.process.output();
    let lines: Vec<_> = output.lines().filter(|line| line.contains(" audit: ")).collect();
    let expected: [&[&str]; 7] = [
        &["control ", "token=\"deploy\"", "action=\"purge\"", "prefix /", "soft=true", "targets=2", "count=2", "id="],
        &["control ", "token=\"deploy\"", "action=\"purge\"", "nonsense", "count=0", "error="],
        &["control ", "token=\"control\"", "action=\"reload\"", "count=0"],
        &["control ", "token=\"control\"", "action=\"drain\"", "app 127.0.0.1:", "count=1"],
        &["control ", "token=\"control\"", "action=\"enable\"", "app 127.0.0.1:", "count=1"],
        &["denied ", "token=\"eyes\"", "reason=\"scope\"", "scope=\"admin\"", "/v1/reload"],
        &["denied ", "reason=\"wrong-token\""],
    ];
    assert_eq!(lines.len(), expected.len(), "one a change or denial, none for a dry run: {lines:#?}");
    for (line, parts) in lines.iter().zip(expected) {
        assert!(line.contains("peer=127.0.0.1:"), "{line}");
        parts.iter().for_each(|part| assert!(line.contains(part), "{part} in {line}"));
        assert!(!line.contains("Some(") && !line.contains("=\"\\\"") && !line.contains("None"), "{line}");
        let when = line.split_whitespace().next().unwrap();
        assert!(when.ends_with('Z') && when.contains('T'), "when: {line}");
    }
    for secret in [TOKEN, "deploys", "looks", "guessed"] {
        assert!(!output.contains(secret), "{secret} in {output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_by_method_that_is_denied_is_told_with_what_it_lacks() {
    let (upstream, directory) = (upstream().await, tempfile::tempdir().unwrap());
    let open = format!("[control.purge_method]\nallow = [\"127.0.0.1\"]\n{TOKENS}");
    let (_, mut larder) = configured(&upstream, &directory, &open).await;
    for token in ["looks", "guessed", "deploys"] {
        ask(larder.address, "PURGE", "/a", &[("Authorization", &format!("Bearer {token}"))], "").await;
    }
    ask(larder.address, "PURGE", "/a", &[], "").await;
    let last = larder.process.line("the last denial", |line| line.contains("lacks=\"a token\"").then_some(()));
    last.await;
    let output = larder.process.output();
    let denied: Vec<_> = output.lines().filter(|line| line.contains(" audit: denied ")).collect();
    let expected = [
        "token=\"eyes\" reason=\"denied\" lacks=\"the scope purge\"",
        "reason=\"unauthorized\" lacks=\"a known token\"",
        "reason=\"unauthorized\" lacks=\"a token\"",
    ];
    assert_eq!(denied.len(), expected.len(), "{denied:#?}");
    for (line, part) in denied.iter().zip(expected) {
        assert!(line.contains(part) && line.contains("peer=127.0.0.1"), "{part} in {line}");
    }
    for secret in ["looks", "guessed", "deploys"] {
        assert!(!output.contains(secret), "{secret} in {output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_say_what_to_do_about_a_token_that_does_not_do() {
    let (upstream, directory) = (upstream().await, tempfile::tempdir().unwrap());
    let (_, larder) = configured(&upstream, &directory, TOKENS).await;
    let cli = Cli::of(&larder);
    for (token, line, told) in [
        ("looks", &["purge", "--all"][..], "add \"purge\" to its `scopes` in [[control.tokens]]"),
        ("deploys", &["cache", "ls"], "add \"read\" to its `scopes`"),
        ("guessed", &["stats"], "by LARDER_CONTROL_TOKEN, from its token file, or from its configuration"),
    ] {
        let finished = cli.with_token(token).start(line).finish(PATIENCE + Duration::from_secs(30)).await;
        assert_eq!(finished.status.code(), Some(1), "{line:?}: {}", finished.output);
        assert!(finished.output.starts_with("larder: larder refused: "), "{}", finished.output);
        assert!(finished.output.contains(told) && finished.output.lines().count() == 1, "{}", finished.output);
        assert!(!finished.output.contains(token), "{}", finished.output);
    }
    assert_eq!(
        cli.with_token("deploys").run(&["purge", "--tag", "none"]).await,
        "tag none: 0 stored responses matched\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_find_larder_by_a_file_with_errors_elsewhere() {
    let (upstream, directory) = (upstream().await, tempfile::tempdir().unwrap());
    let larder = Larder::before(&upstream.url()).await;
    let file = directory.path().join("proxy.toml");
    let text = format!("[control]\naddress = \"{}\"\ntoken = \"{TOKEN}\"\n[cach]\n", larder.control);
    std::fs::write(&file, text).unwrap();
    for line in
        [&["stats"][..], &["cache", "ls"], &["explain", "http://app.test/"], &["purge", "--all"], &["upstreams"]]
    {
        let mut command = Cli::of(&larder).command(line);
        command.env_remove("LARDER_CONTROL").env_remove("LARDER_CONTROL_TOKEN").arg("--config").arg(&file);
        let told = process::run(&mut command).await;
        assert!(told.lines().count() > 1 && told.contains("has 1 error elsewhere, see `larder check`"), "{told}");
    }
}
