//! What NFS tells of files, and what is set of them (`fattr3`, `sattr3`).

use rustix::fs::{FileType, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use super::{
    status::{Failure, INVAL},
    xdr::{Reader, Writer},
};
use crate::{folder::Folder, usage::content};

const MODE_BITS: u32 = 0o7777;

/// Writes `fattr3`.
pub(super) fn write(out: &mut Writer, folder: &Folder, stat: &Stat) {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => 2,
        FileType::BlockDevice => 3,
        FileType::CharacterDevice => 4,
        FileType::Symlink => 5,
        FileType::Socket => 6,
        FileType::Fifo => 7,
        _ => 1,
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the random half of an ID tells volumes apart"
    )]
    let volume = folder.id().to_u128() as u64;
    out.u32(kind).u32(stat.st_mode & MODE_BITS);
    out.u32(u32::try_from(stat.st_nlink).unwrap_or(u32::MAX));
    out.u32(stat.st_uid).u32(stat.st_gid);
    out.u64(u64::try_from(stat.st_size).unwrap_or(0)).u64(content(stat));
    // No devices.
    out.u64(0).u64(volume).u64(stat.st_ino);
    time(out, stat.st_atime, stat.st_atime_nsec);
    time(out, stat.st_mtime, stat.st_mtime_nsec);
    time(out, stat.st_ctime, stat.st_ctime_nsec);
}

fn time(out: &mut Writer, seconds: i64, nanoseconds: impl TryInto<u32>) {
    out.u32(u32::try_from(seconds).unwrap_or(0));
    out.u32(nanoseconds.try_into().unwrap_or(0));
}

/// Writes `post_op_attr`.
pub(super) fn after(out: &mut Writer, folder: &Folder, stat: &Stat) {
    out.u32(1);
    write(out, folder, stat);
}

/// Writes `wcc_data`: nothing of before, and what is now.
pub(super) fn changed(out: &mut Writer, folder: &Folder, stat: &Stat) {
    out.u32(0);
    after(out, folder, stat);
}

/// What is to be set.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) times: Timestamps,
}

impl Wanted {
    /// Reads `sattr3`.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Failure> {
        let mut word = || Ok::<_, Failure>(if reader.bool()? { Some(reader.u32()?) } else { None });
        let (mode, uid, gid) = (word()?, word()?, word()?);
        // The last of all numbers is nobody: to the kernel it says that nothing changes.
        if [uid, gid].contains(&Some(u32::MAX)) {
            return Err(INVAL);
        }
        let size = if reader.bool()? { Some(reader.u64()?) } else { None };
        let last_access = read_time(reader)?;
        let last_modification = read_time(reader)?;
        Ok(Self {
            mode: mode.map(|mode| mode & MODE_BITS),
            uid,
            gid,
            size,
            times: Timestamps {
                last_access,
                last_modification,
            },
        })
    }

    pub(super) fn sets_times(&self) -> bool {
        [self.times.last_access, self.times.last_modification]
            .iter()
            .any(|time| time.tv_nsec != UTIME_OMIT)
    }
}

fn read_time(reader: &mut Reader<'_>) -> Result<Timespec, Failure> {
    let spec = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    match reader.u32()? {
        0 => Ok(spec(0, UTIME_OMIT)),
        1 => Ok(spec(0, UTIME_NOW)),
        2 => {
            let (seconds, nanoseconds) = (reader.u32()?, reader.u32()?);
            if nanoseconds >= 1_000_000_000 {
                return Err(INVAL);
            }
            Ok(spec(seconds.into(), nanoseconds.into()))
        }
        _ => Err(Failure::Garbage),
    }
}
