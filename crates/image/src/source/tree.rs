//! A source's names, checked one by one as they come.

use std::collections::BTreeMap;

use super::SourceError;
use crate::digest::clip;

/// Longest name of one file, and of a whole path, as Linux has them.
const COMPONENT_MAX_BYTES: usize = 255;
const PATH_MAX_BYTES: usize = 4000;
/// Entries of an image that begin so take away what lies below.
const WHITEOUT: &str = ".wh.";

/// Where a file's bytes lie in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) offset: u64,
    /// In the archive.
    pub(super) stored_bytes: u64,
    /// Unpacked.
    pub(super) size_bytes: u64,
    /// The CRC-32 of what is unpacked, for what is deflated or checked otherwise; a tar has none.
    pub(super) crc: Option<u32>,
    pub(super) deflated: bool,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Folder,
    File { data: Span, executable: bool },
    Link(String),
}

/// All of a source, by path without leading slash.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
    total_bytes: u64,
    max_bytes: u64,
    max_entries: usize,
}

impl Tree {
    /// Whether there is nothing that could be run.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn new(max_bytes: u64, max_entries: usize) -> Self {
        Self {
            nodes: BTreeMap::new(),
            total_bytes: 0,
            max_bytes,
            max_entries,
        }
    }

    /// Every folder comes before what is in it.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// Adds an entry, with the folders above it. The source's own folder may be among them, and is nothing.
    pub(super) fn add(&mut self, name: &str, node: Node) -> Result<(), SourceError> {
        let Some(path) = plain_path(name)? else {
            return match node {
                Node::Folder => Ok(()),
                _ => Err(refused(name, "has no name")),
            };
        };
        if let Node::Link(target) = &node {
            check_link(&path, target)?;
        }
        for (end, _) in path.match_indices('/') {
            let above = &path[..end];
            match self.nodes.get(above) {
                Some(Node::Folder) => {}
                Some(_) => return Err(refused(name, "lies below something that is no folder")),
                None => self.insert(above.to_owned(), Node::Folder)?,
            }
        }
        match (self.nodes.get(&path), &node) {
            (None, _) => self.insert(path, node),
            (Some(Node::Folder), Node::Folder) => Ok(()),
            (Some(_), _) => Err(refused(name, "is there twice")),
        }
    }

    fn insert(&mut self, path: String, node: Node) -> Result<(), SourceError> {
        if self.nodes.len() >= self.max_entries {
            return Err(SourceError::TooMany {
                limit: self.max_entries,
            });
        }
        if let Node::File { data, .. } = &node {
            self.total_bytes = self.total_bytes.saturating_add(data.size_bytes);
        }
        self.nodes.insert(path, node);
        Ok(())
    }

    /// The file that a hard link means.
    pub(super) fn linked(&self, name: &str, target: &str) -> Result<Node, SourceError> {
        let found = plain_path(target).ok().flatten().and_then(|path| self.nodes.get(&path));
        match found {
            Some(file @ Node::File { .. }) => Ok(file.clone()),
            _ => Err(SourceError::Link {
                name: clip(name),
                target: clip(target),
                problem: "which is no file that came before it",
            }),
        }
    }

    /// To be asked when all is added, that the message tells the whole size.
    pub(super) fn check_size(&self) -> Result<(), SourceError> {
        if self.total_bytes <= self.max_bytes {
            return Ok(());
        }
        Err(SourceError::TooLarge {
            actual_bytes: self.total_bytes,
            limit_bytes: self.max_bytes,
        })
    }
}

fn refused(name: &str, problem: &'static str) -> SourceError {
    SourceError::Name {
        name: clip(name),
        problem,
    }
}

/// The path without `.` and empty parts; `None` for the source's own folder.
fn plain_path(name: &str) -> Result<Option<String>, SourceError> {
    if name.starts_with('/') {
        return Err(refused(name, "is absolute"));
    }
    if name.len() > PATH_MAX_BYTES {
        return Err(refused(name, "has too long a path"));
    }
    if name.contains(['\0', '\\']) {
        return Err(refused(name, "has a backslash or NUL in its name"));
    }
    let mut parts = Vec::new();
    for part in name.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match part {
            ".." => return Err(refused(name, "leads out of it by `..`")),
            _ if part.len() > COMPONENT_MAX_BYTES => return Err(refused(name, "has too long a name")),
            _ if part.starts_with(WHITEOUT) => return Err(refused(name, "begins with `.wh.`, which images reserve")),
            _ => parts.push(part),
        }
    }
    Ok((!parts.is_empty()).then(|| parts.join("/")))
}

/// A link may go up as far as the source's own folder and then down. Once down, it may not go up again: what it went down by
/// may be a link itself, and then up is elsewhere.
fn check_link(path: &str, target: &str) -> Result<(), SourceError> {
    let refuse = |problem| {
        Err(SourceError::Link {
            name: clip(path),
            target: clip(target),
            problem,
        })
    };
    if target.is_empty() || target.len() > PATH_MAX_BYTES || target.contains('\0') {
        return refuse("which is no path");
    }
    if target.starts_with('/') {
        return refuse("an absolute path; make it relative");
    }
    let mut room = path.matches('/').count();
    let mut went_down = false;
    for part in target.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match part {
            ".." if went_down => return refuse("which goes down and up again; make it direct"),
            ".." if room == 0 => return refuse("out of the source"),
            ".." => room -= 1,
            _ => went_down = true,
        }
    }
    Ok(())
}

/// The folder that a source goes to, without its leading slash.
pub(super) fn prefix(path: &str) -> Result<String, SourceError> {
    let wrong = || SourceError::Prefix(clip(path));
    let relative = path.strip_prefix('/').ok_or_else(wrong)?;
    plain_path(relative).ok().flatten().ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        Tree::new(1000, 10)
    }

    fn file(size_bytes: u64) -> Node {
        let data = Span {
            offset: 0,
            stored_bytes: size_bytes,
            size_bytes,
            crc: None,
            deflated: false,
        };
        Node::File {
            data,
            executable: false,
        }
    }

    #[test]
    fn names_lead_nowhere_else() {
        for (name, says) in [
            ("/etc/passwd", "absolute"),
            ("../x", "`..`"),
            ("a/../../x", "`..`"),
            ("a/..", "`..`"),
            ("a\\b", "backslash"),
            ("a\0b", "NUL"),
            (".wh.passwd", ".wh."),
            ("a/.wh..wh..opq", ".wh."),
            (&"x".repeat(256), "too long a name"),
            (&"x/".repeat(2001), "too long a path"),
            ("", "no name"),
            ("./", "no name"),
        ] {
            let error = tree().add(name, file(1)).unwrap_err().to_string();
            assert!(error.contains(says), "{name:?}: {error}");
        }
        let mut tree = tree();
        tree.add("./a//b/./c.py", file(1)).unwrap();
        let paths: Vec<_> = tree.nodes().map(|(path, _)| path).collect();
        assert_eq!(paths, ["a", "a/b", "a/b/c.py"]);
    }

    #[test]
    fn links_stay_inside() {
        for good in ["b", "./b", "../b", "../../b", "../../x/y", "..", "x/y/z"] {
            tree().add("a/b/link", Node::Link(good.into())).unwrap();
        }
        for (bad, says) in [
            ("/etc/passwd", "absolute"),
            ("../../../x", "out of the source"),
            ("x/../y", "down and up"),
            ("", "no path"),
        ] {
            let error = tree().add("a/b/link", Node::Link(bad.into())).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("a/b/link"), "{bad:?}: {error}");
        }
    }

    #[test]
    fn nothing_lies_below_a_link_or_file_and_nothing_comes_twice() {
        let mut tree = tree();
        tree.add("link", Node::Link("elsewhere".into())).unwrap();
        tree.add("file", file(1)).unwrap();
        tree.add("folder", Node::Folder).unwrap();
        tree.add("folder/", Node::Folder).unwrap();
        for (name, says) in [
            ("link/x", "no folder"),
            ("file/x", "no folder"),
            ("file", "twice"),
            ("folder", "twice"),
            ("./link", "twice"),
        ] {
            let error = tree.add(name, file(1)).unwrap_err().to_string();
            assert!(error.contains(says), "{name:?}: {error}");
        }
    }

    #[test]
    fn size_and_number_are_bounded() {
        let mut large = tree();
        large.add("a", file(900)).unwrap();
        large.check_size().unwrap();
        large.add("b", file(101)).unwrap();
        let error = large.check_size().unwrap_err().to_string();
        assert!(
            error.contains("1001 bytes") && error.contains("more than the 1000"),
            "{error}"
        );
        large.add("c", file(u64::MAX)).unwrap();
        assert!(large.check_size().is_err());

        let mut many = tree();
        let error = many.add("1/2/3/4/5/6/7/8/9/10/11", file(1)).unwrap_err();
        assert!(matches!(error, SourceError::TooMany { limit: 10 }), "{error}");
    }

    #[test]
    fn hard_links_mean_files_that_came_before() {
        let mut tree = tree();
        tree.add("a/b", file(7)).unwrap();
        assert_eq!(tree.linked("c", "./a/b").unwrap(), file(7));
        for bad in ["a", "nothing", "../x", "/etc/passwd"] {
            assert!(tree.linked("c", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes_are_folders_of_the_machine() {
        assert_eq!(prefix("/var/task/").unwrap(), "var/task");
        for bad in ["", "/", "var/task", "/var/../etc", "/."] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }
}
