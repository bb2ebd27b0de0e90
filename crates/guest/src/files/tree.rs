//! Folders: list, make, move, remove.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use hearth_guest_api::connect::{Code, ConnectError};
use hearth_guest_api::filesystem::EntryInfo;

use super::{Owner, entry, invalid, make_folders, not_found, rpc_error};
use crate::process::users::Accounts;

/// A longer list is refused: it would be megabytes of an answer.
const MAX_ENTRIES: usize = 50_000;

const NO_DIRECTORY: &str = "already exists but is not a directory";

/// A folder's entries, `depth` levels deep, by name. Links are listed, not followed, but for the folder itself.
pub(crate) fn list(path: &Path, depth: u32, accounts: &Accounts) -> Result<Vec<EntryInfo>, ConnectError> {
    let metadata = fs::metadata(path).map_err(|error| rpc_error("list", path, &error))?;
    if !metadata.is_dir() {
        return Err(invalid(path, "is not a directory"));
    }
    let mut entries = Vec::new();
    list_into(path, depth.max(1), accounts, &mut entries)?;
    Ok(entries)
}

fn list_into(folder: &Path, depth: u32, accounts: &Accounts, entries: &mut Vec<EntryInfo>) -> Result<(), ConnectError> {
    let reading = fs::read_dir(folder).map_err(|error| rpc_error("list", folder, &error))?;
    let mut paths: Vec<_> = reading.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort_unstable();
    for path in paths {
        // Removed since it was read: not there, then.
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if entries.len() >= MAX_ENTRIES {
            let message = format!(
                "'{}' has more than {MAX_ENTRIES} entries; list less deep",
                folder.display()
            );
            return Err(ConnectError::new(Code::ResourceExhausted, message));
        }
        entries.push(entry::describe(&path, &metadata, accounts));
        if depth > 1 && metadata.is_dir() {
            list_into(&path, depth - 1, accounts, entries)?;
        }
    }
    Ok(())
}

/// Makes a folder and its parents.
pub(crate) fn make(path: &Path, owner: &Owner) -> Result<(), ConnectError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            return Err(ConnectError::new(
                Code::AlreadyExists,
                format!("directory already exists: {}", path.display()),
            ));
        }
        Ok(_) => return Err(invalid(path, NO_DIRECTORY)),
        Err(_) => {}
    }
    make_folders(path, owner).map_err(|error| match error.kind() {
        // A link that leads nowhere.
        ErrorKind::AlreadyExists => invalid(path, NO_DIRECTORY),
        _ => rpc_error("make the directory", path, &error),
    })
}

/// Moves a file or folder, making the destination's parents.
pub(crate) fn rename(source: &Path, destination: &Path, owner: &Owner) -> Result<(), ConnectError> {
    fs::symlink_metadata(source).map_err(|_| not_found(source))?;
    if let Some(parent) = destination.parent() {
        make_folders(parent, owner).map_err(|error| rpc_error("make the directory", parent, &error))?;
    }
    fs::rename(source, destination).map_err(|error| rpc_error("move", source, &error))
}

/// Removes whatever is there; nothing there is fine, as clients expect.
pub(crate) fn remove(path: &Path) -> Result<(), ConnectError> {
    if path.parent().is_none() {
        return Err(invalid(path, "is the root, which cannot be removed"));
    }
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(|error| rpc_error("remove", path, &error))
}
