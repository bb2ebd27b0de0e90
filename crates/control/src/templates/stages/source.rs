//! What a COPY names of a stage: a path, or a pattern whose folder is read and sifted.

use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use crate::templates::steps::Reason;

/// The longest text, in bytes, and the most alternatives (`{a,b}`) in it. What is made of a pattern is many times as long, and as
/// deep as they are within each other.
const TEXT_MAX: usize = 1024;
const ALTERNATIVES_MAX: usize = 16;

/// What a kernel makes, not a stage: it has no end, or means nothing elsewhere.
const KERNELS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// A source, read.
#[derive(Debug)]
pub(super) struct Source {
    /// What is read of the machine.
    pub(super) place: String,
    pub(super) pick: Pick,
}

/// What is taken of it.
#[derive(Debug)]
pub(super) enum Pick {
    /// All, under this name.
    All(String),
    /// What matches in the folder, each under its own name.
    Matching(GlobMatcher),
}

impl Source {
    /// Reads a source. As docker has it, it begins at the stage's root, and nothing leads out of that.
    pub(super) fn parse(text: &str) -> Result<Self, Reason> {
        if text.len() > TEXT_MAX {
            let shown: String = text.chars().take(80).collect();
            return Err(format!(
                "{shown:?}… is longer than the {TEXT_MAX} bytes that a source may have"
            ));
        }
        let parts = parts(text)?;
        let is_pattern = |part: &&String| part.contains(['*', '?', '[']);
        let literal = parts.iter().take_while(|part| !is_pattern(part)).count();
        let (folder, pattern) = parts.split_at(literal);
        let place = format!("/{}", folder.join("/"));
        readable(text, &place)?;
        let pick = match (pattern, folder.last()) {
            ([], Some(name)) => Pick::All(name.clone()),
            _ => Pick::Matching(glob(text, &pattern.join("/"))?),
        };
        Ok(Self { place, pick })
    }
}

/// Refuses a place of which there is no copy.
pub(super) fn readable(text: &str, place: &str) -> Result<(), Reason> {
    if place == "/" {
        return Err(format!(
            "{text:?} is the root of a stage, or a pattern in it: name the folders that are copied"
        ));
    }
    let kernels = KERNELS.iter().any(|folder| Path::new(place).starts_with(folder));
    if kernels {
        return Err(format!(
            "{text:?} is the kernel's and not a stage's: copy what the stage made"
        ));
    }
    Ok(())
}

fn parts(text: &str) -> Result<Vec<String>, Reason> {
    let mut path = PathBuf::new();
    for part in Path::new(text).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                path.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if text.contains('\0') {
        return Err(format!("{text:?} has a zero byte"));
    }
    let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
    Ok(parts.collect())
}

fn glob(text: &str, pattern: &str) -> Result<GlobMatcher, Reason> {
    if pattern.matches('{').count() > ALTERNATIVES_MAX {
        return Err(format!(
            "{text:?} has more than {ALTERNATIVES_MAX} alternatives in braces; copy by several steps"
        ));
    }
    let built = GlobBuilder::new(pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .build();
    let glob = built.map_err(|error| format!("{text:?} is no pattern of files: {error}"))?;
    Ok(glob.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_places_or_patterns_in_one() {
        let named = |text: &str| match Source::parse(text).unwrap() {
            Source {
                place,
                pick: Pick::All(name),
            } => format!("{place} as {name}"),
            Source {
                place,
                pick: Pick::Matching(glob),
            } => format!("{place} by {}", glob.glob()),
        };
        for (text, wanted) in [
            ("/out/app", "/out/app as app"),
            ("out/./x/../app/", "/out/app as app"),
            ("/../../etc", "/etc as etc"),
            ("/usr/lib/lib*.so*", "/usr/lib by lib*.so*"),
            ("/a/*/b", "/a by */b"),
            ("/devices", "/devices as devices"),
        ] {
            assert_eq!(named(text), wanted, "{text}");
        }
    }

    #[test]
    fn patterns_are_bounded() {
        let nested = |depth: usize| format!("/x/*{}{}", "{".repeat(depth), "}".repeat(depth));
        for text in [nested(17), nested(300_000), format!("/x/*{}", "?".repeat(500_000))] {
            assert!(Source::parse(&text).is_err());
        }
        for text in [nested(16), format!("/x/*{}", "?".repeat(1000))] {
            assert!(Source::parse(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_has_no_end_or_no_meaning_is_refused() {
        for (text, hint) in [
            ("/", "name the folders"),
            (".", "name the folders"),
            ("/*.txt", "name the folders"),
            ("a/../..", "name the folders"),
            ("/proc/kcore", "kernel's"),
            ("/x/../dev/*", "kernel's"),
            ("/a/[", "no pattern"),
            ("/a\0b", "zero byte"),
        ] {
            let refused = Source::parse(text).unwrap_err();
            assert!(refused.contains(hint), "{text:?}: {refused}");
        }
    }
}
