//! One layer onto the merged tree, by the rules of the OCI image specification (`layer.md`).

use std::io::BufRead;

use crate::{
    BuildError, Limits,
    data::{Contents, DataWriter},
    error::{Excess, Refusal, shown},
    format,
    limits::Usage,
    path, resolve,
    tar::{Content, Entry, EntryKind, TarError, TarReader},
    tree::{Folder, InodeId, Kind, LayerNumber, Meta, ROOT, Tree},
    xattr,
};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// AUFS's own bookkeeping, which old layers still carry; it is no part of the tree.
const AUFS: &[u8] = b".wh..wh.";
/// `PATH_MAX` less its NUL.
const SYMLINK_BYTES: usize = 4095;

/// What a layer held.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) entries: u64,
    pub(crate) whiteouts: u64,
    pub(crate) dropped_xattrs: u64,
}

/// Applies one layer.
pub(crate) struct Applier<'a> {
    pub(crate) tree: &'a mut Tree,
    pub(crate) data: &'a mut DataWriter,
    pub(crate) usage: &'a mut Usage,
    pub(crate) limits: &'a Limits,
    pub(crate) label: &'a str,
    pub(crate) layer: LayerNumber,
    pub(crate) counts: Counts,
}

/// An entry's failure, before the layer's and entry's names are added.
enum Failure {
    Tar(TarError),
    Excess(Excess),
    Refusal(Refusal),
    Build(BuildError),
}

impl From<TarError> for Failure {
    fn from(error: TarError) -> Self {
        Self::Tar(error)
    }
}

impl From<Excess> for Failure {
    fn from(excess: Excess) -> Self {
        Self::Excess(excess)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

impl Applier<'_> {
    /// Applies all entries and reads the stream to its end.
    pub(crate) fn run<R: BufRead>(&mut self, tar: &mut TarReader<'_, R>) -> Result<(), BuildError> {
        while let Some(mut entry) = tar
            .next_entry()
            .map_err(|error| self.tar_error(error, tar.offset(), None))?
        {
            let name = std::mem::take(&mut entry.path);
            if let Err(failure) = self.apply(&name, entry, tar) {
                return Err(self.name(failure, &name, tar.offset()));
            }
            for freed in self.tree.take_freed() {
                self.data.punch(freed.first, freed.count)?;
            }
        }
        tar.drain().map_err(|error| self.tar_error(error, tar.offset(), None))?;
        self.data.flush()
    }

    /// Says which layer and entry failed.
    fn name(&self, failure: Failure, entry: &[u8], offset: u64) -> BuildError {
        let layer = self.label.to_owned();
        let entry = shown(entry);
        match failure {
            Failure::Tar(error) => self.tar_error(error, offset, Some(entry)),
            Failure::Excess(excess) => BuildError::Limit {
                layer,
                entry: Some(entry),
                excess,
            },
            Failure::Refusal(reason) => BuildError::Refused { layer, entry, reason },
            Failure::Build(error) => error,
        }
    }

    fn tar_error(&self, error: TarError, offset: u64, entry: Option<String>) -> BuildError {
        let layer = self.label.to_owned();
        match error {
            TarError::Read(source) => BuildError::Read { layer, source },
            TarError::Excess(excess) => BuildError::Limit { layer, entry, excess },
            source => BuildError::Tar { layer, offset, source },
        }
    }

    fn apply<R: BufRead>(&mut self, name: &[u8], entry: Entry, tar: &mut TarReader<'_, R>) -> Result<(), Failure> {
        self.usage.add_entry(self.limits)?;
        self.counts.entries += 1;
        let parts = path::components(name, self.limits)?;
        let Some((&last, parents)) = parts.split_last() else {
            return self.apply_root(&entry);
        };
        if parents.iter().any(|part| part.starts_with(AUFS)) || (last.starts_with(AUFS) && last != OPAQUE) {
            return Ok(());
        }
        if parents.iter().any(|part| part.starts_with(WHITEOUT)) {
            return Err(Refusal::ReservedName.into());
        }
        if let Some(hidden) = last.strip_prefix(WHITEOUT) {
            self.counts.whiteouts += 1;
            return Ok(self.whiteout(parents, last, hidden)?);
        }
        self.usage
            .add_node(parts.iter().map(|part| part.len()).sum(), self.limits)?;
        let Some(folder) = self.make_parents(parents)? else {
            // Not reached: missing parents were just made.
            return Ok(());
        };
        self.put(folder, last, entry, tar)
    }

    fn make_parents(&mut self, parents: &[&[u8]]) -> Result<Option<InodeId>, Failure> {
        let (usage, limits) = (&mut *self.usage, self.limits);
        resolve::make(self.tree, parents, self.layer, limits.path_depth, |name| {
            usage.add_entry(limits)?;
            Ok(usage.add_folder(name.len(), limits)?)
        })
    }

    fn apply_root(&mut self, entry: &Entry) -> Result<(), Failure> {
        if entry.kind != EntryKind::Folder {
            return Err(Refusal::RootNotFolder.into());
        }
        self.tree.inode_mut(ROOT).meta = self.meta(entry)?;
        Ok(())
    }

    fn whiteout(&mut self, parents: &[&[u8]], last: &[u8], hidden: &[u8]) -> Result<(), Refusal> {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Refusal::BadWhiteout);
        }
        // Nothing to hide is no error: an earlier whiteout of this layer may have hidden it.
        let Some(folder) = resolve::find(self.tree, parents, self.layer)? else {
            return Ok(());
        };
        if last == OPAQUE {
            self.tree.strip(folder, self.layer);
        } else {
            self.tree.whiteout(folder, hidden, self.layer);
        }
        Ok(())
    }

    fn put<R: BufRead>(
        &mut self,
        folder: InodeId,
        name: &[u8],
        entry: Entry,
        tar: &mut TarReader<'_, R>,
    ) -> Result<(), Failure> {
        if entry.kind == EntryKind::HardLink {
            let target = self.hard_link_target(&entry.link)?;
            if self.tree.child(folder, name).is_some_and(|slot| slot.inode == target) {
                self.tree.touch(folder, name, self.layer);
            } else {
                self.tree.link(folder, name, target, self.layer);
            }
            return Ok(());
        }
        let mut meta = self.meta(&entry)?;
        if entry.kind == EntryKind::Symlink {
            // As Linux shows every link, whatever the tar says.
            meta.mode = 0o777;
        }
        let xattr_bytes = meta.xattrs.len();
        let kind = match entry.kind {
            EntryKind::Folder => match self.tree.child(folder, name) {
                Some(slot) if self.tree.inode(slot.inode).folder().is_some() => {
                    self.tree.inode_mut(slot.inode).meta = meta;
                    self.tree.touch(folder, name, self.layer);
                    return Ok(());
                }
                _ => Kind::Folder(Folder::default()),
            },
            EntryKind::File(content) => Kind::File(self.store(&content, xattr_bytes, tar)?),
            EntryKind::Symlink => self.symlink(entry.link, xattr_bytes)?,
            EntryKind::Char { major, minor } => Kind::Char(device(major, minor)?),
            EntryKind::Block { major, minor } => Kind::Block(device(major, minor)?),
            EntryKind::Fifo | EntryKind::HardLink => Kind::Fifo,
        };
        let inode = self.tree.add(meta, kind);
        self.tree.link(folder, name, inode, self.layer);
        Ok(())
    }

    fn meta(&mut self, entry: &Entry) -> Result<Meta, Failure> {
        let encoded = xattr::encode(&entry.xattrs, self.limits)?;
        self.counts.dropped_xattrs += encoded.dropped;
        self.usage.add_node(encoded.body.len(), self.limits)?;
        Ok(Meta {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: encoded.body,
        })
    }

    fn symlink(&mut self, target: Vec<u8>, xattr_bytes: usize) -> Result<Kind, Failure> {
        if target.is_empty() || target.len() > SYMLINK_BYTES || target.contains(&0) {
            return Err(Refusal::BadSymlink { len: target.len() }.into());
        }
        self.usage.add_node(2 * target.len(), self.limits)?;
        let mut pending = self.data.begin(target.len() as u64, xattr_bytes)?;
        self.data.write(&mut pending, &target)?;
        Ok(Kind::Symlink {
            target: target.into(),
            contents: self.data.end(pending)?,
        })
    }

    fn hard_link_target(&mut self, raw: &[u8]) -> Result<InodeId, Refusal> {
        let target = || shown(raw);
        let parts = path::components(raw, self.limits).map_err(|reason| match reason {
            Refusal::DotDot => Refusal::HardLinkOutside { target: target() },
            reason => Refusal::HardLinkTarget {
                target: target(),
                reason: Box::new(reason),
            },
        })?;
        let Some((&last, parents)) = parts.split_last() else {
            return Err(Refusal::HardLinkToFolder { target: target() });
        };
        let slot = resolve::find(self.tree, parents, self.layer)
            .map_err(|reason| Refusal::HardLinkTarget {
                target: target(),
                reason: Box::new(reason),
            })?
            .and_then(|folder| self.tree.child(folder, last))
            .ok_or_else(|| Refusal::HardLinkMissing { target: target() })?;
        if self.tree.inode(slot.inode).folder().is_some() {
            return Err(Refusal::HardLinkToFolder { target: target() });
        }
        Ok(slot.inode)
    }

    /// Streams a file's contents into the image.
    fn store<R: BufRead>(
        &mut self,
        content: &Content,
        xattr_bytes: usize,
        tar: &mut TarReader<'_, R>,
    ) -> Result<Contents, Failure> {
        self.usage.add_content(content.size, self.limits)?;
        let mut pending = self.data.begin(content.size, xattr_bytes)?;
        let mut position = 0;
        for extent in &content.extents {
            self.data.write_zeros(&mut pending, extent.offset - position)?;
            let mut left = extent.len;
            while left > 0 {
                let bytes = tar.data()?;
                let step = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                self.data.write(&mut pending, &bytes[..step])?;
                tar.consume(step)?;
                left -= step as u64;
            }
            position = extent.offset + extent.len;
        }
        self.data.write_zeros(&mut pending, content.size - position)?;
        let contents = self.data.end(pending)?;
        self.usage.add_node(contents.tail.len(), self.limits)?;
        Ok(contents)
    }
}

fn device(major: u64, minor: u64) -> Result<u32, Refusal> {
    format::device(major, minor).ok_or(Refusal::DeviceNumber { major, minor })
}
