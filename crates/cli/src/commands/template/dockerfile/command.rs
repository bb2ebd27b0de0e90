//! What instructions run or start: lines of a shell or lists of words, options before them, and here-documents behind.

use std::fmt::Write as _;

use anyhow::ensure;

use super::{lines::Document, words::quoted};

/// What is run or started.
#[derive(Debug, Clone)]
pub(super) enum Start {
    Shell(String),
    Words(Vec<String>),
}

/// An instruction's options and what follows them.
pub(super) struct Options {
    pub(super) given: Vec<(String, String)>,
    pub(super) rest: String,
}

impl Start {
    /// What ENTRYPOINT and CMD start together.
    pub(super) fn of(entrypoint: Option<Self>, cmd: Option<Self>) -> Option<String> {
        match (entrypoint, cmd) {
            (None, None) => None,
            (None, Some(start)) | (Some(start @ Self::Shell(_)), _) | (Some(start), None) => Some(start.command()),
            (Some(Self::Words(mut words)), Some(Self::Words(more))) => {
                words.extend(more);
                Some(Self::Words(words).command())
            }
            (Some(Self::Words(mut words)), Some(Self::Shell(command))) => {
                words.extend(["/bin/sh".to_owned(), "-c".to_owned(), command]);
                Some(Self::Words(words).command())
            }
        }
    }

    pub(super) fn command(self) -> String {
        match self {
            Self::Shell(command) => command,
            Self::Words(words) => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
        }
    }
}

/// A list of words, or else a line of a shell.
pub(super) fn start(rest: &str) -> Start {
    match serde_json::from_str::<Vec<String>>(rest) {
        Ok(words) if !words.is_empty() => Start::Words(words),
        _ => Start::Shell(rest.to_owned()),
    }
}

/// The options at the beginning of an instruction, all of which must be known.
pub(super) fn options(rest: &str, known: &[&str]) -> anyhow::Result<Options> {
    let (mut given, mut left) = (Vec::new(), rest.trim_start());
    while left.starts_with("--") {
        let (word, after) = left.split_once(char::is_whitespace).unwrap_or((left, ""));
        let (name, value) = word[2..].split_once('=').unwrap_or((&word[2..], ""));
        ensure!(
            known.contains(&name),
            "--{name} is not known here; known are --{}",
            known.join(", --")
        );
        given.push((name.to_owned(), value.trim_matches('"').to_owned()));
        left = after.trim_start();
    }
    Ok(Options {
        given,
        rest: left.to_owned(),
    })
}

/// A command with its here-documents, as the shell reads them; one that is nothing but a document is a script.
pub(super) fn with_documents(command: &str, documents: &[Document]) -> String {
    let bare = command.trim();
    if let [document] = documents
        && bare.starts_with("<<")
        && bare.split_whitespace().count() == 1
    {
        return script(document);
    }
    let mut whole = command.to_owned();
    for document in documents {
        // It cannot fail.
        let _ = write!(whole, "\n{}{}", document.text, document.name);
    }
    if !documents.is_empty() {
        whole.push('\n');
    }
    whole
}

/// One that names its own interpreter is run by that.
fn script(document: &Document) -> String {
    let Document { name, text, .. } = document;
    if !text.starts_with("#!") {
        return text.clone();
    }
    format!(
        "script=$(mktemp) && cat > \"$script\" <<'{name}'\n{text}{name}\nchmod 700 \"$script\" && \"$script\"; code=$?; rm -f \"$script\"; exit $code\n"
    )
}
