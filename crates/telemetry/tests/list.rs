//! The list of metrics is what the program tells, and what the handbook says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use hearth_telemetry::{Kind, METRICS, reference};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// All Rust sources of our crates but this one's list, without their tests.
fn sources() -> Vec<(PathBuf, String)> {
    let mut folders: Vec<PathBuf> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("src"))
        .collect();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("catalogue.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
                sources.push((path, text));
            }
        }
    }
    sources
}

/// The metrics that sources name: the first string after `counter!(`, `gauge!(`, `histogram!(`, `.set(` and `.count(`.
fn named() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, text) in sources() {
        for opening in ["counter!(", "gauge!(", "histogram!(", ".set(", ".count("] {
            for place in text.split(opening).skip(1) {
                let name = place
                    .trim_start()
                    .strip_prefix('"')
                    .and_then(|rest| rest.split('"').next());
                if let Some(name) = name.filter(|name| name.starts_with("hearth_")) {
                    names.insert(name.to_owned());
                }
            }
        }
    }
    names
}

#[test]
fn what_the_program_tells_is_what_the_list_says() {
    let listed: BTreeSet<String> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(listed.len(), METRICS.len(), "a metric is listed twice");
    assert_eq!(named(), listed);
}

#[test]
fn the_handbooks_list_is_this_one() {
    let path = root().join("docs/metrics.md");
    if std::env::var_os("HEARTH_BLESS").is_some() {
        fs::write(&path, reference()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, reference(), "HEARTH_BLESS=1 writes docs/metrics.md anew");
}

#[test]
fn names_are_as_prometheus_wants_them() {
    for metric in METRICS {
        let name = metric.name;
        assert!(name.starts_with("hearth_"), "{name}");
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.chars().all(plain), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
        if let Kind::Histogram(bounds) = metric.kind {
            assert!(name.ends_with("_seconds"), "{name}");
            assert!(bounds.is_sorted_by(|one, next| one < next), "{name}");
        }
        assert!(metric.help.ends_with('.') && !metric.help.contains('\n'), "{name}");
    }
}
