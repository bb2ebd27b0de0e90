//! Errors as people read them.

use std::{error::Error, fmt};

/// An error and its causes on one line. A cause that was already said, by an error whose words hold those of its
/// cause, is not said again.
pub fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) {
            text
        } else {
            format!("{text}: {cause}")
        }
    })
}

/// A text that a guest may have had a say in, as one line of a log: what would begin another line, or move the cursor of
/// whoever reads it, is escaped.
pub fn one_line(text: impl fmt::Display) -> String {
    let mut line = String::new();
    for c in text.to_string().chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("{0}")]
    struct Said(&'static str, #[source] Option<Box<Said>>);

    #[test]
    fn a_guest_forges_no_line() {
        let words = "ended; its last words:\nERROR forged\r\u{1b}[2J\u{85}ü\u{2028}";
        let line = one_line(words);
        assert_eq!(line, r"ended; its last words:\nERROR forged\r\u{1b}[2J\u{85}ü\u{2028}");
    }

    #[test]
    fn each_cause_is_said_once() {
        let root = Said("no space", None);
        let middle = Said("cannot write: no space", Some(Box::new(root)));
        let error = Said("cannot import", Some(Box::new(middle)));
        assert_eq!(chain(&error), "cannot import: cannot write: no space");
    }
}
