//! The dashboard and the alerts ask for metrics that there are.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use hearth_telemetry::{Kind, METRICS};

fn deploy() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

/// Every word that begins as a metric's name does.
fn asked(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    words.filter(|word| word.starts_with("hearth_")).collect()
}

/// Every name under which Prometheus keeps something of ours.
fn kept() -> BTreeSet<String> {
    let names = METRICS.iter().flat_map(|metric| match metric.kind {
        Kind::Counter | Kind::Gauge => vec![metric.name.to_owned()],
        Kind::Histogram(_) => ["_bucket", "_sum", "_count"]
            .map(|end| format!("{}{end}", metric.name))
            .to_vec(),
    });
    names.collect()
}

#[test]
fn what_is_asked_for_is_there() {
    let kept = kept();
    for (file, least) in [("grafana/hearth.json", 30), ("prometheus/alerts.yml", 10)] {
        let text = fs::read_to_string(deploy().join(file)).unwrap();
        let asked = asked(&text);
        assert!(asked.len() >= least, "{file}: {asked:?}");
        for name in asked {
            assert!(kept.contains(name), "{file} asks for {name}, which there is not");
        }
    }
}

#[test]
fn the_dashboard_is_whole() {
    let text = fs::read_to_string(deploy().join("grafana/hearth.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one ID");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        for target in panel["targets"].as_array().unwrap() {
            let ask = target["expr"].as_str().unwrap();
            assert!(ask.contains("hearth_"), "{ask}");
            let (opened, closed) = (ask.matches(['(', '{']).count(), ask.matches([')', '}']).count());
            assert_eq!(opened, closed, "{ask}");
        }
    }
}

#[test]
fn promtool_takes_the_rules_and_the_example() {
    for (what, file) in [
        ("rules", "prometheus/alerts.yml"),
        ("config", "prometheus/prometheus.yml"),
    ] {
        let said = Command::new("promtool")
            .args(["check", what])
            .arg(deploy().join(file))
            .output();
        let Ok(said) = said else {
            eprintln!("SKIPPED: promtool is missing (Debian: prometheus)");
            return;
        };
        let text = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "{file}: {text}");
    }
}
