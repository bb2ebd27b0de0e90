//! Changes to an image's configuration in the words of a Dockerfile, as `docker import --change` takes them.

use crate::config::ConfigOverrides;
use crate::digest::clip;

/// The instructions that are understood.
const KNOWN: &str = "CMD, ENTRYPOINT, ENV, LABEL, STOPSIGNAL, USER and WORKDIR";

/// Why an instruction cannot be followed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChangeError {
    /// Another instruction, or none.
    #[error("{0:?} is no change to an image; there are {KNOWN}")]
    Unknown(String),
    /// Nothing after the instruction.
    #[error("{0} needs a value")]
    NoValue(&'static str),
    /// Neither `NAME=value` nor `NAME value`.
    #[error("{instruction} {text:?} is not NAME=value")]
    NoPair {
        /// `ENV` or `LABEL`.
        instruction: &'static str,
        /// What it says.
        text: String,
    },
    /// A quote that is opened and not closed.
    #[error("{0:?} has an open quote")]
    OpenQuote(String),
}

impl ConfigOverrides {
    /// Adds what an instruction such as `ENTRYPOINT ["/bin/app"]` or `ENV A=1` says.
    pub fn change(&mut self, instruction: &str) -> Result<(), ChangeError> {
        let trimmed = instruction.trim();
        let (word, text) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
        let text = text.trim();
        let value = |instruction| {
            if text.is_empty() {
                return Err(ChangeError::NoValue(instruction));
            }
            Ok(text)
        };
        match word.to_ascii_uppercase().as_str() {
            "CMD" => self.cmd = Some(command(value("CMD")?)),
            "ENTRYPOINT" => {
                self.entrypoint = Some(command(value("ENTRYPOINT")?));
                // A command that was meant for another entrypoint does not fit this one.
                self.cmd.get_or_insert_default();
            }
            "ENV" => {
                let pairs = pairs("ENV", value("ENV")?)?;
                self.env
                    .extend(pairs.into_iter().map(|(name, value)| format!("{name}={value}")));
            }
            "LABEL" => self.labels.extend(pairs("LABEL", value("LABEL")?)?),
            "STOPSIGNAL" => self.stop_signal = Some(value("STOPSIGNAL")?.to_owned()),
            "USER" => self.user = Some(value("USER")?.to_owned()),
            "WORKDIR" => self.working_dir = Some(value("WORKDIR")?.to_owned()),
            _ => return Err(ChangeError::Unknown(clip(word))),
        }
        Ok(())
    }
}

/// A JSON list is program and arguments; anything else is for a shell.
fn command(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|_| vec!["/bin/sh".into(), "-c".into(), text.into()])
}

/// `NAME=value NAME="another value"`, or the old `NAME all the rest`.
fn pairs(instruction: &'static str, text: &str) -> Result<Vec<(String, String)>, ChangeError> {
    let words = words(text)?;
    let is_old = words.first().is_some_and(|word| !word.contains('='));
    if is_old && let Some((name, value)) = text.split_once(char::is_whitespace) {
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(ChangeError::NoPair {
            instruction,
            text: clip(&word),
        }),
    };
    words.into_iter().map(pair).collect()
}

/// Splits at blanks that are not quoted, and takes the quotes away.
fn words(text: &str) -> Result<Vec<String>, ChangeError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, blank) if blank.is_whitespace() => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (Some(open), character) if character == open => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(characters.next()),
            (_, character) => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err(ChangeError::OpenQuote(clip(text)));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(instructions: &[&str]) -> ConfigOverrides {
        let mut overrides = ConfigOverrides::default();
        for instruction in instructions {
            overrides.change(instruction).unwrap();
        }
        overrides
    }

    #[test]
    fn instructions_are_read_as_in_a_dockerfile() {
        let overrides = changed(&[
            r#"ENTRYPOINT ["/bin/app", "-v"]"#,
            "cmd echo $HOME",
            r#"ENV A=1 B="two words" C=x\ y"#,
            "ENV OLD all the rest",
            "LABEL a=b",
            "USER nobody:nogroup",
            "WORKDIR /srv",
            " STOPSIGNAL  SIGINT ",
        ]);
        assert_eq!(overrides.entrypoint.unwrap(), ["/bin/app", "-v"]);
        assert_eq!(overrides.cmd.unwrap(), ["/bin/sh", "-c", "echo $HOME"]);
        assert_eq!(overrides.env, ["A=1", "B=two words", "C=x y", "OLD=all the rest"]);
        assert_eq!(overrides.labels["a"], "b");
        assert_eq!(overrides.user.as_deref(), Some("nobody:nogroup"));
        assert_eq!(overrides.working_dir.as_deref(), Some("/srv"));
        assert_eq!(overrides.stop_signal.as_deref(), Some("SIGINT"));
    }

    #[test]
    fn an_entrypoint_takes_away_the_command_of_the_archive_and_not_that_of_the_user() {
        assert_eq!(changed(&["ENTRYPOINT x"]).cmd, Some(Vec::new()));
        assert_eq!(changed(&[r#"CMD ["a"]"#, "ENTRYPOINT x"]).cmd, Some(vec!["a".into()]));
    }

    #[test]
    fn what_cannot_be_followed_is_said() {
        let refused = |instruction: &str| {
            let error = ConfigOverrides::default().change(instruction).unwrap_err();
            error.to_string()
        };
        assert!(refused("RUN rm -rf /").starts_with("\"RUN\" is no change to an image; there are CMD,"));
        assert!(refused("").contains("no change"));
        assert_eq!(refused("USER  "), "USER needs a value");
        assert_eq!(refused("ENV A=1 B"), "ENV \"B\" is not NAME=value");
        assert_eq!(refused("ENV =1"), "ENV \"=1\" is not NAME=value");
        assert!(refused("ENV A='1").contains("open quote"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "(CMD|ENV|LABEL|USER|x) \\PC{0,60}") {
            let _ = ConfigOverrides::default().change(&text);
        }
    }
}
