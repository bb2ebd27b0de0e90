//! Prometheus's text format, version 0.0.4, as its documentation has it.

use std::{collections::HashMap, fmt::Write as _};

use tracing::warn;

use crate::{Kind, METRICS, histogram::Reading};

/// What is told at one asking.
#[derive(Debug, Default)]
pub struct Page(HashMap<&'static str, Vec<(String, Sample)>>);

/// A series' value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sample {
    /// A count.
    Whole(u64),
    /// Anything else.
    Number(f64),
    /// A histogram.
    Histogram(Reading),
}

impl Page {
    /// Tells a number of something that is looked up when it is asked for.
    pub fn set(&mut self, name: &'static str, labels: &[(&str, &str)], value: f64) {
        self.put(name, labels_of(labels.iter().copied()), Sample::Number(value));
    }

    /// The same of a count.
    #[expect(clippy::cast_precision_loss, reason = "counts beyond 2^53 are not met")]
    pub fn count(&mut self, name: &'static str, labels: &[(&str, &str)], value: u64) {
        self.set(name, labels, value as f64);
    }

    pub(crate) fn put(&mut self, name: &'static str, labels: String, sample: Sample) {
        self.0.entry(name).or_default().push((labels, sample));
    }

    pub(crate) fn text(mut self) -> String {
        let mut text = String::new();
        for metric in METRICS {
            let mut series = self.0.remove(metric.name).unwrap_or_default();
            series.sort_by(|(one, _), (other, _)| one.cmp(other));
            let kind = metric.kind.as_str();
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(
                text,
                "# HELP {name} {help}\n# TYPE {name} {kind}",
                name = metric.name,
                help = metric.help
            );
            for (labels, sample) in &series {
                line(&mut text, metric.name, metric.kind, labels, sample);
            }
        }
        for name in self.0.keys() {
            warn!(name, "a metric that is not in the list; it is not told");
        }
        text
    }
}

fn line(text: &mut String, name: &str, kind: Kind, labels: &str, sample: &Sample) {
    let braces = |labels: &str| match labels {
        "" => String::new(),
        labels => format!("{{{labels}}}"),
    };
    let _ = match sample {
        Sample::Whole(value) => writeln!(text, "{name}{} {value}", braces(labels)),
        Sample::Number(value) => writeln!(text, "{name}{} {value}", braces(labels)),
        Sample::Histogram(reading) => {
            let comma = if labels.is_empty() { "" } else { "," };
            let Kind::Histogram(bounds) = kind else { return };
            for (bound, count) in bounds.iter().zip(&reading.cumulated) {
                let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
            }
            let (count, sum, braces) = (reading.count, reading.sum, braces(labels));
            writeln!(
                text,
                "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}\n{name}_sum{braces} {sum}\n{name}_count{braces} {count}"
            )
        }
    };
}

/// Labels as they stand between braces.
pub(crate) fn labels_of<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{name}=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_break_out_of_their_quotes() {
        let labels = [("a", "x\"} 1\nb\\"), ("b", "ü")];
        assert_eq!(labels_of(labels.into_iter()), r#"a="x\"} 1\nb\\",b="ü""#);
    }

    #[test]
    fn each_metric_is_described_and_what_is_set_stands_below() {
        let mut page = Page::default();
        page.set("hearth_build_info", &[("version", "1")], 1.0);
        page.set("hearth_nonsense", &[], 1.0);
        let text = page.text();
        for metric in METRICS {
            assert!(text.contains(&format!("# TYPE {} {}\n", metric.name, metric.kind.as_str())));
        }
        assert!(text.contains("\nhearth_build_info{version=\"1\"} 1\n"), "{text}");
        assert!(!text.contains("nonsense"));
    }
}
