//! Writes the planned metadata behind the contents.

use crate::{
    BuildError,
    data::{Contents, DataWriter},
    format::{BLOCK, Compact, DIRENT, DataLayout, Dirent, Extended, FileType, InodeFields, Superblock, encode_dirents},
    layout::{Directory, Layout, Placed, names},
    tree::{InodeId, Kind, ROOT, Tree},
    xattr,
};

/// Writes directories, inodes and at last the superblock; gives the image's length in bytes.
pub(crate) fn write(tree: &Tree, layout: &Layout, uuid: [u8; 16], mut data: DataWriter) -> Result<u64, BuildError> {
    let mut tails = Vec::with_capacity(layout.inodes.len());
    for placed in &layout.inodes {
        tails.push(match &placed.directory {
            Some(directory) => write_directory(tree, layout, placed.inode, directory, &mut data)?,
            None => Vec::new(),
        });
    }
    let mut position = 0;
    let mut record = Vec::new();
    for (number, (placed, tail)) in layout.inodes.iter().zip(tails).enumerate() {
        record.clear();
        encode_inode(tree, placed, number, &tail, &mut record);
        data.append_zeros(placed.offset - position)?;
        data.append(&record)?;
        position = placed.offset + record.len() as u64;
    }
    // fsck.erofs looks for attributes behind every inode, also behind one that has none and is the last.
    data.append_zeros(xattr::HEADER_BYTES as u64)?;
    data.pad()?;
    let superblock = Superblock {
        // The root is placed first, so its number is small.
        root_nid: u16::try_from(layout.nid(ROOT)).unwrap_or(u16::MAX),
        inodes: layout.inodes.len() as u64,
        epoch_seconds: layout.epoch.seconds,
        epoch_nanos: layout.epoch.nanos,
        blocks: data.next_block()?,
        meta_block: layout.meta_block,
        uuid,
    };
    data.finish(&superblock.encode())
}

/// Writes a folder's blocks and gives back the part that goes beside its inode.
fn write_directory(
    tree: &Tree,
    layout: &Layout,
    id: InodeId,
    directory: &Directory,
    data: &mut DataWriter,
) -> Result<Vec<u8>, BuildError> {
    let mut block = Vec::with_capacity(BLOCK);
    let mut entries = Vec::new();
    let mut used = 0;
    for name in names(tree, id) {
        if used + DIRENT + name.len() > BLOCK {
            flush_entries(&mut entries, &mut block);
            data.append(&block)?;
            data.pad()?;
            used = 0;
        }
        used += DIRENT + name.len();
        let target = match name {
            b"." => id,
            b".." => directory.parent,
            // The name is from this very folder.
            _ => tree.child(id, name).map_or(id, |slot| slot.inode),
        };
        entries.push(Dirent {
            name,
            nid: layout.nid(target),
            file_type: file_type(&tree.inode(target).kind),
        });
    }
    flush_entries(&mut entries, &mut block);
    if directory.tail > 0 {
        return Ok(block);
    }
    data.append(&block)?;
    data.pad()?;
    Ok(Vec::new())
}

fn flush_entries(entries: &mut Vec<Dirent<'_>>, block: &mut Vec<u8>) {
    block.clear();
    encode_dirents(entries, block);
    entries.clear();
}

fn encode_inode(tree: &Tree, placed: &Placed, number: usize, directory_tail: &[u8], record: &mut Vec<u8>) {
    let inode = tree.inode(placed.inode);
    let meta = &inode.meta;
    let (size, union, tail): (u64, u32, &[u8]) = match (&inode.kind, &placed.directory) {
        (_, Some(directory)) => (directory.size, directory.first_block, directory_tail),
        (Kind::File(contents) | Kind::Symlink { contents, .. }, _) => {
            let Contents {
                size,
                first_block,
                tail,
            } = contents;
            (*size, *first_block, tail)
        }
        (Kind::Char(device) | Kind::Block(device), _) => (0, *device, &[]),
        _ => (0, 0, &[]),
    };
    let fields = InodeFields {
        layout: if tail.is_empty() {
            DataLayout::Plain
        } else {
            DataLayout::Inline
        },
        xattr_icount: xattr::icount(&meta.xattrs),
        mode: file_type(&inode.kind).mode() | meta.mode,
        links: placed.links,
        size,
        union,
        // Only 32-bit programs see this one.
        number: u32::try_from(number + 1).unwrap_or(u32::MAX),
        uid: meta.uid,
        gid: meta.gid,
        seconds: meta.mtime.seconds,
        nanos: meta.mtime.nanos,
    };
    // The layout chose the compact form only where it fits.
    if !placed.compact || Compact::encode(&fields, record).is_none() {
        Extended::encode(&fields, record);
    }
    record.extend_from_slice(&meta.xattrs);
    record.extend_from_slice(tail);
}

fn file_type(kind: &Kind) -> FileType {
    match kind {
        Kind::Folder(_) => FileType::Directory,
        Kind::Symlink { .. } => FileType::Symlink,
        Kind::Char(_) => FileType::Char,
        Kind::Block(_) => FileType::Block,
        Kind::Fifo => FileType::Fifo,
        Kind::File(_) | Kind::Gone => FileType::Regular,
    }
}
