//! Checks of what clients send that more than one endpoint makes. Pure.

use std::collections::BTreeMap;

use hearth_domain::{SIGNAL_MAX, parse_signal};

use crate::error::{ApiError, ApiResult};

const STOP_TIMEOUT_MAX_MS: u64 = 3_600_000;
const PATH_MAX: usize = 4096;
/// What names and values of an environment may have together: a kernel gives a program little more room for it, and each
/// machine's is kept.
const ENVIRONMENT_MAX: usize = 128 * 1024;

/// A signal, as [`parse_signal`] reads it.
pub(crate) fn signal(text: &str) -> ApiResult<i32> {
    parse_signal(text).ok_or_else(|| {
        let text: String = text.chars().take(40).collect();
        ApiError::field(
            "signal",
            format!("signal {text:?} is not valid: give a name such as TERM, or a number from 1 to {SIGNAL_MAX}"),
        )
    })
}

/// How long a machine may be given to stop, in milliseconds.
pub(crate) fn stop_timeout_ms(field: &'static str, value: u64) -> ApiResult<u64> {
    at_most(field, value, STOP_TIMEOUT_MAX_MS)
}

/// Lines of `NAME=value`, of a bounded length together; of two of a name the later holds.
pub(crate) fn environment(lines: Vec<String>) -> ApiResult<BTreeMap<String, String>> {
    // Each line has a `=` that is neither name nor value.
    let length: usize = lines.iter().map(|line| line.len().saturating_sub(1)).sum();
    environment_length("env", length)?;
    let mut variables = BTreeMap::new();
    for (place, line) in lines.into_iter().enumerate() {
        no_nul(&format!("env[{place}]"), &line)?;
        match line.split_once('=') {
            Some((name, value)) if !name.is_empty() => variables.insert(name.to_owned(), value.to_owned()),
            _ => {
                let line: String = line.chars().take(80).collect();
                return Err(ApiError::field(
                    format!("env[{place}]"),
                    format!("env {line:?} is not valid: write NAME=value"),
                ));
            }
        };
    }
    Ok(variables)
}

/// Refuses names and values that are too long together.
pub(crate) fn environment_length(field: &'static str, length: usize) -> ApiResult<()> {
    if length <= ENVIRONMENT_MAX {
        return Ok(());
    }
    Err(ApiError::field(
        field,
        format!(
            "{field} has {length} bytes of names and values: give at most {ENVIRONMENT_MAX}, and longer texts as files or secrets"
        ),
    ))
}

/// Each of a program's arguments, or any other text that a C program will see.
pub(crate) fn arguments(field: &str, texts: &[String]) -> ApiResult<()> {
    texts
        .iter()
        .enumerate()
        .try_for_each(|(place, text)| no_nul(&format!("{field}[{place}]"), text))
}

/// An absolute path in a machine.
pub(crate) fn guest_path(field: &str, path: &str) -> ApiResult<()> {
    no_nul(field, path)?;
    if path.starts_with('/') && path.len() <= PATH_MAX {
        return Ok(());
    }
    let shown: String = path.chars().take(200).collect();
    Err(ApiError::field(
        field,
        format!("{field} {shown:?} is not valid: give an absolute path of at most {PATH_MAX} bytes"),
    ))
}

/// `user[:group]`.
pub(crate) fn user(user: &str) -> ApiResult<()> {
    let plain = |part: &str| {
        !part.is_empty() && part.len() <= 64 && part.chars().all(|c| c.is_ascii_graphic() && c != ':' && c != '/')
    };
    let valid = match user.split_once(':') {
        Some((user, group)) => plain(user) && plain(group),
        None => plain(user),
    };
    if valid {
        return Ok(());
    }
    let shown: String = user.chars().take(80).collect();
    Err(ApiError::field(
        "user",
        format!("user {shown:?} is not valid: write USER or USER:GROUP, by name or number"),
    ))
}

/// A number of milliseconds within its bounds.
pub(crate) fn at_most(field: &'static str, value: u64, max: u64) -> ApiResult<u64> {
    if value <= max {
        Ok(value)
    } else {
        Err(ApiError::field(
            field,
            format!("{field} {value} is not valid: it is at most {max}"),
        ))
    }
}

fn no_nul(field: &str, text: &str) -> ApiResult<()> {
    if text.contains('\0') {
        Err(ApiError::field(
            field,
            format!("{field} is not valid: it holds a NUL character"),
        ))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_a_name() {
        let lines = ["A=1", "B=", "A=2", "C=x=y"].map(str::to_owned).to_vec();
        let read = environment(lines).unwrap();
        assert_eq!(
            read.into_iter().collect::<Vec<_>>(),
            [
                ("A".into(), "2".into()),
                ("B".into(), String::new()),
                ("C".into(), "x=y".into())
            ]
        );
        for bad in ["A", "=1", "A=\0"] {
            let refused = environment(vec!["X=1".into(), bad.into()]).unwrap_err();
            assert_eq!(refused.problem.field.as_deref(), Some("env[1]"), "{bad:?}");
        }
    }

    #[test]
    fn variables_have_a_bound_together() {
        let lines = |value: usize| vec!["A=1".to_owned(), format!("B={}", "x".repeat(value))];
        assert!(environment(lines(ENVIRONMENT_MAX - 3)).is_ok());
        let refused = environment(lines(ENVIRONMENT_MAX - 2)).unwrap_err();
        assert_eq!(refused.problem.field.as_deref(), Some("env"));
        let many = vec!["A=".to_owned(); ENVIRONMENT_MAX + 1];
        assert!(environment(many).is_err(), "of one name as well");
    }

    #[test]
    fn users_and_paths() {
        for good in ["root", "1000", "1000:1000", "www-data:www-data"] {
            assert!(user(good).is_ok(), "{good}");
        }
        for bad in ["", ":", "a:", ":b", "a:b:c", "a b", "a/b", "a\0"] {
            assert!(user(bad).is_err(), "{bad:?}");
        }
        assert!(guest_path("path", "/etc").is_ok());
        for bad in ["", "etc", "/a\0", &format!("/{}", "a".repeat(5000))] {
            assert!(guest_path("path", bad).is_err());
        }
    }
}
