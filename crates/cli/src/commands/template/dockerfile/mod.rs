//! Dockerfiles as steps of a template's build.
//!
//! ```text
//! text ──► lines (instructions, here-documents) ──► recipe (words, variables) ──► steps
//! ```
//!
//! One stage, since a build has one machine. What cannot be kept is refused by its line, and what a template has no use for is
//! noted.

mod lines;
mod recipe;
mod words;

use std::collections::BTreeMap;

use anyhow::Context as _;
use hearth_api::TemplateStep;

/// What a Dockerfile comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recipe {
    /// What it begins with.
    pub(super) image: String,
    /// In this order.
    pub(super) steps: Vec<Step>,
    /// What ENTRYPOINT and CMD start.
    pub(super) start: Option<String>,
    /// What was left out, for people.
    pub(super) notes: Vec<String>,
}

/// One step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// One that is complete.
    Ready(TemplateStep),
    /// One whose files are to be found and sent.
    Copy {
        source: Source,
        target: String,
        owner: Option<String>,
        mode: Option<String>,
    },
}

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// What a pattern matches in the folder.
    Path(String),
    /// A file of this name with this text.
    Text { name: String, text: String },
}

/// Reads a Dockerfile, with what `--build-arg` says.
pub(super) fn read(text: &str, arguments: &BTreeMap<String, String>) -> anyhow::Result<Recipe> {
    let (lines, escape) = lines::lines(text)?;
    let mut reader = recipe::Reader::new(arguments.clone(), escape);
    for line in &lines {
        let refused = || format!("line {}: {} {:.80}", line.number, line.keyword, line.rest);
        reader.take(line).with_context(refused)?;
    }
    reader.finish()
}
