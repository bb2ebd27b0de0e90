//! From instructions to steps: what each one means after those before it.

use std::fmt::Write as _;

use anyhow::{Context as _, bail, ensure};
use hearth_api::{StepKind, TemplateStep};

use super::{
    Recipe, Source, Step,
    lines::{Document, Line},
    words::{Variables, expand, expand_document, quoted, split},
};

/// What the build's own shell is.
const SHELLS: [&[&str]; 2] = [&["/bin/sh", "-c"], &["/bin/bash", "-c"]];

/// What the instructions so far come to.
pub(super) struct Reader {
    recipe: Recipe,
    escape: char,
    /// What `--build-arg` says.
    given: Variables,
    /// ARGs before FROM.
    global: Variables,
    /// ARGs after it.
    arguments: Variables,
    /// ENVs, which go before ARGs.
    env: Variables,
    shell: Option<Vec<String>>,
    entrypoint: Option<Start>,
    cmd: Option<Start>,
}

/// What is started.
enum Start {
    Shell(String),
    Words(Vec<String>),
}

/// An instruction's options and what follows them.
struct Options {
    given: Vec<(String, String)>,
    rest: String,
}

impl Reader {
    pub(super) fn new(given: Variables, escape: char) -> Self {
        Self {
            recipe: Recipe::default(),
            escape,
            given,
            global: Variables::new(),
            arguments: Variables::new(),
            env: Variables::new(),
            shell: None,
            entrypoint: None,
            cmd: None,
        }
    }

    pub(super) fn take(&mut self, line: &Line) -> anyhow::Result<()> {
        let begun = !self.recipe.image.is_empty();
        match line.keyword.as_str() {
            "FROM" => return self.from(&line.rest),
            "ARG" => return self.arg(&line.rest),
            _ => ensure!(begun, "nothing but ARG may stand before FROM"),
        }
        ensure!(!line.rest.is_empty(), "something is missing after {}", line.keyword);
        match line.keyword.as_str() {
            "RUN" => self.run(line),
            "COPY" => self.copy(line),
            "ADD" => self.add(line),
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
                self.recipe.notes.push(note);
                Ok(())
            }
            other => bail!("{other} is no instruction of a Dockerfile"),
        }
    }

    pub(super) fn finish(mut self) -> anyhow::Result<Recipe> {
        ensure!(!self.recipe.image.is_empty(), "the Dockerfile has no FROM");
        self.recipe.start = match (self.entrypoint, self.cmd) {
            (None, None) => None,
            (None, Some(start)) | (Some(start @ Start::Shell(_)), _) | (Some(start), None) => Some(start.command()),
            (Some(Start::Words(mut words)), Some(Start::Words(more))) => {
                words.extend(more);
                Some(Start::Words(words).command())
            }
            (Some(Start::Words(mut words)), Some(Start::Shell(command))) => {
                words.extend(["/bin/sh".to_owned(), "-c".to_owned(), command]);
                Some(Start::Words(words).command())
            }
        };
        Ok(self.recipe)
    }

    fn from(&mut self, rest: &str) -> anyhow::Result<()> {
        ensure!(
            self.recipe.image.is_empty(),
            "a template is built in one stage; build the other stages elsewhere and copy what they make, or join them to one"
        );
        let options = options(rest, &["platform"])?;
        let mut words = split(&options.rest, self.escape).into_iter();
        let image = words.next().context("FROM names no image")?;
        let image = expand(&image, &self.global, self.escape)?;
        ensure!(!image.is_empty(), "FROM names no image once its variables are expanded");
        ensure!(
            image != "scratch",
            "a template needs a system with bash; begin with an image that has one"
        );
        self.recipe.image = image;
        Ok(())
    }

    fn arg(&mut self, rest: &str) -> anyhow::Result<()> {
        ensure!(!rest.is_empty(), "ARG names no variable");
        for word in split(rest, self.escape) {
            let (name, default) = match word.split_once('=') {
                Some((name, default)) => (name, Some(default)),
                None => (word.as_str(), None),
            };
            let begun = !self.recipe.image.is_empty();
            let known = if begun { self.known() } else { self.global.clone() };
            let default = default.map(|text| expand(text, &known, self.escape)).transpose()?;
            let global = self.global.get(name).filter(|_| begun).cloned();
            let value = self.given.get(name).cloned().or(default).or(global);
            let table = if begun { &mut self.arguments } else { &mut self.global };
            if let Some(value) = value {
                table.insert(name.to_owned(), value);
            }
        }
        Ok(())
    }

    /// All variables that instructions know.
    fn known(&self) -> Variables {
        let mut known = self.arguments.clone();
        known.extend(self.env.clone());
        known
    }

    fn expand(&self, word: &str) -> anyhow::Result<String> {
        expand(word, &self.known(), self.escape)
    }

    fn push(&mut self, kind: StepKind, args: Vec<String>) {
        let step = TemplateStep {
            kind,
            args,
            files: None,
            stage: None,
        };
        self.recipe.steps.push(Step::Ready(step));
    }

    fn one_word(&mut self, kind: StepKind, rest: &str) -> anyhow::Result<()> {
        let word = self.expand(rest)?;
        ensure!(!word.is_empty(), "nothing is left once the variables are expanded");
        self.push(kind, vec![word]);
        Ok(())
    }

    fn set_env(&mut self, rest: &str) -> anyhow::Result<()> {
        let words = split(rest, self.escape);
        let known = self.known();
        let mut args = Vec::new();
        if words.first().is_some_and(|word| word.contains('=')) {
            for word in &words {
                let (name, value) = word
                    .split_once('=')
                    .with_context(|| format!("{word:?} is not NAME=VALUE"))?;
                args.extend([name.to_owned(), expand(value, &known, self.escape)?]);
            }
        } else {
            // The older form: one name, and the rest of the line.
            let (name, value) = rest.split_once(char::is_whitespace).context("ENV wants NAME=VALUE")?;
            args.extend([name.to_owned(), expand(value.trim(), &known, self.escape)?]);
        }
        for pair in args.chunks_exact(2) {
            ensure!(!pair[0].is_empty(), "a variable has no name");
            self.env.insert(pair[0].clone(), pair[1].clone());
        }
        self.push(StepKind::Env, args);
        Ok(())
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
            self.recipe.notes.push(note);
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
        self.push(StepKind::Run, vec![command]);
        Ok(())
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

    fn copy(&mut self, line: &Line) -> anyhow::Result<()> {
        let options = options(&line.rest, &["from", "chown", "chmod", "link", "exclude", "parents"])?;
        let (mut owner, mut mode) = (None, None);
        for (name, value) in &options.given {
            match name.as_str() {
                "chown" => owner = Some(self.expand(value)?),
                "chmod" => mode = Some(self.expand(value)?),
                "link" => {}
                "from" => bail!(
                    "--from={value} is of another stage or image, and a template is built in one stage; copy from the folder"
                ),
                other => bail!("--{other} is not offered; name the files, or use .dockerignore"),
            }
        }
        let words: Vec<String> = match serde_json::from_str(&options.rest) {
            Ok(words) => words,
            Err(_) => split(&options.rest, self.escape),
        };
        let [sources @ .., target] = words.as_slice() else {
            bail!("COPY wants sources and a target");
        };
        ensure!(!sources.is_empty(), "COPY wants sources and a target");
        let target = self.expand(target)?;
        ensure!(
            sources.len() == 1 || target.ends_with('/'),
            "of several sources the target must be a folder: end it with /"
        );
        let mut documents = line.documents.iter();
        for source in sources {
            let source = match documents.as_slice() {
                [document, ..]
                    if source
                        .trim_start_matches(|c: char| c.is_ascii_digit())
                        .starts_with("<<") =>
                {
                    documents.next();
                    self.text(document)?
                }
                _ => Source::Path(self.expand(source)?),
            };
            self.recipe.steps.push(Step::Copy {
                source,
                target: target.clone(),
                owner: owner.clone(),
                mode: mode.clone(),
            });
        }
        Ok(())
    }

    fn text(&self, document: &Document) -> anyhow::Result<Source> {
        let text = if document.expands {
            expand_document(&document.text, &self.known(), self.escape)?
        } else {
            document.text.clone()
        };
        Ok(Source::Text {
            name: document.name.clone(),
            text,
        })
    }

    /// ADD of what lies in the folder is COPY, but that it unpacks archives.
    fn add(&mut self, line: &Line) -> anyhow::Result<()> {
        let from = self.recipe.steps.len();
        self.copy(line)?;
        for step in &self.recipe.steps[from..] {
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

impl Start {
    fn command(self) -> String {
        match self {
            Self::Shell(command) => command,
            Self::Words(words) => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
        }
    }
}

/// A list of words, or else a line of a shell.
fn start(rest: &str) -> Start {
    match serde_json::from_str::<Vec<String>>(rest) {
        Ok(words) if !words.is_empty() => Start::Words(words),
        _ => Start::Shell(rest.to_owned()),
    }
}

/// The options at the beginning of an instruction, all of which must be known.
fn options(rest: &str, known: &[&str]) -> anyhow::Result<Options> {
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
fn with_documents(command: &str, documents: &[Document]) -> String {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::read;
    use super::*;

    fn recipe(text: &str) -> Recipe {
        read(text, &Variables::new()).unwrap()
    }

    fn words(recipe: &Recipe) -> Vec<String> {
        let steps = recipe.steps.iter().map(|step| match step {
            Step::Ready(step) => format!("{} {}", step.kind.as_str(), step.args.join("|")),
            Step::Copy {
                source,
                target,
                owner,
                mode,
            } => format!("COPY {source:?} {target} {owner:?} {mode:?}"),
        });
        steps.collect()
    }

    #[test]
    fn instructions_become_steps() {
        let found = recipe(
            "ARG BASE=debian:12\nFROM --platform=linux/amd64 $BASE AS app\nARG V=1\nENV A=\"x y\" B=$V\nENV C one  two\n\
             WORKDIR /app\nUSER ada\nRUN echo hi \\\n && true\nRUN [\"a\", \"b'c\"]\nEXPOSE 80\nCMD [\"python3\", \"-m\", \"http.server\"]",
        );
        assert_eq!(found.image, "debian:12");
        assert_eq!(
            words(&found),
            [
                "ENV A|x y|B|1",
                "ENV C|one  two",
                "WORKDIR /app",
                "USER ada",
                "RUN export V='1'\necho hi  && true",
                "RUN export V='1'\n'a' 'b'\\''c'",
            ]
        );
        assert_eq!(found.start.as_deref(), Some("'python3' '-m' 'http.server'"));
        assert!(
            found.notes[0].contains("EXPOSE") && found.notes[0].contains("line 11"),
            "{:?}",
            found.notes
        );
    }

    #[test]
    fn arguments_are_given_from_outside_and_end_with_their_stage() {
        let given: Variables = [("V", "9"), ("IMAGE", "x"), ("UNUSED", "z")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let text = "ARG IMAGE=a\nARG G=g\nFROM $IMAGE\nARG G\nARG V=1\nARG N\nENV R=$V$G$N$IMAGE";
        let found = read(text, &given).unwrap();
        assert_eq!(
            (found.image.as_str(), words(&found)),
            ("x", vec!["ENV R|9g".to_owned()])
        );
    }

    #[test]
    fn copies_have_sources_owner_and_mode() {
        let found = recipe(
            "FROM a\nCOPY --chown=ada:ada --chmod=755 --link a b* /x/\nCOPY [\"a b\", \"/y\"]\nADD c .\nCOPY <<EOF /z\nhi\nEOF",
        );
        let steps = words(&found);
        assert_eq!(steps[0], r#"COPY Path("a") /x/ Some("ada:ada") Some("755")"#);
        assert_eq!(steps[1], r#"COPY Path("b*") /x/ Some("ada:ada") Some("755")"#);
        assert_eq!(steps[2], r#"COPY Path("a b") /y None None"#);
        assert_eq!(steps[3], r#"COPY Path("c") . None None"#);
        assert_eq!(steps[4], r#"COPY Text { name: "EOF", text: "hi\n" } /z None None"#);
    }

    #[test]
    fn here_documents_are_the_shells() {
        let found = recipe(
            "FROM a\nRUN <<EOF\nset -e\ntrue\nEOF\nRUN python3 <<X && true\nprint(1)\nX\nRUN <<S\n#!/bin/python3\nx\nS",
        );
        let steps = words(&found);
        assert_eq!(steps[0], "RUN set -e\ntrue\n");
        assert_eq!(steps[1], "RUN python3 <<X && true\nprint(1)\nX\n");
        assert!(steps[2].contains("<<'S'\n#!/bin/python3\nx\nS\n"), "{}", steps[2]);
    }

    #[test]
    fn what_starts_is_entrypoint_and_cmd() {
        let start = |text: &str| recipe(&format!("FROM a\n{text}")).start.unwrap();
        assert_eq!(start("CMD serve --all"), "serve --all");
        assert_eq!(start("ENTRYPOINT [\"a\"]\nCMD [\"b\"]"), "'a' 'b'");
        assert_eq!(start("ENTRYPOINT a\nCMD b"), "a");
        assert_eq!(start("CMD b\nENTRYPOINT [\"a\"]"), "'a'");
        assert_eq!(recipe("FROM a").start, None);
    }

    #[test]
    fn another_shell_runs_commands() {
        let found = recipe(
            "FROM a\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN a | b\nSHELL [\"/bin/bash\", \"-c\"]\nRUN c",
        );
        assert_eq!(words(&found), ["RUN '/bin/bash' '-o' 'pipefail' '-c' 'a | b'", "RUN c"]);
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_line() {
        for (text, hint) in [
            ("FROM a AS x\nFROM b", "line 2"),
            ("FROM a\nCOPY --from=x /a /b", "one stage"),
            ("FROM a\nRUN --mount=type=secret,id=x true", "not offered"),
            ("FROM a\nADD https://example.com/x /x", "RUN curl"),
            ("FROM a\nADD x.tar.gz /x", "unpacks no archives"),
            ("FROM a\nCOPY x", "sources and a target"),
            ("FROM a\nCOPY x y z", "end it with /"),
            ("FROM scratch", "bash"),
            ("RUN x", "before FROM"),
            ("FROM a\nRUNN x", "no instruction"),
            ("FROM a\nWORKDIR $NONE", "expanded"),
            ("FROM a\nENV A", "NAME=VALUE"),
            ("", "no FROM"),
        ] {
            let refused = format!("{:#}", read(text, &Variables::new()).unwrap_err());
            assert!(refused.contains(hint), "{text}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_breaks(
            lines in prop::collection::vec("(FROM|RUN|COPY|ADD|ENV|ARG|CMD|SHELL|WORKDIR|# x) ?[ -~]{0,30}(\\\\|<<E)?", 0..12)
        ) {
            let _ = read(&format!("FROM a\n{}", lines.join("\n")), &Variables::new());
        }
    }
}
