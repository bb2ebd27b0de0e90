//! What was measured, for people and for programs.

use std::{fs, path::Path};

use anyhow::Context as _;
use serde::Serialize;

/// One figure beside its baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) ours: f64,
    pub(crate) baseline: f64,
    pub(crate) unit: &'static str,
    ratio: f64,
    /// The largest ratio that is wanted; absent where the row is there to be looked at.
    pub(crate) goal: Option<f64>,
    pub(crate) met: Option<bool>,
}

impl Row {
    /// Ours against a baseline, to stay within `goal` times it.
    pub(crate) fn new(name: &'static str, unit: &'static str, ours: f64, baseline: f64, goal: f64) -> Self {
        let mut row = Self::informative(name, unit, ours, baseline);
        row.goal = Some(goal);
        row.met = Some(row.ratio <= goal);
        row
    }

    /// Ours against a fixed limit.
    pub(crate) fn within(name: &'static str, unit: &'static str, ours: f64, limit: f64) -> Self {
        Self::new(name, unit, ours, limit, 1.0)
    }

    /// A comparison without a goal.
    pub(crate) fn informative(name: &'static str, unit: &'static str, ours: f64, baseline: f64) -> Self {
        Self {
            name,
            ours,
            baseline,
            unit,
            ratio: ours / baseline,
            goal: None,
            met: None,
        }
    }
}

/// Prints the table.
pub(crate) fn print(rows: &[Row]) {
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    println!(
        "{:width$} {:>12} {:>12} {:<5} {:>7} {:>7}",
        "", "ours", "baseline", "unit", "ratio", "goal"
    );
    for row in rows {
        let goal = row.goal.map_or_else(|| "-".to_owned(), |goal| format!("{goal:.2}"));
        let verdict = match row.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        println!(
            "{:width$} {:>12.2} {:>12.2} {:<5} {:>7.2} {goal:>7} {verdict}",
            row.name, row.ours, row.baseline, row.unit, row.ratio
        );
    }
}

/// Writes `bench/out/latest.json`, whole or not at all.
pub(crate) fn write(rows: &[Row]) -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("out");
    let path = folder.join("latest.json");
    let put = || -> anyhow::Result<()> {
        fs::create_dir_all(&folder)?;
        let next = folder.join("latest.json.next");
        fs::write(&next, serde_json::to_vec_pretty(rows)?)?;
        Ok(fs::rename(next, &path)?)
    };
    put().with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("written to {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_the_largest_ratio() {
        assert_eq!(Row::new("a", "ms", 11.5, 10.0, 1.15).met, Some(true));
        assert_eq!(Row::new("a", "ms", 11.6, 10.0, 1.15).met, Some(false));
        assert_eq!(Row::within("a", "MiB", 61.0, 60.0).met, Some(false));
        assert_eq!(Row::new("none failed", "", 0.0, 1000.0, 0.0).met, Some(true));
    }

    #[test]
    fn json_has_the_agreed_fields() {
        let json = serde_json::to_value(Row::informative("a", "ms", 1.0, 2.0)).unwrap();
        let expected = serde_json::json!(
            {"name": "a", "ours": 1.0, "baseline": 2.0, "unit": "ms", "ratio": 0.5, "goal": null, "met": null}
        );
        assert_eq!(json, expected);
    }
}
