//! The stages of a Dockerfile, and which of them a build needs.
//!
//! A stage that begins with another one has that one's steps before its own: what is built twice so is taken from the layers that the
//! first left. A stage that nothing needs is not looked at, and what cannot be kept in it refuses nothing; but all
//! stages share one room (`room.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use anyhow::{Context as _, bail, ensure};

use super::{
    Built, Image, Recipe,
    lines::Line,
    names::{Beginning, Names},
    room::Room,
    stage::{Common, Stage, arguments},
    words::{Variables, expand},
};

/// Stages of one Dockerfile.
const STAGES_MAX: usize = 50;

/// What the instructions so far come to.
pub(super) struct Reader {
    names: Names,
    common: Rc<Common>,
    /// A stage, or why it cannot be built.
    stages: Vec<anyhow::Result<Stage>>,
    /// Where each begins.
    lines: Vec<String>,
}

impl Reader {
    pub(super) fn new(names: Names, given: Variables, escape: char) -> Self {
        let common = Common {
            escape,
            given,
            global: platform(),
            room: Room::default(),
        };
        Self {
            names,
            common: Rc::new(common),
            stages: Vec::new(),
            lines: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, line: &Line) -> anyhow::Result<()> {
        if line.keyword == "FROM" {
            ensure!(
                self.stages.len() < STAGES_MAX,
                "{}: more than {STAGES_MAX} stages",
                line.place()
            );
            self.names.before = self.stages.len();
            let stage = self.from(line).with_context(|| line.place());
            self.stages.push(stage);
            self.lines.push(line.place());
            return Ok(());
        }
        let Some(last) = self.stages.last_mut() else {
            return self.before(line).with_context(|| line.place());
        };
        if let Ok(stage) = last
            && let Err(error) = stage.take(line, &self.names)
        {
            *last = Err(error.context(line.place()));
        }
        Ok(())
    }

    fn before(&mut self, line: &Line) -> anyhow::Result<()> {
        ensure!(line.keyword == "ARG", "nothing but ARG may stand before FROM");
        // No stage has it yet.
        let common = Rc::get_mut(&mut self.common).context("ARG stands behind a FROM")?;
        for (name, default) in arguments(&line.rest, common.escape)? {
            let default = default
                .map(|text| expand(&text, &[&common.global], common.escape))
                .transpose()?;
            if let Some(value) = common.given.get(&name).cloned().or(default) {
                common.room.entry(name.len() + value.len())?;
                common.global.insert(name, value);
            }
        }
        Ok(())
    }

    fn from(&self, line: &Line) -> anyhow::Result<Stage> {
        let from = Beginning::read(&line.rest, self.common.escape)?;
        let base = expand(&from.base, &[&self.common.global], self.common.escape)?;
        ensure!(!base.is_empty(), "FROM names no image once its variables are expanded");
        if let Some(number) = self.names.earlier(&base) {
            return match &self.stages[number] {
                Ok(stage) => stage.child(number),
                // What is wrong with it is told in its turn.
                Err(error) => bail!("stage {base} cannot be built: {error:#}"),
            };
        }
        ensure!(
            base != "scratch",
            "a stage needs a system with bash; begin with an image that has one"
        );
        Ok(Stage::new(Rc::clone(&self.common), base))
    }

    /// What the target comes to, with the stages that it needs.
    pub(super) fn finish(self, target: Option<&str>) -> anyhow::Result<Recipe> {
        let target = self.names.target(target)?;
        let Self {
            names, stages, lines, ..
        } = self;
        let mut needed = Needed::default();
        let mut stages: Vec<_> = stages.into_iter().map(Some).collect();
        needed.look(target, &mut stages)?;
        let mut recipe = Recipe::default();
        for (image, why) in needed.images {
            recipe.stages.push(Built {
                name: image.clone(),
                image: image.clone(),
                steps: Vec::new(),
            });
            recipe.images.push(Image { name: image, why });
        }
        for (number, stage) in needed.stages {
            recipe.notes.extend(stage.notes.clone());
            recipe.images.push(Image {
                name: stage.image.clone(),
                why: lines[number].clone(),
            });
            if number == target {
                recipe.start = stage.start();
                (recipe.image, recipe.steps) = (stage.image, stage.steps);
            } else if needed.copied.contains(&number) {
                recipe.stages.push(Built {
                    name: names.name(number),
                    image: stage.image,
                    steps: stage.steps,
                });
            }
        }
        Ok(recipe)
    }
}

/// What the target needs, itself included.
#[derive(Default)]
struct Needed {
    stages: BTreeMap<usize, Stage>,
    /// Those whose files are copied, and not only their steps taken over.
    copied: BTreeSet<usize>,
    images: BTreeMap<String, String>,
}

impl Needed {
    /// Looks through a stage and those that it uses: all of them come before it, so there is an end.
    fn look(&mut self, target: usize, stages: &mut [Option<anyhow::Result<Stage>>]) -> anyhow::Result<()> {
        let mut waiting = vec![target];
        while let Some(number) = waiting.pop() {
            let Some(stage) = stages.get_mut(number).and_then(Option::take) else {
                continue;
            };
            let stage = stage?;
            waiting.extend(stage.uses());
            self.copied.extend(&stage.copies);
            self.images.extend(stage.images.clone());
            self.stages.insert(number, stage);
        }
        Ok(())
    }
}

/// What docker says of the host without being asked; here it is what builds and what is built for.
fn platform() -> Variables {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let of = |kind: &str| {
        [
            (format!("{kind}PLATFORM"), format!("linux/{architecture}")),
            (format!("{kind}OS"), "linux".to_owned()),
            (format!("{kind}ARCH"), architecture.to_owned()),
        ]
    };
    of("BUILD").into_iter().chain(of("TARGET")).collect()
}
