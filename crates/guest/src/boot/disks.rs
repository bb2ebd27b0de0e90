//! Which of the machine's disks is what.
//!
//! The first is the root; of the others, those that the VMM lets nobody write are the layers over it, in their order, and
//! the one that can be written is the machine's own. What is on a disk does not count: a guest writes what it likes on
//! its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The name of the root's disk.
pub(super) const FIRST: &str = "vda";
/// Disks are found while their driver's module loads; this is for hosts that are busy.
const DISK_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Disks {
    pub(super) root: PathBuf,
    /// Bottom to top.
    pub(super) layers: Vec<PathBuf>,
    pub(super) writable: Option<PathBuf>,
}

impl Disks {
    /// Looks at the disks after the first until there is none.
    pub(super) fn find(dev: &Path, sys_block: &Path) -> io::Result<Self> {
        let mut disks = Self {
            root: dev.join(FIRST),
            layers: Vec::new(),
            writable: None,
        };
        for letter in 'b'..='z' {
            let name = format!("vd{letter}");
            let disk = dev.join(&name);
            if !disk.exists() {
                break;
            }
            if fs::read_to_string(sys_block.join(&name).join("ro"))?.trim() == "1" {
                disks.layers.push(disk);
            } else if let Some(other) = disks.writable.replace(disk) {
                let message = format!("both {} and {name} can be written", other.display());
                return Err(io::Error::other(message));
            }
        }
        Ok(disks)
    }
}

pub(super) fn wait_for(device: &Path) -> io::Result<()> {
    let deadline = Instant::now() + DISK_TIMEOUT;
    while !device.exists() {
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::NotFound.into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds disks that are like these, by their letter.
    fn found(like: &[(char, bool)]) -> io::Result<(Vec<String>, Option<String>)> {
        let folder = tempfile::tempdir().unwrap();
        let (dev, sys) = (folder.path().join("dev"), folder.path().join("sys"));
        fs::create_dir(&dev).unwrap();
        for (letter, read_only) in like {
            let name = format!("vd{letter}");
            fs::write(dev.join(&name), "").unwrap();
            fs::create_dir_all(sys.join(&name)).unwrap();
            fs::write(sys.join(name).join("ro"), if *read_only { "1\n" } else { "0\n" }).unwrap();
        }
        let disks = Disks::find(&dev, &sys)?;
        assert_eq!(disks.root, dev.join("vda"));
        let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        Ok((disks.layers.into_iter().map(name).collect(), disks.writable.map(name)))
    }

    #[test]
    fn what_can_be_written_is_the_disk_and_the_rest_are_layers() {
        let layers = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(found(&[('a', true)]).unwrap(), (vec![], None));
        assert_eq!(
            found(&[('a', true), ('b', false)]).unwrap(),
            (vec![], Some("vdb".into()))
        );
        assert_eq!(
            found(&[('a', true), ('b', true), ('c', true)]).unwrap(),
            (layers(&["vdb", "vdc"]), None)
        );
        assert_eq!(
            found(&[('a', true), ('b', true), ('c', true), ('d', false)]).unwrap(),
            (layers(&["vdb", "vdc"]), Some("vdd".into()))
        );
    }

    #[test]
    fn two_that_can_be_written_are_one_too_many() {
        let error = found(&[('a', true), ('b', false), ('c', false)]).unwrap_err();
        assert!(error.to_string().contains("vdb and vdc"), "{error}");
    }
}
