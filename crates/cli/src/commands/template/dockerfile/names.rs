//! What stages are called: by the name after AS, or by a number from 0. A name that no stage has is an image's.

use anyhow::{Context as _, bail, ensure};

use super::{super::short, command::options, lines::Line, words::split};

/// The names of all stages of a Dockerfile, of which the first few are read.
#[derive(Debug, Default)]
pub(super) struct Names {
    all: Vec<Option<String>>,
    /// Those before the stage that is read.
    pub(super) before: usize,
}

/// What something is copied from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Stage(usize),
    Image(String),
}

/// What a FROM says.
pub(super) struct Beginning {
    /// An image, or a stage; its variables are not expanded yet.
    pub(super) base: String,
    name: Option<String>,
}

impl Beginning {
    pub(super) fn read(rest: &str, escape: char) -> anyhow::Result<Self> {
        let options = options(rest, &["platform"])?;
        let words = split(&options.rest, escape);
        let (base, name) = match words.as_slice() {
            [] => bail!("FROM names no image"),
            [base] => (base, None),
            [base, word, name] if word.eq_ignore_ascii_case("as") => (base, Some(name.to_ascii_lowercase())),
            _ => bail!("FROM wants an image, and a name after AS: FROM IMAGE AS NAME"),
        };
        Ok(Self {
            base: base.clone(),
            name,
        })
    }
}

impl Names {
    /// Those that the lines give.
    pub(super) fn of(lines: &[Line], escape: char) -> anyhow::Result<Self> {
        let mut all: Vec<Option<String>> = Vec::new();
        for line in lines.iter().filter(|line| line.keyword == "FROM") {
            // What is wrong with it otherwise is told as it is read.
            let name = Beginning::read(&line.rest, escape).ok().and_then(|from| from.name);
            if let Some(name) = &name {
                check(name).with_context(|| line.place())?;
                ensure!(
                    !all.iter().flatten().any(|other| other == name),
                    "{}: another stage before is called {name:?}; choose another name",
                    line.place()
                );
            }
            all.push(name);
        }
        Ok(Self { all, before: 0 })
    }

    /// What a stage is called, by its number.
    pub(super) fn name(&self, number: usize) -> String {
        let given = self.all.get(number).and_then(Clone::clone);
        given.unwrap_or_else(|| number.to_string())
    }

    /// The stage before that has this name, to begin with.
    pub(super) fn earlier(&self, name: &str) -> Option<usize> {
        let named = self.position(name);
        named.filter(|number| *number < self.before)
    }

    /// What `--from` means.
    pub(super) fn origin(&self, text: &str) -> anyhow::Result<Origin> {
        ensure!(
            !text.contains('$'),
            "--from={text}: variables are not expanded there; begin a stage with FROM {text} AS NAME, and copy from NAME"
        );
        ensure!(!text.is_empty(), "--from names no stage");
        let number = match text.parse::<usize>() {
            Ok(number) => Some(number),
            Err(_) => self.position(text),
        };
        match number {
            None => Ok(Origin::Image(text.to_owned())),
            Some(number) if number < self.before => Ok(Origin::Stage(number)),
            Some(number) if number < self.all.len() => bail!(
                "--from={text}: stage {text} is not before this one; copy from one of those before it ({})",
                self.list(self.before)
            ),
            Some(_) => bail!("--from={text}: {}", self.no_stage(text)),
        }
    }

    /// The stage that `--target` names; the last one if there is no such option.
    pub(super) fn target(&self, target: Option<&str>) -> anyhow::Result<usize> {
        let Some(text) = target else {
            return self.all.len().checked_sub(1).context("the Dockerfile has no FROM");
        };
        let number = text.parse().ok().or_else(|| self.position(text));
        number.filter(|number| *number < self.all.len()).with_context(|| {
            format!(
                "--target {text}: no stage is called so; there are {}",
                self.list(self.all.len())
            )
        })
    }

    /// That no stage before is called so.
    pub(super) fn no_stage(&self, text: &str) -> String {
        let list = self.list(self.before);
        format!("no stage before is called {text:?} (there are: {list}); write one of these, or the name of an image")
    }

    fn position(&self, name: &str) -> Option<usize> {
        let is_named = |other: &Option<String>| other.as_deref().is_some_and(|other| other.eq_ignore_ascii_case(name));
        self.all.iter().position(is_named)
    }

    fn list(&self, count: usize) -> String {
        if count == 0 {
            return "none".to_owned();
        }
        let names: Vec<_> = (0..count).map(|number| self.name(number)).collect();
        names.join(", ")
    }
}

/// A name is told from a number, and from an image of a registry.
fn check(name: &str) -> anyhow::Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c);
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(plain) && name.len() <= 128;
    ensure!(
        valid,
        "{} is no name of a stage: use letters, digits, and -, _ or . between them, beginning with a letter",
        short(name)
    );
    Ok(())
}
