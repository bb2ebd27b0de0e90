//! Errors as people read them.

use std::error::Error;

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

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("{0}")]
    struct Said(&'static str, #[source] Option<Box<Said>>);

    #[test]
    fn each_cause_is_said_once() {
        let root = Said("no space", None);
        let middle = Said("cannot write: no space", Some(Box::new(root)));
        let error = Said("cannot import", Some(Box::new(middle)));
        assert_eq!(chain(&error), "cannot import: cannot write: no space");
    }
}
