//! Dockerfiles as steps of a template's build.
//!
//! ```text
//! text ──► lines (instructions, here-documents) ──► stages (words, variables, steps) ──► those that the target needs
//! ```
//!
//! What cannot be kept is refused by its line, and what a template has no use for is noted.

mod command;
mod copy;
mod lines;
mod names;
mod room;
mod stage;
mod stages;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;

use hearth_api::TemplateStep;

/// The longest Dockerfile, in bytes.
pub(super) const TEXT_MAX: usize = 1 << 20;

/// What a Dockerfile comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recipe {
    /// The images that it needs.
    pub(super) images: Vec<Image>,
    /// What steps copy from, in this order.
    pub(super) stages: Vec<Built>,
    /// What it begins with.
    pub(super) image: String,
    /// In this order.
    pub(super) steps: Vec<Step>,
    /// What ENTRYPOINT and CMD start.
    pub(super) start: Option<String>,
    /// What was left out, for people.
    pub(super) notes: Vec<String>,
}

/// An image that is needed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) name: String,
    /// By which line, for people who are told that there is none.
    pub(super) why: String,
}

/// A stage that is built.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Built {
    pub(super) name: String,
    /// What it begins with.
    pub(super) image: String,
    /// In this order; each copies from stages before this one alone.
    pub(super) steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
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

impl Step {
    /// What its texts have together, in bytes.
    fn length(&self) -> usize {
        match self {
            Self::Ready(step) => step.args.iter().map(String::len).sum(),
            Self::Copy {
                source,
                target,
                owner,
                mode,
            } => {
                let source = match source {
                    Source::Path(path) => path.len(),
                    Source::Text { name, text } => name.len() + text.len(),
                };
                let options = [owner, mode].map(|text| text.as_ref().map_or(0, String::len));
                source + target.len() + options.iter().sum::<usize>()
            }
        }
    }
}

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// What a pattern matches in the folder.
    Path(String),
    /// A file of this name with this text.
    Text { name: String, text: String },
}

/// Reads a Dockerfile up to a stage, or to the last one, with what `--build-arg` says.
pub(super) fn read(text: &str, arguments: &BTreeMap<String, String>, target: Option<&str>) -> anyhow::Result<Recipe> {
    let (lines, escape) = lines::lines(text)?;
    let names = names::Names::of(&lines, escape)?;
    let mut reader = stages::Reader::new(names, arguments.clone(), escape);
    for line in &lines {
        reader.take(line)?;
    }
    reader.finish(target)
}
