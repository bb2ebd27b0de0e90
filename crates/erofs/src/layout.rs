//! Where everything goes: the order of inodes, their numbers, the sizes of directories. Pure; writes nothing.
//!
//! ```text
//! block 0      1 …               directory_block …   meta_block …
//! superblock | file contents ... | directory blocks | inodes with attributes and tails |
//! ```
//! A folder's children lie together, in the order of their names, so that a look-up reads few blocks.

use std::{
    collections::HashMap,
    ops::Bound::{self, Excluded, Unbounded},
};

use crate::{
    BuildError,
    data::fits_inline,
    format::{BLOCK, Compact, DIRENT, Extended, SLOT},
    tar::Mtime,
    tree::{InodeId, Kind, ROOT, Tree},
};

/// An inode's place.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) inode: InodeId,
    /// Byte offset in the metadata area.
    pub(crate) offset: u64,
    pub(crate) compact: bool,
    pub(crate) links: u32,
    pub(crate) directory: Option<Directory>,
}

/// A folder's contents.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) parent: InodeId,
    pub(crate) size: u64,
    pub(crate) first_block: u32,
    /// Bytes of the last block that go beside the inode; 0 when it has a block of its own.
    pub(crate) tail: usize,
}

/// The whole plan.
#[derive(Debug)]
pub(crate) struct Layout {
    /// In the order in which they are written.
    pub(crate) inodes: Vec<Placed>,
    /// By arena index; 0 for what is not in the image.
    nids: Vec<u64>,
    pub(crate) epoch: Mtime,
    pub(crate) meta_block: u32,
}

impl Layout {
    pub(crate) fn nid(&self, inode: InodeId) -> u64 {
        self.nids[inode.index()]
    }

    /// Plans an image whose metadata begins at `first_block`.
    pub(crate) fn plan(tree: &Tree, first_block: u32) -> Result<Self, BuildError> {
        let mut planner = Planner {
            tree,
            epoch: epoch(tree),
            next_block: first_block,
            // Number 0 stays free: programs take it for "no inode".
            cursor: SLOT as u64,
            nids: vec![0; tree.inodes().len()],
            inodes: Vec::new(),
        };
        planner.walk()?;
        Ok(Self {
            inodes: planner.inodes,
            nids: planner.nids,
            epoch: planner.epoch,
            meta_block: planner.next_block,
        })
    }
}

/// The commonest time, of equally common ones the earliest: what has it needs only a compact inode.
fn epoch(tree: &Tree) -> Mtime {
    let mut counts: HashMap<Mtime, u64> = HashMap::new();
    for inode in tree
        .inodes()
        .iter()
        .filter(|inode| inode.links > 0 && inode.meta.mtime.seconds >= 0)
    {
        *counts.entry(inode.meta.mtime).or_default() += 1;
    }
    let commonest = counts
        .into_iter()
        .max_by_key(|&(mtime, count)| (count, std::cmp::Reverse(mtime)));
    commonest.map(|(mtime, _)| mtime).unwrap_or_default()
}

struct Planner<'a> {
    tree: &'a Tree,
    epoch: Mtime,
    next_block: u32,
    cursor: u64,
    nids: Vec<u64>,
    inodes: Vec<Placed>,
}

impl Planner<'_> {
    fn walk(&mut self) -> Result<(), BuildError> {
        self.place(ROOT, ROOT)?;
        let mut pending = vec![ROOT];
        while let Some(id) = pending.pop() {
            let Some(folder) = self.tree.inode(id).folder() else {
                continue;
            };
            let first_pending = pending.len();
            for slot in folder.children.values() {
                // A hard link's inode has its place already.
                if self.nids[slot.inode.index()] != 0 {
                    continue;
                }
                self.place(slot.inode, id)?;
                if self.tree.inode(slot.inode).folder().is_some() {
                    pending.push(slot.inode);
                }
            }
            pending[first_pending..].reverse();
        }
        Ok(())
    }

    fn place(&mut self, id: InodeId, parent: InodeId) -> Result<(), BuildError> {
        let inode = self.tree.inode(id);
        let directory = match inode.folder() {
            Some(_) => Some(self.directory(id, parent)?),
            None => None,
        };
        let (size, tail, links) = match (&inode.kind, &directory) {
            (_, Some(directory)) => (directory.size, directory.tail, self.folder_links(id)),
            (Kind::File(contents) | Kind::Symlink { contents, .. }, _) => {
                (contents.size, contents.tail.len(), inode.links)
            }
            _ => (0, 0, inode.links),
        };
        let meta = &inode.meta;
        let compact = meta.mtime == self.epoch
            && u16::try_from(meta.uid).is_ok()
            && u16::try_from(meta.gid).is_ok()
            && u16::try_from(links).is_ok()
            && u32::try_from(size).is_ok();
        let own = if compact { Compact::BYTES } else { Extended::BYTES };
        let offset = self.reserve(own + meta.xattrs.len() + tail);
        self.nids[id.index()] = offset / SLOT as u64;
        self.inodes.push(Placed {
            inode: id,
            offset,
            compact,
            links,
            directory,
        });
        Ok(())
    }

    /// A place for an inode with what follows it. Inside one block if it can be: a tail must not cross a boundary.
    fn reserve(&mut self, len: usize) -> u64 {
        let block = BLOCK as u64;
        let mut start = self.cursor.next_multiple_of(SLOT as u64);
        if len as u64 > block - start % block {
            start = start.next_multiple_of(block);
        }
        self.cursor = start + len as u64;
        start
    }

    fn folder_links(&self, id: InodeId) -> u32 {
        let children = self
            .tree
            .inode(id)
            .folder()
            .into_iter()
            .flat_map(|folder| folder.children.values());
        let folders = children
            .filter(|slot| self.tree.inode(slot.inode).folder().is_some())
            .count();
        u32::try_from(folders).unwrap_or(u32::MAX - 2) + 2
    }

    fn directory(&mut self, id: InodeId, parent: InodeId) -> Result<Directory, BuildError> {
        let (mut full, mut last) = (0_u32, 0);
        for name in names(self.tree, id) {
            let len = DIRENT + name.len();
            if last + len > BLOCK {
                full += 1;
                last = 0;
            }
            last += len;
        }
        let tail = if fits_inline(self.tree.inode(id).meta.xattrs.len(), last) {
            last
        } else {
            0
        };
        let blocks = if tail == 0 { full + 1 } else { full };
        let first_block = if blocks == 0 { 0 } else { self.next_block };
        self.next_block = self.next_block.checked_add(blocks).ok_or(BuildError::TooLarge)?;
        Ok(Directory {
            parent,
            size: u64::from(full) * BLOCK as u64 + last as u64,
            first_block,
            tail,
        })
    }
}

/// A folder's names in the order EROFS wants, which is that of their bytes, `.` and `..` among them.
pub(crate) fn names(tree: &Tree, folder: InodeId) -> impl Iterator<Item = &[u8]> {
    let range = |from: Bound<&'static [u8]>, to: Bound<&'static [u8]>| {
        let children = tree
            .inode(folder)
            .folder()
            .map(|folder| folder.children.range::<[u8], _>((from, to)));
        children.into_iter().flatten().map(|(name, _)| &**name)
    };
    range(Unbounded, Excluded(b"."))
        .chain([b".".as_slice()])
        .chain(range(Excluded(b"."), Excluded(b"..")))
        .chain([b"..".as_slice()])
        .chain(range(Excluded(b".."), Unbounded))
}
