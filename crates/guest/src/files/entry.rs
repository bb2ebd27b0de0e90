//! What is at a path, in the wire contract's terms.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use hearth_guest_api::connect::ConnectError;
use hearth_guest_api::filesystem::{EntryInfo, FileType};
use hearth_guest_api::timestamp::Timestamp;

use super::rpc_error;
use crate::process::users::{Accounts, group_name, user_name};

/// Extended attributes that clients set, under this name space.
pub(crate) const METADATA_PREFIX: &str = "user.e2b.";
const MAX_METADATA_BYTES: usize = 64 * 1024;
const FEW_METADATA_BYTES: usize = 1024;

/// The entry at a path; a symbolic link is described as itself, with the type of its target.
pub(crate) fn read(path: &Path, accounts: &Accounts) -> Result<EntryInfo, ConnectError> {
    let metadata = fs::symlink_metadata(path).map_err(|error| rpc_error("stat", path, &error))?;
    Ok(describe(path, &metadata, accounts))
}

pub(crate) fn describe(path: &Path, metadata: &Metadata, accounts: &Accounts) -> EntryInfo {
    let is_symlink = metadata.is_symlink();
    let target = is_symlink.then(|| {
        fs::canonicalize(path)
            .or_else(|_| fs::read_link(path))
            .unwrap_or_default()
    });
    EntryInfo {
        name: path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned(),
        r#type: file_type(path, metadata).into(),
        path: path.to_string_lossy().into_owned(),
        size: i64::try_from(metadata.len()).unwrap_or(i64::MAX),
        mode: metadata.mode() & 0o777,
        permissions: permissions(metadata),
        owner: user_name(metadata.uid(), &accounts.passwd),
        group: group_name(metadata.gid(), &accounts.group),
        modified_time: Some(Timestamp {
            seconds: metadata.mtime(),
            nanos: i32::try_from(metadata.mtime_nsec()).unwrap_or_default(),
        }),
        symlink_target: target.map(|target| target.to_string_lossy().into_owned()),
        metadata: if is_symlink {
            BTreeMap::default()
        } else {
            read_metadata(path)
        },
        is_symlink,
    }
}

fn file_type(path: &Path, metadata: &Metadata) -> FileType {
    if !metadata.is_symlink() {
        return if metadata.is_dir() {
            FileType::Directory
        } else {
            FileType::File
        };
    }
    match fs::metadata(path) {
        Ok(target) if target.is_dir() => FileType::Directory,
        Ok(_) => FileType::File,
        // Dangling.
        Err(_) => FileType::Symlink,
    }
}

/// As Go prints a mode, since that is what clients have always been shown: `drwxr-xr-x`, `Lrwxrwxrwx`, `dtrwxrwxrwx`.
fn permissions(metadata: &Metadata) -> String {
    let (mode, kind) = (metadata.mode(), metadata.file_type());
    let letters = [
        (kind.is_dir(), 'd'),
        (kind.is_symlink(), 'L'),
        (kind.is_block_device() || kind.is_char_device(), 'D'),
        (kind.is_fifo(), 'p'),
        (kind.is_socket(), 'S'),
        (mode & 0o4000 != 0, 'u'),
        (mode & 0o2000 != 0, 'g'),
        (kind.is_char_device(), 'c'),
        (mode & 0o1000 != 0, 't'),
    ];
    let mut text: String = letters
        .into_iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, letter)| letter)
        .collect();
    if text.is_empty() {
        text.push('-');
    }
    let bits = (0..9).rev().zip("rwxrwxrwx".chars());
    text.extend(bits.map(|(bit, letter)| if mode & (1 << bit) != 0 { letter } else { '-' }));
    text
}

/// What clients attached; nothing where the file system keeps no such attributes.
fn read_metadata(path: &Path) -> BTreeMap<String, String> {
    let attached = attached_names(path).into_iter();
    attached
        .filter_map(|name| {
            Some((
                name.strip_prefix(METADATA_PREFIX)?.to_owned(),
                read_attribute(path, &name)?,
            ))
        })
        .collect()
}

/// The names of the attributes that clients attached.
fn attached_names(path: &Path) -> Vec<String> {
    // Most files have few or none.
    let mut names = vec![0; FEW_METADATA_BYTES];
    let length = match rustix::fs::listxattr(path, &mut names[..]) {
        Err(rustix::io::Errno::RANGE) => {
            names.resize(MAX_METADATA_BYTES, 0);
            rustix::fs::listxattr(path, &mut names[..]).unwrap_or_default()
        }
        listed => listed.unwrap_or_default(),
    };
    names[..length]
        .split(|byte| *byte == 0)
        .filter_map(|name| std::str::from_utf8(name).ok())
        .filter(|name| name.starts_with(METADATA_PREFIX))
        .map(str::to_owned)
        .collect()
}

fn read_attribute(path: &Path, name: &str) -> Option<String> {
    let mut value = vec![0; MAX_METADATA_BYTES];
    let length = rustix::fs::getxattr(path, name, &mut value[..]).ok()?;
    Some(String::from_utf8_lossy(&value[..length]).into_owned())
}

/// Attaches metadata to a file, in the place of what was attached before: it is the content's.
pub(crate) fn replace_metadata(path: &Path, metadata: &[(String, String)]) -> std::io::Result<()> {
    for name in attached_names(path) {
        rustix::fs::removexattr(path, name)?;
    }
    for (key, value) in metadata {
        rustix::fs::setxattr(
            path,
            format!("{METADATA_PREFIX}{key}"),
            value.as_bytes(),
            rustix::fs::XattrFlags::empty(),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_as_go_prints_them() {
        let of = |path: &str| permissions(&fs::symlink_metadata(path).unwrap());
        assert_eq!(of("/tmp"), "dtrwxrwxrwx");
        assert_eq!(of("/dev/null"), "Dcrw-rw-rw-");
        assert_eq!(of("/proc/self"), "Lrwxrwxrwx");
        assert_eq!(of("/etc/passwd"), "-rw-r--r--");
    }

    #[test]
    fn links_are_described_with_their_target() {
        let folder = std::env::temp_dir().join(format!("hearth-entry-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink("/etc", folder.join("good")).unwrap();
        std::os::unix::fs::symlink("/nowhere", folder.join("bad")).unwrap();
        let accounts = Accounts {
            passwd: "me:x:0:0::/:".into(),
            group: String::new(),
        };
        let of = |name: &str| read(&folder.join(name), &accounts).unwrap();
        assert_eq!(
            (
                of("good").r#type(),
                of("good").symlink_target.as_deref(),
                of("good").owner.as_str()
            ),
            (FileType::Directory, Some("/etc"), "me")
        );
        assert_eq!(
            (of("bad").r#type(), of("bad").symlink_target.as_deref()),
            (FileType::Symlink, Some("/nowhere"))
        );
        assert_eq!(
            read(&folder.join("none"), &accounts).unwrap_err().code,
            hearth_guest_api::connect::Code::NotFound
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
