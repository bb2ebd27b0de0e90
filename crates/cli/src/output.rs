//! Tables and JSON.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
};

use serde::Serialize;

/// Text as a terminal may be given it. Names, reasons and messages come from guests, images and registries, and a
/// terminal obeys what is in them: control characters, and those that change the direction of writing.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| {
        (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.contains(harmful) {
        text.replace(harmful, "\u{fffd}").into()
    } else {
        text.into()
    }
}

/// Prints a line of words.
pub(crate) fn print_line(line: impl AsRef<str>) {
    put_line(&harmless(line.as_ref()));
}

/// Prints a line as it is, and ends the program in peace when nobody reads any more (`hearth ps | head -1`).
fn put_line(line: &str) {
    let mut out = io::stdout().lock();
    let written = out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n"));
    if let Err(error) = written.and_then(|()| out.flush()) {
        std::process::exit(i32::from(error.kind() != io::ErrorKind::BrokenPipe));
    }
}

/// Prints a value as JSON, for people and programs alike.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    put_line(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Prints a value as one line of JSON, for streams.
pub(crate) fn print_json_line(value: &impl Serialize) {
    // Types of the API, whose maps have text keys, so that it cannot fail.
    put_line(&serde_json::to_string(value).unwrap_or_default());
}

/// Says something by the way, on standard error. Where JSON is wanted, nothing but failures goes there.
pub(crate) fn note(text: impl std::fmt::Display, json: bool) {
    if !json {
        // A terminal may be raw, and then goes down a line but not back to its beginning.
        let end = if io::stderr().is_terminal() { "\r\n" } else { "\n" };
        eprint!("hearth: {}{end}", harmless(&text.to_string()));
    }
}

/// Prints rows under their headings, each column as wide as it needs.
pub(crate) fn print_table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) {
    let mut widths = headings.map(|h| h.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    print_line(line(headings));
    for row in rows {
        print_line(line(row.each_ref().map(String::as_str)));
    }
}

/// A size in bytes, as people read it.
pub(crate) fn bytes(size: u64) -> String {
    indicatif::BinaryBytes(size).to_string()
}

/// How long ago, in one unit.
pub(crate) fn ago(time: jiff::Timestamp) -> String {
    format!("{} ago", span(age_secs(time)))
}

/// Seconds since a time.
pub(crate) fn age_secs(time: jiff::Timestamp) -> i64 {
    jiff::Timestamp::now().duration_since(time).as_secs().max(0)
}

/// A span of seconds, in one unit.
pub(crate) fn span(seconds: i64) -> String {
    let (count, unit) = match seconds {
        ..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// The part of an ID that people type: prefix, time, and what follows within a short run.
pub(crate) fn short_image(id: &str) -> String {
    id.trim_start_matches("sha256:").chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_one_unit() {
        for (seconds, text) in [
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (7200, "2 hours"),
            (86_400, "1 day"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
