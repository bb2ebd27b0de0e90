//! Paths as callers write them: absolute, relative to the user's home, or with a tilde.

use std::path::{Component, Path, PathBuf};

/// An absolute path without `.` and `..`. Symbolic links are left alone: the caller acts as root of its own guest anyway.
pub(crate) fn expand(path: &str, home: &str) -> PathBuf {
    let joined = match path.strip_prefix('~') {
        Some("") => PathBuf::from(home),
        Some(rest) if rest.starts_with('/') => Path::new(home).join(rest.trim_start_matches('/')),
        _ => Path::new(home).join(path),
    };
    let mut clean = PathBuf::from("/");
    for component in joined.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn expands() {
        let at = |path| expand(path, "/home/user").to_string_lossy().into_owned();
        assert_eq!(at("/a/./b/../c/"), "/a/c");
        assert_eq!(at("x"), "/home/user/x");
        assert_eq!(at(""), "/home/user");
        assert_eq!(at("~"), "/home/user");
        assert_eq!(at("~/x"), "/home/user/x");
        assert_eq!(at("~other"), "/home/user/~other");
        assert_eq!(at("../../../.."), "/");
    }
}
