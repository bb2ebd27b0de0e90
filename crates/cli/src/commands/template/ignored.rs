//! Patterns of files: what COPY means by one, and what `.dockerignore` leaves out.

use std::path::Path;

use anyhow::{Context as _, ensure};
use globset::{GlobBuilder, GlobMatcher};

use super::short;

/// Names what of a folder is left out, by docker's rules.
pub(super) const IGNORE_FILE: &str = ".dockerignore";
/// The longest one, in bytes, and the most patterns in it: each costs many times its length.
pub(super) const IGNORE_MAX: usize = 1 << 20;
pub(super) const RULES_MAX: usize = 2000;
/// The longest pattern, in bytes, and the most braces (`{a,b}`) in it, as the server has them: reading one within another
/// takes stack.
pub(super) const PATTERN_MAX: usize = 1024;
const ALTERNATIVES_MAX: usize = 16;

pub(super) fn glob(pattern: &str) -> anyhow::Result<GlobMatcher> {
    ensure!(
        pattern.len() <= PATTERN_MAX,
        "{} is longer than the {PATTERN_MAX} bytes that a pattern may have; write it shorter, with * or **",
        short(pattern)
    );
    ensure!(
        pattern.matches('{').count() <= ALTERNATIVES_MAX,
        "{} has more than {ALTERNATIVES_MAX} braces; write several patterns",
        short(pattern)
    );
    let built = GlobBuilder::new(pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .build();
    Ok(built
        .with_context(|| format!("{pattern:?} is no pattern of files"))?
        .compile_matcher())
}

/// What `.dockerignore` says: of several lines that match, the last one holds. Each also means what is below.
#[derive(Default)]
pub(super) struct Ignored(Vec<(bool, GlobMatcher)>);

impl Ignored {
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let mut rules = Vec::new();
        for (at, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (ignores, pattern) = match line.strip_prefix('!') {
                Some(pattern) => (false, pattern.trim()),
                None => (true, line),
            };
            let pattern = pattern.trim_start_matches("./").trim_matches('/');
            if !pattern.is_empty() && pattern != "." {
                let place = || format!("{IGNORE_FILE}, line {}", at + 1);
                ensure!(
                    rules.len() < RULES_MAX,
                    "{}: more than {RULES_MAX} patterns; write fewer, with * or **",
                    place()
                );
                rules.push((ignores, glob(pattern).with_context(place)?));
            }
        }
        Ok(Self(rules))
    }

    pub(super) fn has(&self, path: &Path) -> bool {
        let matches = |glob: &GlobMatcher| path.ancestors().any(|part| glob.is_match(part));
        let last = self.0.iter().rev().find(|(_, glob)| matches(glob));
        last.is_some_and(|(ignores, _)| *ignores)
    }
}
