//! The merged tree of all layers so far, in memory.
//!
//! Inodes live in one arena and are named by their index; folders map names to inodes. A name remembers the layer that
//! last declared it or something below it ("touched" it), which is what tells a whiteout what lies below its layer.

use std::collections::BTreeMap;

use crate::{data::Contents, tar::Mtime};

/// An inode's place in the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct InodeId(u32);

pub(crate) const ROOT: InodeId = InodeId(0);

impl InodeId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A layer's number, from 1; 0 is the empty root before all layers.
pub(crate) type LayerNumber = u32;

/// Attributes that every kind of inode has.
#[derive(Debug, Default)]
pub(crate) struct Meta {
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Mtime,
    /// As EROFS stores them.
    pub(crate) xattrs: Box<[u8]>,
}

impl Meta {
    /// A folder that no layer declared: 0755, root's, from 1970.
    pub(crate) fn implied_folder() -> Self {
        Self {
            mode: 0o755,
            ..Self::default()
        }
    }
}

#[derive(Debug)]
pub(crate) enum Kind {
    Folder(Folder),
    File(Contents),
    Symlink {
        target: Box<[u8]>,
        contents: Contents,
    },
    /// Device numbers as Linux encodes them.
    Char(u32),
    Block(u32),
    Fifo,
    /// Removed; the arena keeps the place.
    Gone,
}

#[derive(Debug, Default)]
pub(crate) struct Folder {
    pub(crate) children: BTreeMap<Box<[u8]>, Slot>,
    /// The layer that last hid everything of lower layers below this folder. Doing it once a layer is enough, and keeps
    /// a layer full of whiteouts from costing the square of its size.
    stripped: LayerNumber,
}

/// A name in a folder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) inode: InodeId,
    pub(crate) touched: LayerNumber,
}

#[derive(Debug)]
pub(crate) struct Inode {
    pub(crate) meta: Meta,
    pub(crate) kind: Kind,
    /// Names that refer to it; 1 for a folder that is there.
    pub(crate) links: u32,
}

impl Inode {
    pub(crate) fn folder(&self) -> Option<&Folder> {
        match &self.kind {
            Kind::Folder(folder) => Some(folder),
            _ => None,
        }
    }
}

/// A run of blocks that no inode refers to any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FreedBlocks {
    pub(crate) first: u32,
    pub(crate) count: u64,
}

pub(crate) struct Tree {
    inodes: Vec<Inode>,
    freed: Vec<FreedBlocks>,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let root = Inode {
            meta: Meta::implied_folder(),
            kind: Kind::Folder(Folder::default()),
            links: 1,
        };
        Self {
            inodes: vec![root],
            freed: Vec::new(),
        }
    }

    pub(crate) fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.index()]
    }

    pub(crate) fn inode_mut(&mut self, id: InodeId) -> &mut Inode {
        &mut self.inodes[id.index()]
    }

    /// All places of the arena, removed inodes among them.
    pub(crate) fn inodes(&self) -> &[Inode] {
        &self.inodes
    }

    pub(crate) fn child(&self, folder: InodeId, name: &[u8]) -> Option<Slot> {
        self.inode(folder).folder()?.children.get(name).copied()
    }

    fn folder_mut(&mut self, id: InodeId) -> Option<&mut Folder> {
        match &mut self.inode_mut(id).kind {
            Kind::Folder(folder) => Some(folder),
            _ => None,
        }
    }

    pub(crate) fn touch(&mut self, folder: InodeId, name: &[u8], layer: LayerNumber) {
        if let Some(slot) = self.folder_mut(folder).and_then(|folder| folder.children.get_mut(name)) {
            slot.touched = layer;
        }
    }

    /// Adds an inode that no name refers to yet.
    pub(crate) fn add(&mut self, meta: Meta, kind: Kind) -> InodeId {
        // The entry limit, or memory, ends long before 2^32 inodes.
        let id = InodeId(u32::try_from(self.inodes.len()).unwrap_or(u32::MAX));
        self.inodes.push(Inode { meta, kind, links: 0 });
        id
    }

    /// Makes `name` refer to `inode`, whatever it referred to before.
    pub(crate) fn link(&mut self, folder: InodeId, name: &[u8], inode: InodeId, layer: LayerNumber) {
        self.inode_mut(inode).links += 1;
        let slot = Slot { inode, touched: layer };
        let Some(folder) = self.folder_mut(folder) else { return };
        let old = match folder.children.get_mut(name) {
            Some(place) => Some(std::mem::replace(place, slot)),
            None => folder.children.insert(name.into(), slot),
        };
        if let Some(old) = old {
            self.release(old.inode);
        }
    }

    /// Hides what lower layers put at `name`, and nothing that this layer has put there already.
    pub(crate) fn whiteout(&mut self, folder: InodeId, name: &[u8], layer: LayerNumber) {
        let Some(slot) = self.child(folder, name) else { return };
        if slot.touched == layer {
            self.strip(slot.inode, layer);
        } else if let Some(folder) = self.folder_mut(folder) {
            folder.children.remove(name);
            self.release(slot.inode);
        }
    }

    /// Hides what lower layers put anywhere below a folder.
    pub(crate) fn strip(&mut self, folder: InodeId, layer: LayerNumber) {
        let mut pending = vec![folder];
        while let Some(id) = pending.pop() {
            let Some(folder) = self.folder_mut(id).filter(|folder| folder.stripped != layer) else {
                continue;
            };
            folder.stripped = layer;
            let mut hidden = Vec::new();
            folder.children.retain(|_, slot| {
                let kept = slot.touched == layer;
                if kept { &mut pending } else { &mut hidden }.push(slot.inode);
                kept
            });
            for inode in hidden {
                self.release(inode);
            }
        }
    }

    /// Takes one name from an inode, and with the last one its contents.
    fn release(&mut self, inode: InodeId) {
        let mut pending = vec![inode];
        while let Some(id) = pending.pop() {
            let inode = self.inode_mut(id);
            inode.links -= 1;
            if inode.links > 0 {
                continue;
            }
            inode.meta.xattrs = Box::default();
            match std::mem::replace(&mut inode.kind, Kind::Gone) {
                Kind::Folder(folder) => pending.extend(folder.children.values().map(|slot| slot.inode)),
                Kind::File(contents) | Kind::Symlink { contents, .. } if contents.blocks() > 0 => {
                    self.freed.push(FreedBlocks {
                        first: contents.first_block,
                        count: contents.blocks(),
                    });
                }
                _ => {}
            }
        }
    }

    /// The blocks freed since this was last asked.
    pub(crate) fn take_freed(&mut self) -> Vec<FreedBlocks> {
        std::mem::take(&mut self.freed)
    }
}
