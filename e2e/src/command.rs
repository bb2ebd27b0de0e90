//! A command that has run.

use std::{
    io::Write,
    process::{Command, Stdio},
};

/// What a command gave.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Exit code; -1 for a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Runs a command to its end, with `input` on its standard input.
    pub(crate) fn of(command: &mut Command, input: &[u8]) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the hearth binary can be run");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // A program that does not read its input may be gone.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().expect("the command can be waited for");
        writer.join().expect("the writer does not panic");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Its output, trimmed.
    ///
    /// # Panics
    /// If it failed.
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "it failed: {self:?}");
        self.stdout.trim()
    }

    /// Its output as JSON.
    ///
    /// # Panics
    /// If it failed, or printed something else.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.ok()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that it failed with `code` and said each of `words`.
    ///
    /// # Panics
    /// If it did not.
    pub fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {self:?}");
        }
    }
}
