//! COPY and ADD: of the folder, of here-documents, and of other stages and images.

use std::path::{Component, Path};

use anyhow::{bail, ensure};
use hearth_api::{StepKind, TemplateStep};

use super::{
    Source, Step,
    command::options,
    lines::{Document, Line},
    names::{Names, Origin},
    stage::Stage,
    words::{expand_document, split},
};

/// What all sources of an instruction have in common.
#[derive(Default)]
struct Copy {
    /// The stage that they are of, by its name; none for the folder.
    from: Option<String>,
    target: String,
    owner: Option<String>,
    mode: Option<String>,
}

impl Stage {
    pub(super) fn copy(&mut self, line: &Line, names: &Names) -> anyhow::Result<()> {
        let options = options(&line.rest, &["from", "chown", "chmod", "link", "exclude", "parents"])?;
        let mut copy = Copy::default();
        for (name, value) in &options.given {
            match name.as_str() {
                "chown" => copy.owner = Some(self.expand(value)?),
                "chmod" => copy.mode = Some(self.expand(value)?),
                "from" => copy.from = Some(self.origin(value, line, names)?),
                "link" => {}
                other => bail!("--{other} is not offered; name the files, or use .dockerignore"),
            }
        }
        let words: Vec<String> = match serde_json::from_str(&options.rest) {
            Ok(words) => words,
            Err(_) => split(&options.rest, self.common.escape),
        };
        let [sources @ .., target] = words.as_slice() else {
            bail!("COPY wants sources and a target");
        };
        ensure!(!sources.is_empty(), "COPY wants sources and a target");
        copy.target = self.expand(target)?;
        ensure!(
            sources.len() == 1 || copy.target.ends_with('/'),
            "of several sources the target must be a folder: end it with /"
        );
        let mut documents = line.documents.iter();
        for source in sources {
            let source = match documents.as_slice() {
                [document, ..] if is_document(source) => {
                    documents.next();
                    self.text(document)?
                }
                _ => Source::Path(self.expand(source)?),
            };
            self.push(copy.step(source)?)?;
        }
        Ok(())
    }

    /// The stage that `--from` names. An image is one of no steps.
    fn origin(&mut self, value: &str, line: &Line, names: &Names) -> anyhow::Result<String> {
        match names.origin(value)? {
            Origin::Stage(number) => {
                self.copies.push(number);
                Ok(names.name(number))
            }
            Origin::Image(image) => {
                let why = format!("line {}: COPY --from={image}: {}", line.number, names.no_stage(&image));
                self.count(image.len() + why.len())?;
                self.images.push((image.clone(), why));
                Ok(image)
            }
        }
    }

    fn text(&self, document: &Document) -> anyhow::Result<Source> {
        let text = if document.expands {
            expand_document(&document.text, &self.known(), self.common.escape)?
        } else {
            document.text.clone()
        };
        Ok(Source::Text {
            name: document.name.clone(),
            text,
        })
    }

    /// ADD of what lies in the folder is COPY, but that it unpacks archives.
    pub(super) fn add(&mut self, line: &Line, names: &Names) -> anyhow::Result<()> {
        let of_stage = options(&line.rest, &["from", "chown", "chmod", "link", "exclude"])?;
        ensure!(
            of_stage.given.iter().all(|(name, _)| name != "from"),
            "ADD has no --from; use COPY --from"
        );
        let before = self.steps.len();
        self.copy(line, names)?;
        for step in &self.steps[before..] {
            let Step::Copy {
                source: Source::Path(path),
                ..
            } = step
            else {
                continue;
            };
            ensure!(
                !path.contains("://") && !path.starts_with("git@"),
                "ADD fetches nothing here; fetch it with RUN, such as RUN curl -fsSLo FILE {path}"
            );
            let packed = [".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst"];
            ensure!(
                !packed.iter().any(|end| path.ends_with(end)),
                "ADD unpacks no archives here; use COPY, and RUN tar -xf"
            );
        }
        Ok(())
    }
}

fn is_document(source: &str) -> bool {
    let word = source.trim_start_matches(|c: char| c.is_ascii_digit());
    word.starts_with("<<")
}

impl Copy {
    fn step(&self, source: Source) -> anyhow::Result<Step> {
        let Some(stage) = &self.from else {
            return Ok(Step::Copy {
                source,
                target: self.target.clone(),
                owner: self.owner.clone(),
                mode: self.mode.clone(),
            });
        };
        let Source::Path(path) = source else {
            bail!("a here-document is of no stage; leave out --from");
        };
        ensure!(
            !is_root(&path),
            "COPY --from={stage} {path}: it is the whole stage; name the folders that are wanted"
        );
        let owner = self.owner.clone().unwrap_or_default();
        let mode = self.mode.clone().unwrap_or_default();
        Ok(Step::Ready(TemplateStep {
            kind: StepKind::Copy,
            args: vec![path, self.target.clone(), owner, mode],
            files: None,
            stage: Some(stage.clone()),
        }))
    }
}

/// Whether nothing of a path is left, as nothing leads out of a stage.
fn is_root(path: &str) -> bool {
    let depth = Path::new(path).components().fold(0_usize, |depth, part| match part {
        Component::Normal(_) => depth + 1,
        Component::ParentDir => depth.saturating_sub(1),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => depth,
    });
    depth == 0
}
