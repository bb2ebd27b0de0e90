//! Paths as callers write them: absolute, relative to the user's home, or with a tilde.

use std::path::{Component, Path, PathBuf};

/// The kernel's own limit, which no call could pass.
const MAX_PATH_BYTES: usize = 4096;

/// Why a caller's path is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    #[error("the path has a zero byte")]
    ZeroByte,
    #[error("the path is {0} bytes long; the kernel takes less than {MAX_PATH_BYTES}")]
    TooLong(usize),
}

/// [`expand`], for a path that a caller asks for.
pub(crate) fn resolve(path: &str, home: &str) -> Result<PathBuf, PathError> {
    if path.contains('\0') {
        return Err(PathError::ZeroByte);
    }
    let expanded = expand(path, home);
    match expanded.as_os_str().len() {
        length if length >= MAX_PATH_BYTES => Err(PathError::TooLong(length)),
        _ => Ok(expanded),
    }
}

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
    use super::*;

    #[test]
    fn refuses_what_the_kernel_would() {
        assert_eq!(resolve("a\0b", "/"), Err(PathError::ZeroByte));
        assert_eq!(resolve(&"a/".repeat(2047), "/").unwrap().as_os_str().len(), 4094);
        assert_eq!(resolve(&"a/".repeat(2049), "/"), Err(PathError::TooLong(4098)));
        // What counts is what is left of it.
        assert!(resolve(&"./".repeat(4000), "/").is_ok());
    }

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
