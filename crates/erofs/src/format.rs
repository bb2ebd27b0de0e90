//! EROFS on disk: the structures of the kernel's `Documentation/filesystems/erofs.rst`, as far as they are used here.
//! All numbers are little-endian. Only what Linux 5.4 already reads is used: uncompressed data, blocks of 4 KiB.

/// Bytes in a block.
pub(crate) const BLOCK: usize = 4096;
/// Inodes are addressed in units of this many bytes.
pub(crate) const SLOT: usize = 32;
const BLOCK_BITS: u8 = 12;
const MAGIC: u32 = 0xe0f5_e1e2;
const SUPERBLOCK_OFFSET: usize = 1024;
const CHECKSUM_OFFSET: usize = SUPERBLOCK_OFFSET + 4;
const COMPAT_CHECKSUM: u32 = 1;
const COMPAT_MTIME: u32 = 2;

/// What the superblock says.
#[derive(Debug)]
pub(crate) struct Superblock {
    pub(crate) root_nid: u16,
    pub(crate) inodes: u64,
    /// The time that compact inodes have.
    pub(crate) epoch_seconds: i64,
    pub(crate) epoch_nanos: u32,
    pub(crate) blocks: u32,
    pub(crate) meta_block: u32,
    pub(crate) uuid: [u8; 16],
}

impl Superblock {
    /// The first block of the image, which holds it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; SUPERBLOCK_OFFSET];
        put(
            &mut block,
            &[
                &MAGIC.to_le_bytes(),
                &[0; 4],
                &(COMPAT_CHECKSUM | COMPAT_MTIME).to_le_bytes(),
            ],
        );
        put(
            &mut block,
            &[
                &[BLOCK_BITS, 0],
                &self.root_nid.to_le_bytes(),
                &self.inodes.to_le_bytes(),
            ],
        );
        put(
            &mut block,
            &[&self.epoch_seconds.to_le_bytes(), &self.epoch_nanos.to_le_bytes()],
        );
        put(
            &mut block,
            &[
                &self.blocks.to_le_bytes(),
                &self.meta_block.to_le_bytes(),
                &[0; 4],
                &self.uuid,
            ],
        );
        // Volume name, incompatible features, and all later fields: none.
        block.resize(BLOCK, 0);
        // The kernel's CRC starts from all ones and is not inverted at the end.
        let checksum = !crc32c::crc32c(&block[SUPERBLOCK_OFFSET..]);
        block[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 4].copy_from_slice(&checksum.to_le_bytes());
        block
    }
}

fn put(block: &mut Vec<u8>, fields: &[&[u8]]) {
    for field in fields {
        block.extend_from_slice(field);
    }
}

/// How an inode's contents lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataLayout {
    /// All of it in blocks.
    Plain = 0,
    /// The last part right behind the inode and its attributes.
    Inline = 2,
}

/// An inode's fields, whichever form it takes.
#[derive(Debug)]
pub(crate) struct InodeFields {
    pub(crate) layout: DataLayout,
    pub(crate) xattr_icount: u16,
    /// Type and permissions.
    pub(crate) mode: u16,
    pub(crate) links: u32,
    pub(crate) size: u64,
    /// First block, or device number.
    pub(crate) union: u32,
    pub(crate) number: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
}

/// The short form: 16-bit owners and link count, 32-bit size, the image's time.
pub(crate) struct Compact;

impl Compact {
    pub(crate) const BYTES: usize = 32;

    /// Writes the inode, if this form can hold its numbers.
    pub(crate) fn encode(inode: &InodeFields, out: &mut Vec<u8>) -> Option<()> {
        let links = u16::try_from(inode.links).ok()?;
        let size = u32::try_from(inode.size).ok()?;
        let (uid, gid) = (u16::try_from(inode.uid).ok()?, u16::try_from(inode.gid).ok()?);
        let format = (inode.layout as u16) << 1;
        put(
            out,
            &[
                &format.to_le_bytes(),
                &inode.xattr_icount.to_le_bytes(),
                &inode.mode.to_le_bytes(),
            ],
        );
        put(
            out,
            &[
                &links.to_le_bytes(),
                &size.to_le_bytes(),
                &[0; 4],
                &inode.union.to_le_bytes(),
            ],
        );
        put(
            out,
            &[
                &inode.number.to_le_bytes(),
                &uid.to_le_bytes(),
                &gid.to_le_bytes(),
                &[0; 4],
            ],
        );
        Some(())
    }
}

/// The long form, which holds everything.
pub(crate) struct Extended;

impl Extended {
    pub(crate) const BYTES: usize = 64;

    pub(crate) fn encode(inode: &InodeFields, out: &mut Vec<u8>) {
        let format = (inode.layout as u16) << 1 | 1;
        put(
            out,
            &[
                &format.to_le_bytes(),
                &inode.xattr_icount.to_le_bytes(),
                &inode.mode.to_le_bytes(),
                &[0; 2],
            ],
        );
        put(
            out,
            &[
                &inode.size.to_le_bytes(),
                &inode.union.to_le_bytes(),
                &inode.number.to_le_bytes(),
            ],
        );
        put(
            out,
            &[
                &inode.uid.to_le_bytes(),
                &inode.gid.to_le_bytes(),
                &inode.seconds.to_le_bytes(),
            ],
        );
        put(out, &[&inode.nanos.to_le_bytes(), &inode.links.to_le_bytes(), &[0; 16]]);
    }
}

/// Bytes of a directory entry before its name.
pub(crate) const DIRENT: usize = 12;

/// A directory entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dirent<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) nid: u64,
    pub(crate) file_type: FileType,
}

/// One block of a directory, up to the end of its last name: all entries, then all names.
pub(crate) fn encode_dirents(entries: &[Dirent<'_>], out: &mut Vec<u8>) {
    let mut name_offset = entries.len() * DIRENT;
    for entry in entries {
        // Below the block size, so it fits.
        let offset = u16::try_from(name_offset).unwrap_or(u16::MAX);
        put(
            out,
            &[
                &entry.nid.to_le_bytes(),
                &offset.to_le_bytes(),
                &[entry.file_type as u8, 0],
            ],
        );
        name_offset += entry.name.len();
    }
    for entry in entries {
        out.extend_from_slice(entry.name);
    }
}

/// A file's type in a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileType {
    Regular = 1,
    Directory = 2,
    Char = 3,
    Block = 4,
    Fifo = 5,
    Symlink = 7,
}

impl FileType {
    /// The type's bits in a mode.
    pub(crate) fn mode(self) -> u16 {
        match self {
            Self::Fifo => 0o010_000,
            Self::Char => 0o020_000,
            Self::Directory => 0o040_000,
            Self::Block => 0o060_000,
            Self::Regular => 0o100_000,
            Self::Symlink => 0o120_000,
        }
    }
}

/// A device number as Linux stores it: 12 bits of major, 20 of minor.
pub(crate) fn device(major: u64, minor: u64) -> Option<u32> {
    let major = u32::try_from(major).ok().filter(|major| *major < 1 << 12)?;
    let minor = u32::try_from(minor).ok().filter(|minor| *minor < 1 << 20)?;
    Some((minor & 0xff) | major << 8 | (minor & !0xff) << 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_their_sizes() {
        let inode = InodeFields {
            layout: DataLayout::Plain,
            xattr_icount: 0,
            mode: 0,
            links: 1,
            size: 0,
            union: 0,
            number: 1,
            uid: 0,
            gid: 0,
            seconds: 0,
            nanos: 0,
        };
        let (mut compact, mut extended) = (Vec::new(), Vec::new());
        Compact::encode(&inode, &mut compact).unwrap();
        Extended::encode(&inode, &mut extended);
        assert_eq!((compact.len(), extended.len()), (Compact::BYTES, Extended::BYTES));
        assert!(Compact::encode(&InodeFields { uid: 65_536, ..inode }, &mut compact).is_none());
    }

    #[test]
    fn device_numbers_are_bounded() {
        assert_eq!(device(8, 1), Some(0x801));
        assert_eq!(device(4095, 0xf_ffff), Some(0xffff_ffff));
        assert_eq!(device(4096, 0), None);
        assert_eq!(device(0, 1 << 20), None);
    }
}
