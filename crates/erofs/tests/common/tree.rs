//! A folder's whole contents as values that can be compared.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

/// Everything about one name that a tar can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub kind: &'static str,
    pub mode: u32,
    pub owner: (u32, u32),
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    pub device: u64,
    /// A file's or link's contents, shortened to length and hash when long.
    pub contents: Vec<u8>,
    pub xattrs: BTreeMap<OsString, Vec<u8>>,
    /// The first path of the same inode, where there are several.
    pub same_as: Option<PathBuf>,
}

pub type Tree = BTreeMap<PathBuf, Node>;

/// Reads a folder and all below it; the folder itself is the empty path.
pub fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let full = root.join(&path);
        let metadata = std::fs::symlink_metadata(&full).unwrap();
        if metadata.is_dir() {
            pending.extend(
                std::fs::read_dir(&full)
                    .unwrap()
                    .map(|entry| path.join(entry.unwrap().file_name())),
            );
        }
        tree.insert(path, node(&full, &metadata));
    }
    name_hard_links(root, &mut tree);
    tree
}

fn node(path: &Path, metadata: &std::fs::Metadata) -> Node {
    let kind = metadata.file_type();
    let (kind, contents) = if kind.is_dir() {
        ("folder", Vec::new())
    } else if kind.is_file() {
        ("file", shorten(std::fs::read(path).unwrap()))
    } else if kind.is_symlink() {
        (
            "symlink",
            std::fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec(),
        )
    } else if kind.is_char_device() {
        ("char", Vec::new())
    } else if kind.is_block_device() {
        ("block", Vec::new())
    } else if kind.is_fifo() {
        ("fifo", Vec::new())
    } else {
        ("other", Vec::new())
    };
    Node {
        kind,
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        device: if matches!(kind, "char" | "block") {
            metadata.rdev()
        } else {
            0
        },
        contents,
        xattrs: xattrs(path),
        same_as: None,
    }
}

fn shorten(contents: Vec<u8>) -> Vec<u8> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    if contents.len() <= 64 {
        return contents;
    }
    let mut hasher = DefaultHasher::new();
    contents.hash(&mut hasher);
    format!("{} bytes, hash {:x}", contents.len(), hasher.finish()).into_bytes()
}

fn xattrs(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let mut all = BTreeMap::new();
    for name in names[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10];
        let len = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value).unwrap();
        value.truncate(len);
        all.insert(OsStr::from_bytes(name).to_owned(), value);
    }
    all
}

fn name_hard_links(root: &Path, tree: &mut Tree) {
    let mut first: HashMap<u64, PathBuf> = HashMap::new();
    for (path, node) in tree.iter_mut() {
        let metadata = std::fs::symlink_metadata(root.join(path)).unwrap();
        if node.kind == "folder" {
            continue;
        }
        let same = first.entry(metadata.ino()).or_insert_with(|| path.clone());
        node.same_as = (metadata.nlink() > 1).then(|| same.clone());
    }
}

/// Panics with the first few differences.
pub fn assert_same(ours: &Tree, theirs: &Tree) {
    let paths: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let different: Vec<String> = paths
        .into_iter()
        .filter(|path| ours.get(*path) != theirs.get(*path))
        .map(|path| {
            format!(
                "{}\n  ours:   {:?}\n  theirs: {:?}",
                path.display(),
                ours.get(path),
                theirs.get(path)
            )
        })
        .collect();
    let shown = &different[..different.len().min(5)];
    assert!(
        different.is_empty(),
        "{} paths differ:\n{}",
        different.len(),
        shown.join("\n")
    );
}
