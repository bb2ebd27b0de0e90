//! Why a tool did not do what it was called for, in words that an agent can act on.

use std::{fmt::Display, time::Duration};

use hearth_client::ClientError;
use thiserror::Error;

/// Characters of a value that are repeated where it is wrong.
const VALUE_MAX_CHARS: usize = 100;

/// Why a tool failed; what the agent reads.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A field has a value that is not allowed.
    pub(crate) fn field(name: &str, value: impl Display, way_out: impl Display) -> Self {
        let value: String = value.to_string().chars().take(VALUE_MAX_CHARS).collect();
        Self(format!("{name} is {value:?}, which is not valid: {way_out}"))
    }

    /// The daemon did not answer in time.
    pub(crate) fn late(what: impl Display, within: Duration) -> Self {
        Self(format!(
            "{what} took longer than {} seconds; look with sandbox_list whether it was done all the same",
            within.as_secs()
        ))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        if let ClientError::Problem(problem) = &error {
            let field = problem.field.as_ref().map(|field| format!(", field {field}"));
            return Self(format!(
                "{} ({}{})",
                problem.detail,
                problem.code.as_str(),
                field.unwrap_or_default()
            ));
        }
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        if let Some(hint) = error.hint() {
            text = format!("{text}; {hint}");
        }
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use hearth_api::{Problem, ProblemCode};

    use super::*;

    #[test]
    fn a_problem_keeps_its_code_and_field() {
        let mut problem = Problem::new(ProblemCode::InvalidField, "timeout_s is 0; write 1 to 2678400");
        problem.field = Some("timeout_s".into());
        let failure = Failure::from(ClientError::Problem(Box::new(problem)));
        assert_eq!(
            failure.to_string(),
            "timeout_s is 0; write 1 to 2678400 (invalid_field, field timeout_s)"
        );
    }

    #[test]
    fn a_value_is_repeated_but_not_at_length() {
        let failure = Failure::field("path", "x".repeat(9000), "write a shorter one").to_string();
        assert!(failure.starts_with("path is \"xxx") && failure.ends_with("write a shorter one"));
        assert!(failure.len() < 200);
    }
}
