//! One stage: what its instructions come to, each after those before it.

use std::{fmt::Write as _, rc::Rc};

use anyhow::{Context as _, bail, ensure};
use hearth_api::{StepKind, TemplateStep};

use super::{
    super::short,
    Step,
    command::{Start, options, start, with_documents},
    lines::Line,
    names::Names,
    room::Room,
    words::{Variables, expand, quoted, split},
};

/// What the build's own shell is.
const SHELLS: [&[&str]; 2] = [&["/bin/sh", "-c"], &["/bin/bash", "-c"]];

/// What all stages know.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) escape: char,
    /// What `--build-arg` says.
    pub(super) given: Variables,
    /// ARGs before the first FROM, and what is known of the host.
    pub(super) global: Variables,
    pub(super) room: Room,
}

/// What a stage's instructions so far come to.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    pub(super) common: Rc<Common>,
    /// What it takes of the room there is.
    taken: usize,
    /// What it begins with.
    pub(super) image: String,
    /// Its own, and before them those of the stage that it begins with.
    pub(super) steps: Vec<Step>,
    /// The stage that it begins with, by its number.
    base: Option<usize>,
    /// Stages that it copies from.
    pub(super) copies: Vec<usize>,
    /// Images that it copies from, and where.
    pub(super) images: Vec<(String, String)>,
    pub(super) notes: Vec<String>,
    arguments: Variables,
    /// ENVs, which go before ARGs.
    env: Variables,
    shell: Option<Vec<String>>,
    entrypoint: Option<Start>,
    cmd: Option<Start>,
}

impl Stage {
    /// One that begins with an image.
    pub(super) fn new(common: Rc<Common>, image: String) -> Self {
        Self {
            common,
            taken: 0,
            image,
            steps: Vec::new(),
            base: None,
            copies: Vec::new(),
            images: Vec::new(),
            notes: Vec::new(),
            arguments: Variables::new(),
            env: Variables::new(),
            shell: None,
            entrypoint: None,
            cmd: None,
        }
    }

    /// One that begins with this one, which is of a number. What is noted of this one is noted once.
    pub(super) fn child(&self, number: usize) -> anyhow::Result<Self> {
        self.common.room.take(self.taken)?;
        Ok(Self {
            base: Some(number),
            copies: Vec::new(),
            images: Vec::new(),
            notes: Vec::new(),
            ..self.clone()
        })
    }

    /// The stages that it needs.
    pub(super) fn uses(&self) -> impl Iterator<Item = usize> {
        self.copies.iter().copied().chain(self.base)
    }

    /// Takes an instruction, with the names of the stages there are.
    pub(super) fn take(&mut self, line: &Line, names: &Names) -> anyhow::Result<()> {
        if line.keyword == "ARG" {
            return self.arg(&line.rest);
        }
        ensure!(!line.rest.is_empty(), "something is missing after {}", line.keyword);
        match line.keyword.as_str() {
            "RUN" => self.run(line),
            "COPY" => self.copy(line, names),
            "ADD" => self.add(line, names),
            "ENV" => self.set_env(&line.rest),
            "WORKDIR" => self.one_word(StepKind::Workdir, &line.rest),
            "USER" => self.one_word(StepKind::User, &line.rest),
            "SHELL" => self.set_shell(&line.rest),
            "CMD" => {
                self.cmd = Some(start(&line.rest));
                Ok(())
            }
            "ENTRYPOINT" => {
                self.entrypoint = Some(start(&line.rest));
                // As docker has it: a CMD before belonged to another one.
                self.cmd = None;
                Ok(())
            }
            "LABEL" | "EXPOSE" | "VOLUME" | "HEALTHCHECK" | "STOPSIGNAL" | "MAINTAINER" | "ONBUILD" => {
                let note = format!(
                    "line {}: {} means nothing to a template, and is left out",
                    line.number, line.keyword
                );
                self.notes.push(note);
                Ok(())
            }
            other => bail!("{other} is no instruction of a Dockerfile"),
        }
    }

    /// What ENTRYPOINT and CMD start.
    pub(super) fn start(&self) -> Option<String> {
        Start::of(self.entrypoint.clone(), self.cmd.clone())
    }

    fn arg(&mut self, rest: &str) -> anyhow::Result<()> {
        let common = Rc::clone(&self.common);
        for (name, default) in arguments(rest, common.escape)? {
            let default = default.map(|text| self.expand(&text)).transpose()?;
            let value = common.given.get(&name).cloned().or(default);
            if let Some(value) = value.or_else(|| common.global.get(&name).cloned()) {
                self.count(name.len() + value.len())?;
                self.arguments.insert(name, value);
            }
        }
        Ok(())
    }

    /// All variables that instructions know.
    pub(super) fn known(&self) -> [&Variables; 2] {
        [&self.env, &self.arguments]
    }

    pub(super) fn expand(&self, word: &str) -> anyhow::Result<String> {
        expand(word, &self.known(), self.common.escape)
    }

    /// Takes room for a text of this length.
    pub(super) fn count(&mut self, length: usize) -> anyhow::Result<()> {
        self.taken += self.common.room.entry(length)?;
        Ok(())
    }

    /// Adds a step, whose texts are counted here.
    pub(super) fn push(&mut self, step: Step) -> anyhow::Result<()> {
        self.count(step.length())?;
        self.steps.push(step);
        Ok(())
    }

    fn push_words(&mut self, kind: StepKind, args: Vec<String>) -> anyhow::Result<()> {
        self.push(Step::Ready(TemplateStep {
            kind,
            args,
            files: None,
            stage: None,
        }))
    }

    fn one_word(&mut self, kind: StepKind, rest: &str) -> anyhow::Result<()> {
        let word = self.expand(rest)?;
        ensure!(!word.is_empty(), "nothing is left once the variables are expanded");
        self.push_words(kind, vec![word])
    }

    fn set_env(&mut self, rest: &str) -> anyhow::Result<()> {
        let words = split(rest, self.common.escape);
        let mut args = Vec::new();
        if words.first().is_some_and(|word| word.contains('=')) {
            for word in &words {
                let (name, value) = word
                    .split_once('=')
                    .with_context(|| format!("{} is not NAME=VALUE", short(word)))?;
                // Counted one by one: a line may have very many.
                let value = self.expand(value)?;
                self.count(name.len() + value.len())?;
                args.extend([name.to_owned(), value]);
            }
        } else {
            // The older form: one name, and the rest of the line.
            let (name, value) = rest.split_once(char::is_whitespace).context("ENV wants NAME=VALUE")?;
            let value = self.expand(value.trim())?;
            self.count(name.len() + value.len())?;
            args.extend([name.to_owned(), value]);
        }
        for pair in args.chunks_exact(2) {
            ensure!(!pair[0].is_empty(), "a variable has no name");
            self.env.insert(pair[0].clone(), pair[1].clone());
        }
        self.push_words(StepKind::Env, args)
    }

    fn set_shell(&mut self, rest: &str) -> anyhow::Result<()> {
        let words: Vec<String> =
            serde_json::from_str(rest).context("SHELL wants a list, such as [\"/bin/bash\", \"-c\"]")?;
        ensure!(!words.is_empty(), "SHELL names no shell");
        let usual = SHELLS.iter().any(|shell| words.iter().eq(shell.iter()));
        self.shell = (!usual).then_some(words);
        Ok(())
    }

    fn run(&mut self, line: &Line) -> anyhow::Result<()> {
        let options = options(&line.rest, &["mount", "network", "security"])?;
        for (name, value) in &options.given {
            let is_cache = name == "mount" && value.split(',').any(|part| part == "type=cache");
            ensure!(
                is_cache,
                "--{name}={value} is not offered; leave it out, or copy what the command needs"
            );
            let note = format!(
                "line {}: --mount=type=cache is left out: each build begins empty",
                line.number
            );
            self.notes.push(note);
        }
        let command = match start(&options.rest) {
            start @ Start::Words(_) => start.command(),
            Start::Shell(command) => {
                let command = with_documents(&command, &line.documents);
                match &self.shell {
                    None => command,
                    Some(shell) => Start::Words([shell.as_slice(), &[command]].concat()).command(),
                }
            }
        };
        let command = self.with_arguments(&command);
        self.push_words(StepKind::Run, vec![command])
    }

    /// ARGs are variables of commands, and of nothing that comes later.
    fn with_arguments(&self, command: &str) -> String {
        let own = self.arguments.iter().filter(|(name, _)| !self.env.contains_key(*name));
        let mut exports = String::new();
        for (name, value) in own {
            // It cannot fail.
            let _ = write!(exports, " {name}={}", quoted(value));
        }
        if exports.is_empty() {
            command.to_owned()
        } else {
            format!("export{exports}\n{command}")
        }
    }
}

/// The variables that an ARG names, with the words that they are by default.
pub(super) fn arguments(rest: &str, escape: char) -> anyhow::Result<Vec<(String, Option<String>)>> {
    ensure!(!rest.is_empty(), "ARG names no variable");
    let words = split(rest, escape).into_iter().map(|word| match word.split_once('=') {
        Some((name, default)) => (name.to_owned(), Some(default.to_owned())),
        None => (word, None),
    });
    Ok(words.collect())
}
