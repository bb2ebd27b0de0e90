//! Paths as clients of the API give them.

use std::fmt;

use thiserror::Error;

/// The longest path, in bytes.
pub const PATH_MAX: usize = 4096;
/// The longest name in one, in bytes.
pub(crate) const NAME_MAX: usize = 255;

/// A text that is no path in a volume.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPath {
    /// It is too long.
    #[error("path has {0} bytes; it may have {PATH_MAX}")]
    Long(usize),
    /// A name in it is too long.
    #[error("path has a name of {0} bytes; each may have {NAME_MAX}")]
    LongName(usize),
    /// It holds a NUL.
    #[error("path holds a NUL; leave it out")]
    Nul,
}

/// A path below a volume's root: names, without `.` and `..`. The root is the empty one.
///
/// `..` is taken off here, by the text, and does not lead above the root; what links make of the rest is resolved by the kernel below the
/// volume's root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumePath(Vec<String>);

impl VolumePath {
    /// Reads a path; whether it begins with `/` makes no difference.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        if text.len() > PATH_MAX {
            return Err(InvalidPath::Long(text.len()));
        }
        if text.contains('\0') {
            return Err(InvalidPath::Nul);
        }
        let mut names: Vec<String> = Vec::new();
        for name in text.split('/') {
            match name {
                "" | "." => {}
                ".." => drop(names.pop()),
                name if name.len() > NAME_MAX => return Err(InvalidPath::LongName(name.len())),
                name => names.push(name.to_owned()),
            }
        }
        Ok(Self(names))
    }

    /// Whether it is the volume's root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Its last name; none of the root.
    pub(crate) fn name(&self) -> Option<&str> {
        self.0.last().map(String::as_str)
    }

    /// All but its last name.
    pub(crate) fn parent(&self) -> Self {
        Self(self.0.split_last().map(|(_, rest)| rest.to_vec()).unwrap_or_default())
    }

    /// A name below it.
    pub(crate) fn join(&self, name: &str) -> Self {
        let mut names = self.0.clone();
        names.push(name.to_owned());
        Self(names)
    }

    /// Its names, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// As the kernel takes it from the root.
    pub(crate) fn relative(&self) -> String {
        if self.0.is_empty() {
            ".".to_owned()
        } else {
            self.0.join("/")
        }
    }
}

impl fmt::Display for VolumePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_above_the_root() {
        for (text, path) in [
            ("", "/"),
            ("/", "/"),
            ("a//b/./c/", "/a/b/c"),
            ("../../etc/passwd", "/etc/passwd"),
            ("/a/../../b", "/b"),
            ("...", "/..."),
        ] {
            assert_eq!(VolumePath::parse(text).unwrap().to_string(), path, "{text:?}");
        }
    }

    #[test]
    fn what_the_kernel_would_not_take_is_refused() {
        assert_eq!(VolumePath::parse("a\0b"), Err(InvalidPath::Nul));
        assert_eq!(VolumePath::parse(&"a/".repeat(3000)), Err(InvalidPath::Long(6000)));
        assert_eq!(VolumePath::parse(&"a".repeat(256)), Err(InvalidPath::LongName(256)));
    }
}
