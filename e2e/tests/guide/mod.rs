//! A guide's commands: found in its Markdown, run in one shell, held against what it shows.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

/// Nothing that a guide tells a reader to run takes longer.
const PATIENCE: Duration = Duration::from_mins(3);
/// Ends what a command prints; its exit code follows.
const END: &str = "--- end of the command: ";

/// What a reader does.
#[derive(Debug)]
pub(crate) enum Step {
    /// Writes a file, told by a block such as ```` ```python file=hello/main.py ````.
    File {
        /// Its path, relative.
        path: String,
        /// What is in it.
        text: String,
    },
    /// Runs a command, told in a block of kind `console`.
    Command {
        /// The guide's line.
        line: usize,
        /// What follows the prompt.
        command: String,
        /// What it is said to print.
        shown: String,
    },
}

/// All steps, in order.
pub(crate) fn steps(guide: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut block: Option<(usize, &str, Vec<&str>)> = None;
    for (index, line) in guide.lines().enumerate() {
        match (&mut block, line.strip_prefix("```")) {
            (None, Some(kind)) => block = Some((index + 2, kind, Vec::new())),
            (Some((_, _, lines)), None) => lines.push(line),
            (Some((first, kind, lines)), Some(_)) => {
                steps.extend(of_block(*first, kind, lines));
                block = None;
            }
            (None, None) => {}
        }
    }
    assert!(block.is_none(), "the last block of the guide has no end");
    steps
}

fn of_block(first: usize, kind: &str, lines: &[&str]) -> Vec<Step> {
    if let Some((_, path)) = kind.split_once(" file=") {
        let text = lines.iter().flat_map(|line| [line, "\n"]).collect();
        return vec![Step::File {
            path: path.to_owned(),
            text,
        }];
    }
    if kind != "console" {
        return Vec::new();
    }
    let mut steps: Vec<Step> = Vec::new();
    for (offset, text) in lines.iter().enumerate() {
        match (text.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step::Command {
                line: first + offset,
                command: command.to_owned(),
                shown: String::new(),
            }),
            (None, Some(Step::Command { shown, .. })) => {
                shown.push_str(text);
                shown.push('\n');
            }
            (None, _) => panic!("line {}: a block of kind console begins with `$ `", first + offset),
        }
    }
    steps
}

/// Whether something was printed as it is shown. `...` stands for anything in a line, and alone for any lines; how wide a gap is,
/// and blank lines, do not count.
pub(crate) fn matches(shown: &str, printed: &str) -> bool {
    let lines = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines.filter(|line| !line.is_empty()).collect()
    };
    lines_match(&lines(shown), &lines(printed))
}

fn lines_match(shown: &[String], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((any, rest)) if any == "..." => (0..=printed.len()).any(|skip| lines_match(rest, &printed[skip..])),
        Some((line, rest)) => printed
            .split_first()
            .is_some_and(|(first, others)| line_matches(line, first) && lines_match(rest, others)),
    }
}

fn line_matches(shown: &str, printed: &str) -> bool {
    let parts: Vec<&str> = shown.split("...").map(str::trim).collect();
    let [first, middle @ .., last] = parts.as_slice() else {
        return shown == printed;
    };
    let Some(mut rest) = printed.strip_prefix(first) else {
        return false;
    };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

/// What a command gave.
pub(crate) struct Ran {
    /// Its exit code.
    pub(crate) code: i32,
    /// What it printed, on either stream.
    pub(crate) output: String,
}

/// A shell that lives from command to command, as a reader's does.
pub(crate) struct Shell {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Shell {
    /// Starts it in a folder.
    pub(crate) fn start(folder: &Path, environment: &[(&str, String)]) -> Self {
        let mut child = Command::new("bash")
            .arg("--norc")
            .current_dir(folder)
            .envs(environment.iter().map(|(name, value)| (*name, value)))
            .env_remove("HEARTH_HOST")
            .env_remove("HEARTH_PROJECT")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"exec 2>&1\n").unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = output.lines().map_while(Result::ok);
            lines.map_while(|line| sender.send(line).ok()).for_each(drop);
        });
        Self { child, input, lines }
    }

    /// Runs a command to its end. Commands read nothing: what follows is the next one.
    pub(crate) fn run(&mut self, command: &str) -> Ran {
        writeln!(self.input, "{{ {command}\n}} </dev/null; printf '\\n{END}%s\\n' $?").unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut output = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!(
                    "$ {command}\ndid not end in {} s; it printed\n{output}",
                    PATIENCE.as_secs()
                );
            };
            if let Some(code) = line.strip_prefix(END) {
                let code = code.parse().unwrap();
                return Ran { code, output };
            }
            output.push_str(&line);
            output.push('\n');
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_shown_is_compared() {
    for (shown, printed) in [
        ("a ... c\n", "a  b c\n"),
        ("a...\n", "abc"),
        ("x\n...\nz\n", "x\ny\ny\nz\n"),
        ("x\n...\n", "x\n"),
        ("", "\n"),
    ] {
        assert!(matches(shown, printed), "{shown:?} {printed:?}");
    }
    for (shown, printed) in [
        ("a\n", "b\n"),
        ("a\n", ""),
        ("", "a\n"),
        ("a ... c\n", "a b d\n"),
        ("x\n...\nz\n", "x\ny\n"),
    ] {
        assert!(!matches(shown, printed), "{shown:?} {printed:?}");
    }
}

#[test]
fn commands_and_files_are_found() {
    let guide = "x\n```sh\n$ no\n```\n```py file=a/b\n1\n```\n```console\n$ one\nout\n$ two\n```\n";
    let found: Vec<String> = steps(guide).iter().map(|step| format!("{step:?}")).collect();
    assert_eq!(found.len(), 3);
    assert!(found[0].contains("a/b") && found[0].contains("1\\n"), "{found:?}");
    assert!(
        found[1].contains("line: 9") && found[1].contains("out") && found[2].contains("two"),
        "{found:?}"
    );
}
