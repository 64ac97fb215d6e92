//! What `deploy/` says fits the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::repository;

#[test]
fn dashboard_asks_for_metrics_that_exist() {
    let text = fs::read_to_string(repository("deploy/grafana-dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expressions = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| target["expr"].as_str().unwrap());
    let asked: BTreeSet<String> = expressions.flat_map(metric_names).collect();
    assert!(asked.len() > 20, "{asked:?}");

    let mut sources = String::new();
    read_sources(&repository("src/telemetry"), &mut sources);
    let unknown: Vec<_> = asked
        .iter()
        .map(|name| name.strip_suffix("_bucket").unwrap_or(name))
        .filter(|name| !sources.contains(&format!("\"{name}\"")))
        .collect();
    assert!(unknown.is_empty(), "no such metrics: {unknown:?}");
}

#[test]
fn service_and_image_run_the_same_command() {
    let service = fs::read_to_string(repository("deploy/larder.service")).unwrap();
    assert!(service.contains("\nExecStart=/usr/local/bin/larder run --config /etc/larder/proxy.toml\n"));
    for directory in ["StateDirectory", "CacheDirectory", "RuntimeDirectory", "LogsDirectory"] {
        assert!(service.contains(&format!("\n{directory}=larder\n")), "the documentation's examples lie there");
    }
    assert!(service.contains("\nExecReload=/bin/kill -HUP $MAINPID\n"));
    let image = fs::read_to_string(repository("deploy/Dockerfile")).unwrap();
    assert!(image.contains("ENTRYPOINT [\"/usr/local/bin/larder\"]"));
    assert!(image.contains("CMD [\"run\", \"--config\", \"/etc/larder/proxy.toml\"]"));
    assert!(image.contains("\nUSER 10001:10001\n"), "not as root");
    let (_, compiler) = image.split_once("\nFROM rust:").unwrap();
    let profile = format!("deploy/profile/{}.profdata", compiler.split('-').next().unwrap());
    assert!(repository(&profile).is_file(), "the image is compiled by the profile: {profile}");
}

/// Words of an expression that are names of larder's metrics.
fn metric_names(expression: &str) -> Vec<String> {
    expression
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("larder_"))
        .map(str::to_owned)
        .collect()
}

fn read_sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_sources(&path, text);
        } else {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}
